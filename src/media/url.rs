//! Media URLs: taken as people write them, and followed across redirects. Pure.

use ureq::http::Uri;
use ureq::http::uri::{Authority, Scheme};

use super::fetch::FetchError;

/// The longest URL taken, in bytes, after its odd characters have been encoded.
const MAX_URL: usize = 8 * 1024;

/// Parses a URL that a person or a program gave. White space around it, a fragment, and unencoded spaces and letters
/// beyond ASCII are all common in links to files and are put right.
pub(super) fn parse(text: &str) -> Result<Uri, FetchError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(FetchError::BadUrl { why: "it is empty" });
    }
    let text = text.split('#').next().unwrap_or_default();
    let (scheme, rest) = text
        .split_once("://")
        .ok_or(FetchError::BadUrl { why: "it must be absolute, beginning with http:// or https://" })?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(FetchError::BadUrl { why: "only http:// and https:// links can be fetched" });
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    // Checked on the text, so that no parser's leniency decides which host is meant.
    if authority.contains('@') {
        return Err(FetchError::BadUrl { why: "a user name or password in it is not allowed" });
    }
    if authority.is_empty() || authority.starts_with(':') {
        return Err(FetchError::BadUrl { why: "it names no host" });
    }
    if !authority.is_ascii() {
        return Err(FetchError::BadUrl {
            why: "its host has letters beyond ASCII; write the host in its xn-- form (Punycode)",
        });
    }
    let encoded = format!("{}://{authority}{}", scheme.to_ascii_lowercase(), encode(path));
    if encoded.len() > MAX_URL {
        return Err(FetchError::BadUrl { why: "it is longer than 8 KiB" });
    }
    let malformed = FetchError::BadUrl { why: "it is not a well-formed link" };
    match encoded.parse::<Uri>() {
        // The parser must mean the same host as the checks above did.
        Ok(uri)
            if uri
                .authority()
                .is_some_and(|parsed| parsed.as_str() == authority && has_sound_port(parsed)) =>
        {
            Ok(uri)
        }
        _ => Err(malformed),
    }
}

/// `http` takes `host:99999` and then knows no port, which would silently mean port 80.
fn has_sound_port(authority: &Authority) -> bool {
    authority.as_str() == authority.host() || authority.port_u16().is_some_and(|port| port != 0)
}

fn encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b' ' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0..=0x1f | 0x7f.. => {
                encoded.push_str(&format!("%{byte:02X}"));
            }
            byte => encoded.push(char::from(byte)),
        }
    }
    encoded
}

/// Where a `Location` header leads from `base` (RFC 3986, 5.2).
pub(super) fn join(base: &Uri, location: &str) -> Result<Uri, FetchError> {
    let location = location.trim().split('#').next().unwrap_or_default();
    if has_scheme(location) {
        return parse(location);
    }
    let scheme = base.scheme().unwrap_or(&Scheme::HTTP);
    if let Some(rest) = location.strip_prefix("//") {
        return parse(&format!("{scheme}://{rest}"));
    }
    let authority = base.authority().map_or("", |authority| authority.as_str());
    let (path, query) = match location.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (location, None),
    };
    let (path, query) = if path.is_empty() {
        (base.path().to_owned(), query.or(base.query()))
    } else if path.starts_with('/') {
        (without_dots(path), query)
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        (without_dots(&format!("{folder}/{path}")), query)
    };
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    parse(&format!("{scheme}://{authority}{path}{query}"))
}

fn has_scheme(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    })
}

fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

/// The host, for messages: never the path or query, which may hold a secret.
pub(super) fn host(uri: &Uri) -> String {
    uri.host().unwrap_or("?").to_owned()
}

/// The name of the file that a URL ends in, as it stands there decoded.
pub(super) fn file_name(uri: &Uri) -> Option<String> {
    let last = uri.path().rsplit('/').next().unwrap_or_default();
    super::name::clean(&super::name::percent_decode(last))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> String {
        parse(text).unwrap().to_string()
    }

    #[test]
    fn links_as_people_write_them() {
        assert_eq!(url(" https://a.example/x.png\n"), "https://a.example/x.png");
        assert_eq!(url("HTTP://a.example"), "http://a.example/");
        assert_eq!(url("http://a.example:8080?x=1#top"), "http://a.example:8080/?x=1");
        assert_eq!(url("http://a.example/foto rumah é.jpg"), "http://a.example/foto%20rumah%20%C3%A9.jpg");
        assert_eq!(url("http://a.example/a%20b"), "http://a.example/a%20b");
        assert_eq!(url("http://[2001:db8::1]:81/a"), "http://[2001:db8::1]:81/a");
    }

    #[test]
    fn what_is_no_link_says_why() {
        for (text, why) in [
            ("", "empty"),
            ("photo.jpg", "absolute"),
            ("/photo.jpg", "absolute"),
            ("ftp://a.example/x", "only http"),
            ("file:///etc/passwd", "only http"),
            ("http://user:pw@a.example/", "password"),
            ("http://a.example\\@b.example/", "password"),
            ("http://a.example\\b", "well-formed"),
            ("http://a.example%5c.b/", "well-formed"),
            ("http:///x", "no host"),
            ("http://:80/x", "no host"),
            ("http://münchen.example/", "Punycode"),
            ("http://a.example:99999/", "well-formed"),
            ("http://a.example:0/", "well-formed"),
            ("http://a.example:/", "well-formed"),
            ("http://a.example:80x/", "well-formed"),
            ("http://a b/", "well-formed"),
        ] {
            let e = parse(text).unwrap_err().to_string();
            assert!(e.contains(why), "{text}: {e}");
        }
        assert!(parse(&format!("http://a.example/{}", "x".repeat(9000))).is_err());
    }

    #[test]
    fn redirects() {
        let base = parse("https://a.example:444/one/two?q=1").unwrap();
        let to = |location| join(&base, location).map(|uri| uri.to_string()).unwrap_or_default();
        assert_eq!(to("http://b.example/x"), "http://b.example/x");
        assert_eq!(to("//b.example/x"), "https://b.example/x");
        assert_eq!(to("/x?y#z"), "https://a.example:444/x?y");
        assert_eq!(to("three"), "https://a.example:444/one/three");
        assert_eq!(to("../three"), "https://a.example:444/three");
        assert_eq!(to("./../../../x/./y/.."), "https://a.example:444/x/");
        assert_eq!(to("?p=2"), "https://a.example:444/one/two?p=2");
        assert_eq!(to("#top"), "https://a.example:444/one/two?q=1");
        assert_eq!(to("a b:c"), "https://a.example:444/one/a%20b:c");
        assert_eq!(to("file:///etc/passwd"), "");
        assert_eq!(to("javascript:x"), "");
        assert_eq!(to("http://x@b.example/"), "");
    }

    #[test]
    fn file_names() {
        let name = |text| file_name(&parse(text).unwrap()).unwrap_or_default();
        assert_eq!(name("http://a.example/b/faktur%20maret.pdf?sig=1"), "faktur maret.pdf");
        assert_eq!(name("http://a.example/"), "");
        assert_eq!(name("http://a.example/b/..%2f..%2fetc"), "etc");
    }

    proptest! {
        #[test]
        fn any_text_is_a_link_with_a_host_or_an_error(text in "(https?://)?.{0,60}") {
            if let Ok(uri) = parse(&text) {
                prop_assert!(!host(&uri).contains('@'));
                prop_assert!(uri.authority().is_some_and(|a| !a.as_str().contains('@')));
            }
        }

        #[test]
        fn any_location_leads_to_http_or_nowhere(location in ".{0,60}") {
            let base = parse("https://a.example/one/two").unwrap();
            if let Ok(uri) = join(&base, &location) {
                prop_assert!(matches!(uri.scheme_str(), Some("http" | "https")));
            }
        }
    }
}
