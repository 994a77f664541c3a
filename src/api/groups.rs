//! The groups that a session is in, asked for live.

use std::time::Duration;

use crate::session::Session;

/// How long WhatsApp may take to answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A group.
pub(super) struct Group {
    /// Its JID.
    pub(super) id: String,
    /// Its name.
    pub(super) name: String,
}

/// Why the groups are not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum GroupsError {
    /// The session is not connected.
    #[error("the session is not connected")]
    NotConnected,
    /// No answer in time.
    #[error("WhatsApp did not list the groups within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// WhatsApp refused, or the connection broke.
    #[error("the groups could not be listed: {0}")]
    Failed(String),
}

/// The groups, by name.
pub(super) async fn list(session: &Session) -> Result<Vec<Group>, GroupsError> {
    let client = session.client().ok_or(GroupsError::NotConnected)?;
    let found = tokio::time::timeout(TIMEOUT, client.groups().get_participating())
        .await
        .map_err(|_| GroupsError::Timeout)?
        .map_err(|e| GroupsError::Failed(e.to_string()))?;
    let mut groups: Vec<Group> =
        found.into_iter().map(|(id, group)| Group { id: id.to_string(), name: group.subject }).collect();
    groups.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    Ok(groups)
}
