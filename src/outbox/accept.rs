//! Taking messages: one durable write, and only then the answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redb::ReadableTable;

use super::content::{Content, Context};
use super::course::Messages;
use super::message_id::Salt;
use super::record::{self, Message, Progress, Reference, Referred};
use super::strangers::{self, Acquaintance};
use super::{Lane, Outbox};
use crate::clock::now_ms;
use crate::ids;
use crate::inbox::{self, PollSecret};
use crate::media::{Fetched, MediaKind, SpoolError, VoiceError, voice_note};
use crate::session::{self, Session};
use crate::store::StoreError;

/// How long a reference given again means the messages of the first time.
const REFERENCE_MEMORY: Duration = Duration::from_secs(24 * 3600);

/// A message to be accepted.
pub struct Draft {
    /// The chat's JID.
    pub to: String,
    /// Whether WhatsApp said that the number is registered.
    pub checked: bool,
    /// What to send.
    pub body: Body,
    /// When, and referring to what.
    pub options: Options,
}

/// What a draft carries.
pub enum Body {
    /// A text.
    Text(String),
    /// A file.
    Media {
        /// The file.
        file: Fetched,
        /// How it is shown.
        media: MediaKind,
        /// The text below it.
        caption: Option<String>,
    },
    /// The file of an earlier draft of the same batch.
    SameMedia {
        /// The text below it.
        caption: Option<String>,
    },
    /// Anything that needs no file.
    Other(Content),
}

impl Body {
    /// Whether it changes an earlier message instead of being one.
    pub(super) fn is_about_another(&self) -> bool {
        matches!(self, Body::Other(Content::Reaction { .. } | Content::Edit { .. } | Content::Delete { .. }))
    }
}

/// When a message is sent, and what it refers to.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What it refers to.
    pub context: Context,
    /// Not before this, Unix milliseconds.
    pub not_before_ms: Option<i64>,
    /// Above zero: by the session's slow lane, this long after the message before it there.
    pub pause: Duration,
    /// For how long the recipient sees us typing first.
    pub typing: Duration,
}

/// What was promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Stable integer.
    pub seq: u64,
    /// UUID.
    pub id: String,
    /// The WhatsApp message id.
    pub message_id: String,
    /// The chat's JID.
    pub to: String,
    /// Unix milliseconds.
    pub accepted_at_ms: i64,
}

impl From<&Message> for Accepted {
    fn from(message: &Message) -> Accepted {
        Accepted {
            seq: message.seq,
            id: message.id.clone(),
            message_id: message.message_id.clone(),
            to: message.to.clone(),
            accepted_at_ms: message.accepted_at_ms,
        }
    }
}

/// What was promised for several messages at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// In the order of the drafts.
    pub messages: Vec<Accepted>,
    /// Whether these are the messages of an earlier batch with the same reference, and nothing new was accepted.
    pub repeated: bool,
}

/// Why a message was not accepted; nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The session's queue is full.
    #[error("this session already has {limit} messages waiting; try again later")]
    QueueFull {
        /// The limit.
        limit: usize,
    },
    /// The session was deleted meanwhile.
    #[error("the session was deleted")]
    Deleted,
    /// The session has written to as many strangers as it may today.
    #[error(
        "this session may send {cap} messages a day to numbers that never wrote to it; try again tomorrow, or change \
         stranger_daily_cap of the session or the configuration"
    )]
    Strangers {
        /// The limit.
        cap: u32,
        /// How long until the next day.
        wait: Duration,
    },
    /// A draft wants an earlier draft's file, and there is none.
    #[error("a message of this batch needs a file that no earlier one brings")]
    NoFile,
    /// The file could not be made a voice note.
    #[error(transparent)]
    Voice(#[from] VoiceError),
    /// The file could not be kept.
    #[error("{0}")]
    Spool(#[from] SpoolError),
    /// The store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// What only the store can tell.
enum Refused {
    Deleted,
    Strangers,
}

/// Room in a lane, given back unless it is used.
struct Room<'a> {
    lane: &'a Lane,
    count: usize,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.lane.depth.fetch_sub(self.count, Ordering::Relaxed);
    }
}

impl Outbox {
    /// Keeps a message. When this returns `Ok`, no crash loses it.
    pub async fn accept(&self, session: &Session, draft: Draft) -> Result<Accepted, AcceptError> {
        let batch = self.accept_batch(session, vec![draft], None).await?;
        Ok(batch.messages.into_iter().next().expect("one draft gives one message"))
    }

    /// Keeps several messages, all of them or none. With a reference that was used within the last day, nothing is
    /// kept and the messages of that time are returned.
    pub async fn accept_batch(
        &self,
        session: &Session,
        mut drafts: Vec<Draft>,
        reference: Option<Reference>,
    ) -> Result<Batch, AcceptError> {
        let since = now_ms() - i64::try_from(REFERENCE_MEMORY.as_millis()).unwrap_or(i64::MAX);
        if let Some(reference) = &reference {
            let messages = self.find_reference(reference)?;
            if messages.first().is_some_and(|first| first.accepted_at_ms >= since) {
                return Ok(Batch { messages: messages.iter().map(Accepted::from).collect(), repeated: true });
            }
        }
        let lane = self.lane(session.no());
        let count = drafts.len();
        let limit = self.shared.settings.queue_limit;
        // Counted before the write, so that many callers at once cannot overrun the limit together.
        let before = lane.depth.fetch_add(count, Ordering::Relaxed);
        let mut room = Room { lane: &lane, count };
        if before + count > limit {
            return Err(AcceptError::QueueFull { limit });
        }
        let rules = self.strangers(session.no());
        let nobody: Acquaintance = Arc::new(|_, _| false);
        let acquaintance = self.shared.acquaintance.get().unwrap_or(&nobody);
        let to_strangers = rules.apply(session.no(), &mut drafts, acquaintance);
        let (mut messages, file) = self.prepare(session, drafts, reference.clone()).await?;
        let users = messages.iter().filter(|m| m.file_id().is_some()).count();
        let next_due = messages.iter().filter_map(|m| m.not_before_ms).min();
        let kept = file.clone();
        let message_ids = self.shared.message_ids.clone();
        let salts: Vec<Salt> = messages.iter().map(|_| ids::random()).collect();
        let (session_no, now) = (session.no(), now_ms());
        let written = self
            .shared
            .store
            .write(move |txn| {
                // In the same transaction, so that nothing is left behind that nobody will ever send.
                if !session::is_stored(txn, session_no)? {
                    return Ok(Err(Refused::Deleted));
                }
                if let Some(reference) = &reference {
                    let referred = record::refer(&txn.open_table(record::REFERENCES)?, reference)?;
                    if let Some(referred) = referred.filter(|r| r.at_ms >= since) {
                        // Somebody was quicker with the same reference.
                        let messages = Messages::open_in(txn)?;
                        let mut earlier = Vec::new();
                        for seq in referred.seqs {
                            earlier.extend(messages.get(seq)?.as_ref().map(Accepted::from));
                        }
                        return Ok(Ok(Batch { messages: earlier, repeated: true }));
                    }
                }
                if !rules.take(txn, session_no, to_strangers, now)? {
                    return Ok(Err(Refused::Strangers));
                }
                // The newest row is never pruned, so a number never comes twice.
                let mut seq = txn.open_table(record::MESSAGES)?.last()?.map_or(0, |(key, _)| key.value());
                record::keep_message_ids(txn, &message_ids)?;
                for (message, salt) in messages.iter_mut().zip(&salts) {
                    seq += 1;
                    message.seq = seq;
                    message.message_id = message_ids.make(*salt, seq);
                    record::insert(txn, message)?;
                    if let Content::Poll { name, options, secret, .. } = &message.content {
                        // The votes name options by their hashes, so the journal has to know the poll.
                        let poll = PollSecret {
                            name: name.clone(),
                            options: options.clone(),
                            secret: secret.clone(),
                            creators: Vec::new(),
                            at_ms: message.accepted_at_ms,
                        };
                        inbox::remember_poll(txn, session_no, &message.message_id, &poll)?;
                    }
                }
                if let (Some(file), true) = (&kept, users > 1) {
                    record::share_file(txn, file, u32::try_from(users).unwrap_or(u32::MAX))?;
                }
                if let (Some(reference), Some(first)) = (&reference, messages.first()) {
                    let seqs = messages.iter().map(|m| m.seq).collect();
                    record::set_reference(txn, reference, &Referred { at_ms: first.accepted_at_ms, seqs })?;
                }
                Ok(Ok(Batch { messages: messages.iter().map(Accepted::from).collect(), repeated: false }))
            })
            .await;
        if let Some(file) = file
            && !matches!(&written, Ok(Ok(batch)) if !batch.repeated)
        {
            self.remove_file(&file).await;
        }
        let batch = written?.map_err(|refused| match refused {
            Refused::Deleted => AcceptError::Deleted,
            Refused::Strangers => {
                AcceptError::Strangers { cap: rules.daily_cap, wait: strangers::day_left(now) }
            }
        })?;
        if !batch.repeated {
            room.count = 0;
            if let Some(at) = next_due {
                lane.next_due.fetch_min(at, Ordering::Relaxed);
            }
            lane.wake.notify_one();
        }
        Ok(batch)
    }

    /// The messages, without their numbers and WhatsApp ids, and the id of the file that is kept for them.
    async fn prepare(
        &self,
        session: &Session,
        drafts: Vec<Draft>,
        reference: Option<Reference>,
    ) -> Result<(Vec<Message>, Option<String>), AcceptError> {
        let from = session.snapshot().number;
        let accepted_at_ms = now_ms();
        let mut messages = Vec::with_capacity(drafts.len());
        let mut kept: Option<(String, Content)> = None;
        for draft in drafts {
            let id = ids::uuid();
            let mut file = None;
            let content = match draft.body {
                Body::Text(body) => Content::Text { body },
                Body::Other(content) => content,
                Body::Media { file, media, caption } => {
                    // Here and not when it is sent: the caller hears of a file that does not become one.
                    let file = match media {
                        MediaKind::Voice => voice_note(file, &self.shared.spool).await?,
                        _ => file,
                    };
                    let content = Content::Media {
                        media,
                        mime: file.mime.to_owned(),
                        filename: file.filename.clone(),
                        caption,
                        size: file.size,
                        dimensions: file.dimensions,
                        seconds: file.seconds,
                        waveform: file.waveform.clone(),
                    };
                    // The file is on disk before the message that needs it.
                    file.persist(&id).await?;
                    kept = Some((id.clone(), content.clone()));
                    content
                }
                Body::SameMedia { caption: own } => {
                    let (kept, mut content) = kept.clone().ok_or(AcceptError::NoFile)?;
                    file = Some(kept);
                    if let Content::Media { caption, .. } = &mut content {
                        *caption = own;
                    }
                    content
                }
            };
            let Options { context, not_before_ms, pause, typing } = draft.options;
            messages.push(Message {
                seq: 0,
                id,
                session_no: session.no(),
                message_id: String::new(),
                from: from.clone(),
                to: draft.to,
                checked: draft.checked,
                content,
                context,
                file,
                progress: Progress::Pending,
                attempts: 0,
                accepted_at_ms,
                not_before_ms: not_before_ms.filter(|at| *at > accepted_at_ms),
                pause_ms: u32::try_from(pause.as_millis()).unwrap_or(u32::MAX),
                typing_ms: u32::try_from(typing.as_millis()).unwrap_or(u32::MAX),
                reference: reference.clone(),
                retried_at_ms: None,
                sent_at_ms: None,
                delivered_at_ms: None,
                read_at_ms: None,
                error: None,
            });
        }
        Ok((messages, kept.map(|(id, _)| id)))
    }
}
