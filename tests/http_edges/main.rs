//! The accept loop against clients that misbehave, in raw bytes.
//!
//! No test sleeps: each waits for what the server does to the socket. Limits are short, and where a test says that
//! something must not be cut, the limit in question is far longer than the whole test may take.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside the functions that clippy knows as tests")]

mod bodies;
mod connections;
mod tls;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::routing::{get, post};
use bytes::Bytes;
use kurir::api::serve::{ServeLimits, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::rustls::ServerConfig;

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

    /// Waits until a new client is served: a place that was taken has come free.
    async fn has_a_place(&self) {
        within(async {
            loop {
                let mut client = self.connect().await;
                client.write_all(GET.as_bytes()).await.unwrap();
                let mut status = [0; 12];
                if client.read_exact(&mut status).await.is_ok() && &status == b"HTTP/1.1 200" {
                    break;
                }
            }
        })
        .await;
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
