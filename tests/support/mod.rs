//! What the end-to-end tests share: a test server with phones, a gateway behind its real port, and a small HTTP client.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "helpers of tests, outside the functions that clippy knows as tests")]

pub mod files;
pub mod updates;

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use kurir::api::keys::DEFAULT_ACCOUNT;
use kurir::config::Config;
use kurir::gateway::Gateway;
use kurir::outbox::{Message, Progress};
use kurir::panel::run::Parts;
use kurir::session::{Session, Snapshot, Status};
use serde_json::Value;
use tokio::net::TcpStream;
use whatsapp_sim::{Sim, SimConfig};

/// The office's own number, paired by [`Office::paired`].
pub const OFFICE: &str = "6281100000001";
/// Somebody who gets messages.
pub const CUSTOMER: &str = "6281200000002";
/// A number that is not on WhatsApp.
pub const NOBODY: &str = "6281299999999";
/// Longest that any single thing may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: hyper::HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("not JSON ({e}): {}", String::from_utf8_lossy(&self.body)))
    }
}

/// One request on its own connection. An error is a broken connection.
pub async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", "kurir");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = sender.send_request(request.body(Full::<Bytes>::new(body.into()))?).await?;
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    driver.abort();
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
}

/// A test server, a gateway on an empty data folder, and a key.
pub struct Office {
    pub sim: Sim,
    pub gateway: Gateway,
    pub key: String,
    pub config: Config,
    // Dropped last: the folder goes when everything that uses it has.
    pub folder: tempfile::TempDir,
}

impl Office {
    /// Nothing paired yet.
    pub async fn open() -> Office {
        Office::open_with(|_| {}).await
    }

    /// Nothing paired yet, with other settings.
    pub async fn open_with(change: impl FnOnce(&mut Config)) -> Office {
        Office::open_on(SimConfig::default(), change).await
    }

    /// Nothing paired yet, with another test server.
    pub async fn open_on(sim: SimConfig, change: impl FnOnce(&mut Config)) -> Office {
        Office::open_beside(Sim::start(sim).await.unwrap(), change).await
    }

    /// Nothing paired yet, with a test server that runs already.
    pub async fn open_beside(sim: Sim, change: impl FnOnce(&mut Config)) -> Office {
        Office::open_panel(sim, change, Parts::open).await
    }

    /// Nothing paired yet, and nobody has a key.
    pub async fn open_unowned(change: impl FnOnce(&mut Config)) -> Office {
        Office::start(Sim::start(SimConfig::default()).await.unwrap(), change, Parts::open).await
    }

    /// Nothing paired yet, with a panel.
    pub async fn open_panel(
        sim: Sim,
        change: impl FnOnce(&mut Config),
        panel: impl FnOnce(&Config) -> Parts,
    ) -> Office {
        let mut office = Office::start(sim, change, panel).await;
        office.key = office.gateway.keys().create("test", DEFAULT_ACCOUNT, false).await.unwrap();
        office
    }

    async fn start(
        sim: Sim,
        change: impl FnOnce(&mut Config),
        panel: impl FnOnce(&Config) -> Parts,
    ) -> Office {
        kurir::log::init(&std::env::var("KURIR_LOG").unwrap_or_else(|_| "warn".into()));
        sim.add_phone(OFFICE, "Kantor").await.unwrap();
        sim.add_phone(CUSTOMER, "Ibu Sari").await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config {
            data_dir: folder.path().to_owned(),
            listen: "127.0.0.1:0".parse().unwrap(),
            whatsapp_url: Some(sim.ws_url()),
            // Whatever the tests run on may have pins of its own.
            board: "none".into(),
            ..Config::default()
        };
        change(&mut config);
        let gateway = Gateway::start_with(&config, panel(&config)).await.unwrap();
        Office { sim, gateway, key: String::new(), config, folder }
    }

    /// A device token of this session, made as an application would.
    pub async fn token(&self, session: &Session) -> String {
        let answer = self.call("POST", &format!("/api/sessions/{}/tokens", session.id()), None).await;
        answer.json()["token"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    }

    /// A session that the office's phone has paired.
    pub async fn paired() -> (Office, Session) {
        let office = Office::open().await;
        let session = office.pair(OFFICE).await;
        (office, session)
    }

    /// A session that the office's phone has paired, with other settings.
    pub async fn paired_with(change: impl FnOnce(&mut Config)) -> (Office, Session) {
        let office = Office::open_with(change).await;
        let session = office.pair(OFFICE).await;
        (office, session)
    }

    /// Creates a session and pairs it with this phone.
    pub async fn pair(&self, number: &str) -> Session {
        let session = self.gateway.registry().create("Kasir", DEFAULT_ACCOUNT).await.unwrap();
        self.scan(&session, number).await;
        session
    }

    /// Lets a phone scan the session's QR and waits until it is connected.
    pub async fn scan(&self, session: &Session, number: &str) {
        let shown = wait_for(session, |s| s.qr.is_some()).await;
        self.sim.scan(number, &shown.qr.unwrap().text).await.unwrap();
        wait_for(session, |s| s.status == Status::Connected).await;
    }

    /// Stops the gateway and starts it again on the same data.
    pub async fn restart(self) -> Office {
        let Office { sim, gateway, key, config, folder } = self;
        gateway.shutdown().await;
        let gateway = Gateway::start(&config).await.unwrap();
        Office { sim, gateway, key, config, folder }
    }

    /// A request with the key in `X-API-Key`.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let headers = [("x-api-key", self.key.as_str()), ("content-type", "application/json")];
        let body = body.map(|b| b.to_string()).unwrap_or_default();
        request(self.gateway.address(), method, path, &headers, body).await.unwrap()
    }

    /// A JSON request without a key header.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        let headers = [("content-type", "application/json")];
        request(self.gateway.address(), "POST", path, &headers, body.to_string()).await.unwrap()
    }

    /// Waits until the outbox knows that the message has come at least this far.
    pub async fn reached(&self, id: &str, wanted: Progress) -> Message {
        let reached = tokio::time::timeout(PATIENCE, self.gateway.outbox().reached(id, wanted)).await;
        let message = reached.unwrap_or_else(|_| panic!("{id} never became {wanted:?}")).unwrap().unwrap();
        assert!(message.progress >= wanted, "{message:?}");
        message
    }

    /// Fails if the test server saw the client do anything wrong.
    pub fn assert_no_violations(&self) {
        let stats = self.sim.stats();
        assert!(stats.violations.is_empty(), "{:#?}", stats.violations);
    }
}

/// Waits until what is known of the session fits.
pub async fn wait_for(session: &Session, fits: impl FnMut(&Snapshot) -> bool) -> Snapshot {
    let mut changes = session.watch();
    let waited = tokio::time::timeout(PATIENCE, changes.wait_for(fits)).await;
    match waited {
        Ok(Ok(snapshot)) => return snapshot.clone(),
        Ok(Err(e)) => panic!("the session ended: {e}"),
        Err(_) => {}
    }
    panic!("still waiting after {} s: {:?}", PATIENCE.as_secs(), session.snapshot());
}

/// The text of the QR code in a `data:image/png;base64,` URL, read from its pixels.
pub fn decode_png(data_url: &str) -> String {
    use base64::Engine;
    let bytes =
        base64::engine::general_purpose::STANDARD.decode(data_url.split(',').nth(1).unwrap()).unwrap();
    let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let size = reader.next_frame(&mut pixels).unwrap();
    let (width, height) = (size.width as usize, size.height as usize);
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(width, height, |x, y| pixels[y * width + x]);
    image.detect_grids()[0].decode().unwrap().1
}
