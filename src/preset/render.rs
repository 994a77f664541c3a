//! The files for systemd-networkd, wpa_supplicant and systemd-timesyncd: pure. Every value was checked, and none of them
//! can hold a line break or a quote by the time it gets here.

use std::fmt::Write;
use std::net::IpAddr;
use std::num::NonZeroU32;

use ring::pbkdf2;

use super::network::{Interface, Lock, Network, Wifi};

/// IEEE 802.11, annex J.4.1: the key is PBKDF2-HMAC-SHA1 of the passphrase, with the network's name as salt.
const ROUNDS: NonZeroU32 = NonZeroU32::new(4096).expect("it is not zero");

const HEAD: &str =
    "# Written at each start from kurir.toml on the card's first partition. Changes here are lost.\n";

/// The unit of one kind of interface, for systemd-networkd.
pub(super) fn unit(network: &Network, interface: Interface, host_name: &str) -> String {
    // A cable before Wi-Fi, where there are both.
    let (names, metric) = match interface {
        Interface::Ethernet => ("en* eth*", 100),
        Interface::Wifi => ("wl*", 600),
    };
    let fixed = network.address.filter(|fixed| fixed.interface == interface);
    let dhcp = match fixed.map(|fixed| fixed.ip) {
        None => "yes",
        Some(IpAddr::V4(_)) => "no",
        Some(IpAddr::V6(_)) => "ipv4",
    };
    let mut dns = network.dns.clone();
    if dns.is_empty() {
        // Most routers answer, and without DHCP nobody else is known.
        dns.extend(fixed.and_then(|fixed| fixed.gateway));
    }
    let own_dns = if network.dns.is_empty() { "" } else { "UseDNS=no\n" };
    let mut out = String::from(HEAD);
    // Nothing waits for a cable that is not plugged in. The name is announced by Kurir itself.
    let _ = write!(
        out,
        "[Match]\nName={names}\n\n[Link]\nRequiredForOnline=no\n\n[Network]\nDHCP={dhcp}\nIPv6AcceptRA=yes\n\
         LLMNR=no\nMulticastDNS=no\n"
    );
    if let Some(fixed) = fixed {
        let _ = writeln!(out, "Address={}/{}", fixed.ip, fixed.prefix);
    }
    for server in dns {
        let _ = writeln!(out, "DNS={server}");
    }
    if let Some(gateway) = fixed.and_then(|fixed| fixed.gateway) {
        let _ = write!(out, "\n[Route]\nGateway={gateway}\nMetric={metric}\n");
    }
    // The hardware address, so that a router that reserves an address knows the box again after its card was written anew.
    let _ = write!(
        out,
        "\n[DHCPv4]\nClientIdentifier=mac\nHostname={host_name}\nUseHostname=no\nRouteMetric={metric}\n{own_dns}\
         \n[DHCPv6]\nUseHostname=no\n{own_dns}\n[IPv6AcceptRA]\nRouteMetric={metric}\n{own_dns}"
    );
    out
}

/// wpa_supplicant.conf. Name and password are in hexadecimal, so nothing in them can mean anything to its parser.
/// `country` is told to the kernel when wpa_supplicant starts, and with it which channels may be used and how loudly.
pub(super) fn wpa_supplicant(wifi: &Wifi) -> String {
    let mut out = format!("{HEAD}country={}\nupdate_config=0\n", wifi.country);
    let mut network = |priority: u8, lines: &str| {
        let (ssid, hidden) = (hex::encode(&wifi.ssid), u8::from(wifi.hidden));
        let _ = write!(
            out,
            "\nnetwork={{\n\tssid={ssid}\n\tscan_ssid={hidden}\n\tpriority={priority}\n{lines}}}\n"
        );
    };
    let wpa2 = |key: &str| format!("\tkey_mgmt=WPA-PSK WPA-PSK-SHA256\n\tieee80211w=1\n\tpsk={key}\n");
    match &wifi.lock {
        Lock::Open => network(1, "\tkey_mgmt=NONE\n"),
        // WPA3 needs the password itself, which this is not.
        Lock::Key(key) => network(1, &wpa2(key)),
        Lock::Passphrase(password) => {
            // WPA2 wherever it is offered: the Pi's radio says that it can do WPA3, and fails where both are.
            network(1, &wpa2(&psk(&wifi.ssid, password)));
            let password = hex::encode(password);
            network(0, &format!("\tkey_mgmt=SAE\n\tieee80211w=2\n\tsae_password={password}\n"));
        }
    }
    out
}

/// The pre-shared key of WPA2, 64 hexadecimal digits.
fn psk(ssid: &str, password: &str) -> String {
    let mut key = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA1, ROUNDS, ssid.as_bytes(), password.as_bytes(), &mut key);
    hex::encode(key)
}

/// systemd-timesyncd's drop-in.
pub(super) fn timesyncd(servers: &[String]) -> String {
    format!("{HEAD}[Time]\nNTP={}\n", servers.join(" "))
}

#[cfg(test)]
mod tests;
