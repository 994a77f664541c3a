//! A phone writes a message: encrypted for every device that must have it.

use std::sync::Arc;

use wacore::messages::{MessageUtils, wrap_device_sent};
use waproto::buffa::MessageField;
use waproto::whatsapp as wa;

use super::signal::SignalError;
use super::{Destination, Phone};
use crate::keys::{Bundle, DeviceAddr};

/// An encrypted copy for one device.
pub(crate) struct Copy {
    pub(crate) to: DeviceAddr,
    pub(crate) kind: &'static str,
    pub(crate) body: Vec<u8>,
    /// For a message sent again, the count of the request.
    pub(crate) retry: Option<u8>,
}

impl Phone {
    /// Devices among `targets` that this phone has no session with yet.
    pub(crate) fn without_session(&self, targets: &[DeviceAddr]) -> Vec<DeviceAddr> {
        let state = self.state();
        targets.iter().filter(|target| !state.signal.has_session(target)).cloned().collect()
    }

    /// Serialises composing; `work` may take this phone's state and the world.
    pub(crate) fn compose<T>(&self, work: impl FnOnce() -> T) -> T {
        let _one_at_a_time = self.sending();
        work()
    }

    /// Starts sessions from bundles, replacing any that exist.
    pub(crate) fn start_sessions(&self, bundles: Vec<(DeviceAddr, Bundle)>) -> Result<(), SignalError> {
        let mut state = self.state();
        for (device, bundle) in bundles {
            state.signal.start_session(&device, &bundle.to_signal(device.device)?)?;
        }
        Ok(())
    }

    /// Encrypts a message for each of `targets`. Own devices get it wrapped with its destination.
    pub(crate) fn seal_direct(
        &self,
        id: &str,
        message: &wa::Message,
        to: &Arc<str>,
        targets: &[DeviceAddr],
    ) -> Result<Vec<Copy>, SignalError> {
        let plain = MessageUtils::encode_and_pad(message);
        let wrapped =
            MessageUtils::encode_and_pad(&wrap_device_sent(message.clone(), format!("{to}@s.whatsapp.net")));
        let mut state = self.state();
        let mut copies = Vec::with_capacity(targets.len());
        for target in targets {
            let plaintext = if target.user == self.number { &wrapped } else { &plain };
            let (kind, body) = state.signal.encrypt(target, plaintext)?;
            copies.push(Copy { to: target.clone(), kind, body, retry: None });
        }
        state.remember_sent(id, message.clone(), Destination::Direct(Arc::clone(to)));
        Ok(copies)
    }

    /// Devices among `targets` that do not have this phone's current key for a group.
    pub(crate) fn without_sender_key(&self, group: &str, targets: &[DeviceAddr]) -> Vec<DeviceAddr> {
        let state = self.state();
        let known = state.distributed.get(group);
        targets.iter().filter(|target| !known.is_some_and(|known| known.contains(target))).cloned().collect()
    }

    /// Encrypts a message for a group: the group's key for each of `unkeyed`, and the message once for all.
    pub(crate) fn seal_group(
        &self,
        id: &str,
        message: &wa::Message,
        group: &Arc<str>,
        unkeyed: &[DeviceAddr],
    ) -> Result<(Vec<Copy>, Vec<u8>), SignalError> {
        let own = self.addr();
        let mut state = self.state();
        let distribution = state.signal.own_distribution(group, &own)?;
        let key =
            MessageUtils::encode_and_pad(&with_distribution(wa::Message::default(), group, distribution));
        let mut copies = Vec::with_capacity(unkeyed.len());
        for target in unkeyed {
            let (kind, body) = state.signal.encrypt(target, &key)?;
            copies.push(Copy { to: target.clone(), kind, body, retry: None });
        }
        state.distributed.entry(group.to_string()).or_default().extend(unkeyed.iter().cloned());
        let sealed = state.signal.group_encrypt(group, &own, &MessageUtils::encode_and_pad(message))?;
        state.remember_sent(id, message.clone(), Destination::Group(Arc::clone(group)));
        Ok((copies, sealed))
    }

    /// Starts over with a new key for a group.
    pub(crate) fn forget_group(&self, group: &str) {
        let own = self.addr();
        let mut state = self.state();
        state.distributed.remove(group);
        state.signal.forget_own_sender_key(group, &own);
    }

    /// Encrypts a message between programs (such as an app-state key) for one own device.
    pub(crate) fn seal_peer(&self, message: &wa::Message, target: &DeviceAddr) -> Result<Copy, SignalError> {
        let plaintext = MessageUtils::encode_and_pad(message);
        let (kind, body) = self.state().signal.encrypt(target, &plaintext)?;
        Ok(Copy { to: target.clone(), kind, body, retry: None })
    }

    /// Encrypts a sent message again for a device that could not read it, in a session of its own. For a message in a
    /// group, the second value is the group.
    pub(crate) fn seal_again(
        &self,
        message: &wa::Message,
        destination: &Destination,
        target: &DeviceAddr,
        bundle: Option<(DeviceAddr, Bundle)>,
        count: u8,
    ) -> Result<(Copy, Option<Arc<str>>), SignalError> {
        if let Some(bundle) = bundle {
            self.start_sessions(vec![bundle])?;
        }
        let mut state = self.state();
        let (message, group) = match destination {
            Destination::Direct(to) if target.user == self.number => {
                (wrap_device_sent(message.clone(), format!("{to}@s.whatsapp.net")), None)
            }
            Destination::Direct(_) => (message.clone(), None),
            Destination::Group(group) => {
                let distribution = state.signal.own_distribution(group, &self.addr())?;
                (with_distribution(message.clone(), group, distribution), Some(Arc::clone(group)))
            }
        };
        let (kind, body) = state.signal.encrypt(target, &MessageUtils::encode_and_pad(&message))?;
        Ok((Copy { to: target.clone(), kind, body, retry: Some(count) }, group))
    }

    /// A message this phone sent, for sending it again.
    pub(crate) fn sent_message(&self, id: &str) -> Option<(wa::Message, Destination)> {
        self.state().sent.get(id).map(|sent| (sent.message.clone(), sent.to.clone()))
    }
}

/// Adds the sender's key for a group to a message.
pub(crate) fn with_distribution(mut message: wa::Message, group: &str, distribution: Vec<u8>) -> wa::Message {
    message.sender_key_distribution_message = MessageField::some(wa::message::SenderKeyDistributionMessage {
        group_id: Some(group.to_owned()),
        axolotl_sender_key_distribution_message: Some(distribution),
    });
    message
}
