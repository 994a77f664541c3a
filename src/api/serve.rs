//! The accept loop: HTTP/1.1 for an axum [`Router`] with every resource bounded.
//!
//! `axum::serve` installs no timer, so a client that sends one header byte a minute would hold its connection
//! for ever. Here each phase of a connection has a limit: the TLS handshake, the request's head (which bounds idle
//! keep-alive too), its body, the reading of the answer, and the farewell.
//!
//! At the cap on all connections the loop stops accepting: clients wait in the kernel's bounded backlog instead of
//! getting an error, and the limits above make sure that a place comes free. At the cap for one address
//! ([`ServeLimits::per_peer`]) the connection is accepted and answered 503 at once, because waiting would put it
//! in front of the other addresses' clients.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, DefaultBodyLimit};
use axum::http::header::{CONNECTION, CONTENT_LENGTH};
use axum::http::{HeaderValue, Method, Request, Response, StatusCode};
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tower::ServiceExt;

mod body;
mod pause;
mod peers;
mod stream;

use body::TimedBody;
pub(super) use body::{Cut, has_source};
use pause::AcceptPause;
use peers::Peers;
use stream::TimedStream;

/// What one client, and all clients together, may take. Every field has a default for a 512 MB board.
#[derive(Debug, Clone)]
pub struct ServeLimits {
    /// Connections open at once, from all addresses. Further ones wait in the listener's backlog. Default 256.
    pub connections: usize,
    /// Connections open at once from one address. Further ones are answered 503 (or closed, under TLS) at once.
    /// Loopback counts like any other address: a local application gone wild must not lock out the office.
    /// Default 64.
    pub per_peer: usize,
    /// Time for the TLS handshake. Default 10 s.
    pub handshake: Duration,
    /// Time for a request's whole head; it runs from the moment a request may begin, so it is also how long a
    /// keep-alive connection may stay idle. Default 10 s.
    pub header: Duration,
    /// Bytes that one connection may buffer; a longer request head is answered 431. At least 8 KiB; default 64 KiB.
    pub buffer: usize,
    /// Time spent waiting for one request's body, in all. Then it is answered 408. Default 300 s.
    pub body_deadline: Duration,
    /// While waiting for a body, at least [`body_progress`](Self::body_progress) bytes must arrive in each such
    /// span. Then it is answered 408. Default 10 s.
    pub body_window: Duration,
    /// See [`body_window`](Self::body_window). Default 4 KiB.
    pub body_progress: u64,
    /// Body bytes that axum's extractors take where the route says nothing else; a route raises it with its own
    /// [`DefaultBodyLimit`] layer. Default 1 MiB.
    pub body: usize,
    /// Body bytes that no route can exceed, not even one that disables its limit or reads the body itself.
    /// Default 64 MiB.
    pub body_hard: u64,
    /// The one path that takes more. Default none.
    pub large: Option<LargeBody>,
    /// Time without progress in writing an answer, after which the connection is dropped. Default 30 s.
    pub write: Duration,
    /// After the last answer, how long to go on reading (and dropping) what the client still sends. Closing with
    /// unread bytes resets the connection, which makes the client lose an early answer such as 413. Default 5 s.
    pub linger: Duration,
    /// At shutdown, how long requests in flight may take to finish. A request whose head is still coming counts as one
    /// in flight. Default 10 s.
    pub drain: Duration,
}

/// What a path takes in place of [`ServeLimits::body_hard`] and [`ServeLimits::body_deadline`]. Its handler has to know who sends before
/// it reads.
#[derive(Debug, Clone, Copy)]
pub struct LargeBody {
    /// The path.
    pub path: &'static str,
    /// Bytes.
    pub bytes: u64,
    /// Time spent waiting, in all.
    pub deadline: Duration,
    /// In place of [`ServeLimits::linger`], as long as something comes in each [`ServeLimits::body_window`]: browsers look at an
    /// answer when they have sent everything.
    pub linger: Duration,
}

impl ServeLimits {
    /// Most bytes of a body for this path, and the time for waiting for it in all.
    fn body_at(&self, path: &str) -> (u64, Duration) {
        match self.large {
            Some(large) if large.path == path => (large.bytes, large.deadline),
            _ => (self.body_hard, self.body_deadline),
        }
    }
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            connections: 256,
            per_peer: 64,
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(10),
            buffer: 64 * 1024,
            body_deadline: Duration::from_secs(300),
            body_window: Duration::from_secs(10),
            body_progress: 4 * 1024,
            body: 1024 * 1024,
            body_hard: 64 * 1024 * 1024,
            large: None,
            write: Duration::from_secs(30),
            linger: Duration::from_secs(5),
            drain: Duration::from_secs(10),
        }
    }
}

/// hyper's minimum for a connection's buffer, which it enforces with a panic.
const MIN_BUFFER: usize = 8 * 1024;
/// Refused connections that are being told so at the same time; beyond it they are closed without a word.
const MAX_REFUSALS: usize = 16;
/// How long a refused client has to read its 503.
const REFUSAL_TIME: Duration = Duration::from_secs(1);
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\n\
    retry-after: 1\r\nconnection: close\r\ncontent-length: 61\r\n\r\n\
    Too many open connections from your address; reuse or close.\n";

/// The connections that several listeners may have open together. Each listener holds one place while it waits for its
/// next connection.
#[derive(Clone)]
pub struct Places {
    slots: Arc<Semaphore>,
    peers: Peers,
}

impl Places {
    /// As many as `limits` allow.
    pub fn new(limits: &ServeLimits) -> Places {
        Places { slots: Arc::new(Semaphore::new(limits.connections)), peers: Peers::default() }
    }
}

/// Serves `router` on `listener` until `shutdown` resolves, then drains for at most [`ServeLimits::drain`] and
/// returns. With `tls`, every connection starts with a TLS handshake.
///
/// Handlers find the client's address in the extension [`ConnectInfo<SocketAddr>`]. A handler that panics is
/// answered 500 and harms no other request. A request whose body came too slowly is answered 408 if its handler
/// answered with a client error, in that answer's own body.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ServeLimits,
    tls: Option<Arc<ServerConfig>>,
    shutdown: impl Future<Output = ()>,
) {
    let places = Places::new(&limits);
    serve_on(listener, router, limits, places, tls, shutdown).await;
}

/// As [`serve`], for one of several listeners that share `places`.
pub async fn serve_among(
    listener: TcpListener,
    router: Router,
    limits: ServeLimits,
    places: Places,
    tls: Option<Arc<ServerConfig>>,
    shutdown: impl Future<Output = ()>,
) {
    serve_on(listener, router, limits, places, tls, shutdown).await;
}

/// Where connections come from. A trait so that a test can be a socket that runs out of file descriptors.
trait Accept {
    fn accept(&self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>>;
}

impl Accept for TcpListener {
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        Self::accept(self).await
    }
}

async fn serve_on(
    listener: impl Accept,
    router: Router,
    limits: ServeLimits,
    places: Places,
    tls: Option<Arc<ServerConfig>>,
    shutdown: impl Future<Output = ()>,
) {
    let (closing, closing_rx) = watch::channel(false);
    let drain = limits.drain;
    let server = Arc::new(Server {
        router: router.layer(DefaultBodyLimit::max(limits.body)),
        http: http_builder(&limits),
        limits,
        tls: tls.map(TlsAcceptor::from),
        closing: closing_rx,
    });
    let Places { slots, peers } = places;
    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    let mut connections = JoinSet::new();
    let mut pause = AcceptPause::default();
    let mut shutdown = pin!(shutdown);

    loop {
        while let Some(ended) = connections.try_join_next() {
            log_panic(ended);
        }
        let next = async {
            // Closed never, so an error cannot happen; treating it as "no slot" ends the loop either way.
            let slot = slots.clone().acquire_owned().await.ok()?;
            Some((slot, listener.accept().await))
        };
        let (slot, accepted) = tokio::select! {
            () = &mut shutdown => break,
            next = next => match next { Some(next) => next, None => break },
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(e) => {
                if let Some(pause) = pause.after(&e) {
                    tokio::select! {
                        () = &mut shutdown => break,
                        () = sleep(pause) => {}
                    }
                }
                continue;
            }
        };
        pause.over();
        match peers.admit(peer.ip(), server.limits.per_peer) {
            Some(place) => {
                let server = server.clone();
                connections.spawn(async move {
                    server.connection(stream, peer).await;
                    drop((place, slot));
                });
            }
            None => {
                log::debug!(
                    "connection from {} refused: it has {} open already",
                    peer.ip(),
                    server.limits.per_peer
                );
                // Under TLS a plain answer would only confuse; closing is all that can be said in time.
                if server.tls.is_none()
                    && let Ok(refusal) = refusals.clone().try_acquire_owned()
                {
                    connections.spawn(async move {
                        let _ = timeout(REFUSAL_TIME, refuse(stream)).await;
                        drop(refusal);
                    });
                }
            }
        }
    }

    // From here on the kernel refuses new connections instead of queueing them for nobody.
    drop(listener);
    let _ = closing.send(true);
    let drained = timeout(drain, async {
        while let Some(ended) = connections.join_next().await {
            log_panic(ended);
        }
    });
    if drained.await.is_err() {
        log::warn!("{} connection(s) cut at shutdown: not done within {drain:?}", connections.len());
        connections.shutdown().await;
    }
}

fn http_builder(limits: &ServeLimits) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(limits.buffer.max(MIN_BUFFER));
    http
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(e) = ended
        && e.is_panic()
    {
        log::error!("a connection's task panicked; the connection is closed, the others go on");
    }
}

struct Server {
    router: Router,
    http: http1::Builder,
    limits: ServeLimits,
    tls: Option<TlsAcceptor>,
    closing: watch::Receiver<bool>,
}

impl Server {
    async fn connection(&self, stream: TcpStream, peer: SocketAddr) {
        // Answers are small and written at once; waiting to fill a packet only adds delay. Failing is harmless.
        let _ = stream.set_nodelay(true);
        let mut closing = self.closing.clone();
        match &self.tls {
            None => self.http(stream, peer, closing).await,
            Some(tls) => {
                let handshake = timeout(self.limits.handshake, tls.accept(stream));
                let handshake = tokio::select! {
                    handshake = handshake => handshake,
                    _ = closing.wait_for(|closing| *closing) => return,
                };
                match handshake {
                    Ok(Ok(stream)) => self.http(stream, peer, closing).await,
                    Ok(Err(e)) => log::debug!("TLS handshake with {} failed: {e}", peer.ip()),
                    Err(_) => log::debug!("TLS handshake with {} not done in time", peer.ip()),
                }
            }
        }
    }

    async fn http<S>(&self, stream: S, peer: SocketAddr, mut closing: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = TimedStream::new(stream, self.limits.write);
        let large = AtomicBool::new(false);
        let service = service_fn(|request| Box::pin(self.respond(request, peer, &large)));
        let mut connection = self.http.serve_connection(TokioIo::new(stream), service);
        let mut shut_down = pin!(closing.wait_for(|closing| *closing));
        let mut told = false;
        let ended = poll_fn(|cx| {
            if connection.poll_without_shutdown(cx)?.is_ready() {
                return Poll::Ready(Ok(()));
            }
            if told || shut_down.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            told = true;
            Pin::new(&mut connection).graceful_shutdown();
            connection.poll_without_shutdown(cx)
        });
        if let Err(e) = ended.await {
            // A client that leaves or dawdles is no news, and what is wrong with its request it has been told.
            log::debug!("connection from {} ended: {e}", peer.ip());
        }
        let mut stream = connection.into_parts().io.into_inner().into_inner();
        let (linger, silence) = match self.limits.large {
            Some(limits) if large.into_inner() => (limits.linger, self.limits.body_window),
            _ => (self.limits.linger, self.limits.linger),
        };
        let shut_down = async {
            if !told {
                let _ = shut_down.await;
            }
        };
        tokio::select! {
            // First the farewell: at shutdown, too, the client is told before the connection goes.
            biased;
            _ = timeout(linger, farewell(&mut stream, silence)) => {}
            () = shut_down => {}
        }
    }

    async fn respond(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        large: &AtomicBool,
    ) -> Result<Response<Body>, std::convert::Infallible> {
        let (mut head, incoming) = request.into_parts();
        let announced = head.headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        let (most, deadline) = self.limits.body_at(head.uri.path());
        large.store(most != self.limits.body_hard, Ordering::Relaxed);
        if announced.is_some_and(|length| length > most) {
            return Ok(closing_answer(StatusCode::PAYLOAD_TOO_LARGE, "The request's body is too large."));
        }
        head.extensions.insert(ConnectInfo(peer));
        let method = head.method.clone();
        let (body, verdict) = TimedBody::new(incoming, &self.limits, most, deadline);
        let request = Request::from_parts(head, Body::new(body));
        let answer = AssertUnwindSafe(self.router.clone().oneshot(request)).catch_unwind().await;
        let mut answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(never)) => match never {},
            Err(_) => return Ok(panicked(&method)),
        };
        if answer.status().is_client_error()
            && let Some(status) = verdict.status()
        {
            *answer.status_mut() = status;
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(answer)
    }
}

/// The path is not named: a client that puts its key there would have it in the log. The panic's own line says where.
fn panicked(method: &Method) -> Response<Body> {
    log::error!("the handler of a {method} panicked; it was answered 500");
    closing_answer(StatusCode::INTERNAL_SERVER_ERROR, "The request failed inside the gateway; see its log.")
}

fn closing_answer(status: StatusCode, text: &str) -> Response<Body> {
    let mut answer = super::error(status, text);
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(REFUSAL).await?;
    farewell(&mut stream, REFUSAL_TIME).await
}

/// Ends our side, then reads until the client ends its own or says nothing for so long.
async fn farewell(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), silence: Duration) -> io::Result<()> {
    stream.shutdown().await?;
    let mut dropped = [0; 4096];
    while timeout(silence, stream.read(&mut dropped)).await?? != 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn refusal_announces_its_real_length() {
        let text = std::str::from_utf8(REFUSAL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{} bytes", body.len());
    }

    /// A listener whose first `fail` calls report that the process is out of file descriptors.
    struct Exhausted {
        listener: TcpListener,
        fail: usize,
        calls: Arc<AtomicUsize>,
    }

    impl Accept for Exhausted {
        async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
            const EMFILE: i32 = 24;
            if self.calls.fetch_add(1, Ordering::Relaxed) < self.fail {
                return Err(io::Error::from_raw_os_error(EMFILE));
            }
            self.listener.accept().await
        }
    }

    #[tokio::test]
    async fn out_of_file_descriptors_backs_off_and_recovers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let exhausted = Exhausted { listener, fail: 3, calls: calls.clone() };
        let router = Router::new().route("/", axum::routing::get(|| async { "here" }));
        let (stop, stopped) = oneshot::channel::<()>();
        let limits = ServeLimits::default();
        let places = Places::new(&limits);
        let began = Instant::now();
        let server = tokio::spawn(serve_on(exhausted, router, limits, places, None, async move {
            let _ = stopped.await;
        }));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
        // 50 + 100 + 200 ms of pauses, and not one call more than needed.
        assert!(began.elapsed() >= Duration::from_millis(350));
        assert!(calls.load(Ordering::Relaxed) <= 5);
        stop.send(()).unwrap();
        server.await.unwrap();
    }
}
