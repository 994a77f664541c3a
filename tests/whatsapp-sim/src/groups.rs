//! Groups: their members, and messages with sender keys. Groups are addressed by LID, as WhatsApp's now are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use wacore::send::stanza_type_from_message;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node};
use waproto::whatsapp as wa;

use crate::error::SimError;
use crate::keys::DeviceAddr;
use crate::pairing::fresh_message_id;
use crate::phone::Phone;
use crate::queue::Class;
use crate::reading::linked_devices;
use crate::routing::{Header, Parcel, Plan, encs, parcel};
use crate::server::Server;
use crate::stanza::{attr, child, children, jid_attr};
use crate::world::{Group, World};

/// What a phone does to a group that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupChange {
    /// Adds phones, by number.
    Add(Vec<String>),
    /// Removes members, by number.
    Remove(Vec<String>),
    /// Makes members administrators.
    Promote(Vec<String>),
    /// Takes that back.
    Demote(Vec<String>),
    /// Gives the group another subject.
    Subject(String),
    /// Gives the group another description.
    Description(String),
    /// Lets only administrators write, or everybody again.
    Announce(bool),
}

/// Members a group may have, as on WhatsApp.
pub(crate) const MAX_MEMBERS: usize = 1_024;

impl World {
    /// Every device of every member.
    pub(crate) fn group_devices(&self, group: &Group) -> Vec<DeviceAddr> {
        let members = group.members.keys().filter_map(|number| self.accounts.get(number));
        members.flat_map(|account| account.devices().collect::<Vec<_>>()).collect()
    }

    /// `<group>` with everything a client asks for.
    pub(crate) fn group_node(&self, group: &Group) -> Node {
        let participant = |number: &Arc<str>, admin: bool| {
            let account = self.accounts.get(number)?;
            let mut node = NodeBuilder::new("participant")
                .attr("jid", account.lid(0))
                .attr("phone_number", account.pn(0));
            if admin {
                node = node.attr("type", if *number == group.owner { "superadmin" } else { "admin" });
            }
            Some(node.build())
        };
        let mut content: Vec<Node> =
            group.members.iter().filter_map(|(number, admin)| participant(number, *admin)).collect();
        if group.announce {
            content.push(NodeBuilder::new("announcement").build());
        }
        if group.locked {
            content.push(NodeBuilder::new("locked").build());
        }
        if let Some((id, text)) = &group.description {
            let body = NodeBuilder::new("body").string_content(text.as_str()).build();
            content.push(NodeBuilder::new("description").attr("id", id.clone()).children([body]).build());
        }
        let mut node = NodeBuilder::new("group")
            .attr("id", group.jid.user.clone())
            .attr("subject", group.subject.clone())
            .attr("addressing_mode", "lid")
            .attr("creation", group.created)
            .attr("s_t", group.created)
            .attr("size", group.members.len());
        if let Some(owner) = self.accounts.get(&group.owner) {
            node = node.attr("creator", owner.lid(0)).attr("creator_pn", owner.pn(0));
        }
        node.children(content).build()
    }

    /// Tells every linked device of every member (and of `also`) what `actor` did to a group.
    pub(crate) fn notify_group(&mut self, jid: &str, actor: &str, also: &[Arc<str>], action: &Node) {
        let Some(group) = self.groups.get(jid) else { return };
        let Some(account) = self.accounts.get(actor) else { return };
        let mut notification = NodeBuilder::new("notification")
            .attr("from", group.jid.clone())
            .attr("type", "w:gp2")
            .attr("participant", account.lid(0))
            .attr("participant_pn", account.pn(0))
            .attr("notify", account.name.clone())
            .attr("t", Server::now())
            .children([action.clone()])
            .build();
        let mut targets: Vec<DeviceAddr> = self.group_devices(group);
        targets.extend(also.iter().flat_map(|number| linked_devices(self, &DeviceAddr::new(number, 0))));
        targets.retain(|device| !device.is_phone());
        targets.sort();
        targets.dedup();
        for target in targets {
            notification.attrs.insert("id", self.fresh_id());
            self.deliver(&target, Class::Notification, notification.clone());
        }
    }
}

impl Server {
    /// Makes a group on behalf of `owner`. Every member's linked devices are told.
    pub(crate) fn create_group(
        &self,
        name: &str,
        owner: &str,
        members: &[String],
    ) -> Result<String, SimError> {
        let mut list: BTreeMap<Arc<str>, bool> = BTreeMap::new();
        for member in members {
            list.insert(Arc::clone(&self.phone(member)?.number), false);
        }
        list.insert(Arc::clone(&self.phone(owner)?.number), true);
        if list.len() > MAX_MEMBERS {
            return Err(SimError::GroupTooLarge(list.len(), MAX_MEMBERS));
        }
        let mut world = self.world();
        let serial = rand::random::<u64>() % 1_000_000_000_000;
        let jid = Jid::group(format!("120363{serial:012}"));
        let key: Arc<str> = jid.to_string().into();
        let group = Group {
            jid,
            subject: name.to_owned(),
            owner: owner.into(),
            created: Self::now(),
            members: list,
            description: None,
            announce: false,
            locked: false,
            invite: hex::encode(rand::random::<[u8; 11]>()),
        };
        world.groups.insert(Arc::clone(&key), group);
        if let Some(group) = world.groups.get(&key) {
            let create = NodeBuilder::new("create").children([world.group_node(group)]).build();
            world.notify_group(&key, owner, &[], &create);
        }
        Ok(key.to_string())
    }

    /// A phone changes a group, by the same rules as a linked device.
    pub(crate) fn change_group(&self, number: &str, jid: &str, change: &GroupChange) -> Result<(), SimError> {
        let actor = self.phone(number)?;
        let members = |tag: &'static str, numbers: &[String]| -> Result<Node, SimError> {
            let participants: Result<Vec<Node>, SimError> = numbers
                .iter()
                .map(|number| {
                    self.phone(number)?;
                    Ok(NodeBuilder::new("participant").attr("jid", Jid::pn(number.as_str())).build())
                })
                .collect();
            Ok(NodeBuilder::new(tag).children(participants?).build())
        };
        let action = match change {
            GroupChange::Add(numbers) => members("add", numbers)?,
            GroupChange::Remove(numbers) => members("remove", numbers)?,
            GroupChange::Promote(numbers) => members("promote", numbers)?,
            GroupChange::Demote(numbers) => members("demote", numbers)?,
            GroupChange::Subject(text) => NodeBuilder::new("subject").string_content(text.as_str()).build(),
            GroupChange::Description(text) => {
                let body = NodeBuilder::new("body").string_content(text.as_str()).build();
                NodeBuilder::new("description").attr("id", fresh_message_id()).children([body]).build()
            }
            GroupChange::Announce(true) => NodeBuilder::new("announcement").build(),
            GroupChange::Announce(false) => NodeBuilder::new("not_announcement").build(),
        };
        let iq =
            NodeBuilder::new("iq").attr("id", fresh_message_id()).attr("to", jid).children([action]).build();
        let answer = crate::iq::groups::set(self, &actor.addr(), &iq);
        // A member who is refused is told of inside of the answer.
        let refused = child(&answer, "error").is_some()
            || children(&answer).iter().flat_map(children).any(|node| node.attrs.contains_key("error"));
        if refused {
            return Err(SimError::GroupRefused { number: number.to_owned(), group: jid.to_owned() });
        }
        Ok(())
    }

    /// Who gets what of a message to a group. The error is the ack's error code.
    pub(crate) fn plan_group(&self, mut header: Header, node: &Node) -> Result<Plan, u16> {
        let jid = header.to.to_string();
        let world = self.world();
        let Some((key, group)) = world.groups.get_key_value(jid.as_str()) else { return Err(404) };
        let Some(admin) = group.members.get(&header.sender.user) else { return Err(403) };
        if group.announce && !admin {
            return Err(403);
        }
        header.group = Some(Arc::clone(key));
        header.lid = attr(node, "addressing_mode").as_deref() != Some("pn");
        let mut problems = Vec::new();
        let direct = encs(node);
        if let Some(target) = jid_attr(node, "participant") {
            // Sent again to the one device that could not read it.
            let Some(to) = world.resolve(&target) else { return Err(404) };
            return Ok(Plan { header, parcels: vec![Parcel { to, enc: direct }], phash: None });
        }
        if !direct.iter().all(|enc| attr(enc, "type").as_deref() == Some("skmsg")) || direct.is_empty() {
            problems.push("a message to a group needs exactly one skmsg".to_owned());
        }
        problems.extend(self.check_encs(&direct));
        let keyed = match child(node, "participants") {
            Some(participants) => self.parcels(&world, participants, &mut problems),
            None => Vec::new(),
        };
        let mut keys: HashMap<DeviceAddr, Vec<Node>> =
            keyed.into_iter().map(|parcel| (parcel.to, parcel.enc)).collect();
        let devices = world.group_devices(group);
        let parcels = devices
            .iter()
            .filter(|device| **device != header.sender)
            .map(|device| {
                let mut enc = keys.remove(device).unwrap_or_default();
                enc.extend(direct.iter().cloned());
                Parcel { to: device.clone(), enc }
            })
            .collect();
        for stranger in keys.keys() {
            problems.push(format!("the group's key for {stranger}, who is not a member"));
        }
        let phash = attr(node, "phash").and_then(|theirs| {
            let ours = crate::routing::phash_of(&world, &devices, header.lid)?;
            (ours != theirs).then_some(ours)
        });
        drop(world);
        for problem in problems {
            self.wrong(&header.sender, format!("message {}: {problem}", header.id));
        }
        Ok(Plan { header, parcels, phash })
    }

    /// A phone sends a message to a group.
    pub(crate) fn send_group(
        &self,
        phone: &Arc<Phone>,
        jid: &str,
        message: &wa::Message,
    ) -> Result<String, SimError> {
        let own = phone.addr();
        let id = fresh_message_id();
        phone.compose(|| {
            let (key, group_jid, mut targets) = {
                let world = self.world();
                let (key, group) =
                    world.groups.get_key_value(jid).ok_or_else(|| SimError::NoRecipient(jid.to_owned()))?;
                if !group.members.contains_key(&phone.number) {
                    return Err(SimError::NotMember {
                        number: phone.number.to_string(),
                        group: jid.to_owned(),
                    });
                }
                (Arc::clone(key), group.jid.clone(), world.group_devices(group))
            };
            targets.retain(|device| *device != own);
            let encrypt = || {
                let unkeyed = phone.without_sender_key(&key, &targets);
                let missing = phone.without_session(&unkeyed);
                phone.start_sessions(self.bundles(&missing))?;
                phone.seal_group(&id, message, &key, &unkeyed)
            };
            let (copies, sealed) = encrypt().map_err(|error| SimError::Encrypt {
                number: phone.number.to_string(),
                to: jid.to_owned(),
                why: error.to_string(),
            })?;
            let skmsg = NodeBuilder::new("enc").attr("v", "2").attr("type", "skmsg").bytes(sealed).build();
            let mut keys: HashMap<DeviceAddr, Vec<Node>> =
                copies.into_iter().map(parcel).map(|parcel| (parcel.to, parcel.enc)).collect();
            let parcels = targets
                .into_iter()
                .map(|to| {
                    let mut enc = keys.remove(&to).unwrap_or_default();
                    enc.push(skmsg.clone());
                    Parcel { to, enc }
                })
                .collect();
            let header = Header {
                group: Some(key),
                lid: true,
                ..Header::new(&id, &own, group_jid, stanza_type_from_message(message))
            };
            self.dispatch(&header, parcels);
            Ok(id.clone())
        })
    }

    /// Members have left: nobody who stays may go on with keys that they know.
    pub(crate) fn rotate_sender_keys(&self, jid: &str) {
        let phones: Vec<Arc<Phone>> = {
            let world = self.world();
            let Some(group) = world.groups.get(jid) else { return };
            group
                .members
                .keys()
                .filter_map(|number| Some(Arc::clone(&world.accounts.get(number)?.phone)))
                .collect()
        };
        for phone in phones {
            phone.forget_group(jid);
        }
    }
}
