//! How many connections there are, how they are used, and how they end.

use std::time::Instant;

use kurir::api::serve::ServeLimits;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::{GET, PATIENCE, SHORT, answer, ask, rest, start, within};

#[tokio::test]
async fn handlers_see_the_address_and_the_connection_is_reused() {
    let server = start(ServeLimits::default()).await;
    let mut client = server.connect_from("127.0.0.2").await;
    for _ in 0..3 {
        let (head, body) = ask(&mut client, GET).await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert_eq!(body, "127.0.0.2");
    }
}

#[tokio::test]
async fn a_client_that_closes_its_half_ends_the_connection() {
    let server = start(ServeLimits::default()).await;
    let mut early = server.connect().await;
    early.shutdown().await.unwrap();
    assert_eq!(rest(&mut early).await, "");

    let mut midway = server.connect().await;
    midway.write_all(b"POST /echo HTTP/1.1\r\nhost: k\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
    midway.shutdown().await.unwrap();
    let text = rest(&mut midway).await;
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 400"), "{text}");
}

#[tokio::test]
async fn one_address_cannot_starve_another() {
    let server = start(ServeLimits { per_peer: 3, connections: 8, ..Default::default() }).await;
    let mut greedy = Vec::new();
    for _ in 0..3 {
        let mut client = server.connect().await;
        let (head, _) = ask(&mut client, GET).await;
        assert!(head.starts_with("http/1.1 200"));
        greedy.push(client);
    }
    // More than the cap on all connections, so a leak of places would show.
    for _ in 0..12 {
        let mut client = server.connect().await;
        client.write_all(GET.as_bytes()).await.unwrap();
        let text = rest(&mut client).await;
        assert!(text.starts_with("HTTP/1.1 503"), "{text}");
        assert!(text.contains("retry-after: 1"), "{text}");
    }
    let mut other = server.connect_from("127.0.0.2").await;
    let (head, body) = ask(&mut other, GET).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(body, "127.0.0.2");

    // Those who were first are not harmed, and a place that comes free can be had.
    for client in &mut greedy {
        assert!(ask(client, GET).await.0.starts_with("http/1.1 200"));
    }
    let mut leaving = greedy.pop().unwrap();
    leaving.shutdown().await.unwrap();
    assert_eq!(rest(&mut leaving).await, "");
    server.has_a_place().await;
}

#[tokio::test]
async fn at_the_cap_on_all_connections_clients_wait_for_a_place() {
    let server = start(ServeLimits { connections: 2, header: PATIENCE * 2, ..Default::default() }).await;
    let mut first = server.connect().await;
    ask(&mut first, GET).await;
    let mut second = server.connect().await;
    ask(&mut second, GET).await;
    let mut third = server.connect().await;
    third.write_all(GET.as_bytes()).await.unwrap();
    assert!(timeout(SHORT, third.readable()).await.is_err(), "served beyond the cap");
    drop(first);
    assert!(answer(&mut third).await.0.starts_with("http/1.1 200"));
}

#[tokio::test]
async fn silent_connections_at_the_cap_make_room() {
    let limits = ServeLimits { connections: 4, header: SHORT, linger: SHORT, ..Default::default() };
    let server = start(limits).await;
    let mut silent = Vec::new();
    for _ in 0..12 {
        silent.push(server.connect().await);
    }
    let mut client = server.connect_from("127.0.0.2").await;
    assert!(ask(&mut client, GET).await.0.starts_with("http/1.1 200"));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = start(ServeLimits::default()).await;
    let mut client = server.connect().await;
    let mut all = String::new();
    for i in 0..50 {
        let body = format!("number {i}");
        all += &format!("POST /echo HTTP/1.1\r\nhost: k\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    }
    client.write_all(all.as_bytes()).await.unwrap();
    for i in 0..50 {
        assert_eq!(answer(&mut client).await.1, format!("number {i}"));
    }
}

#[tokio::test]
async fn a_panicking_handler_is_a_500_and_nothing_else() {
    let server = start(ServeLimits::default()).await;
    let mut bystander = server.connect().await;
    ask(&mut bystander, GET).await;
    let mut client = server.connect().await;
    client.write_all(b"GET /panic HTTP/1.1\r\nhost: k\r\n\r\n").await.unwrap();
    let text = rest(&mut client).await;
    assert!(text.starts_with("HTTP/1.1 500"), "{text}");
    assert!(!text.contains("on purpose"), "{text}");
    assert!(ask(&mut bystander, GET).await.0.starts_with("http/1.1 200"));
    assert!(ask(&mut server.connect().await, GET).await.0.starts_with("http/1.1 200"));
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_dropped() {
    let limits = ServeLimits { write: SHORT, linger: SHORT, per_peer: 1, ..Default::default() };
    let server = start(limits).await;
    let mut deaf = server.connect().await;
    deaf.write_all(b"GET /flood HTTP/1.1\r\nhost: k\r\n\r\n").await.unwrap();
    deaf.readable().await.unwrap();
    // Its place, the only one, comes free without it having read a byte.
    server.has_a_place().await;
}

#[tokio::test]
async fn shutdown_finishes_what_is_in_flight_and_closes_the_rest() {
    let mut server =
        start(ServeLimits { drain: PATIENCE * 2, header: PATIENCE * 2, ..Default::default() }).await;
    let mut silent = server.connect().await;
    let mut idle = server.connect().await;
    ask(&mut idle, GET).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /gate HTTP/1.1\r\nhost: k\r\n\r\n").await.unwrap();
    within(server.gate.entered.notified()).await;

    server.stop();
    assert_eq!(rest(&mut idle).await, "");
    assert_eq!(rest(&mut silent).await, "");
    assert!(!server.done.is_finished());
    assert!(TcpStream::connect(server.address).await.is_err(), "still accepting");

    server.gate.open.notify_one();
    let text = rest(&mut busy).await;
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("finished"), "{text}");
    within(server.done).await.unwrap();
}

#[tokio::test]
async fn shutdown_does_not_wait_longer_than_its_deadline() {
    let mut server = start(ServeLimits { drain: SHORT, ..Default::default() }).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /gate HTTP/1.1\r\nhost: k\r\n\r\n").await.unwrap();
    within(server.gate.entered.notified()).await;
    let began = Instant::now();
    server.stop();
    within(server.done).await.unwrap();
    assert!(began.elapsed() >= SHORT);
    assert_eq!(rest(&mut busy).await, "");
}

#[tokio::test]
async fn two_hundred_clients_at_once_are_all_served() {
    let server = start(ServeLimits { per_peer: 256, ..Default::default() }).await;
    let address = server.address;
    let clients: Vec<_> = (0..200)
        .map(|i| {
            tokio::spawn(async move {
                let mut client = TcpStream::connect(address).await.unwrap();
                let body = format!("client {i}");
                let request =
                    format!("POST /echo HTTP/1.1\r\nhost: k\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                assert_eq!(ask(&mut client, &request).await.1, body);
            })
        })
        .collect();
    for client in clients {
        within(client).await.unwrap();
    }
}
