//! One HTTP call to a receiver, on a blocking thread, in bounded time, to allowed addresses only.

use std::io::Read;
use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::http::header::{CONTENT_TYPE, RETRY_AFTER};

use super::format::MAX_ANSWER;
use super::schedule::Outcome;
use crate::media::{self, FetchPolicy};

/// What the receiver said.
#[derive(Debug)]
pub(super) struct Reply {
    /// The HTTP status; `None`: there was no answer.
    pub(super) status: Option<u16>,
    /// What that means for the event.
    pub(super) outcome: Outcome,
    /// Why it failed.
    pub(super) error: Option<String>,
    /// The answer's body, where it was asked for.
    pub(super) body: Vec<u8>,
    /// How long it took.
    pub(super) took: Duration,
}

/// The agent of one webhook, which keeps one connection open between calls.
pub(super) fn agent(policy: &FetchPolicy) -> Agent {
    let config = Agent::config_builder()
        .proxy(None)
        .http_status_as_error(false)
        // A redirect would turn the POST into a GET, and lead where nobody has checked.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_idle_connections(1)
        .max_idle_connections_per_host(1)
        .max_idle_age(Duration::from_secs(20))
        .max_response_header_size(16 * 1024)
        .input_buffer_size(8 * 1024)
        .output_buffer_size(8 * 1024)
        .user_agent(concat!("Kurir/", env!("CARGO_PKG_VERSION")))
        .build();
    media::guarded(config, policy)
}

/// Posts a body. `wants_answer`: the receiver's answer may say something.
pub(super) async fn post(
    agent: &Agent,
    url: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    timeout: Duration,
    wants_answer: bool,
) -> Reply {
    let began = Instant::now();
    let agent = agent.clone();
    let called = tokio::task::spawn_blocking(move || {
        let mut request = agent.post(&url).config().timeout_global(Some(timeout)).build();
        request = request.header(CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let mut response = request.send(&body[..])?;
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let mut answer = Vec::new();
        if wants_answer {
            // An answer that breaks off says nothing; the status has been given all the same.
            if response.body_mut().as_reader().take(MAX_ANSWER).read_to_end(&mut answer).is_err() {
                answer.clear();
            }
        }
        Ok((status, retry_after, answer))
    });
    let called = match called.await {
        Ok(called) => called,
        Err(e) => Err(ureq::Error::Other(e.into())),
    };
    let took = began.elapsed();
    match called {
        Ok((status, retry_after, body)) => {
            let outcome = judge(status, retry_after);
            let error = (outcome != Outcome::Delivered).then(|| format!("the receiver answered {status}"));
            Reply { status: Some(status), outcome, error, body, took }
        }
        Err(e) => {
            let outcome =
                if matches!(e, ureq::Error::Timeout(_)) { Outcome::Slow } else { Outcome::Down(None) };
            Reply { status: None, outcome, error: Some(explain(&e, timeout)), body: Vec::new(), took }
        }
    }
}

/// What a status means: 2xx is taken; what proxies and busy servers say means that nobody is there to judge the event;
/// everything else is about the event.
pub(super) fn judge(status: u16, retry_after: Option<Duration>) -> Outcome {
    match status {
        200..=299 => Outcome::Delivered,
        408 => Outcome::Slow,
        429 | 502 | 503 | 504 => Outcome::Down(retry_after),
        _ => Outcome::Refused,
    }
}

fn explain(error: &ureq::Error, timeout: Duration) -> String {
    match error {
        ureq::Error::Other(e) => e.to_string(),
        ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => {
            "the receiver cannot be reached: no connection in time".into()
        }
        ureq::Error::Timeout(_) => {
            format!("the receiver did not answer within {} s", timeout.as_secs_f32())
        }
        ureq::Error::HostNotFound => "the receiver's host has no address".into(),
        e => format!("the receiver cannot be reached: {e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_2xx_is_a_delivery_and_only_absence_holds_the_others_up() {
        for (status, outcome) in [
            (200, Outcome::Delivered),
            (204, Outcome::Delivered),
            (301, Outcome::Refused),
            (400, Outcome::Refused),
            (404, Outcome::Refused),
            (408, Outcome::Slow),
            (500, Outcome::Refused),
            (502, Outcome::Down(None)),
            (503, Outcome::Down(None)),
        ] {
            assert_eq!(judge(status, None), outcome, "{status}");
        }
        let asked = Some(Duration::from_secs(7));
        assert_eq!(judge(429, asked), Outcome::Down(asked));
    }
}
