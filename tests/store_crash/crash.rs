//! The power goes: at every sync, at writes, while opening after it went before.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use kurir::store::{AccountStore, Store, StoreError};
use wacore::store::traits::{ProtocolStore, SignalStore};

use crate::power_cut::{Loss, PowerCut, When};
use crate::{Acked, ROWS, Random, address, check_open, options, payload, put};

/// Two sessions with the same content in one batch, which are later found to be equal or not there.
async fn put_sessions(account: &AccountStore, number: u64) -> bool {
    let record = Bytes::from(payload(number));
    let batch = [(address(number, "1"), record.clone()), (address(number, "2"), record)];
    account.put_sessions_batch(&batch).await.is_ok()
}

/// Writes in rounds of several at once until done or until the disk is gone.
async fn work(disk: &PowerCut, rounds: u64) -> Acked {
    let mut acked = Acked::default();
    let Ok(store) = Store::open_with(disk.clone(), &options()) else { return acked };
    let account = store.create_account().await;
    let account = account.ok();
    acked.account = account.as_ref().map(AccountStore::id);
    for round in 0..rounds {
        let first = round * 5;
        let writes = join_all((first..first + 5).map(|number| {
            let store = &store;
            async move {
                // Every fifth write fails, and must leave nothing and take nothing with it.
                if number % 5 == 4 {
                    let refused = store
                        .write(move |txn| {
                            txn.open_table(ROWS)?.insert(number, b"half".as_slice())?;
                            Err::<(), _>(StoreError::Refused { reason: "a test said no".to_owned() })
                        })
                        .await;
                    assert!(refused.is_err());
                    return None;
                }
                put(store, number).await.ok().map(|()| number)
            }
        }));
        let sessions = async {
            let Some(account) = &account else { return None };
            let _ = account.store_sent_message("c@g.us", &round.to_string(), b"again").await;
            Some(put_sessions(account, round).await)
        };
        let (done, kept) = tokio::join!(writes, sessions);
        acked.rows.extend(done.into_iter().flatten());
        let slot = acked.sessions.entry(round % 7).or_insert((u64::MAX, u64::MAX));
        slot.1 = round;
        if kept == Some(true) {
            slot.0 = round;
        }
        if disk.has_crashed() {
            break;
        }
    }
    acked
}

/// Opens what the crash left, and finds everything that was acknowledged, and nothing by halves.
pub(crate) async fn check(left: Vec<u8>, acked: &Acked, context: &str) -> Duration {
    let disk = PowerCut::new(left, When::Never, Loss::All, 0);
    let began = Instant::now();
    let store = Store::open_with(disk, &options()).unwrap_or_else(|error| panic!("{context}: {error}"));
    let took = began.elapsed();
    // A file on which the first commit never ended may be read whole: there is next to nothing in it.
    let nothing_yet = acked.account.is_none() && acked.rows.is_empty();
    assert!(nothing_yet || !store.stats().repaired, "{context}: the whole file had to be read");
    check_open(&store, acked, context).await;
    // And it can be worked with.
    put(&store, 1_000_000).await.unwrap_or_else(|error| panic!("{context}: {error}"));
    took
}

const ROUNDS: u64 = 8;

#[tokio::test]
async fn nothing_acknowledged_is_lost_at_any_sync() {
    let whole = PowerCut::new(Vec::new(), When::Never, Loss::All, 0);
    let acked = work(&whole, ROUNDS).await;
    assert_eq!(acked.rows.len() as u64, ROUNDS * 4);
    check(whole.left(), &acked, "closed").await;
    let (syncs, _) = whole.counts();
    assert!(syncs > 20, "{syncs} syncs are not much of a workload");
    let mut slowest = Duration::ZERO;
    let mut crashes = 0;
    for at in 0..syncs {
        for loss in [Loss::All, Loss::Some, Loss::Sectors] {
            let disk = PowerCut::new(Vec::new(), When::Sync(at), loss, at as u64);
            let acked = work(&disk, ROUNDS).await;
            crashes += usize::from(disk.has_crashed());
            let took = check(disk.left(), &acked, &format!("sync {at}, losing {loss:?}")).await;
            slowest = slowest.max(took);
        }
    }
    println!("{crashes} crashes at {syncs} sync points; slowest opening {slowest:?}");
    assert!(crashes > syncs, "only {crashes} of {} crashes happened", syncs * 3);
    assert!(slowest < Duration::from_secs(2), "an opening took {slowest:?}");
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_at_any_write() {
    let whole = PowerCut::new(Vec::new(), When::Never, Loss::All, 0);
    work(&whole, ROUNDS).await;
    let (_, writes) = whole.counts();
    let mut random = Random(20_261_121);
    for seed in 0..120 {
        let at = (random.next() % writes as u64) as usize;
        let loss = [Loss::All, Loss::Some, Loss::Sectors][(seed % 3) as usize];
        let disk = PowerCut::new(Vec::new(), When::Write(at), loss, seed);
        let acked = work(&disk, ROUNDS).await;
        check(disk.left(), &acked, &format!("write {at}, losing {loss:?}, seed {seed}")).await;
    }
}

#[tokio::test]
async fn a_crash_while_opening_after_a_crash_loses_nothing() {
    let mut random = Random(7);
    for seed in 0..12 {
        let first =
            PowerCut::new(Vec::new(), When::Sync(20 + (random.next() % 12) as usize), Loss::Sectors, seed);
        let acked = work(&first, ROUNDS).await;
        let left = first.left();
        // Opening and the first commit after it, interrupted at each sync in turn.
        for at in 0..8 {
            let second = PowerCut::new(left.clone(), When::Sync(at), Loss::Some, seed + at as u64);
            if let Ok(store) = Store::open_with(second.clone(), &options()) {
                let _ = put(&store, 2_000_000).await;
            }
            let mut acked = Acked { rows: acked.rows.clone(), account: acked.account, ..Acked::default() };
            acked.rows.sort_unstable();
            check(second.left(), &acked, &format!("seed {seed}, sync {at} of the second opening")).await;
        }
    }
}
