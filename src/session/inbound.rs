//! What one session receives, on its way into the journal.
//!
//! Messages come through whatsapp-rust's durability hook: they are in the journal before WhatsApp's server is told that
//! we have them, and one that comes twice is there once. Everything else comes from the event bus and is gathered.

mod content;
mod votes;

use std::sync::Arc;

use futures_util::FutureExt;
use wacore::stanza::groups::{GroupNotificationAction as Action, GroupParticipantInfo};
use wacore::store::traits::{MsgSecretStore, ProtocolStore};
use wacore::types::events::{GroupUpdate, InboundMessage, MessageBatch, Receipt as WaReceipt};
use wacore::types::message::{MessageInfo, MessageSource};
use wacore::types::presence::ReceiptType;
use waproto::whatsapp as wa;
use whatsapp_rust::{Client, InboundDurabilityHook, Jid, anyhow};

use super::{Reason, ReceiptKind, SessionRecord, Status};
use crate::clock::now_ms;
use crate::ids;
use crate::inbox::{
    Body, Event, GroupChange, Inbox, Origin, Person, PollSecret, PollVote, Reaction, Receipt, SessionState,
    event_id,
};
use crate::store::account::AccountStore;
use content::{Content, Vote};

/// Longest name kept, in characters; WhatsApp's own limit is 25.
const MAX_NAME: usize = 100;

/// What the driver does with a client's events that applications are told of. Cheap to clone.
#[derive(Clone)]
pub(super) struct Inbound {
    inbox: Inbox,
    account: AccountStore,
    origin: Origin,
}

/// The origin of a session's events.
pub(super) fn origin(record: &SessionRecord) -> Origin {
    Origin { session_no: record.no, session: record.id.clone(), account: record.owner.clone() }
}

/// Tells the journal that the session's state changed.
pub(super) fn state_changed(inbox: &Inbox, record: &SessionRecord, status: Status, reason: &Reason) {
    let state = SessionState {
        status: status.as_str().into(),
        reason: reason.code().into(),
        advice: reason.advice().into(),
        number: record.number.clone(),
    };
    inbox.append_soon(Event {
        seq: 0,
        id: hex::encode(ids::random::<16>()),
        origin: origin(record),
        at_ms: now_ms(),
        recorded_at_ms: 0,
        offline: false,
        chat_id: None,
        person: Person::default(),
        body: Body::Session(state),
        media: None,
    });
}

#[async_trait::async_trait]
impl InboundDurabilityHook for Inbound {
    async fn on_messages(&self, client: Arc<Client>, batch: &[InboundMessage]) -> anyhow::Result<()> {
        let own = Own { phone: client.pn(), lid: client.lid() };
        let mut events = Vec::with_capacity(batch.len());
        for item in batch {
            if let Some(event) = self.message(&item.message, &item.info, &own).await {
                events.push(event);
            }
        }
        if events.is_empty() {
            return Ok(());
        }
        let count = events.len();
        self.inbox.append(events).await.map(drop).map_err(|e| {
            log::error!(
                "session {}: {count} messages could not be recorded, WhatsApp will send them again: {e}",
                self.origin.session_no
            );
            e.into()
        })
    }
}

/// The session's own two names.
struct Own {
    phone: Option<Jid>,
    lid: Option<Jid>,
}

impl Own {
    fn person(&self) -> Person {
        Person {
            phone: self.phone.as_ref().map(|jid| jid.user.to_string()),
            lid: self.lid.as_ref().map(|jid| format!("{}@lid", jid.user)),
        }
    }
}

impl Inbound {
    pub(super) fn new(inbox: Inbox, account: AccountStore, origin: Origin) -> Inbound {
        Inbound { inbox, account, origin }
    }

    /// Messages that the hook does not see: those of channels, and those that the phone sent again on request.
    pub(super) fn unhooked(&self, client: &Client, batch: &MessageBatch) {
        if batch.hook_committed {
            return;
        }
        let own = Own { phone: client.pn(), lid: client.lid() };
        for item in batch {
            // Only the store is asked for anything, which answers without waiting.
            if let Some(Some(event)) = self.message(&item.message, &item.info, &own).now_or_never() {
                self.inbox.append_soon(event);
            }
        }
    }

    /// Receipts of others for messages of ours.
    pub(super) fn receipt(&self, receipt: &WaReceipt, kind: ReceiptKind) {
        let status = match kind {
            ReceiptKind::Delivered => "delivered",
            ReceiptKind::Read => "read",
            ReceiptKind::Played => "played",
        };
        let source = &receipt.source;
        let person = self.person(&source.sender, source.sender_alt.as_ref()).now_or_never();
        let person = person.unwrap_or_else(|| plain(&source.sender));
        let ids: Vec<String> = receipt.message_ids.iter().map(ToString::to_string).collect();
        let (chat, sender) = (source.chat.to_non_ad_string(), source.sender.to_non_ad_string());
        let parts: Vec<&str> =
            ["receipt", status, &chat, &sender].into_iter().chain(ids.iter().map(String::as_str)).collect();
        let group = source.is_group || chat.ends_with("@g.us");
        self.inbox.append_soon(Event {
            seq: 0,
            id: event_id(&self.origin.session, &parts),
            origin: self.origin.clone(),
            at_ms: receipt.timestamp.timestamp_millis(),
            recorded_at_ms: 0,
            offline: receipt.offline,
            chat_id: if group { Some(chat) } else { person.chat_id().or(Some(chat)) },
            person,
            body: Body::Receipt(Receipt { status: status.into(), message_ids: ids }),
            media: None,
        });
    }

    /// A change of a group.
    pub(super) fn group(&self, update: &GroupUpdate) {
        let (participants, text) = consequences(&update.action);
        let person = update
            .participant
            .as_ref()
            .map(|jid| {
                let known = self.person(jid, update.participant_pn.as_ref()).now_or_never();
                known.unwrap_or_else(|| plain(jid))
            })
            .unwrap_or_default();
        let group = update.group_jid.to_non_ad_string();
        let at_ms = update.timestamp.timestamp_millis();
        let id = match &update.notification_id {
            Some(notification) => {
                let index = update.action_index.to_string();
                event_id(&self.origin.session, &["group", &group, notification, &index])
            }
            None => hex::encode(ids::random::<16>()),
        };
        self.inbox.append_soon(Event {
            seq: 0,
            id,
            origin: self.origin.clone(),
            at_ms,
            recorded_at_ms: 0,
            offline: update.offline.is_some(),
            chat_id: Some(group),
            person,
            body: Body::Group(GroupChange {
                action: update.action.tag_name().to_owned(),
                participants: participants.iter().map(|p| self.participant(p)).collect(),
                text,
            }),
            media: None,
        });
    }

    fn participant(&self, info: &GroupParticipantInfo) -> Person {
        let alt = info.phone_number.as_ref().or(info.lid.as_ref());
        self.person(&info.jid, alt).now_or_never().unwrap_or_else(|| plain(&info.jid))
    }

    /// The event of one message, unless it says nothing to people.
    async fn message(&self, message: &wa::Message, info: &MessageInfo, own: &Own) -> Option<Event> {
        let source = &info.source;
        let chat = source.chat.to_non_ad_string();
        // What contacts post for all to see is not written to this account.
        if chat == "status@broadcast" {
            return None;
        }
        let content = content::content(message)?;
        let is_group = source.is_group || chat.ends_with("@g.us");
        let sender = source.sender.to_non_ad_string();
        let person = self.counterpart(source, info, own, is_group).await;
        let chat_id = if is_group || chat.ends_with("@newsletter") {
            chat.clone()
        } else {
            person.chat_id().unwrap_or_else(|| chat.clone())
        };
        let message_id = info.id.to_string();
        let name = if source.is_from_me { String::new() } else { shown_name(&info.push_name) };
        let from_me = source.is_from_me;
        let mut media = None;
        let body = match content {
            Content::Message(mut said, found) => {
                if said.poll.is_some() {
                    self.remember_poll(message, &said, &message_id, source, own).await;
                }
                said.message_id.clone_from(&message_id);
                (said.from_me, said.is_group, said.name) = (from_me, is_group, name);
                media = found;
                Body::Message(said)
            }
            Content::Reaction { target, emoji } => {
                Body::Reaction(Reaction { message_id: message_id.clone(), target, emoji, from_me, name })
            }
            Content::Vote(vote) => {
                let read = self.read_vote(&vote, source, own).await;
                Body::PollVote(PollVote { message_id: message_id.clone(), from_me, name, ..read })
            }
        };
        Some(Event {
            seq: 0,
            id: event_id(&self.origin.session, &["message", &chat, &sender, &message_id]),
            origin: self.origin.clone(),
            at_ms: info.timestamp.timestamp_millis(),
            recorded_at_ms: 0,
            offline: info.is_offline,
            chat_id: Some(chat_id),
            person,
            body,
            media,
        })
    }

    /// Who wrote; in a private chat, for what this account wrote, to whom.
    async fn counterpart(
        &self,
        source: &MessageSource,
        info: &MessageInfo,
        own: &Own,
        group: bool,
    ) -> Person {
        if !source.is_from_me {
            return self.person(&source.sender, source.sender_alt.as_ref()).await;
        }
        if group {
            return own.person();
        }
        let alt = source.recipient_alt.as_ref().or(info.peer_recipient_pn.as_ref());
        self.person(&source.chat, alt).await
    }

    /// Both names of somebody: from the stanza where it has them, else from what was learned before.
    async fn person(&self, jid: &Jid, alt: Option<&Jid>) -> Person {
        let mut person = plain(jid);
        if let Some(alt) = alt.map(plain) {
            person.phone = person.phone.or(alt.phone);
            person.lid = person.lid.or(alt.lid);
        }
        let learned = match (&person.phone, person.lid_user()) {
            (None, Some(lid)) => self.account.get_lid_mapping(lid).await,
            (Some(phone), None) => self.account.get_pn_mapping(phone).await,
            _ => return person,
        };
        match learned {
            Ok(Some(entry)) => {
                person.phone = person.phone.or(Some(entry.phone_number));
                person.lid = person.lid.or_else(|| Some(format!("{}@lid", entry.lid)));
            }
            Ok(None) => {}
            Err(e) => {
                log::warn!("session {}: a LID's number cannot be read: {e}", self.origin.session_no);
            }
        }
        person
    }

    /// Keeps what the votes of a poll are encrypted with.
    async fn remember_poll(
        &self,
        message: &wa::Message,
        said: &crate::inbox::Message,
        message_id: &str,
        source: &MessageSource,
        own: &Own,
    ) {
        let (Some(poll), Some(secret)) = (&said.poll, votes::secret(message)) else { return };
        let mut creators = vec![source.sender.to_non_ad_string()];
        let creator = if source.is_from_me {
            own.person()
        } else {
            self.person(&source.sender, source.sender_alt.as_ref()).await
        };
        creators.extend(jids(&creator));
        let poll = PollSecret {
            name: poll.name.clone(),
            options: poll.options.clone(),
            secret: hex::encode(secret),
            creators,
            at_ms: now_ms(),
        };
        if let Err(e) = self.inbox.remember_poll(self.origin.session_no, message_id, poll).await {
            log::warn!("session {}: a poll could not be remembered: {e}", self.origin.session_no);
        }
    }

    /// What was voted for, as far as it can be known.
    async fn read_vote(&self, vote: &Vote, source: &MessageSource, own: &Own) -> PollVote {
        let no = self.origin.session_no;
        let known = self.inbox.poll(no, &vote.poll_id).unwrap_or_else(|e| {
            log::warn!("session {no}: the known polls cannot be read: {e}");
            None
        });
        let voter = if source.is_from_me {
            own.person()
        } else {
            self.person(&source.sender, source.sender_alt.as_ref()).await
        };
        let voters: Vec<String> =
            [source.sender.to_non_ad_string()].into_iter().chain(jids(&voter)).collect();
        let mut creators = known.as_ref().map(|poll| poll.creators.clone()).unwrap_or_default();
        creators.extend(vote.creator.clone());
        creators.extend(jids(&own.person()));
        let secret = match &known {
            Some(poll) => hex::decode(&poll.secret).ok(),
            None => self.client_secret(&vote.poll_id, &source.chat, &creators).await,
        };
        let chosen = secret.and_then(|secret| votes::open(vote, &secret, &creators, &voters));
        votes::read(&vote.poll_id, known.as_ref(), chosen)
    }

    /// The secret of a poll as the client itself keeps it.
    async fn client_secret(&self, poll_id: &str, chat: &Jid, creators: &[String]) -> Option<Vec<u8>> {
        let chat = chat.to_non_ad_string();
        for creator in creators {
            if let Ok(Some(secret)) = self.account.get_msg_secret(&chat, creator, poll_id).await {
                return Some(secret);
            }
        }
        None
    }
}

/// What the JID itself says of a person.
fn plain(jid: &Jid) -> Person {
    let user = jid.user.to_string();
    match jid.to_non_ad_string() {
        lid if lid.ends_with("@lid") => Person { phone: None, lid: Some(lid) },
        pn if pn.ends_with("@s.whatsapp.net") => Person { phone: Some(user), lid: None },
        _ => Person::default(),
    }
}

fn jids(person: &Person) -> Vec<String> {
    let phone = person.phone.as_ref().map(|phone| format!("{phone}@s.whatsapp.net"));
    phone.into_iter().chain(person.lid.clone()).collect()
}

fn shown_name(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect()
}

/// Whom a group change happened to, and the text it brought.
fn consequences(action: &Action) -> (&[GroupParticipantInfo], Option<String>) {
    match action {
        Action::Add { participants, .. }
        | Action::Remove { participants, .. }
        | Action::Promote { participants }
        | Action::Demote { participants }
        | Action::Modify { participants }
        | Action::LinkedGroupPromote { participants }
        | Action::LinkedGroupDemote { participants } => (participants, None),
        Action::CreatedMembershipRequests { requests, .. } => (requests, None),
        Action::Subject { subject, .. } => (&[], Some(subject.clone())),
        Action::Description { description, .. } => (&[], description.clone()),
        _ => (&[], None),
    }
}

/// Which receipts applications are told of.
pub(super) fn receipt_kind(receipt: &WaReceipt) -> Option<ReceiptKind> {
    if receipt.source.is_from_me {
        return None;
    }
    match receipt.r#type {
        ReceiptType::Delivered | ReceiptType::Inactive => Some(ReceiptKind::Delivered),
        ReceiptType::Read => Some(ReceiptKind::Read),
        ReceiptType::Played => Some(ReceiptKind::Played),
        _ => None,
    }
}
