//! A disk that loses power, fills up, or fails to sync.

use std::io;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use crate::Random;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Everything since the last sync.
    All,
    /// Whole writes, in no order.
    Some,
    /// 512-byte sectors of writes.
    Sectors,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum When {
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
pub(crate) struct Image {
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
    pub(crate) failing_syncs: usize,
    /// Which of the next syncs fail, the lowest bit first.
    pub(crate) sync_failures: u32,
    /// Where the page begins that cannot be read.
    pub(crate) bad_page: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
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
pub(crate) struct PowerCut(pub(crate) Arc<Mutex<Image>>);

impl PowerCut {
    pub(crate) fn new(bytes: Vec<u8>, when: When, loss: Loss, seed: u64) -> Self {
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
            sync_failures: 0,
            bad_page: None,
        })))
    }

    /// What is on the disk: what the crash left, or what a crash right now would certainly leave.
    pub(crate) fn left(&self) -> Vec<u8> {
        let image = self.0.lock().unwrap();
        image.left.clone().unwrap_or_else(|| image.synced.clone())
    }

    pub(crate) fn has_crashed(&self) -> bool {
        self.0.lock().unwrap().left.is_some()
    }

    pub(crate) fn counts(&self) -> (usize, usize) {
        let image = self.0.lock().unwrap();
        (image.syncs, image.writes)
    }

    /// Makes the page unreadable that has these bytes; true if there is one.
    pub(crate) fn damage(&self, bytes: &[u8]) -> bool {
        let mut image = self.0.lock().unwrap();
        let at = image.now.windows(bytes.len()).position(|part| part == bytes);
        image.bad_page = at.map(|at| at as u64 / 4096 * 4096);
        at.is_some()
    }

    pub(crate) fn set_full(&self, full: Full) {
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
        if image.bad_page.is_some_and(|page| offset < page + 4096 && page < offset + out.len() as u64) {
            return Err(io::Error::other("the card cannot read this page"));
        }
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
        let fails = image.failing_syncs > 0 || image.sync_failures & 1 == 1;
        image.sync_failures >>= 1;
        if fails {
            image.failing_syncs = image.failing_syncs.saturating_sub(1);
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
