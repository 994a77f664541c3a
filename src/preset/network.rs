//! The `[network]` table: pure. Each wrong value falls back alone.

use std::net::IpAddr;
use std::str::FromStr;

use toml::{Table, Value};

use super::country::country;
use super::problem::{Problem, Wrong};

/// Entries that a list may have.
const LONGEST_LIST: usize = 8;

/// How the box gets onto the network.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Network {
    pub(super) wifi: Option<Wifi>,
    /// `None`: DHCP everywhere.
    pub(super) address: Option<Static>,
    /// Instead of those that DHCP names; empty: those.
    pub(super) dns: Vec<IpAddr>,
    /// Empty: those that DHCP names, or the system's own.
    pub(super) time_servers: Vec<String>,
}

/// The wireless network to join.
#[derive(PartialEq, Eq)]
pub(super) struct Wifi {
    pub(super) ssid: String,
    pub(super) lock: Lock,
    pub(super) hidden: bool,
    /// Two capitals.
    pub(super) country: &'static str,
}

/// What opens it.
#[derive(PartialEq, Eq)]
pub(super) enum Lock {
    Open,
    /// 8 to 63 printable ASCII characters.
    Passphrase(String),
    /// 64 hexadecimal digits.
    Key(String),
}

/// A fixed address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Static {
    pub(super) interface: Interface,
    pub(super) ip: IpAddr,
    /// Bits of the network.
    pub(super) prefix: u8,
    pub(super) gateway: Option<IpAddr>,
}

/// Which interface a fixed address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interface {
    Ethernet,
    Wifi,
}

/// A value that is there, and right or not; what is wrong with it was told already.
enum Given<T> {
    Nothing,
    Wrong,
    Right(T),
}

impl<T> Given<T> {
    fn right(self) -> Option<T> {
        match self {
            Given::Right(value) => Some(value),
            Given::Nothing | Given::Wrong => None,
        }
    }
}

/// The table, and what is wrong in it.
struct Fields<'a> {
    table: &'a Table,
    problems: &'a mut Vec<Problem>,
}

/// Every key that is understood.
pub(super) const KEYS: [&str; 9] = [
    "wifi_ssid",
    "wifi_password",
    "wifi_hidden",
    "country",
    "address",
    "gateway",
    "dns",
    "time_servers",
    "interface",
];

/// Reads the value of `network`.
pub(super) fn read(value: Option<&Value>, problems: &mut Vec<Problem>) -> Network {
    let table = match value {
        None => return Network::default(),
        Some(Value::Table(table)) => table,
        Some(_) => {
            problems.push(Problem::Network("network", Wrong::NoTable));
            return Network::default();
        }
    };
    let unknown = table.keys().filter(|key| !KEYS.contains(&key.as_str()));
    problems.extend(unknown.map(|key| Problem::UnknownNetwork(key.clone())));
    let mut fields = Fields { table, problems };
    let wifi = fields.wifi();
    Network {
        address: fields.address(wifi.is_some()),
        wifi,
        dns: fields.list("dns", Wrong::Dns, |text| text.parse().ok().filter(usable)),
        time_servers: fields.list("time_servers", Wrong::TimeServer, server),
    }
}

impl Fields<'_> {
    fn wrong<T>(&mut self, key: &'static str, wrong: Wrong) -> Given<T> {
        self.problems.push(Problem::Network(key, wrong));
        Given::Wrong
    }

    /// An empty text counts as none.
    fn text(&mut self, key: &'static str) -> Given<String> {
        match self.table.get(key) {
            None => Given::Nothing,
            Some(Value::String(text)) if text.is_empty() => Given::Nothing,
            Some(Value::String(text)) => Given::Right(text.clone()),
            // A password of digits is no number: one of them may begin with zeros.
            Some(_) => self.wrong(key, Wrong::NoText),
        }
    }

    fn parsed<T: FromStr>(&mut self, key: &'static str, wrong: Wrong) -> Given<T> {
        match self.text(key) {
            Given::Right(text) => match text.trim().parse() {
                Ok(value) => Given::Right(value),
                Err(_) => self.wrong(key, wrong),
            },
            Given::Nothing => Given::Nothing,
            Given::Wrong => Given::Wrong,
        }
    }

    /// A list, or a text with commas. Wrong entries are left out and told once.
    fn list<T>(&mut self, key: &'static str, wrong: Wrong, entry: impl Fn(&str) -> Option<T>) -> Vec<T> {
        let entries: Vec<Option<&str>> = match self.table.get(key) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items.iter().map(Value::as_str).collect(),
            Some(Value::String(text)) => {
                text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(Some).collect()
            }
            Some(_) => {
                self.wrong::<()>(key, Wrong::NoList);
                return Vec::new();
            }
        };
        if entries.len() > LONGEST_LIST {
            self.wrong::<()>(key, Wrong::TooMany);
        }
        let read: Vec<Option<T>> =
            entries.into_iter().take(LONGEST_LIST).map(|text| entry(text?.trim())).collect();
        if read.iter().any(Option::is_none) {
            self.wrong::<()>(key, wrong);
        }
        read.into_iter().flatten().collect()
    }

    /// All of it or nothing: a password that is wrong must not become an open network.
    fn wifi(&mut self) -> Option<Wifi> {
        let ssid = match self.text("wifi_ssid") {
            Given::Right(ssid) if ssid.len() > 32 => self.wrong("wifi_ssid", Wrong::Ssid),
            ssid => ssid,
        };
        let lock = match self.text("wifi_password") {
            Given::Nothing => Given::Right(Lock::Open),
            Given::Wrong => Given::Wrong,
            Given::Right(password) => match lock(password) {
                Ok(lock) => Given::Right(lock),
                Err(wrong) => self.wrong("wifi_password", wrong),
            },
        };
        let hidden = match self.table.get("wifi_hidden") {
            None => false,
            Some(Value::Boolean(hidden)) => *hidden,
            Some(_) => {
                self.wrong::<()>("wifi_hidden", Wrong::NoBool);
                false
            }
        };
        let named = match self.text("country") {
            Given::Right(letters) => match country(&letters) {
                Some(country) => Given::Right(country),
                None => self.wrong("country", Wrong::Country),
            },
            Given::Nothing => Given::Nothing,
            Given::Wrong => Given::Wrong,
        };
        let ssid = match ssid {
            Given::Right(ssid) => ssid,
            Given::Nothing => {
                if matches!(lock, Given::Right(Lock::Passphrase(_) | Lock::Key(_))) {
                    self.wrong::<()>("wifi_password", Wrong::WithoutSsid);
                }
                return None;
            }
            Given::Wrong => return None,
        };
        if matches!(named, Given::Nothing) {
            self.wrong::<()>("country", Wrong::CountryMissing);
        }
        Some(Wifi { ssid, lock: lock.right()?, hidden, country: named.right()? })
    }

    fn address(&mut self, wifi: bool) -> Option<Static> {
        let address = match self.text("address") {
            Given::Right(text) => match cidr(text.trim()) {
                Some(address) => Given::Right(address),
                None => self.wrong("address", Wrong::Address),
            },
            Given::Nothing => Given::Nothing,
            Given::Wrong => Given::Wrong,
        };
        let gateway = match self.parsed::<IpAddr>("gateway", Wrong::Gateway) {
            Given::Right(gateway) if !usable(&gateway) => self.wrong("gateway", Wrong::Gateway),
            gateway => gateway,
        };
        let interface = match self.text("interface") {
            Given::Right(name) => match name.trim() {
                "ethernet" => Given::Right(Interface::Ethernet),
                "wifi" if wifi => Given::Right(Interface::Wifi),
                "wifi" => self.wrong("interface", Wrong::NoWifi),
                _ => self.wrong("interface", Wrong::Interface),
            },
            Given::Nothing if wifi => Given::Right(Interface::Wifi),
            Given::Nothing => Given::Right(Interface::Ethernet),
            Given::Wrong => Given::Wrong,
        };
        let (ip, prefix) = match address {
            Given::Right(address) => address,
            Given::Nothing => {
                if matches!(gateway, Given::Right(_)) {
                    self.wrong::<()>("gateway", Wrong::WithoutAddress);
                }
                return None;
            }
            Given::Wrong => return None,
        };
        // Without a way out the box can still be reached, and shows what is wrong.
        let gateway = match gateway {
            Given::Right(gateway) if gateway == ip || !same_network(ip, gateway, prefix) => {
                self.wrong("gateway", Wrong::GatewayElsewhere)
            }
            Given::Nothing => self.wrong("gateway", Wrong::GatewayMissing),
            gateway => gateway,
        };
        // On the wrong interface it would be worse than DHCP.
        Some(Static { interface: interface.right()?, ip, prefix, gateway: gateway.right() })
    }
}

fn lock(password: String) -> Result<Lock, Wrong> {
    match password.len() {
        64 if password.bytes().all(|b| b.is_ascii_hexdigit()) => Ok(Lock::Key(password.to_ascii_lowercase())),
        _ if !password.bytes().all(|b| (b' '..=b'~').contains(&b)) => Err(Wrong::PasswordLetters),
        8..=63 => Ok(Lock::Passphrase(password)),
        _ => Err(Wrong::PasswordLength),
    }
}

/// Whether a device on the network can have it.
fn usable(ip: &IpAddr) -> bool {
    let special = ip.is_unspecified() || ip.is_loopback() || ip.is_multicast();
    !special
        && match ip {
            IpAddr::V4(v4) => !v4.is_broadcast() && v4.octets()[0] != 0,
            // It means nothing without an interface.
            IpAddr::V6(v6) => !v6.is_unicast_link_local() && v6.to_ipv4_mapped().is_none(),
        }
}

/// The bits of the address, and how many there are.
fn bits(ip: IpAddr) -> (u128, u32) {
    match ip {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

fn same_network(one: IpAddr, other: IpAddr, prefix: u8) -> bool {
    let ((a, width), (b, other_width)) = (bits(one), bits(other));
    width == other_width && (a ^ b).checked_shr(width - u32::from(prefix)).unwrap_or(0) == 0
}

/// `192.168.1.9/24`: an address that a device may have, with its network.
fn cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (ip, prefix) = text.split_once('/')?;
    let ip: IpAddr = ip.parse().ok()?;
    let prefix: u8 = Some(prefix).filter(|p| p.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()?;
    let (address, width) = bits(ip);
    let host = width.checked_sub(u32::from(prefix))?;
    if prefix == 0 || !usable(&ip) {
        return None;
    }
    // The network itself and its broadcast address; a link of two has neither.
    let mask = (1_u128 << host).wrapping_sub(1);
    let reserved = ip.is_ipv4() && host >= 2 && matches!(address & mask, low if low == 0 || low == mask);
    (!reserved).then_some((ip, prefix))
}

/// A time server: an address or a host name.
fn server(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let dotted = name.len() <= 253 && name.split('.').all(crate::lan::is_label);
    // What looks like an address must be one.
    let digits = name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let right = text.parse::<IpAddr>().is_ok_and(|ip| usable(&ip)) || (dotted && !digits);
    right.then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests;
