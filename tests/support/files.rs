//! Files that tests send: small ones of every type, served over plain HTTP or put into a multipart body.

use std::net::SocketAddr;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kurir::api::serve::{ServeLimits, serve};

/// The smallest files that are recognised as what they are, by name.
pub fn sample(name: &str) -> Vec<u8> {
    let extension = name.rsplit('.').next().unwrap();
    let mut bytes = match extension {
        "png" => {
            return STANDARD
                .decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
                .unwrap();
        }
        "jpg" | "jpeg" => {
            b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0\xff\xc0\0\x0b\x08\0\x02\0\x03\x01\x01\x11\0".to_vec()
        }
        "gif" => b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;".to_vec(),
        "webp" => b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f\0\0\0\x10\x07\x10\x11\x11\x88\x88\xfe\x07\0".to_vec(),
        "mp4" => b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2\0\0\0\x08moov".to_vec(),
        "mov" => b"\0\0\0\x14ftypqt  \0\0\0\0qt  \0\0\0\x08moov".to_vec(),
        "m4a" => b"\0\0\0\x18ftypM4A \0\0\x02\0M4A isom\0\0\0\x08moov".to_vec(),
        "avi" => b"RIFF\0\x10\0\0AVI LIST\xc0\0\0\0hdrlavih".to_vec(),
        "mkv" => b"\x1a\x45\xdf\xa3\xa3\x42\x86\x81\x01\x42\xf7\x81\x01\x42\xf2\x81\x04\x42\xf3\x81\x08\x42\x82\x88matroska\x42\x87\x81\x04".to_vec(),
        "webm" => b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\xf7\x81\x01\x42\xf2\x81\x04\x42\xf3\x81\x08\x42\x82\x84webm\x42\x87\x81\x04".to_vec(),
        "mp3" => b"ID3\x04\0\0\0\0\0\0\xff\xfb\x90\x64".to_vec(),
        "wav" => b"RIFF\x24\x10\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x44\xac\0\0\x88\x58\x01\0\x02\0\x10\0data".to_vec(),
        // Decoded when it is sent as a voice note, so it has to be whole.
        "ogg" => return include_bytes!("../fixtures/sine.opus.ogg").to_vec(),
        "aac" => b"\xff\xf1\x50\x80\x02\x1f\xfc\xff\xf1\x50\x80\x02\x1f\xfc".to_vec(),
        "pdf" => b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF\n".to_vec(),
        "doc" | "xls" => b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec(),
        "docx" => return zip(&["[Content_Types].xml", "word/document.xml"]),
        "xlsx" => return zip(&["[Content_Types].xml", "xl/workbook.xml"]),
        "zip" => return zip(&["a.txt"]),
        other => panic!("no sample of {other}"),
    };
    bytes.resize(4096.max(bytes.len()), 0);
    bytes
}

/// An archive of empty, uncompressed files (PKWARE's APPNOTE).
fn zip(names: &[&str]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for name in names {
        let offset = u32::try_from(out.len()).unwrap();
        let length = u16::try_from(name.len()).unwrap().to_le_bytes();
        let common = [&[20, 0][..], &[0; 20], &length, &[0, 0]].concat();
        out.extend([b"PK\x03\x04", common.as_slice(), name.as_bytes()].concat());
        let entry = [b"PK\x01\x02", &[20, 0][..], &common, &[0; 10], &offset.to_le_bytes(), name.as_bytes()];
        directory.extend(entry.concat());
    }
    let start = u32::try_from(out.len()).unwrap();
    let count = u16::try_from(names.len()).unwrap().to_le_bytes();
    let size = u32::try_from(directory.len()).unwrap();
    out.extend(directory);
    out.extend(
        [b"PK\x05\x06", &[0; 4][..], &count, &count, &size.to_le_bytes(), &start.to_le_bytes(), &[0, 0]]
            .concat(),
    );
    out
}

/// Serves a sample under each of these names, and a web page under `/page`, until the test ends.
pub async fn serve_samples(names: &[&str]) -> SocketAddr {
    let page =
        || async { ([(CONTENT_TYPE, "text/html")], "<!doctype html><html><body>Download</body></html>") };
    let mut router = Router::new().route("/page", get(page));
    for name in names {
        let bytes = sample(name);
        router = router.route(&format!("/{name}"), get(move || async move { bytes }));
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, router, ServeLimits::default(), None, std::future::pending()));
    address
}

/// A body of `multipart/form-data` with boundary `B`.
pub fn multipart(fields: &[(&str, &str)], file: Option<(&str, &str, &[u8])>) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(
            format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes(),
        );
    }
    if let Some((name, filename, bytes)) = file {
        let head = format!(
            "--B\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{filename}\"\r\n\r\n"
        );
        body.extend(head.bytes());
        body.extend(bytes);
        body.extend(b"\r\n");
    }
    body.extend(b"--B--\r\n");
    body
}

/// What a form of these fields is on the wire.
pub fn form(fields: &[(&str, &str)]) -> String {
    serde_urlencoded::to_string(fields).unwrap()
}
