//! Files become media on the far phone, whole and as the kind that their content is.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside the functions that clippy knows as tests")]

mod support;

use base64::Engine;
use kurir::outbox::Progress;
use sha2::{Digest, Sha256};
use support::{CUSTOMER, Office, PATIENCE, request};

/// A body of `multipart/form-data` with boundary `B`.
fn multipart(fields: &[(&str, &str)], filename: &str, file: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(
            format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes(),
        );
    }
    let head =
        format!("--B\r\nContent-Disposition: form-data; name=\"media\"; filename=\"{filename}\"\r\n\r\n");
    body.extend(head.bytes());
    body.extend(file);
    body.extend(b"\r\n--B--\r\n");
    body
}

fn png() -> Vec<u8> {
    base64::engine::general_purpose::STANDARD
        .decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn uploaded_media_arrive_whole_as_the_kind_that_their_content_is() {
    let (office, session) = Office::paired().await;
    let path = format!("/api/sessions/{}/send-media", session.id());
    let mut pdf = b"%PDF-1.7\n".to_vec();
    pdf.extend((0..3_000_000u32).map(|n| (n.wrapping_mul(7919) >> 5) as u8));
    pdf.extend(b"\n%%EOF\n");
    for (filename, file, kind) in [("foto.png", png(), "image"), ("faktur.pdf", pdf, "document")] {
        let body = multipart(&[("to", CUSTOMER), ("message", "lihat ini")], filename, &file);
        let headers =
            [("x-api-key", office.key.as_str()), ("content-type", "multipart/form-data; boundary=B")];
        let answer = request(office.gateway.address(), "POST", &path, &headers, body).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        let id = answer.json()["messageId"].as_str().unwrap().to_owned();
        office.reached(&id, Progress::Delivered).await;
        let inbox = office.sim.inbox(CUSTOMER, 1, PATIENCE).await.unwrap();
        let got = inbox.iter().find(|m| m.id == id).unwrap();
        assert_eq!((got.kind.as_str(), got.caption.as_deref()), (kind, Some("lihat ini")));
        assert_eq!(got.sha256.as_deref(), Some(hex::encode(Sha256::digest(&file)).as_str()));
        assert_eq!(office.sim.media(CUSTOMER, &id).await.unwrap(), file);
        if kind == "document" {
            assert_eq!(got.filename.as_deref(), Some("faktur.pdf"));
        }
    }
    let kept = std::fs::read_dir(office.folder.path().join("media")).unwrap().filter_map(Result::ok);
    let left: Vec<_> = kept.filter(|e| e.file_type().is_ok_and(|t| t.is_file())).map(|e| e.path()).collect();
    assert!(left.is_empty(), "sent files are removed: {left:?}");
    office.assert_no_violations();
}
