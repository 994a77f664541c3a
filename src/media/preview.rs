//! What WhatsApp shows below a text with a link: the page's title, a line about it, a small picture. The sender's app
//! makes it, so here it is Kurir that asks for the page: briefly, a little of it, and where media may come from only.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use html5gum::{DefaultEmitter, HtmlString, StartTag, Token, Tokenizer};
use tokio::sync::OnceCell;
use ureq::http::{Uri, header};

use super::fetch::{self, FetchError, FetchPolicy, is_page};
use super::{Spool, url};

/// The longest that a message waits for its preview.
const PATIENCE: Duration = Duration::from_secs(3);
/// Time for page and picture together: less, so that the answer is remembered before nobody waits any more.
const TOTAL: Duration = Duration::from_millis(2_500);
/// What is read of a page; what is looked for stands in its head.
const MAX_PAGE: u64 = 512 * 1024;
/// Largest picture that is looked at, in bytes.
const MAX_PICTURE: u64 = 2 * 1024 * 1024;
/// Largest thumbnail: it travels inside the message.
const MAX_THUMBNAIL: u64 = 24 * 1024;
/// Longest title and description, in characters; apps show one and three lines.
const MAX_TITLE: usize = 200;
const MAX_DESCRIPTION: usize = 400;
/// Longest link, in bytes.
const MAX_LINK: usize = 2_048;
/// Previews remembered: at most 1.5 MB.
const MOST: usize = 64;
/// How long a preview is remembered, and how long that there is none.
const FRESH: Duration = Duration::from_secs(3600);
const FRESH_NONE: Duration = Duration::from_secs(600);

/// A preview of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// The link as the text has it.
    pub link: String,
    /// The page's title.
    pub title: String,
    /// What the page says of itself.
    pub description: Option<String>,
    /// A small JPEG.
    pub thumbnail: Option<Vec<u8>>,
}

struct Known {
    link: String,
    since: Instant,
    // Several messages with the same link ask once.
    preview: Arc<OnceCell<Option<Preview>>>,
}

impl Known {
    fn is_fresh(&self) -> bool {
        let age = self.since.elapsed();
        match self.preview.get() {
            None | Some(Some(_)) => age < FRESH,
            Some(None) => age < FRESH_NONE,
        }
    }
}

/// Makes previews and remembers them.
pub struct Previews {
    policy: FetchPolicy,
    spool: Spool,
    // Held for list operations only.
    known: Mutex<VecDeque<Known>>,
}

impl Previews {
    /// Fetches from where `policy` lets media come from.
    pub fn new(policy: &FetchPolicy, spool: Spool) -> Previews {
        // Places of its own: a slow page keeps no file waiting.
        let mut policy = policy.clone().with_parallel(2);
        policy.connect = policy.connect.min(TOTAL);
        (policy.total, policy.stall, policy.min_bytes, policy.redirects) = (TOTAL, TOTAL, 0, 3);
        Previews { policy, spool, known: Mutex::default() }
    }

    /// The preview of the text's first link, if the page gives one in time.
    pub async fn of(&self, text: &str) -> Option<Preview> {
        let link = first_link(text)?;
        let known = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.retain(Known::is_fresh);
            match known.iter().find(|k| k.link == link) {
                Some(found) => Arc::clone(&found.preview),
                None => {
                    if known.len() >= MOST {
                        known.pop_front();
                    }
                    let preview = Arc::new(OnceCell::new());
                    let new = Known { link: link.to_owned(), since: Instant::now(), preview };
                    let preview = Arc::clone(&new.preview);
                    known.push_back(new);
                    preview
                }
            }
        };
        let ask = known.get_or_init(|| async {
            self.ask(link).await.unwrap_or_else(|e| {
                // Its text names the host only.
                log::debug!("no link preview: {e}");
                None
            })
        });
        // Whoever waits for somebody else's question waits no longer than for an own one.
        tokio::time::timeout(PATIENCE, ask).await.ok()?.clone()
    }

    async fn ask(&self, link: &str) -> Result<Option<Preview>, FetchError> {
        let began = Instant::now();
        let page = fetch::visit(link, &self.policy, |download, uri| {
            let (uri, answer) = download.open(uri)?;
            let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
            let identity = |coding: &str| coding.trim().eq_ignore_ascii_case("identity");
            if !header(header::CONTENT_TYPE).is_some_and(is_page)
                || !header(header::CONTENT_ENCODING).is_none_or(identity)
            {
                return Ok(None);
            }
            let mut bytes = Vec::new();
            let mut body = answer.into_body().into_reader().take(MAX_PAGE);
            body.read_to_end(&mut bytes).map_err(|e| download.explain(&url::host(&uri), e.into()))?;
            Ok(Some((uri, bytes)))
        });
        let Some((base, bytes)) = page.await? else { return Ok(None) };
        let head = Head::read(&String::from_utf8_lossy(&bytes));
        let Some(title) = head.title() else { return Ok(None) };
        let left = TOTAL.saturating_sub(began.elapsed());
        let thumbnail = match head.picture {
            Some(picture) => tokio::time::timeout(left, self.thumbnail(&base, &picture)).await.ok().flatten(),
            None => None,
        };
        let description = head.og_description.or(head.description);
        let description =
            description.map(|text| tidy(&text, MAX_DESCRIPTION)).filter(|text| !text.is_empty());
        Ok(Some(Preview { link: link.to_owned(), title, description, thumbnail }))
    }

    /// The page's picture, where it can be had and is small enough to travel in the message.
    async fn thumbnail(&self, base: &Uri, picture: &str) -> Option<Vec<u8>> {
        let link = url::join(base, picture).ok()?.to_string();
        let mut policy = self.policy.clone();
        policy.max_bytes = MAX_PICTURE;
        let file = match fetch::fetch(&link, &policy, &self.spool).await {
            Ok(file) => file,
            Err(e) => {
                log::debug!("a link preview without its picture: {e}");
                return None;
            }
        };
        if file.mime != "image/jpeg" || file.size > MAX_THUMBNAIL {
            return None;
        }
        tokio::task::spawn_blocking(move || std::fs::read(&file.file).ok()).await.ok().flatten()
    }
}

/// The first `http` or `https` link in a text, without the punctuation that ends the sentence around it.
fn first_link(text: &str) -> Option<&str> {
    let begins = |word: &str| {
        let head = |scheme: &str| {
            word.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme))
                && word.len() > scheme.len()
        };
        head("http://") || head("https://")
    };
    let word = text.split_whitespace().find_map(|word| {
        let word = word.trim_start_matches(['(', '[', '{', '<', '"', '\'', '*', '_', '~', '“', '«']);
        begins(word).then_some(word)
    })?;
    let mut link = word;
    loop {
        let shorter = link.trim_end_matches([
            '.', ',', ';', ':', '!', '?', ']', '}', '>', '"', '\'', '*', '_', '~', '”', '»', '…',
        ]);
        // A bracket belongs to the link if it opens there as well.
        let shorter = match shorter.strip_suffix(')') {
            Some(rest) if !shorter.contains('(') => rest,
            _ => shorter,
        };
        if shorter.len() == link.len() {
            break;
        }
        link = shorter;
    }
    (begins(link) && link.len() <= MAX_LINK).then_some(link)
}

/// What a page's head says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Head {
    title: Option<String>,
    og_title: Option<String>,
    description: Option<String>,
    og_description: Option<String>,
    picture: Option<String>,
}

impl Head {
    fn read(page: &str) -> Head {
        let mut emitter = DefaultEmitter::default();
        emitter.naively_switch_states(true);
        let mut head = Head::default();
        let mut in_title = false;
        for Ok(token) in Tokenizer::new_with_emitter(page, emitter) {
            match token {
                Token::StartTag(tag) if *tag.name == b"title"[..] => in_title = head.title.is_none(),
                Token::StartTag(tag) if *tag.name == b"meta"[..] => head.meta(&tag),
                // Sites write their marks at the top; below the body begins what people see.
                Token::StartTag(tag) if *tag.name == b"body"[..] => break,
                Token::EndTag(tag) if *tag.name == b"title"[..] => in_title = false,
                Token::EndTag(tag) if *tag.name == b"head"[..] => break,
                Token::String(text) if in_title => {
                    head.title.get_or_insert_default().push_str(&String::from_utf8_lossy(&text));
                }
                _ => {}
            }
        }
        head
    }

    fn meta(&mut self, tag: &StartTag<()>) {
        let attribute = |name: &[u8]| {
            let value = tag.attributes.get(&HtmlString::from(name.to_vec()))?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        let Some(content) = attribute(b"content").filter(|content| !content.trim().is_empty()) else {
            return;
        };
        let Some(name) = attribute(b"property").or_else(|| attribute(b"name")) else { return };
        let field = match name.trim().to_ascii_lowercase().as_str() {
            "og:title" | "twitter:title" => &mut self.og_title,
            "og:description" | "twitter:description" => &mut self.og_description,
            "description" => &mut self.description,
            "og:image" | "og:image:url" | "og:image:secure_url" | "twitter:image" => &mut self.picture,
            _ => return,
        };
        field.get_or_insert(content);
    }

    fn title(&self) -> Option<String> {
        let titles = [&self.og_title, &self.title];
        titles.into_iter().flatten().map(|title| tidy(title, MAX_TITLE)).find(|title| !title.is_empty())
    }
}

/// One line of at most `most` characters, without what could turn the text around it.
fn tidy(text: &str, most: usize) -> String {
    let plain: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .filter(|c| !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
        .collect();
    let line = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_link_is_found_without_the_sentence_around_it() {
        for (text, link) in [
            ("lihat https://toko.example/a?b=1 ya", Some("https://toko.example/a?b=1")),
            ("(https://toko.example).", Some("https://toko.example")),
            ("HTTP://a.example/b, https://c.example", Some("HTTP://a.example/b")),
            ("https://id.example/wiki/Kopi_(minuman)", Some("https://id.example/wiki/Kopi_(minuman)")),
            ("*https://a.example/x*!", Some("https://a.example/x")),
            ("https:// ftp://a.example a@https.example", None),
            ("tidak ada", None),
        ] {
            assert_eq!(first_link(text), link, "{text}");
        }
        assert_eq!(first_link(&format!("https://a.example/{}", "x".repeat(MAX_LINK))), None);
    }

    #[test]
    fn a_head_says_what_it_is_in_each_of_its_ways() {
        let page = "<!doctype html><html><head><title> Toko &amp; Kopi\n Sari </title>
            <meta name=description content='Biji kopi'>
            <meta property=\"og:image\" content=\"/kopi.jpg\"><script>var t = '<title>x</title>';</script></head>
            <body><title>bukan</title><meta property=og:title content=bukan></body>";
        let head = Head::read(page);
        assert_eq!(head.title().unwrap(), "Toko & Kopi Sari");
        assert_eq!(
            (head.description.as_deref(), head.picture.as_deref()),
            (Some("Biji kopi"), Some("/kopi.jpg"))
        );
        assert_eq!(head.og_title, None);
        let og = Head::read(
            "<title>a</title><meta content=\"B\u{202e}C\" property='og:title'><meta name=twitter:title content=D>",
        );
        assert_eq!(og.title().unwrap(), "BC");
        assert_eq!(Head::read("<title> </title>").title(), None);
        assert_eq!(tidy(&"é ".repeat(500), 3), "é é…");
    }

    proptest! {
        #[test]
        fn any_page_and_any_text(page in "(<(title|meta|/title)[^>]{0,20}>|.){0,60}", text in ".{0,80}") {
            if let Some(title) = Head::read(&page).title() {
                prop_assert!(title.chars().count() <= MAX_TITLE + 1 && !title.contains(char::is_control));
            }
            if let Some(link) = first_link(&text) {
                prop_assert!(text.contains(link));
            }
        }
    }
}
