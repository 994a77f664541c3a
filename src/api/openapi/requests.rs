//! The request log as integrators see it.
#![allow(dead_code, reason = "these types describe JSON; nothing makes one")]

use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

/// Which requests.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct RequestsQuery {
    /// How many, 1 to 200; 50 if absent.
    #[param(example = 50)]
    limit: Option<u32>,
    /// Only those before this one: `next` of the page before.
    before: Option<u64>,
    /// Only this method.
    #[param(example = "POST")]
    method: Option<String>,
    /// Only this status, or this hundred of them.
    #[param(example = "4xx")]
    status: Option<String>,
    /// Only those with this in their URL.
    #[param(example = "/send")]
    url: Option<String>,
    /// Not before this, Unix milliseconds.
    since: Option<i64>,
    /// Before this, Unix milliseconds.
    until: Option<i64>,
}

/// A request, in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::api) struct RequestId {
    /// The request's id.
    #[param(example = "1042")]
    id: String,
}

/// A request as it is listed, and with more of it. Not one inside the other: the description would
/// name it instead of listing its fields.
macro_rules! logged {
    ($(#[$doc:meta])* $name:ident { $($more:tt)* }) => {
        $(#[$doc])*
        #[derive(ToSchema, Serialize)]
        struct $name {
            /// Its number; it counts up over the whole box.
            #[schema(example = 1042)]
            id: u64,
            /// GET, POST, …; OTHER for one that HTTP does not know.
            #[schema(example = "POST")]
            method: String,
            /// Path and query, `***` for keys.
            #[schema(example = "/send-message?api_key=***&number=6281200000002")]
            url: String,
            #[serde(rename = "statusCode")]
            #[schema(example = 200)]
            status_code: u16,
            /// Milliseconds until the answer began.
            #[schema(example = 12)]
            duration: u64,
            /// The client's address.
            #[schema(example = "192.168.1.20")]
            ip: String,
            /// Unix milliseconds.
            #[serde(rename = "createdAt")]
            #[schema(example = 1_700_000_000_000_i64)]
            created_at: i64,
            /// The key's account; null without a right key.
            #[schema(required)]
            account: Option<String>,
            /// The key's id; null without a right key.
            #[schema(required)]
            key: Option<String>,
            $($more)*
        }
    };
}

logged! {
    /// A request that was made.
    LoggedRequest {}
}

/// A page of requests, newest first.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct LoggedRequests {
    /// Always true.
    success: bool,
    requests: Vec<LoggedRequest>,
    /// What `before` is for the next page; null at the end.
    #[schema(required)]
    next: Option<u64>,
}

logged! {
    /// A request with what it said and was told.
    LoggedDetail {
        /// The headers that help to find a mistake.
        #[serde(rename = "reqHeaders")]
        #[schema(value_type = Object)]
        headers: Value,
        /// The parameters as they were read, without keys and files; null without any.
        #[serde(rename = "reqBody")]
        body: Value,
        /// The answer, if it was short JSON; else null.
        #[serde(rename = "resBody")]
        answer: Value,
    }
}

/// One request.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct LoggedRequestShown {
    /// Always true.
    success: bool,
    request: LoggedDetail,
}
