//! Slow and half-open clients, through the real gateway.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::desk::Desk;
use crate::support::PATIENCE;

async fn connect(source: &str, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    socket.connect(address).await.unwrap()
}

/// Everything until the server closes; a reset counts as closed.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    let _ = read.expect("the server does not close");
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn healthy(source: &str, address: SocketAddr) -> String {
    let mut stream = connect(source, address).await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    rest(&mut stream).await
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_dawdle_hold_their_share_for_a_bounded_time_and_nobody_else_waits() {
    let desk = Desk::open_with(|config| {
        config.max_connections = 16;
        config.max_connections_per_address = 4;
        config.limits.http_head = Duration::from_secs(5);
        config.limits.http_body = Duration::from_secs(5);
    })
    .await;
    let address = desk.office.gateway.address();
    let key = desk.office.key.clone();
    let path = desk.path("/send");
    let slow = "127.0.0.7";
    let beginnings = [
        String::new(),
        "GET /api/sess".to_owned(),
        format!("POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-length: 50\r\n\r\n{{\"to\":"),
        format!(
            "POST {path}-media HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-length: 5000\r\n\
             content-type: multipart/form-data; boundary=B\r\n\r\n--B\r\nContent-Disposition: form-data; \
             name=\"media\"; filename=\"a\"\r\n\r\nhalo"
        ),
    ];
    let mut held = Vec::new();
    for beginning in &beginnings {
        let mut stream = connect(slow, address).await;
        stream.write_all(beginning.as_bytes()).await.unwrap();
        held.push(stream);
    }
    // Its share is used up: the next one from there is told so at once, and others are served as ever.
    let mut refused = connect(slow, address).await;
    let told = rest(&mut refused).await;
    assert!(told.starts_with("HTTP/1.1 503") && told.contains("retry-after"), "{told}");
    assert!(healthy("127.0.0.8", address).await.starts_with("HTTP/1.1 200"));
    // And in bounded time the places are free again.
    let answers = [
        rest(&mut held.remove(0)).await,
        rest(&mut held.remove(0)).await,
        rest(&mut held.remove(0)).await,
        rest(&mut held.remove(0)).await,
    ];
    for answer in &answers[2..] {
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(body.contains("\"error\":\"Request Timeout\"") && body.contains("too slowly"), "{body}");
    }
    // The server learns that we are gone a moment later.
    let free = async { while !healthy(slow, address).await.starts_with("HTTP/1.1 200") {} };
    tokio::time::timeout(PATIENCE, free).await.expect("no place comes free");
    desk.assert_nothing_kept("slow clients");
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_request_is_never_half_a_message() {
    let desk = Desk::open().await;
    let address = desk.office.gateway.address();
    let path = desk.path("/send");
    let message = "{\"to\":\"6281200000002\",\"message\":\"halo\"}";
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-type: application/json\r\nconnection: close\r\n",
        desk.office.key
    );
    let whole = format!("{head}content-length: {}\r\n\r\n{message}", message.len());
    for end in (0..whole.len()).step_by(7) {
        let mut stream = connect("127.0.0.1", address).await;
        stream.write_all(&whole.as_bytes()[..end]).await.unwrap();
        stream.shutdown().await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(!answer.contains("200 OK"), "{end} bytes: {answer}");
    }
    desk.assert_nothing_kept("half requests");
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_is_answered_or_closed() {
    let desk = Desk::open().await;
    let address = desk.office.gateway.address();
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(100_000));
    let many = format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(5_000));
    let smuggled =
        "POST /send-message HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ncontent-length: 9\r\n\r\nabcdefghi";
    let injected = "GET /healthz HTTP/1.1\r\nhost: x\r\nx-api-key: a\rb\r\n\r\n";
    for junk in [
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}",
        "SSH-2.0-OpenSSH_9.0\r\n",
        "\r\n\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET /healthz HTTP/9.9\r\n\r\n",
        "POST /send-message HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        "POST /send-message HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &long,
        &many,
        smuggled,
        injected,
    ] {
        let mut stream = connect("127.0.0.1", address).await;
        // The server may have closed before all of it was written.
        let _ = stream.write_all(junk.as_bytes()).await;
        let _ = stream.shutdown().await;
        let answer = rest(&mut stream).await;
        let shown: String = junk.chars().take(40).collect();
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.0 4"),
            "{shown:?}: {answer}"
        );
    }
    assert!(healthy("127.0.0.1", address).await.starts_with("HTTP/1.1 200"));
    desk.assert_nothing_kept("junk");
    desk.close().await;
}
