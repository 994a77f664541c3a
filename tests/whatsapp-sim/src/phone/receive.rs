//! A phone reads a message.

use waproto::buffa::Message as _;
use waproto::whatsapp as wa;

use super::signal::SignalError;
use super::{Phone, State};
use crate::keys::{Bundle, DeviceAddr};

/// Retry requests a phone makes for one message before it gives up, as WhatsApp's clients do.
const MAX_RETRY: u8 = 5;

/// One encrypted message as the server hands it to a phone.
pub(crate) struct Envelope<'a> {
    pub(crate) id: &'a str,
    pub(crate) sender: &'a DeviceAddr,
    /// `pkmsg`, `msg` or `skmsg`.
    pub(crate) kind: &'a str,
    pub(crate) body: &'a [u8],
    /// The group's JID, for a message in a group.
    pub(crate) group: Option<&'a str>,
    /// The sender was told of this phone, so it has no excuse for leaving out its key for the group.
    pub(crate) informed: bool,
    /// The stanza carries the sender's `<device-identity>`.
    pub(crate) device_identity: bool,
}

/// What the server knows about the sender of a message; `None` for a sender that is itself a phone.
pub(crate) struct SenderFacts {
    pub(crate) registration_id: u32,
    pub(crate) identity: [u8; 32],
}

/// What came of opening an envelope.
pub(crate) enum Opening {
    /// Content to show (or to ignore, for messages between programs).
    Message(Box<wa::Message>),
    /// Not decrypted: the sender is asked to send it again, with these keys.
    Retry { count: u8, registration_id: u32, bundle: Box<Bundle>, error: String },
    /// Not decrypted, and asked for often enough.
    GivenUp { error: String },
}

impl Phone {
    /// Decrypts one envelope. The second value lists what the sender did wrong.
    pub(crate) fn open(
        &self,
        envelope: &Envelope<'_>,
        facts: Option<&SenderFacts>,
    ) -> (Opening, Vec<String>) {
        let mut wrong = Vec::new();
        let mut state = self.state();
        let opened = match envelope.group {
            Some(group) if envelope.kind == "skmsg" => {
                state.signal.group_decrypt(group, envelope.sender, envelope.body)
            }
            _ => state.open_pairwise(envelope, facts, &mut wrong),
        };
        let message = match opened {
            Ok(plaintext) => match wa::Message::decode_from_slice(&plaintext) {
                Ok(message) => message,
                Err(error) => {
                    wrong.push(format!("message {}: the plaintext is no Message: {error}", envelope.id));
                    return (Opening::GivenUp { error: error.to_string() }, wrong);
                }
            },
            Err(error) => return (state.failed(envelope, &error, &mut wrong), wrong),
        };
        if let Some(distribution) = message.sender_key_distribution_message.as_option() {
            let group = distribution.group_id.as_deref().unwrap_or_default();
            let bytes = distribution.axolotl_sender_key_distribution_message.as_deref().unwrap_or_default();
            if envelope.group != Some(group) {
                wrong.push(format!("message {}: its sender key is for another group", envelope.id));
            } else if let Err(error) = state.signal.learn_distribution(group, envelope.sender, bytes) {
                wrong.push(format!("message {}: its sender key does not parse: {error}", envelope.id));
            }
        }
        (Opening::Message(Box::new(message)), wrong)
    }
}

impl State {
    fn open_pairwise(
        &mut self,
        envelope: &Envelope<'_>,
        facts: Option<&SenderFacts>,
        wrong: &mut Vec<String>,
    ) -> Result<Vec<u8>, SignalError> {
        let opened = self.signal.decrypt(envelope.sender, envelope.kind, envelope.body)?;
        if let (Some(claims), Some(facts)) = (opened.prekey, facts) {
            if claims.registration_id != facts.registration_id {
                wrong.push(format!(
                    "message {}: pkmsg with registration id {}, the device registered {}",
                    envelope.id, claims.registration_id, facts.registration_id
                ));
            }
            if claims.identity != facts.identity {
                wrong.push(format!(
                    "message {}: pkmsg with an identity key that the device did not register",
                    envelope.id
                ));
            }
            if !envelope.device_identity {
                wrong.push(format!("message {}: pkmsg without <device-identity>", envelope.id));
            }
        }
        // A message that decrypts shows that both sides agree again.
        self.lost.remove(envelope.sender);
        Ok(opened.plaintext)
    }

    fn failed(&mut self, envelope: &Envelope<'_>, error: &SignalError, wrong: &mut Vec<String>) -> Opening {
        let blameless =
            self.lost.contains(envelope.sender) || (error.is_missing_sender_key() && !envelope.informed);
        let error = error.to_string();
        if !blameless {
            wrong.push(format!("message {}: {} does not decrypt: {error}", envelope.id, envelope.kind));
        }
        let count = self.count_retry(envelope.id, envelope.sender);
        if count > MAX_RETRY {
            return Opening::GivenUp { error };
        }
        // The sender starts a new session with the keys below; the old one only stands in its way.
        self.signal.forget_session(envelope.sender);
        let bundle = Box::new(Bundle::from(self.signal.bundle()));
        Opening::Retry { count, registration_id: self.signal.registration_id(), bundle, error }
    }
}
