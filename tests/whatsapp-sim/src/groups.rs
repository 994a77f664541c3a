//! Groups.

use std::sync::Arc;

use wacore_binary::Node;
use waproto::whatsapp as wa;

use crate::error::SimError;
use crate::phone::Phone;
use crate::routing::{Header, Plan};
use crate::server::Server;

impl Server {
    /// Who gets what of a message to a group.
    pub(crate) fn plan_group(&self, _header: Header, _node: &Node) -> Result<Plan, u16> {
        Err(404)
    }

    /// A phone sends a message to a group.
    pub(crate) fn send_group(
        &self,
        _: &Arc<Phone>,
        group: &str,
        _: &wa::Message,
    ) -> Result<String, SimError> {
        Err(SimError::NoRecipient(group.to_owned()))
    }
}
