//! Votes in polls, as a phone makes them.
#![allow(clippy::unwrap_used, reason = "helpers of tests, outside the functions that clippy knows as tests")]

use waproto::buffa::MessageField;
use waproto::whatsapp as wa;

/// The name of a message of a phone's own chat.
pub(crate) fn key(id: &str) -> MessageField<wa::MessageKey> {
    MessageField::some(wa::MessageKey { id: Some(id.into()), ..Default::default() })
}

/// `voter` chooses `choice` in the poll that `creator` made with this secret; both are numbers.
pub(crate) fn vote(poll_id: &str, secret: &[u8], creator: &str, voter: &str, choice: &str) -> wa::Message {
    let jid = |number: &str| format!("{number}@s.whatsapp.net");
    let chosen = [wacore::poll::compute_option_hash(choice).to_vec()];
    let (payload, iv) =
        wacore::poll::encrypt_poll_vote_with_secret(&chosen, secret, poll_id, &jid(creator), &jid(voter))
            .unwrap();
    let vote = wa::message::PollUpdateMessage {
        poll_creation_message_key: key(poll_id),
        vote: MessageField::some(wa::message::PollEncValue {
            enc_payload: Some(payload),
            enc_iv: Some(iv.to_vec()),
        }),
        ..Default::default()
    };
    wa::Message { poll_update_message: MessageField::some(vote), ..Default::default() }
}
