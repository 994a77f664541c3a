//! The groups that a session is in: asked for live, and changed as WhatsApp lets this account change them.

use std::time::Duration;

use wacore::iq::groups::ParticipantType;
use whatsapp_rust::{
    Client, GroupCreateOptions, GroupDescription, GroupError, GroupMetadata, GroupParticipant,
    GroupParticipantOptions, GroupSubject, IqError, Jid, JoinGroupResult, ParticipantChangeResponse,
    PreviousDescription,
};

use super::registry::Session;
use super::{Lookup, LookupError};

/// How long WhatsApp may take to answer.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Longest name of a group, in characters, as WhatsApp's own apps allow.
pub const MAX_NAME: usize = wacore::iq::groups::GROUP_SUBJECT_MAX_LENGTH;
/// Longest description of a group, in characters.
pub const MAX_DESCRIPTION: usize = wacore::iq::groups::GROUP_DESCRIPTION_MAX_LENGTH;
/// What an invite link begins with.
const INVITE: &str = "https://chat.whatsapp.com/";

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its JID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: Option<String>,
    /// When it was made, Unix seconds.
    pub created_at_s: Option<u64>,
    /// Whether only admins may write.
    pub announcement: bool,
    /// Whether only admins may change its name and description.
    pub locked: bool,
    /// Who is in it.
    pub participants: Vec<Participant>,
    /// How many are in it: more than are listed where WhatsApp hides some.
    pub size: usize,
    /// What this account may do in it; `None`: it is not among the listed.
    pub own_role: Option<Role>,
}

/// Somebody in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    /// The name under which the group knows them: a JID.
    pub jid: String,
    /// Phone number, digits only, where it is known.
    pub phone: Option<String>,
    /// LID with its server, where it is known.
    pub lid: Option<String>,
    /// What they may do.
    pub role: Role,
}

/// What somebody may do in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Write.
    Member,
    /// Also change the group and its members.
    Admin,
    /// As an admin; whoever made the group.
    SuperAdmin,
}

impl Role {
    /// As applications read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Member => "member",
            Role::Admin => "admin",
            Role::SuperAdmin => "superadmin",
        }
    }
}

/// What is done with participants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// They come in.
    Add,
    /// They go.
    Remove,
    /// They become admins.
    Promote,
    /// They are admins no longer.
    Demote,
}

impl Action {
    /// From what an application wrote.
    pub fn parse(text: &str) -> Option<Action> {
        match text.trim() {
            "add" => Some(Action::Add),
            "remove" => Some(Action::Remove),
            "promote" => Some(Action::Promote),
            "demote" => Some(Action::Demote),
            _ => None,
        }
    }
}

/// What became of one participant's change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The number or LID that was asked for.
    pub asked: String,
    /// WhatsApp's error code; `None`: done.
    pub error: Option<u16>,
}

impl Changed {
    /// What the code means, for people.
    pub fn reason(&self) -> Option<&'static str> {
        self.error.map(|code| match code {
            401 => "they blocked this account",
            403 => "their privacy settings do not let this account add them; send them the invite link",
            404 => "they are not in this group, or not on WhatsApp",
            406 => "WhatsApp does not accept this participant",
            408 => "they left the group recently; send them the invite link",
            409 => "they are in the group already",
            417 | 419 | 500 => "the group is full, or WhatsApp could not do it",
            _ => "WhatsApp refused",
        })
    }
}

/// Changes of a group; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupChange {
    /// The new name.
    pub name: Option<String>,
    /// The new description; empty removes it.
    pub description: Option<String>,
    /// Whether only admins may write.
    pub announcement: Option<bool>,
    /// Whether only admins may change name and description.
    pub locked: Option<bool>,
}

/// Why a group could not be asked for or changed.
#[derive(Debug, thiserror::Error)]
pub enum GroupsError {
    /// The session is not connected.
    #[error("the session is not connected")]
    NotConnected,
    /// No answer in time.
    #[error("WhatsApp did not answer within {} s; it may have done it all the same, so look before trying again", TIMEOUT.as_secs())]
    Timeout,
    /// The request cannot be right.
    #[error("{0}")]
    Invalid(String),
    /// WhatsApp refused.
    #[error("{}", refusal(*code))]
    Refused {
        /// Its error code.
        code: u16,
    },
    /// The connection broke, or the answer made no sense.
    #[error("WhatsApp could not be asked about the group: {0}")]
    Failed(String),
}

fn refusal(code: u16) -> String {
    let meaning = match code {
        400 | 406 => "it does not accept the request",
        401 | 403 => "this account may not do that; it needs to be an admin of the group, or in it",
        404 => "there is no such group, or this account is not in it",
        409 => "the group changed meanwhile; ask again",
        410 => "the invite link was replaced by a new one",
        419 => "the group is full",
        429 => "too many requests; wait some minutes",
        _ => "it could not do it",
    };
    format!("WhatsApp refused (code {code}): {meaning}")
}

impl From<GroupError> for GroupsError {
    fn from(error: GroupError) -> GroupsError {
        match error {
            GroupError::Iq(IqError::ServerError { code, .. }) => GroupsError::Refused { code },
            GroupError::Iq(IqError::Timeout) => GroupsError::Timeout,
            GroupError::Iq(IqError::NotConnected) => GroupsError::NotConnected,
            GroupError::DescriptionConflict => GroupsError::Refused { code: 409 },
            GroupError::InvalidRequest(reason) => GroupsError::Invalid(reason),
            e => GroupsError::Failed(e.to_string()),
        }
    }
}

impl From<LookupError> for GroupsError {
    fn from(error: LookupError) -> GroupsError {
        match error {
            LookupError::NotConnected => GroupsError::NotConnected,
            LookupError::Timeout => GroupsError::Timeout,
            LookupError::Failed(reason) => GroupsError::Failed(reason),
        }
    }
}

/// Waits for WhatsApp, but not for ever.
async fn ask<T, E: Into<GroupsError>>(
    question: impl Future<Output = Result<T, E>>,
) -> Result<T, GroupsError> {
    let answer = tokio::time::timeout(TIMEOUT, question).await;
    answer.map_err(|_| GroupsError::Timeout)?.map_err(Into::into)
}

fn digits(jid: &Jid) -> Option<String> {
    jid.to_non_ad_string().strip_suffix("@s.whatsapp.net").map(str::to_owned)
}

fn lid(jid: &Jid) -> Option<String> {
    Some(jid.to_non_ad_string()).filter(|jid| jid.ends_with("@lid"))
}

fn participant(found: &GroupParticipant) -> Participant {
    let role = match found.participant_type {
        ParticipantType::SuperAdmin => Role::SuperAdmin,
        ParticipantType::Admin => Role::Admin,
        _ => Role::Member,
    };
    Participant {
        jid: found.jid.to_non_ad_string(),
        phone: digits(&found.jid).or_else(|| found.phone_number.as_ref().and_then(digits)),
        lid: lid(&found.jid).or_else(|| found.lid.as_ref().and_then(lid)),
        role,
    }
}

fn group(client: &Client, found: GroupMetadata) -> Group {
    let participants: Vec<Participant> = found.participants.iter().map(participant).collect();
    let own = [client.pn(), client.lid()].map(|jid| jid.map(|jid| jid.to_non_ad_string()));
    let is_own = |p: &&Participant| {
        let phone = p.phone.as_ref().map(|phone| format!("{phone}@s.whatsapp.net"));
        [Some(&p.jid), phone.as_ref(), p.lid.as_ref()]
            .into_iter()
            .flatten()
            .any(|name| own.iter().flatten().any(|own| own == name))
    };
    let listed = participants.len();
    Group {
        id: found.id.to_string(),
        name: found.subject,
        description: found.description.filter(|text| !text.is_empty()),
        created_at_s: found.creation_time,
        announcement: found.is_announcement,
        locked: found.is_locked,
        size: found.size.map_or(listed, |size| usize::try_from(size).unwrap_or(listed).max(listed)),
        own_role: participants.iter().find(is_own).map(|p| p.role),
        participants,
    }
}

fn jid(text: &str) -> Result<Jid, GroupsError> {
    text.parse().map_err(|_| GroupsError::Invalid("this is not a group's id".into()))
}

fn subject(name: &str) -> Result<GroupSubject, GroupsError> {
    GroupSubject::new(name).map_err(|e| GroupsError::Invalid(e.to_string()))
}

fn about(text: &str) -> Result<GroupDescription, GroupsError> {
    GroupDescription::new(text).map_err(|e| GroupsError::Invalid(e.to_string()))
}

impl Session {
    fn for_groups(&self) -> Result<std::sync::Arc<Client>, GroupsError> {
        self.client().ok_or(GroupsError::NotConnected)
    }

    /// The groups, by name.
    pub async fn groups(&self) -> Result<Vec<Group>, GroupsError> {
        let client = self.for_groups()?;
        let found = ask(client.groups().get_participating()).await?;
        let mut groups: Vec<Group> = found.into_values().map(|found| group(&client, found)).collect();
        groups.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Ok(groups)
    }

    /// One group.
    pub async fn group(&self, id: &str) -> Result<Group, GroupsError> {
        let client = self.for_groups()?;
        let found = ask(client.groups().get_metadata(&jid(id)?)).await?;
        Ok(group(&client, found))
    }

    /// Makes a group with these participants (numbers, or LIDs with their server). The second value says what became of
    /// each: WhatsApp makes the group without those that it cannot add.
    pub async fn create_group(
        &self,
        name: &str,
        description: Option<&str>,
        participants: &[String],
    ) -> Result<(Group, Vec<Changed>), GroupsError> {
        let client = self.for_groups()?;
        let subject = subject(name)?;
        let about = description.map(about).transpose()?;
        let known = self.names(participants).await?;
        let members = known.iter().flatten().map(|jid| GroupParticipantOptions::new(jid.clone())).collect();
        let mut options = GroupCreateOptions::new(subject.as_str()).with_participants(members);
        options.description = about;
        let made = ask(client.groups().create_group(options)).await?.metadata;
        let made = group(&client, made);
        let changed = participants.iter().zip(&known).map(|(asked, jid)| {
            let is_in = jid.as_ref().is_some_and(|jid| {
                let jid = jid.to_non_ad_string();
                made.participants.iter().any(|p| p.is(&jid))
            });
            // What became of one that is not in the group is said by its absence only.
            let error = if jid.is_none() { Some(404) } else { (!is_in).then_some(403) };
            Changed { asked: asked.clone(), error }
        });
        let changed = changed.collect();
        Ok((made, changed))
    }

    /// Changes name, description or rules, one after the other. A refusal in between leaves the earlier ones changed.
    pub async fn change_group(&self, id: &str, change: &GroupChange) -> Result<Group, GroupsError> {
        let client = self.for_groups()?;
        let group = jid(id)?;
        let name = change.name.as_deref().map(subject).transpose()?;
        let description = match change.description.as_deref() {
            None => None,
            Some("") => Some(None),
            Some(text) => Some(Some(about(text)?)),
        };
        if let Some(name) = name {
            ask(client.groups().set_subject(&group, name)).await?;
        }
        if let Some(description) = description {
            ask(client.groups().set_description(&group, description, PreviousDescription::Resolve)).await?;
        }
        if let Some(announcement) = change.announcement {
            ask(client.groups().set_announce(&group, announcement)).await?;
        }
        if let Some(locked) = change.locked {
            ask(client.groups().set_locked(&group, locked)).await?;
        }
        self.group(id).await
    }

    /// Adds, removes, promotes or demotes participants (numbers, or LIDs with their server), and says what became of
    /// each, in the order of the question.
    pub async fn change_participants(
        &self,
        id: &str,
        action: Action,
        participants: &[String],
    ) -> Result<Vec<Changed>, GroupsError> {
        let client = self.for_groups()?;
        let group = jid(id)?;
        let names = if action == Action::Add {
            self.names(participants).await?
        } else {
            // The group's own names for its members, so that WhatsApp need not guess.
            let members = self.group(id).await?.participants;
            let find = |asked: &String| {
                let member = members.iter().find(|p| p.is(asked) || p.phone.as_deref() == Some(asked))?;
                member.jid.parse::<Jid>().ok()
            };
            participants.iter().map(find).collect()
        };
        let jids: Vec<Jid> = names.iter().flatten().cloned().collect();
        let answers: Vec<ParticipantChangeResponse> = if jids.is_empty() {
            Vec::new()
        } else {
            let groups = client.groups();
            match action {
                Action::Add => ask(groups.add_participants(&group, &jids)).await?,
                Action::Remove => ask(groups.remove_participants(&group, &jids)).await?,
                Action::Promote => ask(groups.promote_participants(&group, &jids)).await?,
                Action::Demote => ask(groups.demote_participants(&group, &jids)).await?,
            }
        };
        let changed = participants.iter().zip(&names).map(|(asked, jid)| {
            let Some(jid) = jid else { return Changed { asked: asked.clone(), error: Some(404) } };
            let answer = answers.iter().find(|answer| {
                answer.jid.user == jid.user
                    || answer.phone_number.as_ref().is_some_and(|pn| pn.user == jid.user)
            });
            let error = match answer {
                Some(answer) => answer.error.as_ref().map(|code| code.parse().unwrap_or(500)),
                None => Some(500),
            };
            Changed { asked: asked.clone(), error }
        });
        Ok(changed.collect())
    }

    /// The group's invite link; `renew` replaces it first, so that the old one stops working.
    pub async fn invite_link(&self, id: &str, renew: bool) -> Result<String, GroupsError> {
        let client = self.for_groups()?;
        ask(client.groups().get_invite_link(&jid(id)?, renew)).await
    }

    /// Joins the group of an invite link (or its code). `false` beside the group's id: an admin has to approve first.
    pub async fn join_group(&self, link: &str) -> Result<(String, bool), GroupsError> {
        let code = link.trim();
        let code = code.strip_prefix(INVITE).unwrap_or(code).trim_end_matches('/');
        let sound = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if !(8..=64).contains(&code.len()) || !code.bytes().all(sound) {
            return Err(GroupsError::Invalid(format!("link must be an invite link, {INVITE}CODE")));
        }
        let client = self.for_groups()?;
        Ok(match ask(client.groups().join_with_invite_code(code)).await? {
            JoinGroupResult::Joined(jid) => (jid.to_string(), true),
            JoinGroupResult::PendingApproval(jid) => (jid.to_string(), false),
        })
    }

    /// Leaves the group.
    pub async fn leave_group(&self, id: &str) -> Result<(), GroupsError> {
        let client = self.for_groups()?;
        // WhatsApp answers that all is well for a group that one is not in.
        self.group(id).await?;
        ask(client.groups().leave(&jid(id)?)).await
    }

    /// The JIDs that WhatsApp answers with for numbers; LIDs stay as they are. `None`: not on WhatsApp.
    async fn names(&self, people: &[String]) -> Result<Vec<Option<Jid>>, GroupsError> {
        let numbers: Vec<String> = people.iter().filter(|name| !name.contains('@')).cloned().collect();
        let mut found = self.lookup_each(&numbers).await?.into_iter();
        let name = |name: &String| {
            if name.contains('@') {
                return name.parse().ok();
            }
            match found.next() {
                Some(Lookup::Registered(jid)) => jid.parse().ok(),
                _ => None,
            }
        };
        Ok(people.iter().map(name).collect())
    }
}

impl Participant {
    /// Whether this JID is one of their names.
    fn is(&self, jid: &str) -> bool {
        self.jid == jid
            || self.lid.as_deref() == Some(jid)
            || (self.phone.is_some() && jid.strip_suffix("@s.whatsapp.net") == self.phone.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_is_known_by_each_of_their_names_and_by_no_other() {
        let somebody = Participant {
            jid: "77@lid".into(),
            phone: Some("62811".into()),
            lid: Some("77@lid".into()),
            role: Role::Member,
        };
        assert!(somebody.is("77@lid") && somebody.is("62811@s.whatsapp.net"));
        assert!(!somebody.is("62811") && !somebody.is("78@lid") && !somebody.is(""));
        let nameless = Participant { phone: None, ..somebody };
        assert!(!nameless.is("62811@s.whatsapp.net") && !nameless.is("62811"));
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        assert!(GroupsError::Refused { code: 403 }.to_string().contains("admin"));
        let changed = Changed { asked: "62811".into(), error: Some(403) };
        assert!(changed.reason().unwrap().contains("invite link"));
        assert_eq!(Changed { error: None, ..changed }.reason(), None);
    }
}
