//! Reading the votes of a poll. Pure.

use wacore::poll::{PollVoteCiphertext, compute_option_hash, decrypt_poll_vote_with_secret};
use waproto::whatsapp as wa;

use super::content::Vote;
use crate::inbox::{PollSecret, PollVote};

/// Most options that one vote may name.
const MAX_CHOSEN: usize = 64;

/// The secret that a poll brought for its voters.
pub(super) fn secret(message: &wa::Message) -> Option<&[u8]> {
    let context = message.message_context_info.as_option();
    let inner =
        || message.device_sent_message.as_option()?.message.as_option()?.message_context_info.as_option();
    context.or_else(inner)?.message_secret.as_deref()
}

/// The hashes of what was chosen. Both JIDs are part of the key, and either side may have used a phone number or a LID,
/// so each pair is tried: two by three at most.
pub(super) fn open(
    vote: &Vote,
    secret: &[u8],
    creators: &[String],
    voters: &[String],
) -> Option<Vec<Vec<u8>>> {
    let ciphertext = PollVoteCiphertext { enc_payload: &vote.payload, enc_iv: &vote.iv };
    let mut tried: Vec<(&str, &str)> = Vec::new();
    for poll_creator_jid in creators {
        for voter_jid in voters {
            if tried.contains(&(poll_creator_jid, voter_jid)) {
                continue;
            }
            tried.push((poll_creator_jid, voter_jid));
            let opened =
                decrypt_poll_vote_with_secret(ciphertext, secret, &vote.poll_id, poll_creator_jid, voter_jid);
            if let Ok(chosen) = opened {
                return Some(chosen);
            }
        }
    }
    None
}

/// The vote with names instead of hashes.
pub(super) fn read(poll_id: &str, poll: Option<&PollSecret>, chosen: Option<Vec<Vec<u8>>>) -> PollVote {
    let mut vote = PollVote {
        poll_id: poll_id.to_owned(),
        poll_name: poll.map(|poll| poll.name.clone()),
        undecrypted: chosen.is_none(),
        ..PollVote::default()
    };
    for hash in chosen.unwrap_or_default().into_iter().take(MAX_CHOSEN) {
        let options = poll.map(|poll| poll.options.as_slice()).unwrap_or_default();
        match options.iter().find(|name| compute_option_hash(name).as_slice() == hash) {
            Some(name) => vote.options.push(name.clone()),
            None => vote.unknown_options.push(hex::encode(hash)),
        }
    }
    vote
}

#[cfg(test)]
mod tests {
    use wacore::poll::encrypt_poll_vote_with_secret;

    use super::*;

    const CREATOR: &str = "62811@s.whatsapp.net";
    const VOTER: &str = "77@lid";

    fn vote(options: &[&str]) -> Vote {
        let hashes: Vec<Vec<u8>> = options.iter().map(|name| compute_option_hash(name).to_vec()).collect();
        let (payload, iv) = encrypt_poll_vote_with_secret(&hashes, &[7; 32], "P", CREATOR, VOTER).unwrap();
        Vote { poll_id: "P".into(), creator: None, payload, iv: iv.to_vec() }
    }

    fn poll() -> PollSecret {
        PollSecret {
            name: "Makan?".into(),
            options: vec!["nasi".into(), "mie".into()],
            secret: hex::encode([7; 32]),
            creators: Vec::new(),
            at_ms: 0,
        }
    }

    #[test]
    fn a_vote_opens_under_whichever_names_it_was_made() {
        let creators = ["88@lid".to_owned(), CREATOR.to_owned()];
        let voters = ["62812@s.whatsapp.net".to_owned(), VOTER.to_owned()];
        let chosen = open(&vote(&["mie"]), &[7; 32], &creators, &voters);
        let read_back = read("P", Some(&poll()), chosen);
        assert_eq!((read_back.options, read_back.undecrypted), (vec!["mie".to_owned()], false));
        assert_eq!(open(&vote(&["mie"]), &[7; 32], &creators[..1], &voters), None);
        assert_eq!(open(&vote(&["mie"]), &[8; 32], &creators, &voters), None);
    }

    #[test]
    fn what_is_not_known_is_said_to_be_unknown() {
        let chosen = open(&vote(&["mie", "soto"]), &[7; 32], &[CREATOR.to_owned()], &[VOTER.to_owned()]);
        let read_back = read("P", Some(&poll()), chosen.clone());
        assert_eq!(read_back.options, ["mie"]);
        assert_eq!(read_back.unknown_options, [hex::encode(compute_option_hash("soto"))]);
        assert_eq!(read("P", None, chosen).unknown_options.len(), 2);
        assert!(read("P", Some(&poll()), None).undecrypted);
        let taken_back =
            read("P", Some(&poll()), open(&vote(&[]), &[7; 32], &[CREATOR.to_owned()], &[VOTER.to_owned()]));
        assert!(taken_back.options.is_empty() && !taken_back.undecrypted);
    }
}
