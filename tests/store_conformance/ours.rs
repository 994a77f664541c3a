//! What only our store promises: other accounts, the next process, wiping.

use kurir::store::{AccountId, Store, StoreOptions, tables};
use redb::TableHandle;
use redb::backends::InMemoryBackend as MemoryDisk;
use wacore::store::error::StoreError;
use wacore::store::traits::{DeviceStore, MsgSecretStore, ProtocolStore, SignalStore};
use wacore::time::now_secs;

use crate::{ALICE, GROUP, Three, check_filled, fill, lid};

/// How many rows each table has of the account.
fn rows_of(store: &Store, account: AccountId) -> Vec<(String, usize)> {
    store
        .read(|txn| {
            let mut counts = Vec::new();
            for table in tables::ACCOUNT_TABLES {
                let rows = txn.open_table(*table)?;
                let mut count = 0;
                for row in redb::ReadableTable::iter(&rows)? {
                    count += usize::from(row?.0.value().starts_with(&account.0.to_be_bytes()));
                }
                counts.push((table.name().to_owned(), count));
            }
            Ok(counts)
        })
        .unwrap()
}

#[tokio::test]
async fn rows_are_there_in_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kurir.redb");
    let options = StoreOptions::default();
    let store = Store::open(&path, &options).unwrap();
    let (one, two) = (store.create_account().await.unwrap(), store.create_account().await.unwrap());
    fill(&one, 1).await;
    fill(&two, 2).await;
    let ids = [one.id(), two.id()];
    // What is only deferred is written when the last handle goes.
    drop((one, two, store));
    for _ in 0..2 {
        let store = Store::open(&path, &options).unwrap();
        assert_eq!(store.accounts().unwrap(), ids);
        check_filled(&store.account(ids[0]).unwrap().unwrap(), 1).await;
        check_filled(&store.account(ids[1]).unwrap().unwrap(), 2).await;
    }
}

#[tokio::test]
async fn sent_messages_are_found_by_another_handle_and_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kurir.redb");
    let store = Store::open(&path, &StoreOptions::default()).unwrap();
    let account = store.create_account().await.unwrap();
    let id = account.id();
    for number in 0..10 {
        account.store_sent_message(GROUP, &number.to_string(), &[number]).await.unwrap();
    }
    // The handle goes while its writes are still queued; the next one must not give their places out again.
    drop(account);
    let account = store.account(id).unwrap().unwrap();
    account.store_sent_message(GROUP, "late", b"late").await.unwrap();
    assert_eq!(account.take_sent_message(GROUP, "0").await.unwrap(), Some(vec![0]));
    account.store_sent_message(GROUP, "1", b"newer").await.unwrap();
    drop((account, store));

    let store = Store::open(&path, &StoreOptions::default()).unwrap();
    let account = store.account(id).unwrap().unwrap();
    assert_eq!(account.take_sent_message(GROUP, "0").await.unwrap(), None);
    assert_eq!(account.take_sent_message(GROUP, "1").await.unwrap().as_deref(), Some(&b"newer"[..]));
    assert_eq!(account.take_sent_message(GROUP, "1").await.unwrap(), None);
    assert_eq!(account.take_sent_message(GROUP, "9").await.unwrap(), Some(vec![9]));
    assert_eq!(account.take_sent_message(GROUP, "late").await.unwrap().as_deref(), Some(&b"late"[..]));
    assert_eq!(account.delete_expired_sent_messages(now_secs() + 60).await.unwrap(), 7);
}

#[tokio::test]
async fn every_table_is_filled_and_every_row_is_wiped() {
    let three = Three::new().await;
    fill(&three.middle, 2).await;
    let store = three.middle.store().clone();
    let id = three.middle.id();
    // Also makes sure that `fill` leaves no table out.
    three.middle.take_sent_message(GROUP, "never sent").await.unwrap();
    check_filled(&three.middle, 2).await;
    store.write(|_| Ok(())).await.unwrap();
    for (table, rows) in rows_of(&store, id) {
        assert!(rows > 0, "{table} is not tested");
    }
    three.middle.wipe().await.unwrap();
    for (table, rows) in rows_of(&store, id) {
        assert_eq!(rows, 0, "{table} still has rows");
    }
    three.check_neighbours().await;
    assert!(store.account(id).unwrap().is_none());
    assert_eq!(store.accounts().unwrap(), [three.first.id(), three.last.id()]);

    // A client that has not stopped yet.
    let late = three.middle.put_session(ALICE, b"late").await;
    assert!(matches!(late, Err(StoreError::DeviceNotFound(_))), "{late:?}");
    three.middle.store_sent_message(GROUP, "late", b"late").await.unwrap();
    store.write(|_| Ok(())).await.unwrap();
    assert!(rows_of(&store, id).iter().all(|(_, rows)| *rows == 0));
    assert!(!three.middle.exists().await.unwrap());
    three.middle.wipe().await.unwrap();
}

#[tokio::test]
async fn ids_are_not_given_out_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kurir.redb");
    let store = Store::open(&path, &StoreOptions::default()).unwrap();
    let one = store.create_account().await.unwrap();
    assert_eq!(one.id(), AccountId(1));
    one.wipe().await.unwrap();
    drop((one, store));
    let store = Store::open(&path, &StoreOptions::default()).unwrap();
    assert!(store.accounts().unwrap().is_empty());
    let two = store.create_account().await.unwrap();
    assert_eq!(two.id(), AccountId(2));
    assert_eq!(two.create().await.unwrap(), 2);
}

#[tokio::test]
async fn a_number_taken_over_stays_with_its_new_lid() {
    let store = Store::open_with(MemoryDisk::new(), &StoreOptions::default()).unwrap();
    let b = store.create_account().await.unwrap();
    b.put_lid_mapping(&lid("L1", "100", 1)).await.unwrap();
    b.put_lid_mapping(&lid("L2", "100", 2)).await.unwrap();
    b.put_lid_mapping(&lid("L1", "101", 3)).await.unwrap();
    assert_eq!(b.get_pn_mapping("100").await.unwrap().unwrap().lid, "L2");
    assert_eq!(b.get_pn_mapping("101").await.unwrap().unwrap().lid, "L1");
}

#[tokio::test]
async fn a_zero_byte_inside_a_key_is_refused() {
    let store = Store::open_with(MemoryDisk::new(), &StoreOptions::default()).unwrap();
    let b = store.create_account().await.unwrap();
    // "a\0b" with "c" would be the row of "a" with "b\0c".
    let refused = b.store_pending_inbound("a\0b", "c", "id", b"m").await;
    assert!(matches!(refused, Err(StoreError::Validation(_))), "{refused:?}");
}

#[tokio::test]
async fn a_call_that_finds_nothing_to_do_costs_no_sync() {
    let store = Store::open_with(MemoryDisk::new(), &StoreOptions::default()).unwrap();
    let b = store.create_account().await.unwrap();
    let before = store.stats().syncs;
    b.delete_session(ALICE).await.unwrap();
    b.remove_prekey(1).await.unwrap();
    b.mark_prekeys_uploaded(&[1]).await.unwrap();
    b.clear_all_sender_key_devices().await.unwrap();
    b.delete_expired_sent_messages(now_secs()).await.unwrap();
    b.delete_expired_pending_inbound(now_secs()).await.unwrap();
    b.delete_expired_msg_secrets(now_secs()).await.unwrap();
    b.delete_expired_tc_tokens(now_secs(), now_secs()).await.unwrap();
    b.take_sent_message(GROUP, "M").await.unwrap();
    assert_eq!(store.stats().syncs, before);
}
