//! The disk fills up, or fails to sync, and later does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use kurir::store::{OpenError, Store, StoreError};

use redb::ReadableTableMetadata;

use crate::crash::check;
use crate::power_cut::{Full, Loss, PowerCut, When};
use crate::{Acked, ROWS, Random, check_open, options, payload, put, put_once};

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

#[tokio::test]
async fn what_a_failed_sync_dropped_is_written_again_before_it_is_acknowledged() {
    // A commit syncs its pages, and then what makes them count; opening again has syncs of its own.
    for failures in 1..128 {
        let disk = PowerCut::new(Vec::new(), When::Never, Loss::All, 0);
        let store = Store::open_with(disk.clone(), &options()).unwrap();
        for number in 0..4 {
            put(&store, number).await.unwrap();
        }
        disk.0.lock().unwrap().sync_failures = failures;
        // Whoever gets an error asks again, and has nothing to write if it is there after all.
        let mut tries = 1;
        while put_once(&store, 4).await.is_err() {
            tries += 1;
            assert!(tries < 20, "it never succeeds");
        }
        assert!(failures & 3 == 0 || tries > 1, "neither of a commit's syncs failed");
        let acked = Acked { rows: (0..5).collect(), ..Acked::default() };
        check(disk.left(), &acked, &format!("the next syncs failed, backwards: {failures:b}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_cannot_be_read_is_the_readers_trouble_only() {
    let disk = PowerCut::new(Vec::new(), When::Never, Loss::All, 0);
    let store = Store::open_with(disk.clone(), &options()).unwrap();
    for number in 0..200 {
        put(&store, number).await.unwrap();
    }
    drop(store);
    let disk = PowerCut::new(disk.left(), When::Never, Loss::All, 0);
    let store = Store::open_with(disk.clone(), &options()).unwrap();
    assert!(disk.damage(&payload(50)), "row 50 is in no page");
    let reading = store.clone();
    let reader = tokio::task::spawn_blocking(move || {
        let mut written = None;
        let read = reading.read(|txn| {
            let row = txn.open_table(ROWS)?.get(50).map(|row| row.is_some());
            if row.is_err() {
                // Nobody can do anything with the database now, and this reader has not opened it again yet.
                disk.0.lock().unwrap().bad_page = None;
                written = Some(tokio::runtime::Handle::current().block_on(put(&reading, 1000)));
            }
            Ok(row?)
        });
        (read, written)
    });
    let (read, written) = reader.await.unwrap();
    written.expect("the page could be read").unwrap();
    assert!(read.unwrap(), "row 50 is gone");
    let acked = Acked { rows: (0..200).chain([1000]).collect(), ..Acked::default() };
    check_open(&store, &acked, "with the page back").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_and_writers_go_on_through_failures() {
    let disk = PowerCut::new(Vec::new(), When::Never, Loss::All, 0);
    let store = Store::open_with(disk.clone(), &options()).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (store, done) = (store.clone(), Arc::clone(&done));
            tokio::task::spawn_blocking(move || {
                let mut reads = 0u64;
                while !done.load(Relaxed) {
                    let rows = store.read(|txn| Ok(txn.open_table(ROWS)?.len()?));
                    assert!(rows.is_ok(), "{rows:?} after {reads} reads");
                    reads += 1;
                }
                reads
            })
        })
        .collect();
    let writers: Vec<_> = (0..4u64)
        .map(|writer| {
            let (store, disk) = (store.clone(), disk.clone());
            tokio::spawn(async move {
                let mut random = Random(writer);
                let mut acked = Vec::new();
                for number in writer * 100..writer * 100 + 60 {
                    match random.next() % 16 {
                        0 | 1 => disk.0.lock().unwrap().failing_syncs = 1,
                        2 => disk.set_full(Full::All),
                        3..8 => disk.set_full(Full::No),
                        _ => {}
                    }
                    if put(&store, number).await.is_ok() {
                        acked.push(number);
                    }
                }
                acked
            })
        })
        .collect();
    let mut acked = Acked::default();
    for writer in writers {
        acked.rows.extend(writer.await.unwrap());
    }
    done.store(true, Relaxed);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
    let tried = 240;
    println!("{} of {tried} writes went through", acked.rows.len());
    assert!((20..tried).contains(&acked.rows.len()), "{} of {tried} writes went through", acked.rows.len());
    disk.set_full(Full::No);
    disk.0.lock().unwrap().failing_syncs = 0;
    put(&store, 5_000).await.unwrap();
    check_open(&store, &acked, "after the failures").await;
    check(disk.left(), &acked, "a crash after the failures").await;
}
