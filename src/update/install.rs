//! Writes an update into the slot that does not run.

use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::board::KIND;
use super::bundle::{Bundle, Manifest, Part, PublicKey, Version};
use super::record::{self, Outcome, Record, Stage};
use super::{Boot, Disk, Memory, Slot, UpdateError, failed};

/// Bytes that are read and written at once, unless a test says otherwise: an SD card's erase block is a multiple of it.
pub const PIECE: usize = 1024 * 1024;
/// Bytes after which the disk has to catch up, so that no more than this waits in memory.
pub(super) const SYNC_EVERY: u64 = 16 * 1024 * 1024;

/// What an update has to fit.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Who signs.
    pub key: PublicKey,
    /// The kind of this box.
    pub board: String,
    /// The version that runs.
    pub version: Version,
    /// Bytes that are read and written at once: [`PIECE`].
    pub piece: usize,
}

impl Rules {
    /// Those of the program that runs, and of the key in this file.
    ///
    /// # Errors
    /// [`UpdateError::Io`], [`UpdateError::Key`].
    pub fn of_this_box(key_file: &Path) -> Result<Rules, UpdateError> {
        let what = format!("the key that updates are checked with, {}", key_file.display());
        let key = PublicKey::parse(&std::fs::read_to_string(key_file).map_err(failed(what))?)?;
        let version = env!("CARGO_PKG_VERSION").parse().map_err(UpdateError::Manifest)?;
        Ok(Rules { key, board: KIND.to_owned(), version, piece: PIECE })
    }
}

/// Checks the update while it is read, writes it into the slot that does not run, and reads it back. Nothing starts
/// from there before [`try_once`](super::try_once); the slot that runs is never touched.
///
/// `progress` is told bytes written, and bytes in all.
///
/// # Errors
/// [`UpdateError`]. The reason is kept in the record as well.
pub fn install(
    update: impl Read,
    rules: &Rules,
    disk: &mut impl Disk,
    boot: &mut impl Boot,
    memory: &mut impl Memory,
    mut progress: impl FnMut(u64, u64),
) -> Result<Manifest, UpdateError> {
    let running = boot.running().map_err(failed("asking which slot runs"))?;
    let preferred = boot.preferred().map_err(failed("asking which slot is preferred"))?;
    if running != preferred {
        return Err(UpdateError::OnTrial(rules.version.to_string()));
    }
    let target = running.other();
    let bundle = Bundle::open(update, &rules.key)?;
    check(bundle.manifest(), rules, disk, target)?;
    let version = bundle.manifest().version;
    let mut kept = record::load(memory)?;
    kept.stage = Stage::Writing { version };
    record::save(memory, &kept)?;
    match write(bundle, rules.piece, disk, target, &mut progress) {
        Ok(manifest) => {
            record::save(memory, &Record { stage: Stage::Written { slot: target, version }, ..kept })?;
            Ok(manifest)
        }
        Err(e) => {
            let last = Some(Outcome::Failed { version, reason: e.to_string() });
            record::save(memory, &Record { stage: Stage::Idle, last })?;
            Err(e)
        }
    }
}

/// Whether an update is one for this box: `this` are the names of a slot's partitions.
pub(super) fn fits(manifest: &Manifest, rules: &Rules, this: Vec<String>) -> Result<(), UpdateError> {
    if manifest.board != rules.board {
        return Err(UpdateError::Board { update: manifest.board.clone(), this: rules.board.clone() });
    }
    if manifest.version <= rules.version {
        return Err(UpdateError::NotNewer { update: manifest.version, this: rules.version });
    }
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names.join(", ")
    };
    let this = sorted(this);
    let update = sorted(manifest.parts.iter().map(|part| part.name.clone()).collect());
    // A slot with one old and one new partition would be neither.
    if this != update {
        return Err(UpdateError::Parts { update, this });
    }
    Ok(())
}

fn check(manifest: &Manifest, rules: &Rules, disk: &mut impl Disk, target: Slot) -> Result<(), UpdateError> {
    fits(manifest, rules, disk.parts())?;
    for Part { name, size, .. } in &manifest.parts {
        let room = disk.room(target, name).map_err(failed(format!("looking at {name} of slot {target}")))?;
        if *size > room {
            return Err(UpdateError::TooLarge { part: name.clone(), size: *size, room });
        }
    }
    Ok(())
}

fn write(
    bundle: Bundle<impl Read>,
    piece: usize,
    disk: &mut impl Disk,
    target: Slot,
    progress: &mut impl FnMut(u64, u64),
) -> Result<Manifest, UpdateError> {
    let total: u64 = bundle.manifest().parts.iter().map(|part| part.size).sum();
    let (mut done, mut unsynced) = (0, 0);
    let manifest = bundle.unpack(piece, |part, offset, bytes| {
        let what = || format!("writing {} of slot {target}", part.name);
        disk.write(target, &part.name, offset, bytes).map_err(failed(what()))?;
        done += bytes.len() as u64;
        unsynced += bytes.len() as u64;
        if unsynced >= SYNC_EVERY || offset + bytes.len() as u64 == part.size {
            disk.sync(target, &part.name).map_err(failed(what()))?;
            unsynced = 0;
        }
        progress(done, total);
        Ok(())
    })?;
    for part in &manifest.parts {
        if read_back(part, piece, disk, target)? != part.sha256.to_ascii_lowercase() {
            return Err(UpdateError::Card(format!("{} of slot {target}", part.name)));
        }
    }
    Ok(manifest)
}

fn read_back(part: &Part, piece: usize, disk: &mut impl Disk, target: Slot) -> Result<String, UpdateError> {
    let (mut digest, mut offset, mut piece) = (Sha256::new(), 0, vec![0; piece]);
    while offset < part.size {
        let left = usize::try_from(part.size - offset).unwrap_or(usize::MAX).min(piece.len());
        disk.read(target, &part.name, offset, &mut piece[..left])
            .map_err(failed(format!("reading {} of slot {target} back", part.name)))?;
        digest.update(&piece[..left]);
        offset += left as u64;
    }
    Ok(hex::encode(digest.finalize()))
}
