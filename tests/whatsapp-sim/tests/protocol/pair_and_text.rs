//! A client pairs by QR, writes, gets its receipts, is written to, and logs in again.

use crate::common::{Client, PATIENCE, acked, receipt, sim};
use whatsapp_rust::Jid;
use whatsapp_rust::types::events::Event;
use whatsapp_rust::types::presence::ReceiptType;

const ANNA: &str = "4915550001";
const BORIS: &str = "4915550002";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pair_and_text() {
    let sim = sim().await;
    sim.add_phone(ANNA, "Anna").await.expect("adds");
    sim.add_phone(BORIS, "Boris").await.expect("adds");

    let mut client = Client::fresh(&sim).await;
    client.pair(&sim, ANNA).await;

    // Out: the far phone decrypts, the own phone has its copy.
    let wa = client.handle.client();
    let sent = wa.send_text(&Jid::pn(BORIS), "hello Boris").await.expect("sends");
    acked(&mut client, &sent.message_id).await;
    receipt(&mut client, &sent.message_id, ReceiptType::Delivered).await;
    let inbox = sim.inbox(BORIS, 1, PATIENCE).await.expect("has a phone");
    assert_eq!((inbox[0].id.as_str(), inbox[0].text.as_deref()), (&*sent.message_id, Some("hello Boris")));
    assert_eq!((inbox[0].from.as_str(), inbox[0].chat.as_str()), (ANNA, ANNA));
    let own = sim.inbox(ANNA, 1, PATIENCE).await.expect("has a phone");
    assert_eq!((own[0].chat.as_str(), own[0].text.as_deref()), (BORIS, Some("hello Boris")));
    sim.read(BORIS, &sent.message_id).await.expect("reads");
    receipt(&mut client, &sent.message_id, ReceiptType::Read).await;

    // In.
    for text in ["hello Anna", "are you there?"] {
        let id = sim.send_text(BORIS, ANNA, text).await.expect("sends");
        let got = client
            .event("message", |event| match event {
                Event::Messages(batch) => {
                    let message = batch.messages.iter().find(|message| message.info.id == id)?;
                    message.message.conversation.clone()
                }
                _ => None,
            })
            .await;
        assert_eq!(got, text);
    }

    // And again over the session that now exists.
    let sent = wa.send_text(&Jid::pn(BORIS), "second").await.expect("sends");
    acked(&mut client, &sent.message_id).await;
    let inbox = sim.inbox(BORIS, 2, PATIENCE).await.expect("has a phone");
    assert_eq!(inbox[1].text.as_deref(), Some("second"));

    // Log in again on the same store.
    let Client { handle, backend, .. } = client;
    handle.shutdown().await;
    let mut client = Client::start(&sim, backend).await;
    client.connected().await;
    let sent = client.handle.client().send_text(&Jid::pn(BORIS), "third").await.expect("sends");
    acked(&mut client, &sent.message_id).await;
    let inbox = sim.inbox(BORIS, 3, PATIENCE).await.expect("has a phone");
    assert_eq!(inbox[2].text.as_deref(), Some("third"));

    let stats = sim.stats();
    assert_eq!(stats.violations, []);
    assert_eq!((stats.messages, stats.duplicates), (3, 0));
    assert_eq!(stats.connections.now, 1);
}
