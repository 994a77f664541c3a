//! What is known of the last update, across restarts and power cuts.

use serde::{Deserialize, Serialize};

use super::bundle::Version;
use super::{Boot, Memory, Slot, UpdateError, failed};

/// How far an update is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Stage {
    /// There is none.
    #[default]
    Idle,
    /// It is being written.
    Writing {
        /// Which.
        version: Version,
    },
    /// It can be tried.
    Written {
        /// Where it is.
        slot: Slot,
        /// Which.
        version: Version,
    },
    /// The box restarts into it, or runs from it on trial.
    Trying {
        /// Where it is.
        slot: Slot,
        /// Which.
        version: Version,
    },
    /// It was not healthy, and the box restarts into the system before it. Until then it is still on trial.
    GivenUp {
        /// Where it is.
        slot: Slot,
        /// Which.
        version: Version,
        /// Why.
        reason: String,
    },
}

/// What became of the last update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The box runs it.
    Committed {
        /// Which.
        version: Version,
    },
    /// It was tried, and the box went back.
    RolledBack {
        /// Which.
        version: Version,
        /// Why.
        reason: String,
    },
    /// It was not written.
    Failed {
        /// Which.
        version: Version,
        /// Why.
        reason: String,
    },
}

/// Everything that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// How far the present update is.
    pub stage: Stage,
    /// What became of the one before.
    #[serde(default)]
    pub last: Option<Outcome>,
}

/// A record that cannot be read counts as none: it only explains, and never decides what starts.
pub(super) fn load(memory: &mut impl Memory) -> Result<Record, UpdateError> {
    let bytes = memory.load().map_err(failed("reading the update's record"))?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
}

/// What is known, as it is: [`start`] corrects it after a restart.
///
/// # Errors
/// [`UpdateError::Io`].
pub fn known(memory: &mut impl Memory) -> Result<Record, UpdateError> {
    load(memory)
}

pub(super) fn save(memory: &mut impl Memory, record: &Record) -> Result<(), UpdateError> {
    let bytes = serde_json::to_vec(record)
        .map_err(|e| UpdateError::Io { what: "writing the update's record".into(), source: e.into() })?;
    memory.save(&bytes).map_err(failed("writing the update's record"))
}

/// Records that an update was not even begun, unless another one is under way.
///
/// # Errors
/// [`UpdateError::Io`].
pub fn refused(memory: &mut impl Memory, version: Version, reason: String) -> Result<(), UpdateError> {
    let kept = load(memory)?;
    match kept.stage {
        Stage::Idle | Stage::Written { .. } => {
            let last = Some(Outcome::Failed { version, reason });
            save(memory, &Record { last, ..kept })
        }
        Stage::Writing { .. } | Stage::Trying { .. } | Stage::GivenUp { .. } => Ok(()),
    }
}

/// Whether the system that runs is on trial: read by the service, which may neither write the record nor see the firmware's
/// file. For a moment after a start it also says so of a system that the power cut in between made permanent.
///
/// # Errors
/// [`UpdateError::Io`].
pub fn on_trial(running: Slot, memory: &mut impl Memory) -> Result<bool, UpdateError> {
    Ok(
        matches!(load(memory)?.stage, Stage::Trying { slot, .. } | Stage::GivenUp { slot, .. } if slot == running),
    )
}

/// Brings the record up to date after a start, whatever happened before it, and returns it. A record that says
/// [`Stage::Trying`] afterwards means that this start is the trial, and [`Stage::GivenUp`] that it has failed already.
///
/// # Errors
/// [`UpdateError::Io`].
pub fn start(boot: &mut impl Boot, memory: &mut impl Memory) -> Result<Record, UpdateError> {
    let running = boot.running().map_err(failed("asking which slot runs"))?;
    let preferred = boot.preferred().map_err(failed("asking which slot is preferred"))?;
    let before = load(memory)?;
    let idle = |last| Record { stage: Stage::Idle, last: Some(last) };
    let after = match before.stage.clone() {
        Stage::Idle | Stage::Written { .. } => before.clone(),
        Stage::Writing { version } => idle(Outcome::Failed {
            version,
            reason: "writing it was interrupted, by a restart or a power cut; start it again".into(),
        }),
        Stage::Trying { slot, version } if running != slot => idle(Outcome::RolledBack {
            version,
            reason: "the new system did not come up, or the power was cut before it was kept".into(),
        }),
        Stage::GivenUp { slot, version, reason } if running != slot => {
            idle(Outcome::RolledBack { version, reason })
        }
        // The power was cut after the flag was set and before that was recorded.
        Stage::Trying { slot, version } | Stage::GivenUp { slot, version, .. } if preferred == slot => {
            idle(Outcome::Committed { version })
        }
        Stage::Trying { .. } | Stage::GivenUp { .. } => before.clone(),
    };
    if after != before {
        save(memory, &after)?;
    }
    Ok(after)
}
