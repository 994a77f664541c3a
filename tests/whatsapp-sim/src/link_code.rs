//! Pairing by an 8-character code: the client shows the code, the phone's owner types it in.
//!
//! Both sides wrap an ephemeral key with a key derived from the code; what they agree on seals a bundle from which the
//! secret for the device identity is derived.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::{Duration, timeout};
use wacore::crypto::hkdf_sha256_into;
use wacore::pair_code::PairCodeUtils;
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;
use wacore_libsignal::crypto::aes_256_gcm_decrypt;
use wacore_libsignal::protocol::{KeyPair, PrivateKey, PublicKey};

use crate::error::SimError;
use crate::login::fresh_reference;
use crate::server::Server;
use crate::stanza::{SERVER, array32, attr, child_bytes, iq_error, iq_result, jid_attr};
use crate::world::{CodePairing, ConnId, Stage};

/// How long a client may take to answer once the code was typed in; WhatsApp gives a minute.
const FINISH_TIME: Duration = Duration::from_secs(60);
/// Length of a wrapped ephemeral key: salt 32, IV 16, key 32.
const WRAPPED: usize = 80;
/// The letters of a code (Crockford's alphabet without 0).
const ALPHABET: &str = "123456789ABCDEFGHJKLMNPQRSTVWXYZ";

impl Server {
    /// `link_code_companion_reg` from a client that is not paired.
    pub(crate) fn link_code(self: &Arc<Self>, conn: ConnId, iq: &Node, registration: &Node) {
        let who = "registering client";
        let stage = attr(registration, "stage").unwrap_or_default();
        let number = jid_attr(registration, "jid").map(|jid| jid.user.to_string()).unwrap_or_default();
        let wrong = |what: &str| self.counters.violation(who, format!("pairing code, {stage}: {what}"));
        let reply = match &*stage {
            "companion_hello" => {
                let wrapped = child_bytes(registration, "link_code_pairing_wrapped_companion_ephemeral_pub");
                let noise = child_bytes(registration, "companion_server_auth_key_pub");
                let mut world = self.world();
                let known = world.accounts.contains_key(number.as_str());
                let Some(Stage::Registering(client)) =
                    world.clients.get_mut(&conn).map(|client| &mut client.stage)
                else {
                    return;
                };
                if wrapped.len() != WRAPPED || noise != client.noise {
                    drop(world);
                    wrong("the wrapped key's length or the Noise key is wrong");
                    iq_error(iq, 400, "bad-request")
                } else if !known {
                    drop(world);
                    iq_error(iq, 400, "bad-request")
                } else {
                    let reference = fresh_reference();
                    client.code = Some(CodePairing {
                        number,
                        reference: reference.clone(),
                        wrapped_ephemeral: wrapped.to_vec(),
                        finish: None,
                    });
                    drop(world);
                    let reference =
                        NodeBuilder::new("link_code_pairing_ref").bytes(reference.into_bytes()).build();
                    let answer = NodeBuilder::new("link_code_companion_reg")
                        .attr("stage", "companion_hello")
                        .children([reference])
                        .build();
                    iq_result(iq, [answer])
                }
            }
            "companion_finish" => {
                let reference = child_bytes(registration, "link_code_pairing_ref");
                let mut world = self.world();
                let Some(Stage::Registering(client)) =
                    world.clients.get_mut(&conn).map(|client| &mut client.stage)
                else {
                    return;
                };
                let identity = client.identity;
                let pairing = client.code.as_mut().filter(|code| code.reference.as_bytes() == reference);
                match pairing.and_then(|code| code.finish.take()) {
                    Some(finish) if child_bytes(registration, "companion_identity_public") == identity => {
                        // Answered first: what the phone does next ends the connection.
                        world.send(conn, iq_result(iq, []));
                        drop(world);
                        // Whoever waited may have given up; the client's own timeout deals with that.
                        let _ = finish.send(registration.clone());
                        return;
                    }
                    _ => {
                        drop(world);
                        wrong("nobody waits for it, or its reference or identity is wrong");
                        iq_error(iq, 400, "bad-request")
                    }
                }
            }
            _ => {
                wrong("no such stage");
                iq_error(iq, 400, "bad-request")
            }
        };
        self.world().send(conn, reply);
    }

    /// The phone's owner types a code in.
    pub(crate) async fn pair_code(self: &Arc<Self>, number: &str, code: &str) -> Result<(), SimError> {
        let code: String =
            code.chars().filter(|c| !matches!(c, '-' | ' ')).collect::<String>().to_uppercase();
        if code.len() != 8 || !code.chars().all(|c| ALPHABET.contains(c)) {
            return Err(SimError::WrongCode(
                "a code has 8 letters and digits, none of them 0, I, O or U".to_owned(),
            ));
        }
        let phone = self.phone(number)?;
        let (conn, wrapped) = self.code_pending(number)?;
        let (companion, ephemeral, own_wrapped) = spawn_blocking(move || {
            let companion = PairCodeUtils::decrypt_primary_ephemeral_pub(&wrapped, &code);
            let ephemeral = KeyPair::generate(&mut rand::rng());
            let public = array32(ephemeral.public_key.public_key_bytes()).unwrap_or_default();
            let own_wrapped = PairCodeUtils::encrypt_ephemeral_pub(&public, &code);
            companion.map(|companion| (companion, ephemeral, own_wrapped))
        })
        .await
        .map_err(|error| SimError::WrongCode(error.to_string()))?
        .map_err(|error| SimError::WrongCode(error.to_string()))?;

        let (identity, identity_private) = {
            let state = phone.state();
            (state.signal.identity_public(), state.signal.identity_private())
        };
        let (finish, finished) = oneshot::channel();
        self.primary_hello(conn, &own_wrapped, &identity, finish).ok_or(SimError::QrExpired)?;
        let finish = match timeout(FINISH_TIME, finished).await {
            Ok(Ok(finish)) => finish,
            _ => return Err(SimError::PairingRefused("the client did not answer the code".to_owned())),
        };
        let bundle = child_bytes(&finish, "link_code_pairing_wrapped_key_bundle");
        let companion_identity =
            array32(child_bytes(&finish, "companion_identity_public")).unwrap_or_default();
        let secret =
            open_bundle(bundle, &ephemeral, &companion, &companion_identity, &identity, &identity_private)
                .map_err(|why| SimError::WrongCode(why.to_owned()))?;
        self.sign(conn, &phone, &secret).await
    }

    /// The newest connection that waits for a code for this number.
    fn code_pending(&self, number: &str) -> Result<(ConnId, Vec<u8>), SimError> {
        let world = self.world();
        let pending = world.clients.iter().filter_map(|(conn, client)| match &client.stage {
            Stage::Registering(client) => {
                let code = client.code.as_ref().filter(|code| code.number == number)?;
                Some((*conn, code.wrapped_ephemeral.clone()))
            }
            _ => None,
        });
        pending.max_by_key(|(conn, _)| *conn).ok_or_else(|| SimError::NoCodePending(number.to_owned()))
    }

    fn primary_hello(
        &self,
        conn: ConnId,
        wrapped: &[u8],
        identity: &[u8; 32],
        finish: oneshot::Sender<Node>,
    ) -> Option<()> {
        let mut world = self.world();
        let id = world.fresh_id();
        let Stage::Registering(client) = &mut world.clients.get_mut(&conn)?.stage else { return None };
        let code = client.code.as_mut()?;
        code.finish = Some(finish);
        let hello = NodeBuilder::new("link_code_companion_reg")
            .attr("stage", "primary_hello")
            .children([
                NodeBuilder::new("link_code_pairing_wrapped_primary_ephemeral_pub").bytes(wrapped).build(),
                NodeBuilder::new("primary_identity_pub").bytes(identity.to_vec()).build(),
                NodeBuilder::new("link_code_pairing_ref").bytes(code.reference.clone().into_bytes()).build(),
            ])
            .build();
        let notification = NodeBuilder::new("notification")
            .attr("from", SERVER)
            .attr("type", "link_code_companion_reg")
            .attr("id", id)
            .attr("t", Self::now())
            .children([hello])
            .build();
        world.send(conn, notification);
        Some(())
    }
}

/// Opens the client's key bundle (salt 32, IV 12, sealed: its identity, the phone's identity, 32 random bytes) and derives
/// the secret that both sides now share.
fn open_bundle(
    bundle: &[u8],
    ephemeral: &KeyPair,
    companion_ephemeral: &[u8; 32],
    companion_identity: &[u8; 32],
    identity: &[u8; 32],
    identity_private: &[u8; 32],
) -> Result<[u8; 32], &'static str> {
    const OTHER_CODE: &str = "the code typed in is not the one that the client shows";
    let (Some(salt), Some(iv), Some(sealed)) =
        (bundle.get(..32), bundle.get(32..44).and_then(|iv| iv.try_into().ok()), bundle.get(44..))
    else {
        return Err("the client's key bundle is too short");
    };
    let public = |key: &[u8; 32]| PublicKey::from_djb_public_key_bytes(key).map_err(|_| OTHER_CODE);
    let shared =
        ephemeral.private_key.calculate_agreement(&public(companion_ephemeral)?).map_err(|_| OTHER_CODE)?;
    let mut key = [0; 32];
    let info = b"link_code_pairing_key_bundle_encryption_key";
    hkdf_sha256_into(&shared, Some(salt), info, &mut key).map_err(|_| OTHER_CODE)?;
    let mut opened = Vec::with_capacity(96);
    aes_256_gcm_decrypt(&key, iv, b"", sealed, &mut opened).map_err(|_| OTHER_CODE)?;
    let (Some(theirs), Some(ours), Some(random)) = (opened.get(..32), opened.get(32..64), opened.get(64..96))
    else {
        return Err("the client's key bundle holds less than three keys");
    };
    if theirs != companion_identity || ours != identity {
        return Err("the client's key bundle is for other identities");
    }
    let private =
        PrivateKey::deserialize(identity_private).map_err(|_| "the phone's identity key is unusable")?;
    let identity_shared =
        private.calculate_agreement(&public(companion_identity)?).map_err(|_| OTHER_CODE)?;
    let mut secret = [0; 32];
    let combined = [&shared[..], &identity_shared, random].concat();
    hkdf_sha256_into(&combined, None, b"adv_secret", &mut secret).map_err(|_| OTHER_CODE)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_derive_the_same_secret() {
        let [ephemeral, companion_ephemeral, identity, companion] =
            std::array::from_fn(|_| KeyPair::generate(&mut rand::rng()));
        let public = |pair: &KeyPair| array32(pair.public_key.public_key_bytes()).expect("32 bytes");
        let (bundle, secret) = PairCodeUtils::prepare_key_bundle(
            &companion_ephemeral,
            &public(&ephemeral),
            &public(&identity),
            &companion,
        )
        .expect("the client makes its bundle");
        let open = |theirs: &KeyPair| {
            open_bundle(
                &bundle,
                &ephemeral,
                &public(theirs),
                &public(&companion),
                &public(&identity),
                identity.private_key.serialize(),
            )
        };
        assert_eq!(open(&companion_ephemeral), Ok(secret));
        assert!(open(&identity).is_err());
        assert!(open_bundle(&[0; 40], &ephemeral, &[9; 32], &[9; 32], &[9; 32], &[9; 32]).is_err());
    }
}
