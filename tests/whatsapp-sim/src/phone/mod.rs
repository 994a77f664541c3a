//! A phone: the primary device of an account. It has no task of its own; what happens to it happens in the connection
//! or call that causes it.

mod receive;
mod send;
pub(crate) mod signal;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use waproto::whatsapp as wa;

use crate::inbox::Inbox;
use crate::keys::DeviceAddr;
use crate::typing::Typing;

pub(crate) use receive::{Envelope, Opening, SenderFacts};
pub(crate) use send::Copy;
use signal::Signal;

/// Sent messages a phone keeps to answer retry requests and to match receipts.
const MAX_SENT: usize = 2_000;
/// Typing signs remembered.
const MAX_TYPING: usize = 100;
/// Retry requests remembered.
const MAX_RETRIES: usize = 2_000;

/// A receipt that a phone got for a message it sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhoneReceipt {
    /// Who it is from: digits, a colon and the device.
    pub from: String,
    /// `delivered`, or the receipt's type: `read`, `played`, `inactive`, …
    pub kind: String,
}

/// The phone's locks: `sending` may be held while taking `state` or the world; `state` is held alone.
pub(crate) struct Phone {
    pub(crate) number: Arc<str>,
    pub(crate) lid: Arc<str>,
    pub(crate) inbox: Inbox,
    /// Counts up with each receipt and each sign of typing, for those who wait.
    pub(crate) noticed: watch::Sender<u64>,
    state: Mutex<State>,
    /// One message is composed at a time, so that a chat keeps its order.
    sending: Mutex<()>,
}

pub(crate) struct State {
    pub(crate) signal: Signal,
    /// Devices whose session this phone was told to lose: a failure to decrypt from them is not their fault.
    lost: HashSet<DeviceAddr>,
    sent: HashMap<String, Sent>,
    sent_order: VecDeque<String>,
    retries: HashMap<(String, DeviceAddr), u8>,
    retry_order: VecDeque<(String, DeviceAddr)>,
    typing: VecDeque<Typing>,
    /// Devices that have this phone's sender key, by group.
    distributed: HashMap<String, HashSet<DeviceAddr>>,
}

/// A message this phone sent.
struct Sent {
    message: wa::Message,
    to: Destination,
    receipts: Vec<PhoneReceipt>,
}

/// Where a phone sends a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// A phone number.
    Direct(Arc<str>),
    /// A group's JID.
    Group(Arc<str>),
}

impl Phone {
    pub(crate) fn new(number: &str, lid: &str) -> Self {
        Self {
            number: number.into(),
            lid: lid.into(),
            inbox: Inbox::default(),
            noticed: watch::Sender::new(0),
            state: Mutex::new(State {
                signal: Signal::generate(),
                lost: HashSet::new(),
                sent: HashMap::new(),
                sent_order: VecDeque::new(),
                retries: HashMap::new(),
                retry_order: VecDeque::new(),
                typing: VecDeque::new(),
                distributed: HashMap::new(),
            }),
            sending: Mutex::new(()),
        }
    }

    pub(crate) fn addr(&self) -> DeviceAddr {
        DeviceAddr { user: Arc::clone(&self.number), device: 0 }
    }

    /// A panic in a handler leaves at worst one session half advanced; the rest of the phone stays usable.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sending(&self) -> MutexGuard<'_, ()> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a receipt for a message this phone sent. Returns whether it knows the message.
    pub(crate) fn note_receipt(&self, id: &str, receipt: PhoneReceipt) -> bool {
        match self.state().sent.get_mut(id) {
            Some(sent) => {
                if !sent.receipts.contains(&receipt) {
                    sent.receipts.push(receipt);
                    self.noticed.send_modify(|count| *count += 1);
                }
                true
            }
            None => false,
        }
    }

    /// The receipts for a message this phone sent, or `None` if it sent no such message.
    pub(crate) fn receipts(&self, id: &str) -> Option<Vec<PhoneReceipt>> {
        self.state().sent.get(id).map(|sent| sent.receipts.clone())
    }

    pub(crate) fn note_typing(&self, typing: Typing) {
        let mut state = self.state();
        if state.typing.len() == MAX_TYPING {
            state.typing.pop_front();
        }
        state.typing.push_back(typing);
        self.noticed.send_modify(|count| *count += 1);
    }

    pub(crate) fn typing(&self) -> Vec<Typing> {
        self.state().typing.iter().cloned().collect()
    }

    /// Forgets every Signal session, as a phone does that was restored from a backup.
    pub(crate) fn lose_sessions(&self, peers: &[DeviceAddr]) {
        let mut state = self.state();
        for peer in peers {
            state.signal.forget_session(peer);
            state.lost.insert(peer.clone());
        }
    }

    /// Forgets a device that is linked no longer.
    pub(crate) fn forget_device(&self, peer: &DeviceAddr) {
        let mut state = self.state();
        state.signal.forget_session(peer);
        for devices in state.distributed.values_mut() {
            devices.remove(peer);
        }
    }
}

impl State {
    fn remember_sent(&mut self, id: &str, message: wa::Message, to: Destination) {
        if self.sent.insert(id.to_owned(), Sent { message, to, receipts: Vec::new() }).is_none() {
            self.sent_order.push_back(id.to_owned());
        }
        if self.sent_order.len() > MAX_SENT
            && let Some(old) = self.sent_order.pop_front()
        {
            self.sent.remove(&old);
        }
    }

    /// Counts a retry for a message from a device, starting at 1.
    fn count_retry(&mut self, id: &str, from: &DeviceAddr) -> u8 {
        let key = (id.to_owned(), from.clone());
        let count = self.retries.entry(key.clone()).or_insert(0);
        *count = count.saturating_add(1);
        let count = *count;
        if count == 1 {
            self.retry_order.push_back(key);
            if self.retry_order.len() > MAX_RETRIES
                && let Some(old) = self.retry_order.pop_front()
            {
                self.retries.remove(&old);
            }
        }
        count
    }
}
