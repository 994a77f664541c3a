//! The trial of a new system: started once, kept after a healthy minute, given up otherwise.

use std::time::{Duration, Instant};

use super::record::{self, Outcome, Record, Stage};
use super::{Boot, Memory, UpdateError, failed};

/// How long the new system has to be healthy without a break.
pub const HEALTHY_FOR: Duration = Duration::from_secs(60);
/// How long it gets for that.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Restarts the box in the slot that [`install`](super::install()) wrote, once: whatever happens there, the next restart
/// is in the old one, until [`commit`].
///
/// # Errors
/// [`UpdateError::Nothing`], [`UpdateError::Io`].
pub fn try_once(boot: &mut impl Boot, memory: &mut impl Memory) -> Result<(), UpdateError> {
    let kept = record::load(memory)?;
    let Stage::Written { slot, version } = kept.stage else { return Err(UpdateError::Nothing) };
    if boot.preferred().map_err(failed("asking which slot is preferred"))? == slot {
        return Err(UpdateError::Nothing);
    }
    // First the record: a restart that it does not know of would run a trial that nobody ends.
    record::save(memory, &Record { stage: Stage::Trying { slot, version }, ..kept })?;
    let Err(source) = boot.try_other() else { return Ok(()) };
    let reason = format!("the box could not be restarted into it: {source}");
    let last = Some(Outcome::Failed { version, reason });
    record::save(memory, &Record { stage: Stage::Written { slot, version }, last })?;
    Err(failed("restarting into the new system")(source))
}

/// Makes the running system, which was on trial, the one that starts from now on.
///
/// # Errors
/// [`UpdateError::Nothing`] if it is not on trial, [`UpdateError::Io`].
pub fn commit(boot: &mut impl Boot, memory: &mut impl Memory) -> Result<(), UpdateError> {
    let kept = record::load(memory)?;
    let running = boot.running().map_err(failed("asking which slot runs"))?;
    match kept.stage {
        Stage::Trying { slot, version } if slot == running => {
            boot.prefer(slot).map_err(failed(format!("making slot {slot} the preferred one")))?;
            record::save(memory, &Record { stage: Stage::Idle, last: Some(Outcome::Committed { version }) })
        }
        _ => Err(UpdateError::Nothing),
    }
}

/// Records why the trial failed. The caller restarts the box, which then runs the old system. Until that has happened the
/// new one stays on trial: it must not take the store for its own in between.
///
/// # Errors
/// [`UpdateError::Nothing`] if there is no trial, [`UpdateError::Io`].
pub fn give_up(memory: &mut impl Memory, reason: String) -> Result<(), UpdateError> {
    let kept = record::load(memory)?;
    let Stage::Trying { slot, version } = kept.stage else { return Err(UpdateError::Nothing) };
    record::save(memory, &Record { stage: Stage::GivenUp { slot, version, reason }, ..kept })
}

/// Whether the new system has been healthy for long enough: pure.
#[derive(Clone, Debug)]
pub struct Trial {
    give_up: Instant,
    healthy_since: Option<Instant>,
    last_failure: String,
}

/// What a look at the new system's health leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Look again.
    Wait,
    /// Keep it.
    Commit,
    /// Go back, for this reason.
    GiveUp(String),
}

impl Trial {
    /// Begins.
    pub fn new(now: Instant) -> Trial {
        Trial { give_up: now + PATIENCE, healthy_since: None, last_failure: "nothing answered".into() }
    }

    /// Takes one look at the service, its port and its store.
    pub fn look(&mut self, health: Result<(), String>, now: Instant) -> Verdict {
        match health {
            Ok(()) => {
                let since = *self.healthy_since.get_or_insert(now);
                if now.saturating_duration_since(since) >= HEALTHY_FOR {
                    return Verdict::Commit;
                }
            }
            Err(reason) => {
                self.healthy_since = None;
                self.last_failure = reason;
            }
        }
        if now >= self.give_up {
            let minute = HEALTHY_FOR.as_secs();
            return Verdict::GiveUp(format!(
                "the new system was not healthy for {minute} s without a break: {}",
                self.last_failure
            ));
        }
        Verdict::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_healthy_minute_counts() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut trial = Trial::new(start);
        assert_eq!(trial.look(Err("starting".into()), at(0)), Verdict::Wait);
        assert_eq!(trial.look(Ok(()), at(10)), Verdict::Wait);
        assert_eq!(trial.look(Ok(()), at(69)), Verdict::Wait);
        assert_eq!(trial.look(Err("the store is read-only".into()), at(69)), Verdict::Wait);
        assert_eq!(trial.look(Ok(()), at(71)), Verdict::Wait, "the minute begins anew");
        assert_eq!(trial.look(Ok(()), at(131)), Verdict::Commit);
    }

    #[test]
    fn patience_ends_with_the_last_reason() {
        let start = Instant::now();
        let mut trial = Trial::new(start);
        assert_eq!(trial.look(Err("port 80: refused".into()), start), Verdict::Wait);
        match trial.look(Err("port 80: refused".into()), start + PATIENCE) {
            Verdict::GiveUp(reason) => assert!(reason.contains("port 80: refused"), "{reason}"),
            verdict => panic!("{verdict:?}"),
        }
    }
}
