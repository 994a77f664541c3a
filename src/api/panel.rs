//! The front panel, looked at from afar.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use kurir_board::png;
use serde_json::{Value, json};

use super::openapi::machines::{PanelPicture, PanelScale};
use super::openapi::v1::DIALECT;
use super::openapi::{Purpose, Routes, routes};
use super::v1::{Failure, caller};
use super::{Api, Shared};

/// Pixels of the picture for each of the panel's, unless `scale` says otherwise.
const SCALE: u32 = 4;
/// Largest `scale`. A 240x240 panel is 3840 pixels wide then.
const MAX_SCALE: u32 = 16;

pub(super) fn routes<P: Purpose>() -> Routes<P> {
    Routes::of(&[&DIALECT]).with(routes!(picture))
}

/// See the front panel
///
/// What its screen shows now, as a picture: black while the screen is off. On a box without a display, what one of 128x64
/// pixels last showed. For a key that may use every session of the box, because any one's pairing code may be shown.
#[utoipa::path(get, path = "/api/v1/panel.png", params(PanelScale), responses(
    (status = 200, description = "The picture", content_type = "image/png", body = PanelPicture),
    (status = 403, description = "The key may not use every session of this box"),
))]
async fn picture(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let caller = caller(&api, &request)?;
    let shown = api.panel.borrow().clone();
    let all = api.registry.list().iter().all(|session| caller.may_use(session.owner()));
    // The code that claims the box makes an administrator of whoever types it in.
    if caller.rules.session.is_some() || !all || (shown.screen == "claim" && !caller.admin) {
        let message = "The panel may show every session of this box; an administrator's key is needed";
        return Err(Failure::new(StatusCode::FORBIDDEN, message));
    }
    let scale = scale(request.uri().query().unwrap_or_default())?;
    let headers = [(CONTENT_TYPE, "image/png"), (CACHE_CONTROL, "no-store")];
    Ok((headers, png(&shown.frame, scale)).into_response())
}

fn scale(query: &str) -> Result<u32, Failure> {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap_or_default();
    let Some((_, text)) = pairs.into_iter().find(|(name, _)| name == "scale") else { return Ok(SCALE) };
    match text.parse() {
        Ok(scale) if (1..=MAX_SCALE).contains(&scale) => Ok(scale),
        _ => Err(Failure::bad(format!("scale must be a whole number from 1 to {MAX_SCALE}"))),
    }
}

/// How the panel is, for the status: what the LED says and which parts work.
pub(super) fn status(api: &Shared) -> Value {
    let shown = api.panel.borrow();
    json!({
        "led": shown.pattern.name(),
        "screen": shown.screen,
        "parts": {
            "display": shown.display.as_str(),
            "buttons": shown.buttons.as_str(),
            "led": shown.led.as_str(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_is_a_small_number() {
        assert_eq!(scale("").ok(), Some(SCALE));
        assert_eq!(scale("a=b&scale=1").ok(), Some(1));
        for wrong in ["scale=0", "scale=17", "scale=-1", "scale=", "scale=a", "scale=4.5"] {
            assert!(scale(wrong).is_err(), "{wrong}");
        }
    }
}
