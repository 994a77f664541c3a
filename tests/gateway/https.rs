//! HTTPS: the box's own certificate and an uploaded one, as a client that checks them sees them.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::support::{Office, request};
use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A client that trusts this certificate and nothing else.
fn trusting(pem: &str, protocols: &[&[u8]]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

async fn connect(
    connector: &TlsConnector,
    address: SocketAddr,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    connector.connect(ServerName::try_from(name.to_owned()).unwrap(), stream).await
}

/// The certificate that the server showed, and the status of one request.
async fn get(stream: TlsStream<TcpStream>, path: &str) -> (Vec<u8>, u16) {
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let request =
        hyper::Request::builder().uri(path).header("host", "kurir").body(Full::<Bytes>::default()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    response.into_body().collect().await.unwrap();
    driver.abort();
    (shown, status)
}

fn fingerprint(der: &[u8]) -> String {
    Sha256::digest(der).iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(":")
}

struct OwnBox {
    office: Office,
    https: SocketAddr,
    admin: String,
}

impl OwnBox {
    async fn open(change: impl FnOnce(&mut kurir::config::Config)) -> OwnBox {
        let office = Office::open_with(|config| {
            config.listen_https = Some("127.0.0.1:0".parse().unwrap());
            config.host_name = Some("kurir-test".into());
            change(config);
        })
        .await;
        let admin = office.gateway.keys().create("admin", "main", true).await.unwrap();
        OwnBox { https: office.gateway.https_address().unwrap(), office, admin }
    }

    fn own(&self) -> String {
        std::fs::read_to_string(self.office.config.data_dir.join("tls/self-signed.pem")).unwrap()
    }

    fn shown(&self) -> String {
        self.office.gateway.certificates().unwrap().info().borrow().sha256.clone()
    }

    async fn certificate(&self, key: &str, method: &str, body: impl Into<Bytes>) -> (u16, Value) {
        let headers = [("x-api-key", key)];
        let address = self.office.gateway.address();
        let answer = request(address, method, "/api/v1/certificate", &headers, body).await.unwrap();
        (answer.status, answer.json())
    }
}

fn pair(name: &str, until: i32) -> (String, String) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_api_is_there_under_a_certificate_that_names_the_box() {
    let it = OwnBox::open(|_| {}).await;
    let client = trusting(&it.own(), &[b"http/1.1"]);
    for name in ["kurir-test", "kurir-test.local", "localhost"] {
        let stream = connect(&client, it.https, name).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let (certificate, status) = get(stream, "/readyz").await;
        assert_eq!((status, fingerprint(&certificate)), (200, it.shown()), "{name}: what the panel shows");
    }
    assert!(connect(&client, it.https, "kurir-other").await.is_err());
    let stream = connect(&client, it.https, "localhost").await.unwrap();
    assert_eq!(get(stream, "/api/sessions").await.1, 401, "keys are asked for here as well");
    let modern = trusting(&it.own(), &[b"h2"]);
    assert!(connect(&modern, it.https, "localhost").await.is_err(), "HTTP/1.1 only");
    let stranger = trusting(&pair("localhost", 2030).0, &[]);
    assert!(connect(&stranger, it.https, "localhost").await.is_err());

    let before = it.shown();
    let office = it.office.restart().await;
    assert_eq!(
        office.gateway.certificates().unwrap().info().borrow().sha256,
        before,
        "the same after a restart"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uploaded_certificate_is_used_by_the_next_connection() {
    let it = OwnBox::open(|_| {}).await;
    let (own, own_pem) = (it.shown(), it.own());
    let (chain, key) = pair("wa.example.com", 2040);
    let client = trusting(&chain, &[]);
    assert!(connect(&client, it.https, "wa.example.com").await.is_err(), "not yet");
    let old = connect(&trusting(&own_pem, &[]), it.https, "localhost").await.unwrap();

    let body = json!({"certificate": chain, "key": key}).to_string();
    assert_eq!(it.certificate(&it.office.key, "PUT", body.clone()).await.0, 403, "an application's key");
    assert_eq!(it.certificate("", "PUT", body.clone()).await.0, 401);
    assert_eq!(it.certificate(&it.office.key, "DELETE", "").await.0, 403);
    let (status, answer) = it.certificate(&it.admin, "PUT", body).await;
    assert_eq!((status, &answer["certificate"]["source"]), (200, &json!("uploaded")), "{answer}");
    assert_eq!(answer["certificate"]["not_after"], "2040-01-01T00:00:00Z");
    assert!(!answer.to_string().contains("PRIVATE"), "the key stays inside");

    assert_eq!(get(old, "/healthz").await.1, 200, "a connection from before goes on");
    let (shown, status) = get(connect(&client, it.https, "wa.example.com").await.unwrap(), "/healthz").await;
    assert_eq!((status, fingerprint(&shown)), (200, it.shown()));

    let (other, _) = pair("wa.example.com", 2040);
    let (_, late_key) = pair("wa.example.com", 2021);
    let (late, late_own_key) = pair("wa.example.com", 2021);
    for (what, pem, says) in [
        ("another's key", format!("{other}{key}"), "does not belong"),
        ("an expired one's wrong key", format!("{late}{late_key}"), "does not belong"),
        ("an expired one", format!("{late}{late_own_key}"), "expired on 2021-01-01"),
        ("no key", chain.clone(), "no private key"),
        ("nothing", String::new(), "no certificate"),
        ("JSON without a key", json!({"certificate": chain}).to_string(), "key is missing"),
    ] {
        let (status, answer) = it.certificate(&it.admin, "PUT", pem).await;
        assert_eq!(status, 400, "{what}: {answer}");
        assert!(answer["message"].as_str().unwrap().contains(says), "{what}: {answer}");
    }
    assert_eq!(it.certificate(&it.admin, "PUT", vec![b'x'; 70_000]).await.0, 413);
    let (_, now) = it.certificate(&it.admin, "GET", "").await;
    assert_eq!(now, answer, "nothing that was refused changed anything");

    let (status, answer) = it.certificate(&it.admin, "DELETE", "").await;
    assert_eq!((status, &answer["certificate"]["sha256"]), (200, &json!(own)));
    let stream = connect(&trusting(&own_pem, &[]), it.https, "localhost").await.unwrap();
    assert_eq!(fingerprint(&get(stream, "/healthz").await.0), own);

    // As `curl -T` sends it, and kept over a restart.
    assert_eq!(it.certificate(&it.admin, "PUT", format!("{chain}{key}")).await.0, 200);
    let office = it.office.restart().await;
    let stream = connect(&client, office.gateway.https_address().unwrap(), "wa.example.com").await.unwrap();
    assert_eq!(get(stream, "/healthz").await.1, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_listeners_share_one_bound_on_connections() {
    let it = OwnBox::open(|config| config.max_connections_per_address = 2).await;
    let client = trusting(&it.own(), &[]);
    let mut plain = TcpStream::connect(it.office.gateway.address()).await.unwrap();
    // Answered, so that it has its place.
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: kurir\r\n\r\n").await.unwrap();
    assert_ne!(plain.read(&mut [0; 16]).await.unwrap(), 0);
    let secure = connect(&client, it.https, "localhost").await.unwrap();
    let mut third = TcpStream::connect(it.https).await.unwrap();
    assert_eq!(third.read(&mut [0; 16]).await.unwrap(), 0, "closed at once");
    drop(plain);
    drop(secure);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_https_there_is_nothing_to_upload_to() {
    let office = Office::open().await;
    assert_eq!(office.gateway.https_address(), None);
    assert!(!office.config.data_dir.join("tls").exists());
    let admin = office.gateway.keys().create("admin", "main", true).await.unwrap();
    let headers = [("x-api-key", admin.as_str())];
    for method in ["GET", "PUT", "DELETE"] {
        let answer =
            request(office.gateway.address(), method, "/api/v1/certificate", &headers, "").await.unwrap();
        assert_eq!(answer.status, 409);
        assert!(answer.json()["message"].as_str().unwrap().contains("listen_https"));
    }
}
