use proptest::prelude::*;

use super::*;
use crate::store::StoreOptions;

fn defaults() -> InboxSettings {
    InboxSettings::from_config(&Config::default())
}

fn open(dir: &tempfile::TempDir, settings: InboxSettings) -> (Inbox, Soon) {
    let options = StoreOptions { tables: TABLES.to_vec(), ..StoreOptions::default() };
    let store = Store::open(&dir.path().join("s.redb"), &options).unwrap();
    Inbox::open(store, settings).unwrap()
}

fn text(id: &str, phone: &str) -> Event {
    let origin = Origin { session_no: 3, session: "S".into(), account: "main".into() };
    let person = Person { phone: Some(phone.into()), lid: Some(format!("9{phone}@lid")) };
    Event {
        seq: 0,
        id: event_id("S", &["message", phone, phone, id]),
        origin,
        at_ms: 5,
        recorded_at_ms: 0,
        offline: false,
        chat_id: person.chat_id(),
        person,
        body: Body::Message(Box::new(Message {
            message_id: id.into(),
            kind: "text".into(),
            text: Some(format!("halo {id}")),
            ..Message::default()
        })),
        media: None,
    }
}

#[tokio::test]
async fn what_is_appended_is_read_back_in_order_once_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (inbox, soon) = open(&dir, defaults());
    let mut head = inbox.head();
    assert_eq!(*head.borrow_and_update(), Some(0));
    assert_eq!(inbox.append(vec![text("A", "62811"), text("B", "62811")]).await.unwrap(), 2);
    assert_eq!(*head.borrow_and_update(), Some(2));
    // WhatsApp repeats what it does not know to have arrived.
    assert_eq!(inbox.append(vec![text("B", "62811"), text("C", "62812")]).await.unwrap(), 1);
    let page = inbox.page(0, 10).unwrap();
    let ids: Vec<_> = page.events.iter().map(|e| (e.seq, e.id.clone())).collect();
    let expected = [text("A", "62811"), text("B", "62811"), text("C", "62812")];
    assert_eq!(ids, expected.iter().zip(1..).map(|(e, n)| (n, e.id.clone())).collect::<Vec<_>>());
    assert_eq!(page.gap, None);
    assert!(page.events[0].recorded_at_ms > 0);
    assert_eq!(Event { seq: 0, recorded_at_ms: 0, ..page.events[2].clone() }, expected[2]);
    drop((inbox, soon));
    let (inbox, _soon) = open(&dir, defaults());
    assert_eq!(*inbox.head().borrow(), Some(3));
    assert_eq!(inbox.find(&expected[1].id).unwrap().unwrap().seq, 2);
    assert_eq!(inbox.page(2, 10).unwrap().events.len(), 1);
    assert!(inbox.find("00000000000000000000000000000000").unwrap().is_none());
    assert!(inbox.find("../../etc/passwd").unwrap().is_none());
}

#[tokio::test]
async fn both_names_of_whoever_wrote_are_known_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let (inbox, _soon) = open(&dir, defaults());
    assert_eq!(inbox.last_from(3, "62811").unwrap(), None);
    let mut own = text("X", "62899");
    if let Body::Message(message) = &mut own.body {
        message.from_me = true;
    }
    inbox.append(vec![text("A", "62811"), own]).await.unwrap();
    for name in ["62811", "962811", "962811@lid", "62811@s.whatsapp.net"] {
        assert!(inbox.last_from(3, name).unwrap().is_some(), "{name}");
    }
    assert_eq!(inbox.last_from(4, "62811").unwrap(), None, "another session");
    assert_eq!(inbox.last_from(3, "62899").unwrap(), None, "we wrote to them, not they to us");
    inbox.forget_session(3).await.unwrap();
    assert_eq!(inbox.last_from(3, "62811").unwrap(), None);
}

#[tokio::test]
async fn the_journal_stays_within_its_limits_and_tells_of_the_gap() {
    let dir = tempfile::tempdir().unwrap();
    let settings = InboxSettings { events: 100, ..defaults() };
    let (inbox, _soon) = open(&dir, settings);
    for n in 0..40 {
        let events = (0..10).map(|k| text(&format!("{n}-{k}"), "62811")).collect();
        inbox.append(events).await.unwrap();
    }
    let (first, next, bytes) = inbox.span().unwrap();
    assert_eq!(next, 401);
    assert!((100..=106).contains(&(next - first)), "{}", next - first);
    let page = inbox.page(7, 500).unwrap();
    assert_eq!(page.gap, Some((8, first - 1)));
    assert_eq!(page.events.len() as u64, next - first);
    assert_eq!(inbox.page(first - 1, 1).unwrap().gap, None, "a reader right at the edge missed nothing");
    assert!(inbox.find(&text("0-0", "62811").id).unwrap().is_none());
    // What has gone is new if it is reported again, and the bytes are those of what is there.
    let small = InboxSettings { bytes: bytes / 4, ..defaults() };
    drop((inbox, _soon));
    let (inbox, _soon) = open(&dir, small);
    inbox.append(vec![text("0-0", "62811")]).await.unwrap();
    let (first, next, now) = inbox.span().unwrap();
    assert!(now <= bytes / 4 && next == 402 && next - first >= 10, "{first}..{next}, {now} of {bytes}");
}

#[tokio::test]
async fn age_empties_the_journal_and_the_numbers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (inbox, soon) = open(&dir, InboxSettings { age: Duration::ZERO, ..defaults() });
    inbox.append(vec![text("A", "62811"), text("B", "62811")]).await.unwrap();
    while now_ms() <= inbox.get(2).unwrap().unwrap().recorded_at_ms {
        tokio::task::yield_now().await;
    }
    inbox.prune().await;
    assert_eq!(inbox.page(0, 10).unwrap(), Page { gap: Some((1, 2)), events: Vec::new() });
    assert_eq!(inbox.span().unwrap(), (3, 3, 0));
    inbox.append(vec![text("C", "62811")]).await.unwrap();
    assert_eq!(inbox.find(&text("C", "62811").id).unwrap().unwrap().seq, 3);
    drop(soon);
}

#[tokio::test]
async fn what_may_wait_is_gathered_and_nothing_of_it_is_lost_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (inbox, soon) = open(&dir, defaults());
    let task = tokio::spawn(inbox.clone().run(soon));
    for n in 0..700 {
        inbox.append_soon(text(&n.to_string(), "62811"));
    }
    let mut head = inbox.head();
    head.wait_for(|head| *head == Some(700)).await.unwrap();
    inbox.append_soon(text("last", "62811"));
    inbox.close();
    task.await.unwrap();
    assert_eq!(inbox.newest().unwrap(), 701);
    assert_eq!(*head.borrow_and_update(), None);
}

#[tokio::test]
async fn polls_are_remembered_and_the_oldest_go_first() {
    let dir = tempfile::tempdir().unwrap();
    let (inbox, _soon) = open(&dir, defaults());
    let poll = PollSecret {
        name: "Makan?".into(),
        options: vec!["ya".into()],
        secret: "00".into(),
        creators: vec![],
        at_ms: 1,
    };
    inbox.remember_poll(3, "P", poll.clone()).await.unwrap();
    assert_eq!(inbox.poll(3, "P").unwrap(), Some(poll));
    assert_eq!(inbox.poll(2, "P").unwrap(), None);
}

proptest! {
    #[test]
    fn ids_depend_on_every_part_and_on_where_parts_end(
        a in prop::collection::vec("[a-c]{0,3}", 0..4),
        b in prop::collection::vec("[a-c]{0,3}", 0..4),
    ) {
        let parts = |list: &[String]| event_id("S", &list.iter().map(String::as_str).collect::<Vec<_>>());
        prop_assert_eq!(parts(&a) == parts(&b), a == b);
        prop_assert_ne!(event_id("T", &[]), parts(&a));
    }
}
