use std::os::unix::fs::MetadataExt;

use proptest::prelude::*;

use super::*;
use crate::config::Config;

const BASE: &str = "data_dir = \"/var/lib/kurir\"\nlisten = \"0.0.0.0:80\"\nlisten_https = \"0.0.0.0:443\"\n";
const PASSWORD: &str = "Rahasia-Wifi-77";
const ADMIN_KEY: &str = "Kunci-Admin-Rahasia-88";

fn planned(text: impl Into<Vec<u8>>) -> Plan {
    plan(&Found::Bytes(text.into()), BASE, |set, _| set.unwrap_or("kurir-a1b2").to_owned())
}

fn file<'a>(plan: &'a Plan, path: &str) -> Option<&'a str> {
    plan.files.iter().find(|file| file.path == Path::new(path)).unwrap().contents.as_deref()
}

fn config(plan: &Plan) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kurir.toml");
    std::fs::write(&path, file(plan, "kurir/kurir.toml").unwrap()).unwrap();
    Config::load(Some(&path), |_| None).unwrap()
}

fn good() -> String {
    format!(
        "host_name = \"kantor\"\nadmin_key = \"{ADMIN_KEY}\"\n[network]\nwifi_ssid = \"Kantor\"\n\
         wifi_password = \"{PASSWORD}\"\ncountry = \"ID\"\ntime_servers = [\"id.pool.ntp.org\"]\n"
    )
}

#[test]
fn a_good_file_is_taken_over_also_from_notepad() {
    for text in [good(), good().replace('\n', "\r\n"), format!("\u{feff}{}", good().replace('\n', "\r\n"))] {
        let plan = planned(text);
        assert_eq!(plan.problems, [""; 0]);
        assert_eq!(plan.host_name, "kantor");
        assert_eq!(file(&plan, "kurir/host-name"), Some("kantor\n"));
        assert_eq!(config(&plan).host_name.as_deref(), Some("kantor"));
        assert_eq!(config(&plan).admin_key.as_deref(), Some(ADMIN_KEY));
        assert!(file(&plan, WPA_SUPPLICANT).unwrap().contains("country=ID"));
        assert!(file(&plan, TIMESYNCD).unwrap().contains("NTP=id.pool.ntp.org\n"));
        assert_eq!(file(&plan, "kurir/preset-errors"), None);
    }
}

#[test]
fn without_a_file_everything_is_as_the_image_says() {
    let plan = plan(&Found::Nothing, BASE, |set, folder| {
        assert_eq!((set, folder), (None, Path::new("/var/lib/kurir")));
        "kurir-a1b2".into()
    });
    assert_eq!(plan.problems, [""; 0]);
    assert_eq!((file(&plan, WPA_SUPPLICANT), file(&plan, TIMESYNCD)), (None, None));
    assert!(file(&plan, "systemd/network/50-kurir-ethernet.network").unwrap().contains("DHCP=yes"));
    let config = config(&plan);
    assert_eq!(config.host_name.as_deref(), Some("kurir-a1b2"), "the name that the network was told");
    assert_eq!(config.listen.port(), 80);
}

#[test]
fn a_file_that_is_none_leaves_the_defaults_and_says_which_line() {
    let cases: [(Vec<u8>, &str); 5] = [
        (
            format!("host_name = \"kantor\"\nadmin_key = {ADMIN_KEY}\n").into(),
            "kurir.toml baris 2: TOML tidak benar",
        ),
        (format!("[network]\n\nwifi_password {PASSWORD}\n").into(), "baris 3"),
        (vec![0xff, 0xfe, b'a', 0], "UTF-8"),
        (vec![b'#'; LARGEST + 1], "64 KB"),
        (b"a = 1\na = 2\n".to_vec(), "baris 2"),
    ];
    for (bytes, says) in cases {
        let plan = planned(bytes);
        assert!(plan.problems.len() == 1 && plan.problems[0].contains(says), "{says}: {:?}", plan.problems);
        assert_eq!(plan.host_name, "kurir-a1b2");
        assert_eq!(file(&plan, WPA_SUPPLICANT), None);
        assert_eq!(config(&plan).listen.port(), 80);
    }
    assert_eq!(planned(vec![b'#'; LARGEST]).problems, [""; 0], "the largest that is read");
    let unreadable = plan(&Found::Unreadable("is a directory".into()), BASE, |_, _| "k".into());
    assert_eq!(unreadable.problems, ["kurir.toml: tidak bisa dibaca (is a directory)"]);
}

#[test]
fn errors_come_in_the_language_of_the_panel_and_the_rest_of_the_file_holds() {
    let text = format!(
        "data_dir = \"/tmp\"\nsend_parallel = 0\ncountry_code = \"65\"\n[network]\nwifi_ssid = \"a\"\nwifi_password = \"{}\"\ncountry = \"ID\"\n",
        &PASSWORD[..7]
    );
    let plan = planned(text.as_str());
    let indonesian = [
        "kurir.toml: wifi_password: harus 8 sampai 63 karakter",
        "kurir.toml: data_dir: sudah ditetapkan dan tidak bisa diubah",
        "kurir.toml: send_parallel: harus dari 1 sampai 256",
    ];
    assert_eq!(plan.problems, indonesian);
    assert_eq!(file(&plan, "kurir/preset-errors").unwrap(), indonesian.join("\n") + "\n");
    assert_eq!(config(&plan).country_code, "65");
    assert!(file(&plan, "systemd/network/50-kurir-ethernet.network").unwrap().contains("DHCP=yes"));
    let plan = planned(format!("panel_language = \"en\"\n{text}"));
    let english = [
        "kurir.toml: wifi_password: must have 8 to 63 characters",
        "kurir.toml: data_dir: is fixed in the image",
        "kurir.toml: send_parallel: must be from 1 to 256",
    ];
    assert_eq!(plan.problems, english);
}

#[test]
fn the_files_have_their_modes_and_what_is_no_longer_wanted_goes() {
    let run = tempfile::tempdir().unwrap();
    let mode = |path: &str| std::fs::metadata(run.path().join(path)).map(|file| file.mode() & 0o777).ok();
    let own_group = rustix::process::getegid().as_raw();
    let bad = planned(good().replace("[network]", "mdns = 3\n[network]"));
    assert_eq!(write(&bad, run.path(), Some(own_group)), [""; 0]);
    assert_eq!(mode(WPA_SUPPLICANT), Some(0o600));
    assert_eq!(mode("kurir/kurir.toml"), Some(0o640));
    assert_eq!(mode("kurir/preset-errors"), Some(0o644));
    assert_eq!(mode("systemd/network/50-kurir-wifi.network"), Some(0o644));
    assert_eq!(mode(TIMESYNCD), Some(0o644));
    assert_eq!(std::fs::metadata(run.path().join("kurir/kurir.toml")).unwrap().gid(), own_group);
    assert_eq!(write(&planned(""), run.path(), None), [""; 0]);
    for gone in [WPA_SUPPLICANT, TIMESYNCD, "kurir/preset-errors"] {
        assert_eq!(mode(gone), None, "{gone}");
    }
    // One file that cannot be written does not keep the others from it.
    std::fs::remove_dir_all(run.path().join("systemd")).unwrap();
    std::fs::write(run.path().join("systemd"), "").unwrap();
    std::fs::remove_file(run.path().join("kurir/host-name")).unwrap();
    let failures = write(&planned(""), run.path(), None);
    assert!(failures.len() == 2 && failures[0].contains("systemd/network"), "{failures:?}");
    assert_eq!(mode("kurir/host-name"), Some(0o644));
}

#[test]
fn a_file_is_found_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kurir.toml");
    assert!(matches!(find(&path), Found::Nothing));
    std::fs::write(&path, vec![b' '; LARGEST * 2]).unwrap();
    assert!(matches!(find(&path), Found::Bytes(bytes) if bytes.len() == LARGEST + 1));
    assert!(matches!(find(folder.path()), Found::Unreadable(_)));
}

#[test]
fn the_file_on_the_card_is_right_as_it_is_and_with_every_mark_taken_away() {
    let example = include_str!("../../image/kurir.toml");
    let without = plan(&Found::Nothing, BASE, |set, _| set.unwrap_or("kurir-a1b2").to_owned());
    let as_it_is = planned(example);
    let texts = |plan: &Plan| plan.files.iter().map(|file| file.contents.clone()).collect::<Vec<_>>();
    assert!(as_it_is.problems.is_empty() && texts(&as_it_is) == texts(&without));
    let marked =
        |line: &&str| line.starts_with('#') && line[1..].starts_with(|c: char| c.is_ascii_lowercase());
    assert_eq!(example.lines().filter(marked).count(), 6 + network::KEYS.len());
    let all: String = example
        .lines()
        .map(|line| if marked(&line) { format!("{}\n", &line[1..]) } else { format!("{line}\n") })
        .collect();
    let plan = planned(all.as_str());
    assert_eq!(plan.problems, [""; 0]);
    let table: Table = all.parse().unwrap();
    for key in network::KEYS {
        assert!(table["network"].get(key).is_some(), "{key} is not in the example");
    }
    for path in [WPA_SUPPLICANT, TIMESYNCD] {
        assert!(file(&plan, path).is_some(), "{path}");
    }
}

#[test]
fn the_errors_in_the_page_for_people_are_those_that_are_shown() {
    let page = include_str!("../../docs/image.md");
    for (text, named) in [
        ("\n\n\n\nhost_name = \"a\n", 1),
        ("[network]\nwifi_ssid = \"a\"\nwifi_password = \"kurang\"\n", 2),
        ("[network]\naddress = \"192.168.1.9\"\n", 1),
        ("[network]\naddress = \"192.168.1.9/24\"\ngateway = \"192.168.2.1\"\n", 1),
        ("hostname = \"a\"\n", 1),
    ] {
        // A file that is no TOML has no language.
        let languages = if planned(text).problems[0].contains("TOML") {
            vec![""]
        } else {
            vec!["", "panel_language = \"en\"\n"]
        };
        for language in languages {
            let plan = planned(format!("{language}{text}"));
            assert_eq!(plan.problems.len(), named);
            for problem in plan.problems {
                assert!(page.contains(&format!("| `{problem}` |")), "{problem}");
            }
        }
    }
}

/// A value of any type, the secrets among them.
fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(format!("\"{PASSWORD}\"")),
        Just(format!("\"{ADMIN_KEY}\"")),
        Just(format!("[\"{PASSWORD}\", 1]")),
        Just(format!("{{ a = \"{PASSWORD}\" }}")),
        Just(PASSWORD.to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<bool>().prop_map(|b| b.to_string()),
        "[ -~]{0,40}".prop_map(|text| toml::Value::String(text).to_string()),
        "\\PC{0,20}".prop_map(|text| toml::Value::String(text).to_string()),
        ".{0,20}",
        Just("1979-05-27".to_owned()),
        Just("\"192.168.1.9/24\"".to_owned()),
        Just("\"ID\"".to_owned()),
    ]
}

fn any_key() -> impl Strategy<Value = String> {
    let known: Vec<String> =
        Config::keys().map(str::to_owned).chain(network::KEYS.map(str::to_owned)).collect();
    prop_oneof![8 => proptest::sample::select(known), 1 => "[a-z_.]{1,12}", 1 => Just("network".to_owned())]
}

fn any_file() -> impl Strategy<Value = String> {
    let line = || (any_key(), any_value()).prop_map(|(key, value)| format!("{key} = {value}\n"));
    let lines = || proptest::collection::vec(line(), 0..5);
    (lines(), lines()).prop_map(|(top, network)| top.concat() + "[network]\n" + &network.concat())
}

/// What holds for every file there is.
fn holds(plan: &Plan) {
    let said = plan.problems.join("\n");
    assert!(!said.contains(PASSWORD) && !said.contains(ADMIN_KEY), "{said}");
    assert!(plan.problems.iter().all(|line| !line.chars().any(char::is_control)), "{said}");
    let config = config(plan);
    assert_eq!(config.data_dir.to_str(), Some("/var/lib/kurir"));
    assert_eq!(config.host_name.as_deref(), Some(plan.host_name.as_str()));
    assert_eq!(file(plan, "kurir/preset-errors").is_some(), !plan.problems.is_empty());
    for unit in ["systemd/network/50-kurir-ethernet.network", "systemd/network/50-kurir-wifi.network"] {
        let unit = file(plan, unit).unwrap();
        assert_eq!(unit.matches("[Match]").count(), 1, "{unit}");
        let lines = unit.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '[']));
        let safe = |c: char| c.is_ascii_graphic() || c == ' ';
        for line in lines {
            assert!(line.contains('=') && line.chars().all(safe), "{line}");
        }
    }
    if let Some(text) = file(plan, WPA_SUPPLICANT) {
        assert_eq!(text.matches("network={").count(), text.matches("\n}\n").count(), "{text}");
        assert!(!text.contains(PASSWORD), "only in hexadecimal");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_settings_give_files_that_can_be_read_and_no_secret_is_told(text in any_file()) {
        holds(&planned(text));
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        holds(&planned(bytes));
    }
}
