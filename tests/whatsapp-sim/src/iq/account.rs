//! The account's own matters: going active, app state, properties, privacy, profile, logging out.

use std::sync::Arc;

use tokio::time::{Duration, sleep};
use wacore::iq::mediaconn::{HostType, MediaConnHostExtended, MediaConnResponseExtended};
use wacore::protocol::ProtocolNode;
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;

use crate::faults::StreamError;
use crate::keys::DeviceAddr;
use crate::login::stream_error;
use crate::media::AUTH_TTL;
use crate::queue::Class;
use crate::server::Server;
use crate::stanza::{attr, bytes, child, empty, iq_error, iq_result, jid_attr};
use crate::world::{ConnId, Stage};

/// How long a device that has logged out may keep its connection.
const LOG_OUT_TIME: Duration = Duration::from_secs(5);

pub(super) fn passive(server: &Server, conn: ConnId, addr: &DeviceAddr, iq: &Node) {
    let mut world = server.world();
    world.send(conn, iq_result(iq, []));
    if child(iq, "active").is_some() {
        world.go_active(addr);
    }
}

pub(super) fn app_state(server: &Server, addr: &DeviceAddr, iq: &Node) -> Node {
    let Some(sync) = child(iq, "sync") else { return iq_error(iq, 400, "bad-request") };
    let mut world = server.world();
    let Some(account) = world.accounts.get_mut(&addr.user) else {
        return iq_error(iq, 401, "not-authorized");
    };
    let (answer, changed) = account.app_state.sync(sync);
    let others: Vec<DeviceAddr> =
        account.devices().filter(|device| device != addr && !device.is_phone()).collect();
    let from = account.pn(0);
    if !changed.is_empty() {
        for other in others {
            let collections =
                changed.iter().map(|name| NodeBuilder::new("collection").attr("name", *name).build());
            let node = NodeBuilder::new("notification")
                .attr("from", from.clone())
                .attr("type", "server_sync")
                .attr("id", world.fresh_id())
                .attr("t", Server::now())
                .children(collections)
                .build();
            world.deliver(&other, Class::Notification, node);
        }
    }
    iq_result(iq, [answer])
}

pub(super) fn props(iq: &Node) -> Node {
    iq_result(iq, [NodeBuilder::new("props").attr("protocol", "1").attr("hash", "sim").build()])
}

pub(super) fn privacy(iq: &Node) -> Node {
    match attr(iq, "type").as_deref() {
        Some("get") => iq_result(iq, [empty("privacy")]),
        _ => iq_result(iq, []),
    }
}

pub(super) fn media_conn(server: &Server, addr: &DeviceAddr, iq: &Node) -> Node {
    let categories = ["image", "video", "audio", "document", "sticker"].map(str::to_owned);
    let host = MediaConnHostExtended {
        upload: true,
        download: true,
        download_categories: categories.to_vec(),
        ..MediaConnHostExtended::simple(server.media_host(), HostType::Primary)
    };
    let auth = server.media.issue_auth(&addr.to_string());
    iq_result(iq, [MediaConnResponseExtended::mock(auth, AUTH_TTL.as_secs(), vec![host]).into_node()])
}

/// Nobody here has a picture: the answer WhatsApp gives for such a user.
pub(super) fn picture(iq: &Node) -> Node {
    iq_error(iq, 404, "item-not-found")
}

pub(super) fn about(server: &Server, addr: &DeviceAddr, iq: &Node) -> Node {
    let mut world = server.world();
    if let Some(text) = child(iq, "status")
        && attr(iq, "type").as_deref() == Some("set")
        && let Some(account) = world.accounts.get_mut(&addr.user)
    {
        account.about = String::from_utf8_lossy(bytes(text)).into_owned();
    }
    iq_result(iq, [])
}

/// `<remove-companion-device jid reason/>`: a device logs itself (or another one of its account) out.
pub(super) fn unlink(server: &Arc<Server>, conn: ConnId, addr: &DeviceAddr, iq: &Node) {
    let Some(remove) = child(iq, "remove-companion-device") else {
        return server.world().send(conn, iq_result(iq, []));
    };
    let target = {
        let world = server.world();
        jid_attr(remove, "jid").and_then(|jid| world.resolve(&jid))
    };
    match target.filter(|target| target.user == addr.user && !target.is_phone()) {
        Some(target) => {
            let own = target == *addr;
            server.world().send(conn, iq_result(iq, []));
            server.remove_device(&target, own);
            if own {
                // It closes by itself once it has read the answer.
                let server = Arc::clone(server);
                tokio::spawn(async move {
                    sleep(LOG_OUT_TIME).await;
                    server.world().close(conn);
                });
            }
        }
        None => {
            server.wrong(addr, "tried to log out a device that is not of its account");
            server.world().send(conn, iq_error(iq, 403, "forbidden"));
        }
    }
}

impl Server {
    /// Unlinks a device. If it is connected, its connection ends the way WhatsApp ends it, unless it logged out itself.
    pub(crate) fn remove_device(&self, target: &DeviceAddr, by_itself: bool) {
        let mut world = self.world();
        world.changed();
        let Some(account) = world.accounts.get_mut(&target.user) else { return };
        let Some(linked) = account.linked.remove(&target.device) else { return };
        account.adv_changed = Self::now();
        let phones: Vec<_> = world.accounts.values().map(|account| Arc::clone(&account.phone)).collect();
        if let Some(conn) = linked.online {
            if let Some(client) = world.clients.get_mut(&conn) {
                client.stage = Stage::Ending;
            }
            let gone = StreamError { code: Some(401), conflict: Some("device_removed".to_owned()) };
            if !by_itself {
                world.end(conn, stream_error(&gone));
            }
        }
        drop(world);
        self.device_removed(target);
        for phone in phones {
            phone.forget_device(target);
        }
    }
}
