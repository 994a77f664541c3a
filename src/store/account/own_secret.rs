//! The secrets of messages that we send: made from their ids, so that none has to be kept.
//!
//! Whatever refers to a message later (an edit, a vote) is encrypted with a secret that the message brought along.
//! A random one would be a row of its own for every message, and a commit of its own for most.

use wacore::libsignal::crypto::hmac_sha256;
use wacore::store::Device;

/// What the key is made for; changing it makes votes on polls that are already sent unreadable.
const PURPOSE: &[u8] = b"kurir message secret";

/// Makes the secrets of one device's messages.
#[derive(Clone)]
pub struct OwnSecrets {
    key: [u8; 32],
    /// The device's users: its phone number and its LID.
    users: [Option<String>; 2],
}

impl OwnSecrets {
    /// Those of this device: as private, and as lasting, as its identity.
    pub fn of(device: &Device) -> OwnSecrets {
        let user = |jid: &Option<whatsapp_rust::Jid>| jid.as_ref().map(|jid| jid.user.to_string());
        OwnSecrets {
            key: hmac_sha256(device.identity_key.private_key.serialize(), PURPOSE),
            users: [user(&device.pn), user(&device.lid)],
        }
    }

    /// The secret of our message with this id.
    pub fn of_message(&self, message_id: &str) -> [u8; 32] {
        hmac_sha256(&self.key, message_id.as_bytes())
    }

    /// Whether this JID is ours.
    pub(super) fn sent_by(&self, jid: &str) -> bool {
        let user = jid.split(['@', ':']).next();
        self.users.iter().flatten().any(|own| user == Some(own.as_str()))
    }
}
