use super::*;

fn load(env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().display().to_string();
    Config::load(None, |key| match key {
        "KURIR_DATA_DIR" => Some(dir.clone()),
        _ => env.iter().find(|(k, _)| *k == key).map(|(_, v)| (*v).to_owned()),
    })
}

#[test]
fn every_default_passes_its_own_check_and_prints_back() {
    let config = Config::default();
    for setting in settings::all() {
        assert_eq!((setting.get)(&config), setting.default, "{}", setting.key);
    }
}

#[test]
fn the_environment_overrides_and_a_bad_value_names_the_variable() {
    assert_eq!(load(&[("KURIR_LISTEN", "0.0.0.0:80")]).unwrap().listen.port(), 80);
    let error = load(&[("KURIR_LISTEN", "everywhere")]).err().unwrap().to_string();
    assert!(error.contains("KURIR_LISTEN") && error.contains("everywhere"), "{error}");
}

#[test]
fn a_short_admin_key_is_refused_without_being_printed() {
    let error = load(&[("KURIR_ADMIN_KEY", "hunter2")]).err().unwrap().to_string();
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn the_packaged_file_sets_the_data_folder_and_nothing_else() {
    let packaged = Config::default().to_packaged_toml();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kurir.toml");
    std::fs::write(&file, &packaged).unwrap();
    let read = Config::load(Some(&file), |_| None).unwrap();
    let mut wanted = Config::default();
    wanted.set("data_dir", "/var/lib/kurir", "test").unwrap();
    assert_eq!(read.to_commented_toml(), wanted.to_commented_toml());
    // With the marks taken away it is the file of somebody who set everything, and that is valid as well.
    let all: String = packaged
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    std::fs::write(&file, all).unwrap();
    let read = Config::load(Some(&file), |_| None);
    assert_eq!(read.unwrap().to_commented_toml(), wanted.to_commented_toml());
}

#[test]
fn the_printed_file_reads_back_to_the_same_values_and_hides_the_key() {
    let config = load(&[
        ("KURIR_SEND_DELAY_MS", "1500"),
        ("KURIR_ALLOW_PRIVATE_FETCH", "10.0.0.0/8,192.168.1.0/24"),
        ("KURIR_ADMIN_KEY", "0123456789abcdef"),
    ])
    .unwrap();
    let printed = config.to_commented_toml();
    assert!(!printed.contains("0123456789abcdef"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kurir.toml");
    std::fs::write(&file, &printed).unwrap();
    let mut again = Config::load(Some(&file), |_| None).unwrap();
    again.admin_key = config.admin_key.clone();
    assert_eq!(again.to_commented_toml(), printed);
}

#[test]
fn a_typo_in_the_file_is_an_error_and_not_a_default() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kurir.toml");
    std::fs::write(&file, "lisen = \"0.0.0.0:80\"\n").unwrap();
    assert!(matches!(Config::load(Some(&file), |_| None), Err(ConfigError::UnknownKey { .. })));
}

#[test]
fn a_file_that_was_named_must_exist() {
    let missing = Path::new("/nonexistent/kurir.toml");
    assert!(matches!(Config::load(Some(missing), |_| None), Err(ConfigError::Read { .. })));
}
