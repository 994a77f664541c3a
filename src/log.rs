//! Logging to standard error, with phone numbers masked.
//!
//! Our own lines name sessions and messages by their numbers inside the box. What libraries log may hold JIDs and phone
//! numbers; at the default level any run of seven or more digits is masked, whoever wrote it.

use std::io::Write;

use env_logger::{Builder, Target};

/// Digits in a row from which on they are taken for a phone number or LID. Shorter ones are ids, ports and times.
const MASK_FROM: usize = 7;
/// Digits of a masked number that stay, to tell two apart.
const KEEP: usize = 2;

/// What libraries may say: errors. whatsapp-rust reports each failed connection as one; the supervisor says the same
/// once, with what to do.
const LIBRARIES: &str = "error,whatsapp_rust::client::lifecycle=off";

/// Sets the logger up. `filter` in `env_logger`'s syntax, where a level alone is ours (`debug` is `kurir=debug`) and
/// libraries are named to hear more of them (`debug,whatsapp_rust=debug`). Masking ends where it asks for debug.
pub fn init(filter: &str) {
    let mut builder = Builder::new();
    builder.parse_filters(&directives(filter));
    let verbose = filter.contains("debug") || filter.contains("trace");
    builder.target(Target::Stderr).format(move |out, record| {
        let text = record.args().to_string();
        let text = if verbose { text } else { mask(&text) };
        writeln!(out, "{}{:<5} {}: {text}", journal_priority(record.level()), record.level(), record.target())
    });
    // A second call (tests) keeps the first logger.
    let _ = builder.try_init();
}

fn directives(filter: &str) -> String {
    let mut all = LIBRARIES.to_owned();
    for directive in filter.split(',').map(str::trim).filter(|d| !d.is_empty()) {
        all.push(',');
        if directive.parse::<log::LevelFilter>().is_ok() {
            all.push_str("kurir=");
        }
        all.push_str(directive);
    }
    all
}

/// systemd's priority prefix, where the journal reads standard error.
fn journal_priority(level: log::Level) -> &'static str {
    if std::env::var_os("JOURNAL_STREAM").is_none() {
        return "";
    }
    match level {
        log::Level::Error => "<3>",
        log::Level::Warn => "<4>",
        log::Level::Info => "<6>",
        log::Level::Debug | log::Level::Trace => "<7>",
    }
}

/// Masks long runs of digits.
pub fn mask(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        out.push_str(&rest[..start]);
        let run = rest[start..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - start);
        let digits = &rest[start..start + run];
        if run >= MASK_FROM {
            out.push_str("***");
            out.push_str(&digits[run - KEEP..]);
        } else {
            out.push_str(digits);
        }
        rest = &rest[start + run..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::{directives, mask};

    #[test]
    fn a_level_alone_is_ours_and_libraries_are_named() {
        assert!(directives("info").ends_with(",kurir=info"));
        assert!(directives("debug, whatsapp_rust=debug").ends_with(",kurir=debug,whatsapp_rust=debug"));
    }

    #[test]
    fn numbers_are_masked_and_short_digits_stay() {
        assert_eq!(
            mask("6281234567890@s.whatsapp.net failed (479) on port 8080"),
            "***90@s.whatsapp.net failed (479) on port 8080"
        );
        assert_eq!(mask("no digits"), "no digits");
        assert_eq!(mask("123456 1234567"), "123456 ***67");
    }
}
