//! How updates come in over the network.

use crate::config::Config;
use crate::media::Spool;
use crate::update::Rules;
use crate::update::intake::{Intake, Places};

/// `None`: this box has no slots, or no key to check updates with.
pub(super) fn intake(config: &Config, spool: &Spool) -> Option<Intake> {
    if config.update_autoboot.is_none() || config.update_slot_a.is_empty() {
        return None;
    }
    let rules = match Rules::of_this_box(config.update_key.as_deref()?) {
        Ok(rules) => rules,
        Err(e) => {
            log::warn!("updates cannot come over the network (setting update_key): {e}");
            return None;
        }
    };
    let places = Places {
        data_dir: config.data_dir.clone(),
        scratch: spool.scratch().to_owned(),
        record: config.update_record_path(),
    };
    Some(Intake::new(rules, config.update_slot_a.names(), places))
}
