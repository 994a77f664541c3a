//! App state: the account's settings that its devices share as encrypted patches. The phone writes the first patch; the
//! server only stores and numbers what devices send it.

use std::collections::BTreeMap;

use rand::Rng;
use wacore_appstate::hash::{HashState, generate_patch_mac};
use wacore_appstate::{encode_record, expand_app_state_keys};
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;
use waproto::buffa::{Message, MessageField};
use waproto::whatsapp::message::{
    AppStateSyncKey, AppStateSyncKeyData, AppStateSyncKeyFingerprint, AppStateSyncKeyId, AppStateSyncKeyShare,
};
use waproto::whatsapp::sync_action_value::PushNameSetting;
use waproto::whatsapp::syncd_mutation::SyncdOperation;
use waproto::whatsapp::{self as wa, SyncActionValue};

use crate::stanza::{attr, attr_u64, bytes, child, children};

/// The collections WhatsApp has.
const COLLECTIONS: [&str; 5] =
    ["critical_block", "critical_unblock_low", "regular_high", "regular", "regular_low"];
/// Patches kept per collection; WhatsApp makes snapshots before that.
const MAX_PATCHES: usize = 1_000;

/// One account's app state.
pub(crate) struct AppState {
    key_id: Vec<u8>,
    key: [u8; 32],
    made: i64,
    collections: BTreeMap<&'static str, Vec<Vec<u8>>>,
}

impl AppState {
    /// State with one entry: the account's push name.
    pub(crate) fn new(name: &str, now: i64, rng: &mut impl Rng) -> Self {
        let mut key = [0; 32];
        rng.fill_bytes(&mut key);
        let key_id = vec![0, 0, 0, 0, 0, 1];
        let mut collections: BTreeMap<_, _> = COLLECTIONS.iter().map(|name| (*name, Vec::new())).collect();
        let value = SyncActionValue {
            timestamp: Some(now.saturating_mul(1000)),
            push_name_setting: MessageField::some(PushNameSetting { name: Some(name.to_owned()) }),
            ..Default::default()
        };
        let patch = first_patch("critical_block", &key, &key_id, br#"["setting_pushName"]"#, &value, rng);
        collections.insert("critical_block", vec![patch]);
        Self { key_id, key, made: now, collections }
    }

    /// What the phone sends each linked device so that it can read the patches.
    pub(crate) fn key_share(&self) -> wa::Message {
        let key = AppStateSyncKey {
            key_id: MessageField::some(AppStateSyncKeyId { key_id: Some(self.key_id.clone()) }),
            key_data: MessageField::some(AppStateSyncKeyData {
                key_data: Some(self.key.to_vec()),
                fingerprint: MessageField::some(AppStateSyncKeyFingerprint {
                    raw_id: Some(1),
                    current_index: Some(1),
                    device_indexes: vec![0, 1],
                }),
                timestamp: Some(self.made.saturating_mul(1000)),
            }),
        };
        wa::Message {
            protocol_message: MessageField::some(wa::message::ProtocolMessage {
                r#type: Some(wa::message::protocol_message::Type::APP_STATE_SYNC_KEY_SHARE),
                app_state_sync_key_share: MessageField::some(AppStateSyncKeyShare { keys: vec![key] }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// Answers `<sync>`; the second value is the collections that the asking device changed.
    pub(crate) fn sync(&mut self, sync: &Node) -> (Node, Vec<&'static str>) {
        let mut changed = Vec::new();
        let answers: Vec<Node> = children(sync)
            .iter()
            .filter(|node| node.tag == "collection")
            .map(|node| self.collection(node, &mut changed))
            .collect();
        (NodeBuilder::new("sync").children(answers).build(), changed)
    }

    fn collection(&mut self, asked: &Node, changed: &mut Vec<&'static str>) -> Node {
        let name = attr(asked, "name").unwrap_or_default();
        let error = |code: u16, text: &str| {
            let error = NodeBuilder::new("error").attr("code", code).attr("text", text).build();
            NodeBuilder::new("collection")
                .attr("name", &*name)
                .attr("type", "error")
                .children([error])
                .build()
        };
        let Some((name, patches)) = self.collections.iter_mut().find(|(known, _)| **known == name) else {
            return error(400, "no such collection");
        };
        let have = attr_u64(asked, "version").unwrap_or(0);
        let latest = patches.len() as u64;
        if let Some(patch) = child(asked, "patch") {
            if have != latest {
                let mut conflict = error(409, "conflict");
                conflict.attrs.insert("version", latest);
                return conflict;
            }
            let Ok(mut patch) = wa::SyncdPatch::decode_from_slice(bytes(patch)) else {
                return error(400, "the patch does not decode");
            };
            if patches.len() == MAX_PATCHES {
                return error(429, "too many patches");
            }
            patch.version = MessageField::some(wa::SyncdVersion { version: Some(latest + 1) });
            patches.push(patch.encode_to_vec());
            changed.push(name);
            return NodeBuilder::new("collection").attr("name", *name).attr("version", latest + 1).build();
        }
        let missing: Vec<Node> = patches
            .iter()
            .skip(usize::try_from(have).unwrap_or(usize::MAX))
            .map(|patch| NodeBuilder::new("patch").bytes(patch.clone()).build())
            .collect();
        let mut answer = NodeBuilder::new("collection").attr("name", *name).attr("version", latest);
        if !missing.is_empty() {
            answer = answer.children([NodeBuilder::new("patches").children(missing).build()]);
        }
        answer.build()
    }
}

fn first_patch(
    collection: &str,
    key: &[u8; 32],
    key_id: &[u8],
    index: &[u8],
    value: &SyncActionValue,
    rng: &mut impl Rng,
) -> Vec<u8> {
    let keys = expand_app_state_keys(key);
    let mut iv = [0; 16];
    rng.fill_bytes(&mut iv);
    let (mutation, _) = encode_record(SyncdOperation::SET, index, value, &keys, key_id, &iv, 1);
    let mut state = HashState { version: 1, ..HashState::default() };
    let mutations = vec![mutation];
    let (_, hashed) = state.update_hash(&mutations, |_, _| Ok(None));
    hashed.expect("a single SET of a known operation can be hashed");
    let mut patch = wa::SyncdPatch {
        version: MessageField::some(wa::SyncdVersion { version: Some(1) }),
        mutations,
        snapshot_mac: Some(state.generate_snapshot_mac(collection, &keys.snapshot_mac)),
        key_id: MessageField::some(wa::KeyId { id: Some(key_id.to_vec()) }),
        ..Default::default()
    };
    patch.patch_mac = Some(generate_patch_mac(&patch, collection, &keys.patch_mac, 1));
    patch.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use wacore_appstate::process_patch;

    fn ask(name: &'static str, version: u64, patch: Option<Vec<u8>>) -> Node {
        let mut collection = NodeBuilder::new("collection").attr("name", name).attr("version", version);
        if let Some(patch) = patch {
            collection = collection.children([NodeBuilder::new("patch").bytes(patch).build()]);
        }
        NodeBuilder::new("sync").children([collection.build()]).build()
    }

    #[test]
    fn the_first_patch_verifies_and_holds_the_push_name() {
        let mut state = AppState::new("Anna", 1_700_000_000, &mut rand::rng());
        let (answer, changed) = state.sync(&ask("critical_block", 0, None));
        assert!(changed.is_empty());
        let patch = answer.get_optional_child_by_tag(&["collection", "patches", "patch"]).expect("a patch");
        let patch = wa::SyncdPatch::decode_from_slice(bytes(patch)).expect("decodes");
        let keys = Arc::new(expand_app_state_keys(&state.key));
        let mut hash = HashState::default();
        let result =
            process_patch(&patch, &mut hash, |_| Ok(Arc::clone(&keys)), |_| Ok(None), true, "critical_block")
                .expect("the MACs verify");
        let value = result.mutations[0].action_value.as_ref().expect("a value");
        assert_eq!(value.push_name_setting.name.as_deref(), Some("Anna"));
    }

    #[test]
    fn a_patch_on_an_old_version_conflicts() {
        let mut state = AppState::new("Anna", 0, &mut rand::rng());
        let patch = wa::SyncdPatch::default().encode_to_vec();
        let (_, changed) = state.sync(&ask("regular", 0, Some(patch.clone())));
        assert_eq!(changed, ["regular"]);
        let (answer, changed) = state.sync(&ask("regular", 0, Some(patch)));
        assert!(changed.is_empty());
        let error = answer.get_optional_child_by_tag(&["collection", "error"]).expect("an error");
        assert_eq!(attr(error, "code").as_deref(), Some("409"));
    }
}
