//! The request log's tables.
//!
//! Requests are kept many to a row, packed: they look alike, so forty or more of them fill one page of the file, where a row
//! for each filled half a page with three.

use std::io::Read;

use flate2::read::DeflateDecoder;
use flate2::{Compress, Compression, FlushCompress, Status};
use redb::{ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::RequestLogSettings;
use crate::store::tables::Table;
use crate::store::{Store, StoreError, json};

/// Requests. Key: number of the first, counting up. Value: a [`Block`]; or, written before schema version 3, one [`Row`] as
/// JSON.
const LOG: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("request_log");
/// One row, `size`: the next number u64 LE, then the bytes of [`LOG`]'s values u64 LE.
const META: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("request_log_meta");
/// The tables of this module.
pub const TABLES: &[Table] =
    &[Table::of::<u64>("request_log"), Table::of::<&'static str>("request_log_meta")];

const SIZE: &str = "size";

/// A request as it is stored: everything in it has been through the redactor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    /// When it came, Unix milliseconds.
    pub(super) at_ms: i64,
    pub(super) method: String,
    pub(super) url: String,
    pub(super) status: u16,
    /// Milliseconds until the answer began.
    pub(super) took_ms: u64,
    /// The client's address.
    pub(super) ip: String,
    /// The account and the id of the key; none without a right key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) account: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(super) headers: Value,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(super) body: Value,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(super) answer: Value,
}

fn size(table: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<(u64, u64), StoreError> {
    let row = table.get(SIZE)?;
    let word = |at: usize| Some(u64::from_le_bytes(row.as_ref()?.value().get(at..at + 8)?.try_into().ok()?));
    Ok((word(0).unwrap_or(1), word(8).unwrap_or(0)))
}

/// What a row of [`LOG`] begins with. JSON begins with a brace.
const FORMAT: u8 = 1;
/// Format, count of requests u16 LE, time of the newest i64 LE.
const HEAD: usize = 11;
/// A row with its key fits on a page of 4 KiB.
const MOST_BYTES: usize = 3_900;

/// Requests that were packed together, oldest first: [`HEAD`], then their JSON, a line each, as raw deflate.
pub(super) struct Block {
    count: u16,
    value: Vec<u8>,
}

fn broken(detail: impl ToString) -> StoreError {
    StoreError::Row { table: "request_log", detail: detail.to_string() }
}

/// How much shorter requests become, at first guess: they repeat each other.
const RATIO: usize = 8;

/// Packs requests into as many rows as they need.
pub(super) fn pack(rows: &[Row]) -> Result<Vec<Block>, StoreError> {
    // In one piece each: flate2 clears its whole buffer at every write, and JSON is written in very many small ones.
    let mut lines = Vec::with_capacity(rows.len());
    for row in rows {
        let mut line = json::encode("request_log", row)?;
        line.push(b'\n');
        lines.push((row.at_ms, line));
    }
    let mut packer = Compress::new(Compression::default(), false);
    let mut blocks = Vec::new();
    let (mut rest, mut ratio) = (lines.as_slice(), RATIO);
    while !rest.is_empty() {
        let mut bytes = 0;
        let mut fits = |(_, line): &(i64, Vec<u8>)| {
            bytes += line.len();
            bytes <= MOST_BYTES * ratio
        };
        let count = rest.iter().take(usize::from(u16::MAX)).take_while(|line| fits(line)).count().max(1);
        let (packed, later) = rest.split_at(count);
        let value = deflate(&mut packer, packed)?;
        if value.len() > MOST_BYTES && count > 1 {
            // They are less alike than thought.
            ratio = (ratio * MOST_BYTES / value.len()).min(ratio - 1);
            continue;
        }
        blocks.push(Block { count: u16::try_from(count).map_err(broken)?, value });
        rest = later;
    }
    Ok(blocks)
}

fn deflate(packer: &mut Compress, lines: &[(i64, Vec<u8>)]) -> Result<Vec<u8>, StoreError> {
    let bytes: usize = lines.iter().map(|(_, line)| line.len()).sum();
    let newest = lines.iter().map(|(at_ms, _)| *at_ms).max().unwrap_or_default();
    // What cannot be made shorter becomes a little longer.
    let mut value = Vec::with_capacity(HEAD + bytes + bytes / 1_000 + 64);
    value.push(FORMAT);
    value.extend(u16::try_from(lines.len()).map_err(broken)?.to_le_bytes());
    value.extend(newest.to_le_bytes());
    let text: Vec<u8> = lines.iter().flat_map(|(_, line)| line).copied().collect();
    packer.reset();
    match packer.compress_vec(&text, &mut value, FlushCompress::Finish).map_err(broken)? {
        Status::StreamEnd => Ok(value),
        status => Err(broken(format!("not packed to the end: {status:?}"))),
    }
}

/// How many requests a row holds, and when the newest of them came.
fn extent(value: &[u8]) -> Result<(u64, i64), StoreError> {
    if value.first() != Some(&FORMAT) {
        return Ok((1, json::decode::<Row>("request_log", value)?.at_ms));
    }
    let count = value.get(1..3).and_then(|bytes| Some(u16::from_le_bytes(bytes.try_into().ok()?)));
    let newest = value.get(3..HEAD).and_then(|bytes| Some(i64::from_le_bytes(bytes.try_into().ok()?)));
    Ok((count.ok_or_else(|| broken("cut short"))?.into(), newest.ok_or_else(|| broken("cut short"))?))
}

/// The requests of a row, oldest first.
fn unpack(value: &[u8]) -> Result<Vec<Row>, StoreError> {
    if value.first() != Some(&FORMAT) {
        return Ok(vec![json::decode("request_log", value)?]);
    }
    let mut text = String::new();
    let packed = value.get(HEAD..).ok_or_else(|| broken("cut short"))?;
    DeflateDecoder::new(packed).read_to_string(&mut text).map_err(broken)?;
    text.lines().map(|line| json::decode("request_log", line.as_bytes())).collect()
}

/// Adds requests, and removes the oldest beyond the limits: whole rows, so up to a row's worth too many stay in the file;
/// [`page`] and [`get`] pass over them.
pub(super) fn add(
    txn: &WriteTransaction,
    blocks: &[Block],
    settings: &RequestLogSettings,
    now_ms: i64,
) -> Result<(), StoreError> {
    let mut log = txn.open_table(LOG)?;
    let mut meta = txn.open_table(META)?;
    let (mut next, mut bytes) = size(&meta)?;
    for block in blocks {
        log.insert(next, block.value.as_slice())?;
        next += u64::from(block.count);
        bytes += block.value.len() as u64;
    }
    let oldest = settings.oldest_ms(now_ms);
    let mut going = Vec::new();
    for row in log.iter()? {
        let (number, value) = row?;
        let (count, newest) = extent(value.value())?;
        let over = next - (number.value() + count - 1) > settings.rows || bytes > settings.bytes;
        if !over && newest >= oldest {
            break;
        }
        bytes = bytes.saturating_sub(value.value().len() as u64);
        going.push(number.value());
    }
    for number in going {
        log.remove(number)?;
    }
    let encoded = [next.to_le_bytes(), bytes.to_le_bytes()].concat();
    meta.insert(SIZE, encoded.as_slice())?;
    Ok(())
}

/// The newest requests before `before` that `wanted` says yes to, newest first, at most `most`, of the `kept` newest.
pub(super) fn page(
    store: &Store,
    kept: u64,
    before: u64,
    most: usize,
    wanted: impl Fn(&Row) -> bool,
) -> Result<Vec<(u64, Row)>, StoreError> {
    store.read(|txn| {
        let first = size(&txn.open_table(META)?)?.0.saturating_sub(kept);
        let mut found = Vec::new();
        for row in txn.open_table(LOG)?.range(..before)?.rev() {
            let (number, value) = row?;
            for (at, row) in unpack(value.value())?.into_iter().enumerate().rev() {
                let number = number.value() + at as u64;
                if number < first || found.len() >= most {
                    return Ok(found);
                }
                if number < before && wanted(&row) {
                    found.push((number, row));
                }
            }
        }
        Ok(found)
    })
}

/// The request with this number, if it is among the `kept` newest.
pub(super) fn get(store: &Store, kept: u64, number: u64) -> Result<Option<Row>, StoreError> {
    store.read(|txn| {
        let first = size(&txn.open_table(META)?)?.0.saturating_sub(kept);
        let table = txn.open_table(LOG)?;
        let Some(row) = table.range(..=number)?.next_back().transpose()? else { return Ok(None) };
        if number < first {
            return Ok(None);
        }
        let at = usize::try_from(number - row.0.value()).map_err(broken)?;
        Ok(unpack(row.1.value())?.into_iter().nth(at))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::StoreOptions;

    fn row(at_ms: i64, url: String) -> Row {
        Row {
            at_ms,
            method: "GET".into(),
            url,
            status: 200,
            took_ms: 1,
            ip: "::1".into(),
            account: None,
            key: None,
            headers: Value::Null,
            body: Value::Null,
            answer: Value::Null,
        }
    }

    fn short(at_ms: i64) -> Row {
        row(at_ms, "/".into())
    }

    /// Text that packs badly.
    fn noise(bytes: usize) -> String {
        let mut random = vec![0; bytes / 2];
        getrandom::fill(&mut random).unwrap();
        hex::encode(random)
    }

    fn open(folder: &tempfile::TempDir) -> Store {
        let options = StoreOptions { tables: TABLES.to_vec(), ..StoreOptions::default() };
        Store::open(&folder.path().join("s.redb"), &options).unwrap()
    }

    const SETTINGS: RequestLogSettings =
        RequestLogSettings { rows: 10, bytes: 5_000, age: Duration::from_secs(1), body: 100 };

    async fn write(store: &Store, rows: Vec<Row>, now_ms: i64) -> Vec<u64> {
        let blocks = pack(&rows).unwrap();
        store.write(move |txn| add(txn, &blocks, &SETTINGS, now_ms)).await.unwrap();
        let found = page(store, SETTINGS.rows, u64::MAX, 100, |_| true).unwrap();
        found.into_iter().map(|(number, _)| number).collect()
    }

    #[tokio::test]
    async fn the_log_keeps_to_its_rows_its_bytes_and_its_age() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let many = (0..25).map(|_| short(0)).collect();
        assert_eq!(write(&store, many, 500).await, (16..=25).rev().collect::<Vec<_>>());
        assert!(get(&store, SETTINGS.rows, 16).unwrap().is_some());
        assert!(get(&store, SETTINGS.rows, 15).unwrap().is_none(), "in the file, but more than are kept");
        assert_eq!(
            write(&store, vec![short(1_200)], 1_500).await,
            [26],
            "the others are older than a second"
        );
        for n in 0..5 {
            write(&store, vec![row(1_300, format!("/{n}{}", noise(2_500)))], 1_500).await;
        }
        let found = page(&store, SETTINGS.rows, u64::MAX, 100, |_| true).unwrap();
        let numbers: Vec<u64> = found.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [31, 30, 29], "three of some 1,300 packed bytes fit into 5,000");
        assert_eq!(get(&store, SETTINGS.rows, 31).unwrap().unwrap().status, 200);
        assert!(get(&store, SETTINGS.rows, 28).unwrap().is_none());
        let older = page(&store, SETTINGS.rows, 31, 1, |row| row.url.starts_with("/3")).unwrap();
        assert_eq!(older[0].0, 30, "from there on back");
    }

    #[tokio::test]
    async fn packed_requests_are_found_by_number_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let kept = 1_000;
        let rows: Vec<Row> = (1..=300).map(|n| row(n, format!("/{n}?{}", noise(100)))).collect();
        let blocks = pack(&rows).unwrap();
        assert!(blocks.len() > 2, "{} blocks", blocks.len());
        assert!(blocks.iter().all(|block| block.value.len() <= MOST_BYTES));
        let settings = RequestLogSettings { rows: kept, bytes: 1 << 20, age: Duration::MAX, body: 0 };
        store.write(move |txn| add(txn, &blocks, &settings, 300)).await.unwrap();
        for n in [1, 2, 149, 150, 151, 299, 300] {
            assert!(get(&store, kept, n).unwrap().unwrap().url.starts_with(&format!("/{n}?")));
        }
        assert!(get(&store, kept, 301).unwrap().is_none() && get(&store, kept, 0).unwrap().is_none());
        let mut seen = Vec::new();
        let mut before = u64::MAX;
        loop {
            let found = page(&store, kept, before, 7, |_| true).unwrap();
            let Some((last, _)) = found.last() else { break };
            before = *last;
            seen.extend(found.into_iter().map(|(number, row)| (number, row.at_ms)));
        }
        assert_eq!(seen, (1..=300).rev().map(|n| (n, n as i64)).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_request_that_is_larger_than_a_page_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let blocks = pack(&[short(1), row(2, noise(20_000)), short(3)]).unwrap();
        let settings = RequestLogSettings { bytes: 1 << 20, age: Duration::MAX, ..SETTINGS };
        store.write(move |txn| add(txn, &blocks, &settings, 3)).await.unwrap();
        assert_eq!(get(&store, 10, 2).unwrap().unwrap().url.len(), 20_000);
        assert_eq!(get(&store, 10, 3).unwrap().unwrap().at_ms, 3);
    }

    #[tokio::test]
    async fn requests_of_before_they_were_packed_are_read_and_forgotten_like_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let old = |txn: &WriteTransaction| {
            for n in 1..=4u64 {
                let row = json::encode("request_log", &row(n as i64, format!("/{n}")))?;
                txn.open_table(LOG)?.insert(n, row.as_slice())?;
            }
            let size = [5u64.to_le_bytes(), 400u64.to_le_bytes()].concat();
            txn.open_table(META)?.insert(SIZE, size.as_slice())?;
            Ok(())
        };
        store.write(old).await.unwrap();
        assert_eq!(get(&store, 10, 2).unwrap().unwrap().url, "/2");
        let now: Vec<Row> = (5..=12).map(|n| row(n, format!("/{n}"))).collect();
        assert_eq!(write(&store, now, 12).await, (3..=12).rev().collect::<Vec<_>>());
        assert_eq!(get(&store, 10, 3).unwrap().unwrap().url, "/3");
        let gone = store.read(|txn| Ok(txn.open_table(LOG)?.get(2)?.is_none())).unwrap();
        assert!(gone, "what is over the limit is removed");
    }
}
