//! Addresses of devices and the public key bundles that devices leave with the server.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use thiserror::Error;
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;
use wacore_libsignal::protocol::{IdentityKey, PreKeyBundle, PublicKey, SignalProtocolError};

use crate::phone::signal::PhoneBundle;
use crate::stanza::{array32, be_uint, bytes, child, child_bytes, children};

/// Most one-time prekeys a device may leave (WhatsApp Web uploads 812 at a time).
const MAX_PREKEYS: usize = 65_535;

/// One device of an account: 0 is the phone, others are linked devices. `user` is the phone number.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct DeviceAddr {
    pub(crate) user: Arc<str>,
    pub(crate) device: u16,
}

impl DeviceAddr {
    pub(crate) fn new(user: &str, device: u16) -> Self {
        Self { user: user.into(), device }
    }

    pub(crate) fn is_phone(&self) -> bool {
        self.device == 0
    }
}

impl fmt::Display for DeviceAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.user, self.device)
    }
}

impl fmt::Debug for DeviceAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is wrong with uploaded keys.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum KeyError {
    #[error("{0} is missing or has the wrong length")]
    Field(&'static str),
    #[error("the identity key differs from the one that was paired")]
    IdentityChanged,
    #[error("the registration id differs from the one that was paired")]
    RegistrationChanged,
    #[error("the signature of signed prekey {0} does not verify")]
    Signature(u32),
    #[error("the same one-time prekey id {0} occurs twice in one upload")]
    Twice(u32),
    #[error("more than {MAX_PREKEYS} one-time prekeys")]
    TooMany,
}

/// A signed prekey, its signature already verified.
#[derive(Clone)]
pub(crate) struct SignedKey {
    pub(crate) id: u32,
    pub(crate) public: [u8; 32],
    pub(crate) signature: Vec<u8>,
}

impl SignedKey {
    /// Verifies the XEdDSA signature over the 33-byte (type byte first) form of the key.
    pub(crate) fn verified(
        identity: &[u8; 32],
        id: u32,
        public: [u8; 32],
        signature: &[u8],
    ) -> Result<Self, KeyError> {
        let key = PublicKey::from_djb_public_key_bytes(&public).map_err(|_| KeyError::Field("skey value"))?;
        let identity =
            PublicKey::from_djb_public_key_bytes(identity).map_err(|_| KeyError::Field("identity"))?;
        if !identity.verify_signature(&key.serialize(), signature) {
            return Err(KeyError::Signature(id));
        }
        Ok(Self { id, public, signature: signature.to_vec() })
    }

    pub(crate) fn parse(identity: &[u8; 32], skey: &Node) -> Result<Self, KeyError> {
        let id = be_uint(child_bytes(skey, "id")).ok_or(KeyError::Field("skey id"))?;
        let public = array32(child_bytes(skey, "value")).ok_or(KeyError::Field("skey value"))?;
        Self::verified(identity, id, public, child_bytes(skey, "signature"))
    }

    pub(crate) fn node(&self) -> Node {
        NodeBuilder::new("skey")
            .children([
                NodeBuilder::new("id").bytes(self.id.to_be_bytes()[1..].to_vec()).build(),
                NodeBuilder::new("value").bytes(self.public.to_vec()).build(),
                NodeBuilder::new("signature").bytes(self.signature.clone()).build(),
            ])
            .build()
    }
}

/// The keys of one linked device.
pub(crate) struct KeyStore {
    pub(crate) registration_id: u32,
    pub(crate) identity: [u8; 32],
    pub(crate) signed: SignedKey,
    one_time: VecDeque<(u32, [u8; 32])>,
    handed_out: HashSet<u32>,
}

impl KeyStore {
    pub(crate) fn new(registration_id: u32, identity: [u8; 32], signed: SignedKey) -> Self {
        Self { registration_id, identity, signed, one_time: VecDeque::new(), handed_out: HashSet::new() }
    }

    pub(crate) fn count(&self) -> usize {
        self.one_time.len()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.one_time.iter().map(|(id, _)| *id)
    }

    pub(crate) fn publics(&self) -> impl Iterator<Item = &[u8; 32]> + '_ {
        self.one_time.iter().map(|(_, key)| key)
    }

    /// Takes in `<registration/><type/><identity/><list/><skey/>`. An id that is still unused is replaced.
    /// Returns the ids that came back after having been handed out; they are not accepted.
    pub(crate) fn upload(&mut self, iq: &Node) -> Result<Vec<u32>, KeyError> {
        let registration_id =
            be_uint(child_bytes(iq, "registration")).ok_or(KeyError::Field("registration"))?;
        let identity = array32(child_bytes(iq, "identity")).ok_or(KeyError::Field("identity"))?;
        if child_bytes(iq, "type") != [5] {
            return Err(KeyError::Field("type"));
        }
        if identity != self.identity {
            return Err(KeyError::IdentityChanged);
        }
        if registration_id != self.registration_id {
            return Err(KeyError::RegistrationChanged);
        }
        let skey = child(iq, "skey").ok_or(KeyError::Field("skey"))?;
        let signed = SignedKey::parse(&self.identity, skey)?;
        let list = child(iq, "list").map(children).unwrap_or_default();
        if list.len() > MAX_PREKEYS {
            return Err(KeyError::TooMany);
        }
        let mut fresh = Vec::with_capacity(list.len());
        let mut seen = HashSet::with_capacity(list.len());
        let mut again = Vec::new();
        for key in list {
            let id = be_uint(child_bytes(key, "id")).ok_or(KeyError::Field("key id"))?;
            let value = array32(child_bytes(key, "value")).ok_or(KeyError::Field("key value"))?;
            if !seen.insert(id) {
                return Err(KeyError::Twice(id));
            }
            match self.handed_out.contains(&id) {
                true => again.push(id),
                false => fresh.push((id, value)),
            }
        }
        self.signed = signed;
        self.one_time.retain(|(id, _)| !seen.contains(id));
        self.one_time.extend(fresh);
        Ok(again)
    }

    pub(crate) fn take(&mut self) -> Bundle {
        let one_time = self.one_time.pop_front();
        if let Some((id, _)) = one_time {
            self.handed_out.insert(id);
        }
        Bundle {
            registration_id: self.registration_id,
            identity: self.identity,
            signed: self.signed.clone(),
            one_time,
            device_identity: None,
        }
    }
}

/// One device's keys as handed to somebody who wants to write to it.
pub(crate) struct Bundle {
    pub(crate) registration_id: u32,
    pub(crate) identity: [u8; 32],
    pub(crate) signed: SignedKey,
    pub(crate) one_time: Option<(u32, [u8; 32])>,
    pub(crate) device_identity: Option<Vec<u8>>,
}

impl From<PhoneBundle> for Bundle {
    fn from(bundle: PhoneBundle) -> Self {
        let (id, public, signature) = bundle.signed;
        Self {
            registration_id: bundle.registration_id,
            identity: bundle.identity,
            signed: SignedKey { id, public, signature },
            one_time: Some(bundle.one_time),
            device_identity: None,
        }
    }
}

impl Bundle {
    /// The children of `<user>` in a prekey answer.
    pub(crate) fn nodes(&self) -> Vec<Node> {
        let mut nodes = vec![
            NodeBuilder::new("registration").bytes(self.registration_id.to_be_bytes().to_vec()).build(),
            NodeBuilder::new("type").bytes(vec![5]).build(),
            NodeBuilder::new("identity").bytes(self.identity.to_vec()).build(),
            self.signed.node(),
        ];
        if let Some((id, public)) = &self.one_time {
            nodes.push(
                NodeBuilder::new("key")
                    .children([
                        NodeBuilder::new("id").bytes(id.to_be_bytes()[1..].to_vec()).build(),
                        NodeBuilder::new("value").bytes(public.to_vec()).build(),
                    ])
                    .build(),
            );
        }
        if let Some(identity) = &self.device_identity {
            nodes.push(NodeBuilder::new("device-identity").bytes(identity.clone()).build());
        }
        nodes
    }

    /// The same as libsignal wants it.
    pub(crate) fn to_signal(&self, device: u16) -> Result<PreKeyBundle, SignalProtocolError> {
        let one_time = match &self.one_time {
            Some((id, public)) => Some(((*id).into(), PublicKey::from_djb_public_key_bytes(public)?)),
            None => None,
        };
        PreKeyBundle::new(
            self.registration_id,
            u32::from(device).into(),
            one_time,
            self.signed.id.into(),
            PublicKey::from_djb_public_key_bytes(&self.signed.public)?,
            self.signed.signature.clone(),
            IdentityKey::new(PublicKey::from_djb_public_key_bytes(&self.identity)?),
        )
    }
}

/// The keys inside a retry receipt's `<keys>`: `<identity/><key/><skey/>` (registration is a sibling of `<keys>`).
pub(crate) fn bundle_from_retry(receipt: &Node) -> Option<Bundle> {
    let keys = child(receipt, "keys")?;
    let identity = array32(child_bytes(keys, "identity"))?;
    let one_time = child(keys, "key")
        .and_then(|key| Some((be_uint(child_bytes(key, "id"))?, array32(child_bytes(key, "value"))?)));
    Some(Bundle {
        registration_id: be_uint(child_bytes(receipt, "registration"))?,
        identity,
        signed: SignedKey::parse(&identity, child(keys, "skey")?).ok()?,
        one_time,
        device_identity: child(keys, "device-identity").map(|node| bytes(node).to_vec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wacore::prekeys::PreKeyUtils;
    use wacore_libsignal::protocol::KeyPair;

    fn upload(identity: &KeyPair, registration: u32, ids: &[u32], forge: bool) -> Node {
        let signed = KeyPair::generate(&mut rand::rng());
        let signer = if forge { KeyPair::generate(&mut rand::rng()) } else { identity.clone() };
        let signature = signer
            .private_key
            .calculate_signature(&signed.public_key.serialize(), &mut rand::rng())
            .expect("signs");
        let keys: Vec<(u32, [u8; 32])> = ids.iter().map(|id| (*id, [7; 32])).collect();
        NodeBuilder::new("iq")
            .children(PreKeyUtils::build_upload_prekeys_request(
                registration,
                identity.public_key.public_key_bytes(),
                1,
                signed.public_key.public_key_bytes(),
                &signature,
                keys.iter().map(|(id, key)| (*id, key.as_slice())),
            ))
            .build()
    }

    fn store(identity: &KeyPair) -> KeyStore {
        let public: [u8; 32] = identity.public_key.public_key_bytes().try_into().expect("32");
        KeyStore::new(9, public, SignedKey { id: 1, public: [0; 32], signature: vec![] })
    }

    #[test]
    fn keys_are_handed_out_once_and_may_not_come_back() {
        let identity = KeyPair::generate(&mut rand::rng());
        let mut store = store(&identity);
        assert_eq!(store.upload(&upload(&identity, 9, &[1, 2], false)), Ok(vec![]));
        assert_eq!(store.take().one_time.map(|key| key.0), Some(1));
        assert_eq!(store.upload(&upload(&identity, 9, &[1, 2, 3], false)), Ok(vec![1]));
        assert_eq!(store.ids().collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn a_forged_signature_and_another_identity_are_refused() {
        let identity = KeyPair::generate(&mut rand::rng());
        let mut store = store(&identity);
        assert_eq!(store.upload(&upload(&identity, 9, &[1], true)), Err(KeyError::Signature(1)));
        assert_eq!(store.upload(&upload(&identity, 8, &[1], false)), Err(KeyError::RegistrationChanged));
        let other = KeyPair::generate(&mut rand::rng());
        assert_eq!(store.upload(&upload(&other, 9, &[1], false)), Err(KeyError::IdentityChanged));
        assert_eq!(store.upload(&upload(&identity, 9, &[4, 4], false)), Err(KeyError::Twice(4)));
        assert_eq!(store.count(), 0);
    }
}
