//! `kurir preset`: run by a unit as root, at each start of the box and before its network is up.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use kurir::{lan, preset};

/// How long a driver may take to bring the hardware address that the box is named by.
const HARDWARE: Duration = Duration::from_secs(30);

/// Reads the person's file and the image's own, and writes what follows from them below `into`. What is wrong in either
/// goes to standard error and into a file for the panel; it is no error.
///
/// # Errors
/// A file that cannot be written. The others are.
pub(crate) fn run(from: &Path, base: &Path, into: &Path) -> anyhow::Result<()> {
    let own = std::fs::read_to_string(base).unwrap_or_else(|e| {
        eprintln!("kurir preset: the image's settings {}: {e}; the defaults hold", base.display());
        String::new()
    });
    let plan = preset::plan(&preset::find(from), &own, |set, data_dir| {
        if set.is_none() {
            lan::await_hardware(HARDWARE);
        }
        lan::host_name(set, data_dir)
    });
    for problem in &plan.problems {
        eprintln!("kurir preset: {problem}");
    }
    let group = preset::service_group();
    if group.is_none() {
        eprintln!("kurir preset: there is no group kurir that could read the settings; only this user can");
    }
    let failures = preset::write(&plan, into, group);
    ensure!(failures.is_empty(), "{}", failures.join("; "));
    Ok(())
}
