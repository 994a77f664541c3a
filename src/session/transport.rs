//! The WebSocket of a client that pairs, which writes the credentials to disk before the phone learns that they exist.
//!
//! whatsapp-rust signs the phone's pairing and sends the answer, and only then says that it is paired. From the answer
//! on the phone lists the device; a power cut before its credentials are on disk would leave a device in that list
//! that nobody can use, and a gateway that shows a QR again. The answer itself is encrypted when it passes here, so the
//! sign is the device: once it has a number, nothing is sent before it is kept.

use std::sync::{Arc, OnceLock, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Mutex;
use whatsapp_rust::anyhow::{Error, anyhow};
use whatsapp_rust::async_channel::Receiver;
use whatsapp_rust::store::Device;
use whatsapp_rust::transport::{TokioWebSocketTransportFactory, Transport, TransportEvent, TransportFactory};
use whatsapp_rust::{Client, wacore};

/// The client, which exists only after the factory that it is built with.
pub(super) type LateClient = Arc<OnceLock<Weak<Client>>>;

/// Makes connections that keep a pairing before they answer it.
pub(super) struct Sockets {
    pub(super) inner: TokioWebSocketTransportFactory,
    pub(super) client: LateClient,
}

#[async_trait]
impl TransportFactory for Sockets {
    async fn create_transport(&self) -> Result<(Arc<dyn Transport>, Receiver<TransportEvent>), Error> {
        let (inner, events) = self.inner.create_transport().await?;
        let paired = |client: Arc<Client>| client.persistence_manager().get_device_snapshot().pn.is_some();
        if self.client.get().and_then(Weak::upgrade).is_some_and(paired) {
            return Ok((inner, events));
        }
        Ok((Arc::new(Pairing { inner, client: Arc::clone(&self.client), kept: Mutex::default() }), events))
    }
}

struct Pairing {
    inner: Arc<dyn Transport>,
    client: LateClient,
    kept: Mutex<Option<Arc<Device>>>,
}

#[async_trait]
impl Transport for Pairing {
    async fn send(&self, data: Bytes) -> Result<(), Error> {
        if let Some(client) = self.client.get().and_then(Weak::upgrade) {
            let devices = client.persistence_manager();
            let device = devices.get_device_snapshot();
            let mut kept = self.kept.lock().await;
            if device.pn.is_some() && !kept.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, &device)) {
                let saved = devices.backend().save(&device).await;
                saved.map_err(|e| {
                    anyhow!("the new credentials cannot be written, so the pairing is not answered: {e}")
                })?;
                *kept = Some(device);
            }
        }
        self.inner.send(data).await
    }

    async fn disconnect(&self) {
        self.inner.disconnect().await;
    }

    fn resource_report(&self) -> Option<wacore::stats::TransportResourceReport> {
        self.inner.resource_report()
    }
}
