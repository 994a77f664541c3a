//! Account device verification (ADV): how a phone vouches for its linked devices, and how that is checked.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use thiserror::Error;
use wacore_libsignal::crypto::CryptographicMac;
use wacore_libsignal::protocol::PublicKey;
use waproto::buffa::Message;
use waproto::whatsapp as wa;

use crate::phone::signal::Signal;
use crate::stanza::array32;

// Domain separators that WhatsApp puts before what is signed.
const ACCOUNT_SIGNATURE: [u8; 2] = [6, 0];
const DEVICE_SIGNATURE: [u8; 2] = [6, 1];
const KEY_INDEX_LIST: [u8; 2] = [6, 2];

/// Why a pairing QR cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum QrError {
    /// It has fewer than four comma-separated fields.
    #[error("the QR text has {0} comma-separated fields, at least 4 are needed")]
    Fields(usize),
    /// A field is not the Base64 of 32 bytes.
    #[error("the QR text's field {0} is not the Base64 of 32 bytes")]
    Key(&'static str),
}

/// The content of a pairing QR: `ref,noise,identity,secret[,platform]`.
pub(crate) struct Qr {
    pub(crate) reference: String,
    pub(crate) noise: [u8; 32],
    pub(crate) identity: [u8; 32],
    pub(crate) secret: [u8; 32],
}

impl Qr {
    pub(crate) fn parse(text: &str) -> Result<Self, QrError> {
        // Newer clients put the fields behind a link that a phone's own camera app can open.
        let text = text.rsplit_once('#').map_or(text, |(_, fields)| fields).trim();
        let fields: Vec<&str> = text.split(',').collect();
        let [reference, noise, identity, secret, ..] = fields.as_slice() else {
            return Err(QrError::Fields(fields.len()));
        };
        let key = |name, field: &str| {
            BASE64_STANDARD.decode(field).ok().and_then(|key| array32(&key)).ok_or(QrError::Key(name))
        };
        Ok(Self {
            reference: (*reference).to_owned(),
            noise: key("2 (noise key)", noise)?,
            identity: key("3 (identity key)", identity)?,
            secret: key("4 (secret)", secret)?,
        })
    }
}

/// A device identity that a phone has signed for a companion.
pub(crate) struct SignedIdentity {
    /// `ADVDeviceIdentity`, encoded: what both sides sign.
    pub(crate) details: Vec<u8>,
    /// `ADVSignedDeviceIdentityHMAC`, encoded: what `pair-success` carries.
    pub(crate) container: Vec<u8>,
}

/// Signs a companion's identity key as the account and seals the result with the secret from the QR or code.
pub(crate) fn sign_device(
    account: &mut Signal,
    adv_id: u32,
    timestamp: u64,
    key_index: u32,
    companion: &[u8; 32],
    secret: &[u8; 32],
) -> SignedIdentity {
    let details = wa::ADVDeviceIdentity {
        raw_id: Some(adv_id),
        timestamp: Some(timestamp),
        key_index: Some(key_index),
        account_type: Some(wa::ADVEncryptionType::E2EE),
        device_type: Some(wa::ADVEncryptionType::E2EE),
    }
    .encode_to_vec();
    let signature = account.sign(&[&ACCOUNT_SIGNATURE[..], &details, companion].concat());
    let signed = wa::ADVSignedDeviceIdentity {
        details: Some(details.clone()),
        account_signature_key: Some(account.identity_public().to_vec()),
        account_signature: Some(signature),
        device_signature: None,
    }
    .encode_to_vec();
    let mut mac = CryptographicMac::new("HmacSha256", secret).expect("HmacSha256 takes a key of any length");
    mac.update(&signed);
    let container = wa::ADVSignedDeviceIdentityHMAC {
        details: Some(signed),
        hmac: Some(mac.finalize()),
        account_type: Some(wa::ADVEncryptionType::E2EE),
    }
    .encode_to_vec();
    SignedIdentity { details, container }
}

/// Checks what a companion returned in `pair-device-sign`; the error names what is wrong.
pub(crate) fn check_companion(
    returned: &[u8],
    details: &[u8],
    companion: &[u8; 32],
    account: &[u8; 32],
) -> Result<(), &'static str> {
    let signed = wa::ADVSignedDeviceIdentity::decode_from_slice(returned)
        .map_err(|_| "the device identity does not decode")?;
    if signed.details.as_deref() != Some(details) {
        return Err("the device identity's details differ from those that the phone signed");
    }
    let key = |key: &[u8; 32]| {
        PublicKey::from_djb_public_key_bytes(key).map_err(|_| "the device identity holds an invalid key")
    };
    let (device_key, account_key) = (key(companion)?, key(account)?);
    let account_message = [&ACCOUNT_SIGNATURE[..], details, companion].concat();
    if !account_key
        .verify_signature(&account_message, signed.account_signature.as_deref().unwrap_or_default())
    {
        return Err("the account's signature was changed");
    }
    let message = [&DEVICE_SIGNATURE[..], details, companion, account].concat();
    if !device_key.verify_signature(&message, signed.device_signature.as_deref().unwrap_or_default()) {
        return Err("the device signature does not verify");
    }
    Ok(())
}

/// `ADVSignedKeyIndexList`: which key indexes of the account are in force.
pub(crate) fn key_index_list(
    account: &mut Signal,
    adv_id: u32,
    timestamp: u64,
    current: u32,
    valid: Vec<u32>,
) -> Vec<u8> {
    let details = wa::ADVKeyIndexList {
        raw_id: Some(adv_id),
        timestamp: Some(timestamp),
        current_index: Some(current),
        valid_indexes: valid,
        account_type: Some(wa::ADVEncryptionType::E2EE),
    }
    .encode_to_vec();
    let signature = account.sign(&[&KEY_INDEX_LIST[..], &details].concat());
    wa::ADVSignedKeyIndexList {
        details: Some(details),
        account_signature: Some(signature),
        account_signature_key: Some(account.identity_public().to_vec()),
    }
    .encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wacore::pair::{DeviceState, PairUtils};
    use wacore_libsignal::protocol::KeyPair;

    fn companion() -> DeviceState {
        DeviceState {
            identity_key: KeyPair::generate(&mut rand::rng()),
            noise_key: KeyPair::generate(&mut rand::rng()),
            adv_secret_key: [7; 32],
        }
    }

    fn identity(state: &DeviceState) -> [u8; 32] {
        array32(state.identity_key.public_key.public_key_bytes()).expect("32 bytes")
    }

    #[test]
    fn a_client_accepts_what_the_phone_signs_and_signs_it_back() {
        let (mut phone, client) = (Signal::generate(), companion());
        let signed = sign_device(&mut phone, 5, 1, 3, &identity(&client), &client.adv_secret_key);
        let (returned, key_index) =
            PairUtils::do_pair_crypto(&client, &signed.container).expect("the client accepts");
        assert_eq!(key_index, 3);
        let check = |returned: &[u8]| {
            check_companion(returned, &signed.details, &identity(&client), &phone.identity_public())
        };
        assert_eq!(check(&returned), Ok(()));

        let mut forged = wa::ADVSignedDeviceIdentity::decode_from_slice(&returned).expect("decodes");
        forged.device_signature = forged.account_signature.clone();
        assert_eq!(check(&forged.encode_to_vec()), Err("the device signature does not verify"));
    }

    #[test]
    fn a_qr_is_read_with_and_without_its_link() {
        let text = PairUtils::make_qr_data(
            &companion(),
            "2@abc",
            wacore::companion_reg::CompanionWebClientType::Chrome,
        );
        for text in [text.clone(), format!("https://wa.me/settings/linked_devices#{text}")] {
            let qr = Qr::parse(&text).expect("parses");
            assert_eq!((qr.reference.as_str(), qr.secret), ("2@abc", [7; 32]));
        }
        assert_eq!(Qr::parse("a,b").err(), Some(QrError::Fields(2)));
        assert_eq!(Qr::parse("r,AAAA,AAAA,AAAA").err(), Some(QrError::Key("2 (noise key)")));
    }
}
