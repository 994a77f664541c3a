//! The Signal side of a phone: its keys, its sessions, and encryption and decryption over them.
//!
//! The stores are plain maps, so the protocol's async calls finish at once and a phone can be used under a mutex.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::Future;

use async_trait::async_trait;
use futures_util::FutureExt;
use rand::Rng;
use rand::rngs::StdRng;
use thiserror::Error;
use wacore_libsignal::protocol::error::Result as SignalResult;
use wacore_libsignal::protocol::{
    CiphertextMessage, CiphertextMessageType, Direction, GenericSignedPreKey, IdentityChange, IdentityKey,
    IdentityKeyPair, IdentityKeyStore, KeyPair, PreKeyBundle, PreKeyId, PreKeyRecord, PreKeySignalMessage,
    PreKeyStore, ProtocolAddress, SenderKeyDistributionMessage, SenderKeyName, SenderKeyRecord,
    SenderKeyStore, SessionRecord, SessionStore, SignalMessage, SignalProtocolError, SignedPreKeyId,
    SignedPreKeyRecord, SignedPreKeyStore, Timestamp, UsePQRatchet, create_sender_key_distribution_message,
    group_decrypt, group_encrypt, message_decrypt, message_encrypt, process_prekey_bundle,
    process_sender_key_distribution_message,
};

use crate::keys::DeviceAddr;

/// One-time prekeys a phone has handed out and not yet seen used. Older ones are forgotten.
const MAX_OPEN_PREKEYS: usize = 2_000;
/// Consumed prekey ids remembered so that a second use is noticed.
const MAX_CONSUMED_PREKEYS: usize = 20_000;
const SIGNED_PREKEY_ID: u32 = 1;

/// Why a phone could not encrypt or decrypt.
#[derive(Debug, Error)]
pub(crate) enum SignalError {
    #[error("{0}")]
    Protocol(#[from] SignalProtocolError),
    #[error("one-time prekey {0} was used a second time")]
    PreKeyReused(u32),
    #[error("one-time prekey {0} was never handed out")]
    PreKeyUnknown(u32),
    #[error("message type {0:?} is neither pkmsg nor msg")]
    UnknownType(String),
    #[error("padding is wrong: {0}")]
    Padding(&'static str),
}

impl SignalError {
    /// A message to a group whose key never arrived.
    pub(crate) fn is_missing_sender_key(&self) -> bool {
        matches!(self, Self::Protocol(SignalProtocolError::NoSenderKeyState(_)))
    }
}

/// A decrypted envelope, and what the first message of a session said about its sender.
pub(crate) struct Opened {
    pub(crate) plaintext: Vec<u8>,
    pub(crate) prekey: Option<PreKeyClaims>,
}

/// What a pkmsg claims about its sender; the server knows whether it is true.
pub(crate) struct PreKeyClaims {
    pub(crate) registration_id: u32,
    pub(crate) identity: [u8; 32],
}

/// The public half of a phone's keys, as its bundle carries it.
pub(crate) struct PhoneBundle {
    pub(crate) registration_id: u32,
    pub(crate) identity: [u8; 32],
    pub(crate) signed: (u32, [u8; 32], Vec<u8>),
    pub(crate) one_time: (u32, [u8; 32]),
}

/// Runs a store-only protocol call, which never waits.
fn at_once<T>(call: impl Future<Output = T>) -> T {
    call.now_or_never().expect("the phone's stores answer without waiting")
}

fn raw(key: &wacore_libsignal::protocol::PublicKey) -> [u8; 32] {
    key.public_key_bytes().try_into().expect("an X25519 public key is 32 bytes")
}

fn address(device: &DeviceAddr) -> ProtocolAddress {
    ProtocolAddress::new(&device.user, u32::from(device.device).into())
}

pub(crate) struct Signal {
    identities: Identities,
    sessions: Sessions,
    prekeys: PreKeys,
    signed: SignedPreKeys,
    sender_keys: SenderKeys,
    rng: StdRng,
}

impl Signal {
    pub(crate) fn generate() -> Self {
        let mut rng: StdRng = rand::make_rng();
        let pair = IdentityKeyPair::generate(&mut rng);
        let signed_pair = KeyPair::generate(&mut rng);
        let signature = pair
            .private_key()
            .calculate_signature(&signed_pair.public_key.serialize(), &mut rng)
            .expect("a freshly generated key can sign");
        let record = SignedPreKeyRecord::new(
            SIGNED_PREKEY_ID.into(),
            Timestamp::from_epoch_millis(0),
            &signed_pair,
            &signature,
        );
        let registration_id = rng.next_u32() & 0x3fff | 1;
        Self {
            identities: Identities { pair, registration_id, known: HashMap::new() },
            sessions: Sessions::default(),
            prekeys: PreKeys { open: BTreeMap::new(), consumed: HashSet::new(), next: 1 },
            signed: SignedPreKeys(record),
            sender_keys: SenderKeys::default(),
            rng,
        }
    }

    pub(crate) fn identity_public(&self) -> [u8; 32] {
        raw(self.identities.pair.public_key())
    }

    /// Signs with the account's identity key (XEdDSA).
    pub(crate) fn sign(&mut self, message: &[u8]) -> Vec<u8> {
        self.identities
            .pair
            .private_key()
            .calculate_signature(message, &mut self.rng)
            .expect("the identity key can sign")
            .to_vec()
    }

    pub(crate) fn identity_private(&self) -> [u8; 32] {
        *self.identities.pair.private_key().serialize()
    }

    pub(crate) fn registration_id(&self) -> u32 {
        self.identities.registration_id
    }

    /// The phone's keys with a one-time prekey made for this caller alone.
    pub(crate) fn bundle(&mut self) -> PhoneBundle {
        let id = self.prekeys.next;
        self.prekeys.next = (id % 0x00ff_fffe) + 1;
        let pair = KeyPair::generate(&mut self.rng);
        self.prekeys.open.insert(id, PreKeyRecord::new(id.into(), &pair));
        if self.prekeys.open.len() > MAX_OPEN_PREKEYS {
            self.prekeys.open.pop_first();
        }
        let storage = self.signed.0.get_storage();
        let public = storage.public_key.as_deref().and_then(|key| key.try_into().ok());
        PhoneBundle {
            registration_id: self.identities.registration_id,
            identity: self.identity_public(),
            signed: (
                SIGNED_PREKEY_ID,
                public.expect("the signed prekey was stored with its public key"),
                storage.signature.clone().unwrap_or_default(),
            ),
            one_time: (id, raw(&pair.public_key)),
        }
    }

    pub(crate) fn has_session(&self, peer: &DeviceAddr) -> bool {
        self.sessions.0.contains_key(&address(peer))
    }

    pub(crate) fn forget_session(&mut self, peer: &DeviceAddr) {
        self.sessions.0.remove(&address(peer));
    }

    /// Starts a session from a bundle; the signature over the signed prekey is checked.
    pub(crate) fn start_session(
        &mut self,
        peer: &DeviceAddr,
        bundle: &PreKeyBundle,
    ) -> Result<(), SignalError> {
        at_once(process_prekey_bundle(
            &address(peer),
            &mut self.sessions,
            &mut self.identities,
            bundle,
            &mut self.rng,
            UsePQRatchet::No,
        ))?;
        Ok(())
    }

    /// Encrypts padded plaintext; the first value is the stanza's `type` ("pkmsg" or "msg").
    pub(crate) fn encrypt(
        &mut self,
        peer: &DeviceAddr,
        plaintext: &[u8],
    ) -> Result<(&'static str, Vec<u8>), SignalError> {
        let sealed =
            at_once(message_encrypt(plaintext, &address(peer), &mut self.sessions, &mut self.identities))?;
        let kind = match sealed.message_type() {
            CiphertextMessageType::PreKey => "pkmsg",
            _ => "msg",
        };
        Ok((kind, sealed.serialize().to_vec()))
    }

    /// Decrypts an envelope and removes its padding.
    pub(crate) fn decrypt(
        &mut self,
        peer: &DeviceAddr,
        kind: &str,
        body: &[u8],
    ) -> Result<Opened, SignalError> {
        let mut prekey = None;
        let message = match kind {
            "pkmsg" => {
                let message = PreKeySignalMessage::try_from(body)?;
                prekey = Some(PreKeyClaims {
                    registration_id: message.registration_id(),
                    identity: raw(message.identity_key().public_key()),
                });
                CiphertextMessage::PreKeySignalMessage(message)
            }
            "msg" => CiphertextMessage::SignalMessage(SignalMessage::try_from(body)?),
            other => return Err(SignalError::UnknownType(other.to_owned())),
        };
        let result = at_once(message_decrypt(
            &message,
            &address(peer),
            &mut self.sessions,
            &mut self.identities,
            &mut self.prekeys,
            &self.signed,
            &mut self.rng,
            UsePQRatchet::No,
        ));
        let result = match (result, &message) {
            (Err(SignalProtocolError::InvalidPreKeyId), CiphertextMessage::PreKeySignalMessage(message)) => {
                let id = message.pre_key_id().map(u32::from).unwrap_or_default();
                return Err(match self.prekeys.consumed.contains(&id) {
                    true => SignalError::PreKeyReused(id),
                    false => SignalError::PreKeyUnknown(id),
                });
            }
            (result, _) => result?,
        };
        if let Some(id) = result.consumed_prekey_id {
            self.prekeys.consume(id.into());
        }
        Ok(Opened { plaintext: unpad(result.plaintext)?, prekey })
    }

    /// The distribution message of this phone's own sender key in `group`, made on first use.
    pub(crate) fn own_distribution(&mut self, group: &str, own: &DeviceAddr) -> Result<Vec<u8>, SignalError> {
        let name = sender_key_name(group, own);
        let message =
            at_once(create_sender_key_distribution_message(&name, &mut self.sender_keys, &mut self.rng))?;
        Ok(message.serialized().to_vec())
    }

    pub(crate) fn learn_distribution(
        &mut self,
        group: &str,
        sender: &DeviceAddr,
        message: &[u8],
    ) -> Result<(), SignalError> {
        let message = SenderKeyDistributionMessage::try_from(message)?;
        at_once(process_sender_key_distribution_message(
            &sender_key_name(group, sender),
            &message,
            &mut self.sender_keys,
        ))?;
        Ok(())
    }

    pub(crate) fn group_encrypt(
        &mut self,
        group: &str,
        own: &DeviceAddr,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, SignalError> {
        let name = sender_key_name(group, own);
        let sealed = at_once(group_encrypt(&mut self.sender_keys, &name, plaintext, &mut self.rng))?;
        Ok(sealed.serialized().to_vec())
    }

    pub(crate) fn group_decrypt(
        &mut self,
        group: &str,
        sender: &DeviceAddr,
        body: &[u8],
    ) -> Result<Vec<u8>, SignalError> {
        let name = sender_key_name(group, sender);
        unpad(at_once(group_decrypt(body, &mut self.sender_keys, &name))?)
    }

    /// A group whose members changed needs a new sender key.
    pub(crate) fn forget_own_sender_key(&mut self, group: &str, own: &DeviceAddr) {
        self.sender_keys.0.remove(&sender_key_name(group, own));
    }
}

fn sender_key_name(group: &str, sender: &DeviceAddr) -> SenderKeyName {
    SenderKeyName::from_parts(group, address(sender).as_str())
}

/// WhatsApp pads with 1 to 16 bytes that all hold the count.
fn unpad(mut plaintext: Vec<u8>) -> Result<Vec<u8>, SignalError> {
    let count = *plaintext.last().ok_or(SignalError::Padding("the plaintext is empty"))?;
    let kept = plaintext
        .len()
        .checked_sub(usize::from(count))
        .ok_or(SignalError::Padding("the count is larger than the plaintext"))?;
    if !(1..=16).contains(&count) {
        return Err(SignalError::Padding("the count is not between 1 and 16"));
    }
    if plaintext[kept..].iter().any(|byte| *byte != count) {
        return Err(SignalError::Padding("the padding bytes differ from the count"));
    }
    plaintext.truncate(kept);
    Ok(plaintext)
}

struct Identities {
    pair: IdentityKeyPair,
    registration_id: u32,
    known: HashMap<ProtocolAddress, IdentityKey>,
}

#[async_trait]
impl IdentityKeyStore for Identities {
    async fn get_identity_key_pair(&self) -> SignalResult<IdentityKeyPair> {
        Ok(self.pair.clone())
    }

    async fn get_local_registration_id(&self) -> SignalResult<u32> {
        Ok(self.registration_id)
    }

    async fn save_identity(
        &mut self,
        address: &ProtocolAddress,
        identity: &IdentityKey,
    ) -> SignalResult<IdentityChange> {
        let old = self.known.insert(address.clone(), *identity);
        Ok(match old {
            Some(old) if old != *identity => IdentityChange::ReplacedExisting,
            _ => IdentityChange::NewOrUnchanged,
        })
    }

    async fn is_trusted_identity(
        &self,
        _address: &ProtocolAddress,
        _identity: &IdentityKey,
        _direction: Direction,
    ) -> SignalResult<bool> {
        // A phone accepts a changed identity (and shows "security code changed"); the server checks who it is.
        Ok(true)
    }

    async fn get_identity(&self, address: &ProtocolAddress) -> SignalResult<Option<IdentityKey>> {
        Ok(self.known.get(address).copied())
    }
}

#[derive(Default)]
struct Sessions(HashMap<ProtocolAddress, SessionRecord>);

#[async_trait]
impl SessionStore for Sessions {
    async fn load_session(&self, address: &ProtocolAddress) -> SignalResult<Option<SessionRecord>> {
        Ok(self.0.get(address).cloned())
    }

    async fn has_session(&self, address: &ProtocolAddress) -> SignalResult<bool> {
        Ok(self.0.contains_key(address))
    }

    async fn store_session(&mut self, address: &ProtocolAddress, record: SessionRecord) -> SignalResult<()> {
        self.0.insert(address.clone(), record);
        Ok(())
    }
}

struct PreKeys {
    open: BTreeMap<u32, PreKeyRecord>,
    consumed: HashSet<u32>,
    next: u32,
}

impl PreKeys {
    fn consume(&mut self, id: u32) {
        self.open.remove(&id);
        if self.consumed.len() < MAX_CONSUMED_PREKEYS {
            self.consumed.insert(id);
        }
    }
}

#[async_trait]
impl PreKeyStore for PreKeys {
    async fn get_pre_key(&self, id: PreKeyId) -> SignalResult<PreKeyRecord> {
        self.open.get(&u32::from(id)).cloned().ok_or(SignalProtocolError::InvalidPreKeyId)
    }

    async fn save_pre_key(&mut self, id: PreKeyId, record: &PreKeyRecord) -> SignalResult<()> {
        self.open.insert(id.into(), record.clone());
        Ok(())
    }

    async fn remove_pre_key(&mut self, id: PreKeyId) -> SignalResult<()> {
        self.consume(id.into());
        Ok(())
    }
}

struct SignedPreKeys(SignedPreKeyRecord);

#[async_trait]
impl SignedPreKeyStore for SignedPreKeys {
    async fn get_signed_pre_key(&self, id: SignedPreKeyId) -> SignalResult<SignedPreKeyRecord> {
        match u32::from(id) {
            SIGNED_PREKEY_ID => Ok(self.0.clone()),
            _ => Err(SignalProtocolError::InvalidSignedPreKeyId),
        }
    }

    async fn save_signed_pre_key(
        &mut self,
        _: SignedPreKeyId,
        record: &SignedPreKeyRecord,
    ) -> SignalResult<()> {
        self.0 = record.clone();
        Ok(())
    }
}

#[derive(Default)]
struct SenderKeys(HashMap<SenderKeyName, SenderKeyRecord>);

#[async_trait]
impl SenderKeyStore for SenderKeys {
    async fn store_sender_key(&mut self, name: &SenderKeyName, record: SenderKeyRecord) -> SignalResult<()> {
        self.0.insert(name.clone(), record);
        Ok(())
    }

    async fn load_sender_key(&self, name: &SenderKeyName) -> SignalResult<Option<SenderKeyRecord>> {
        Ok(self.0.get(name).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wacore_libsignal::protocol::PublicKey;

    fn device(user: &str) -> DeviceAddr {
        DeviceAddr::new(user, 0)
    }

    fn bundle_of(phone: &mut Signal) -> PreKeyBundle {
        let bundle = phone.bundle();
        PreKeyBundle::new(
            bundle.registration_id,
            0.into(),
            Some((
                bundle.one_time.0.into(),
                PublicKey::from_djb_public_key_bytes(&bundle.one_time.1).expect("key"),
            )),
            bundle.signed.0.into(),
            PublicKey::from_djb_public_key_bytes(&bundle.signed.1).expect("key"),
            bundle.signed.2,
            IdentityKey::new(PublicKey::from_djb_public_key_bytes(&bundle.identity).expect("key")),
        )
        .expect("bundle")
    }

    #[test]
    fn two_phones_talk_and_a_prekey_serves_once() {
        let (mut a, mut b) = (Signal::generate(), Signal::generate());
        let bundle = bundle_of(&mut b);
        a.start_session(&device("b"), &bundle).expect("session");
        let (kind, body) = a.encrypt(&device("b"), b"hello\x01").expect("encrypts");
        assert_eq!(kind, "pkmsg");
        let opened = b.decrypt(&device("a"), kind, &body).expect("decrypts");
        assert_eq!(opened.plaintext, b"hello");
        assert_eq!(opened.prekey.expect("claims").identity, a.identity_public());

        let mut c = Signal::generate();
        c.start_session(&device("b"), &bundle).expect("session");
        let (kind, body) = c.encrypt(&device("b"), b"again\x01").expect("encrypts");
        assert!(matches!(b.decrypt(&device("c"), kind, &body), Err(SignalError::PreKeyReused(1))));
    }

    #[test]
    fn sender_keys_reach_a_member_that_learned_the_distribution() {
        let (mut a, mut b) = (Signal::generate(), Signal::generate());
        let distribution = a.own_distribution("g", &device("a")).expect("distribution");
        b.learn_distribution("g", &device("a"), &distribution).expect("learns");
        let body = a.group_encrypt("g", &device("a"), b"hi\x02\x02").expect("encrypts");
        assert_eq!(b.group_decrypt("g", &device("a"), &body).expect("decrypts"), b"hi");
    }

    #[test]
    fn wrong_padding_is_named() {
        assert_eq!(unpad(b"ab\x02\x02".to_vec()).expect("right"), b"ab");
        assert!(unpad(b"ab\x03\x02".to_vec()).is_err());
        assert!(unpad(vec![]).is_err());
        assert!(unpad(vec![17; 40]).is_err());
        assert!(unpad(vec![0]).is_err());
        assert!(unpad(vec![9]).is_err());
    }
}
