//! WhatsApp message ids that tell this box, and nobody else, which message they are.
//!
//! Acks and receipts name a message by its id. An index of random ids costs a page of its own for nearly every message
//! that is added to it, more than all else that a message writes; so the id carries the message's sequence number,
//! hidden under a mask that only the store's key makes.

use sha2::{Digest, Sha256};

use crate::ids;

/// Bytes of an id that are random, and choose the mask.
const SALT: usize = 3;
/// Bytes of an id that carry the sequence number: enough for a message each microsecond for nine years.
const NUMBER: usize = 6;
/// What WhatsApp Web's ids begin with; 18 hexadecimal digits follow.
const PREFIX: &str = "3EB0";

/// Random bytes that one id is made of.
pub(super) type Salt = [u8; SALT];

/// Makes and reads the ids of one store.
#[derive(Clone)]
pub(super) struct MessageIds {
    key: [u8; 32],
}

impl MessageIds {
    /// Ids under the key that [`MessageIds::key`] gave.
    pub(super) fn of(key: [u8; 32]) -> MessageIds {
        MessageIds { key }
    }

    /// Ids of a new store.
    pub(super) fn random() -> MessageIds {
        MessageIds::of(ids::random())
    }

    /// What has to be kept with the messages.
    pub(super) fn key(&self) -> &[u8; 32] {
        &self.key
    }

    fn mask(&self, salt: Salt) -> [u8; NUMBER] {
        let digest = Sha256::new().chain_update(self.key).chain_update(salt).finalize();
        std::array::from_fn(|index| digest[index])
    }

    /// The id of message `seq`.
    pub(super) fn make(&self, salt: Salt, seq: u64) -> String {
        let mask = self.mask(salt);
        let [_, _, number @ ..] = seq.to_be_bytes();
        let hidden: [u8; NUMBER] = std::array::from_fn(|index| number[index] ^ mask[index]);
        format!("{PREFIX}{}{}", hex::encode_upper(salt), hex::encode_upper(hidden))
    }

    /// The message that has this id, if it is one of ours at all: an id of another device gives a number that means
    /// nothing, so the message's own id has to be looked at.
    pub(super) fn seq(&self, id: &str) -> Option<u64> {
        let bytes: [u8; SALT + NUMBER] = hex::decode(id.strip_prefix(PREFIX)?).ok()?.try_into().ok()?;
        let (salt, hidden) = bytes.split_first_chunk::<SALT>()?;
        let mask = self.mask(*salt);
        let number =
            hidden.iter().zip(mask).fold(0, |number, (byte, mask)| number << 8 | u64::from(byte ^ mask));
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_gives_its_number_back_and_looks_like_whatsapps(seq in 0u64..1 << 48, salt: [u8; 3], key: [u8; 32]) {
            let ids = MessageIds::of(key);
            let id = ids.make(salt, seq);
            prop_assert_eq!(id.len(), 22);
            prop_assert!(id.starts_with("3EB0") && id.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b)));
            prop_assert_eq!(ids.seq(&id), Some(seq));
            prop_assert_ne!(MessageIds::of([key[0] ^ 1; 32]).make(salt, seq), id);
        }

        #[test]
        fn any_text_can_be_asked_for(id in ".{0,40}") {
            let _ = MessageIds::random().seq(&id);
        }
    }

    #[test]
    fn numbers_in_a_row_do_not_show() {
        let ids = MessageIds::random();
        let made: std::collections::HashSet<String> =
            (0..64).map(|seq| ids.make([seq as u8, 0, 0], seq)[10..18].to_owned()).collect();
        assert!(made.len() > 60, "the upper digits differ although the numbers' do not: {made:?}");
        assert_eq!(ids.seq("3EB0"), None);
        assert_eq!(ids.seq("A5000102030405060708"), None);
    }
}
