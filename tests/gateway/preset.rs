//! The preset of an image: `kurir preset` as the unit runs it, and a gateway on what it wrote.

use std::path::Path;
use std::process::Output;

use crate::process::{Process, kurir, run};
use crate::support::request;
use serde_json::Value;
use whatsapp_sim::{Sim, SimConfig};

/// A card's first partition, an image and a `/run`, as folders.
struct Card {
    folder: tempfile::TempDir,
}

impl Card {
    fn new(kurir_toml: Option<&str>) -> Card {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data").display().to_string();
        std::fs::write(
            folder.path().join("base.toml"),
            format!("data_dir = {data:?}\nlisten = \"0.0.0.0:80\"\n"),
        )
        .unwrap();
        if let Some(text) = kurir_toml {
            std::fs::write(folder.path().join("kurir.toml"), text).unwrap();
        }
        Card { folder }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    async fn preset(&self) -> Output {
        let path = |name: &str| self.path(name).display().to_string();
        let (from, base, into) = (path("kurir.toml"), path("base.toml"), path("run"));
        run(&mut kurir(
            Path::new("/nonexistent"),
            &["preset", "--from", &from, "--base", &base, "--into", &into],
        ))
        .await
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_preset_is_shown_by_the_gateway_and_its_rest_holds() {
    let card = Card::new(Some(
        "\u{feff}host_name = \"kantor\"\r\nsend_parallel = 0\r\nadmin_key = \"rahasia\"\r\n[network]\r\n\
         wifi_ssid = \"Kantor\"\r\nwifi_password = \"rahasia\"\r\ncountry = \"ID\"\r\n",
    ));
    let output = card.preset().await;
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    let problems = [
        "kurir.toml: wifi_password: harus 8 sampai 63 karakter",
        "kurir.toml: admin_key: harus 16 karakter atau lebih",
        "kurir.toml: send_parallel: harus dari 1 sampai 256",
    ];
    for problem in problems {
        assert!(stderr.lines().any(|line| line == format!("kurir preset: {problem}")), "{stderr}");
    }
    assert!(!stderr.contains("rahasia"), "{stderr}");
    assert!(!card.path("run/wpa_supplicant/wpa_supplicant.conf").exists());
    assert_eq!(card.read("run/kurir/host-name"), "kantor\n");

    let sim = Sim::start(SimConfig::default()).await.unwrap();
    let config = card.path("run/kurir/kurir.toml").display().to_string();
    let process = Process::serve_with(&card.path("data"), &["--config", &config, "serve"], &sim, &[]).await;
    let ready = request(process.address, "GET", "/readyz", &[], "").await.unwrap();
    assert_eq!(ready.status, 200, "a wrong preset is no reason not to work");
    let notices: Vec<String> = serde_json::from_value(ready.json()["notices"].clone()).unwrap();
    assert_eq!(notices.len(), 3, "{notices:?}");
    assert!(problems.iter().all(|problem| notices.iter().any(|notice| notice == problem)), "{notices:?}");
    let status = run(&mut kurir(&card.path("data"), &["--config", &config, "status"])).await;
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.contains("  name         kantor\n"), "{status}");
    for problem in problems {
        assert!(status.contains(&format!("  correct      {problem}\n")), "{status}");
    }
    let (.., ended_well) = process.stop().await;
    assert!(ended_well);

    // Corrected on a computer, and started again.
    std::fs::write(card.path("kurir.toml"), "host_name = \"kantor\"\n").unwrap();
    assert!(card.preset().await.status.success());
    let process = Process::serve_with(&card.path("data"), &["--config", &config, "serve"], &sim, &[]).await;
    let ready = request(process.address, "GET", "/readyz", &[], "").await.unwrap();
    assert_eq!(ready.json()["notices"], Value::Array(Vec::new()));
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_without_a_preset_is_the_one_that_the_gateway_announces() {
    let card = Card::new(None);
    std::fs::create_dir(card.path("data")).unwrap();
    let output = card.preset().await;
    assert!(output.status.success(), "{output:?}");
    let name = card.read("run/kurir/host-name").trim().to_owned();
    assert!(name.starts_with("kurir-") && name.len() == 10, "{name}");
    let sim = Sim::start(SimConfig::default()).await.unwrap();
    // Without what the preset wrote: the same logic on the same machine.
    let process = Process::serve(&card.path("data"), &sim, &[]).await;
    let status = run(&mut kurir(&card.path("data"), &["status", "--json"])).await;
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["host"], name.as_str());
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_written_is_an_error() {
    let card = Card::new(None);
    std::fs::write(card.path("run"), "a file").unwrap();
    std::fs::write(card.path("kurir.toml"), "host_name = \"k\"").unwrap();
    let output = card.preset().await;
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && stderr.contains("cannot write"), "{stderr}");
}
