//! The server: accepts connections, decides who is who, and hands each stanza to its handler.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::serve::Listener;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Duration, Instant, sleep, timeout};
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;

use crate::conn;
use crate::faults::{DeviceRef, Fault, Faults, LiveAction};
use crate::identity::MEDIA_HOST;
use crate::keys::{Bundle, DeviceAddr};
use crate::login::stream_error;
use crate::media::{MediaHost, MediaStore};
use crate::noise::ServerKeys;
use crate::queue::Class;
use crate::stanza::{SERVER, attr};
use crate::stats::Counters;
use crate::tls::{self, Tls, TlsError};
use crate::world::{ConnId, Stage, World};
use crate::{SimConfig, iq};

/// Open TCP connections, WebSocket and HTTP together.
const MAX_CONNECTIONS: usize = 2_048;
/// A new connection has this long to say which protocol it speaks.
const SNIFF_TIME: Duration = Duration::from_secs(10);
/// How long a client may leave a stanza unconfirmed.
const CONFIRM_TIME: Duration = Duration::from_secs(30);
/// One-time prekeys left below which a client is asked for more, as WhatsApp does.
const FEW_PREKEYS: usize = 10;

pub(crate) struct Server {
    pub(crate) keys: ServerKeys,
    pub(crate) config: SimConfig,
    pub(crate) addr: SocketAddr,
    pub(crate) counters: Arc<Counters>,
    pub(crate) media: Arc<MediaStore>,
    pub(crate) tls: Option<Tls>,
    faults: Arc<Mutex<Faults>>,
    world: Mutex<World>,
}

impl Server {
    pub(crate) fn new(config: SimConfig, addr: SocketAddr) -> Result<Self, TlsError> {
        Ok(Self {
            media: Arc::new(MediaStore::new(config.media_bytes)),
            tls: match &config.identity {
                Some(identity) => Some(Tls::in_place_of_whatsapp(identity)?),
                None => config.tls.then(|| Tls::generate(addr.ip())).transpose()?,
            },
            keys: match &config.identity {
                Some(identity) => ServerKeys::under(&identity.noise_root),
                None => ServerKeys::generate(),
            },
            config,
            addr,
            counters: Arc::default(),
            faults: Arc::default(),
            world: Mutex::default(),
        })
    }

    /// Where clients are told to find media.
    pub(crate) fn media_host(&self) -> String {
        match self.config.identity {
            Some(_) => MEDIA_HOST.to_owned(),
            None => self.addr.to_string(),
        }
    }

    /// What is served on the port besides the WebSocket.
    pub(crate) fn web(&self) -> axum::Router {
        let host = MediaHost {
            store: Arc::clone(&self.media),
            faults: Arc::clone(&self.faults),
            counters: Arc::clone(&self.counters),
            url: format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.media_host()),
        };
        crate::web::router(self.config.client_revision).merge(host.router())
    }

    /// Every change of the world is complete before anything that could panic, so a poisoned lock is usable.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds since 1970.
    pub(crate) fn now() -> u64 {
        u64::try_from(chrono::Utc::now().timestamp()).unwrap_or_default()
    }

    pub(crate) fn wrong(&self, who: &DeviceAddr, what: impl Into<String>) {
        self.counters.violation(who.to_string(), what);
    }

    /// A stanza from a client.
    pub(crate) fn stanza(self: &Arc<Self>, conn: ConnId, node: &Node) {
        let addr = {
            let world = self.world();
            match world.clients.get(&conn).map(|client| &client.stage) {
                Some(Stage::LoggedIn(addr)) => Some(addr.clone()),
                Some(Stage::Registering(_)) => None,
                Some(Stage::Ending) | None => return,
            }
        };
        let Some(addr) = addr else { return self.registering_stanza(conn, node) };
        match &*node.tag {
            "iq" => iq::handle(self, conn, &addr, node),
            "message" => self.message(conn, &addr, node),
            "receipt" => self.receipt(conn, &addr, node),
            "ack" => self.ack(&addr, node),
            "ib" => self.ib(&addr, node),
            "presence" => self.presence(conn, &addr, node),
            "chatstate" => self.chatstate(&addr, node),
            "call" => {}
            tag => self.wrong(&addr, format!("a stanza that WhatsApp does not know: <{tag}>")),
        }
    }

    fn ib(&self, addr: &DeviceAddr, node: &Node) {
        if let Some(batch) = node.get_optional_child("offline_batch") {
            let count = attr(batch, "count").and_then(|count| count.parse().ok()).unwrap_or(100);
            self.world().drain(addr, count);
        }
    }

    fn ack(&self, addr: &DeviceAddr, node: &Node) {
        self.counters.ack();
        let id = attr(node, "id").unwrap_or_default();
        let class = attr(node, "class");
        let Some(class) = class.as_deref().and_then(Class::parse) else {
            return self.wrong(addr, format!("ack {id} with class {class:?}"));
        };
        let kind = attr(node, "type");
        let mut world = self.world();
        if let Some(device) = world.linked_mut(addr) {
            device.queue.confirm(class, &id, kind.as_deref());
        }
    }

    /// Puts a fault in force and applies it to the connections that are open.
    pub(crate) fn fault(self: &Arc<Self>, fault: Fault) {
        let Some(live) = self.faults().add(fault, Instant::now()) else { return };
        let hit: Vec<ConnId> = {
            let world = self.world();
            let device = |stage: &Stage| match stage {
                Stage::LoggedIn(addr) => Some(addr.clone()),
                _ => None,
            };
            let clients = world.clients.iter().map(|(conn, client)| (*conn, device(&client.stage)));
            clients
                .filter(|(_, addr)| {
                    let addr = addr.as_ref();
                    live.applies_to(addr.map(|addr| DeviceRef { number: &addr.user, device: addr.device }))
                })
                .map(|(conn, _)| conn)
                .collect()
        };
        match live.action {
            LiveAction::Drop(after) if after.is_zero() => {
                let mut world = self.world();
                hit.into_iter().for_each(|conn| world.close(conn));
            }
            LiveAction::Drop(after) => {
                let server = Arc::clone(self);
                tokio::spawn(async move {
                    sleep(after).await;
                    let mut world = server.world();
                    hit.into_iter().for_each(|conn| world.close(conn));
                });
            }
            LiveAction::Stall(time) => {
                let until = Instant::now() + time;
                let world = self.world();
                for client in hit.iter().filter_map(|conn| world.clients.get(conn)) {
                    client.control.send_modify(|control| control.stalled_until = Some(until));
                }
            }
            LiveAction::StreamError(error) => {
                let mut world = self.world();
                hit.into_iter().for_each(|conn| world.end(conn, stream_error(&error)));
            }
        }
    }

    /// Records every stanza that a connected client has left unconfirmed for too long.
    pub(crate) fn note_unconfirmed(&self) {
        let now = Instant::now();
        let mut late = Vec::new();
        let mut world = self.world();
        for account in world.accounts.values_mut() {
            let number = Arc::clone(&account.number);
            for (device, linked) in &mut account.linked {
                if linked.online.is_none() {
                    continue;
                }
                for (class, id) in linked.queue.late(CONFIRM_TIME, now) {
                    late.push((DeviceAddr { user: Arc::clone(&number), device: *device }, class, id));
                }
            }
        }
        drop(world);
        for (addr, class, id) in late {
            let seconds = CONFIRM_TIME.as_secs();
            self.wrong(&addr, format!("did not confirm {} {id} within {seconds} s", class.name()));
        }
    }

    /// Keys of devices for somebody who wants to write to them. Devices that do not exist are left out.
    pub(crate) fn bundles(&self, devices: &[DeviceAddr]) -> Vec<(DeviceAddr, Bundle)> {
        let mut bundles = Vec::with_capacity(devices.len());
        for addr in devices {
            let phone = {
                let mut world = self.world();
                let few = world.linked_mut(addr).map(|device| {
                    let mut bundle = device.keys.take();
                    bundle.device_identity = Some(device.identity.clone());
                    bundles.push((addr.clone(), bundle));
                    device.keys.count()
                });
                if few == Some(FEW_PREKEYS) {
                    let id = world.fresh_id();
                    let count = NodeBuilder::new("count").attr("value", FEW_PREKEYS).build();
                    let node = NodeBuilder::new("notification")
                        .attr("from", SERVER)
                        .attr("type", "encrypt")
                        .attr("id", id)
                        .attr("t", Self::now())
                        .children([count])
                        .build();
                    world.deliver(addr, Class::Notification, node);
                }
                world.account(addr).filter(|_| addr.is_phone()).map(|account| Arc::clone(&account.phone))
            };
            if let Some(phone) = phone {
                bundles.push((addr.clone(), phone.state().signal.bundle().into()));
            }
        }
        bundles
    }
}

/// Accepts connections until `stop` changes; WebSocket and plain HTTP share the port.
pub(crate) async fn accept(
    server: Arc<Server>,
    listener: TcpListener,
    http: axum::Router,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (http_tx, http_rx) = mpsc::channel(64);
    let http = tokio::spawn(axum::serve(Sniffed { rx: http_rx, addr: server.addr }, http).into_future());
    let mut running = tokio::task::JoinSet::new();
    loop {
        let (stream, peer) = tokio::select! {
            () = stopped(&mut stop) => break,
            Some(_) = running.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: give connections time to close.
                    log::warn!("cannot accept a connection: {error}");
                    sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        running.spawn(route(Arc::clone(&server), stream, peer, http_tx.clone(), place));
    }
    running.shutdown().await;
    // Ends the writers, which wait for what nobody can send any more.
    server.world().clients.clear();
    http.abort();
}

/// Resolves when the server is to stop, or nobody is left who could say so.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn route(
    server: Arc<Server>,
    stream: TcpStream,
    peer: SocketAddr,
    http: mpsc::Sender<(TcpStream, SocketAddr)>,
    _place: OwnedSemaphorePermit,
) {
    match timeout(SNIFF_TIME, protocol(&stream)).await {
        Ok(Ok(Protocol::WebSocket)) => {
            let refused = server.faults().on_connect(Instant::now());
            match refused {
                Some(status) => refuse(stream, status).await,
                None => conn::serve(server, stream, peer).await,
            }
        }
        // The HTTP server may be gone when everything stops; the connection then just closes.
        Ok(Ok(Protocol::Http)) => drop(http.send((stream, peer)).await),
        Ok(Ok(Protocol::Tls)) => match &server.tls {
            Some(tls) => {
                if let Err(error) = tls.serve(stream, server.addr).await {
                    log::debug!("TLS connection ended: {error}");
                }
            }
            None => log::warn!("a client wants TLS, and the server was started without"),
        },
        Ok(Err(_)) | Err(_) => {}
    }
}

/// What a connection's first bytes say it is.
enum Protocol {
    WebSocket,
    Http,
    Tls,
}

/// Looks at the request line without consuming it.
async fn protocol(stream: &TcpStream) -> std::io::Result<Protocol> {
    const START: &[u8] = b"GET /ws/";
    let mut seen = [0; START.len()];
    loop {
        let count = stream.peek(&mut seen).await?;
        if seen[0] == tls::FIRST_BYTE {
            return Ok(Protocol::Tls);
        }
        if count == 0 || seen[..count] != START[..count] {
            return Ok(Protocol::Http);
        }
        if count == START.len() {
            return Ok(Protocol::WebSocket);
        }
        // A peek does not wait for more than there is.
        sleep(Duration::from_millis(5)).await;
    }
}

async fn refuse(mut stream: TcpStream, status: u16) {
    // The request is read first, so that closing does not reset the connection before the answer arrives.
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while request.len() < 16 * 1024 && !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match timeout(SNIFF_TIME, stream.read(&mut buffer)).await {
            Ok(Ok(count)) if count > 0 => request.extend_from_slice(&buffer[..count]),
            _ => return,
        }
    }
    let answer = format!("HTTP/1.1 {status} Refused\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    // The client may have gone; there is nobody left to tell.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// The connections that turned out to be plain HTTP.
struct Sniffed {
    rx: mpsc::Receiver<(TcpStream, SocketAddr)>,
    addr: SocketAddr,
}

impl Listener for Sniffed {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        match self.rx.recv().await {
            Some(connection) => connection,
            // The accept loop has ended and will abort this server.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.addr)
    }
}
