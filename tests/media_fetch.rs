//! Downloads from servers that err, lie, dawdle or lead astray, in raw bytes.
//!
//! Every case ends within the short limits set here, and leaves nothing in the spool.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside the functions that clippy knows as tests")]

use std::fs;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kurir::media::{Cidr, FetchError, FetchPolicy, Fetched, Spool, fetch};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{interval, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

const STALL: Duration = Duration::from_millis(300);
const TOTAL: Duration = Duration::from_millis(600);
/// Far beyond every limit above, for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);
const LIMIT: u64 = 1024 * 1024;
const SECRET: &str = "s3cr3t";

/// A 2 by 1 pixel PNG's beginning, and something to make it longer.
fn png(length: usize) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x02\0\0\0\x01\x08\0\0\0\0".to_vec();
    file.resize(length, 0xa5);
    file
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
    gone: Notify,
}

struct Site {
    address: SocketAddr,
    seen: Arc<Seen>,
    data: TempDir,
    spool: Spool,
    policy: FetchPolicy,
}

impl Site {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let site = seen.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let seen = site.clone();
                tokio::spawn(async move {
                    seen.connections.fetch_add(1, Ordering::SeqCst);
                    let now = seen.now.fetch_add(1, Ordering::SeqCst) + 1;
                    seen.most.fetch_max(now, Ordering::SeqCst);
                    // The client closing early is part of most cases.
                    let _ = answer(stream, address).await;
                    seen.now.fetch_sub(1, Ordering::SeqCst);
                    seen.gone.notify_one();
                });
            }
        });
        let data = TempDir::new().unwrap();
        let spool = Spool::open(data.path()).unwrap();
        let mut policy = FetchPolicy::new(Cidr::parse_list("127.0.0.1").unwrap());
        policy.max_bytes = LIMIT;
        // Only the tests of these limits make them short: elsewhere a busy machine must not trip them.
        policy.connect = PATIENCE / 2;
        policy.total = PATIENCE / 2;
        policy.stall = PATIENCE / 2;
        policy.min_bytes = 10_000;
        Self { address, seen, data, spool, policy }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    async fn get(&self, path: &str) -> Result<Fetched, FetchError> {
        self.fetch(&self.url(path)).await
    }

    async fn fetch(&self, url: &str) -> Result<Fetched, FetchError> {
        within(fetch(url, &self.policy, &self.spool)).await
    }

    /// The error of a download that must fail; nothing of it may stay, and its text may tell no secret.
    async fn failure(&self, url: &str) -> FetchError {
        let e = self.fetch(url).await.unwrap_err();
        assert!(!format!("{e} {e:?}").contains(SECRET), "{e:?}");
        self.assert_empty(url);
        e
    }

    async fn fails(&self, path: &str) -> FetchError {
        self.failure(&format!("{}?token={SECRET}", self.url(path))).await
    }

    fn assert_empty(&self, what: &str) {
        assert_eq!(self.spool.used(), 0, "{what}");
        assert_eq!(fs::read_dir(self.data.path().join("spool")).unwrap().count(), 0, "{what}");
    }
}

async fn within<F: Future>(what: F) -> F::Output {
    timeout(PATIENCE, what).await.expect("not done in bounded time")
}

async fn answer(mut stream: TcpStream, address: SocketAddr) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
        // A TLS handshake record, which this server does not understand.
        if head == [0x16] {
            return stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default();
    let path = target.trim_start_matches('/').split('?').next().unwrap_or_default();
    let (path, argument) = path.split_once('/').unwrap_or((path, ""));
    let ok = |headers: &str, body: &[u8]| {
        [format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{headers}\r\n").as_bytes(), body].concat()
    };
    let sized =
        |headers: &str, body: &[u8]| ok(&format!("content-length: {}\r\n{headers}", body.len()), body);
    let moved =
        |to: &str| format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n").into_bytes();
    match path {
        "file" => {
            // What a download must not send: it would reveal or invite more than the file.
            let lower = head.to_lowercase();
            assert!(!lower.contains("authorization:") && !lower.contains("cookie:"), "{head}");
            stream.write_all(&sized("content-type: application/octet-stream\r\n", &png(5000))).await?;
        }
        "named" => {
            let header = "content-disposition: attachment; filename=\"../laporan maret.pdf\"\r\n";
            stream.write_all(&sized(header, b"%PDF-1.7\n")).await?;
        }
        "chunked" => {
            stream.write_all(&ok("transfer-encoding: chunked\r\n", b"")).await?;
            for part in png(5000).chunks(777) {
                stream.write_all(format!("{:x}\r\n", part.len()).as_bytes()).await?;
                stream.write_all(part).await?;
                stream.write_all(b"\r\n").await?;
            }
            stream.write_all(b"0\r\n\r\n").await?;
        }
        "unsized" => stream.write_all(&ok("", &png(5000))).await?,
        "hop" => {
            let left: u32 = argument.parse().unwrap();
            let to = match left {
                0 => "/file/end.png".to_owned(),
                // Each form of Location in turn.
                n if n % 3 == 0 => format!("http://{address}/hop/{}", n - 1),
                n if n % 3 == 1 => format!("//{address}/hop/{}", n - 1),
                n => format!("../hop/{}", n - 1),
            };
            stream.write_all(&moved(&to)).await?;
        }
        "loop" => stream.write_all(&moved("/loop")).await?,
        "away" => {
            let to = match argument {
                "loopback" => format!("http://127.0.0.2:{}/file/x", address.port()),
                "name" => "http://localhost.localdomain:1/".to_owned(),
                "metadata" => "http://169.254.169.254/latest/meta-data".to_owned(),
                "mapped" => format!("http://[::ffff:127.0.0.2]:{}/file/x", address.port()),
                "file" => "file:///etc/passwd".to_owned(),
                "password" => format!("http://user:{SECRET}@{address}/file/x"),
                other => panic!("{other}"),
            };
            stream.write_all(&moved(&to)).await?;
        }
        "endless-redirect" => {
            stream.write_all(b"HTTP/1.1 302 Found\r\nlocation: /file/x.png\r\n\r\n").await?;
            loop {
                stream.write_all(&[b'x'; 1000]).await?;
            }
        }
        "status" => {
            let head =
                format!("HTTP/1.1 {argument} Whatever\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
        }
        "html" => stream.write_all(&sized("content-type: text/html; charset=utf-8\r\n", b"hello")).await?,
        "disguised" => {
            let page = b"\n<!DOCTYPE html><html><title>Download</title>";
            stream.write_all(&sized("content-type: image/jpeg\r\n", page)).await?;
        }
        "empty" => stream.write_all(&sized("", b"")).await?,
        "announced" => {
            stream
                .write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", LIMIT + 1).as_bytes())
                .await?;
            // Nobody should wait for a body that is refused.
            let _ = stream.read_u8().await;
        }
        "endless" => {
            stream.write_all(&ok("", b"")).await?;
            loop {
                stream.write_all(&[7; 10_000]).await?;
            }
        }
        "endless-chunks" => {
            stream.write_all(&ok("transfer-encoding: chunked\r\n", b"")).await?;
            loop {
                stream.write_all(&[b"3e8\r\n", &[7; 1000][..], b"\r\n"].concat()).await?;
            }
        }
        "endless-head" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            loop {
                stream.write_all(b"x-more: and more\r\n").await?;
            }
        }
        "short" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n").await?;
            stream.write_all(&png(4999)).await?;
        }
        "long" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\nconnection: close\r\n\r\n").await?;
            stream.write_all(&png(9000)).await?;
        }
        "nonsense-length" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n").await?;
            stream.write_all(&png(100)).await?;
        }
        "cut-chunk" => {
            stream.write_all(&ok("transfer-encoding: chunked\r\n", b"ff\r\nonly this")).await?;
        }
        "not-a-chunk" => {
            stream.write_all(&ok("transfer-encoding: chunked\r\n", b"hello\r\nworld\r\n")).await?;
        }
        "not-http" => stream.write_all(b"220 mail.example ESMTP\r\n\r\n").await?,
        "gzip" => stream.write_all(&sized("content-encoding: gzip\r\n", b"\x1f\x8b\x08\0\0\0\0\0")).await?,
        "silent" => {
            let _ = stream.read_u8().await;
        }
        "stalled" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n").await?;
            stream.write_all(&png(100)).await?;
            let _ = stream.read_u8().await;
        }
        "trickle" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 500000\r\n\r\n").await?;
            let mut pace = interval(STALL / 30);
            loop {
                pace.tick().await;
                stream.write_all(b"x").await?;
            }
        }
        "trickle-head" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nx-slow: ").await?;
            let mut pace = interval(STALL / 30);
            loop {
                pace.tick().await;
                stream.write_all(b"x").await?;
            }
        }
        "steady" => {
            // Quick enough for the least speed, but it would take for ever.
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await?;
            let mut pace = interval(Duration::from_millis(10));
            loop {
                pace.tick().await;
                stream.write_all(&[7; 1000]).await?;
            }
        }
        other => panic!("no such case: {other}"),
    }
    stream.shutdown().await
}

#[tokio::test]
async fn a_file_arrives_with_its_true_type_size_and_name() {
    let site = Site::start().await;
    let fetched = site.get("file/foto%20rumah.jpg?sig=1").await.unwrap();
    assert_eq!(fs::read(&fetched.file).unwrap(), png(5000));
    assert_eq!((fetched.size, fetched.mime), (5000, "image/png"));
    assert_eq!((fetched.filename.as_str(), fetched.dimensions), ("foto rumah.jpg", Some((2, 1))));
    assert_eq!(site.spool.used(), 5000);
    drop(fetched);
    site.assert_empty("dropped");

    let fetched = site.get("named").await.unwrap();
    assert_eq!((fetched.mime, fetched.filename.as_str()), ("application/pdf", "laporan maret.pdf"));
    for path in ["chunked", "unsized", "long"] {
        let fetched = site.get(path).await.unwrap();
        assert_eq!(fs::read(&fetched.file).unwrap(), png(5000), "{path}");
        assert_eq!(fetched.filename, format!("{path}.png"));
    }
}

#[tokio::test]
async fn redirects_are_followed_so_many_times() {
    let site = Site::start().await;
    let fetched = site.get("hop/4").await.unwrap();
    assert_eq!((fetched.size, fetched.filename.as_str()), (5000, "end.png"));
    drop(fetched);
    // A redirect's own body is not even read.
    site.get("endless-redirect").await.unwrap();
    for path in ["hop/5", "loop"] {
        let e = site.fails(path).await;
        assert!(matches!(e, FetchError::Redirects { limit: 5, .. }) && !e.is_remote(), "{e}");
    }
}

#[tokio::test]
async fn no_redirect_leads_to_where_a_url_may_not() {
    let site = Site::start().await;
    for path in ["away/loopback", "away/metadata", "away/mapped"] {
        let before = site.seen.connections.load(Ordering::SeqCst);
        let e = site.fails(path).await;
        assert!(matches!(e, FetchError::Forbidden { .. }) && !e.is_remote(), "{path}: {e}");
        assert!(e.to_string().contains("KURIR_ALLOW_PRIVATE_FETCH"), "{e}");
        assert_eq!(site.seen.connections.load(Ordering::SeqCst), before + 1, "{path} was followed");
    }
    for path in ["away/file", "away/password"] {
        let e = site.fails(path).await;
        assert!(matches!(e, FetchError::BadUrl { .. }), "{path}: {e}");
    }
}

#[tokio::test]
async fn names_and_spellings_of_inside_addresses_are_refused_unasked() {
    let mut site = Site::start().await;
    site.policy = FetchPolicy::new(Vec::new());
    let port = site.address.port();
    for host in [
        "localhost",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "10.0.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "[fd00::1]",
        "[fe80::1]",
        "224.0.0.1",
    ] {
        let e = site.failure(&format!("http://{host}:{port}/file/x?token={SECRET}")).await;
        // Where the system resolves such a spelling at all, it must be seen through.
        assert!(matches!(e, FetchError::Forbidden { .. } | FetchError::Dns { .. }), "{host}: {e:?}");
        if !host.starts_with('[') && host.contains('.') || host == "localhost" {
            assert!(matches!(e, FetchError::Forbidden { .. }), "{host}: {e:?}");
        }
    }
    assert_eq!(site.seen.connections.load(Ordering::SeqCst), 0);

    // The same name, allowed.
    site.policy.allow_private = Cidr::parse_list("127.0.0.0/8, ::1").unwrap();
    site.fetch(&format!("http://localhost:{port}/file/x.png")).await.unwrap();
}

#[tokio::test]
async fn what_is_no_link_is_refused() {
    let site = Site::start().await;
    for url in ["", "photo.png", "ftp://a.example/x", &format!("http://u:{SECRET}@{}/file/x", site.address)] {
        let e = site.failure(url).await;
        assert!(matches!(e, FetchError::BadUrl { .. }) && !e.is_remote() && !e.is_local(), "{url}: {e}");
    }
    assert_eq!(site.seen.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn pages_need_a_direct_link_instead() {
    let site = Site::start().await;
    for path in ["html", "disguised"] {
        let e = site.fails(path).await;
        assert!(matches!(e, FetchError::Html { .. }) && !e.is_remote(), "{path}: {e}");
        assert!(e.to_string().contains("needs a direct link"), "{e}");
    }
    let e = site.fails("empty").await;
    assert!(matches!(e, FetchError::Empty { .. }) && !e.is_remote(), "{e}");
}

#[tokio::test]
async fn error_answers_are_told() {
    let site = Site::start().await;
    for status in [204, 206, 302, 304, 400, 401, 403, 404, 410, 429, 500, 502, 503] {
        let e = site.fails(&format!("status/{status}")).await;
        assert!(
            matches!(e, FetchError::Status { status: s, .. } if s == status) && e.is_remote(),
            "{status}: {e}"
        );
        assert!(e.to_string().contains("127.0.0.1") && e.to_string().contains(&status.to_string()), "{e}");
    }
}

#[tokio::test]
async fn what_is_too_large_is_cut() {
    let site = Site::start().await;
    for path in ["announced", "endless", "endless-chunks"] {
        let e = site.fails(path).await;
        assert!(matches!(e, FetchError::TooLarge { limit: LIMIT, .. }) && !e.is_remote(), "{path}: {e}");
        assert!(e.to_string().contains("1 MB"), "{e}");
    }
}

#[tokio::test]
async fn broken_and_lying_answers_are_the_servers_fault() {
    let site = Site::start().await;
    for path in ["short", "nonsense-length", "cut-chunk", "not-a-chunk", "not-http", "gzip", "endless-head"] {
        let e = site.fails(path).await;
        assert!(matches!(e, FetchError::Broken { .. }) && e.is_remote(), "{path}: {e:?}");
    }
    // No TLS there.
    let e = site.failure(&site.url("file/x").replace("http:", "https:")).await;
    assert!(matches!(e, FetchError::Tls { .. }) && e.is_remote(), "{e:?}");
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("fixtures/localhost.cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("fixtures/localhost.key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        TlsAcceptor::from(Arc::new(config)).accept(stream).await.map(drop)
    });
    let site = Site::start().await;
    let e = site.failure(&format!("https://localhost:{port}/x?token={SECRET}")).await;
    assert!(matches!(e, FetchError::Tls { .. }) && e.is_remote(), "{e:?}");
    assert!(e.to_string().contains("localhost") && e.to_string().contains("certificate"), "{e}");
    assert!(within(server).await.unwrap().is_err(), "the handshake went through");
}

#[tokio::test]
async fn silence_and_trickles_are_cut() {
    let mut site = Site::start().await;
    site.policy.stall = STALL;
    for path in ["silent", "stalled", "trickle", "trickle-head"] {
        let e = site.fails(path).await;
        assert!(matches!(e, FetchError::Slow { limit: STALL, .. }) && e.is_remote(), "{path}: {e:?}");
    }
    site.policy.stall = PATIENCE;
    site.policy.total = TOTAL;
    let e = site.fails("steady").await;
    assert!(matches!(e, FetchError::Slow { limit: TOTAL, .. }), "{e:?}");
}

#[tokio::test]
async fn hosts_that_are_not_there() {
    let site = Site::start().await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let e = site.failure(&format!("http://{closed}/x?token={SECRET}")).await;
    assert!(matches!(e, FetchError::Connect { .. }) && e.is_remote(), "{e:?}");
    let e = site.failure(&format!("http://no-such-host.invalid/x?token={SECRET}")).await;
    assert!(matches!(e, FetchError::Dns { .. }) && e.is_remote(), "{e:?}");
    assert!(e.to_string().contains("no-such-host.invalid"), "{e}");
}

#[tokio::test]
async fn many_at_once_take_turns() {
    let mut site = Site::start().await;
    site.policy = site.policy.with_parallel(3);
    let downloads: Vec<_> = (0..24)
        .map(|i| {
            let (url, policy, spool) =
                (site.url(&format!("file/{i}")), site.policy.clone(), site.spool.clone());
            tokio::spawn(async move { fetch(&url, &policy, &spool).await })
        })
        .collect();
    let mut files = Vec::new();
    for download in downloads {
        files.push(within(download).await.unwrap().unwrap());
    }
    assert_eq!(site.spool.used(), 24 * 5000);
    // The server may notice the end of one a little after the next began.
    assert!(site.seen.most.load(Ordering::SeqCst) <= 6, "{:?}", site.seen.most);
    drop(files);
    site.assert_empty("after many");
}

#[tokio::test]
async fn waiting_for_a_place_is_bounded_too() {
    let mut site = Site::start().await;
    site.policy = site.policy.with_parallel(1);
    let (url, policy, spool) = (site.url("silent"), site.policy.clone(), site.spool.clone());
    let holder = tokio::spawn(async move { fetch(&url, &policy, &spool).await });
    within(async {
        while site.seen.now.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    site.policy.total = STALL;
    let e = site.get("file/x").await.unwrap_err();
    assert!(matches!(e, FetchError::Busy { .. }) && e.is_local() && !e.is_remote(), "{e:?}");

    // Giving a download up closes its connection and frees its place, long before its time is over.
    holder.abort();
    within(site.seen.gone.notified()).await;
    site.policy.total = PATIENCE;
    site.get("file/x.png").await.unwrap();
}

#[tokio::test]
async fn a_full_spool_is_nobody_elses_fault() {
    let mut site = Site::start().await;
    site.spool = Spool::open_with(site.data.path(), 4000).unwrap();
    let e = site.fails("file/x").await;
    assert!(e.is_local() && !e.is_remote(), "{e:?}");
    assert!(e.to_string().contains("full"), "{e}");
}

#[test]
fn proxy_settings_of_the_environment_are_ignored() {
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "a_file_arrives_with_its_true_type_size_and_name"]);
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        again.env(name, "http://127.0.0.1:1");
    }
    let output = again.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}
