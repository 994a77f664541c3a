//! Every setting there is, one row each.

mod limits;
mod place;

use super::Config;

/// One setting: its key, its default, its explanation, and how it is read and written.
pub(super) struct Setting {
    pub(super) key: &'static str,
    pub(super) default: &'static str,
    pub(super) doc: &'static str,
    pub(super) secret: bool,
    pub(super) set: fn(&mut Config, &str) -> Result<(), String>,
    pub(super) get: fn(&Config) -> String,
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    text.trim().parse().map_err(|e: T::Err| e.to_string())
}

fn bounded<T>(text: &str, range: std::ops::RangeInclusive<T>) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
    T::Err: std::fmt::Display,
{
    let value: T = parse(text).map_err(|e| format!("a whole number is needed ({e})"))?;
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(format!("must be from {} to {}", range.start(), range.end()))
    }
}

fn only_with_sim<T>(text: &str, value: impl FnOnce(&str) -> Result<T, String>) -> Result<T, String> {
    if cfg!(feature = "sim") {
        value(text)
    } else {
        Err("this build talks to WhatsApp only; the test server needs a build with the Cargo feature `sim`"
            .into())
    }
}

/// All of them, in the order in which people read them.
pub(super) fn all() -> impl Iterator<Item = &'static Setting> {
    place::SETTINGS.iter().chain(limits::SETTINGS)
}
