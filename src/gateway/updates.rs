//! How updates come in over the network.

use crate::config::Config;
use crate::media::Spool;
use crate::update::Rules;
use crate::update::intake::{Intake, NoIntake, Places};

pub(super) fn intake(config: &Config, spool: &Spool) -> Result<Intake, NoIntake> {
    if config.update_autoboot.is_none() || config.update_slot_a.is_empty() {
        return Err(NoIntake::Slots);
    }
    let rules = match config.update_key.as_deref().map(Rules::of_this_box) {
        Some(Ok(rules)) => rules,
        Some(Err(e)) => {
            log::warn!("no update can come over the network: {e}");
            return Err(NoIntake::Key);
        }
        None => {
            log::warn!("no update can come over the network: update_key is not set");
            return Err(NoIntake::Key);
        }
    };
    let places = Places {
        data_dir: config.data_dir.clone(),
        scratch: spool.scratch().to_owned(),
        record: config.update_record_path(),
    };
    Ok(Intake::new(rules, config.update_slot_a.names(), places))
}
