use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use futures_util::future::join_all;
use redb::backends::InMemoryBackend;
use redb::{ReadableTableMetadata, TableDefinition};

use super::*;

const NUMBERS: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("numbers");

fn options() -> StoreOptions {
    StoreOptions { tables: vec![Table::of::<u64>("numbers")], ..StoreOptions::default() }
}

fn open() -> Store {
    Store::open_with(InMemoryBackend::new(), &options()).unwrap()
}

/// One that commits deferred writes with others only.
fn open_patient() -> Store {
    let options = StoreOptions { soon_delay: Duration::from_secs(3600), ..options() };
    Store::open_with(InMemoryBackend::new(), &options).unwrap()
}

async fn put(store: &Store, key: u64) -> Result<u64, StoreError> {
    store
        .write(move |txn| {
            txn.open_table(NUMBERS)?.insert(key, key.to_le_bytes().as_slice())?;
            Ok(key)
        })
        .await
}

fn count(store: &Store) -> u64 {
    store.read(|txn| Ok(txn.open_table(NUMBERS)?.len()?)).unwrap()
}

fn refused() -> StoreError {
    StoreError::Refused { reason: "a test said no".to_owned() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_is_read() {
    let store = open();
    assert_eq!(count(&store), 0);
    assert_eq!(put(&store, 7).await.unwrap(), 7);
    assert_eq!(count(&store), 1);
}

#[tokio::test]
async fn writers_that_gather_share_a_commit() {
    let store = open();
    let before = store.stats();
    // On one thread nothing runs between the pushes but the writer itself, which may take the first alone.
    let done = join_all((0..200).map(|key| put(&store, key))).await;
    assert!(done.iter().all(Result::is_ok));
    let after = store.stats();
    assert!(after.commits - before.commits < 100, "{after:?}");
    assert!(after.largest_group > 1, "{after:?}");
    assert_eq!(after.writes - before.writes, 200);
    assert_eq!(count(&store), 200);
}

/// Holds the writer inside a job until the returned sender is used, so that what follows gathers in one group.
async fn block(store: &Store) -> std::sync::mpsc::Sender<()> {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (entered, inside) = oneshot::channel();
    let mut entered = Some(entered);
    store
        .write_soon(move |_| {
            if let Some(entered) = entered.take() {
                let _ = entered.send(());
                let _ = released.recv();
            }
            Ok(())
        })
        .await
        .unwrap();
    inside.await.unwrap();
    release
}

#[tokio::test]
async fn a_failed_write_takes_nothing_with_it() {
    let store = open();
    let release = block(&store).await;
    let runs = Arc::new(AtomicUsize::new(0));
    let before = store.stats().commits;
    let (good, bad, panicking, late) = {
        let good = {
            let runs = Arc::clone(&runs);
            store.write(move |txn| {
                runs.fetch_add(1, SeqCst);
                txn.open_table(NUMBERS)?.insert(1, [].as_slice())?;
                Ok(())
            })
        };
        let bad = store.write(|txn| {
            txn.open_table(NUMBERS)?.insert(2, [].as_slice())?;
            Err::<(), _>(refused())
        });
        let panicking = store.write(|txn| -> Result<(), StoreError> {
            let mut table = txn.open_table(NUMBERS)?;
            table.insert(3, [].as_slice())?;
            panic!("a job of a test panics");
        });
        let late = put(&store, 4);
        let opener = async {
            // The four are queued once the queue says so; the last of them is polled before this.
            while store.stats().queued < 4 {
                tokio::task::yield_now().await;
            }
            release.send(()).unwrap();
        };
        let (good, bad, panicking, late, ()) = tokio::join!(good, bad, panicking, late, opener);
        (good, bad, panicking, late)
    };
    good.unwrap();
    assert!(matches!(bad, Err(StoreError::Refused { .. })), "{bad:?}");
    assert!(
        matches!(&panicking, Err(StoreError::Panicked { detail }) if detail.contains("a job of a test panics")),
        "{panicking:?}"
    );
    late.unwrap();
    assert_eq!(runs.load(SeqCst), 3, "run with each of the failing ones, then without both");
    // The blocking job's own commit, and one for the two good writes.
    assert_eq!(store.stats().commits - before, 2);
    let keys = store
        .read(|txn| {
            let table = txn.open_table(NUMBERS)?;
            let mut keys = Vec::new();
            for row in redb::ReadableTable::iter(&table)? {
                keys.push(row?.0.value());
            }
            Ok(keys)
        })
        .unwrap();
    assert_eq!(keys, [1, 4]);
}

#[tokio::test]
async fn a_group_of_many_failures_ends() {
    let store = open();
    let release = block(&store).await;
    let runs = Arc::new(AtomicUsize::new(0));
    let writes = join_all((0..128u64).map(|key| {
        let runs = Arc::clone(&runs);
        store.write(move |txn| {
            runs.fetch_add(1, SeqCst);
            txn.open_table(NUMBERS)?.insert(key, [].as_slice())?;
            if key % 2 == 1 { Err(refused()) } else { Ok(()) }
        })
    }));
    let opener = async {
        while store.stats().queued < 128 {
            tokio::task::yield_now().await;
        }
        release.send(()).unwrap();
    };
    let (results, ()) = tokio::join!(writes, opener);
    for (key, result) in results.iter().enumerate() {
        assert_eq!(result.is_ok(), key % 2 == 0, "{key}: {result:?}");
    }
    assert_eq!(count(&store), 64);
    assert!(runs.load(SeqCst) < 128 * 12, "{runs:?} runs");
}

#[tokio::test]
async fn a_deferred_write_is_committed_with_the_next() {
    let store = open_patient();
    store.write_soon(|txn| Ok(txn.open_table(NUMBERS)?.insert(1, [].as_slice()).map(drop)?)).await.unwrap();
    assert_eq!(count(&store), 0);
    put(&store, 2).await.unwrap();
    assert_eq!(count(&store), 2);
    assert_eq!(store.stats().commits, 1);
}

#[tokio::test]
async fn one_caller_does_not_wait_for_others_that_do_not_come() {
    let store = open_patient();
    // Whether the writer sleeps when the caller comes is chance, so it gets several.
    for round in 0..20 {
        join_all((0..8).map(|key| put(&store, key))).await;
        store
            .write_soon(|txn| Ok(txn.open_table(NUMBERS)?.insert(9, [].as_slice()).map(drop)?))
            .await
            .unwrap();
        tokio::task::spawn_blocking(std::thread::yield_now).await.unwrap();
        let alone = tokio::time::timeout(Duration::from_secs(60), put(&store, 10)).await;
        assert!(alone.is_ok(), "round {round}: it waits for the company of a commit that is over");
    }
}

#[tokio::test]
async fn a_patient_write_is_answered_after_a_commit_that_another_caused() {
    let store = open_patient();
    let other = store.clone();
    let patient = tokio::spawn(async move {
        let insert =
            |txn: &WriteTransaction| Ok((txn.open_table(NUMBERS)?.insert(1, [].as_slice())?.is_none(), true));
        let was_new = other.write_patiently(insert).await;
        (was_new, count(&other))
    });
    while store.stats().queued == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.stats().commits, 0);
    put(&store, 2).await.unwrap();
    let (was_new, seen) = patient.await.unwrap();
    assert!(was_new.unwrap());
    assert_eq!((seen, store.stats().commits), (2, 1));
}

#[tokio::test]
async fn a_patient_write_does_not_wait_for_ever() {
    let store = Store::open_with(
        InMemoryBackend::new(),
        &StoreOptions { soon_delay: Duration::from_millis(1), ..options() },
    )
    .unwrap();
    let nothing = store.write_patiently(|_| Ok(((), false))).await;
    assert!(nothing.is_ok());
    assert_eq!(store.stats().commits, 0, "there was nothing to commit");
}

#[tokio::test]
async fn a_deferred_write_does_not_wait_for_ever() {
    let store = Store::open_with(
        InMemoryBackend::new(),
        &StoreOptions { soon_delay: Duration::from_millis(1), ..options() },
    )
    .unwrap();
    let (done, seen) = oneshot::channel();
    let mut done = Some(done);
    store
        .write_soon(move |_| {
            done.take().map(|done| done.send(()));
            Ok(())
        })
        .await
        .unwrap();
    seen.await.unwrap();
}

#[tokio::test]
async fn the_queue_is_bounded() {
    let store =
        Store::open_with(InMemoryBackend::new(), &StoreOptions { queue_capacity: 4, ..options() }).unwrap();
    let release = block(&store).await;
    let writes = join_all((0..64).map(|key| put(&store, key)));
    let opener = async {
        while store.stats().queued < 4 {
            tokio::task::yield_now().await;
        }
        for _ in 0..64 {
            tokio::task::yield_now().await;
            assert!(store.stats().queued <= 4);
        }
        release.send(()).unwrap();
    };
    let (results, ()) = tokio::join!(writes, opener);
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(count(&store), 64);
}

#[tokio::test]
async fn closing_commits_what_is_queued() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kurir.redb");
    let store =
        Store::open(&path, &StoreOptions { soon_delay: Duration::from_secs(3600), ..options() }).unwrap();
    let other = store.clone();
    store.write_soon(|txn| Ok(txn.open_table(NUMBERS)?.insert(1, [].as_slice()).map(drop)?)).await.unwrap();
    store.close();
    assert!(matches!(put(&other, 2).await, Err(StoreError::Closed)));
    assert!(matches!(other.read(|_| Ok(())), Err(StoreError::Closed)));
    // Not dropped yet, and still the file is free.
    let again = Store::open(&path, &options()).unwrap();
    assert_eq!(count(&again), 1);
    drop(other);
}

#[tokio::test]
async fn a_table_added_later_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kurir.redb");
    drop(Store::open(&path, &StoreOptions::default()).unwrap());
    let store = Store::open(&path, &options()).unwrap();
    assert_eq!(count(&store), 0);
    store.ensure(&[Table::of::<&str>("words")]).await.unwrap();
    let words: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("words");
    assert!(store.read(|txn| Ok(txn.open_table(words)?.is_empty()?)).unwrap());
}

const JOURNAL: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("journal");

/// What changes about a message, apart from the message itself: rewriting 16 bytes for each step touches one page for
/// all messages under way, rewriting the whole message a page for every few.
const STATES: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("states");

/// The writes of one message: accepted, kept for a retry, its session saved, acknowledged, delivered, the last two
/// with an event in the journal. Each step waits for the one before, as in the gateway, but for the second.
async fn message(store: &Store, account: &AccountStore, caller: u64, number: u64, with_secret: bool) {
    use wacore::store::traits::{MsgSecretEntry, MsgSecretStore, ProtocolStore, SignalStore};
    let id = format!("3EB0{:018X}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let chat = format!("62812000{caller:04}@s.whatsapp.net");
    let step = move |txn: &WriteTransaction, step: u8| -> Result<(), StoreError> {
        txn.open_table(STATES)?.insert(number, [step; 16].as_slice())?;
        if step == 0 {
            txn.open_table(NUMBERS)?.insert(number, [step; 300].as_slice())?;
        } else {
            txn.open_table(JOURNAL)?.insert(number * 4 + u64::from(step), [step; 120].as_slice())?;
        }
        Ok(())
    };
    store.write(move |txn| step(txn, 0)).await.unwrap();
    account.store_sent_message(&chat, &id, &[7; 200]).await.unwrap();
    account.put_sessions_batch(&[(chat.as_str().into(), vec![caller as u8; 700].into())]).await.unwrap();
    if with_secret {
        let secret = MsgSecretEntry {
            chat: chat.as_str().into(),
            sender: "62812999@s.whatsapp.net".into(),
            msg_id: id.as_str().into(),
            secret: [1; 32],
            expires_at: 1_800_000_000 + number as i64,
            message_ts: 0,
        };
        account.put_msg_secrets(vec![secret]).await.unwrap();
    }
    store.write(move |txn| step(txn, 1)).await.unwrap();
    store.write(move |txn| step(txn, 2)).await.unwrap();
}

/// Syncs and KiB for each message.
async fn cost(callers: u64, each: u64, sync_delay: Duration, with_secret: bool) -> (f64, f64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kurir.redb");
    let options = StoreOptions {
        sync_delay,
        tables: ["numbers", "states", "journal"].map(Table::of::<u64>).to_vec(),
        ..StoreOptions::default()
    };
    let store = Store::open(&path, &options).unwrap();
    let account = store.create_account().await.unwrap();
    let before = store.stats();
    let began = Instant::now();
    let running: Vec<_> = (0..callers)
        .map(|caller| {
            let (store, account) = (store.clone(), account.clone());
            tokio::spawn(async move {
                for round in 0..each {
                    message(&store, &account, caller, round * callers + caller, with_secret).await;
                }
            })
        })
        .collect();
    for caller in running {
        caller.await.unwrap();
    }
    let took = began.elapsed().as_secs_f64();
    let after = store.stats();
    let messages = (callers * each) as f64;
    let commits = (after.commits - before.commits) as f64;
    let syncs = (after.syncs - before.syncs) as f64 / messages;
    let kib = (after.bytes_written - before.bytes_written) as f64 / messages / 1024.0;
    println!(
        "{callers} callers, {sync_delay:?} a sync, {} secret: {:.0} messages/s, {syncs:.3} syncs and {kib:.1} KiB a \
         message; {commits} commits of {:.0} writes and {:.0} KiB",
        if with_secret { "with" } else { "without" },
        messages / took,
        (after.writes - before.writes) as f64 / commits,
        kib * messages / commits,
    );
    (syncs, kib)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_costs_little_when_many_are_sent() {
    let (syncs, kib) = cost(64, 20, Duration::from_millis(10), false).await;
    assert!(syncs <= 0.2, "{syncs} syncs a message");
    assert!(kib <= 8.0, "{kib} KiB a message");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints what a message costs; asserts nothing"]
async fn what_a_message_costs() {
    for with_secret in [false, true] {
        for sync_delay in [Duration::ZERO, Duration::from_millis(10)] {
            for (callers, each) in [(1, 30), (8, 40), (64, 60)] {
                cost(callers, each, sync_delay, with_secret).await;
            }
        }
    }
}

/// A value whose type has no name: redb asks for it with its list of tables locked.
#[derive(Debug)]
struct Nameless;

impl redb::Value for Nameless {
    type SelfType<'a> = ();
    type AsBytes<'a> = [u8; 0];

    fn fixed_width() -> Option<usize> {
        Some(0)
    }

    fn from_bytes<'a>(_: &'a [u8])
    where
        Self: 'a,
    {
    }

    fn as_bytes<'a, 'b: 'a>(_: &'a ()) -> [u8; 0]
    where
        Self: 'b,
    {
        []
    }

    fn type_name() -> redb::TypeName {
        panic!("a type without a name")
    }
}

#[tokio::test]
async fn a_panic_that_breaks_the_transaction_is_its_callers_only() {
    let store = open();
    put(&store, 1).await.unwrap();
    // All in one group.
    let release = block(&store).await;
    let broken =
        store.write(|txn| Ok(txn.open_table(TableDefinition::<u64, Nameless>::new("nameless")).map(drop)?));
    let (_, before, broken, after) = tokio::join!(
        async {
            while store.stats().queued < 3 {
                tokio::task::yield_now().await;
            }
            release.send(()).unwrap();
        },
        put(&store, 2),
        broken,
        put(&store, 3),
    );
    assert!(matches!(broken, Err(StoreError::Panicked { .. })), "{broken:?}");
    assert!(before.is_ok() && after.is_ok(), "{before:?} {after:?}");
    put(&store, 4).await.unwrap();
    assert_eq!(count(&store), 4);
    store.ping().await.unwrap();
}

#[test]
fn a_closed_store_frees_its_file_although_somebody_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kurir.redb");
    let store = Store::open(&path, &options()).unwrap();
    let reading = store.clone();
    let (inside, is_inside) = std::sync::mpsc::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let reader = std::thread::spawn(move || {
        reading.read(|txn| {
            inside.send(()).unwrap();
            let _ = may_go_on.recv();
            Ok(txn.open_table(NUMBERS)?.len()?)
        })
    });
    is_inside.recv().unwrap();
    store.close();
    let next = Store::open(&path, &options()).unwrap();
    drop(go_on);
    let late = reader.join().unwrap();
    assert!(matches!(late, Ok(0) | Err(StoreError::Closed)), "{late:?}");
    drop(next);
    assert!(!Store::open(&path, &StoreOptions { verify: true, ..options() }).unwrap().stats().repaired);
}
