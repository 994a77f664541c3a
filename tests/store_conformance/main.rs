//! The same cases against our store and against whatsapp-rust's in-memory one: what the client may expect of either.
//!
//! Ours is tested as the account in the middle of three, with the other two full of rows under the same names, which
//! must be the same afterwards. What only ours promises (other accounts, another process later, wiping) is at the end.
//!
//! Where the in-memory store of 0.7.0 differs, no common case relies on it:
//! - it does not keep whether a prekey was uploaded, so only that a used one stays gone can be seen;
//! - `put_lid_mapping` that moves a LID to another number forgets the old number even if another LID has taken it over
//!   in the meantime (see `ours::a_number_taken_over_stays_with_its_new_lid`);
//! - its `create` counts up with every call, ours returns the account's id;
//! - with too many sent messages it drops a quarter at once, by their second; ours drops the oldest.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers included")]

use kurir::store::{AccountStore, Store, StoreOptions};
use redb::backends::InMemoryBackend as MemoryDisk;
use wacore::appstate::hash::HashState;
use wacore::appstate::processor::AppStateMutationMAC;
use wacore::store::traits::{
    AppStateSyncKey, AppSyncStore, DeviceInfo, DeviceListRecord, DeviceStore, LidPnMappingEntry,
    MsgSecretEntry, MsgSecretStore, ProtocolStore, SignalStore, TcTokenEntry,
};
use wacore::store::{Device, InMemoryBackend};

mod cases;
mod ours;

const ALICE: &str = "100@s.whatsapp.net";
const ALICE_1: &str = "100:1@s.whatsapp.net";
const BOB: &str = "200@lid";
const GROUP: &str = "1203@g.us";

fn mac(index: u8, value: u8) -> AppStateMutationMAC {
    AppStateMutationMAC { index_mac: vec![index; 32], value_mac: vec![value; 32] }
}

fn sync_key(data: u8) -> AppStateSyncKey {
    AppStateSyncKey { key_data: vec![data; 32], fingerprint: vec![1, 2, data], timestamp: i64::from(data) }
}

fn lid(lid: &str, phone: &str, at: i64) -> LidPnMappingEntry {
    LidPnMappingEntry {
        lid: lid.to_owned(),
        phone_number: phone.to_owned(),
        created_at: at,
        updated_at: at + 1,
        learning_source: "usync".to_owned(),
    }
}

fn devices(user: &str, ids: &[u32]) -> DeviceListRecord {
    DeviceListRecord {
        user: user.to_owned(),
        devices: ids.iter().map(|id| DeviceInfo::new(*id, Some(id + 1)).with_hosting(id % 2 == 1)).collect(),
        timestamp: 1_700_000_000,
        phash: Some("2:abc".to_owned()),
        raw_id: Some(7),
    }
}

fn token(bytes: &[u8], at: i64, sender: Option<i64>) -> TcTokenEntry {
    TcTokenEntry { token: bytes.to_vec(), token_timestamp: at, sender_timestamp: sender }
}

fn secret(id: &str, byte: u8, expires_at: i64, message_ts: i64) -> MsgSecretEntry {
    MsgSecretEntry {
        chat: GROUP.into(),
        sender: ALICE.into(),
        msg_id: id.into(),
        secret: [byte; 32],
        expires_at,
        message_ts,
    }
}

/// Types without `PartialEq` are compared by what they serialise to.
fn same<T: serde::Serialize>(one: &T, other: &T) {
    assert_eq!(serde_json::to_value(one).unwrap(), serde_json::to_value(other).unwrap());
}

fn sorted<T: Ord>(mut rows: Vec<T>) -> Vec<T> {
    rows.sort();
    rows
}

macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        mod in_memory {
            $(#[tokio::test] async fn $case() { super::cases::$case(&super::InMemoryBackend::new()).await; })*
        }
        mod kurir_store {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $case() {
                let three = super::Three::new().await;
                super::cases::$case(&three.middle).await;
                three.check_neighbours().await;
            })*
        }
    };
}

cases! {
    identities, sessions, signal_state_for_user, prekeys, signed_prekeys, sender_keys, sync_keys, app_state_versions,
    mutation_macs, sender_key_devices, lid_mappings, base_keys, device_lists, groups, tc_tokens,
    tc_tokens_expire_when_both_sides_have, tc_token_writers_keep_to_their_own_field, sent_messages,
    a_sent_message_is_taken_once, sent_messages_expire, sent_messages_are_bounded, pending_inbound, msg_secrets,
    msg_secrets_expire, device, names_of_any_kind,
}

/// Three accounts in one store, the outer two full.
struct Three {
    first: AccountStore,
    middle: AccountStore,
    last: AccountStore,
}

impl Three {
    async fn new() -> Self {
        let store = Store::open_with(MemoryDisk::new(), &StoreOptions::default()).unwrap();
        let first = store.create_account().await.unwrap();
        let middle = store.create_account().await.unwrap();
        let last = store.create_account().await.unwrap();
        fill(&first, 1).await;
        fill(&last, 3).await;
        Self { first, middle, last }
    }

    async fn check_neighbours(&self) {
        check_filled(&self.first, 1).await;
        check_filled(&self.last, 3).await;
    }
}

fn filled_device(seed: u8) -> Device {
    let mut device = Device::new();
    device.push_name = format!("device {seed}");
    device.registration_id = u32::from(seed);
    device
}

/// A row in every table, under the names that the cases use.
async fn fill(b: &AccountStore, seed: u8) {
    let seeds = u64::from(seed);
    b.save(&filled_device(seed)).await.unwrap();
    b.put_identity(ALICE, [seed; 32]).await.unwrap();
    b.put_session(ALICE, &[seed]).await.unwrap();
    b.store_prekey(1, &[seed], true).await.unwrap();
    b.store_signed_prekey(1, &[seed]).await.unwrap();
    b.put_sender_key("other", &[seed]).await.unwrap();
    b.set_sync_key(b"k2", sync_key(seed)).await.unwrap();
    b.set_version("regular", HashState { version: seeds, ..HashState::default() }).await.unwrap();
    b.put_mutation_macs("regular", 1, &[mac(1, seed)]).await.unwrap();
    b.set_sender_key_status(GROUP, &[(ALICE, seed > 1)]).await.unwrap();
    b.put_lid_mapping(&lid("L1", "100", i64::from(seed))).await.unwrap();
    b.save_base_key(ALICE, "M1", &[seed]).await.unwrap();
    b.update_device_list(devices("100", &[u32::from(seed)])).await.unwrap();
    b.put_group_metadata(GROUP, &[seed]).await.unwrap();
    b.put_tc_token(BOB, &token(&[seed], 50, None)).await.unwrap();
    b.store_sent_message(GROUP, "M1", &[seed]).await.unwrap();
    b.store_pending_inbound(GROUP, ALICE, "M", &[seed]).await.unwrap();
    b.put_msg_secrets(vec![secret("M", seed, 95, 9), secret("never", seed, 0, 9)]).await.unwrap();
}

async fn check_filled(b: &AccountStore, seed: u8) {
    let name = format!("account {}", b.id());
    let one = Some(vec![seed]);
    assert_eq!(b.load().await.unwrap().unwrap().push_name, format!("device {seed}"), "{name}");
    assert_eq!(b.load_identity(ALICE).await.unwrap(), Some([seed; 32]), "{name}");
    assert_eq!(b.get_session(ALICE).await.unwrap().map(|row| row.to_vec()), one, "{name}");
    assert_eq!(b.load_prekey(1).await.unwrap().map(|row| row.to_vec()), one, "{name}");
    assert_eq!(b.get_max_prekey_id().await.unwrap(), 1, "{name}");
    assert_eq!(b.load_all_signed_prekeys().await.unwrap(), [(1, vec![seed])], "{name}");
    assert_eq!(b.get_sender_key("other").await.unwrap(), one, "{name}");
    assert_eq!(b.get_sync_key(b"k2").await.unwrap().unwrap().key_data, [seed; 32], "{name}");
    assert_eq!(b.get_latest_sync_key_id().await.unwrap(), Some(b"k2".to_vec()), "{name}");
    assert_eq!(b.get_version("regular").await.unwrap().version, u64::from(seed), "{name}");
    assert_eq!(b.get_mutation_mac("regular", &[1; 32]).await.unwrap(), Some(vec![seed; 32]), "{name}");
    assert_eq!(b.get_sender_key_devices(GROUP).await.unwrap(), [(ALICE.to_owned(), seed > 1)], "{name}");
    assert_eq!(b.get_pn_mapping("100").await.unwrap().unwrap().created_at, i64::from(seed), "{name}");
    assert_eq!(b.get_all_lid_mappings().await.unwrap().len(), 1, "{name}");
    assert!(b.has_same_base_key(ALICE, "M1", &[seed]).await.unwrap(), "{name}");
    same(&b.get_devices("100").await.unwrap().unwrap(), &devices("100", &[u32::from(seed)]));
    assert_eq!(b.get_group_metadata(GROUP).await.unwrap(), one, "{name}");
    assert_eq!(b.get_all_tc_token_jids().await.unwrap(), [BOB], "{name}");
    assert_eq!(b.get_tc_token(BOB).await.unwrap().unwrap().token, [seed], "{name}");
    assert_eq!(b.get_pending_inbound(GROUP, ALICE, "M").await.unwrap(), one, "{name}");
    let kept = b.get_msg_secret_with_ts(GROUP, ALICE, "M").await.unwrap();
    assert_eq!(kept, Some((vec![seed; 32], 9)), "{name}");
    // Taken and put back, to look at it.
    assert_eq!(b.take_sent_message(GROUP, "M1").await.unwrap(), one, "{name}");
    b.store_sent_message(GROUP, "M1", &[seed]).await.unwrap();
}

/// The methods of whatsapp-rust 0.7's five storage traits.
const METHODS: [&str; 82] = [
    "put_identity",
    "put_identities_batch",
    "load_identity",
    "delete_identity",
    "get_session",
    "put_session",
    "put_sessions_batch",
    "delete_session",
    "has_session",
    "has_signal_state_for_user",
    "store_prekey",
    "store_prekeys_batch",
    "load_prekey",
    "load_prekeys_batch",
    "mark_prekeys_uploaded",
    "remove_prekey",
    "get_max_prekey_id",
    "store_signed_prekey",
    "load_signed_prekey",
    "load_all_signed_prekeys",
    "remove_signed_prekey",
    "put_sender_key",
    "put_sender_keys_batch",
    "get_sender_key",
    "delete_sender_key",
    "get_sync_key",
    "set_sync_key",
    "get_version",
    "set_version",
    "put_mutation_macs",
    "get_mutation_mac",
    "get_mutation_macs",
    "delete_mutation_macs",
    "clear_mutation_macs",
    "get_latest_sync_key_id",
    "get_sender_key_devices",
    "set_sender_key_status",
    "clear_sender_key_devices",
    "delete_sender_key_device_rows",
    "clear_all_sender_key_devices",
    "get_lid_mapping",
    "get_pn_mapping",
    "put_lid_mapping",
    "put_lid_mappings",
    "get_all_lid_mappings",
    "save_base_key",
    "has_same_base_key",
    "delete_base_key",
    "update_device_list",
    "update_device_lists",
    "get_devices",
    "delete_devices",
    "get_group_metadata",
    "put_group_metadata",
    "delete_group_metadata",
    "get_tc_token",
    "put_tc_token",
    "delete_tc_token",
    "get_all_tc_token_jids",
    "delete_expired_tc_tokens",
    "touch_tc_token_sender_timestamp",
    "store_received_tc_token",
    "store_sent_message",
    "take_sent_message",
    "delete_expired_sent_messages",
    "store_pending_inbound",
    "get_pending_inbound",
    "delete_pending_inbound",
    "delete_expired_pending_inbound",
    "store_pending_inbound_batch",
    "delete_pending_inbound_batch",
    "save",
    "load",
    "exists",
    "create",
    "snapshot_db",
    "resource_report",
    "put_msg_secret",
    "put_msg_secrets",
    "get_msg_secret",
    "get_msg_secret_with_ts",
    "delete_expired_msg_secrets",
];

#[test]
fn every_method_has_a_case() {
    let cases = concat!(include_str!("cases.rs"), include_str!("main.rs"));
    for method in METHODS {
        // With the call's dot, so that the list itself does not count.
        assert!(cases.contains(&format!("b.{method}(")), "{method} is not tested");
    }
}
