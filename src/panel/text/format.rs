//! Numbers, times and codes as people read them.

use std::time::SystemTime;

use chrono::{DateTime, Datelike, FixedOffset, Offset, Timelike, Utc};

use super::Words;

/// `21 Nov 14:05`, in local time. Always with the date: a screen does not change by itself at midnight.
pub(crate) fn date_time(words: &Words, at: SystemTime, utc_offset: i32) -> String {
    let local = FixedOffset::east_opt(utc_offset).unwrap_or(Utc.fix());
    let at = DateTime::<Utc>::from(at).with_timezone(&local);
    let month = words.months[at.month0() as usize];
    format!("{} {month} {:02}:{:02}", at.day(), at.hour(), at.minute())
}

/// `+62 812-3456-7890`: digits with country code, grouped as Indonesians write them; other countries' are not grouped.
pub(crate) fn phone(digits: &str) -> String {
    let Some(national) = digits.strip_prefix("62").filter(|n| n.is_ascii() && n.len() >= 8) else {
        return format!("+{digits}");
    };
    format!("+62 {}-{}-{}", &national[..3], &national[3..7.min(national.len())], &national[7..])
}

/// A code with a dash in its middle, as WhatsApp shows pairing codes; as it is if it has its own.
pub(crate) fn code(code: &str) -> String {
    match code.len() {
        8 if code.chars().all(|c| c.is_ascii_alphanumeric()) => format!("{}-{}", &code[..4], &code[4..]),
        _ => code.to_owned(),
    }
}

/// `350 MB`, `1.2 GB`.
pub(crate) fn bytes(count: u64) -> String {
    let mb = count / 1_000_000;
    if mb < 1000 { format!("{mb} MB") } else { format!("{}.{} GB", mb / 1000, mb % 1000 / 100) }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::super::{super::view::Language, words};
    use super::*;

    #[test]
    fn times_are_local_and_in_the_language() {
        // 2026-08-17 18:30 UTC is past midnight in Jakarta.
        let at = UNIX_EPOCH + Duration::from_secs(1_786_991_400);
        assert_eq!(date_time(words(Language::English), at, 0), "17 Aug 18:30");
        assert_eq!(date_time(words(Language::Indonesian), at, 7 * 3600), "18 Agu 01:30");
        assert_eq!(
            date_time(words(Language::English), at, i32::MAX),
            "17 Aug 18:30",
            "an offset that cannot be"
        );
    }

    #[test]
    fn numbers_are_grouped_only_where_we_know_how() {
        assert_eq!(phone("6281234567890"), "+62 812-3456-7890");
        assert_eq!(phone("62812345678"), "+62 812-3456-78");
        assert_eq!(phone("15551234567"), "+15551234567");
        assert_eq!(phone("62"), "+62");
    }

    #[test]
    fn codes_and_sizes() {
        assert_eq!(code("ABCD1234"), "ABCD-1234");
        assert_eq!(code("AB-CD"), "AB-CD");
        assert_eq!((bytes(42_000_000), bytes(1_250_000_000)), ("42 MB".into(), "1.2 GB".into()));
    }
}
