//! Pairing by an 8-character code.

use std::sync::Arc;

use wacore_binary::Node;

use crate::error::SimError;
use crate::server::Server;
use crate::stanza::iq_error;
use crate::world::ConnId;

impl Server {
    /// `link_code_companion_reg` from a client.
    pub(crate) fn link_code(self: &Arc<Self>, conn: ConnId, iq: &Node, _registration: &Node) {
        self.world().send(conn, iq_error(iq, 501, "feature-not-implemented"));
    }

    /// The phone enters a code.
    pub(crate) async fn pair_code(self: &Arc<Self>, number: &str, _code: &str) -> Result<(), SimError> {
        Err(SimError::NoCodePending(number.to_owned()))
    }
}
