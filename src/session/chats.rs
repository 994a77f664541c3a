//! What people in a chat see of us besides messages: that we type, and that we read. Neither is kept: where there is no
//! connection, nobody would see it later either.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use whatsapp_rust::{Client, Jid};

use super::registry::Session;

/// Longest time of typing.
pub const MAX_TYPING: Duration = Duration::from_secs(60);
/// A phone shows that somebody types for some 25 s; it is told again before.
const SHOWN: Duration = Duration::from_secs(20);
/// Signs of typing that are repeated and taken back later. Beyond it they end by themselves.
static TYPING: Semaphore = Semaphore::const_new(64);
/// Most messages that are marked as read at once.
pub const MAX_READ: usize = 1_000;

/// What people in a chat see us do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typing {
    /// Writing.
    Composing,
    /// Recording a voice note.
    Recording,
    /// Neither any more.
    Paused,
}

impl Typing {
    /// From what an application wrote.
    pub fn parse(text: &str) -> Option<Typing> {
        match text.trim() {
            "composing" => Some(Typing::Composing),
            "recording" => Some(Typing::Recording),
            "paused" => Some(Typing::Paused),
            _ => None,
        }
    }
}

/// Why nobody could be shown anything.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The session is not connected.
    #[error("the session is not connected")]
    NotConnected,
    /// Not a chat.
    #[error("this is not a chat's id")]
    Chat,
    /// The connection broke.
    #[error("WhatsApp could not be told: {0}")]
    Failed(String),
}

async fn show(client: &Client, chat: &Jid, typing: Typing) -> Result<(), ChatError> {
    let shown = match typing {
        Typing::Composing => client.chatstate().send_composing(chat).await,
        Typing::Recording => client.chatstate().send_recording(chat).await,
        Typing::Paused => client.chatstate().send_paused(chat).await,
    };
    shown.map_err(|e| ChatError::Failed(e.to_string()))
}

impl Session {
    /// Shows a chat (a JID) that we type. With `hold`, at most [`MAX_TYPING`], it is kept up for so long and then taken
    /// back; else it ends by itself after some 25 s.
    pub async fn show_typing(&self, chat: &str, typing: Typing, hold: Duration) -> Result<(), ChatError> {
        let client = self.client().ok_or(ChatError::NotConnected)?;
        let chat: Jid = chat.parse().map_err(|_| ChatError::Chat)?;
        show(&client, &chat, typing).await?;
        if typing != Typing::Paused
            && !hold.is_zero()
            && let Ok(place) = TYPING.try_acquire()
        {
            tokio::spawn(async move {
                keep_typing(client, chat, typing, hold.min(MAX_TYPING)).await;
                drop(place);
            });
        }
        Ok(())
    }

    /// Tells the authors of messages in a chat that they were read. In a group, `sender` is their one author's JID.
    pub async fn mark_read(&self, chat: &str, sender: Option<&str>, ids: &[String]) -> Result<(), ChatError> {
        let client = self.client().ok_or(ChatError::NotConnected)?;
        let chat: Jid = chat.parse().map_err(|_| ChatError::Chat)?;
        let sender: Option<Jid> = sender.map(str::parse).transpose().map_err(|_| ChatError::Chat)?;
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let told = client.mark_as_read(&chat, sender.as_ref(), &ids).await;
        told.map_err(|e| ChatError::Failed(e.to_string()))
    }
}

/// Keeps the sign up for `hold`, then takes it back.
async fn keep_typing(client: Arc<Client>, chat: Jid, typing: Typing, hold: Duration) {
    let end = Instant::now() + hold;
    let ended = async {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            tokio::time::sleep(left.min(SHOWN)).await;
            if left <= SHOWN {
                return show(&client, &chat, Typing::Paused).await;
            }
            show(&client, &chat, typing).await?;
        }
    };
    if let Err(e) = ended.await {
        log::debug!("the end of typing was not shown: {e}");
    }
}
