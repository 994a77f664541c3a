//! What a request to `/send` asks for. Pure.

use std::time::Duration;

use crate::api::params::{ParamError, Params};

/// Recipients of one request.
pub(super) const MAX_TARGETS: usize = 1_000;
/// Longest pause between two messages, in seconds.
const MAX_DELAY: u64 = 3_600;
/// Furthest in the future that a message may be scheduled, in seconds: a year.
const MAX_AHEAD: i64 = 366 * 24 * 3600;
/// Longest time of typing, in seconds.
const MAX_TYPING: i64 = 60;
/// Typing where the request says that it wants it and not for how long.
const TYPING: Duration = Duration::from_secs(2);

/// A recipient and what its variables stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Addressee {
    /// A number or a group.
    pub(super) to: String,
    /// `{name}`, then `{var1}` and so on.
    pub(super) variables: Vec<String>,
}

/// Reads `number|name|var1,number,…`.
pub(super) fn addressees(text: &str) -> Result<Vec<Addressee>, ParamError> {
    let mut found = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        if found.len() == MAX_TARGETS {
            let reason = format!("lists more than {MAX_TARGETS} recipients");
            return Err(ParamError::Value { field: "target", reason });
        }
        let mut fields = part.split('|').map(|field| field.trim().to_owned());
        let to = fields.next().unwrap_or_default();
        found.push(Addressee { to, variables: fields.collect() });
    }
    if found.is_empty() { Err(ParamError::Missing("target")) } else { Ok(found) }
}

/// Fills `{name}`, `{var1}` and so on. What has no value becomes empty, unless the addressee has no variables at all:
/// then the text is left alone.
pub(super) fn fill(text: &str, variables: &[String]) -> String {
    if variables.is_empty() {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        rest = &rest[open..];
        let name = rest.find('}').map(|close| (&rest[1..close], close));
        let index = name.and_then(|(name, _)| match name {
            "name" => Some(0),
            name => name.strip_prefix("var")?.parse::<usize>().ok().filter(|n| *n > 0),
        });
        match (index, name) {
            (Some(index), Some((_, close))) => {
                out.push_str(variables.get(index).map_or("", String::as_str));
                rest = &rest[close + 1..];
            }
            _ => {
                out.push('{');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// A pause in seconds, `2`, or a span to choose from, `1-10`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Delay {
    least: u64,
    most: u64,
}

impl Delay {
    pub(super) fn parse(text: &str) -> Result<Delay, ParamError> {
        let wrong = || ParamError::Value {
            field: "delay",
            reason: format!("must be seconds such as \"2\" or \"1-10\", at most {MAX_DELAY}"),
        };
        let (least, most) = match text.split_once('-') {
            Some((least, most)) => (least, most),
            None => (text, text),
        };
        let seconds = |text: &str| text.trim().parse::<u64>().map_err(|_| wrong());
        let (least, most) = (seconds(least)?, seconds(most)?);
        if least > most || most > MAX_DELAY { Err(wrong()) } else { Ok(Delay { least, most }) }
    }

    /// A pause; `roll` is from 0 to 1.
    pub(super) fn pick(self, roll: f64) -> Duration {
        let span = Duration::from_secs(self.most - self.least);
        Duration::from_secs(self.least) + span.mul_f64(roll.clamp(0.0, 1.0))
    }
}

/// When and how the messages of one request are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Timing {
    /// Unix milliseconds.
    pub(super) not_before_ms: Option<i64>,
    pub(super) delay: Delay,
    pub(super) sequence: bool,
    pub(super) typing: Duration,
}

impl Timing {
    pub(super) fn read(params: &Params, now_ms: i64) -> Result<Timing, ParamError> {
        let now = now_ms / 1000;
        let mut at = None;
        if let Some(schedule) = params.integer("schedule")?.filter(|at| *at > 0) {
            if schedule > now + MAX_AHEAD {
                let reason = "must be Unix seconds within a year from now".to_owned();
                return Err(ParamError::Value { field: "schedule", reason });
            }
            at = Some(schedule * 1000);
        }
        if let Some(followup) = params.integer("followup")?.filter(|after| *after != 0) {
            if !(0..=MAX_AHEAD).contains(&followup) {
                let reason = "must be a number of seconds within a year".to_owned();
                return Err(ParamError::Value { field: "followup", reason });
            }
            at = Some(at.unwrap_or(now_ms).max(now_ms) + followup * 1000);
        }
        let delay = params.text("delay")?.map(|delay| Delay::parse(&delay)).transpose()?.unwrap_or_default();
        let typing = match (params.flag("typing")?, params.integer("duration")?) {
            (false, _) => Duration::ZERO,
            (true, None | Some(0)) => TYPING,
            (true, Some(seconds)) if (1..=MAX_TYPING).contains(&seconds) => {
                Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
            }
            (true, Some(_)) => {
                let reason = format!("must be a number of seconds from 1 to {MAX_TYPING}");
                return Err(ParamError::Value { field: "duration", reason });
            }
        };
        Ok(Timing { not_before_ms: at, delay, sequence: params.flag("sequence")?, typing })
    }

    /// The pause before a message; `roll` is from 0 to 1. A sequence needs one, however short, to be in order.
    pub(super) fn pause(&self, roll: f64) -> Duration {
        let pause = self.delay.pick(roll);
        if self.sequence { pause.max(Duration::from_millis(1)) } else { pause }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    fn params(value: Value) -> Params {
        Params::from_object(match value {
            Value::Object(object) => object,
            _ => Map::new(),
        })
    }

    #[test]
    fn targets_carry_their_variables() {
        let found = addressees("08123456789|Fonnte|Admin, 08123456789|Lili|User,120363@g.us,").unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!(found[1].variables, ["Lili", "User"]);
        assert!(found[2].variables.is_empty());
        assert_eq!(
            fill("test message to {name} as {var1}", &found[0].variables),
            "test message to Fonnte as Admin"
        );
        assert_eq!(fill("{name} {var1} {var2} {var0} {x}", &["Lili".into()]), "Lili   {var0} {x}");
        assert_eq!(fill("{name}", &[]), "{name}");
        assert!(addressees(" , ").is_err());
        assert!(addressees(&"1,".repeat(MAX_TARGETS + 1)).is_err());
    }

    #[test]
    fn times_are_read_and_bounded() {
        let now = 1_000_000_000;
        let read = |value| Timing::read(&params(value), now);
        let timing =
            read(json!({"schedule": "1000010", "delay": "1-10", "typing": true, "duration": 5})).unwrap();
        assert_eq!((timing.not_before_ms, timing.typing.as_secs()), (Some(1_000_010_000), 5));
        assert_eq!((timing.pause(0.0).as_secs(), timing.pause(1.0).as_secs()), (1, 10));
        assert_eq!(read(json!({"followup": 60})).unwrap().not_before_ms, Some(now + 60_000));
        assert_eq!(read(json!({"schedule": 0, "followup": 0, "delay": "0"})).unwrap(), Timing::default());
        assert!(!read(json!({"sequence": true})).unwrap().pause(0.5).is_zero());
        for bad in [
            json!({"schedule": 1e15 as i64}),
            json!({"schedule": "besok"}),
            json!({"followup": -5}),
            json!({"delay": "5-1"}),
            json!({"delay": "x"}),
            json!({"delay": "99999"}),
            json!({"typing": true, "duration": 600}),
            json!({"typing": "x"}),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text(text in "[{}a-z0-9|,-]{0,40}") {
            let _ = (addressees(&text), Delay::parse(&text), fill(&text, &["x".into()]));
        }
    }
}
