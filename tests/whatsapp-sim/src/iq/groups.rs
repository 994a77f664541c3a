//! `w:g2`: groups.

use std::sync::Arc;

use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;

use crate::keys::DeviceAddr;
use crate::server::Server;
use crate::stanza::{attr, attr_string, bytes, child, children, iq_error, iq_result, jid_attr};
use crate::world::World;

/// Questions about groups.
pub(super) fn get(server: &Server, addr: &DeviceAddr, iq: &Node) -> Node {
    let world = server.world();
    if child(iq, "participating").is_some() {
        let groups = world
            .groups
            .values()
            .filter(|group| group.members.contains_key(&addr.user))
            .map(|group| world.group_node(group));
        return iq_result(iq, [NodeBuilder::new("groups").children(groups.collect::<Vec<_>>()).build()]);
    }
    if let Some(code) = child(iq, "invite").and_then(|invite| attr(invite, "code")) {
        return match world.groups.values().find(|group| group.invite == *code) {
            Some(group) => iq_result(iq, [world.group_node(group)]),
            None => iq_error(iq, 406, "not-acceptable"),
        };
    }
    let Some(group) = world.groups.get(attr_string(iq, "to").as_str()) else {
        return iq_error(iq, 404, "item-not-found");
    };
    if !group.members.contains_key(&addr.user) {
        return iq_error(iq, 403, "forbidden");
    }
    if child(iq, "invite").is_some() {
        return iq_result(iq, [NodeBuilder::new("invite").attr("code", group.invite.clone()).build()]);
    }
    match child(iq, "query").is_some() {
        true => iq_result(iq, [world.group_node(group)]),
        false => iq_error(iq, 501, "feature-not-implemented"),
    }
}

/// Changes of groups.
pub(crate) fn set(server: &Server, addr: &DeviceAddr, iq: &Node) -> Node {
    let Some(action) = children(iq).first() else { return iq_error(iq, 400, "bad-request") };
    match &*action.tag {
        "create" => return create(server, addr, iq, action),
        "leave" => return leave(server, addr, iq, action),
        "invite" if action.attrs.contains_key("code") => return join(server, addr, iq, action),
        _ => {}
    }
    let jid = attr_string(iq, "to");
    {
        let world = server.world();
        let Some(group) = world.groups.get(jid.as_str()) else { return iq_error(iq, 404, "item-not-found") };
        let Some(admin) = group.members.get(&addr.user) else { return iq_error(iq, 403, "forbidden") };
        let open = matches!(&*action.tag, "subject" | "description") && !group.locked;
        if !admin && !open {
            return iq_error(iq, 403, "forbidden");
        }
    }
    match &*action.tag {
        "add" | "remove" | "promote" | "demote" => members(server, addr, iq, &jid, action),
        _ => property(server, addr, iq, &jid, action),
    }
}

fn numbers(world: &World, action: &Node) -> Vec<Result<Arc<str>, Box<Node>>> {
    children(action)
        .iter()
        .filter(|node| node.tag == "participant")
        .map(|node| {
            let jid = jid_attr(node, "jid");
            let account = jid.as_ref().and_then(|jid| world.account_of(jid));
            account.map(|account| Arc::clone(&account.number)).ok_or_else(|| {
                let node = NodeBuilder::new("participant").attr("error", 404);
                Box::new(match jid {
                    Some(jid) => node.attr("jid", jid).build(),
                    None => node.build(),
                })
            })
        })
        .collect()
}

/// Whether this can be a group's name: WhatsApp takes 1 to 100 characters.
fn is_subject(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().count() <= 100
}

fn create(server: &Server, addr: &DeviceAddr, iq: &Node, action: &Node) -> Node {
    if !is_subject(&attr_string(action, "subject")) {
        return iq_error(iq, 406, "not-acceptable");
    }
    let known: Vec<String> = {
        let world = server.world();
        numbers(&world, action).into_iter().filter_map(|number| Some(number.ok()?.to_string())).collect()
    };
    let created = server.create_group(&attr_string(action, "subject"), &addr.user, &known);
    let Ok(jid) = created else { return iq_error(iq, 406, "not-acceptable") };
    let mut world = server.world();
    if let Some(group) = world.groups.get_mut(jid.as_str()) {
        let body = action.get_optional_child_by_tag(&["description", "body"]);
        group.description =
            body.map(|body| (group.invite.clone(), String::from_utf8_lossy(bytes(body)).into_owned()));
        group.announce = child(action, "announcement").is_some();
        group.locked = child(action, "locked").is_some();
    }
    match world.groups.get(jid.as_str()) {
        Some(group) => iq_result(iq, [world.group_node(group)]),
        None => iq_error(iq, 500, "internal-server-error"),
    }
}

fn leave(server: &Server, addr: &DeviceAddr, iq: &Node, action: &Node) -> Node {
    let mut answers = Vec::new();
    for left in children(action) {
        let jid = attr_string(left, "id");
        let code = {
            let mut world = server.world();
            let account = world.account(addr).map(|account| (account.lid(0), account.pn(0)));
            match (
                world.groups.get_mut(jid.as_str()).and_then(|group| group.members.remove(&addr.user)),
                account,
            ) {
                (Some(_), Some((lid, pn))) => {
                    let who =
                        NodeBuilder::new("participant").attr("jid", lid).attr("phone_number", pn).build();
                    let remove = NodeBuilder::new("remove").children([who]).build();
                    world.notify_group(&jid, &addr.user, &[Arc::clone(&addr.user)], &remove);
                    200
                }
                _ => 404,
            }
        };
        server.rotate_sender_keys(&jid);
        answers.push(NodeBuilder::new("group").attr("id", jid).attr("code", code).build());
    }
    iq_result(iq, [NodeBuilder::new("leave").children(answers).build()])
}

fn join(server: &Server, addr: &DeviceAddr, iq: &Node, action: &Node) -> Node {
    let code = attr_string(action, "code");
    let mut world = server.world();
    let found = world.groups.iter().find(|(_, group)| group.invite == code).map(|(jid, _)| Arc::clone(jid));
    let Some(jid) = found else { return iq_error(iq, 406, "not-acceptable") };
    let account = world.account(addr).map(|account| (account.lid(0), account.pn(0)));
    let Some((lid, pn)) = account else { return iq_error(iq, 401, "not-authorized") };
    if let Some(group) = world.groups.get_mut(&jid) {
        group.members.entry(Arc::clone(&addr.user)).or_insert(false);
    }
    let who = NodeBuilder::new("participant").attr("jid", lid).attr("phone_number", pn).build();
    let add = NodeBuilder::new("add").attr("reason", "invite").children([who]).build();
    world.notify_group(&jid, &addr.user, &[], &add);
    iq_result(iq, [NodeBuilder::new("group").attr("jid", jid.to_string()).build()])
}

fn members(server: &Server, addr: &DeviceAddr, iq: &Node, jid: &str, action: &Node) -> Node {
    let tag = action.tag.clone();
    let mut answers = Vec::new();
    let mut changed = Vec::new();
    let mut gone = Vec::new();
    {
        let mut world = server.world();
        for number in numbers(&world, action) {
            let number = match number {
                Ok(number) => number,
                Err(unknown) => {
                    answers.push(*unknown);
                    continue;
                }
            };
            let Some(account) = world.accounts.get(&number) else { continue };
            let mut node = NodeBuilder::new("participant")
                .attr("jid", account.lid(0))
                .attr("phone_number", account.pn(0));
            let Some(group) = world.groups.get_mut(jid) else { return iq_error(iq, 404, "item-not-found") };
            let member = group.members.get(&number).copied();
            let error = match (&*tag, member) {
                ("add", Some(_)) => Some(409),
                ("add", None) => {
                    group.members.insert(Arc::clone(&number), false);
                    None
                }
                (_, None) => Some(404),
                ("remove", Some(_)) => {
                    group.members.remove(&number);
                    gone.push(Arc::clone(&number));
                    None
                }
                (change, Some(_)) => {
                    group.members.insert(Arc::clone(&number), change == "promote");
                    None
                }
            };
            match error {
                Some(error) => node = node.attr("error", error),
                None => changed.push(participant(&number, &world)),
            }
            answers.push(node.build());
        }
        let changed: Vec<Node> = changed.into_iter().flatten().collect();
        if !changed.is_empty() {
            let note = NodeBuilder::new_dynamic(tag.to_string()).children(changed).build();
            world.notify_group(jid, &addr.user, &gone, &note);
        }
    }
    if !gone.is_empty() {
        server.rotate_sender_keys(jid);
    }
    iq_result(iq, [NodeBuilder::new_dynamic(tag.into_owned()).children(answers).build()])
}

fn participant(number: &str, world: &World) -> Option<Node> {
    let account = world.accounts.get(number)?;
    Some(
        NodeBuilder::new("participant")
            .attr("jid", account.lid(0))
            .attr("phone_number", account.pn(0))
            .build(),
    )
}

fn property(server: &Server, addr: &DeviceAddr, iq: &Node, jid: &str, action: &Node) -> Node {
    let mut world = server.world();
    let Some(group) = world.groups.get_mut(jid) else { return iq_error(iq, 404, "item-not-found") };
    let text = |node: &Node| String::from_utf8_lossy(bytes(node)).into_owned();
    let mut note = action.clone();
    match &*action.tag {
        "subject" if !is_subject(&text(action)) => return iq_error(iq, 406, "not-acceptable"),
        "subject" => {
            group.subject = text(action);
            note = NodeBuilder::new("subject")
                .attr("subject", group.subject.clone())
                .attr("s_t", Server::now())
                .build();
        }
        "description" => {
            group.description = child(action, "body").map(|body| (attr_string(action, "id"), text(body)));
        }
        "announcement" => group.announce = true,
        "not_announcement" => group.announce = false,
        "locked" => group.locked = true,
        "unlocked" => group.locked = false,
        "invite" => {
            group.invite = hex::encode(rand::random::<[u8; 11]>());
            let invite = NodeBuilder::new("invite").attr("code", group.invite.clone()).build();
            world.notify_group(jid, &addr.user, &[], &NodeBuilder::new("revoke").build());
            return iq_result(iq, [invite]);
        }
        _ => return iq_error(iq, 501, "feature-not-implemented"),
    }
    let tag = action.tag.to_string();
    world.notify_group(jid, &addr.user, &[], &note);
    iq_result(iq, [NodeBuilder::new_dynamic(tag).build()])
}
