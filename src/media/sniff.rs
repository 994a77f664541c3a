//! What a file is, by its content.
//!
//! A file's name and the remote server's `Content-Type` are often wrong, and a phone that gets an image which is
//! none shows nothing at all.

use std::io::{self, Read, Seek};

use super::containers::{self, Ole, Zip, read_at};
use super::name;

/// How much of a file's beginning is looked at, in bytes.
const HEAD: usize = 8 * 1024;

/// A type as recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sniffed {
    /// The media type, such as `image/jpeg`; `application/octet-stream` if nothing is known.
    pub mime: &'static str,
    /// The usual extension, without a dot.
    pub extension: &'static str,
}

const fn known(mime: &'static str, extension: &'static str) -> Sniffed {
    Sniffed { mime, extension }
}

const HTML: Sniffed = known("text/html", "html");
const TEXT: Sniffed = known("text/plain", "txt");
const UNKNOWN: Sniffed = known("application/octet-stream", "bin");
const MP4: Sniffed = known("video/mp4", "mp4");
const M4A: Sniffed = known("audio/mp4", "m4a");
const ZIP: Sniffed = known("application/zip", "zip");

impl Sniffed {
    /// Whether this is a web page.
    #[must_use]
    pub fn is_html(&self) -> bool {
        matches!(self.mime, "text/html" | "application/xhtml+xml")
    }

    /// Kinds of text cannot be told apart by their content; for these the name decides.
    pub(super) fn named(self, filename: &str) -> Self {
        if self != TEXT {
            return self;
        }
        match name::extension(filename).as_deref() {
            Some("csv") => known("text/csv", "csv"),
            Some("json") => known("application/json", "json"),
            Some("vcf") => known("text/vcard", "vcf"),
            Some("ics") => known("text/calendar", "ics"),
            Some("md") => known("text/markdown", "md"),
            _ => self,
        }
    }
}

/// Recognises a file. Most types show in its first 8 KiB; ZIP, OLE and MP4 containers are looked into.
///
/// # Errors
/// Reading or seeking failed.
pub fn sniff(file: &mut (impl Read + Seek)) -> io::Result<Sniffed> {
    let head = read_at(file, 0, HEAD)?;
    Ok(match sniff_head(&head) {
        ZIP => match containers::zip(file)? {
            Zip::Docx => {
                known("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx")
            }
            Zip::Xlsx => known("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
            Zip::Pptx => {
                known("application/vnd.openxmlformats-officedocument.presentationml.presentation", "pptx")
            }
            Zip::Plain => ZIP,
        },
        OLE => match containers::ole(file)? {
            Ole::Doc => known("application/msword", "doc"),
            Ole::Xls => known("application/vnd.ms-excel", "xls"),
            Ole::Ppt => known("application/vnd.ms-powerpoint", "ppt"),
            Ole::Other => OLE,
        },
        MP4 if containers::mp4_has_video(file)? == Some(false) => M4A,
        other => other,
    })
}

const OLE: Sniffed = known("application/x-ole-storage", "bin");

/// Recognises what begins with `head`, as far as its beginning tells: an office file is only a ZIP archive or an
/// OLE container here, and an MP4 always a film.
#[must_use]
pub fn sniff_head(head: &[u8]) -> Sniffed {
    let head = &head[..head.len().min(HEAD)];
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    if at(0, b"\xff\xd8\xff") {
        return known("image/jpeg", "jpg");
    }
    if at(0, b"\x89PNG\r\n\x1a\n") {
        return known("image/png", "png");
    }
    if at(0, b"GIF87a") || at(0, b"GIF89a") {
        return known("image/gif", "gif");
    }
    if at(0, b"%PDF-") {
        return known("application/pdf", "pdf");
    }
    if at(0, b"PK\x03\x04") || at(0, b"PK\x05\x06") {
        return open_document(head).unwrap_or(ZIP);
    }
    if at(0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") {
        return OLE;
    }
    if at(0, b"RIFF") {
        match head.get(8..12) {
            Some(b"WEBP") => return known("image/webp", "webp"),
            Some(b"WAVE") => return known("audio/wav", "wav"),
            Some(b"AVI ") => return known("video/x-msvideo", "avi"),
            _ => {}
        }
    }
    if at(0, b"OggS") {
        return ogg(head);
    }
    if at(0, b"fLaC") {
        return known("audio/flac", "flac");
    }
    if at(0, b"#!AMR") {
        return known("audio/amr", "amr");
    }
    if at(0, b"\x1a\x45\xdf\xa3") {
        return matroska(head);
    }
    if at(4, b"ftyp") {
        return iso_media(head);
    }
    // QuickTime files from before `ftyp` existed.
    if at(4, b"moov") || at(4, b"mdat") || at(4, b"wide") {
        return known("video/quicktime", "mov");
    }
    if let Some(sound) = mpeg_sound(head) {
        return sound;
    }
    if let Some(text) = markup(head) {
        return text;
    }
    // Only for what is none of the above: its own matchers for those are looser.
    if let Some(other) = infer::get(head) {
        return known(other.mime_type(), other.extension());
    }
    if is_text(head) { TEXT } else { UNKNOWN }
}

/// OpenDocument (part 3, 3.3) and EPUB put their type, uncompressed, into the first entry.
fn open_document(head: &[u8]) -> Option<Sniffed> {
    let content = head.strip_prefix(b"PK\x03\x04")?.get(26..)?.strip_prefix(b"mimetype")?;
    let types = [
        known("application/vnd.oasis.opendocument.text", "odt"),
        known("application/vnd.oasis.opendocument.spreadsheet", "ods"),
        known("application/vnd.oasis.opendocument.presentation", "odp"),
        known("application/epub+zip", "epub"),
    ];
    types.into_iter().find(|t| content.starts_with(t.mime.as_bytes()))
}

fn ogg(head: &[u8]) -> Sniffed {
    let first_page = &head[..head.len().min(256)];
    let has = |codec: &[u8]| first_page.windows(codec.len()).any(|w| w == codec);
    if has(b"\x80theora") { known("video/ogg", "ogv") } else { known("audio/ogg", "ogg") }
}

fn matroska(head: &[u8]) -> Sniffed {
    let header = &head[..head.len().min(128)];
    if header.windows(4).any(|w| w == b"webm") {
        known("video/webm", "webm")
    } else {
        known("video/x-matroska", "mkv")
    }
}

/// By the major brand, ISO/IEC 14496-12, 4.3.
fn iso_media(head: &[u8]) -> Sniffed {
    match head.get(8..12).unwrap_or_default() {
        b"M4A " | b"M4B " | b"M4P " => M4A,
        b"qt  " => known("video/quicktime", "mov"),
        b"heic" | b"heix" | b"heim" | b"heis" | b"mif1" | b"msf1" => known("image/heic", "heic"),
        b"avif" | b"avis" => known("image/avif", "avif"),
        brand if brand.starts_with(b"3g") => known("video/3gpp", "3gp"),
        _ => MP4,
    }
}

/// MP3 and AAC, whose only sign may be a frame header's eleven set bits (ISO/IEC 11172-3, 2.4.1.3; 13818-7, 6.2).
fn mpeg_sound(head: &[u8]) -> Option<Sniffed> {
    const MP3: Sniffed = known("audio/mpeg", "mp3");
    if head.starts_with(b"ID3") {
        return Some(MP3);
    }
    let &[sync, kind, rates, ..] = head else { return None };
    if sync != 0xff || kind & 0xe0 != 0xe0 {
        return None;
    }
    if kind & 0xf6 == 0xf0 {
        return Some(known("audio/aac", "aac"));
    }
    let (version, layer) = (kind >> 3 & 3, kind >> 1 & 3);
    // Reserved: version 1, layer 0, bit rate 15, sampling rate 3. Layer III (1) is what goes by MP3.
    (version != 1 && layer == 1 && rates >> 4 != 15 && rates >> 2 & 3 != 3).then_some(MP3)
}

/// HTML by the tags that the WHATWG MIME Sniffing standard lists (7.1), also behind comments and an XML
/// declaration; SVG and other XML.
fn markup(head: &[u8]) -> Option<Sniffed> {
    const TAGS: [&[u8]; 20] = [
        b"<!doctype html",
        b"<html",
        b"<head",
        b"<script",
        b"<iframe",
        b"<h1",
        b"<div",
        b"<font",
        b"<table",
        b"<a",
        b"<style",
        b"<title",
        b"<b",
        b"<body",
        b"<br",
        b"<p",
        b"<meta",
        b"<link",
        b"<base",
        b"<center",
    ];
    let mut rest = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let mut xml = false;
    loop {
        let skip: (&[u8], &[u8]) = if rest.starts_with(b"<!--") {
            (b"<!--", b"-->")
        } else if rest.starts_with(b"<?xml") {
            xml = true;
            (b"<?xml", b"?>")
        } else {
            break;
        };
        let (open, close) = skip;
        match rest[open.len()..].windows(close.len()).position(|w| w == close) {
            Some(end) => rest = rest[open.len() + end + close.len()..].trim_ascii_start(),
            // A comment longer than what is looked at: only pages begin like this.
            None => return Some(if xml { known("text/xml", "xml") } else { HTML }),
        }
    }
    let starts = |tag: &[u8]| {
        rest.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag))
            && rest.get(tag.len()).is_none_or(|b| b.is_ascii_whitespace() || matches!(b, b'>' | b'/'))
    };
    if TAGS.iter().any(|tag| starts(tag)) {
        return Some(HTML);
    }
    if starts(b"<svg") || starts(b"<!doctype svg") {
        return Some(known("image/svg+xml", "svg"));
    }
    xml.then_some(known("text/xml", "xml"))
}

/// Text has no control characters but white space and the escape that old printers' files hold. UTF-16 is text if
/// it says so with a byte order mark.
fn is_text(head: &[u8]) -> bool {
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        return true;
    }
    !head.is_empty() && head.iter().all(|b| *b >= 0x20 && *b != 0x7f || matches!(b, b'\t'..=b'\r' | 0x1b))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::super::containers::tests::{mp4_file, ole_file, zip_file};
    use super::*;

    fn of(file: impl AsRef<[u8]>) -> (&'static str, &'static str) {
        let sniffed = sniff(&mut Cursor::new(file.as_ref())).unwrap();
        (sniffed.mime, sniffed.extension)
    }

    #[test]
    fn images() {
        assert_eq!(of(b"\xff\xd8\xff\xe0\0\x10JFIF\0"), ("image/jpeg", "jpg"));
        assert_eq!(of(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), ("image/png", "png"));
        assert_eq!(of(b"GIF89a\x01\0\x01\0"), ("image/gif", "gif"));
        assert_eq!(of(b"RIFF\x24\0\0\0WEBPVP8 "), ("image/webp", "webp"));
        assert_eq!(of(b"\0\0\0\x18ftypheic\0\0\0\0mif1"), ("image/heic", "heic"));
        assert_eq!(of(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), ("image/svg+xml", "svg"));
    }

    #[test]
    fn films() {
        assert_eq!(of(mp4_file(b"isom", &[b"vide", b"soun"])), ("video/mp4", "mp4"));
        assert_eq!(of(mp4_file(b"mp42", &[])), ("video/mp4", "mp4"));
        assert_eq!(of(b"\0\0\0\x14ftypqt  \0\0\0\0qt  "), ("video/quicktime", "mov"));
        assert_eq!(of(b"\0\0\0\x14ftyp3gp4\0\0\0\0"), ("video/3gpp", "3gp"));
        assert_eq!(of(b"RIFF\x24\0\0\0AVI LIST"), ("video/x-msvideo", "avi"));
        assert_eq!(of(b"\x1a\x45\xdf\xa3\x93\x42\x82\x88matroska"), ("video/x-matroska", "mkv"));
        assert_eq!(of(b"\x1a\x45\xdf\xa3\x93\x42\x82\x84webm"), ("video/webm", "webm"));
    }

    #[test]
    fn sounds() {
        assert_eq!(of(b"ID3\x04\0\0\0\0\0\x23TSSE"), ("audio/mpeg", "mp3"));
        assert_eq!(of(b"\xff\xfb\x90\x64\0\0"), ("audio/mpeg", "mp3"));
        assert_eq!(of(b"\xff\xf3\x40\xc4\0\0"), ("audio/mpeg", "mp3"));
        assert_eq!(of(b"\xff\xf1\x50\x80\x02\x1f"), ("audio/aac", "aac"));
        assert_eq!(of(b"RIFF\x24\0\0\0WAVEfmt "), ("audio/wav", "wav"));
        let mut opus = b"OggS\0\x02\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\x01\x13".to_vec();
        opus.extend(b"OpusHead\x01\x01");
        assert_eq!(of(opus), ("audio/ogg", "ogg"));
        assert_eq!(of(b"\0\0\0\x1cftypM4A \0\0\0\0"), ("audio/mp4", "m4a"));
        assert_eq!(of(mp4_file(b"isom", &[b"soun"])), ("audio/mp4", "m4a"));
        assert_eq!(of(b"fLaC\0\0\0\x22"), ("audio/flac", "flac"));
        assert_eq!(of(b"#!AMR\n\x3c"), ("audio/amr", "amr"));
    }

    #[test]
    fn documents() {
        assert_eq!(of(b"%PDF-1.7\n%\xe2\xe3"), ("application/pdf", "pdf"));
        assert_eq!(of(ole_file(&["1Table", "WordDocument"])), ("application/msword", "doc"));
        assert_eq!(of(ole_file(&["Workbook"])), ("application/vnd.ms-excel", "xls"));
        assert_eq!(of(ole_file(&["PowerPoint Document"])), ("application/vnd.ms-powerpoint", "ppt"));
        let office = |folder: &str| of(zip_file(&["[Content_Types].xml", &format!("{folder}/main.xml")])).1;
        assert_eq!([office("word"), office("xl"), office("ppt")], ["docx", "xlsx", "pptx"]);
        assert_eq!(of(zip_file(&["a.txt"])), ("application/zip", "zip"));
        assert_eq!(of(zip_file(&[])), ("application/zip", "zip"));
        let odt = zip_file(&["mimetypeapplication/vnd.oasis.opendocument.text"]);
        assert_eq!(of(odt).1, "odt");
    }

    #[test]
    fn texts() {
        let text = sniff_head("nama;jumlah\nBüro;3\n".as_bytes());
        assert_eq!(text, TEXT);
        assert_eq!(text.named("Daftar.CSV").mime, "text/csv");
        assert_eq!(text.named("list").mime, "text/plain");
        assert_eq!(sniff_head(b"\x89PNG\r\n\x1a\n").named("a.csv").mime, "image/png");
        // Windows-1252, and UTF-16 as spreadsheets export it.
        assert_eq!(sniff_head(b"B\xfcro;3\r\n"), TEXT);
        assert_eq!(sniff_head(b"\xff\xfea\0;\0"), TEXT);
        assert_eq!(sniff_head(b"a\0b\x01"), UNKNOWN);
        assert_eq!(sniff_head(b""), UNKNOWN);
        assert_eq!(of(b"<?xml version='1.0'?><invoice/>"), ("text/xml", "xml"));
    }

    #[test]
    fn pages() {
        for page in [
            "<!DOCTYPE html><html>",
            "\u{feff}\r\n <HTML lang=id>",
            "<!-- saved -->\n<!-- twice --><head>",
            "<?xml version=\"1.0\"?><!DOCTYPE html PUBLIC \"\">",
            "<script>location='x'</script>",
            "<p>hello",
            "<body>",
            "<!-- never closed",
        ] {
            assert!(sniff_head(page.as_bytes()).is_html(), "{page}");
        }
        for other in ["<bold claim", "<address book>", "html", "a < b", "< html>"] {
            assert!(!sniff_head(other.as_bytes()).is_html(), "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_something(which in 0_usize..12, bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let magic: [&[u8]; 12] = [
                b"", b"RIFF", b"OggS", b"\x1a\x45\xdf\xa3", b"\0\0\0\x18ftyp", b"PK\x03\x04", b"<!--", b"<?xml",
                b"\xff", b"PK\x03\x04\x14\0\0\0\0\0\0\0\x21\0\0\0\0\0\xff\xff\xff\xff\0\0\0\0\x08\0\0\0mimetype",
                b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"\x7fELF",
            ];
            let file = [magic[which], &bytes].concat();
            let _ = sniff(&mut Cursor::new(&file)).unwrap();
        }
    }
}
