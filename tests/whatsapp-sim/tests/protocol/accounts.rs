//! Pairing by code, and the ways in which a linked device's log-in ends.

use crate::common::{Client, sim};
use whatsapp_rust::Jid;
use whatsapp_rust::pair_code::PairCodeOptions;
use whatsapp_rust::types::events::Event;
use whatsapp_sim::SimError;
use whatsapp_sim::faults::Fault;

const ANNA: &str = "4915550001";
const BORIS: &str = "4915550002";

async fn logged_out(client: &mut Client) {
    client.event("logged out", |event| matches!(event, Event::LoggedOut(_)).then_some(())).await;
}

fn fault(json: &str) -> Fault {
    serde_json::from_str(json).expect("is a fault")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_pairs_and_a_wrong_one_does_not() {
    let sim = sim().await;
    sim.add_phone(ANNA, "Anna").await.expect("adds");
    let mut client = Client::fresh(&sim).await;
    client.qr().await;
    assert!(matches!(sim.pair_code(ANNA, "ABCD1234").await, Err(SimError::NoCodePending(_))));
    let options = PairCodeOptions { phone_number: ANNA.to_owned(), ..Default::default() };
    let code = client.handle.client().pair_with_code(options).await.expect("gives a code");
    let wrong: String = code.chars().map(|c| if c == 'A' { 'B' } else { 'A' }).collect();
    assert!(matches!(sim.pair_code(ANNA, &wrong).await, Err(SimError::WrongCode(_))));
    assert!(matches!(sim.pair_code(ANNA, "short").await, Err(SimError::WrongCode(_))));
    sim.pair_code(ANNA, &code.to_lowercase()).await.expect("the right code pairs");
    client.connected().await;
    assert_eq!(sim.stats().violations, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_phone_unlinks() {
    let sim = sim().await;
    sim.add_phone(ANNA, "Anna").await.expect("adds");
    let mut client = Client::fresh(&sim).await;
    client.pair(&sim, ANNA).await;
    sim.unlink(ANNA).await.expect("unlinks");
    logged_out(&mut client).await;
    assert!(matches!(sim.unlink(ANNA).await, Err(SimError::NotLinked(_))));
    // The credentials are of no use any more.
    let Client { handle, backend, .. } = client;
    handle.shutdown().await;
    let mut client = Client::start(&sim, backend).await;
    logged_out(&mut client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_logs_out() {
    let sim = sim().await;
    sim.add_phone(ANNA, "Anna").await.expect("adds");
    let mut client = Client::fresh(&sim).await;
    client.pair(&sim, ANNA).await;
    client.handle.client().logout().await;
    logged_out(&mut client).await;
    assert!(matches!(sim.unlink(ANNA).await, Err(SimError::NotLinked(_))));
    assert_eq!(sim.stats().violations, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_log_in_replaces_the_first() {
    let sim = sim().await;
    sim.add_phone(ANNA, "Anna").await.expect("adds");
    let mut first = Client::fresh(&sim).await;
    first.pair(&sim, ANNA).await;
    let mut second = Client::start(&sim, std::sync::Arc::clone(&first.backend)).await;
    second.connected().await;
    first.event("replaced", |event| matches!(event, Event::StreamReplaced(_)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bans_outdated_clients_and_stream_errors_reach_the_client() {
    let sim = sim().await;
    sim.add_phone(ANNA, "Anna").await.expect("adds");
    let mut client = Client::fresh(&sim).await;
    client.pair(&sim, ANNA).await;
    sim.fault(fault(&format!(r#"{{"kind":"ban","number":"{ANNA}","code":104,"expire_s":3600}}"#)));
    let expire = client
        .event("ban", |event| match event {
            Event::TemporaryBan(ban) => Some(ban.expire.num_seconds()),
            _ => None,
        })
        .await;
    assert!((3_000..=3_600).contains(&expire));
    sim.clear_faults();

    let Client { handle, backend, .. } = client;
    handle.shutdown().await;
    sim.fault(fault(r#"{"kind":"client-outdated","count":1}"#));
    let mut client = Client::start(&sim, std::sync::Arc::clone(&backend)).await;
    client.event("outdated", |event| matches!(event, Event::ClientOutdated(_)).then_some(())).await;
    client.handle.shutdown().await;

    let mut client = Client::start(&sim, backend).await;
    client.connected().await;
    sim.fault(fault(&format!(r#"{{"kind":"stream-error","device":"{ANNA}:1","code":515}}"#)));
    client.connected().await;
    assert_eq!(sim.stats().violations, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_are_registered_or_not() {
    let sim = sim().await;
    sim.add_phone(ANNA, "Anna").await.expect("adds");
    let boris = sim.add_phone(BORIS, "Boris").await.expect("adds");
    let mut client = Client::fresh(&sim).await;
    client.pair(&sim, ANNA).await;
    let wa = client.handle.client();
    let answers = wa.contacts().is_on_whatsapp(&[Jid::pn(BORIS), Jid::pn("4915559999")]).await.expect("asks");
    let registered: Vec<(String, bool)> =
        answers.iter().map(|answer| (answer.jid.user.to_string(), answer.is_registered)).collect();
    assert_eq!(registered, [(BORIS.to_owned(), true), ("4915559999".to_owned(), false)]);
    assert_eq!(answers[0].lid.as_ref().map(Jid::to_string), Some(boris.lid));
    let about = wa.contacts().get_user_info(&[Jid::pn(BORIS)]).await.expect("asks");
    let about = about.values().next().and_then(|info| info.status.clone());
    assert_eq!(about.as_deref(), Some("Hey there! I am using WhatsApp."));
    assert!(wa.contacts().get_profile_picture(&Jid::pn(BORIS), true).await.expect("asks").is_none());
    assert_eq!(sim.stats().violations, []);
}
