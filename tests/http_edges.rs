//! The accept loop against clients that misbehave, in raw bytes.
//!
//! No test sleeps: each waits for what the server does to the socket. Limits are short, and where a test says that
//! something must not be cut, the limit in question is far longer than the whole test may take.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside the functions that clippy knows as tests")]

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::routing::{get, post};
use bytes::Bytes;
use kurir::api::serve::{LargeBody, ServeLimits, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

const SHORT: Duration = Duration::from_millis(200);
/// What no step of a test may take: a hang fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(20);

/// Lets a test know that its request has reached the handler, and lets the handler end.
#[derive(Default)]
struct Gate {
    entered: Notify,
    open: Notify,
}

struct Server {
    address: SocketAddr,
    gate: Arc<Gate>,
    stop: Option<oneshot::Sender<()>>,
    done: JoinHandle<()>,
}

async fn start(limits: ServeLimits) -> Server {
    start_with(limits, None).await
}

async fn start_with(limits: ServeLimits, tls: Option<Arc<ServerConfig>>) -> Server {
    let gate = Arc::new(Gate::default());
    let router = Router::new()
        .route("/", get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() }))
        .route("/echo", post(|body: Bytes| async move { body }))
        .route("/large", post(|body: Bytes| async move { body.len().to_string() }))
        .layer(DefaultBodyLimit::max(8 * 1024 * 1024))
        .route("/small", post(|body: Bytes| async move { body.len().to_string() }))
        .route(
            "/raw",
            post(|body: Body| async move {
                match axum::body::to_bytes(body, usize::MAX).await {
                    Ok(body) => (axum::http::StatusCode::OK, body.len().to_string()),
                    Err(e) => (axum::http::StatusCode::BAD_REQUEST, e.to_string()),
                }
            }),
        )
        .route(
            "/gate",
            get(|State(gate): State<Arc<Gate>>| async move {
                gate.entered.notify_one();
                gate.open.notified().await;
                "finished"
            }),
        )
        .route(
            "/panic",
            get(|| async {
                if true {
                    panic!("on purpose")
                }
            }),
        )
        .route("/flood", get(|| async { vec![b'x'; 32 * 1024 * 1024] }))
        .with_state(gate.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let done = tokio::spawn(serve(listener, router, limits, tls, async move {
        let _ = stopped.await;
    }));
    Server { address, gate, stop: Some(stop), done }
}

impl Server {
    async fn connect(&self) -> TcpStream {
        within(TcpStream::connect(self.address)).await.unwrap()
    }

    async fn connect_from(&self, source: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
        within(socket.connect(self.address)).await.unwrap()
    }

    fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }
}

async fn within<F: Future>(what: F) -> F::Output {
    timeout(PATIENCE, what).await.expect("the server did not do it in time")
}

/// Everything until the server closes; a reset counts as a close without more.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match within(stream.read(&mut chunk)).await {
            Ok(0) => break,
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => break,
            Err(e) => panic!("{e}"),
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// One answer with a `content-length`, leaving the connection open.
async fn answer(stream: &mut TcpStream) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(stream.read_u8()).await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length =
        head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    within(stream.read_exact(&mut body)).await.unwrap();
    (head, String::from_utf8(body).unwrap())
}

async fn ask(stream: &mut TcpStream, request: &str) -> (String, String) {
    stream.write_all(request.as_bytes()).await.unwrap();
    answer(stream).await
}

const GET: &str = "GET / HTTP/1.1\r\nhost: kurir\r\n\r\n";

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
    within(async {
        loop {
            let mut client = server.connect().await;
            client.write_all(GET.as_bytes()).await.unwrap();
            let mut status = [0; 12];
            if client.read_exact(&mut status).await.is_ok() && &status == b"HTTP/1.1 200" {
                break;
            }
        }
    })
    .await;
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
    within(async {
        loop {
            let mut client = server.connect().await;
            client.write_all(GET.as_bytes()).await.unwrap();
            let mut status = [0; 12];
            if client.read_exact(&mut status).await.is_ok() && &status == b"HTTP/1.1 200" {
                break;
            }
        }
    })
    .await;
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

/// A certificate for `localhost`, made for these tests alone, and a client that trusts only it.
fn certificate() -> (Arc<ServerConfig>, TlsConnector) {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("fixtures/localhost.cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("fixtures/localhost.key.pem")).unwrap();
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client).into())
}

#[tokio::test]
async fn tls_serves_and_bounds_its_handshake() {
    let (config, connector) = certificate();
    let limits = ServeLimits { handshake: SHORT, linger: SHORT, ..Default::default() };
    let server = start_with(limits, Some(config.clone())).await;
    let mut silent = server.connect().await;
    assert_eq!(rest(&mut silent).await, "");
    let mut half = server.connect().await;
    half.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
    assert_eq!(rest(&mut half).await, "");
    // Not TLS: refused with an alert, which is no text.
    let mut plain = server.connect().await;
    plain.write_all(GET.as_bytes()).await.unwrap();
    let mut refusal = Vec::new();
    let _ = within(plain.read_to_end(&mut refusal)).await;
    assert!(!refusal.starts_with(b"HTTP"), "{refusal:?}");

    let server = start_with(ServeLimits { per_peer: 2, ..Default::default() }, Some(config)).await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let stream = server.connect().await;
        let name = "localhost".try_into().unwrap();
        let mut client = within(connector.connect(name, stream)).await.unwrap();
        for _ in 0..2 {
            client.write_all(GET.as_bytes()).await.unwrap();
            let mut answer = vec![0; 15];
            within(client.read_exact(&mut answer)).await.unwrap();
            assert_eq!(answer, b"HTTP/1.1 200 OK");
            while !answer.ends_with(b"127.0.0.1") {
                answer.push(within(client.read_u8()).await.unwrap());
            }
        }
        clients.push(client);
    }
    // Beyond its share the connection is closed, without a word that TLS could not read.
    let mut third = server.connect().await;
    assert_eq!(rest(&mut third).await, "");
}

#[tokio::test]
async fn shutdown_does_not_wait_for_a_handshake() {
    let (config, _) = certificate();
    let limits = ServeLimits { handshake: PATIENCE * 2, drain: PATIENCE * 2, ..Default::default() };
    let mut server = start_with(limits, Some(config)).await;
    let mut silent = server.connect().await;
    server.stop();
    assert_eq!(rest(&mut silent).await, "");
    within(server.done).await.unwrap();
}
