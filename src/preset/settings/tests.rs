use super::super::problem::takes;
use super::*;

const BASE: &str =
    "data_dir = \"/var/lib/kurir\"\nlisten = \"0.0.0.0:80\"\nlisten_https = \"0.0.0.0:443\"\nmdns = true\n";

fn with(text: &str) -> (Settings, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut settings = Settings::of_the_image(BASE, &mut problems);
    assert_eq!(problems, []);
    settings.override_with(&text.parse().unwrap(), &mut problems);
    (settings, problems)
}

/// The file, read as the gateway reads it.
fn loaded(settings: &Settings) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kurir.toml");
    std::fs::write(&file, settings.to_toml()).unwrap();
    Config::load(Some(&file), |_| None).unwrap()
}

#[test]
fn the_file_goes_over_the_image_and_the_gateway_can_read_the_result() {
    let (mut settings, problems) = with(
        "host_name = \"Kantor\"\ncountry_code = 65\npanel_language = \"en\"\nadmin_key = \"kunci \\\"rahasia\\\" 16\"\n\
         allow_private_fetch = [\"10.0.0.0/8\", \"192.168.0.0/16\"]\nlisten = \"0.0.0.0:8080\"\nmdns = false\n",
    );
    assert_eq!(problems, []);
    settings.fix_host_name("kantor");
    let config = loaded(&settings);
    assert_eq!(config.to_commented_toml(), settings.config.to_commented_toml());
    assert_eq!(config.admin_key.as_deref(), Some("kunci \"rahasia\" 16"));
    assert_eq!((config.listen.port(), config.country_code.as_str(), config.mdns), (8080, "65", false));
    assert_eq!(config.listen_https.unwrap().port(), 443, "the image's");
    assert_eq!(config.allow_private_fetch.len(), 2);
    assert_eq!(config.data_dir.to_str(), Some("/var/lib/kurir"));
}

#[test]
fn a_wrong_value_falls_back_alone() {
    let (settings, problems) = with("mdns = \"maybe\"\nsend_parallel = 8\nlog = \"loud\"\nbogus = 1\n");
    let named = |problem: &Problem| match problem {
        Problem::Setting(key, _) | Problem::UnknownSetting(key) => key.clone(),
        other => panic!("{other:?}"),
    };
    let mut keys: Vec<String> = problems.iter().map(named).collect();
    keys.sort();
    assert_eq!(keys, ["bogus", "log", "mdns"]);
    let config = loaded(&settings);
    assert!(config.mdns && config.log == "info" && config.send_parallel == 8);
}

#[test]
fn what_only_the_image_may_choose_is_refused() {
    for key in OF_THE_IMAGE {
        let (settings, problems) = with(&format!("{key} = \"/tmp/x\""));
        assert_eq!(problems, [Problem::OfTheImage(key.into())]);
        assert_eq!(settings.to_toml(), with("").0.to_toml());
    }
}

#[test]
fn an_address_that_the_service_cannot_bind_is_refused() {
    for wrong in [
        "listen = \"192.168.1.9:80\"",
        "listen = \"0.0.0.0:22\"",
        "listen = \"0.0.0.0:0\"",
        "listen = \"0.0.0.0:443\"",
        "listen_https = \"0.0.0.0:80\"",
        "listen_https = 8443",
        "listen = [1]",
        "[listen]",
    ] {
        let (settings, problems) = with(wrong);
        assert!(matches!(&problems[..], [Problem::Setting(_, _)]), "{wrong}: {problems:?}");
        let config = loaded(&settings);
        assert_eq!((config.listen.port(), config.listen_https.unwrap().port()), (80, 443), "{wrong}");
    }
    let (settings, problems) = with("listen = \"0.0.0.0:9000\"\nlisten_https = \"[::]:9000\"");
    assert_eq!(problems.len(), 2);
    assert_eq!(loaded(&settings).listen.port(), 80);
    let (settings, problems) = with("listen = \"0.0.0.0:443\"\nlisten_https = \"\"");
    assert_eq!(problems, [], "HTTPS is off then");
    assert_eq!(loaded(&settings).listen.port(), 443);
}

#[test]
fn a_mistake_of_the_image_costs_that_setting_only() {
    let mut problems = Vec::new();
    let settings =
        Settings::of_the_image("mdns = \"maybe\"\ndata_dir = \"/data\"\nnope = 1\n", &mut problems);
    assert_eq!(problems, [Problem::Base("mdns".into()), Problem::Base("nope".into())]);
    assert_eq!(loaded(&settings).data_dir.to_str(), Some("/data"));
    let mut problems = Vec::new();
    Settings::of_the_image("data_dir =", &mut problems);
    assert_eq!(problems, [Problem::Base("TOML".into())]);
}

#[test]
fn every_reason_has_words_in_both_languages() {
    let of_the_test_server = ["whatsapp_url", "sync_delay_ms"];
    let mut refusing = 0;
    for key in Config::keys().filter(|key| !OF_THE_IMAGE.contains(key) && !of_the_test_server.contains(key)) {
        for value in ["", "\u{1}", "-1", "99999999999999999999", "x y z"] {
            let Err(Refused::Value(reason)) = Config::default().take(key, value) else { continue };
            refusing += 1;
            let [english, indonesian] = takes(key, &reason);
            assert_ne!(indonesian, "nilai ini tidak berlaku", "{key} = {value:?}: {reason}");
            assert_ne!(english, indonesian, "{key}");
            // "kurir.toml: KEY: …" is cut at about 80 characters.
            let longest = english.chars().count().max(indonesian.chars().count());
            assert!(longest <= 70, "{key}: {longest}");
        }
    }
    assert!(refusing > 80, "{refusing}");
}
