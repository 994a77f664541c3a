//! Which sequence number an event's id has.
//!
//! Ids are hashes. A tree with one row for each would be written on another page for every event, 4 KiB each; here
//! the first eight bytes of the ids stand in the order of their events, 480 to a row that fills one page, and a batch
//! of events writes one page or two. To find an id is to look through them: 8 bytes for each event, half a megabyte
//! for the events in which a repeated one is looked for.

use redb::{ReadableTable, Table, TableDefinition};

use super::record::ID;
use crate::store::StoreError;

/// Key: sequence number divided by [`BLOCK`]. Value: the first eight bytes of each event's id, in the order of their
/// sequence numbers; zeros where there was no event.
pub(super) const TABLE: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("journal_index");

/// Events in one row, so that a row and its key fit on a page of 4 KiB.
const BLOCK: u64 = 480;
/// Bytes kept of an id. Two events may share them; the journal's own row settles it.
const PREFIX: usize = 8;
/// Among so many newest events a repeated one is noticed. WhatsApp repeats what it was not told had arrived, which is
/// not that long ago.
pub(super) const RECENT: usize = 60_000;

type Prefix = [u8; PREFIX];

fn prefix(id: &[u8; ID]) -> Prefix {
    let mut prefix = [0; PREFIX];
    prefix.copy_from_slice(&id[..PREFIX]);
    prefix
}

/// Where these ids may be, among about the `most` newest events: each with a sequence number whose event is to be
/// looked at, the newest first.
pub(super) fn find(
    table: &impl ReadableTable<u64, &'static [u8]>,
    ids: &[[u8; ID]],
    most: usize,
) -> Result<Vec<([u8; ID], u64)>, StoreError> {
    let mut wanted: Vec<(Prefix, [u8; ID])> = ids.iter().map(|id| (prefix(id), *id)).collect();
    wanted.sort_unstable();
    // Which first two bytes occur at all: a look at one bit for most of what is passed over.
    let mut begins = vec![0u64; 1024];
    let bit = |prefix: &[u8]| usize::from(u16::from_be_bytes([prefix[0], prefix[1]]));
    for (prefix, _) in &wanted {
        begins[bit(prefix) / 64] |= 1 << (bit(prefix) % 64);
    }
    let mut found = Vec::new();
    for row in table.iter()?.rev().take(most.div_ceil(BLOCK as usize).saturating_add(1)) {
        let (block, row) = row?;
        for (at, prefix) in row.value().chunks_exact(PREFIX).enumerate().rev() {
            if begins[bit(prefix) / 64] & (1 << (bit(prefix) % 64)) == 0 {
                continue;
            }
            let from = wanted.partition_point(|(wanted, _)| wanted.as_slice() < prefix);
            let same = wanted[from..].iter().take_while(|(wanted, _)| wanted == prefix);
            found.extend(same.map(|(_, id)| (*id, block.value() * BLOCK + at as u64)));
        }
    }
    Ok(found)
}

/// Adds the ids of the events from sequence number `from` on.
pub(super) fn append(
    table: &mut Table<'_, u64, &'static [u8]>,
    from: u64,
    ids: &[[u8; ID]],
) -> Result<(), StoreError> {
    let mut seq = from;
    let mut ids = ids;
    while !ids.is_empty() {
        let (block, at) = (seq / BLOCK, (seq % BLOCK) as usize);
        let mut row = table.get(block)?.map(|row| row.value().to_vec()).unwrap_or_default();
        row.resize(at * PREFIX, 0);
        let (here, rest) = ids.split_at(ids.len().min(BLOCK as usize - at));
        row.extend(here.iter().flat_map(prefix));
        table.insert(block, row.as_slice())?;
        seq += here.len() as u64;
        ids = rest;
    }
    Ok(())
}

/// Removes the rows whose events all come before sequence number `first`.
pub(super) fn prune(table: &mut Table<'_, u64, &'static [u8]>, first: u64) -> Result<(), StoreError> {
    table.retain_in(..first / BLOCK, |_, _| false)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redb::{Database, ReadableDatabase, ReadableTableMetadata};

    use super::*;

    fn id(n: u32) -> [u8; ID] {
        let mut id = [0; ID];
        // Many share their first two bytes, some their first eight.
        id[..2].copy_from_slice(&((n % 7) as u16).to_be_bytes());
        id[2..6].copy_from_slice(&(n / 3).to_be_bytes());
        id[8..12].copy_from_slice(&n.to_be_bytes());
        id
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

        #[test]
        fn what_was_appended_is_found_under_its_number(
            first in prop_oneof![Just(1u64), 1..2_000u64],
            batches in prop::collection::vec(1..700usize, 1..6),
            pruned in 0..2_000u64,
        ) {
            let db = Database::builder().create_with_backend(redb::backends::InMemoryBackend::new()).unwrap();
            let mut next = first;
            for batch in &batches {
                let txn = db.begin_write().unwrap();
                let ids: Vec<_> = (0..*batch).map(|n| id((next - first) as u32 + n as u32)).collect();
                append(&mut txn.open_table(TABLE).unwrap(), next, &ids).unwrap();
                txn.commit().unwrap();
                next += *batch as u64;
            }
            let gone = first + pruned;
            let txn = db.begin_write().unwrap();
            prune(&mut txn.open_table(TABLE).unwrap(), gone).unwrap();
            txn.commit().unwrap();
            let txn = db.begin_read().unwrap();
            let table = txn.open_table(TABLE).unwrap();
            for seq in (gone.max(first)..next).step_by(37) {
                let wanted = id((seq - first) as u32);
                let found = find(&table, &[wanted], usize::MAX).unwrap();
                prop_assert!(found.contains(&(wanted, seq)), "{seq} not in {found:?}");
                prop_assert!(found.is_sorted_by(|a, b| a.1 > b.1));
            }
            prop_assert!(find(&table, &[id(1_000_000)], usize::MAX).unwrap().is_empty());
            let rows = table.len().unwrap();
            prop_assert!(rows <= (next - gone.min(next)) / BLOCK + 2, "{rows} rows for {gone}..{next}");
        }
    }

    #[test]
    fn a_repeated_event_is_looked_for_among_the_newest_only() {
        let db = Database::builder().create_with_backend(redb::backends::InMemoryBackend::new()).unwrap();
        let txn = db.begin_write().unwrap();
        let mut table = txn.open_table(TABLE).unwrap();
        let ids: Vec<_> = (0..5_000).map(id).collect();
        append(&mut table, 1, &ids).unwrap();
        assert!(find(&table, &[id(1)], 1_000).unwrap().is_empty());
        assert!(find(&table, &[id(4_200)], 1_000).unwrap().contains(&(id(4_200), 4_201)));
        assert_eq!(find(&table, &[id(1)], 5_000).unwrap(), [(id(1), 2)]);
    }
}
