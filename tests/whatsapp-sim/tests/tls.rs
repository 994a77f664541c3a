//! A client that is left as it is, `wss:` and `https:` and all, but for the authority that it trusts.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;

use common::{Client, PATIENCE};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use wacore::download::MediaType;
use wacore::store::InMemoryBackend;
use whatsapp_rust::http::UreqHttpClient;
use whatsapp_rust::media::{ImageOptions, image_message};
use whatsapp_rust::transport::{Connector, TokioWebSocketTransportFactory};
use whatsapp_rust::{Jid, UploadOptions};
use whatsapp_sim::{Sim, SimConfig};

const ANNA: &str = "4915550001";
const BORIS: &str = "4915550002";

fn connector(authority: &str) -> Connector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Connector::Rustls(TlsConnector::from(Arc::new(config)))
}

fn https(authority: &str) -> UreqHttpClient {
    let certificate = ureq::tls::Certificate::from_pem(authority.as_bytes()).unwrap();
    let roots = ureq::tls::RootCerts::new_with_certs(&[certificate]);
    let tls = ureq::tls::TlsConfig::builder().root_certs(roots).build();
    UreqHttpClient::with_agent(ureq::Agent::config_builder().tls_config(tls).build().into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chat_and_media_over_tls() {
    let sim = Sim::start(SimConfig { tls: true, ..SimConfig::default() }).await.unwrap();
    sim.add_phone(ANNA, "Anna").await.unwrap();
    sim.add_phone(BORIS, "Boris").await.unwrap();
    let authority = sim.tls_authority().expect("was asked for").to_owned();

    let url = sim.ws_url().replacen("ws://", "wss://", 1);
    let transport = TokioWebSocketTransportFactory::new().with_url(url).with_connector(connector(&authority));
    let mut client = Client::start_with(&sim, Arc::new(InMemoryBackend::new()), |builder| {
        builder.with_transport_factory(transport).with_http_client(https(&authority))
    })
    .await;
    client.pair(&sim, ANNA).await;

    let wa = client.handle.client();
    let upload = wa.upload(vec![7; 100_000], MediaType::Image, UploadOptions::new()).await.expect("uploads");
    assert!(upload.url.starts_with("https://127.0.0.1:"), "{}", upload.url);
    let sent = wa
        .send_message(&Jid::pn(BORIS), image_message(upload, ImageOptions::default()))
        .await
        .expect("sends");
    let inbox = sim.inbox(BORIS, 1, PATIENCE).await.unwrap();
    assert_eq!((inbox[0].id.as_str(), inbox[0].size), (sent.message_id.as_str(), Some(100_000)));
    assert_eq!(sim.media(BORIS, &sent.message_id).await.unwrap(), vec![7; 100_000]);
    assert_eq!(sim.stats().violations, []);
}
