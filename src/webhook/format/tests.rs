use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::inbox::{
    Location, Media, MediaRef, Message, Origin, Person, PollVote, Receipt, SessionState, event_id,
};
use crate::media::MediaKind;

fn event(body: Body) -> Event {
    Event {
        seq: 42,
        id: event_id("S", &["message", "A"]),
        origin: Origin { session_no: 1, session: "S".into(), account: "main".into() },
        at_ms: 1_700_000_000_500,
        recorded_at_ms: 1_700_000_001_000,
        offline: true,
        chat_id: Some("62812@s.whatsapp.net".into()),
        person: Person { phone: Some("62812".into()), lid: Some("99@lid".into()) },
        body,
        media: None,
    }
}

fn text() -> Message {
    let (message_id, kind, name) = ("3EB0".into(), "text".into(), "Ibu Sari".into());
    Message { message_id, kind, name, text: Some("halo".into()), ..Message::default() }
}

fn photo() -> Event {
    let media = Media { mime: "image/jpeg".into(), size: Some(9), ..Media::default() };
    let mut event =
        event(Body::Message(Box::new(Message { kind: "image".into(), media: Some(media), ..text() })));
    event.media = Some(MediaRef {
        direct_path: "/secret-path".into(),
        media_key: "secret-key".into(),
        sha256: String::new(),
        enc_sha256: String::new(),
        length: 9,
        keys: "image".into(),
    });
    event
}

fn context() -> Context {
    Context {
        device: "62811".into(),
        media_url: Some("http://kurir/api/v1/media/x".into()),
        outbox_ids: vec![("3EB1".into(), 7)],
        image: None,
    }
}

fn in_group(mut event: Event) -> Event {
    event.chat_id = Some("1203@g.us".into());
    if let Body::Message(message) = &mut event.body {
        message.is_group = true;
    }
    event
}

#[test]
fn our_format_tells_everything_but_how_to_decrypt() {
    let body = render(Format::Kurir, &photo(), &context()).remove(0);
    assert_eq!(body["type"], "media");
    assert_eq!((body["phone"].as_str(), body["lid"].as_str()), (Some("62812"), Some("99@lid")));
    assert_eq!((body["seq"].as_u64(), body["offline"].as_bool()), (Some(42), Some(true)));
    assert_eq!(body["data"]["media"]["url"], "http://kurir/api/v1/media/x");
    assert_eq!(body["data"]["text"], "halo");
    assert!(!body.to_string().contains("secret"), "{body}");
}

#[test]
fn fonnte_gets_its_message_status_and_connection() {
    let expected = json!({
        "device": "62811", "sender": "62812", "message": "halo", "text": "", "member": "", "name": "Ibu Sari",
        "location": "", "pollname": "", "choices": "", "timestamp": 1_700_000_000, "inboxid": 42, "url": "",
        "filename": "", "extension": "",
    });
    let plain = Context { media_url: None, ..context() };
    let private = event(Body::Message(Box::new(text())));
    assert_eq!(render(Format::Fonnte, &private, &plain), [expected]);
    let group = render(Format::Fonnte, &in_group(private), &plain).remove(0);
    assert_eq!((group["sender"].as_str(), group["member"].as_str()), (Some("1203@g.us"), Some("62812")));
    let photo = render(Format::Fonnte, &photo(), &context()).remove(0);
    assert_eq!(
        (photo["extension"].as_str(), photo["url"].as_str()),
        (Some("jpg"), Some("http://kurir/api/v1/media/x"))
    );
    assert!(photo["filename"].as_str().unwrap().ends_with(".jpg"));
    let location = Location { latitude: -6.2, longitude: 106.8, ..Location::default() };
    let place = Message { kind: "location".into(), location: Some(location), ..text() };
    let place = render(Format::Fonnte, &event(Body::Message(Box::new(place))), &plain).remove(0);
    assert_eq!(place["location"], "-6.2,106.8");
    let vote = PollVote {
        poll_name: Some("Makan?".into()),
        options: vec!["nasi".into(), "mie".into()],
        ..PollVote::default()
    };
    let vote = render(Format::Fonnte, &event(Body::PollVote(vote)), &plain).remove(0);
    assert_eq!((vote["pollname"].as_str(), vote["choices"].as_str()), (Some("Makan?"), Some("nasi,mie")));

    let receipt = Receipt { status: "played".into(), message_ids: vec!["3EB1".into(), "phone's own".into()] };
    let status = json!({"device": "62811", "id": "7", "stateid": "3EB1", "status": "sent", "state": "read"});
    assert_eq!(render(Format::Fonnte, &event(Body::Receipt(receipt)), &context()), [status]);

    let state = |status: &str| {
        let state =
            SessionState { status: status.into(), reason: "network".into(), ..SessionState::default() };
        render(Format::Fonnte, &event(Body::Session(state)), &context())
    };
    assert_eq!(
        state("connected"),
        [json!({"device": "62811", "status": "connect", "timestamp": 1_700_000_000})]
    );
    let down =
        json!({"device": "62811", "status": "disconnect", "timestamp": 1_700_000_000, "reason": "network"});
    assert_eq!((state("disconnected"), state("connecting")), (vec![down], Vec::new()));
}

#[test]
fn mpwa_gets_messages_of_others_only() {
    let body = render(Format::Mpwa, &in_group(photo()), &context()).remove(0);
    assert_eq!((body["from"].as_str(), body["participant"].as_str()), (Some("1203@g.us"), Some("62812")));
    assert_eq!((body["message"].as_str(), body["bufferImage"].is_null()), (Some("halo"), true));
    let private = render(Format::Mpwa, &event(Body::Message(Box::new(text()))), &context()).remove(0);
    assert_eq!((private["from"].as_str(), private["participant"].is_null()), (Some("62812"), true));
    let own = Message { from_me: true, ..text() };
    for format in [Format::Mpwa, Format::Fonnte] {
        assert!(render(format, &event(Body::Message(Box::new(own.clone()))), &context()).is_empty());
    }
}

#[test]
fn a_bots_answer_is_read_in_the_ways_in_which_receivers_write_it() {
    let read = |value: Value| answer(value.to_string().as_bytes());
    let text = |quoted| Some(Answer::Text { text: "siap".into(), quoted });
    assert_eq!(read(json!({"text": "siap"})), text(false));
    assert_eq!(read(json!({"text": "siap", "quoted": true})), text(true));
    assert_eq!(read(json!({"type": "text", "text": "siap", "quoted": "1"})), text(true));
    let media = Some(Answer::Media {
        kind: MediaKind::Document,
        url: "http://x/nota.pdf".into(),
        caption: Some("nota".into()),
        filename: Some("nota.pdf".into()),
        quoted: false,
    });
    let body =
        json!({"type": "document", "url": "http://x/nota.pdf", "caption": "nota", "filename": "nota.pdf"});
    assert_eq!(read(body), media);
    let nested = read(json!({"type": "image", "image": {"url": "http://x/a.jpg"}, "caption": ""}));
    assert!(matches!(nested, Some(Answer::Media { kind: MediaKind::Image, caption: None, .. })));
    for nothing in
        [json!({}), json!({"text": ""}), json!({"type": "image"}), json!([]), json!("ok"), json!({"text": 5})]
    {
        assert_eq!(read(nothing.clone()), None, "{nothing}");
    }
    assert_eq!(answer(b"ok"), None);
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = answer(&body);
    }
}
