//! Uploads that are not what they should be.

use serde_json::json;

use super::desk::{Desk, Shape};
use crate::support::{CUSTOMER, NOBODY, PATIENCE};

const MULTIPART: &str = "multipart/form-data; boundary=B";

fn field(name: &str, value: &str) -> Vec<u8> {
    format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").into_bytes()
}

fn file(filename: &str, content: &[u8]) -> Vec<u8> {
    let head = format!(
        "--B\r\nContent-Disposition: form-data; name=\"media\"; filename=\"{filename}\"\r\n\
         Content-Type: image/png\r\n\r\n"
    );
    [head.as_bytes(), content, b"\r\n"].concat()
}

fn body(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), b"--B--\r\n".to_vec()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_lacks_something_names_it() {
    let desk = Desk::open().await;
    let path = desk.path("/send-media");
    let halo = || file("a.txt", b"halo");
    let to = || field("to", CUSTOMER);
    const BOTH: &str = "Phone number and media are required";
    let cases: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("nothing", body(&[]), &[BOTH]),
        ("no file", body(&[to()]), &[BOTH]),
        ("no number", body(&[halo()]), &[BOTH]),
        ("an empty number", body(&[field("to", " "), halo()]), &[BOTH]),
        ("the file under another name", body(&[to(), field("file", "halo")]), &[BOTH]),
        ("no number at all", body(&[field("to", "budi"), halo()]), &["to ", "not a phone number"]),
        ("a broadcast", body(&[field("to", "status@broadcast"), halo()]), &["to ", "not a chat"]),
        ("an empty file", body(&[to(), file("a.png", b"")]), &["media", "empty"]),
        ("a long caption", body(&[to(), field("message", &"x".repeat(4_097)), halo()]), &["message", "4097"]),
        (
            "a huge caption",
            body(&[to(), field("message", &"x".repeat(100_000)), halo()]),
            &["message", "too long"],
        ),
        ("a huge number", body(&[field("to", &"1".repeat(100_000)), halo()]), &["to ", "too long"]),
        ("cut off", [to(), halo()[..halo().len() - 6].to_vec()].concat(), &["multipart"]),
    ];
    for (what, body, names) in cases {
        let answer = desk.raw(&path, MULTIPART, body).await;
        Shape::Sessions.refused(what, &answer, 400, names);
        desk.assert_nothing_kept(what);
    }
    let answer = desk.raw(&path, MULTIPART, body(&[field("to", NOBODY), halo()])).await;
    assert_eq!((answer.status, &answer.json()["phoneNumber"]), (400, &json!(NOBODY)));
    desk.assert_nothing_kept("unregistered");
    for content_type in
        ["application/json", "text/plain", "multipart/form-data", "multipart/mixed; boundary=B"]
    {
        let answer = desk.raw(&path, content_type, body(&[to(), halo()])).await;
        Shape::Sessions.refused(content_type, &answer, 400, &["multipart/form-data"]);
    }
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_file_name_is_only_a_name() {
    let desk = Desk::open().await;
    let path = desk.path("/send-media");
    let names = [
        "../../../../tmp/kurir-escaped.txt",
        "/etc/passwd",
        "a%00b.txt",
        ".",
        "\u{202e}gpj.exe",
        &"x".repeat(5_000),
    ];
    for (index, name) in names.iter().enumerate() {
        let answer = desk.raw(&path, MULTIPART, body(&[field("to", CUSTOMER), file(name, b"halo")])).await;
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        let inbox = desk.office.sim.inbox(CUSTOMER, index + 1, PATIENCE).await.unwrap();
        let shown = inbox.last().unwrap().filename.clone().unwrap();
        assert!(!shown.is_empty() && shown.len() <= 255, "{shown}");
        assert!(!shown.contains(['/', '\\', '\0', '\u{202e}']) && !shown.starts_with('.'), "{shown}");
    }
    assert!(!std::path::Path::new("/tmp/kurir-escaped.txt").exists());
}
