//! One attempt to send one message.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use whatsapp_rust::{Client, Jid, SendOptions};

use super::content::Content;
use super::record::{Message, Progress};
use super::schedule::refusal_is_final;
use super::{Outbox, build};
use crate::clock::now_ms;
use crate::media::MediaKind;
use crate::session::{Ack, Lookup, Session};

/// How many times longer than others a message of the slow lane may wait.
const SLOW_AGE: u32 = 7;

/// How an attempt ended.
pub(super) enum Outcome {
    /// WhatsApp's server acknowledged it.
    Sent,
    /// It will never go out.
    Failed(String),
    /// To be tried again. Not `counted` when the connection broke, which says nothing of the message.
    Again { error: String, counted: bool },
    /// It was finished meanwhile, or is gone.
    Gone,
}

pub(super) struct Flight {
    pub(super) message: Option<Message>,
    pub(super) outcome: Outcome,
    /// Whether the attempt had the message for itself.
    pub(super) claimed: bool,
}

/// One attempt to send one message.
pub(super) async fn fly(
    outbox: Outbox,
    session: Session,
    client: Arc<Client>,
    clients: watch::Receiver<Option<Arc<Client>>>,
    seq: u64,
) -> Flight {
    let mut flight = Flight { message: None, outcome: Outcome::Gone, claimed: true };
    if !outbox.lane(session.no()).claim(seq) {
        let error = "the message is being cancelled".into();
        return Flight { outcome: Outcome::Again { error, counted: false }, claimed: false, ..flight };
    }
    match outbox.find_seq(seq) {
        Ok(Some(message)) => {
            if message.progress == Progress::Pending {
                flight.outcome = attempt(&outbox, &session, &client, clients, &message).await;
            }
            flight.message = Some(message);
        }
        Ok(None) => {}
        Err(e) => flight.outcome = Outcome::Again { error: e.to_string(), counted: false },
    }
    flight
}

async fn attempt(
    outbox: &Outbox,
    session: &Session,
    client: &Arc<Client>,
    mut clients: watch::Receiver<Option<Arc<Client>>>,
    message: &Message,
) -> Outcome {
    let settings = &outbox.shared.settings;
    if too_old(message, settings.max_age) {
        return Outcome::Failed(too_late(settings.max_age));
    }
    let number = session.snapshot().number;
    if message.from.is_some() && number.is_some() && message.from != number {
        // Whoever asked for it named the old number, or thinks of it.
        return Outcome::Failed("the session was paired with another phone number meanwhile".into());
    }
    let mut to = message.to.clone();
    if !message.checked
        && let Some(number) = to.strip_suffix("@s.whatsapp.net")
    {
        match session.lookup(number).await {
            Ok(Lookup::Registered(jid)) => to = jid,
            Ok(Lookup::Unregistered) => return Outcome::Failed("the number is not on WhatsApp".into()),
            Err(e) => return Outcome::Again { error: e.to_string(), counted: client.is_connected() },
        }
    }
    let Ok(jid) = to.parse::<Jid>() else {
        return Outcome::Failed("the recipient's JID is not valid".into());
    };
    if message.typing_ms > 0 {
        type_first(client, &jid, message).await;
    }
    let preview = match (&message.content, outbox.shared.previews.get()) {
        (Content::Text { body }, Some(previews)) if message.context.preview => previews.of(body).await,
        _ => None,
    };
    let built = match build::message(client, outbox, message, &jid, preview).await {
        Ok(built) => build::with_secret(built, client, &message.message_id),
        Err(e) if e.is_final() => return Outcome::Failed(e.to_string()),
        Err(e) => return Outcome::Again { error: e.to_string(), counted: client.is_connected() },
    };
    let mut ack = session.acks().expect(&message.message_id);
    let options = SendOptions::default().with_message_id(message.message_id.clone());
    if let Err(e) = client.send_message_with_options(jid, built, options).await {
        return Outcome::Again { error: e.to_string(), counted: client.is_connected() };
    }
    let lost = async {
        // The client is taken away as soon as its connection is given up.
        while clients.changed().await.is_ok() {
            if !clients.borrow_and_update().as_ref().is_some_and(|now| Arc::ptr_eq(now, client)) {
                return;
            }
        }
    };
    tokio::select! {
        ack = ack.wait() => match ack {
            Some(Ack::Accepted) => Outcome::Sent,
            Some(Ack::Refused(code)) if refusal_is_final(&code) => {
                Outcome::Failed(format!("WhatsApp refused the message (code {code})"))
            }
            Some(Ack::Refused(code)) => {
                Outcome::Again { error: format!("WhatsApp refused the message (code {code})"), counted: true }
            }
            None => Outcome::Again { error: "the connection broke before WhatsApp's ack".into(), counted: false },
        },
        () = lost => Outcome::Again { error: "the connection broke before WhatsApp's ack".into(), counted: false },
        () = tokio::time::sleep(settings.ack_timeout) => Outcome::Again {
            error: format!("WhatsApp did not acknowledge within {} s", settings.ack_timeout.as_secs()),
            counted: true,
        },
    }
}

/// Shows the recipient that we type. A courtesy: that it fails is no reason not to send.
async fn type_first(client: &Client, to: &Jid, message: &Message) {
    let shown = match &message.content {
        Content::Media { media: MediaKind::Voice, .. } => client.chatstate().send_recording(to).await,
        _ => client.chatstate().send_composing(to).await,
    };
    if let Err(e) = shown {
        log::debug!("message {}: typing was not shown: {e}", message.seq);
        return;
    }
    tokio::time::sleep(Duration::from_millis(message.typing_ms.into())).await;
    // The message itself ends the sign on the recipient's phone.
}

/// Whether a message waited for too long. One of the slow lane waits for its turn by design, so it may take longer.
pub(super) fn too_old(message: &Message, max_age: Duration) -> bool {
    time_left(message, max_age).is_none()
}

/// How much longer a message may wait; `None`: it waited for too long.
pub(super) fn time_left(message: &Message, max_age: Duration) -> Option<Duration> {
    let max_age = if message.pause_ms > 0 { max_age * SLOW_AGE } else { max_age };
    // A clock that was set back makes it younger than it is, at most new.
    let age = u64::try_from(now_ms().saturating_sub(message.waiting_since_ms())).unwrap_or(0);
    max_age.checked_sub(Duration::from_millis(age))
}

/// What is said of a message that waited for too long.
pub(super) fn too_late(max_age: Duration) -> String {
    format!("not sent within {} s", max_age.as_secs())
}
