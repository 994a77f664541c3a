//! Groups, and many callers at once.

use std::collections::HashMap;
use std::sync::Arc;

use kurir::outbox::Progress;
use tokio::task::JoinSet;

use super::steps::{failed, shown, taken, works};
use super::support::{CUSTOMER, OFFICE, Office, PATIENCE};

const COLLEAGUE: &str = "6281300000003";

#[tokio::test(flavor = "multi_thread")]
async fn a_group_gets_messages_and_all_its_members_show_them() {
    let (office, session) = Office::paired().await;
    office.sim.add_phone(COLLEAGUE, "Pak Budi").await.unwrap();
    let members = [CUSTOMER.to_owned(), COLLEAGUE.to_owned()];
    let group = office.sim.create_group("Pesanan", OFFICE, &members).await.unwrap();
    for text in ["satu untuk semua", "dua untuk semua"] {
        let id = taken(&office, &session, &group, text).await;
        office.reached(&id, Progress::Delivered).await;
        for member in [CUSTOMER, COLLEAGUE] {
            let inbox = office.sim.inbox(member, 1, PATIENCE).await.unwrap();
            let got = inbox.iter().find(|m| m.id == id).unwrap_or_else(|| panic!("{member} has no {id}"));
            assert_eq!((got.chat.as_str(), got.text.as_deref()), (group.as_str(), Some(text)));
        }
    }
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_the_account_is_not_in_fails_and_holds_nobody_up() {
    let (office, session) = Office::paired_with(|config| config.send_attempts = 2).await;
    office.sim.add_phone(COLLEAGUE, "Pak Budi").await.unwrap();
    let group = office.sim.create_group("Tanpa kami", COLLEAGUE, &[CUSTOMER.to_owned()]).await.unwrap();
    let id = taken(&office, &session, &group, "boleh masuk?").await;
    let unknown = taken(&office, &session, "120363000000000000@g.us", "ada orang?").await;
    works(&office, &session, "yang lain").await;
    for id in [id, unknown] {
        let message = failed(&office, &id).await;
        assert!(message.error.is_some(), "{message:?}");
    }
    assert_eq!(shown(&office, CUSTOMER, "boleh masuk?").await, 0);
    assert_eq!(office.gateway.outbox().depth(session.no()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_callers_at_once_are_all_served() {
    const CALLERS: usize = 64;
    const EACH: usize = 5;
    let (office, session) = Office::paired().await;
    let customers: Vec<String> = (0..8).map(|n| format!("62814000000{n:02}")).collect();
    for customer in &customers {
        office.sim.add_phone(customer, "Pelanggan").await.unwrap();
    }
    let office = Arc::new(office);
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (office, session, to) =
            (Arc::clone(&office), session.clone(), customers[caller % customers.len()].clone());
        callers.spawn(async move {
            let mut sent = Vec::new();
            for n in 0..EACH {
                let text = format!("pemanggil {caller} pesan {n}");
                sent.push((to.clone(), taken(&office, &session, &to, &text).await, text));
            }
            sent
        });
    }
    let mut wanted: HashMap<String, Vec<String>> = HashMap::new();
    for (to, id, text) in callers.join_all().await.into_iter().flatten() {
        office.reached(&id, Progress::Delivered).await;
        wanted.entry(to).or_default().push(text);
    }
    for (to, mut texts) in wanted {
        let inbox = office.sim.inbox(&to, texts.len(), PATIENCE).await.unwrap();
        let mut got: Vec<String> = inbox.into_iter().map(|m| m.text.unwrap()).collect();
        got.sort();
        texts.sort();
        assert_eq!(got, texts);
    }
    office.assert_no_violations();
}
