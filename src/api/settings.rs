//! What the dialects do beyond their formats: pacing, limits and addresses from the configuration.

use std::time::Duration;

use crate::config::Config;
use crate::ids;

/// See the module.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// Requests per minute and key; 0: any number.
    pub rate_per_minute: u32,
    /// Number checks per month and key; 0: any number.
    pub checks_per_month: u32,
    /// Pause between two messages of dialect 3's queue.
    pub queue_delay: Duration,
    /// Random extra on top of it, at most this.
    pub queue_jitter: Duration,
    /// What dialect 3's `main` stands for.
    pub main_number: Option<String>,
    /// Whom dialect 3's queue may write to: numbers and groups; `None`: everybody.
    pub queue_allow: Option<Vec<String>>,
    /// The address at which people reach the box, if it has one.
    pub public_url: Option<String>,
}

impl ApiSettings {
    /// From the configuration.
    pub fn from_config(config: &Config) -> ApiSettings {
        ApiSettings {
            rate_per_minute: config.key_rate_per_minute,
            checks_per_month: config.number_checks_per_month,
            queue_delay: config.queue_delay,
            queue_jitter: config.queue_jitter,
            main_number: config.main_number.clone(),
            queue_allow: config.queue_allow.clone(),
            public_url: config.public_url.clone(),
        }
    }

    /// A pause for dialect 3's queue, jitter included.
    pub(super) fn queue_pause(&self) -> Duration {
        self.queue_delay + self.queue_jitter.mul_f64(ids::roll())
    }
}
