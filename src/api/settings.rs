//! What the dialects do beyond their formats: pacing, limits and addresses from the configuration.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::sync::watch;

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

/// What the box is called, and where it is reached.
#[derive(Clone, Debug)]
pub struct Place {
    /// The host name, without `.local`.
    pub host: String,
    /// Where HTTP is answered.
    pub http: SocketAddr,
    /// Where HTTPS is answered, if it is.
    pub https: Option<SocketAddr>,
    /// Whether `host.local` is announced.
    pub announced: bool,
    /// The box's addresses.
    pub addresses: watch::Receiver<Vec<IpAddr>>,
}

impl Place {
    /// The addresses to type into a browser, the likeliest first. A standard port is left out.
    pub fn urls(&self) -> Vec<String> {
        let mut urls = Vec::new();
        let listeners = [("http", 80, Some(self.http)), ("https", 443, self.https)];
        for (scheme, standard, listener) in listeners {
            let Some(listener) = listener else { continue };
            let port =
                if listener.port() == standard { String::new() } else { format!(":{}", listener.port()) };
            if self.announced {
                urls.push(format!("{scheme}://{}.local{port}", self.host));
            }
            let hosts = if listener.ip().is_unspecified() {
                self.addresses.borrow().clone()
            } else {
                vec![listener.ip()]
            };
            for host in hosts.into_iter().filter(|host| host.is_ipv4() || listener.is_ipv6()) {
                urls.push(match host {
                    IpAddr::V4(v4) => format!("{scheme}://{v4}{port}"),
                    IpAddr::V6(v6) => format!("{scheme}://[{v6}]{port}"),
                });
            }
        }
        urls
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_the_host_and_every_address_and_leave_standard_ports_out() {
        let addresses = vec!["192.168.1.9".parse().unwrap(), "2001:db8::9".parse().unwrap()];
        let (_keep, addresses) = watch::channel(addresses);
        let place = Place {
            host: "kurir-a1b2".into(),
            http: "0.0.0.0:80".parse().unwrap(),
            https: Some("[::]:8443".parse().unwrap()),
            announced: true,
            addresses,
        };
        assert_eq!(
            place.urls(),
            [
                "http://kurir-a1b2.local",
                "http://192.168.1.9",
                "https://kurir-a1b2.local:8443",
                "https://192.168.1.9:8443",
                "https://[2001:db8::9]:8443",
            ]
        );
        let local = Place { http: "127.0.0.1:8080".parse().unwrap(), https: None, announced: false, ..place };
        assert_eq!(local.urls(), ["http://127.0.0.1:8080"]);
    }
}
