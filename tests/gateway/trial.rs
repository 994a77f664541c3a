//! A system on trial that would bring the store up to date: it works on a copy, takes nothing, and leaves the store as it was.

use std::path::Path;
use std::time::Duration;

use crate::support::{Answer, CUSTOMER, Office, PATIENCE, request, wait_for};
use kurir::api::control;
use kurir::config::Config;
use kurir::gateway::{self, Gateway, StartError};
use kurir::session::Status;
use kurir::store::{OpenError, Store};
use kurir::update::board::RecordFile;
use kurir::update::{Outcome, Record, Slot, Stage, Version, give_up};
use redb::TableDefinition;
use serde_json::json;

/// Makes the store one of the schema before: nothing in it looks different where no message is under way.
fn set_schema(path: &Path, version: u32) {
    const META: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("meta");
    let db = redb::Database::open(path).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(META).unwrap().insert("schema", version.to_le_bytes().as_slice()).unwrap();
    txn.commit().unwrap();
}

fn write_record(config: &Config, stage: Stage, last: Option<Outcome>) {
    let record = serde_json::to_vec(&Record { stage, last }).unwrap();
    std::fs::write(config.update_record_path(), record).unwrap();
}

fn version() -> Version {
    "0.2.0".parse().unwrap()
}

/// The box has started into slot B to try it.
fn try_b(config: &Config) {
    write_record(config, Stage::Trying { slot: Slot::B, version: version() }, None);
}

/// The same, and the version in it has another schema than the store. Returns the store's bytes.
fn try_b_with_a_new_schema(config: &Config) -> Vec<u8> {
    set_schema(&config.store_path(), BEFORE);
    try_b(config);
    std::fs::read(config.store_path()).unwrap()
}

const BEFORE: u32 = kurir::store::tables::SCHEMA_VERSION - 1;

async fn get(gateway: &Gateway, path: &str) -> Answer {
    request(gateway.address(), "GET", path, &[], "").await.unwrap()
}

/// A paired office whose gateway has been stopped, with a box's slots around it, of which B runs.
async fn stopped_box() -> (Office, Config) {
    let (office, _) = Office::paired_with(|config| {
        config.update_autoboot = Some("/boot/kurir/autoboot.txt".into());
        config.slot_file = config.data_dir.join("slot");
        std::fs::write(&config.slot_file, "b\n").unwrap();
    })
    .await;
    let config = office.config.clone();
    (office, config)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_leaves_the_store_to_the_system_before_it_until_it_is_over() {
    let (office, config) = stopped_box().await;
    let Office { sim, gateway, key, folder: _folder, .. } = office;
    gateway.shutdown().await;
    let before = try_b_with_a_new_schema(&config);

    let connections = sim.stats().connections.total;
    let trial = Gateway::start(&config).await.unwrap();
    assert_eq!(get(&trial, "/healthz").await.status, 200);
    let ready = get(&trial, "/readyz").await.json();
    assert!(ready["notices"][0].as_str().unwrap().contains("Pembaruan"), "{ready}");
    let headers = [("x-api-key", key.as_str()), ("content-type", "application/json")];
    let body = json!({"to": CUSTOMER, "message": "Halo"}).to_string();
    let path = format!("/api/sessions/{}/send", trial.registry().list()[0].id());
    let send = request(trial.address(), "POST", &path, &headers, body.clone()).await.unwrap();
    assert_eq!(send.status, 503, "{:?}", send.body);
    assert_eq!(send.headers["retry-after"], "30");
    assert!(send.json()["message"].as_str().unwrap().contains("on trial"));
    let made = control::call(&config.control_path(), "POST", "/keys", Some(json!({"name": "till"}))).await;
    assert!(made.unwrap_err().to_string().contains("on trial"), "it would be gone a minute later");
    let status = control::call(&config.control_path(), "GET", "/status", None).await.unwrap();
    assert_eq!(status["status"], "ready", "what the trial goes by");
    // No other command brings the store up to date meanwhile.
    let options = gateway::store_options(&config);
    assert!(matches!(Store::open(&config.store_path(), &options), Err(OpenError::InUse { .. })));
    // The trial goes on for as long as the record says so, and nobody connects for the copy's sake.
    assert!(tokio::time::timeout(Duration::from_millis(1500), trial.trial_over()).await.is_err());
    assert_eq!(sim.stats().connections.total, connections);
    assert!(std::fs::read(config.store_path()).unwrap() == before, "the store was touched");

    write_record(&config, Stage::Idle, Some(Outcome::Committed { version: version() }));
    tokio::time::timeout(PATIENCE, trial.trial_over()).await.unwrap();
    trial.shutdown().await;
    assert!(std::fs::read(config.store_path()).unwrap() == before, "the store was touched");

    let kept = Gateway::start(&config).await.unwrap();
    assert!(!config.trial_path().exists(), "the copy is gone");
    let session = kept.registry().list().into_iter().next().unwrap();
    wait_for(&session, |s| s.status == Status::Connected).await;
    let send = request(kept.address(), "POST", &path, &headers, body).await.unwrap();
    assert_eq!(send.status, 200, "{:?}", send.body);
    assert_eq!(sim.inbox(CUSTOMER, 1, PATIENCE).await.unwrap()[0].text.as_deref(), Some("Halo"));
    kept.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_leaves_the_store_alone_until_the_restart() {
    let (office, config) = stopped_box().await;
    let Office { gateway, folder: _folder, sim: _sim, .. } = office;
    gateway.shutdown().await;
    let before = try_b_with_a_new_schema(&config);
    let trial = Gateway::start(&config).await.unwrap();
    give_up(&mut RecordFile(config.update_record_path()), "the port does not answer".into()).unwrap();
    // The restart may take a while, or fail.
    assert!(tokio::time::timeout(Duration::from_millis(1500), trial.trial_over()).await.is_err());
    trial.shutdown().await;
    Gateway::start(&config).await.unwrap().shutdown().await;
    assert!(matches!(gateway::open_offline(&config), Err(OpenError::EarlierSchema { .. })));
    assert!(std::fs::read(config.store_path()).unwrap() == before, "the store was touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_system_before_finds_its_store_after_a_trial_that_failed() {
    let (office, config) = stopped_box().await;
    let Office { gateway, folder: _folder, sim: _sim, .. } = office;
    gateway.shutdown().await;
    let before = try_b_with_a_new_schema(&config);
    // As if the power went in the middle of it.
    Gateway::start(&config).await.unwrap().shutdown().await;
    assert!(config.trial_path().exists());
    // The old system, in slot A: it does not go by the record, which still says that B is tried.
    std::fs::write(&config.slot_file, "a\n").unwrap();
    assert!(std::fs::read(config.store_path()).unwrap() == before, "the store was touched");
    let old = Gateway::start(&config).await.unwrap();
    assert!(!config.trial_path().exists(), "the copy is gone");
    assert!(get(&old, "/readyz").await.json()["notices"].as_array().is_none_or(Vec::is_empty));
    old.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_with_the_same_schema_works_as_ever() {
    let (office, config) = stopped_box().await;
    try_b(&config);
    let office = office.restart().await;
    assert!(!config.trial_path().exists());
    let session = office.gateway.registry().list().into_iter().next().unwrap();
    wait_for(&session, |s| s.status == Status::Connected).await;
    assert!(tokio::time::timeout(Duration::from_millis(1500), office.gateway.trial_over()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_without_room_for_the_copy_says_so() {
    let (office, config) = stopped_box().await;
    let Office { gateway, folder: _folder, sim: _sim, .. } = office;
    gateway.shutdown().await;
    try_b_with_a_new_schema(&config);
    // No file can be made there.
    std::fs::create_dir(config.trial_path()).unwrap();
    match Gateway::start(&config).await {
        Err(e @ StartError::Trial { .. }) => assert!(e.to_string().contains("trial.redb"), "{e}"),
        Err(e) => panic!("{e}"),
        Ok(_) => panic!("it started"),
    }
}
