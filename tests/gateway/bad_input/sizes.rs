//! Bodies over the limit.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::desk::{Desk, Shape};
use crate::support::{CUSTOMER, PATIENCE};

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_413_in_every_form() {
    let desk = Desk::open().await;
    let filler = "x".repeat(1_100_000);
    let part = |name: &str| {
        format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{filler}\r\n--B--\r\n")
    };
    let forms = [
        ("application/json", json!({"message": filler}).to_string()),
        ("application/x-www-form-urlencoded", format!("message={filler}")),
        ("multipart/form-data; boundary=B", part("message")),
        ("text/plain", filler.clone()),
    ];
    let sessions = ["/api/sessions".to_owned(), desk.path("/send"), desk.path("/pair-code")];
    for (content_type, body) in &forms {
        for path in &sessions {
            let answer = desk.raw(path, content_type, body.as_str()).await;
            Shape::Sessions.refused(
                &format!("{path} {content_type}"),
                &answer,
                413,
                &["larger than", "bytes"],
            );
        }
        for path in ["/send-message", "/send-media"] {
            let answer = desk.raw(path, content_type, body.as_str()).await;
            Shape::Mpwa.refused(&format!("{path} {content_type}"), &answer, 413, &["larger than", "bytes"]);
        }
    }
    desk.assert_nothing_kept("large bodies");
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_over_50_mb_is_413_and_leaves_nothing() {
    let desk = Desk::open().await;
    let head = format!(
        "--B\r\nContent-Disposition: form-data; name=\"to\"\r\n\r\n{CUSTOMER}\r\n--B\r\n\
         Content-Disposition: form-data; name=\"media\"; filename=\"a.bin\"\r\n\r\n"
    );
    let file = vec![7; 50 * 1024 * 1024 + 1];
    let body = [head.as_bytes(), &file, b"\r\n--B--\r\n"].concat();
    let answer = desk.raw(&desk.path("/send-media"), "multipart/form-data; boundary=B", body).await;
    Shape::Sessions.refused("50 MB and one byte", &answer, 413, &["media", "50 MB"]);
    desk.assert_nothing_kept("a large file");
    desk.close().await;
}

/// Sends this and reads until the server closes.
async fn exchange(desk: &Desk, request: &str) -> (String, Value) {
    let mut stream = TcpStream::connect(desk.office.gateway.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer))
        .await
        .expect("no answer in time")
        .unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    (head.to_owned(), serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_announced_far_too_large_is_refused_before_it_is_sent() {
    let desk = Desk::open().await;
    for path in ["/send-message".to_owned(), desk.path("/send-media")] {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: kurir\r\nx-api-key: {}\r\ncontent-length: 99999999999\r\n\
             content-type: multipart/form-data; boundary=B\r\n\r\n",
            desk.office.key
        );
        let (head, body) = exchange(&desk, &request).await;
        assert!(head.starts_with("HTTP/1.1 413"), "{head}");
        assert!(head.contains("content-type: application/json"), "{head}");
        assert_eq!((&body["success"], &body["status"]), (&json!(false), &json!(false)), "{body}");
        assert_eq!(body["error"], "Payload Too Large");
        assert!(
            body["message"].as_str().unwrap().contains("too large") && body["msg"] == body["message"],
            "{body}"
        );
    }
    desk.assert_nothing_kept("announced only");
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_head_of_a_part_that_goes_on_and_on_is_refused_before_the_body_is_whole() {
    let desk = Desk::open().await;
    for path in [desk.path("/send-media"), desk.path("/send"), "/send-message".to_owned()] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: kurir\r\nx-api-key: {}\r\ncontent-length: 50000000\r\n\
             content-type: multipart/form-data; boundary=B\r\nconnection: close\r\n\r\n--B\r\nContent-Disposition: ",
            desk.office.key
        );
        let mut stream = TcpStream::connect(desk.office.gateway.address()).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b'a'; 500_000]).await.unwrap();
        // The rest is not sent.
        let mut answer = vec![0; 12];
        let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer));
        read.await.expect("no answer in time").unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 400", "{path}");
    }
    desk.assert_nothing_kept("an endless head");
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_ends_is_cut_at_the_limit() {
    let desk = Desk::open().await;
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: kurir\r\nx-api-key: {}\r\ntransfer-encoding: chunked\r\n\
         content-type: application/json\r\n\r\n",
        desk.path("/send"),
        desk.office.key
    );
    let mut stream = TcpStream::connect(desk.office.gateway.address()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let writer = tokio::spawn(async move {
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        // Ends when the server closes.
        while write.write_all(chunk.as_bytes()).await.is_ok() {}
    });
    let mut answer = vec![0; 12];
    tokio::time::timeout(PATIENCE, read.read_exact(&mut answer)).await.expect("no answer in time").unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 413");
    writer.abort();
    desk.assert_nothing_kept("an endless body");
    desk.close().await;
}
