//! What the store promises when the power goes, the disk fills up, or the file is not what it should be.
//!
//! The crash tests run on [`PowerCut`], a disk in memory that keeps what was synced apart from what was only written
//! and can lose the latter at any write or sync: all of it, some writes, or some sectors of some writes.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use kurir::store::{AccountId, AccountStore, OpenError, Store, StoreError, StoreOptions, Table};
use redb::{ReadableTable, StorageBackend, TableDefinition};
use sha2::{Digest, Sha256};
use wacore::store::traits::{ProtocolStore, SignalStore};

const ROWS: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("rows");
const MIRROR: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("mirror");
/// Row 0: how many jobs were done, so that one done twice shows.
const TALLY: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("tally");

fn options() -> StoreOptions {
    StoreOptions {
        // Small enough that pages are written out and read back while the test runs.
        cache_bytes: 64 << 10,
        tables: vec![Table::of::<u64>("rows"), Table::of::<u64>("mirror"), Table::of::<u64>("tally")],
        ..StoreOptions::default()
    }
}

/// splitmix64: good enough to pick crash points, and the same everywhere.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// Everything since the last sync.
    All,
    /// Whole writes, in no order.
    Some,
    /// 512-byte sectors of writes.
    Sectors,
}

#[derive(Debug, Clone, Copy)]
enum When {
    /// In place of the sync with this number.
    Sync(usize),
    /// In place of the write with this number.
    Write(usize),
    Never,
}

#[derive(Debug, Clone)]
enum Op {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

#[derive(Debug)]
struct Image {
    /// What reads see.
    now: Vec<u8>,
    /// What is certain to be there after a crash.
    synced: Vec<u8>,
    since: Vec<Op>,
    syncs: usize,
    writes: usize,
    when: When,
    loss: Loss,
    random: Random,
    /// What the crash left.
    left: Option<Vec<u8>>,
    full: Full,
    failing_syncs: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Full {
    No,
    /// The file cannot grow.
    Growth,
    /// Nothing can be written, as on a file system that never overwrites in place.
    All,
}

impl Image {
    fn apply(bytes: &mut Vec<u8>, op: &Op) {
        match op {
            Op::SetLen(len) => bytes.resize(*len as usize, 0),
            Op::Write(offset, data) => {
                let from = *offset as usize;
                bytes[from..from + data.len()].copy_from_slice(data);
            }
        }
    }

    fn crash(&mut self) -> io::Error {
        if self.left.is_none() {
            let mut left = self.synced.clone();
            for op in std::mem::take(&mut self.since) {
                match (self.loss, op) {
                    (Loss::All, _) => {}
                    (_, Op::SetLen(len)) => {
                        if self.random.coin() {
                            left.resize(len as usize, 0);
                        }
                    }
                    (loss, Op::Write(offset, data)) => {
                        let sector = if loss == Loss::Sectors { 512 } else { data.len().max(1) };
                        for (index, part) in data.chunks(sector).enumerate() {
                            let from = offset as usize + index * sector;
                            // Beyond a length that was lost there is nothing to write to.
                            if self.random.coin() && from + part.len() <= left.len() {
                                left[from..from + part.len()].copy_from_slice(part);
                            }
                        }
                    }
                }
            }
            self.left = Some(left);
        }
        io::Error::other("the power is gone")
    }

    fn check(&self) -> io::Result<()> {
        if self.left.is_some() { Err(io::Error::other("the power is gone")) } else { Ok(()) }
    }
}

#[derive(Debug, Clone)]
struct PowerCut(Arc<Mutex<Image>>);

impl PowerCut {
    fn new(bytes: Vec<u8>, when: When, loss: Loss, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Image {
            now: bytes.clone(),
            synced: bytes,
            since: Vec::new(),
            syncs: 0,
            writes: 0,
            when,
            loss,
            random: Random(seed),
            left: None,
            full: Full::No,
            failing_syncs: 0,
        })))
    }

    /// What is on the disk: what the crash left, or what a crash right now would certainly leave.
    fn left(&self) -> Vec<u8> {
        let image = self.0.lock().unwrap();
        image.left.clone().unwrap_or_else(|| image.synced.clone())
    }

    fn has_crashed(&self) -> bool {
        self.0.lock().unwrap().left.is_some()
    }

    fn counts(&self) -> (usize, usize) {
        let image = self.0.lock().unwrap();
        (image.syncs, image.writes)
    }

    fn set_full(&self, full: Full) {
        self.0.lock().unwrap().full = full;
    }

    fn full() -> io::Error {
        io::Error::from(io::ErrorKind::StorageFull)
    }
}

impl StorageBackend for PowerCut {
    fn len(&self) -> io::Result<u64> {
        let image = self.0.lock().unwrap();
        image.check()?;
        Ok(image.now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let image = self.0.lock().unwrap();
        image.check()?;
        let from = offset as usize;
        let bytes =
            image.now.get(from..from + out.len()).ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut image = self.0.lock().unwrap();
        image.check()?;
        if image.full != Full::No && len > image.now.len() as u64 {
            return Err(Self::full());
        }
        let op = Op::SetLen(len);
        Image::apply(&mut image.now, &op);
        image.since.push(op);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut image = self.0.lock().unwrap();
        image.check()?;
        if matches!(image.when, When::Sync(at) if at == image.syncs) {
            return Err(image.crash());
        }
        image.syncs += 1;
        if image.failing_syncs > 0 {
            image.failing_syncs -= 1;
            // As Linux does: the pages count as clean from now on, and are read as they were written, but never reach
            // the disk.
            image.since.clear();
            return Err(io::Error::other("the card did not answer"));
        }
        let since = std::mem::take(&mut image.since);
        for op in &since {
            // A write that a failed sync lost the length for.
            if let Op::Write(offset, data) = op
                && image.synced.len() < *offset as usize + data.len()
            {
                let len = image.now.len();
                image.synced.resize(len, 0);
            }
            Image::apply(&mut image.synced, op);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut image = self.0.lock().unwrap();
        image.check()?;
        if matches!(image.when, When::Write(at) if at == image.writes) {
            image.since.push(Op::Write(offset, data.to_vec()));
            return Err(image.crash());
        }
        if image.full == Full::All {
            return Err(Self::full());
        }
        image.writes += 1;
        let op = Op::Write(offset, data.to_vec());
        Image::apply(&mut image.now, &op);
        image.since.push(op);
        Ok(())
    }
}

fn payload(number: u64) -> Vec<u8> {
    let mut random = Random(number);
    let len = 20 + random.next() % 2500;
    (0..len).map(|_| random.next() as u8).collect()
}

async fn put(store: &Store, number: u64) -> Result<(), StoreError> {
    store
        .write(move |txn| {
            let payload = payload(number);
            txn.open_table(ROWS)?.insert(number, payload.as_slice())?;
            let mut tally = txn.open_table(TALLY)?;
            let done = tally.get(0)?.map_or(0, |row| u64::from_le_bytes(row.value().try_into().unwrap()));
            tally.insert(0, (done + 1).to_le_bytes().as_slice())?;
            txn.open_table(MIRROR)?.insert(number, payload.as_slice())?;
            Ok(())
        })
        .await
}

fn address(number: u64, half: &str) -> Arc<str> {
    format!("{}:{half}@s.whatsapp.net", number % 7).into()
}

/// Two sessions with the same content in one batch, which are later found to be equal or not there.
async fn put_sessions(account: &AccountStore, number: u64) -> bool {
    let record = Bytes::from(payload(number));
    let batch = [(address(number, "1"), record.clone()), (address(number, "2"), record)];
    account.put_sessions_batch(&batch).await.is_ok()
}

/// What was acknowledged before the power went.
#[derive(Debug, Default)]
struct Acked {
    rows: Vec<u64>,
    account: Option<AccountId>,
    /// By slot: the numbers whose sessions were acknowledged or tried last.
    sessions: BTreeMap<u64, (u64, u64)>,
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
async fn check(left: Vec<u8>, acked: &Acked, context: &str) -> Duration {
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

async fn check_open(store: &Store, acked: &Acked, context: &str) {
    let all = |table: TableDefinition<'static, u64, &'static [u8]>| {
        store
            .read(|txn| {
                let mut rows = BTreeMap::new();
                for row in txn.open_table(table)?.iter()? {
                    let (key, value) = row?;
                    rows.insert(key.value(), value.value().to_vec());
                }
                Ok(rows)
            })
            .unwrap()
    };
    let rows = all(ROWS);
    assert_eq!(rows, all(MIRROR), "{context}: a job is half there");
    for (number, row) in &rows {
        assert_eq!(row, &payload(*number), "{context}: row {number}");
    }
    for number in &acked.rows {
        assert!(rows.contains_key(number), "{context}: row {number} was acknowledged and is gone");
    }
    let done = all(TALLY).get(&0).map_or(0, |row| u64::from_le_bytes(row.as_slice().try_into().unwrap()));
    assert_eq!(done, rows.len() as u64, "{context}: a job was done twice");

    let Some(account) = acked.account else { return };
    let account = store.account(account).unwrap().unwrap_or_else(|| panic!("{context}: the account is gone"));
    for (slot, (kept, tried)) in &acked.sessions {
        let one = account.get_session(&address(*slot, "1")).await.unwrap();
        let two = account.get_session(&address(*slot, "2")).await.unwrap();
        assert_eq!(one, two, "{context}: half a batch of sessions in slot {slot}");
        let record = |number: u64| (number != u64::MAX).then(|| Bytes::from(payload(number)));
        assert!(
            one == record(*kept) || one == record(*tried),
            "{context}: slot {slot} has neither the acknowledged session nor the one under way"
        );
    }
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

async fn full_disk(kind: Full) {
    let disk = PowerCut::new(Vec::new(), When::Never, Loss::All, 0);
    let store = Store::open_with(disk.clone(), &options()).unwrap();
    for number in 0..20 {
        put(&store, number).await.unwrap();
    }
    disk.set_full(kind);
    let mut number = 20;
    // A file that may not grow still has free pages for a while.
    let refused = loop {
        match put(&store, number).await {
            Ok(()) => number += 1,
            Err(error) => break error,
        }
        assert!(number < 20_000, "the disk never filled up");
    };
    assert!(matches!(refused, StoreError::Full { .. }), "{refused}");
    assert!(refused.to_string().contains("free some space"), "{refused}");
    let acked = |upto: u64| Acked { rows: (0..upto).collect(), ..Acked::default() };
    let kept = number;
    assert!(store.stats().read_only);
    for _ in 0..3 {
        check_open(&store, &acked(kept), "reading from a full disk").await;
        let again = put(&store, kept).await;
        if kind == Full::All {
            assert!(matches!(again, Err(StoreError::Full { .. })), "{again:?}");
        }
    }
    // A crash now loses nothing either.
    check(disk.left(), &acked(kept), "a crash on a full disk").await;
    disk.set_full(Full::No);
    put(&store, 30_000).await.unwrap();
    assert!(!store.stats().read_only);
    let mut acked = acked(kept);
    acked.rows.push(30_000);
    check_open(&store, &acked, "after there was room again").await;
    check(disk.left(), &acked, "a crash after there was room again").await;
}

#[tokio::test]
async fn a_full_disk_can_be_read_and_recovers() {
    full_disk(Full::All).await;
}

#[tokio::test]
async fn a_file_that_cannot_grow_can_be_read_and_recovers() {
    full_disk(Full::Growth).await;
}

#[tokio::test]
async fn a_full_disk_is_named_when_the_store_cannot_be_made() {
    let disk = PowerCut::new(Vec::new(), When::Never, Loss::All, 0);
    disk.set_full(Full::All);
    let error = Store::open_with(disk, &options()).unwrap_err();
    assert!(matches!(error, OpenError::Full { .. }), "{error}");
}

#[tokio::test]
async fn a_sync_that_fails_and_drops_its_pages_loses_nothing_acknowledged() {
    for after in 0..6 {
        let disk = PowerCut::new(Vec::new(), When::Never, Loss::All, 0);
        let store = Store::open_with(disk.clone(), &options()).unwrap();
        let mut acked = Acked::default();
        for number in 0..12 {
            if number == 4 + after {
                disk.0.lock().unwrap().failing_syncs = 1 + (after as usize % 2);
            }
            match put(&store, number).await {
                Ok(()) => acked.rows.push(number),
                Err(error) => assert!(matches!(error, StoreError::Io { .. }), "{error}"),
            }
            check_open(&store, &acked, "after a failed sync").await;
        }
        assert!(acked.rows.len() >= 10, "{acked:?}");
        check(disk.left(), &acked, &format!("a crash after failed syncs, {after}")).await;
    }
}

fn digest(path: &Path) -> (u64, Vec<u8>) {
    let bytes = std::fs::read(path).unwrap();
    (bytes.len() as u64, Sha256::digest(&bytes).to_vec())
}

/// Opening must fail, and leave the file as it was.
fn refused(path: &Path, options: &StoreOptions) -> OpenError {
    let before = digest(path);
    let error = Store::open(path, options).expect_err("the store opened");
    assert_eq!(digest(path), before, "the file was changed by an opening that failed with: {error}");
    assert!(error.to_string().contains(&path.display().to_string()), "{error} does not name the file");
    error
}

async fn filled(path: &Path) {
    let store = Store::open(path, &options()).unwrap();
    for number in 0..40 {
        put(&store, number).await.unwrap();
    }
}

#[tokio::test]
async fn a_second_opening_is_told_that_the_file_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kurir.redb");
    let store = Store::open(&path, &options()).unwrap();
    assert!(matches!(Store::open(&path, &options()), Err(OpenError::InUse { .. })));
    // Another process, which is this test once more.
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_says_why_it_cannot_open", "--ignored", "--nocapture"])
        .env("KURIR_TEST_STORE", &path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{said}");
    assert!(said.contains("is in use by another process: stop the other Kurir"), "{said}");
    put(&store, 1).await.unwrap();
    drop(store);
    Store::open(&path, &options()).unwrap();
}

#[test]
#[ignore = "run by a_second_opening_is_told_that_the_file_is_in_use"]
fn child_says_why_it_cannot_open() {
    let Ok(path) = std::env::var("KURIR_TEST_STORE") else { return };
    println!("{}", refused(Path::new(&path), &options()));
}

#[tokio::test]
async fn what_a_killed_process_acknowledged_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kurir.redb");
    let mut acked = Acked::default();
    let mut random = Random(99);
    for life in 0..6u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_writes_until_it_is_killed", "--ignored", "--nocapture"])
            .env("KURIR_TEST_STORE", &path)
            .env("KURIR_TEST_FIRST", (life * 100_000).to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stop_after = 1 + random.next() % 120;
        let mut seen = 0;
        let lines = io::BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines {
            let Ok(line) = line else { break };
            if let Some(number) = line.strip_prefix("acked ") {
                acked.rows.push(number.parse().unwrap());
                seen += 1;
                if seen == stop_after {
                    // SIGKILL. What it still manages to say afterwards counts as well.
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        assert!(seen >= stop_after, "the child ended by itself after {seen}");
        let store = Store::open(&path, &options()).unwrap();
        assert!(!store.stats().repaired);
        check_open(&store, &acked, &format!("life {life}")).await;
    }
}

#[tokio::test]
#[ignore = "run by what_a_killed_process_acknowledged_is_there"]
async fn child_writes_until_it_is_killed() {
    let Ok(path) = std::env::var("KURIR_TEST_STORE") else { return };
    let first: u64 = std::env::var("KURIR_TEST_FIRST").unwrap().parse().unwrap();
    let store = Store::open(Path::new(&path), &options()).unwrap();
    let mut out = io::stdout();
    writeln!(out).unwrap();
    for round in 0..5_000u64 {
        let numbers: Vec<u64> = (0..8).map(|each| first + round * 8 + each).collect();
        let done = join_all(numbers.iter().map(|number| put(&store, *number))).await;
        for (number, result) in numbers.iter().zip(done) {
            result.unwrap();
            writeln!(out, "acked {number}").unwrap();
        }
        out.flush().unwrap();
    }
}

/// The file as a crash leaves it: copied while the store is open.
async fn crashed_copy(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("open.redb");
    let copy = folder.join("crashed.redb");
    let store = Store::open(&path, &options()).unwrap();
    for number in 0..40 {
        put(&store, number).await.unwrap();
    }
    std::fs::copy(&path, &copy).unwrap();
    copy
}

fn set_schema(path: &Path, version: u32) {
    const META: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("meta");
    let db = redb::Database::open(path).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(META).unwrap().insert("schema", version.to_le_bytes().as_slice()).unwrap();
    txn.commit().unwrap();
}

#[tokio::test]
async fn a_newer_schema_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kurir.redb");
    filled(&path).await;
    set_schema(&path, 99);
    let error = refused(&path, &options());
    assert!(matches!(error, OpenError::NewerSchema { found: 99, supported: 1, .. }), "{error:?}");

    // Also when it is in need of repair, which redb would otherwise do first.
    let db = redb::Database::open(&path).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(ROWS).unwrap().insert(1, b"unclean".as_slice()).unwrap();
    txn.commit().unwrap();
    let copy = folder.path().join("copy.redb");
    std::fs::copy(&path, &copy).unwrap();
    drop(db);
    assert!(matches!(refused(&copy, &options()), OpenError::NewerSchema { .. }));
}

#[tokio::test]
async fn another_programs_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.redb");
    let db = redb::Database::create(&path).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(ROWS).unwrap().insert(1, b"theirs".as_slice()).unwrap();
    txn.commit().unwrap();
    drop(db);
    assert!(matches!(refused(&path, &options()), OpenError::NotOurs { .. }));
}

#[tokio::test]
async fn a_file_that_is_no_store_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kurir.redb");
    let mut random = Random(3);
    let noise: Vec<u8> = (0..300_000).map(|_| random.next() as u8).collect();
    for bytes in [b"hello".to_vec(), b"not a store ".repeat(1000), noise] {
        std::fs::write(&path, &bytes).unwrap();
        let error = refused(&path, &options());
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error:?}");
    }
    let error = Store::open(&folder.path().join("no/such/folder/kurir.redb"), &options()).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
}

#[tokio::test]
async fn a_truncated_file_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kurir.redb");
    filled(&path).await;
    let whole = std::fs::read(&path).unwrap();
    let crashed = std::fs::read(crashed_copy(folder.path()).await).unwrap();
    for bytes in [whole, crashed] {
        for len in [bytes.len() / 2, bytes.len() - 1, 4096, 1000, 320, 100, 5] {
            std::fs::write(&path, &bytes[..len]).unwrap();
            let error = refused(&path, &StoreOptions { verify: true, ..options() });
            assert!(matches!(error, OpenError::Corrupt { .. }), "cut to {len}: {error:?}");
        }
    }
}

/// Opens a damaged file with its checksums checked: an error that leaves the file alone, or all of the data.
async fn damaged(path: &Path, acked: &Acked, context: &str) -> bool {
    let before = digest(path);
    match Store::open(path, &StoreOptions { verify: true, ..options() }) {
        Err(error) => {
            assert!(matches!(error, OpenError::Corrupt { .. }), "{context}: {error:?}");
            assert_eq!(digest(path), before, "{context}: the file was changed");
            true
        }
        Ok(store) => {
            check_open(&store, acked, context).await;
            false
        }
    }
}

#[tokio::test]
async fn a_damaged_header_is_noticed_or_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kurir.redb");
    filled(&path).await;
    let whole = std::fs::read(&path).unwrap();
    let crashed = std::fs::read(crashed_copy(folder.path()).await).unwrap();
    let acked = Acked { rows: (0..40).collect(), ..Acked::default() };
    for (name, bytes) in [("closed", whole), ("crashed", crashed)] {
        let mut noticed = 0;
        for at in 0..320 {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0xFF;
            std::fs::write(&path, &bytes).unwrap();
            noticed += usize::from(damaged(&path, &acked, &format!("{name}, header byte {at}")).await);
        }
        println!("{name}: {noticed} of 320 damaged header bytes refused");
        assert!(noticed > 100, "{name}: only {noticed} of 320 were noticed");
    }
}

#[tokio::test]
async fn damaged_pages_are_noticed_or_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kurir.redb");
    filled(&path).await;
    let whole = std::fs::read(&path).unwrap();
    let crashed = std::fs::read(crashed_copy(folder.path()).await).unwrap();
    let acked = Acked { rows: (0..40).collect(), ..Acked::default() };
    let mut random = Random(11);
    let mut noticed = 0;
    for bytes in [whole, crashed] {
        for round in 0..40 {
            std::fs::write(&path, &bytes).unwrap();
            let mut file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
            // A page that is in use: an empty one would prove nothing.
            let page = loop {
                let page = 1 + random.next() % (bytes.len() as u64 / 4096 - 1);
                if bytes[page as usize * 4096..][..4096].iter().any(|byte| *byte != 0) {
                    break page;
                }
            };
            let offset = page * 4096 + random.next() % 4000;
            let mut byte = [0];
            file.seek(SeekFrom::Start(offset)).unwrap();
            file.read_exact(&mut byte).unwrap();
            file.seek(SeekFrom::Start(offset)).unwrap();
            file.write_all(&[!byte[0]]).unwrap();
            drop(file);
            noticed += usize::from(damaged(&path, &acked, &format!("round {round}, byte {offset}")).await);
        }
    }
    println!("{noticed} of 80 damaged pages refused");
    assert!(noticed > 10, "only {noticed} of 80 were noticed");
}
