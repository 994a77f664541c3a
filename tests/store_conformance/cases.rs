//! What the client may expect of any store.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use wacore::appstate::hash::HashState;
use wacore::store::Device;
use wacore::store::traits::{Backend, DeviceListRecord, PendingInboundKey, PendingInboundRow};
use wacore::time::now_secs;

use crate::{ALICE, ALICE_1, BOB, GROUP, devices, lid, mac, same, secret, sorted, sync_key, token};

pub(crate) async fn identities(b: &dyn Backend) {
    assert_eq!(b.load_identity(ALICE).await.unwrap(), None);
    b.put_identity(ALICE, [1; 32]).await.unwrap();
    b.put_identity(ALICE, [2; 32]).await.unwrap();
    b.put_identities_batch(&[(ALICE_1.into(), [3; 32]), (BOB.into(), [4; 32])]).await.unwrap();
    b.put_identities_batch(&[]).await.unwrap();
    assert_eq!(b.load_identity(ALICE).await.unwrap(), Some([2; 32]));
    assert_eq!(b.load_identity(ALICE_1).await.unwrap(), Some([3; 32]));
    b.delete_identity(ALICE).await.unwrap();
    b.delete_identity("nobody").await.unwrap();
    assert_eq!(b.load_identity(ALICE).await.unwrap(), None);
    assert_eq!(b.load_identity(BOB).await.unwrap(), Some([4; 32]));
}

pub(crate) async fn sessions(b: &dyn Backend) {
    assert_eq!(b.get_session(ALICE).await.unwrap(), None);
    assert!(!b.has_session(ALICE).await.unwrap());
    b.put_session(ALICE, b"one").await.unwrap();
    assert!(b.has_session(ALICE).await.unwrap());
    let long = Bytes::from(vec![9; 20_000]);
    b.put_sessions_batch(&[(ALICE.into(), Bytes::from_static(b"two")), (BOB.into(), long.clone())])
        .await
        .unwrap();
    b.put_sessions_batch(&[]).await.unwrap();
    assert_eq!(b.get_session(ALICE).await.unwrap().as_deref(), Some(&b"two"[..]));
    assert_eq!(b.get_session(BOB).await.unwrap(), Some(long));
    b.put_session(ALICE_1, b"").await.unwrap();
    assert_eq!(b.get_session(ALICE_1).await.unwrap().as_deref(), Some(&b""[..]));
    b.delete_session(ALICE).await.unwrap();
    b.delete_session("nobody").await.unwrap();
    assert_eq!(b.get_session(ALICE).await.unwrap(), None);
    assert!(b.has_session(ALICE_1).await.unwrap());
}

pub(crate) async fn signal_state_for_user(b: &dyn Backend) {
    assert!(!b.has_signal_state_for_user("100").await.unwrap());
    // Users that the one asked for is the beginning or the end of.
    b.put_session("1001@s.whatsapp.net", b"s").await.unwrap();
    b.put_identity("9100:2@s.whatsapp.net", [0; 32]).await.unwrap();
    assert!(!b.has_signal_state_for_user("100").await.unwrap());
    b.put_session(ALICE, b"s").await.unwrap();
    assert!(b.has_signal_state_for_user("100").await.unwrap());
    b.delete_session(ALICE).await.unwrap();
    assert!(!b.has_signal_state_for_user("100").await.unwrap());
    b.put_identity(ALICE_1, [0; 32]).await.unwrap();
    assert!(b.has_signal_state_for_user("100").await.unwrap());
}

pub(crate) async fn prekeys(b: &dyn Backend) {
    assert_eq!(b.get_max_prekey_id().await.unwrap(), 0);
    assert_eq!(b.load_prekey(1).await.unwrap(), None);
    b.store_prekey(1, b"one", false).await.unwrap();
    b.store_prekeys_batch(&[(256, Bytes::from_static(b"256")), (3, Bytes::from_static(b"three"))], false)
        .await
        .unwrap();
    b.store_prekeys_batch(&[], true).await.unwrap();
    assert_eq!(b.get_max_prekey_id().await.unwrap(), 256);
    assert_eq!(b.load_prekey(1).await.unwrap().as_deref(), Some(&b"one"[..]));
    let mut some = b.load_prekeys_batch(&[3, 4, 256]).await.unwrap();
    some.sort_by_key(|(id, _)| *id);
    assert_eq!(some, [(3, Bytes::from_static(b"three")), (256, Bytes::from_static(b"256"))]);

    b.remove_prekey(3).await.unwrap();
    b.remove_prekey(4).await.unwrap();
    // 3 was used up while its upload was under way, 4 was never there.
    b.mark_prekeys_uploaded(&[1, 3, 4]).await.unwrap();
    assert_eq!(b.load_prekey(3).await.unwrap(), None);
    assert_eq!(b.load_prekey(4).await.unwrap(), None);
    assert_eq!(b.load_prekey(1).await.unwrap().as_deref(), Some(&b"one"[..]));
    b.store_prekey(1, b"again", true).await.unwrap();
    assert_eq!(b.load_prekey(1).await.unwrap().as_deref(), Some(&b"again"[..]));
    b.store_prekey(u32::MAX, b"last", true).await.unwrap();
    assert_eq!(b.get_max_prekey_id().await.unwrap(), u32::MAX);
    b.remove_prekey(u32::MAX).await.unwrap();
    assert_eq!(b.get_max_prekey_id().await.unwrap(), 256);
}

pub(crate) async fn signed_prekeys(b: &dyn Backend) {
    assert!(b.load_all_signed_prekeys().await.unwrap().is_empty());
    b.store_signed_prekey(2, b"two").await.unwrap();
    b.store_signed_prekey(1, b"one").await.unwrap();
    assert_eq!(b.load_signed_prekey(2).await.unwrap().as_deref(), Some(&b"two"[..]));
    assert_eq!(b.load_signed_prekey(3).await.unwrap(), None);
    assert_eq!(
        sorted(b.load_all_signed_prekeys().await.unwrap()),
        [(1, b"one".to_vec()), (2, b"two".to_vec())]
    );
    b.remove_signed_prekey(2).await.unwrap();
    assert_eq!(b.load_signed_prekey(2).await.unwrap(), None);
    assert_eq!(b.load_all_signed_prekeys().await.unwrap().len(), 1);
}

pub(crate) async fn sender_keys(b: &dyn Backend) {
    let name = format!("{GROUP}::{ALICE_1}");
    assert_eq!(b.get_sender_key(&name).await.unwrap(), None);
    b.put_sender_key(&name, b"one").await.unwrap();
    b.put_sender_keys_batch(&[
        (name.as_str().into(), Bytes::from_static(b"two")),
        ("other".into(), Bytes::from_static(b"o")),
    ])
    .await
    .unwrap();
    b.put_sender_keys_batch(&[]).await.unwrap();
    assert_eq!(b.get_sender_key(&name).await.unwrap().as_deref(), Some(&b"two"[..]));
    b.delete_sender_key(&name).await.unwrap();
    assert_eq!(b.get_sender_key(&name).await.unwrap(), None);
    assert_eq!(b.get_sender_key("other").await.unwrap().as_deref(), Some(&b"o"[..]));
}

pub(crate) async fn sync_keys(b: &dyn Backend) {
    assert!(b.get_sync_key(b"k").await.unwrap().is_none());
    assert_eq!(b.get_latest_sync_key_id().await.unwrap(), None);
    b.set_sync_key(b"k2", sync_key(2)).await.unwrap();
    b.set_sync_key(&[0, 0, 1], sync_key(1)).await.unwrap();
    // The latest is the one stored last, not the highest.
    assert_eq!(b.get_latest_sync_key_id().await.unwrap(), Some(vec![0, 0, 1]));
    same(&b.get_sync_key(b"k2").await.unwrap().unwrap(), &sync_key(2));
    b.set_sync_key(b"k2", sync_key(3)).await.unwrap();
    same(&b.get_sync_key(b"k2").await.unwrap().unwrap(), &sync_key(3));
    assert_eq!(b.get_latest_sync_key_id().await.unwrap(), Some(b"k2".to_vec()));
}

pub(crate) async fn app_state_versions(b: &dyn Backend) {
    same(&b.get_version("regular").await.unwrap(), &HashState::default());
    let state = HashState {
        version: 12,
        hash: [0xA5; 128],
        index_value_map: HashMap::from([("aGk=".to_owned(), vec![1, 2, 3])]),
        mac_mismatch_fatal: true,
    };
    b.set_version("regular", state.clone()).await.unwrap();
    same(&b.get_version("regular").await.unwrap(), &state);
    same(&b.get_version("regular_low").await.unwrap(), &HashState::default());
}

pub(crate) async fn mutation_macs(b: &dyn Backend) {
    b.put_mutation_macs("regular", 1, &[mac(1, 10), mac(2, 20), mac(0, 30)]).await.unwrap();
    b.put_mutation_macs("regular_low", 1, &[mac(1, 11)]).await.unwrap();
    b.put_mutation_macs("regular", 2, &[mac(1, 12)]).await.unwrap();
    b.put_mutation_macs("regular", 3, &[]).await.unwrap();
    assert_eq!(b.get_mutation_mac("regular", &[1; 32]).await.unwrap(), Some(vec![12; 32]));
    assert_eq!(b.get_mutation_mac("regular", &[3; 32]).await.unwrap(), None);
    let some = b.get_mutation_macs("regular", &[[1; 32], [0; 32], [9; 32]]).await.unwrap();
    assert_eq!(some, HashMap::from([([1; 32], vec![12; 32]), ([0; 32], vec![30; 32])]));
    b.delete_mutation_macs("regular", &[vec![1; 32], vec![9; 32]]).await.unwrap();
    assert_eq!(b.get_mutation_mac("regular", &[1; 32]).await.unwrap(), None);
    assert_eq!(b.get_mutation_mac("regular", &[2; 32]).await.unwrap(), Some(vec![20; 32]));
    b.clear_mutation_macs("regular").await.unwrap();
    b.clear_mutation_macs("never seen").await.unwrap();
    assert_eq!(b.get_mutation_mac("regular", &[2; 32]).await.unwrap(), None);
    // `regular` is the beginning of this one's name.
    assert_eq!(b.get_mutation_mac("regular_low", &[1; 32]).await.unwrap(), Some(vec![11; 32]));
}

pub(crate) async fn sender_key_devices(b: &dyn Backend) {
    let other = "1203999@g.us";
    let of = async |group: &str| sorted(b.get_sender_key_devices(group).await.unwrap());
    assert!(of(GROUP).await.is_empty());
    b.set_sender_key_status(GROUP, &[(ALICE, true), (ALICE_1, true), (BOB, false)]).await.unwrap();
    b.set_sender_key_status(other, &[(ALICE, true), (BOB, true)]).await.unwrap();
    b.set_sender_key_status(GROUP, &[(ALICE, false)]).await.unwrap();
    b.set_sender_key_status(GROUP, &[]).await.unwrap();
    let rows = |rows: &[(&str, bool)]| -> Vec<(String, bool)> {
        sorted(rows.iter().map(|(jid, has)| ((*jid).to_owned(), *has)).collect())
    };
    assert_eq!(of(GROUP).await, rows(&[(ALICE, false), (ALICE_1, true), (BOB, false)]));
    b.delete_sender_key_device_rows(&[]).await.unwrap();
    b.delete_sender_key_device_rows(&[ALICE, "nobody"]).await.unwrap();
    assert_eq!(of(GROUP).await, rows(&[(ALICE_1, true), (BOB, false)]));
    assert_eq!(of(other).await, rows(&[(BOB, true)]));
    b.clear_sender_key_devices(GROUP).await.unwrap();
    assert!(of(GROUP).await.is_empty());
    assert_eq!(of(other).await, rows(&[(BOB, true)]));
    b.set_sender_key_status(GROUP, &[(ALICE, true)]).await.unwrap();
    b.clear_all_sender_key_devices().await.unwrap();
    assert!(of(GROUP).await.is_empty());
    assert!(of(other).await.is_empty());
}

pub(crate) async fn lid_mappings(b: &dyn Backend) {
    assert!(b.get_lid_mapping("L1").await.unwrap().is_none());
    assert!(b.get_pn_mapping("100").await.unwrap().is_none());
    b.put_lid_mapping(&lid("L1", "100", 5)).await.unwrap();
    same(&b.get_lid_mapping("L1").await.unwrap().unwrap(), &lid("L1", "100", 5));
    same(&b.get_pn_mapping("100").await.unwrap().unwrap(), &lid("L1", "100", 5));
    // The number moves to another LID: it leads to the latest.
    b.put_lid_mappings(&[lid("L2", "200", 6), lid("L3", "100", 7)]).await.unwrap();
    b.put_lid_mappings(&[]).await.unwrap();
    same(&b.get_pn_mapping("100").await.unwrap().unwrap(), &lid("L3", "100", 7));
    same(&b.get_lid_mapping("L1").await.unwrap().unwrap(), &lid("L1", "100", 5));
    // The LID moves to another number: the old one leads nowhere.
    b.put_lid_mapping(&lid("L2", "201", 8)).await.unwrap();
    assert!(b.get_pn_mapping("200").await.unwrap().is_none());
    same(&b.get_pn_mapping("201").await.unwrap().unwrap(), &lid("L2", "201", 8));
    let mut all: Vec<_> = b
        .get_all_lid_mappings()
        .await
        .unwrap()
        .into_iter()
        .map(|entry| (entry.lid, entry.phone_number))
        .collect();
    all.sort();
    let expected = [("L1", "100"), ("L2", "201"), ("L3", "100")];
    assert_eq!(all, expected.map(|(lid, phone)| (lid.to_owned(), phone.to_owned())));
}

pub(crate) async fn base_keys(b: &dyn Backend) {
    assert!(!b.has_same_base_key(ALICE, "M1", b"key").await.unwrap());
    b.save_base_key(ALICE, "M1", b"key").await.unwrap();
    assert!(b.has_same_base_key(ALICE, "M1", b"key").await.unwrap());
    assert!(!b.has_same_base_key(ALICE, "M1", b"other").await.unwrap());
    assert!(!b.has_same_base_key(ALICE, "M2", b"key").await.unwrap());
    assert!(!b.has_same_base_key(BOB, "M1", b"key").await.unwrap());
    b.save_base_key(ALICE, "M1", b"other").await.unwrap();
    assert!(b.has_same_base_key(ALICE, "M1", b"other").await.unwrap());
    b.delete_base_key(ALICE, "M1").await.unwrap();
    b.delete_base_key(ALICE, "M1").await.unwrap();
    assert!(!b.has_same_base_key(ALICE, "M1", b"other").await.unwrap());
}

pub(crate) async fn device_lists(b: &dyn Backend) {
    assert!(b.get_devices("100").await.unwrap().is_none());
    b.update_device_list(devices("100", &[0])).await.unwrap();
    b.update_device_lists(vec![devices("100", &[0, 1]), devices("200", &[])]).await.unwrap();
    b.update_device_lists(Vec::new()).await.unwrap();
    same(&b.get_devices("100").await.unwrap().unwrap(), &devices("100", &[0, 1]));
    same(&b.get_devices("200").await.unwrap().unwrap(), &devices("200", &[]));
    let bare = DeviceListRecord { phash: None, raw_id: None, ..devices("300", &[4]) };
    b.update_device_list(bare.clone()).await.unwrap();
    same(&b.get_devices("300").await.unwrap().unwrap(), &bare);
    b.delete_devices("100").await.unwrap();
    b.delete_devices("nobody").await.unwrap();
    assert!(b.get_devices("100").await.unwrap().is_none());
    assert!(b.get_devices("200").await.unwrap().is_some());
}

pub(crate) async fn groups(b: &dyn Backend) {
    assert_eq!(b.get_group_metadata(GROUP).await.unwrap(), None);
    b.put_group_metadata(GROUP, b"one").await.unwrap();
    b.put_group_metadata(GROUP, b"two").await.unwrap();
    assert_eq!(b.get_group_metadata(GROUP).await.unwrap().as_deref(), Some(&b"two"[..]));
    b.delete_group_metadata(GROUP).await.unwrap();
    b.delete_group_metadata(GROUP).await.unwrap();
    assert_eq!(b.get_group_metadata(GROUP).await.unwrap(), None);
}

pub(crate) async fn tc_tokens(b: &dyn Backend) {
    assert!(b.get_tc_token(BOB).await.unwrap().is_none());
    b.put_tc_token(BOB, &token(b"t", 50, None)).await.unwrap();
    same(&b.get_tc_token(BOB).await.unwrap().unwrap(), &token(b"t", 50, None));
    b.put_tc_token(BOB, &token(b"u", 60, Some(-1))).await.unwrap();
    same(&b.get_tc_token(BOB).await.unwrap().unwrap(), &token(b"u", 60, Some(-1)));
    b.put_tc_token("3@lid", &token(b"", 0, Some(0))).await.unwrap();
    assert_eq!(sorted(b.get_all_tc_token_jids().await.unwrap()), [BOB, "3@lid"]);
    b.delete_tc_token(BOB).await.unwrap();
    b.delete_tc_token("nobody").await.unwrap();
    assert_eq!(b.get_all_tc_token_jids().await.unwrap(), ["3@lid"]);
}

pub(crate) async fn tc_tokens_expire_when_both_sides_have(b: &dyn Backend) {
    let rows = [
        ("fresh@lid", token(b"t", 100, None)),
        ("old@lid", token(b"t", 99, None)),
        ("old-token-fresh-sender@lid", token(b"t", 1, Some(200))),
        ("old-both@lid", token(b"t", 1, Some(199))),
        ("placeholder-fresh@lid", token(b"", 100, Some(200))),
        ("placeholder-old@lid", token(b"", 100, Some(199))),
        ("placeholder-without-sender@lid", token(b"", 100, None)),
    ];
    for (jid, entry) in &rows {
        b.put_tc_token(jid, entry).await.unwrap();
    }
    assert_eq!(b.delete_expired_tc_tokens(0, 0).await.unwrap(), 1, "the one with neither token nor sender");
    assert_eq!(b.delete_expired_tc_tokens(100, 200).await.unwrap(), 3);
    assert_eq!(
        sorted(b.get_all_tc_token_jids().await.unwrap()),
        ["fresh@lid", "old-token-fresh-sender@lid", "placeholder-fresh@lid"]
    );
    assert_eq!(b.delete_expired_tc_tokens(100, 200).await.unwrap(), 0);
}

pub(crate) async fn tc_token_writers_keep_to_their_own_field(b: &dyn Backend) {
    let read = async || b.get_tc_token(BOB).await.unwrap().unwrap();
    b.touch_tc_token_sender_timestamp(BOB, 1000).await.unwrap();
    same(&read().await, &token(b"", 1000, Some(1000)));
    // A placeholder gives way to a token, even to one with an earlier time.
    b.store_received_tc_token(BOB, b"real", 900).await.unwrap();
    same(&read().await, &token(b"real", 900, Some(1000)));
    b.touch_tc_token_sender_timestamp(BOB, 3000).await.unwrap();
    b.touch_tc_token_sender_timestamp(BOB, 2000).await.unwrap();
    same(&read().await, &token(b"real", 900, Some(3000)));
    b.store_received_tc_token(BOB, b"stale", 899).await.unwrap();
    same(&read().await, &token(b"real", 900, Some(3000)));
    b.store_received_tc_token(BOB, b"equal", 900).await.unwrap();
    same(&read().await, &token(b"equal", 900, Some(3000)));
    b.store_received_tc_token("3@lid", b"first", 5).await.unwrap();
    same(&b.get_tc_token("3@lid").await.unwrap().unwrap(), &token(b"first", 5, None));

    // Both writers at once, in any order.
    let writes = (0..20i64).map(|at| async move {
        if at % 2 == 0 {
            b.touch_tc_token_sender_timestamp("4@lid", at).await.unwrap();
        } else {
            b.store_received_tc_token("4@lid", &[at as u8], at).await.unwrap();
        }
    });
    join_all(writes).await;
    same(&b.get_tc_token("4@lid").await.unwrap().unwrap(), &token(&[19], 19, Some(18)));
}

pub(crate) async fn sent_messages(b: &dyn Backend) {
    assert_eq!(b.take_sent_message(GROUP, "M1").await.unwrap(), None);
    b.store_sent_message(GROUP, "M1", b"first").await.unwrap();
    b.store_sent_message(GROUP, "M1", b"second").await.unwrap();
    b.store_sent_message(ALICE, "M1", b"other chat").await.unwrap();
    b.store_sent_message(GROUP, "M2", b"").await.unwrap();
    assert_eq!(b.take_sent_message(GROUP, "M1").await.unwrap().as_deref(), Some(&b"second"[..]));
    assert_eq!(b.take_sent_message(GROUP, "M1").await.unwrap(), None, "taken twice");
    assert_eq!(b.take_sent_message(ALICE, "M1").await.unwrap().as_deref(), Some(&b"other chat"[..]));
    assert_eq!(b.take_sent_message(GROUP, "M2").await.unwrap().as_deref(), Some(&b""[..]));
    // Stored again after it was taken, as after a retry.
    b.store_sent_message(GROUP, "M1", b"third").await.unwrap();
    assert_eq!(b.take_sent_message(GROUP, "M1").await.unwrap().as_deref(), Some(&b"third"[..]));
}

pub(crate) async fn a_sent_message_is_taken_once(b: &dyn Backend) {
    b.store_sent_message(GROUP, "M1", b"payload").await.unwrap();
    let takers = join_all((0..16).map(|_| b.take_sent_message(GROUP, "M1"))).await;
    assert_eq!(takers.into_iter().filter(|taken| taken.as_ref().unwrap().is_some()).count(), 1);
}

pub(crate) async fn sent_messages_expire(b: &dyn Backend) {
    for id in 0..5 {
        b.store_sent_message(GROUP, &id.to_string(), b"payload").await.unwrap();
    }
    assert_eq!(b.take_sent_message(GROUP, "0").await.unwrap().as_deref(), Some(&b"payload"[..]));
    assert_eq!(b.delete_expired_sent_messages(now_secs() - 60).await.unwrap(), 0);
    assert!(b.take_sent_message(GROUP, "1").await.unwrap().is_some());
    assert_eq!(b.delete_expired_sent_messages(now_secs() + 60).await.unwrap(), 3);
    assert_eq!(b.take_sent_message(GROUP, "2").await.unwrap(), None);
    assert_eq!(b.delete_expired_sent_messages(now_secs() + 60).await.unwrap(), 0);
    b.store_sent_message(GROUP, "new", b"payload").await.unwrap();
    assert!(b.take_sent_message(GROUP, "new").await.unwrap().is_some());
}

pub(crate) async fn sent_messages_are_bounded(b: &dyn Backend) {
    for id in 0..5000 {
        b.store_sent_message(GROUP, &id.to_string(), b"payload").await.unwrap();
    }
    assert!(b.take_sent_message(GROUP, "4999").await.unwrap().is_some());
    let kept = b.delete_expired_sent_messages(now_secs() + 60).await.unwrap();
    assert!((3000..4500).contains(&kept), "{kept} were kept");
}

pub(crate) async fn pending_inbound(b: &dyn Backend) {
    assert_eq!(b.get_pending_inbound(GROUP, ALICE, "M").await.unwrap(), None);
    b.store_pending_inbound(GROUP, ALICE, "M", b"one").await.unwrap();
    b.store_pending_inbound(GROUP, ALICE, "M", b"two").await.unwrap();
    let row = |chat, sender, id, message| PendingInboundRow { chat, sender, id, message };
    b.store_pending_inbound_batch(&[row(GROUP, BOB, "M", b"bob's"), row(ALICE, ALICE, "M", b"direct")])
        .await
        .unwrap();
    b.store_pending_inbound_batch(&[]).await.unwrap();
    assert_eq!(b.get_pending_inbound(GROUP, ALICE, "M").await.unwrap().as_deref(), Some(&b"two"[..]));
    // Read, not taken.
    assert_eq!(b.get_pending_inbound(GROUP, ALICE, "M").await.unwrap().as_deref(), Some(&b"two"[..]));
    b.delete_pending_inbound(GROUP, ALICE, "M").await.unwrap();
    b.delete_pending_inbound(GROUP, ALICE, "M").await.unwrap();
    assert_eq!(b.get_pending_inbound(GROUP, ALICE, "M").await.unwrap(), None);
    assert_eq!(b.get_pending_inbound(GROUP, BOB, "M").await.unwrap().as_deref(), Some(&b"bob's"[..]));
    let key = |chat, sender, id| PendingInboundKey { chat, sender, id };
    b.delete_pending_inbound_batch(&[key(GROUP, BOB, "M"), key(GROUP, BOB, "never")]).await.unwrap();
    b.delete_pending_inbound_batch(&[]).await.unwrap();
    assert_eq!(b.get_pending_inbound(GROUP, BOB, "M").await.unwrap(), None);

    assert_eq!(b.delete_expired_pending_inbound(now_secs() - 60).await.unwrap(), 0);
    assert_eq!(b.get_pending_inbound(ALICE, ALICE, "M").await.unwrap().as_deref(), Some(&b"direct"[..]));
    assert_eq!(b.delete_expired_pending_inbound(now_secs() + 60).await.unwrap(), 1);
    assert_eq!(b.get_pending_inbound(ALICE, ALICE, "M").await.unwrap(), None);
}

pub(crate) async fn msg_secrets(b: &dyn Backend) {
    let get = async |id: &str| b.get_msg_secret_with_ts(GROUP, ALICE, id).await.unwrap();
    assert_eq!(get("M").await, None);
    b.put_msg_secret(GROUP, ALICE, "M", &[1; 32]).await.unwrap();
    assert_eq!(b.get_msg_secret(GROUP, ALICE, "M").await.unwrap(), Some(vec![1; 32]));
    assert_eq!(get("M").await, Some((vec![1; 32], 0)));
    assert_eq!(b.get_msg_secret(GROUP, BOB, "M").await.unwrap(), None);
    assert_eq!(b.get_msg_secret(ALICE, ALICE, "M").await.unwrap(), None);
    let stored = b
        .put_msg_secrets(vec![secret("M", 2, 0, 77), secret("N", 3, 500, 0), secret("M", 4, 0, 55)])
        .await
        .unwrap();
    assert_eq!(stored, 3);
    assert_eq!(b.put_msg_secrets(Vec::new()).await.unwrap(), 0);
    // The secret is the last one put, the message's time the latest known.
    assert_eq!(get("M").await, Some((vec![4; 32], 77)));
    assert_eq!(get("N").await, Some((vec![3; 32], 0)));
}

pub(crate) async fn msg_secrets_expire(b: &dyn Backend) {
    b.put_msg_secrets(vec![
        secret("never", 1, 0, 0),
        secret("at 100", 1, 100, 0),
        secret("at 101", 1, 101, 0),
        secret("shortened", 1, 200, 0),
        secret("lengthened", 1, 90, 0),
        secret("was never", 1, 0, 0),
        secret("now never", 1, 90, 0),
    ])
    .await
    .unwrap();
    // A deadline only moves away, and "never" is the farthest.
    b.put_msg_secrets(vec![
        secret("shortened", 2, 50, 0),
        secret("lengthened", 2, 300, 0),
        secret("was never", 2, 10, 0),
        secret("now never", 2, 0, 0),
    ])
    .await
    .unwrap();
    assert_eq!(b.delete_expired_msg_secrets(99).await.unwrap(), 0);
    assert_eq!(b.delete_expired_msg_secrets(100).await.unwrap(), 1);
    assert_eq!(b.get_msg_secret(GROUP, ALICE, "at 100").await.unwrap(), None);
    for id in ["never", "at 101", "shortened", "lengthened", "was never", "now never"] {
        assert!(b.get_msg_secret(GROUP, ALICE, id).await.unwrap().is_some(), "{id} is gone");
    }
    assert_eq!(b.delete_expired_msg_secrets(i64::MAX - 1).await.unwrap(), 3);
    for id in ["never", "was never", "now never"] {
        assert!(b.get_msg_secret(GROUP, ALICE, id).await.unwrap().is_some(), "{id} is gone");
    }
    assert_eq!(b.delete_expired_msg_secrets(i64::MAX).await.unwrap(), 0);
}

pub(crate) async fn device(b: &dyn Backend) {
    assert!(!b.exists().await.unwrap());
    assert!(b.load().await.unwrap().is_none());
    assert!(b.create().await.unwrap() > 0);
    assert!(b.exists().await.unwrap());
    let created = b.load().await.unwrap().unwrap();
    // Another call does not replace its keys.
    b.create().await.unwrap();
    same(&b.load().await.unwrap().unwrap(), &created);

    let mut device = Device::new();
    device.pn = Some("100:3@s.whatsapp.net".parse().unwrap());
    device.lid = Some("200:3@lid".parse().unwrap());
    device.push_name = "Kurir \u{1F4E8}".to_owned();
    device.account = Some(Arc::new(waproto::whatsapp::ADVSignedDeviceIdentity {
        details: Some(b"details".to_vec()),
        account_signature_key: Some(vec![1; 32]),
        account_signature: Some(vec![2; 64]),
        device_signature: Some(vec![3; 64]),
    }));
    device.next_pre_key_id = 813;
    device.login_counter = -4;
    device.nct_salt = Some(vec![5; 16]);
    device.lid_migrated = true;
    b.save(&device).await.unwrap();
    same(&b.load().await.unwrap().unwrap(), &device);
    b.snapshot_db("case", Some(b"extra")).await.unwrap();
    let _ = b.resource_report().await;
}

pub(crate) async fn names_of_any_kind(b: &dyn Backend) {
    let odd = ["", "@", ":", "a", "a:", "a\u{0}b", "\u{ff}\u{ff}", "名前@g.us", "a".repeat(300).leak()];
    for (index, name) in odd.iter().enumerate() {
        b.put_session(name, &[index as u8]).await.unwrap();
        b.put_group_metadata(name, &[index as u8]).await.unwrap();
        b.store_sent_message(name, name, &[index as u8]).await.unwrap();
    }
    for (index, name) in odd.iter().enumerate() {
        assert_eq!(b.get_session(name).await.unwrap().as_deref(), Some(&[index as u8][..]), "{name:?}");
        assert_eq!(b.get_group_metadata(name).await.unwrap(), Some(vec![index as u8]), "{name:?}");
        assert_eq!(b.take_sent_message(name, name).await.unwrap(), Some(vec![index as u8]), "{name:?}");
    }
}
