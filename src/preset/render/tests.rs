use std::collections::BTreeMap;

use super::super::network::Static;
use super::*;

/// The sections of a unit, as systemd reads them: section and key → values.
fn parsed(unit: &str) -> BTreeMap<(String, String), Vec<String>> {
    let mut section = String::new();
    let mut read: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for line in unit.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            Some(name) => section = name.to_owned(),
            None => {
                let (key, value) = line.split_once('=').unwrap();
                read.entry((section.clone(), key.to_owned())).or_default().push(value.to_owned());
            }
        }
    }
    read
}

fn value(unit: &str, section: &str, key: &str) -> Vec<String> {
    parsed(unit).remove(&(section.to_owned(), key.to_owned())).unwrap_or_default()
}

fn fixed(interface: Interface, ip: &str, gateway: &str) -> Network {
    let fixed = Static { interface, ip: ip.parse().unwrap(), prefix: 24, gateway: gateway.parse().ok() };
    Network { address: Some(fixed), ..Network::default() }
}

#[test]
fn without_a_word_every_interface_asks_dhcp_by_its_hardware_address() {
    for (interface, names) in [(Interface::Ethernet, "en* eth*"), (Interface::Wifi, "wl*")] {
        let unit = unit(&Network::default(), interface, "kurir-a1b2");
        assert_eq!(value(&unit, "Match", "Name"), [names]);
        assert_eq!(value(&unit, "Network", "DHCP"), ["yes"]);
        assert_eq!(value(&unit, "Network", "IPv6AcceptRA"), ["yes"]);
        assert_eq!(value(&unit, "Network", "LLMNR"), ["no"]);
        assert_eq!(value(&unit, "Network", "MulticastDNS"), ["no"]);
        assert_eq!(value(&unit, "DHCPv4", "ClientIdentifier"), ["mac"]);
        assert_eq!(value(&unit, "DHCPv4", "Hostname"), ["kurir-a1b2"]);
        assert!(value(&unit, "Network", "DNS").is_empty() && value(&unit, "DHCPv4", "UseDNS").is_empty());
        assert!(value(&unit, "Route", "Gateway").is_empty());
    }
}

#[test]
fn a_fixed_address_is_that_of_one_interface() {
    let network = fixed(Interface::Ethernet, "192.168.1.9", "192.168.1.1");
    let cable = unit(&network, Interface::Ethernet, "k");
    assert_eq!(value(&cable, "Network", "Address"), ["192.168.1.9/24"]);
    assert_eq!(value(&cable, "Network", "DHCP"), ["no"]);
    assert_eq!(value(&cable, "Route", "Gateway"), ["192.168.1.1"]);
    assert_eq!(value(&cable, "Network", "DNS"), ["192.168.1.1"], "most routers answer");
    let wifi = unit(&network, Interface::Wifi, "k");
    assert_eq!(value(&wifi, "Network", "DHCP"), ["yes"]);
    assert!(value(&wifi, "Network", "Address").is_empty() && value(&wifi, "Network", "DNS").is_empty());
    let six = unit(&fixed(Interface::Wifi, "2001:db8::9", ""), Interface::Wifi, "k");
    assert_eq!(value(&six, "Network", "DHCP"), ["ipv4"]);
    assert!(value(&six, "Route", "Gateway").is_empty());
}

#[test]
fn named_dns_servers_take_the_place_of_all_others() {
    let mut network = fixed(Interface::Ethernet, "192.168.1.9", "192.168.1.1");
    network.dns = vec!["9.9.9.9".parse().unwrap(), "2620:fe::fe".parse().unwrap()];
    for interface in [Interface::Ethernet, Interface::Wifi] {
        let unit = unit(&network, interface, "k");
        assert_eq!(value(&unit, "Network", "DNS"), ["9.9.9.9", "2620:fe::fe"]);
        for section in ["DHCPv4", "DHCPv6", "IPv6AcceptRA"] {
            assert_eq!(value(&unit, section, "UseDNS"), ["no"], "{section}");
        }
    }
}

#[test]
fn the_key_is_that_of_the_standard() {
    // IEEE 802.11, annex J.4.2, the first and third test vectors.
    assert_eq!(psk("IEEE", "password"), "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e");
    assert_eq!(
        psk(&"Z".repeat(32), &"a".repeat(32)),
        "becb93866bb8c3832cb777c2f559807c8c59afcb6eae734885001300a981cc62"
    );
}

#[test]
fn nothing_in_a_name_or_a_password_reaches_the_parser_of_wpa_supplicant() {
    let ssid = "a\"\n}\nctrl_interface=/tmp #";
    let password = "p\" } # network={";
    let wifi = |lock| Wifi { ssid: ssid.into(), lock, hidden: true, country: "ID" };
    let file = wpa_supplicant(&wifi(Lock::Passphrase(password.into())));
    assert!(file.contains("\ncountry=ID\n") && file.matches("network={").count() == 2, "{file}");
    assert!(file.contains(&format!("\tssid={}\n", hex::encode(ssid))) && file.contains("\tscan_ssid=1\n"));
    assert!(file.contains(&format!("\tpsk={}\n", psk(ssid, password))));
    assert!(file.contains(&format!("\tsae_password={}\n", hex::encode(password))));
    assert!(!file.contains('"') && !file.contains("ctrl_interface"), "{file}");
    let open = wpa_supplicant(&wifi(Lock::Open));
    assert!(open.contains("key_mgmt=NONE") && !open.contains("psk"), "{open}");
    let key = wpa_supplicant(&wifi(Lock::Key("ab".repeat(32))));
    assert!(key.contains(&format!("\tpsk={}\n", "ab".repeat(32))) && !key.contains("SAE"), "{key}");
}

#[test]
fn time_servers_are_one_line() {
    assert!(timesyncd(&["a.example".into(), "1.2.3.4".into()]).ends_with("[Time]\nNTP=a.example 1.2.3.4\n"));
}
