use super::*;

fn of(text: &str) -> (Network, Vec<Problem>) {
    let table: Table = text.parse().unwrap();
    let mut problems = Vec::new();
    let network = read(Some(&Value::Table(table)), &mut problems);
    (network, problems)
}

fn wrongs(text: &str) -> Vec<(&'static str, Wrong)> {
    let (_, problems) = of(text);
    let of_network = |problem| match problem {
        Problem::Network(key, wrong) => (key, wrong),
        other => panic!("{other:?}"),
    };
    problems.into_iter().map(of_network).collect()
}

#[test]
fn everything_together_is_taken() {
    let (network, problems) = of(
        "wifi_ssid = \"Kantor\"\nwifi_password = \"rahasia kita\"\nwifi_hidden = true\ncountry = \"id\"\n\
         address = \"192.168.1.9/24\"\ngateway = \"192.168.1.1\"\ndns = [\"1.1.1.1\", \"9.9.9.9\"]\n\
         time_servers = \"id.pool.ntp.org, 192.168.1.1\"\ninterface = \"ethernet\"\n",
    );
    assert_eq!(problems, []);
    let wifi = network.wifi.unwrap();
    assert!(wifi.hidden && wifi.ssid == "Kantor" && wifi.country == "ID");
    assert!(wifi.lock == Lock::Passphrase("rahasia kita".into()));
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let gateway = Some(ip("192.168.1.1"));
    let fixed = Static { interface: Interface::Ethernet, ip: ip("192.168.1.9"), prefix: 24, gateway };
    assert_eq!(network.address, Some(fixed));
    assert_eq!(network.dns, [ip("1.1.1.1"), ip("9.9.9.9")]);
    assert_eq!(network.time_servers, ["id.pool.ntp.org", "192.168.1.1"]);
}

#[test]
fn an_empty_table_and_empty_texts_are_the_defaults() {
    for text in [
        "",
        "wifi_ssid = \"\"\nwifi_password = \"\"\ncountry = \"\"\naddress = \"\"\ngateway = \"\"\n\
                      dns = []\ntime_servers = []\ninterface = \"\"\nwifi_hidden = false\n",
    ] {
        let (network, problems) = of(text);
        assert!(network == Network::default() && problems.is_empty(), "{problems:?}");
    }
}

#[test]
fn wifi_is_taken_as_a_whole_or_not_at_all() {
    let cases = [
        (
            "wifi_ssid = \"a\"\nwifi_password = \"kurang7\"\ncountry = \"ID\"",
            "wifi_password",
            Wrong::PasswordLength,
        ),
        (
            "wifi_ssid = \"a\"\nwifi_password = \"sandi-é-8\"\ncountry = \"ID\"",
            "wifi_password",
            Wrong::PasswordLetters,
        ),
        (
            "wifi_ssid = \"a\"\nwifi_password = \"a\\nb = 12345\"\ncountry = \"ID\"",
            "wifi_password",
            Wrong::PasswordLetters,
        ),
        ("wifi_ssid = \"a\"\nwifi_password = 12345678\ncountry = \"ID\"", "wifi_password", Wrong::NoText),
        ("wifi_ssid = \"a\"\nwifi_password = \"12345678\"", "country", Wrong::CountryMissing),
        ("wifi_ssid = \"a\"\nwifi_password = \"12345678\"\ncountry = \"UK\"", "country", Wrong::Country),
        ("wifi_password = \"12345678\"\ncountry = \"ID\"", "wifi_password", Wrong::WithoutSsid),
    ];
    for (text, key, wrong) in cases {
        assert_eq!(wrongs(text), [(key, wrong)], "{text}");
        assert!(of(text).0.wifi.is_none(), "{text}");
    }
    let ssid = |n: usize| format!("wifi_ssid = \"{}\"\ncountry = \"ID\"", "x".repeat(n));
    assert_eq!(wrongs(&ssid(33)), [("wifi_ssid", Wrong::Ssid)]);
    assert!(of(&ssid(32)).0.wifi.unwrap().lock == Lock::Open);
    for (length, right) in [(7, false), (8, true), (63, true), (64, false), (65, false)] {
        let text = format!("wifi_ssid=\"a\"\ncountry=\"ID\"\nwifi_password=\"{}\"", "g".repeat(length));
        assert_eq!(of(&text).0.wifi.is_some(), right, "{length}");
    }
    let hex = format!("wifi_ssid=\"a\"\ncountry=\"ID\"\nwifi_password=\"{}\"", "Ab".repeat(32));
    assert!(of(&hex).0.wifi.unwrap().lock == Lock::Key("ab".repeat(32)));
    // The radio's visibility is worth less than the connection.
    let hidden = "wifi_ssid=\"a\"\ncountry=\"ID\"\nwifi_hidden=\"yes\"";
    assert_eq!(wrongs(hidden), [("wifi_hidden", Wrong::NoBool)]);
    assert!(of(hidden).0.wifi.is_some());
}

#[test]
fn addresses_are_those_that_a_device_can_have() {
    for right in
        ["192.168.1.9/24", "10.0.0.1/8", "10.0.0.0/31", "10.1.2.3/32", "2001:db8::9/64", "fd00::1/128"]
    {
        assert!(cidr(right).is_some(), "{right}");
    }
    for wrong in [
        "192.168.1.9",
        "192.168.1.9/33",
        "192.168.1.9/0",
        "192.168.1.9/+24",
        "192.168.1.9/",
        "192.168.1.0/24",
        "192.168.1.255/24",
        "127.0.0.1/8",
        "224.0.0.1/24",
        "255.255.255.255/32",
        "0.0.0.0/24",
        "fe80::1/64",
        "::1/128",
        "192.168.1/24",
        "192.168.1.9/24/24",
        "192.168.1.9/255.255.255.0",
        "",
    ] {
        assert_eq!(cidr(wrong), None, "{wrong}");
        if !wrong.is_empty() {
            let text = format!("address = \"{wrong}\"\ngateway = \"192.168.1.1\"");
            assert_eq!(wrongs(&text), [("address", Wrong::Address)]);
            assert_eq!(of(&text).0.address, None, "DHCP instead");
        }
    }
}

#[test]
fn a_wrong_gateway_leaves_the_address_and_a_wrong_interface_does_not() {
    for (gateway, wrong) in [
        ("gateway = \"192.168.2.1\"", Wrong::GatewayElsewhere),
        ("gateway = \"192.168.1.9\"", Wrong::GatewayElsewhere),
        ("gateway = \"2001:db8::1\"", Wrong::GatewayElsewhere),
        ("gateway = \"router\"", Wrong::Gateway),
        ("gateway = \"0.0.0.0\"", Wrong::Gateway),
        ("gateway = 1", Wrong::NoText),
        ("", Wrong::GatewayMissing),
    ] {
        let text = format!("address = \"192.168.1.9/24\"\n{gateway}");
        let (network, problems) = of(&text);
        assert_eq!(problems, [Problem::Network("gateway", wrong)], "{gateway}");
        assert_eq!(network.address.unwrap().gateway, None, "{gateway}");
    }
    assert_eq!(wrongs("gateway = \"192.168.1.1\""), [("gateway", Wrong::WithoutAddress)]);
    let fixed = "address = \"192.168.1.9/24\"\ngateway = \"192.168.1.1\"\n";
    assert_eq!(of(fixed).0.address.unwrap().interface, Interface::Ethernet);
    assert_eq!(wrongs(&format!("{fixed}interface = \"wifi\"")), [("interface", Wrong::NoWifi)]);
    assert_eq!(wrongs(&format!("{fixed}interface = \"eth0\"")), [("interface", Wrong::Interface)]);
    assert_eq!(of(&format!("{fixed}interface = \"wifi\"")).0.address, None);
    let wifi = format!("{fixed}wifi_ssid = \"a\"\ncountry = \"ID\"");
    assert_eq!(of(&wifi).0.address.unwrap().interface, Interface::Wifi, "who sets up Wi-Fi means Wi-Fi");
}

#[test]
fn of_a_list_the_wrong_entries_are_left_out() {
    let (network, problems) =
        of("dns = [\"1.1.1.1\", \"dns.example\", 7]\ntime_servers = [\"a.example\", \"a b\", \"1.2.3\"]");
    assert_eq!(network.dns, ["1.1.1.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(network.time_servers, ["a.example"]);
    let wanted = [Problem::Network("dns", Wrong::Dns), Problem::Network("time_servers", Wrong::TimeServer)];
    assert_eq!(problems, wanted);
    assert_eq!(wrongs("dns = 1"), [("dns", Wrong::NoList)]);
    let many = format!("dns = [{}]", "\"1.1.1.1\",".repeat(9));
    assert_eq!(wrongs(&many), [("dns", Wrong::TooMany)]);
    assert_eq!(of(&many).0.dns.len(), 8);
}

#[test]
fn unknown_keys_and_other_types_are_told() {
    assert_eq!(of("wifi_pasword = \"x\"").1, [Problem::UnknownNetwork("wifi_pasword".into())]);
    let mut problems = Vec::new();
    assert!(read(Some(&Value::Integer(3)), &mut problems) == Network::default());
    assert_eq!(problems, [Problem::Network("network", Wrong::NoTable)]);
}
