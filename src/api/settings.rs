//! What the dialects do beyond their formats: pacing, limits and addresses from the configuration.

use std::time::Duration;

use super::Shared;
use super::phone::{self, Recipient};
use crate::config::Config;
use crate::ids;
use crate::outbox::{Allow, SessionSettings};

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
}

impl Shared {
    /// A pause for dialect 3's queue of this session, jitter included.
    pub(super) fn queue_pause(&self, own: &SessionSettings) -> Duration {
        let or = |own: Option<u32>, default| own.map_or(default, |ms| Duration::from_millis(ms.into()));
        let delay = or(own.queue_delay_ms, self.settings.queue_delay);
        let jitter = or(own.queue_jitter_ms, self.settings.queue_jitter);
        delay + jitter.mul_f64(ids::roll())
    }

    /// What `main` stands for in this session's queue.
    pub(super) fn main_number<'a>(&'a self, own: &'a SessionSettings) -> Option<&'a str> {
        own.main_number.as_deref().or(self.settings.main_number.as_deref())
    }

    /// Whether dialect 3's queue of this session may write to this number (digits) or JID.
    pub(super) fn queue_allows(&self, own: &SessionSettings, recipient: &str) -> bool {
        let list = match &own.queue_allow {
            Some(Allow::Everybody) => None,
            Some(Allow::Only(list)) => Some(list),
            None => self.settings.queue_allow.as_ref(),
        };
        let Some(list) = list else { return true };
        list.iter().any(|entry| match phone::recipient(entry, &self.country_code) {
            Ok(Recipient::Number(entry) | Recipient::Jid(entry)) => entry == recipient,
            Err(_) => false,
        })
    }
}
