//! File names: what the recipient sees on a document.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The longest name kept, in bytes; file systems take 255.
const MAX_NAME: usize = 200;

/// A name that is safe to show and to save under: no folders, no control characters, not hidden, bounded.
/// `None` if nothing is left.
pub(super) fn clean(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let visible: String = last
        .chars()
        // Direction overrides can make "gpj.exe" read as "exe.jpg".
        .filter(|c| {
            !c.is_control()
                && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        })
        .collect();
    let name = visible.trim_start_matches(|c: char| c == '.' || c.is_whitespace()).trim_end();
    if name.is_empty() {
        return None;
    }
    if name.len() <= MAX_NAME {
        return Some(name.to_owned());
    }
    let (stem, extension) = split(name).unwrap_or((name, ""));
    let mut keep = MAX_NAME - extension.len() - 1;
    while !stem.is_char_boundary(keep) {
        keep -= 1;
    }
    Some(if extension.is_empty() {
        stem[..keep].to_owned()
    } else {
        format!("{}.{extension}", &stem[..keep])
    })
}

/// Stem and extension. An extension is short and plain; in "Mr. Smith" there is none.
fn split(name: &str) -> Option<(&str, &str)> {
    let (stem, extension) = name.rsplit_once('.')?;
    let plain = (1..=8).contains(&extension.len()) && extension.bytes().all(|b| b.is_ascii_alphanumeric());
    (plain && !stem.is_empty()).then_some((stem, extension))
}

/// The extension of a name in lower case, if it has one.
pub(super) fn extension(name: &str) -> Option<String> {
    split(name).map(|(_, extension)| extension.to_ascii_lowercase())
}

/// `name` with an extension: its own, or `fallback` where it has none or only that of a script that made the file.
pub(super) fn complete(name: Option<String>, fallback: &str) -> String {
    const SCRIPTS: [&str; 8] = ["php", "asp", "aspx", "jsp", "cgi", "do", "ashx", "axd"];
    let name = name.unwrap_or_else(|| "file".to_owned());
    match split(&name) {
        Some((stem, extension)) if SCRIPTS.contains(&extension.to_ascii_lowercase().as_str()) => {
            format!("{stem}.{fallback}")
        }
        Some(_) => name,
        None => format!("{name}.{fallback}"),
    }
}

/// The file name in a `Content-Disposition` header (RFC 6266); `filename*` (RFC 8187) wins over `filename`.
pub(super) fn from_disposition(header: &str) -> Option<String> {
    let mut plain = None;
    for parameter in split_parameters(header) {
        let Some((key, value)) = parameter.split_once('=') else { continue };
        let value = value.trim();
        match key.trim().to_ascii_lowercase().as_str() {
            "filename*" => {
                let mut parts = value.splitn(3, '\'');
                let (charset, _language, text) = (parts.next()?, parts.next(), parts.next());
                if charset.eq_ignore_ascii_case("utf-8")
                    && let Some(name) = text.and_then(|text| clean(&percent_decode(text)))
                {
                    return Some(name);
                }
            }
            "filename" => plain = plain.or_else(|| clean(&unquote(value))),
            _ => {}
        }
    }
    plain
}

/// Splits at the semicolons that are not inside quotes.
fn split_parameters(header: &str) -> Vec<&str> {
    let (mut parts, mut from, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in header.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ';' if !quoted => {
                parts.push(&header[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&header[from..]);
    parts
}

fn unquote(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"') else { return value.to_owned() };
    let mut text = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => text.extend(chars.next()),
            c => text.push(c),
        }
    }
    text
}

/// Decodes `%xx`; what is not such a sequence stays, and bytes that are no UTF-8 become U+FFFD.
pub(super) fn percent_decode(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_lose_what_could_harm() {
        assert_eq!(clean("../../etc/passwd").unwrap(), "passwd");
        assert_eq!(clean("C:\\Users\\x\\invoice.pdf").unwrap(), "invoice.pdf");
        assert_eq!(clean(" \t.hidden\r\n").unwrap(), "hidden");
        assert_eq!(clean("a\u{202e}fdp.exe").unwrap(), "afdp.exe");
        assert_eq!(clean(".."), None);
        assert_eq!(clean("folder/"), None);
        let long = clean(&format!("{}.pdf", "é".repeat(300))).unwrap();
        assert!(long.len() <= MAX_NAME && long.ends_with("é.pdf"));
    }

    #[test]
    fn names_get_the_extension_that_they_lack() {
        assert_eq!(complete(None, "pdf"), "file.pdf");
        assert_eq!(complete(Some("invoice".into()), "pdf"), "invoice.pdf");
        assert_eq!(complete(Some("download.php".into()), "pdf"), "download.pdf");
        assert_eq!(complete(Some("archive.tar.gz".into()), "gz"), "archive.tar.gz");
        assert_eq!(complete(Some("Mr. Smith".into()), "doc"), "Mr. Smith.doc");
    }

    #[test]
    fn content_disposition() {
        let name = |header| from_disposition(header).unwrap_or_default();
        assert_eq!(name("attachment; filename=\"a b; c.pdf\"; size=3"), "a b; c.pdf");
        assert_eq!(name("attachment; filename=plain.txt"), "plain.txt");
        assert_eq!(name(r#"attachment; filename="q\"uote.txt""#), "q\"uote.txt");
        assert_eq!(name("attachment; filename=\"fallback.pdf\"; filename*=UTF-8''t%C3%A9st.pdf"), "tést.pdf");
        assert_eq!(name("attachment; filename=\"../../up.pdf\""), "up.pdf");
        assert_eq!(name("inline"), "");
        assert_eq!(name("attachment; filename*=utf-8"), "");
    }

    proptest! {
        #[test]
        fn any_header_gives_a_safe_name_or_none(header in ".{0,300}") {
            if let Some(name) = from_disposition(&header) {
                prop_assert!(name.len() <= MAX_NAME && !name.contains(['/', '\\', '\0', '\n']));
            }
        }

        #[test]
        fn any_name_is_clean_once(name in ".{0,300}") {
            if let Some(cleaned) = clean(&name) {
                prop_assert!(cleaned.len() <= MAX_NAME);
                prop_assert!(!cleaned.contains(['/', '\\']) && !cleaned.starts_with('.'));
            }
            let _ = percent_decode(&name);
        }
    }
}
