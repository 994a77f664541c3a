//! What the server still owes one linked device: stanzas stay until the device confirms them, also over reconnects.

use std::collections::VecDeque;

use tokio::time::{Duration, Instant};
use wacore_binary::Node;

/// Stanzas kept for one device; beyond that the oldest is given up, as WhatsApp does after some weeks.
const MAX_QUEUED: usize = 50_000;

/// What a device answers a stanza with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Confirmed by `<receipt>` (or `<ack class="message">`).
    Message,
    /// Confirmed by `<ack class="receipt">`.
    Receipt,
    /// Confirmed by `<ack class="notification">`.
    Notification,
    /// Confirmed by `<ack class="call">` or a receipt.
    Call,
}

impl Class {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Receipt => "receipt",
            Self::Notification => "notification",
            Self::Call => "call",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "message" => Some(Self::Message),
            "receipt" => Some(Self::Receipt),
            "notification" => Some(Self::Notification),
            "call" => Some(Self::Call),
            _ => None,
        }
    }
}

/// A stanza that must be confirmed.
#[derive(Debug)]
pub(crate) struct Owed {
    pub(crate) class: Class,
    pub(crate) id: String,
    pub(crate) node: Node,
    sent: Option<Sent>,
}

#[derive(Debug)]
struct Sent {
    at: Instant,
    /// Its lateness was reported; once is enough.
    reported: bool,
}

/// Counts by class, for `<offline_preview>`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub(crate) messages: usize,
    pub(crate) receipts: usize,
    pub(crate) notifications: usize,
    pub(crate) calls: usize,
}

impl Backlog {
    pub(crate) fn total(self) -> usize {
        self.messages + self.receipts + self.notifications + self.calls
    }
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    owed: VecDeque<Owed>,
    given_up: u64,
}

impl Queue {
    /// Keeps a stanza. Returns it for sending if it can go out now (`live`).
    pub(crate) fn push(&mut self, class: Class, id: String, node: Node, live: Option<Instant>) {
        if self.owed.len() == MAX_QUEUED {
            self.owed.pop_front();
            self.given_up += 1;
        }
        let sent = live.map(|at| Sent { at, reported: false });
        self.owed.push_back(Owed { class, id, node, sent });
    }

    /// Forgets what was sent on an earlier connection: all of it is owed again.
    pub(crate) fn reconnected(&mut self) {
        for owed in &mut self.owed {
            owed.sent = None;
        }
    }

    pub(crate) fn backlog(&self) -> Backlog {
        let mut backlog = Backlog::default();
        for owed in self.owed.iter().filter(|owed| owed.sent.is_none()) {
            match owed.class {
                Class::Message => backlog.messages += 1,
                Class::Receipt => backlog.receipts += 1,
                Class::Notification => backlog.notifications += 1,
                Class::Call => backlog.calls += 1,
            }
        }
        backlog
    }

    /// The next `count` stanzas not sent on this connection, marked as sent.
    pub(crate) fn send(&mut self, count: usize, now: Instant) -> Vec<Node> {
        let unsent = self.owed.iter_mut().filter(|owed| owed.sent.is_none()).take(count);
        unsent
            .map(|owed| {
                owed.sent = Some(Sent { at: now, reported: false });
                owed.node.clone()
            })
            .collect()
    }

    /// Removes what a confirmation names. `kind` is the `type` a receipt's ack repeats. Returns whether it was owed.
    pub(crate) fn confirm(&mut self, class: Class, id: &str, kind: Option<&str>) -> bool {
        let matches = |owed: &Owed| {
            owed.class == class
                && owed.id == id
                && (class != Class::Receipt
                    || owed.node.attrs.get("type").map(|v| v.as_str()).as_deref() == kind)
        };
        match self.owed.iter().position(matches) {
            Some(index) => {
                self.owed.remove(index);
                true
            }
            None => false,
        }
    }

    /// Stanzas sent longer than `limit` ago and still unconfirmed, each reported once.
    pub(crate) fn late(&mut self, limit: Duration, now: Instant) -> Vec<(Class, String)> {
        let mut late = Vec::new();
        for owed in &mut self.owed {
            if let Some(sent) = &mut owed.sent
                && !sent.reported
                && now.saturating_duration_since(sent.at) > limit
            {
                sent.reported = true;
                late.push((owed.class, owed.id.clone()));
            }
        }
        late
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.owed.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use wacore_binary::builder::NodeBuilder;

    fn node(id: &str) -> Node {
        NodeBuilder::new("message").attr("id", id).build()
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(bool),
        Send(usize),
        Confirm(usize),
        Reconnect,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            any::<bool>().prop_map(Step::Push),
            (0..4_usize).prop_map(Step::Send),
            (0..20_usize).prop_map(Step::Confirm),
            Just(Step::Reconnect),
        ]
    }

    proptest! {
        /// Against a model: a list of ids and whether each was sent on this connection.
        #[test]
        fn nothing_is_lost_and_nothing_confirmed_comes_again(steps in prop::collection::vec(step(), 0..60)) {
            let mut queue = Queue::default();
            let mut model: Vec<(String, bool)> = Vec::new();
            for (n, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Push(live) => {
                        let id = n.to_string();
                        queue.push(Class::Message, id.clone(), node(&id), live.then(Instant::now));
                        model.push((id, live));
                    }
                    Step::Send(count) => {
                        let sent: Vec<String> = queue
                            .send(count, Instant::now())
                            .iter()
                            .map(|node| crate::stanza::attr_string(node, "id"))
                            .collect();
                        let expected = model.iter_mut().filter(|(_, sent)| !sent).take(count);
                        let expected: Vec<String> = expected.map(|(id, sent)| { *sent = true; id.clone() }).collect();
                        prop_assert_eq!(sent, expected);
                    }
                    Step::Confirm(index) => {
                        if !model.is_empty() {
                            let (id, _) = model.remove(index % model.len());
                            prop_assert!(queue.confirm(Class::Message, &id, None));
                            prop_assert!(!queue.confirm(Class::Message, &id, None));
                        }
                    }
                    Step::Reconnect => {
                        queue.reconnected();
                        model.iter_mut().for_each(|(_, sent)| *sent = false);
                    }
                }
                prop_assert_eq!(queue.len(), model.len());
                prop_assert_eq!(queue.backlog().messages, model.iter().filter(|(_, sent)| !sent).count());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn unconfirmed_stanzas_are_owed_again_after_a_reconnect() {
        let mut queue = Queue::default();
        let now = Instant::now();
        queue.push(Class::Message, "a".into(), node("a"), Some(now));
        queue.push(Class::Message, "b".into(), node("b"), None);
        assert_eq!(queue.backlog().total(), 1);
        assert!(queue.confirm(Class::Message, "a", None));
        assert!(!queue.confirm(Class::Message, "a", None));
        assert_eq!(queue.send(10, now).len(), 1);
        assert_eq!(queue.backlog().total(), 0);
        queue.reconnected();
        assert_eq!(queue.backlog().messages, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn lateness_is_reported_once() {
        let mut queue = Queue::default();
        queue.push(Class::Receipt, "a".into(), node("a"), Some(Instant::now()));
        tokio::time::advance(Duration::from_secs(31)).await;
        let now = Instant::now();
        assert_eq!(queue.late(Duration::from_secs(30), now), [(Class::Receipt, "a".to_owned())]);
        assert!(queue.late(Duration::from_secs(30), now).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn receipts_are_told_apart_by_their_type() {
        let mut queue = Queue::default();
        let read = NodeBuilder::new("receipt").attr("id", "a").attr("type", "read").build();
        queue.push(Class::Receipt, "a".into(), node("a"), None);
        queue.push(Class::Receipt, "a".into(), read, None);
        assert!(queue.confirm(Class::Receipt, "a", Some("read")));
        assert!(!queue.confirm(Class::Receipt, "a", Some("read")));
        assert!(queue.confirm(Class::Receipt, "a", None));
        assert_eq!(queue.len(), 0);
    }
}
