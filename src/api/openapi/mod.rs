//! The API's own description: OpenAPI 3.1, gathered from the handlers, served at `/openapi.json`.
//!
//! What is served is `openapi.json` in this folder, made by [`describe`]; where it is not what the handlers say now, a test
//! fails, and `KURIR_WRITE_OPENAPI=1 cargo test --lib openapi` writes it anew.
//!
//! A route gets into the router by [`Routes::with`] only, and that takes handlers with `#[utoipa::path]`, so that none is
//! without its description. How to add one:
//!
//! 1. Above the handler: a doc comment (its first line is the summary, the rest the description) and
//!    `#[utoipa::path(post, path = "/api/v1/things/{id}", params(…), request_body = Thing, responses((status = 200,
//!    description = "…", body = ThingShown), (status = 404, description = "…")))]`. A handler for both GET and POST says
//!    `method(get, post)`; what a POST takes in its body, its GET then takes in its query.
//! 2. The types of body and answer in this folder's file of the dialect, with `#[derive(ToSchema)]`. Field comments are
//!    what integrators read; an `example` also puts the field into the code samples of `/docs`.
//! 3. In `routes()`: `.with(routes!(handler))`; `routes!(show, change)` for two methods of one path.
//! 4. In `tests/gateway/openapi/calls.rs`: at least one call that succeeds; the test fails until there is one.
//! 5. `KURIR_WRITE_OPENAPI=1 cargo test --lib openapi`.
//!
//! What all operations of a dialect share is not repeated above each handler but filled in from its [`Dialect`]: the
//! keys, the answers 400, 401, 413 and 429, the body of every error that has none of its own, and examples.

mod answers;
pub(super) mod chats;
mod document;
pub(super) mod fonnte;
pub(super) mod groups;
pub(super) mod machines;
pub(super) mod mpwa;
pub(super) mod owner;
pub(super) mod requests;
pub(super) mod sessions;
pub(super) mod v1;
pub(super) mod waapi;
pub(super) mod waya;

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::OnceLock;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use utoipa::openapi::path::Paths;
use utoipa::openapi::{RefOr, Schema};

pub(super) use answers::{Groups, Numbers, Sending};

use super::Api;

/// What all operations of one dialect share.
pub(super) struct Dialect {
    /// Its name, by which operations are grouped.
    pub(super) tag: &'static str,
    /// What it is, in Markdown.
    pub(super) about: &'static str,
    /// The keys that it takes, each by itself: names in [`document`]'s security schemes. Empty: none is needed.
    pub(super) keys: &'static [&'static str],
    /// The status of a wrong key.
    pub(super) wrong_key: StatusCode,
    /// Whether a body may also be a form or multipart, not JSON only.
    pub(super) forms: bool,
    /// The schema of what it answers when something is wrong.
    pub(super) error: fn() -> (String, RefOr<Schema>),
    /// Such an answer.
    pub(super) example: fn(StatusCode, &str) -> Value,
}

/// The dialects, in the order in which people read them.
pub(in crate::api) const DIALECTS: [&Dialect; 7] = [
    &mpwa::DIALECT,
    &fonnte::DIALECT,
    &waapi::DIALECT,
    &waya::DIALECT,
    &sessions::DIALECT,
    &v1::DIALECT,
    &machines::DIALECT,
];

/// What [`utoipa_axum::routes!`] makes of handlers: the types that they name, their descriptions, and the handlers.
pub(super) type Annotated = (Vec<(String, RefOr<Schema>)>, Paths, MethodRouter<Api>);

/// Handlers of one path, and how to get their description.
pub(super) struct Handlers<D> {
    pub(super) path: String,
    pub(super) methods: MethodRouter<Api>,
    pub(super) describe: D,
}

impl<D: FnOnce() -> Annotated> Handlers<D> {
    /// Changes the handlers, not what is said of them.
    pub(super) fn map(mut self, change: impl FnOnce(MethodRouter<Api>) -> MethodRouter<Api>) -> Handlers<D> {
        self.methods = change(self.methods);
        self
    }

    /// Limits the body.
    pub(super) fn layer(self, limit: DefaultBodyLimit) -> Handlers<D> {
        self.map(|methods| methods.layer(limit))
    }
}

/// Annotated handlers of one path as [`Handlers`]. Path and methods come from the annotation, so router and description
/// cannot differ; the description itself is only made where somebody asks for it.
macro_rules! routes {
    ($first:path $(, $more:path)* $(,)?) => {{
        let methods = axum::routing::MethodRouter::new();
        let (path, methods) = $crate::api::openapi::routes!(@on methods, $first);
        $( let (_, methods) = $crate::api::openapi::routes!(@on methods, $more); )*
        let describe = || -> $crate::api::openapi::Annotated { utoipa_axum::routes!($first $(, $more)*) };
        $crate::api::openapi::Handlers { path, methods, describe }
    }};
    (@on $methods:ident, $handler:path) => {
        // `@path` finds the type that the annotation made beside the handler.
        utoipa_axum::paste! {{
            let types = utoipa_axum::routes!(@path [methods()] of $handler);
            let methods = types.iter().fold($methods, |methods, method| {
                methods.on(utoipa_axum::PathItemExt::to_method_filter(method), $handler)
            });
            (utoipa_axum::routes!(@path [path()] of $handler), methods)
        }}
    };
}
pub(super) use routes;

/// What routes are gathered for.
pub(super) trait Purpose {
    /// For routes of these dialects.
    fn of(dialects: &'static [&'static Dialect]) -> Self;
    /// Takes the description of one path's handlers, or leaves it.
    fn keep(&mut self, describe: impl FnOnce() -> Annotated);
    /// Takes all of another's.
    fn merge(&mut self, other: Self);
}

/// To be served. Asks for no description: what makes one is in the binary only if somebody calls it, and the gateway
/// never does (decision 14).
pub(super) struct Serving;

impl Purpose for Serving {
    fn of(_: &'static [&'static Dialect]) -> Serving {
        Serving
    }

    fn keep(&mut self, _: impl FnOnce() -> Annotated) {}

    fn merge(&mut self, _: Serving) {}
}

/// Operations and the dialects that they belong to.
struct Described {
    dialects: &'static [&'static Dialect],
    paths: Paths,
}

/// To be described.
pub(super) struct Describing {
    dialects: &'static [&'static Dialect],
    described: Vec<Described>,
    schemas: BTreeMap<String, RefOr<Schema>>,
}

impl Describing {
    /// Two types of one name would overwrite each other's description.
    fn add_schema(&mut self, name: String, schema: RefOr<Schema>) {
        if let Some(known) = self.schemas.get(&name) {
            debug_assert!(*known == schema, "two types are called {name} in the API's description");
        }
        self.schemas.insert(name, schema);
    }
}

impl Purpose for Describing {
    fn of(dialects: &'static [&'static Dialect]) -> Describing {
        Describing { dialects, described: Vec::new(), schemas: BTreeMap::new() }
    }

    fn keep(&mut self, describe: impl FnOnce() -> Annotated) {
        let (schemas, paths, _) = describe();
        self.described.push(Described { dialects: self.dialects, paths });
        for (name, schema) in schemas {
            self.add_schema(name, schema);
        }
    }

    fn merge(&mut self, other: Describing) {
        self.described.extend(other.described);
        for (name, schema) in other.schemas {
            self.add_schema(name, schema);
        }
    }
}

/// Routes, each with its description where the purpose is to describe them.
pub(super) struct Routes<P> {
    router: Router<Api>,
    purpose: P,
}

impl<P: Purpose> Routes<P> {
    /// None yet. Those that are added belong to these dialects; one, unless two share a path.
    pub(super) fn of(dialects: &'static [&'static Dialect]) -> Routes<P> {
        Routes { router: Router::new(), purpose: P::of(dialects) }
    }

    /// Adds the handlers of a path.
    pub(super) fn with<D: FnOnce() -> Annotated>(mut self, handlers: Handlers<D>) -> Routes<P> {
        let Handlers { path, methods, describe } = handlers;
        self.router = self.router.route(&path, methods);
        self.purpose.keep(describe);
        self
    }

    /// Adds all of another's.
    pub(super) fn merge(mut self, other: Routes<P>) -> Routes<P> {
        self.router = self.router.merge(other.router);
        self.purpose.merge(other.purpose);
        self
    }
}

impl Routes<Serving> {
    /// The routes.
    pub(super) fn into_router(self) -> Router<Api> {
        self.router
    }
}

/// Makes the document from the handlers. The gateway serves a copy made beforehand, `openapi.json` in this folder; a test
/// compares the two.
pub fn describe() -> Value {
    let Describing { described, schemas, .. } = super::routes::<Describing>().purpose;
    document::build(described, schemas)
}

/// What `POST /api/send-message` takes: `waapi`'s form, or `waya`'s.
#[derive(ToSchema, Serialize)]
#[serde(untagged)]
#[allow(dead_code, reason = "describes JSON; nothing makes one")]
pub(super) enum SendMessage {
    Waapi(waapi::WaapiText),
    Waya(waya::WayaMessage),
}

/// What `POST /api/send-message` answers: as `waapi`, or as `waya`.
#[derive(ToSchema, Serialize)]
#[serde(untagged)]
#[allow(dead_code, reason = "describes JSON; nothing makes one")]
pub(super) enum MessageSent {
    Waapi(waapi::WaapiSent),
    Waya(waya::WayaQueued),
}

/// The document as it is sent. Unpacked when it is first asked for: most boxes never are.
fn served() -> &'static (Bytes, HeaderValue) {
    static SERVED: OnceLock<(Bytes, HeaderValue)> = OnceLock::new();
    SERVED.get_or_init(|| {
        // Packed by build.rs.
        let packed = include_bytes!(concat!(env!("OUT_DIR"), "/openapi.json.gz")).as_slice();
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(packed)
            .read_to_end(&mut text)
            .expect("it was packed when this was built");
        let tag = format!("\"{}\"", hex::encode(&Sha256::digest(&text)[..8]));
        let tag = HeaderValue::try_from(tag).expect("hexadecimal digits in quotes");
        // The spare room would stay in memory with it.
        (Bytes::from(text.into_boxed_slice()), tag)
    })
}

/// This document
///
/// The description of the whole API in OpenAPI 3.1, for code generators and for the page at `/docs`. It is the same on
/// every box of this version and says nothing of what is on it, so it needs no key.
#[utoipa::path(get, path = "/openapi.json", security(()), responses(
    (status = 200, description = "The document", body = machines::OpenApiDocument),
    (status = 304, description = "The one that `If-None-Match` names is still right"),
))]
pub(super) async fn show(request: Request) -> Response {
    let (text, tag) = served();
    let mut response = if request.headers().get(IF_NONE_MATCH) == Some(tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], text.clone()).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, tag.clone());
    // Asked for again each time, because an update of the box changes it; answered with 304 unless it did.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
    response
}

#[cfg(test)]
mod tests;
