//! `<iq>` requests of logged-in devices, one file per group of namespaces.

mod account;
mod encrypt;
pub(crate) mod groups;
mod usync;

use std::sync::Arc;

use wacore_binary::Node;

use crate::keys::DeviceAddr;
use crate::server::Server;
use crate::stanza::{attr, iq_error, iq_result};
use crate::world::ConnId;

/// Answers a request. Answers to the server's own requests need nothing.
pub(crate) fn handle(server: &Arc<Server>, conn: ConnId, addr: &DeviceAddr, iq: &Node) {
    let kind = attr(iq, "type").unwrap_or_default();
    match &*kind {
        "get" | "set" => {}
        "result" | "error" => return,
        other => return server.wrong(addr, format!("iq of the unknown type {other:?}")),
    }
    let Some(id) = attr(iq, "id").filter(|id| !id.is_empty()) else {
        return server.wrong(addr, "an iq without id");
    };
    let new = server.world().clients.get_mut(&conn).is_some_and(|client| client.asked.insert(&id));
    if !new {
        server.wrong(addr, format!("iq id {id} was used twice on one connection"));
    }
    let set = kind == "set";
    let xmlns = attr(iq, "xmlns").unwrap_or_default();
    let reply = match &*xmlns {
        "encrypt" if set => encrypt::set(server, addr, iq),
        "encrypt" => encrypt::get(server, addr, iq),
        "usync" => usync::get(server, addr, iq),
        "passive" => return account::passive(server, conn, addr, iq),
        "w:sync:app:state" => account::app_state(server, addr, iq),
        "abt" => account::props(iq),
        "privacy" => account::privacy(iq),
        "w:m" => account::media_conn(server, addr, iq),
        "w:profile:picture" => account::picture(iq),
        "status" => account::about(server, addr, iq),
        "w:g2" if set => groups::set(server, addr, iq),
        "w:g2" => groups::get(server, addr, iq),
        "md" => return account::unlink(server, conn, addr, iq),
        "" => {
            server.wrong(addr, "an iq without xmlns");
            iq_error(iq, 400, "bad-request")
        }
        // Keepalive, dirty-bit cleaning and the many questions whose answer may be empty.
        _ => iq_result(iq, []),
    };
    server.world().send(conn, reply);
}
