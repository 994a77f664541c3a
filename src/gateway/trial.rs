//! The store of a system that is on trial. Where it would have to be brought up to date, the trial works on a copy: the system
//! before it could not read the result, and finds its own as it left it if the trial fails. Meanwhile nothing is accepted,
//! sent or received, so that nothing is in the copy only (docs/decisions/0013-updates.md).

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{StartError, store_options};
use crate::config::Config;
use crate::panel::Language;
use crate::store::{FileLock, OpenError, Store, StoreOptions};
use crate::update::board::{RecordFile, mounted};
use crate::update::{Slot, on_trial};

/// How often it is looked whether the trial is over.
const LOOK: Duration = Duration::from_secs(1);

/// A trial on a copy of the store.
pub(super) struct Rehearsal {
    slot: Slot,
    record: PathBuf,
    /// Nobody else may open the store, either: it would be brought up to date.
    _locked: FileLock,
}

impl Rehearsal {
    /// Resolves when the trial is over.
    pub(super) async fn over(&self) {
        while is_on_trial(self.slot, &self.record) {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// What a person is told meanwhile.
pub(super) fn notice(language: Language) -> String {
    match language {
        Language::Indonesian => "Pembaruan sedang dicoba. Pesan menunggu sekitar satu menit.",
        Language::English => "An update is on trial. Messages wait for about a minute.",
    }
    .to_owned()
}

fn is_on_trial(slot: Slot, record: &Path) -> bool {
    on_trial(slot, &mut RecordFile(record.to_owned())).unwrap_or_else(|e| {
        log::warn!("whether this system is on trial cannot be read, so it counts as one that stays: {e}");
        false
    })
}

/// The slot that runs, if it is on trial.
fn slot_on_trial(config: &Config) -> Option<Slot> {
    // A box without slots has no trials.
    config.update_autoboot.as_ref()?;
    let slot = mounted(&config.slot_file).unwrap_or_else(|e| {
        log::warn!("which slot runs cannot be read: {e}");
        None
    })?;
    is_on_trial(slot, &config.update_record_path()).then_some(slot)
}

/// The store, or the copy that a trial works on.
pub(super) fn open_store(config: &Config) -> Result<(Store, Option<Rehearsal>), StartError> {
    let (path, copy, options) = (config.store_path(), config.trial_path(), store_options(config));
    // Of an earlier trial, or of one that begins anew.
    remove(&copy)?;
    let Some(slot) = slot_on_trial(config) else { return Ok((Store::open(&path, &options)?, None)) };
    match Store::open(&path, &StoreOptions { migrate: false, ..options.clone() }) {
        Err(OpenError::EarlierSchema { found, .. }) => {
            log::info!("on trial: the store, of schema version {found}, is brought up to date in a copy");
        }
        opened => return Ok((opened?, None)),
    }
    let locked = FileLock::take(&path)?;
    let failed = |source| StartError::Trial { path: copy.clone(), source };
    std::fs::copy(&path, &copy).map_err(failed)?;
    let store = Store::open(&copy, &options)?;
    Ok((store, Some(Rehearsal { slot, record: config.update_record_path(), _locked: locked })))
}

/// The store for a command, while no gateway runs. A system on trial leaves an earlier one as it is.
///
/// # Errors
/// [`OpenError`].
pub fn open_offline(config: &Config) -> Result<Store, OpenError> {
    let migrate = slot_on_trial(config).is_none();
    Store::open(&config.store_path(), &StoreOptions { migrate, ..store_options(config) })
}

fn remove(copy: &Path) -> Result<(), StartError> {
    match std::fs::remove_file(copy) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(StartError::Trial { path: copy.to_owned(), source: e })
        }
        _ => Ok(()),
    }
}
