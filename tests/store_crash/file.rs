//! Files on the disk: in use, of another schema, of another program, cut off, damaged, or left by a killed process.

use std::io::{self, BufRead, Read, Seek, SeekFrom, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use futures_util::future::join_all;
use kurir::store::{OpenError, Store, StoreOptions};
use redb::TableDefinition;
use sha2::{Digest, Sha256};

use crate::{Acked, ROWS, Random, check_open, options, put};

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
        .args(["--exact", "file::child_says_why_it_cannot_open", "--ignored", "--nocapture"])
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
            .args(["--exact", "file::child_writes_until_it_is_killed", "--ignored", "--nocapture"])
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
async fn another_schema_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kurir.redb");
    filled(&path).await;
    set_schema(&path, 99);
    let error = refused(&path, &options());
    assert!(matches!(error, OpenError::NewerSchema { found: 99, supported: 3, .. }), "{error:?}");

    set_schema(&path, 0);
    let error = refused(&path, &options());
    assert!(matches!(error, OpenError::OlderSchema { found: 0, oldest: 1, .. }), "{error:?}");
    set_schema(&path, 99);

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
