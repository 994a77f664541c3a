//! What several operations have in common in what can go wrong. The dialect's error body is filled in.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::{RefOr, Response};

fn all(statuses: &[(u16, &str)]) -> BTreeMap<String, RefOr<Response>> {
    let one =
        |(status, about): &(u16, &str)| (status.to_string(), RefOr::T(Response::new((*about).to_owned())));
    statuses.iter().map(one).collect()
}

/// What keeps a message from being accepted.
pub(in crate::api) struct Sending;

impl IntoResponses for Sending {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        all(&[
            (
                400,
                "A parameter is missing or wrong, the number is not on WhatsApp, or the session is not paired",
            ),
            (404, "There is no such session"),
            (413, "The request or its file is too large: 1 MiB without a file, 50 MB with one"),
            (
                429,
                "Too many requests of this key, a full queue, or the daily limit for strangers; see `Retry-After`",
            ),
            (502, "The server that `url` names failed or sent something else than a file"),
            (503, "The session is not connected, or a file cannot be fetched just now; try again"),
            (507, "There is no room on the box's disk"),
        ])
    }
}

/// What keeps WhatsApp from being asked about numbers.
pub(in crate::api) struct Numbers;

impl IntoResponses for Numbers {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        all(&[
            (404, "There is no such session"),
            (
                429,
                "The key has used its number checks of this month, or made too many requests; see `Retry-After`",
            ),
            (502, "WhatsApp did not answer the question"),
            (503, "The session is not connected, so WhatsApp cannot be asked"),
        ])
    }
}

/// What keeps WhatsApp from being asked about groups.
pub(in crate::api) struct Groups;

impl IntoResponses for Groups {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        all(&[
            (404, "There is no such session"),
            (502, "WhatsApp did not list the groups in time, or refused"),
            (503, "The session is not connected, so WhatsApp cannot be asked"),
        ])
    }
}
