//! TLS before the same loop.

use std::sync::Arc;

use kurir::api::serve::ServeLimits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::{GET, PATIENCE, SHORT, rest, start_with, within};

/// A certificate for `localhost`, made for these tests alone, and a client that trusts only it.
fn certificate() -> (Arc<ServerConfig>, TlsConnector) {
    let certificate =
        CertificateDer::from_pem_slice(include_bytes!("../fixtures/localhost.cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../fixtures/localhost.key.pem")).unwrap();
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
