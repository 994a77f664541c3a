//! Heads and bodies that are slow or too large.

use std::time::Duration;

use kurir::api::serve::{LargeBody, ServeLimits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{GET, PATIENCE, SHORT, answer, ask, rest, start, within};

#[tokio::test]
async fn slow_heads_silence_and_idle_connections_are_closed() {
    let server = start(ServeLimits { header: SHORT, linger: SHORT, ..Default::default() }).await;

    let mut silent = server.connect().await;
    assert_eq!(rest(&mut silent).await, "");

    let mut half = server.connect().await;
    half.write_all(b"GET / HTTP/1.1\r\nhost: ku").await.unwrap();
    assert_eq!(rest(&mut half).await, "");

    // One byte at a time never completes the head, however long it goes on.
    let (mut read, mut write) = server.connect().await.into_split();
    let drip = tokio::spawn(async move {
        let mut pace = tokio::time::interval(SHORT / 20);
        loop {
            pace.tick().await;
            if write.write_all(b"x").await.is_err() {
                break;
            }
        }
    });
    let mut all = Vec::new();
    let _ = within(read.read_to_end(&mut all)).await;
    assert!(all.is_empty(), "{all:?}");
    drop(read);
    within(drip).await.unwrap();

    let mut idle = server.connect().await;
    let (head, _) = ask(&mut idle, GET).await;
    assert!(head.starts_with("http/1.1 200"));
    assert_eq!(rest(&mut idle).await, "");
}

#[tokio::test]
async fn a_body_that_stalls_or_trickles_is_answered_408() {
    let limits = ServeLimits { body_window: SHORT, body_progress: 1024, linger: SHORT, ..Default::default() };
    let server = start(limits).await;

    let mut stalled = server.connect().await;
    stalled.write_all(b"POST /echo HTTP/1.1\r\nhost: k\r\ncontent-length: 100\r\n\r\n{\"a\":").await.unwrap();
    let text = rest(&mut stalled).await;
    assert!(text.starts_with("HTTP/1.1 408"), "{text}");
    assert!(text.to_lowercase().contains("connection: close"), "{text}");
    assert!(text.contains("too slowly"), "{text}");

    let (mut read, mut write) = server.connect().await.into_split();
    let drip = tokio::spawn(async move {
        let _ =
            write.write_all(b"POST /echo HTTP/1.1\r\nhost: k\r\ntransfer-encoding: chunked\r\n\r\n").await;
        let mut pace = tokio::time::interval(SHORT / 20);
        loop {
            pace.tick().await;
            if write.write_all(b"1\r\nx\r\n").await.is_err() {
                break;
            }
        }
    });
    let mut head = [0; 12];
    within(read.read_exact(&mut head)).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 408");
    drop(read);
    within(drip).await.unwrap();
}

#[tokio::test]
async fn a_steady_body_still_has_a_deadline() {
    let limits = ServeLimits {
        body_window: SHORT / 4,
        body_progress: 1,
        body_deadline: SHORT,
        linger: SHORT,
        ..Default::default()
    };
    let server = start(limits).await;
    let (mut read, mut write) = server.connect().await.into_split();
    let steady = tokio::spawn(async move {
        let _ =
            write.write_all(b"POST /echo HTTP/1.1\r\nhost: k\r\ntransfer-encoding: chunked\r\n\r\n").await;
        let mut pace = tokio::time::interval(Duration::from_millis(2));
        loop {
            pace.tick().await;
            if write.write_all(b"4\r\nxxxx\r\n").await.is_err() {
                break;
            }
        }
    });
    let mut head = [0; 12];
    within(read.read_exact(&mut head)).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 408");
    drop(read);
    within(steady).await.unwrap();
}

#[tokio::test]
async fn an_oversize_head_is_refused() {
    let server = start(ServeLimits { buffer: 8 * 1024, ..Default::default() }).await;
    let mut client = server.connect().await;
    let head = format!("GET / HTTP/1.1\r\nhost: k\r\nx-long: {}\r\n\r\n", "y".repeat(64 * 1024));
    client.write_all(head.as_bytes()).await.unwrap();
    let text = rest(&mut client).await;
    assert!(text.starts_with("HTTP/1.1 431"), "{text}");

    let mut client = server.connect().await;
    client
        .write_all(format!("GET /{} HTTP/1.1\r\nhost: k\r\n\r\n", "y".repeat(100_000)).as_bytes())
        .await
        .unwrap();
    let text = rest(&mut client).await;
    assert!(text.starts_with("HTTP/1.1 4"), "{text}");

    let mut client = server.connect().await;
    client.write_all(b"\x16\x03\x01 not http at all\r\n\r\n").await.unwrap();
    let text = rest(&mut client).await;
    assert!(text.starts_with("HTTP/1.1 400"), "{text}");
}

#[tokio::test]
async fn an_oversize_body_is_answered_413_even_to_a_client_that_sends_it_all_first() {
    let server = start(ServeLimits::default()).await;
    let body = vec![b'x'; 4 * 1024 * 1024];

    let mut client = server.connect().await;
    let head = format!("POST /small HTTP/1.1\r\nhost: k\r\ncontent-length: {}\r\n\r\n", body.len());
    client.write_all(head.as_bytes()).await.unwrap();
    within(client.write_all(&body)).await.unwrap();
    let text = rest(&mut client).await;
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");

    // Without a length, it is counted.
    let mut client = server.connect().await;
    client.write_all(b"POST /small HTTP/1.1\r\nhost: k\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    within(client.write_all(format!("{:x}\r\n", body.len()).as_bytes())).await.unwrap();
    within(client.write_all(&body)).await.unwrap();
    within(client.write_all(b"\r\n0\r\n\r\n")).await.unwrap();
    let text = rest(&mut client).await;
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");

    // A route with a limit of its own takes the same body.
    let mut client = server.connect().await;
    let head = format!("POST /large HTTP/1.1\r\nhost: k\r\ncontent-length: {}\r\n\r\n", body.len());
    client.write_all(head.as_bytes()).await.unwrap();
    within(client.write_all(&body)).await.unwrap();
    assert_eq!(answer(&mut client).await.1, body.len().to_string());
}

/// A browser that is refused at the beginning of a large file shows a broken connection if it cannot send all of it.

#[tokio::test]
async fn one_path_takes_more_and_lets_whom_it_refuses_send_everything() {
    let large = LargeBody { path: "/small", bytes: 64 << 20, deadline: PATIENCE, linger: PATIENCE };
    let limits =
        ServeLimits { body_hard: 1000, linger: Duration::ZERO, large: Some(large), ..Default::default() };
    let server = start(limits).await;
    let body = vec![b'x'; 40 << 20];
    let mut client = server.connect().await;
    let head = format!("POST /small HTTP/1.1\r\nhost: k\r\ncontent-length: {}\r\n\r\n", body.len());
    client.write_all(head.as_bytes()).await.unwrap();
    within(client.write_all(&body)).await.unwrap();
    assert!(rest(&mut client).await.starts_with("HTTP/1.1 413"), "the route's own limit");

    let mut client = server.connect().await;
    let head = format!("POST /raw HTTP/1.1\r\nhost: k\r\ncontent-length: {}\r\n\r\n", body.len());
    client.write_all(head.as_bytes()).await.unwrap();
    assert!(rest(&mut client).await.starts_with("HTTP/1.1 413"), "the other paths' limit");
}

#[tokio::test]
async fn no_handler_gets_more_than_the_hard_limit() {
    let server = start(ServeLimits { body_hard: 1000, linger: SHORT, ..Default::default() }).await;
    let mut client = server.connect().await;
    client.write_all(b"POST /raw HTTP/1.1\r\nhost: k\r\ncontent-length: 1001\r\n\r\n").await.unwrap();
    assert!(rest(&mut client).await.starts_with("HTTP/1.1 413"));

    let mut client = server.connect().await;
    client.write_all(b"POST /raw HTTP/1.1\r\nhost: k\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    client.write_all(chunk.repeat(3).as_bytes()).await.unwrap();
    assert!(rest(&mut client).await.starts_with("HTTP/1.1 413"));

    let mut client = server.connect().await;
    client.write_all(b"POST /raw HTTP/1.1\r\nhost: k\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    client.write_all(format!("{}0\r\n\r\n", chunk.repeat(2)).as_bytes()).await.unwrap();
    assert_eq!(answer(&mut client).await.1, "1000");
}
