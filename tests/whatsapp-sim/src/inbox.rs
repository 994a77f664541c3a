//! What a phone has received and shows: each message id once.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use crate::describe::{Described, LinkPreview, describe};
use crate::media::MediaRef;

/// Messages a phone keeps; the oldest gives way. Enough for a benchmark's run, some 30 MB.
pub const MAX_ITEMS: usize = 100_000;

/// Ids a phone remembers, to notice repeats also of messages it no longer keeps.
const MAX_SEEN: usize = 4 * MAX_ITEMS;

/// One message as a phone shows it. What does not apply to its kind is `null`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxItem {
    /// The message id.
    pub id: String,
    /// Who sent it: digits.
    pub from: String,
    /// The chat it is in: digits for a direct one, else the group's JID.
    pub chat: String,
    /// `text`, `image`, `video`, `audio`, `document`, `sticker`, `location`, `contact`, `poll`, `poll-vote`,
    /// `reaction`, `edit`, `revoke`, or `unknown` for a message of another kind.
    pub kind: String,
    /// The text; see [`describe`] for what it is with each kind.
    pub text: Option<String>,
    /// The caption of a medium.
    pub caption: Option<String>,
    /// The type of a medium.
    pub mime: Option<String>,
    /// The file name of a document.
    pub filename: Option<String>,
    /// The size of the decrypted medium, in bytes.
    pub size: Option<u64>,
    /// SHA-256 of the decrypted medium, in hex.
    pub sha256: Option<String>,
    /// For audio, whether it is a voice note.
    pub ptt: Option<bool>,
    /// How long audio or video plays, as the sender says.
    pub seconds: Option<u32>,
    /// For a voice note, its waveform: levels of 0 to 100.
    #[serde(default)]
    pub waveform: Option<Vec<u8>>,
    /// Width and height of an image, a film or a sticker in pixels, as the sender says.
    #[serde(default)]
    pub dimensions: Option<(u32, u32)>,
    /// The small picture inside the message, in Base64: a JPEG.
    #[serde(default)]
    pub thumbnail: Option<String>,
    /// The id of the message that is replied to, reacted to, voted on, edited or revoked.
    pub quoted: Option<String>,
    /// When it was sent, in seconds since 1970, as the server says.
    pub timestamp: u64,
    /// JIDs of those whom the text mentions.
    #[serde(default)]
    pub mentions: Vec<String>,
    /// Whether it mentions everybody in the group.
    #[serde(default)]
    pub mention_all: bool,
    /// What is shown of the text's link.
    #[serde(default)]
    pub preview: Option<LinkPreview>,
    /// Its text after the last edit.
    #[serde(default)]
    pub edited: Option<String>,
    /// Whether it was taken back, so that nobody can read it any more.
    #[serde(default)]
    pub revoked: bool,
    /// The emoji on it, by who put them there.
    #[serde(default)]
    pub reactions: BTreeMap<String, String>,
}

impl InboxItem {
    /// An item from a message's content and from what its stanza says. `medium` is the decrypted medium: its size and
    /// SHA-256.
    pub fn new(
        id: impl Into<String>,
        from: impl Into<String>,
        chat: impl Into<String>,
        timestamp: u64,
        content: &Described,
        medium: Option<(u64, [u8; 32])>,
    ) -> Self {
        Self {
            id: id.into(),
            from: from.into(),
            chat: chat.into(),
            kind: content.kind.to_owned(),
            text: content.text.clone(),
            caption: content.caption.clone(),
            mime: content.mime.clone(),
            filename: content.filename.clone(),
            size: medium.map(|(size, _)| size),
            sha256: medium.map(|(_, sha256)| hex::encode(sha256)),
            ptt: content.ptt,
            seconds: content.seconds,
            waveform: content.waveform.clone(),
            dimensions: content.dimensions,
            thumbnail: content.thumbnail.as_deref().map(|bytes| STANDARD.encode(bytes)),
            quoted: content.quoted.clone(),
            timestamp,
            mentions: content.mentions.clone(),
            mention_all: content.mention_all,
            preview: content.preview.clone(),
            edited: None,
            revoked: false,
            reactions: BTreeMap::new(),
        }
    }
}

/// A phone's received messages. Shared by the phone, which pushes, and by callers that wait for messages.
#[derive(Debug)]
pub struct Inbox {
    // A std mutex: it is never held across an await, and every use is short but for `snapshot`'s copy.
    shown: Mutex<Shown>,
    /// How many messages were ever shown, for those who wait.
    total: watch::Sender<usize>,
    max_items: usize,
    max_seen: usize,
}

#[derive(Debug, Default)]
struct Shown {
    items: VecDeque<(InboxItem, Option<MediaRef>)>,
    seen: HashSet<Arc<str>>,
    seen_order: VecDeque<Arc<str>>,
}

impl Shown {
    /// What a reaction, an edit or a revoke does to the message it is about.
    fn apply(&mut self, change: &InboxItem) {
        let Some(target) = &change.quoted else { return };
        let found = self.items.iter_mut().rev().map(|(item, _)| item);
        let Some(item) = found.filter(|item| item.chat == change.chat).find(|item| item.id == *target) else {
            return;
        };
        match change.kind.as_str() {
            "reaction" => match change.text.as_deref().unwrap_or_default() {
                "" => drop(item.reactions.remove(&change.from)),
                emoji => drop(item.reactions.insert(change.from.clone(), emoji.to_owned())),
            },
            "edit" if item.from == change.from => item.edited.clone_from(&change.text),
            "revoke" if item.from == change.from => item.revoked = true,
            _ => {}
        }
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self::with_limits(MAX_ITEMS, MAX_SEEN)
    }
}

impl Inbox {
    fn with_limits(max_items: usize, max_seen: usize) -> Self {
        Self { shown: Mutex::default(), total: watch::Sender::new(0), max_items, max_seen }
    }

    /// Shows a message, unless one with its id was shown before. Returns whether it was new.
    pub fn push(&self, item: InboxItem, media: Option<MediaRef>) -> bool {
        let mut shown = self.shown();
        let id: Arc<str> = item.id.as_str().into();
        if !shown.seen.insert(Arc::clone(&id)) {
            return false;
        }
        shown.seen_order.push_back(id);
        if shown.seen_order.len() > self.max_seen
            && let Some(forgotten) = shown.seen_order.pop_front()
        {
            shown.seen.remove(&forgotten);
        }
        shown.apply(&item);
        shown.items.push_back((item, media));
        if shown.items.len() > self.max_items {
            shown.items.pop_front();
        }
        // Under the lock, so that whoever wakes finds the item in the list.
        self.total.send_modify(|total| *total += 1);
        true
    }

    /// How many messages were ever shown, also those no longer kept.
    pub fn total(&self) -> usize {
        *self.total.borrow()
    }

    /// Every message that is kept, oldest first.
    pub fn snapshot(&self) -> Vec<InboxItem> {
        self.shown().items.iter().map(|(item, _)| item.clone()).collect()
    }

    /// Every message that is kept, once `count` were ever shown or `wait` is over, whichever is first.
    pub async fn wait_for(&self, count: usize, wait: Duration) -> Vec<InboxItem> {
        let mut total = self.total.subscribe();
        // Both endings, enough messages and enough waiting, lead to the same answer. The sender lives as long as self.
        let _ = tokio::time::timeout(wait, total.wait_for(|total| *total >= count)).await;
        self.snapshot()
    }

    /// The message with this id.
    pub fn get(&self, id: &str) -> Option<InboxItem> {
        self.shown().items.iter().rev().find(|(item, _)| item.id == id).map(|(item, _)| item.clone())
    }

    /// Where the medium of the message with this id is, and its keys: `None` without such a message, `Some(None)` if it
    /// has no medium.
    pub fn media(&self, id: &str) -> Option<Option<MediaRef>> {
        self.shown().items.iter().rev().find(|(item, _)| item.id == id).map(|(_, media)| media.clone())
    }

    /// Every change under the lock is complete before anything that could panic.
    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(id: &str) -> InboxItem {
        InboxItem { id: id.to_owned(), kind: "text".to_owned(), ..InboxItem::default() }
    }

    fn ids(items: &[InboxItem]) -> Vec<&str> {
        items.iter().map(|item| item.id.as_str()).collect()
    }

    #[test]
    fn a_message_id_is_shown_once() {
        let inbox = Inbox::default();
        assert!(inbox.push(item("A"), None));
        assert!(inbox.push(item("B"), None));
        assert!(!inbox.push(item("A"), None));
        assert_eq!(ids(&inbox.snapshot()), ["A", "B"]);
        assert_eq!(inbox.total(), 2);
    }

    #[test]
    fn what_is_about_a_message_changes_it_if_its_author_may() {
        let inbox = Inbox::default();
        let about = |id: &str, from: &str, kind: &str, text: &str| InboxItem {
            from: from.to_owned(),
            kind: kind.to_owned(),
            text: Some(text.to_owned()),
            quoted: Some("A".to_owned()),
            ..item(id)
        };
        inbox.push(InboxItem { from: "1".into(), ..item("A") }, None);
        inbox.push(about("B", "2", "reaction", "👍"), None);
        inbox.push(about("C", "2", "edit", "not theirs"), None);
        inbox.push(about("D", "2", "revoke", ""), None);
        let shown = inbox.get("A").unwrap();
        assert_eq!((shown.edited, shown.revoked, shown.reactions["2"].as_str()), (None, false, "👍"));
        inbox.push(about("E", "2", "reaction", ""), None);
        inbox.push(about("F", "1", "edit", "new"), None);
        inbox.push(about("G", "1", "revoke", ""), None);
        let shown = inbox.get("A").unwrap();
        assert_eq!((shown.edited.as_deref(), shown.revoked, shown.reactions.len()), (Some("new"), true, 0));
    }

    #[test]
    fn items_are_bounded_and_ids_are_remembered_for_longer() {
        let inbox = Inbox::with_limits(2, 3);
        for id in ["A", "B", "C", "D"] {
            assert!(inbox.push(item(id), None));
        }
        assert_eq!(ids(&inbox.snapshot()), ["C", "D"]);
        assert_eq!(inbox.total(), 4);
        assert!(!inbox.push(item("B"), None), "no longer kept, still remembered");
        assert!(inbox.push(item("A"), None), "forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_with_the_last_message_asked_for() {
        let inbox = Arc::new(Inbox::default());
        inbox.push(item("A"), None);
        let waiting = {
            let inbox = Arc::clone(&inbox);
            tokio::spawn(async move { inbox.wait_for(3, Duration::from_secs(60)).await })
        };
        tokio::task::yield_now().await;
        inbox.push(item("B"), None);
        inbox.push(item("B"), None);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "a repeat does not count");
        let before = tokio::time::Instant::now();
        inbox.push(item("C"), None);
        assert_eq!(ids(&waiting.await.unwrap()), ["A", "B", "C"]);
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_with_its_time() {
        let inbox = Inbox::default();
        inbox.push(item("A"), None);
        let before = tokio::time::Instant::now();
        assert_eq!(ids(&inbox.wait_for(2, Duration::from_secs(5)).await), ["A"]);
        assert!(before.elapsed() >= Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn enough_messages_are_not_waited_for() {
        let inbox = Inbox::default();
        inbox.push(item("A"), None);
        let before = tokio::time::Instant::now();
        assert_eq!(inbox.wait_for(1, Duration::from_secs(5)).await.len(), 1);
        assert_eq!(inbox.wait_for(0, Duration::from_secs(5)).await.len(), 1);
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[test]
    fn an_item_has_every_field_of_the_control_api() {
        let json = serde_json::to_value(item("A")).unwrap();
        let mut names: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        let mut expected = [
            "id",
            "from",
            "chat",
            "kind",
            "text",
            "caption",
            "mime",
            "filename",
            "size",
            "sha256",
            "ptt",
            "seconds",
            "waveform",
            "dimensions",
            "thumbnail",
            "quoted",
            "timestamp",
            "mentions",
            "mention_all",
            "preview",
            "edited",
            "revoked",
            "reactions",
        ];
        expected.sort_unstable();
        assert_eq!(names, expected);
        assert!(json["sha256"].is_null() && json["text"].is_null());
    }
}
