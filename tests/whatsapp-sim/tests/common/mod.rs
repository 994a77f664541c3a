//! A whatsapp-rust client against the test server.

#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use wacore::store::InMemoryBackend;
use whatsapp_rust::bot::{Bot, BotHandle};
use whatsapp_rust::store::traits::Backend;
use whatsapp_rust::transport::TokioWebSocketTransportFactory;
use whatsapp_rust::types::events::Event;
use whatsapp_rust::types::presence::ReceiptType;
use whatsapp_sim::{Sim, SimConfig};

/// Longer than any step takes on a busy machine; what is awaited usually comes in milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A client and the events it has emitted.
pub(crate) struct Client {
    pub(crate) handle: BotHandle,
    pub(crate) events: mpsc::UnboundedReceiver<Arc<Event>>,
    /// Events that came before the one that was waited for: acks and receipts overtake each other.
    passed: Vec<Arc<Event>>,
    pub(crate) backend: Arc<dyn Backend>,
}

pub(crate) async fn sim() -> Sim {
    let _ = env_logger::builder().is_test(true).try_init();
    Sim::start(SimConfig::default()).await.expect("starts")
}

impl Client {
    pub(crate) async fn start(sim: &Sim, backend: Arc<dyn Backend>) -> Self {
        Self::start_with(sim, backend, |builder| builder).await
    }

    pub(crate) async fn fresh(sim: &Sim) -> Self {
        Self::start(sim, Arc::new(InMemoryBackend::new())).await
    }

    pub(crate) async fn start_with(
        sim: &Sim,
        backend: Arc<dyn Backend>,
        more: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let (tx, events) = mpsc::unbounded_channel();
        let builder = Bot::builder()
            .with_backend_arc(Arc::clone(&backend))
            .with_transport_factory(TokioWebSocketTransportFactory::new().with_url(sim.ws_url()))
            .with_version((2, 3000, 1_020_000_000))
            .with_wanted_pre_key_count(30)
            .with_event_handler(Forward(tx));
        let bot = more(builder).build().await.expect("builds");
        Self { handle: bot.spawn(), events, passed: Vec::new(), backend }
    }

    /// The next event for which `pick` has a value.
    pub(crate) async fn event<T>(&mut self, what: &str, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
        let found = self.passed.iter().enumerate().find_map(|(index, event)| Some((index, pick(event)?)));
        if let Some((index, value)) = found {
            self.passed.remove(index);
            return value;
        }
        let next = async {
            loop {
                let event = self.events.recv().await.expect("the client runs");
                if let Some(value) = pick(&event) {
                    return value;
                }
                self.passed.push(event);
            }
        };
        match tokio::time::timeout(PATIENCE, next).await {
            Ok(value) => value,
            Err(_) => panic!("no event: {what}"),
        }
    }

    pub(crate) async fn connected(&mut self) {
        self.event("connected", |event| matches!(event, Event::Connected(_)).then_some(())).await;
    }

    pub(crate) async fn qr(&mut self) -> String {
        self.event("QR", |event| match event {
            Event::PairingQrCode(qr) => Some(qr.code.clone()),
            _ => None,
        })
        .await
    }

    /// Pairs with `number` by QR and waits until it is connected.
    pub(crate) async fn pair(&mut self, sim: &Sim, number: &str) {
        let qr = self.qr().await;
        sim.scan(number, &qr).await.expect("the phone pairs");
        self.connected().await;
    }
}

pub(crate) type Builder = whatsapp_rust::bot::BotBuilder<
    whatsapp_rust::bot::Provided,
    whatsapp_rust::bot::Provided,
    whatsapp_rust::bot::Provided,
    whatsapp_rust::bot::Provided,
>;

struct Forward(mpsc::UnboundedSender<Arc<Event>>);

impl whatsapp_rust::types::events::EventHandler for Forward {
    fn handle_event(&self, event: Arc<Event>) {
        // The test may have ended before the client.
        let _ = self.0.send(event);
    }
}

/// Waits until the server has taken the message.
pub(crate) async fn acked(client: &mut Client, id: &str) {
    let error = client
        .event("server ack", |event| match event {
            Event::ServerAck(ack) if ack.id == id => Some(ack.error.clone()),
            _ => None,
        })
        .await;
    assert_eq!(error, None, "the server took the message");
}

/// Waits for a receipt for the message.
pub(crate) async fn receipt(client: &mut Client, id: &str, kind: ReceiptType) {
    client
        .event("receipt", |event| match event {
            Event::Receipt(receipt) => {
                (receipt.message_ids.iter().any(|known| known == id) && receipt.r#type == kind).then_some(())
            }
            _ => None,
        })
        .await;
}
