//! The server's side of the Noise handshake: XX, IK, and XXfallback where an IK attempt used an old server key.

use rand::rngs::StdRng;
use thiserror::Error;
use wacore_binary::consts::{NOISE_PATTERN_IK, NOISE_PATTERN_XX, NOISE_PATTERN_XXFALLBACK, WA_CONN_HEADER};
use wacore_libsignal::protocol::KeyPair;
use wacore_noise::{HandshakeError, NoiseCipher, NoiseHandshake};
use waproto::buffa::{self, Message, MessageField};
use waproto::whatsapp::cert_chain::{NoiseCertificate, noise_certificate};
use waproto::whatsapp::{self as wa, handshake_message};

/// What can go wrong while a client introduces itself.
#[derive(Debug, Error)]
pub(crate) enum NoiseError {
    #[error("handshake message does not decode: {0}")]
    Decode(#[from] buffa::DecodeError),
    #[error("handshake message has no usable {0}")]
    Missing(&'static str),
    #[error("{step}: {source}")]
    Crypto { step: &'static str, source: HandshakeError },
}

fn crypto(step: &'static str) -> impl Fn(HandshakeError) -> NoiseError {
    move |source| NoiseError::Crypto { step, source }
}

fn random() -> StdRng {
    rand::make_rng()
}

fn public(pair: &KeyPair) -> [u8; 32] {
    pair.public_key.public_key_bytes().try_into().expect("an X25519 public key is 32 bytes")
}

/// The long-lived keys of the server: the root that signs, and the static key whose certificate it signed.
pub(crate) struct ServerKeys {
    static_pair: KeyPair,
    certificates: Vec<u8>,
    root: [u8; 32],
}

impl ServerKeys {
    /// New keys under a new root.
    pub(crate) fn generate() -> Self {
        Self::under(&KeyPair::generate(&mut random()))
    }

    /// New keys and a certificate chain root → intermediate → leaf, each step signed with XEdDSA as WhatsApp's are.
    pub(crate) fn under(root: &KeyPair) -> Self {
        let mut rng = random();
        let intermediate = KeyPair::generate(&mut rng);
        let static_pair = KeyPair::generate(&mut rng);
        let mut sign = |details: noise_certificate::Details, issuer: &KeyPair| {
            let details = details.encode_to_vec();
            let signature = issuer
                .private_key
                .calculate_signature(&details, &mut rng)
                .expect("a freshly generated key can sign");
            MessageField::some(NoiseCertificate {
                details: Some(details),
                signature: Some(signature.to_vec()),
            })
        };
        let now = u64::try_from(chrono::Utc::now().timestamp()).unwrap_or_default();
        let year = 365 * 24 * 3600;
        let validity = (Some(now.saturating_sub(year)), Some(now + 10 * year));
        let chain = wa::CertChain {
            intermediate: sign(
                noise_certificate::Details {
                    serial: Some(1),
                    issuer_serial: Some(0),
                    key: Some(public(&intermediate).to_vec()),
                    not_before: validity.0,
                    not_after: validity.1,
                },
                root,
            ),
            leaf: sign(
                noise_certificate::Details {
                    serial: Some(2),
                    issuer_serial: Some(1),
                    key: Some(public(&static_pair).to_vec()),
                    not_before: validity.0,
                    not_after: validity.1,
                },
                &intermediate,
            ),
        };
        Self { certificates: chain.encode_to_vec(), root: public(root), static_pair }
    }

    /// The public key that a client must trust to accept this server.
    pub(crate) fn root(&self) -> [u8; 32] {
        self.root
    }
}

/// A finished handshake: who the client is and the keys of both directions.
pub(crate) struct Session {
    pub(crate) read: NoiseCipher,
    pub(crate) write: NoiseCipher,
    pub(crate) client_static: [u8; 32],
    pub(crate) payload: wa::ClientPayload,
}

/// What the server does after the client's first message.
pub(crate) enum Reply {
    /// Send the hello; the session stands (IK).
    Done { hello: Vec<u8>, session: Box<Session> },
    /// Send the hello and wait for the client's finish (XX, XXfallback).
    AwaitFinish { hello: Vec<u8>, pending: Box<Pending> },
}

/// An XX handshake that waits for the client's last message.
pub(crate) struct Pending {
    noise: NoiseHandshake,
    ephemeral: KeyPair,
}

/// Answers the client's first handshake message.
pub(crate) fn respond(keys: &ServerKeys, client_hello: &[u8]) -> Result<Reply, NoiseError> {
    let message = wa::HandshakeMessage::decode_from_slice(client_hello)?;
    let hello = message.client_hello.into_option().ok_or(NoiseError::Missing("client hello"))?;
    let ephemeral: [u8; 32] = hello
        .ephemeral
        .and_then(|key| key.try_into().ok())
        .ok_or(NoiseError::Missing("ephemeral key (32 bytes)"))?;
    match (hello.r#static, hello.payload) {
        (None, None) => respond_xx(keys, NOISE_PATTERN_XX, &ephemeral),
        (Some(sealed_static), Some(sealed_payload)) => {
            match respond_ik(keys, &ephemeral, &sealed_static, &sealed_payload) {
                Ok(reply) => Ok(reply),
                // The client holds the key of an earlier server: fall back, as WhatsApp does after a key change.
                Err(_) => respond_xx(keys, NOISE_PATTERN_XXFALLBACK, &ephemeral),
            }
        }
        _ => Err(NoiseError::Missing("static key together with a payload")),
    }
}

fn respond_xx(keys: &ServerKeys, pattern: &str, client_ephemeral: &[u8; 32]) -> Result<Reply, NoiseError> {
    let mut noise = NoiseHandshake::new(pattern, &WA_CONN_HEADER).map_err(crypto("start XX"))?;
    noise.authenticate(client_ephemeral);
    let ephemeral = KeyPair::generate(&mut random());
    noise.authenticate(&public(&ephemeral));
    noise
        .mix_shared_secret(ephemeral.private_key.serialize(), client_ephemeral)
        .map_err(crypto("mix ephemeral keys"))?;
    let sealed_static = noise.encrypt(&public(&keys.static_pair)).map_err(crypto("seal static key"))?;
    noise
        .mix_shared_secret(keys.static_pair.private_key.serialize(), client_ephemeral)
        .map_err(crypto("mix static key"))?;
    let sealed_chain = noise.encrypt(&keys.certificates).map_err(crypto("seal certificates"))?;
    let hello = server_hello(&ephemeral, Some(sealed_static), sealed_chain);
    Ok(Reply::AwaitFinish { hello, pending: Box::new(Pending { noise, ephemeral }) })
}

fn respond_ik(
    keys: &ServerKeys,
    client_ephemeral: &[u8; 32],
    sealed_static: &[u8],
    sealed_payload: &[u8],
) -> Result<Reply, NoiseError> {
    let mut noise = NoiseHandshake::new(NOISE_PATTERN_IK, &WA_CONN_HEADER).map_err(crypto("start IK"))?;
    noise.authenticate(&public(&keys.static_pair));
    noise.authenticate(client_ephemeral);
    noise
        .mix_shared_secret(keys.static_pair.private_key.serialize(), client_ephemeral)
        .map_err(crypto("mix client ephemeral"))?;
    let client_static = open_static(&mut noise, sealed_static)?;
    noise
        .mix_shared_secret(keys.static_pair.private_key.serialize(), &client_static)
        .map_err(crypto("mix static keys"))?;
    let payload = noise.decrypt(sealed_payload).map_err(crypto("open payload"))?;
    let payload = wa::ClientPayload::decode_from_slice(&payload)?;

    let ephemeral = KeyPair::generate(&mut random());
    noise.authenticate(&public(&ephemeral));
    noise
        .mix_shared_secret(ephemeral.private_key.serialize(), client_ephemeral)
        .map_err(crypto("mix ephemeral keys"))?;
    noise
        .mix_shared_secret(ephemeral.private_key.serialize(), &client_static)
        .map_err(crypto("mix client static"))?;
    let sealed_chain = noise.encrypt(&keys.certificates).map_err(crypto("seal certificates"))?;
    let hello = server_hello(&ephemeral, None, sealed_chain);
    Ok(Reply::Done { hello, session: Box::new(finish(noise, client_static, payload)?) })
}

impl Pending {
    /// Takes the client's finish and opens the session.
    pub(crate) fn finish(self, client_finish: &[u8]) -> Result<Session, NoiseError> {
        let Self { mut noise, ephemeral } = self;
        let message = wa::HandshakeMessage::decode_from_slice(client_finish)?;
        let last = message.client_finish.into_option().ok_or(NoiseError::Missing("client finish"))?;
        let sealed_static = last.r#static.ok_or(NoiseError::Missing("static key"))?;
        let sealed_payload = last.payload.ok_or(NoiseError::Missing("payload"))?;
        let client_static = open_static(&mut noise, &sealed_static)?;
        noise
            .mix_shared_secret(ephemeral.private_key.serialize(), &client_static)
            .map_err(crypto("mix client static"))?;
        let payload = noise.decrypt(&sealed_payload).map_err(crypto("open payload"))?;
        finish(noise, client_static, wa::ClientPayload::decode_from_slice(&payload)?)
    }
}

fn open_static(noise: &mut NoiseHandshake, sealed: &[u8]) -> Result<[u8; 32], NoiseError> {
    let opened = noise.decrypt(sealed).map_err(crypto("open client static key"))?;
    opened.try_into().map_err(|_| NoiseError::Missing("static key (32 bytes)"))
}

/// `finish` of the library names the pair as the client sees it, so the halves are swapped here.
fn finish(
    noise: NoiseHandshake,
    client_static: [u8; 32],
    payload: wa::ClientPayload,
) -> Result<Session, NoiseError> {
    let (client_writes, client_reads) = noise.finish().map_err(crypto("derive transport keys"))?;
    Ok(Session { read: client_writes, write: client_reads, client_static, payload })
}

fn server_hello(ephemeral: &KeyPair, sealed_static: Option<Vec<u8>>, sealed_payload: Vec<u8>) -> Vec<u8> {
    wa::HandshakeMessage {
        server_hello: MessageField::some(handshake_message::ServerHello {
            ephemeral: Some(public(ephemeral).to_vec()),
            r#static: sealed_static,
            payload: Some(sealed_payload),
            ..Default::default()
        }),
        ..Default::default()
    }
    .encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wacore_libsignal::protocol::PublicKey;
    use wacore_noise::{IkHandshakeState, IkServerHelloOutcome, XxFallbackHandshakeState, XxHandshakeState};

    fn payload() -> Vec<u8> {
        wa::ClientPayload { username: Some(49), ..Default::default() }.encode_to_vec()
    }

    fn talk(client: (NoiseCipher, NoiseCipher), server: &Session) {
        let sealed = client.0.encrypt_with_counter(0, b"ping").expect("seals");
        let mut opened = sealed;
        server
            .read
            .decrypt_in_place_with_counter(0, &mut opened)
            .expect("server reads what the client wrote");
        assert_eq!(opened, b"ping");
        let mut opened = server.write.encrypt_with_counter(0, b"pong").expect("seals");
        client.1.decrypt_in_place_with_counter(0, &mut opened).expect("client reads what the server wrote");
        assert_eq!(opened, b"pong");
    }

    #[test]
    fn xx_gives_both_sides_the_same_keys() {
        let keys = ServerKeys::generate();
        let client = KeyPair::generate(&mut random());
        let mut state = XxHandshakeState::new(client, payload(), &WA_CONN_HEADER).expect("starts");
        let Ok(Reply::AwaitFinish { hello, pending }) =
            respond(&keys, &state.build_client_hello().expect("hello"))
        else {
            panic!("XX waits for the client's finish")
        };
        let last = state.read_server_hello_and_build_client_finish(&hello).expect("certificates verify");
        let session = pending.finish(&last).expect("finishes");
        assert_eq!(session.payload.username, Some(49));
        let outcome = state.finish().expect("finishes");
        talk((outcome.write_cipher, outcome.read_cipher), &session);
    }

    #[test]
    fn ik_with_the_servers_key_needs_one_round_trip() {
        let keys = ServerKeys::generate();
        let client = KeyPair::generate(&mut random());
        let mut state = IkHandshakeState::new(client, public(&keys.static_pair), payload(), &WA_CONN_HEADER)
            .expect("starts");
        let Ok(Reply::Done { hello, session }) = respond(&keys, &state.build_client_hello().expect("hello"))
        else {
            panic!("IK is done at once")
        };
        let Ok(IkServerHelloOutcome::Continue(outcome)) = state.read_server_hello(&hello) else {
            panic!("the client accepts")
        };
        talk((outcome.write_cipher, outcome.read_cipher), &session);
    }

    #[test]
    fn ik_with_an_old_key_falls_back_to_xx() {
        let keys = ServerKeys::generate();
        let client = KeyPair::generate(&mut random());
        let old = public(&ServerKeys::generate().static_pair);
        let mut state = IkHandshakeState::new(client, old, payload(), &WA_CONN_HEADER).expect("starts");
        let Ok(Reply::AwaitFinish { hello, pending }) =
            respond(&keys, &state.build_client_hello().expect("hello"))
        else {
            panic!("an unknown key falls back")
        };
        let Ok(IkServerHelloOutcome::Fallback(inputs)) = state.read_server_hello(&hello) else {
            panic!("the client sees the fallback")
        };
        let mut fallback =
            XxFallbackHandshakeState::from_ik_failure(*inputs, &WA_CONN_HEADER).expect("starts fallback");
        let last = fallback.build_client_finish().expect("certificates verify");
        let session = pending.finish(&last).expect("finishes");
        let outcome = fallback.finish().expect("finishes");
        talk((outcome.write_cipher, outcome.read_cipher), &session);
    }

    #[test]
    fn the_certificate_chain_is_signed_from_the_root_down() {
        let keys = ServerKeys::generate();
        let chain = wa::CertChain::decode_from_slice(&keys.certificates).expect("decodes");
        let intermediate = chain.intermediate.into_option().expect("has an intermediate");
        let leaf = chain.leaf.into_option().expect("has a leaf");
        let verify = |key: &[u8], certificate: &NoiseCertificate| {
            PublicKey::from_djb_public_key_bytes(key).expect("is a key").verify_signature(
                certificate.details.as_deref().expect("details"),
                certificate.signature.as_deref().expect("signature"),
            )
        };
        assert!(verify(&keys.root(), &intermediate));
        let details =
            noise_certificate::Details::decode_from_slice(intermediate.details.as_deref().expect("details"))
                .expect("decodes");
        assert!(verify(details.key.as_deref().expect("key"), &leaf));
        assert!(!verify(&keys.root(), &leaf));
    }
}
