//! Who waits for which server ack. whatsapp-rust's send returns after the socket write; only the ack says that the
//! server took the message.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// What the server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ack {
    /// It took the message.
    Accepted,
    /// It refused the message with this code.
    Refused(String),
}

/// The waiters of one session, by message id. As many as there are sends in flight, which the outbox bounds.
#[derive(Clone, Default)]
pub struct Acks {
    // A plain lock: held for one map operation, never across an await.
    waiting: Arc<Mutex<HashMap<String, oneshot::Sender<Ack>>>>,
}

impl Acks {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<Ack>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers before the send, so that no ack can be missed. Dropping the wait unregisters.
    pub fn expect(&self, message_id: &str) -> AckWait {
        let (sender, receiver) = oneshot::channel();
        self.lock().insert(message_id.to_owned(), sender);
        AckWait { acks: self.clone(), message_id: message_id.to_owned(), receiver }
    }

    /// Hands the ack to whoever waits for it.
    pub fn resolve(&self, message_id: &str, ack: Ack) {
        if let Some(waiter) = self.lock().remove(message_id) {
            // The waiter may have given up meanwhile.
            let _ = waiter.send(ack);
        }
    }

    /// The connection is gone: no ack will come on it any more.
    pub fn abandon_all(&self) {
        self.lock().clear();
    }
}

/// One expected ack.
pub struct AckWait {
    acks: Acks,
    message_id: String,
    receiver: oneshot::Receiver<Ack>,
}

impl AckWait {
    /// The ack, or `None` if the connection ended first.
    pub async fn wait(&mut self) -> Option<Ack> {
        (&mut self.receiver).await.ok()
    }
}

impl Drop for AckWait {
    fn drop(&mut self) {
        self.acks.lock().remove(&self.message_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_ack_reaches_its_own_waiter_only_and_a_lost_connection_wakes_all() {
        let acks = Acks::default();
        let (mut a, mut b) = (acks.expect("A"), acks.expect("B"));
        acks.resolve("A", Ack::Refused("479".into()));
        acks.resolve("unknown", Ack::Accepted);
        assert_eq!(a.wait().await, Some(Ack::Refused("479".into())));
        acks.abandon_all();
        assert_eq!(b.wait().await, None);
        drop(acks.expect("C"));
        assert!(acks.lock().is_empty());
    }
}
