//! The gateway's settings: those of the image, and over them those of the file. Pure.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::problem::Problem;
use crate::config::{Config, Refused, text_of};

/// What only the image may choose: where its partitions and folders are, and where its console is.
const OF_THE_IMAGE: [&str; 6] =
    ["data_dir", "update_slot_a", "update_slot_b", "update_autoboot", "update_key", "console"];
/// Ports below are closed to the service (systemd/sysctl.conf).
const LOWEST_PORT: u16 = 80;

/// The settings in force.
pub(super) struct Settings {
    pub(super) config: Config,
    /// By key; each passed its own check.
    texts: BTreeMap<String, String>,
}

impl Settings {
    /// The image's own settings. What is wrong in them is left out.
    pub(super) fn of_the_image(text: &str, problems: &mut Vec<Problem>) -> Settings {
        let mut settings = Settings { config: Config::default(), texts: BTreeMap::new() };
        let Ok(table) = text.parse::<Table>() else {
            problems.push(Problem::Base("TOML".into()));
            return settings;
        };
        for (key, value) in table {
            let text = text_of(value);
            match settings.config.take(&key, &text) {
                Ok(()) => {
                    settings.texts.insert(key, text);
                }
                Err(_) => problems.push(Problem::Base(key)),
            }
        }
        settings
    }

    /// Takes over what the file sets, each setting for itself.
    pub(super) fn override_with(&mut self, table: &Table, problems: &mut Vec<Problem>) {
        let before = self.texts.clone();
        for (key, value) in table.iter().filter(|(key, _)| *key != "network") {
            if let Err(problem) = self.override_one(key, value) {
                problems.push(problem);
            }
        }
        // One port cannot be both. Whichever the file chose goes back to what the image says.
        let (http, https) = (self.config.listen, self.config.listen_https);
        if https.is_some_and(|https| https.port() == http.port() && http.port() != 0) {
            for key in ["listen", "listen_https"].into_iter().filter(|key| table.contains_key(*key)) {
                problems.push(Problem::Setting(key.into(), String::new()));
                self.restore(key, before.get(key));
            }
        }
    }

    fn override_one(&mut self, key: &str, value: &Value) -> Result<(), Problem> {
        if OF_THE_IMAGE.contains(&key) {
            return Err(Problem::OfTheImage(key.to_owned()));
        }
        if !Config::keys().any(|known| known == key) {
            return Err(Problem::UnknownSetting(key.to_owned()));
        }
        let wrong = |reason| Problem::Setting(key.to_owned(), reason);
        if matches!(value, Value::Table(_) | Value::Datetime(_)) {
            return Err(wrong(String::new()));
        }
        let text = text_of(value.clone());
        let before = self.texts.get(key).cloned();
        match self.config.take(key, &text) {
            Ok(()) => {}
            Err(Refused::Unknown) => return Err(Problem::UnknownSetting(key.to_owned())),
            Err(Refused::Value(reason)) => return Err(wrong(reason)),
        }
        self.texts.insert(key.to_owned(), text);
        // An address that the service cannot bind would leave a box that nobody reaches.
        let address = match key {
            "listen" => Some(self.config.listen),
            "listen_https" => self.config.listen_https,
            _ => None,
        };
        let fits = |ip: std::net::IpAddr| ip.is_unspecified() || ip.is_loopback();
        if address.is_some_and(|address| !fits(address.ip()) || address.port() < LOWEST_PORT) {
            self.restore(key, before.as_ref());
            return Err(wrong(String::new()));
        }
        Ok(())
    }

    /// Back to what the image says, or to the default.
    fn restore(&mut self, key: &str, before: Option<&String>) {
        let default = Config::default_of(key).unwrap_or_default();
        if self.config.take(key, before.map_or(default, String::as_str)).is_err() {
            // Both were in force before.
            log::error!("{key}: cannot be set back");
        }
        match before {
            Some(text) => self.texts.insert(key.to_owned(), text.clone()),
            None => self.texts.remove(key),
        };
    }

    /// Fixes the host name, so that the gateway announces the one that the network was told.
    pub(super) fn fix_host_name(&mut self, name: &str) {
        if self.config.take("host_name", name).is_ok() {
            self.texts.insert("host_name".into(), name.to_owned());
        }
    }

    /// The gateway's configuration file.
    pub(super) fn to_toml(&self) -> String {
        let mut out = String::from(
            "# Written at each start from the image's settings and from kurir.toml on the card's first partition. Changes here\n\
             # are lost.\n",
        );
        for (key, text) in &self.texts {
            out.push_str(&format!("{key} = {}\n", Value::String(text.clone())));
        }
        out
    }
}

#[cfg(test)]
mod tests;
