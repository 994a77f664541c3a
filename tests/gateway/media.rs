//! Files become media on the far phone, whole and as the kind that their content is.

use crate::support::{Answer, CUSTOMER, OFFICE, Office, PATIENCE, request};
use base64::Engine;
use kurir::outbox::Progress;
use kurir::session::{Session, Status};
use serde_json::json;
use sha2::{Digest, Sha256};

/// A body of `multipart/form-data` with boundary `B`.
fn multipart(fields: &[(&str, &str)], filename: &str, file: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(
            format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes(),
        );
    }
    let head =
        format!("--B\r\nContent-Disposition: form-data; name=\"media\"; filename=\"{filename}\"\r\n\r\n");
    body.extend(head.bytes());
    body.extend(file);
    body.extend(b"\r\n--B--\r\n");
    body
}

fn png() -> Vec<u8> {
    base64::engine::general_purpose::STANDARD
        .decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn uploaded_media_arrive_whole_as_the_kind_that_their_content_is() {
    let (office, session) = Office::paired().await;
    let path = format!("/api/sessions/{}/send-media", session.id());
    let mut pdf = b"%PDF-1.7\n".to_vec();
    pdf.extend((0..3_000_000u32).map(|n| (n.wrapping_mul(7919) >> 5) as u8));
    pdf.extend(b"\n%%EOF\n");
    for (filename, file, kind) in [("foto.png", png(), "image"), ("faktur.pdf", pdf, "document")] {
        let body = multipart(&[("to", CUSTOMER), ("message", "lihat ini")], filename, &file);
        let headers =
            [("x-api-key", office.key.as_str()), ("content-type", "multipart/form-data; boundary=B")];
        let answer = request(office.gateway.address(), "POST", &path, &headers, body).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        let id = answer.json()["messageId"].as_str().unwrap().to_owned();
        office.reached(&id, Progress::Delivered).await;
        let inbox = office.sim.inbox(CUSTOMER, 1, PATIENCE).await.unwrap();
        let got = inbox.iter().find(|m| m.id == id).unwrap();
        assert_eq!((got.kind.as_str(), got.caption.as_deref()), (kind, Some("lihat ini")));
        assert_eq!(got.sha256.as_deref(), Some(hex::encode(Sha256::digest(&file)).as_str()));
        assert_eq!(office.sim.media(CUSTOMER, &id).await.unwrap(), file);
        if kind == "document" {
            assert_eq!(got.filename.as_deref(), Some("faktur.pdf"));
        }
    }
    // A file goes once the disk knows that its message is sent, which nobody is told of.
    let folder = office.folder.path().join("media");
    let emptied = async {
        let mut look = tokio::time::interval(std::time::Duration::from_millis(10));
        while std::fs::read_dir(&folder).unwrap().next().is_some() {
            look.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, emptied).await.expect("sent files are removed");
    office.assert_no_violations();
}

/// A JPEG that is red above and blue below as the camera took it, which lay on its side (Exif orientation 6).
fn photo(width: u16, height: u16) -> Vec<u8> {
    let row = |colour: [u8; 3]| colour.repeat(usize::from(width));
    let rgb: Vec<u8> =
        (0..height).flat_map(|y| row(if y < height / 2 { [250, 10, 10] } else { [10, 10, 250] })).collect();
    let mut file = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut file, 80);
    let tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    encoder.add_exif_metadata(tiff).unwrap();
    encoder.encode(&rgb, width, height, jpeg_encoder::ColorType::Rgb).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn images_and_films_bring_their_shape() {
    let (office, _session) =
        Office::paired_with(|config| config.allow_private_fetch = vec!["127.0.0.0/8".parse().unwrap()]).await;
    // Headers that promise more than can be unpacked; the file itself is sent as it is.
    let mut bomb = png();
    bomb[16..24].copy_from_slice(&[0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30]);
    let files = vec![
        ("/foto.jpg", photo(1200, 800)),
        ("/film.mp4", include_bytes!("../fixtures/film.mp4").to_vec()),
        ("/besar.png", bomb),
    ];
    let address = file_server(files.clone()).await;
    let cases = [
        ("/foto.jpg", "image", Some((800, 1200)), None, true),
        ("/film.mp4", "video", Some((96, 64)), Some(3), false),
        ("/besar.png", "image", Some((30_000, 30_000)), None, false),
    ];
    for (index, (path, kind, dimensions, seconds, has_thumbnail)) in cases.into_iter().enumerate() {
        let body = json!({"api_key": office.key, "sender": OFFICE, "number": CUSTOMER,
            "media_type": kind, "url": format!("http://{address}{path}")});
        let answer = office.post("/send-media", body).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let got = office.sim.inbox(CUSTOMER, index + 1, PATIENCE).await.unwrap().pop().unwrap();
        assert_eq!((got.kind.as_str(), got.dimensions, got.seconds), (kind, dimensions, seconds), "{path}");
        assert_eq!(office.sim.media(CUSTOMER, &got.id).await.unwrap(), files[index].1, "{path}");
        assert_eq!(got.thumbnail.is_some(), has_thumbnail, "{path}");
        let Some(thumbnail) = got.thumbnail else { continue };
        let thumbnail = base64::engine::general_purpose::STANDARD.decode(thumbnail).unwrap();
        assert!(thumbnail.len() <= 10 * 1024, "{}", thumbnail.len());
        let mut decoder = jpeg_decoder::Decoder::new(thumbnail.as_slice());
        let pixels = decoder.decode().unwrap();
        let info = decoder.info().unwrap();
        assert_eq!((info.width, info.height), (66, 100), "{path}");
        // Upright, the camera's upper half is the right one.
        let pixel = |x: usize| &pixels[(50 * 66 + x) * 3..][..3];
        assert!(pixel(50)[0] > 200 && pixel(50)[2] < 60, "{:?}", pixel(50));
        assert!(pixel(15)[2] > 200 && pixel(15)[0] < 60, "{:?}", pixel(15));
    }
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_for_many_recipients_is_uploaded_once() {
    let (office, _session) = Office::paired_with(|config| {
        config.allow_private_fetch = vec!["127.0.0.0/8".parse().unwrap()];
        config.send_delay = std::time::Duration::ZERO;
        config.send_jitter = std::time::Duration::ZERO;
    })
    .await;
    let numbers: Vec<String> = (0..6).map(|n| format!("62812000001{n:02}")).collect();
    for number in &numbers {
        office.sim.add_phone(number, "Pelanggan").await.unwrap();
    }
    let file = photo(300, 200);
    let address = file_server(vec![("/foto.jpg", file.clone())]).await;
    let body = json!({"api_key": office.key, "sender": OFFICE, "number": numbers.join("|"),
        "media_type": "image", "url": format!("http://{address}/foto.jpg"), "caption": "promo"});
    let answer = office.post("/send-media", body.clone()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    for number in &numbers {
        let got = office.sim.inbox(number, 1, PATIENCE).await.unwrap().pop().unwrap();
        assert_eq!((got.kind.as_str(), got.caption.as_deref()), ("image", Some("promo")));
        assert!(got.thumbnail.is_some());
        assert_eq!(office.sim.media(number, &got.id).await.unwrap(), file);
    }
    assert_eq!(office.sim.stats().uploads, 1);
    // Another request is another file, whatever is in it.
    assert_eq!(office.post("/send-media", body).await.status, 200);
    for number in &numbers {
        office.sim.inbox(number, 2, PATIENCE).await.unwrap();
    }
    assert_eq!(office.sim.stats().uploads, 2);
    office.assert_no_violations();
}

/// Serves files over plain HTTP, each under its own path, until the test ends.
async fn file_server(files: Vec<(&'static str, Vec<u8>)>) -> std::net::SocketAddr {
    let mut router = axum::Router::new();
    for (path, file) in files {
        router = router.route(path, axum::routing::get(move || async move { file }));
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(kurir::api::serve::serve(
        listener,
        router,
        kurir::api::serve::ServeLimits::default(),
        None,
        std::future::pending(),
    ));
    address
}

/// The smallest files that are recognised as what they are.
fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let ogg = include_bytes!("../fixtures/sine.opus.ogg").to_vec();
    let mut mp4 = b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2".to_vec();
    mp4.extend(b"\0\0\0\x08moov");
    mp4.resize(4096, 0);
    let mut zip = b"PK\x05\x06".to_vec();
    zip.resize(22, 0);
    vec![("/foto.png", png()), ("/suara.ogg", ogg), ("/film.mp4", mp4), ("/arsip.zip", zip)]
}

#[tokio::test(flavor = "multi_thread")]
async fn dialect_1_fetches_each_kind_of_media_from_its_url() {
    let (office, _session) =
        Office::paired_with(|config| config.allow_private_fetch = vec!["127.0.0.0/8".parse().unwrap()]).await;
    let address = file_server(samples()).await;
    let cases = [
        ("/foto.png", "image", json!({"caption": "Hello World"}), "image", None),
        ("/suara.ogg", "audio", json!({"ppt": "false"}), "audio", Some(false)),
        ("/film.mp4", "video", json!({}), "video", None),
        ("/arsip.zip", "zip", json!({}), "document", None),
    ];
    for (index, (path, media_type, extra, kind, ptt)) in cases.into_iter().enumerate() {
        let mut body = json!({"api_key": office.key, "sender": OFFICE, "number": CUSTOMER,
            "media_type": media_type, "url": format!("http://{address}{path}")});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let answer = office.post("/send-media", body).await;
        assert_eq!((answer.status, &answer.json()["status"]), (200, &json!(true)), "{path}: {answer:?}");
        let inbox = office.sim.inbox(CUSTOMER, index + 1, PATIENCE).await.unwrap();
        let got = &inbox[index];
        let file = samples().into_iter().find(|(name, _)| *name == path).unwrap().1;
        assert_eq!(
            (got.kind.as_str(), got.ptt.unwrap_or(false)),
            (kind, ptt.unwrap_or(false)),
            "{path}: {got:?}"
        );
        assert_eq!(got.sha256.as_deref(), Some(hex::encode(Sha256::digest(&file)).as_str()), "{path}");
        if kind == "image" {
            assert_eq!(got.caption.as_deref(), Some("Hello World"));
        }
    }
    office.assert_no_violations();
}

/// Sends this as a file, and waits until WhatsApp has refused it for good.
async fn refused(office: &Office, session: &Session, filename: &str, file: &[u8]) -> String {
    office.sim.fault(serde_json::from_value(json!({"kind": "nack", "error": 403, "count": 1})).unwrap());
    let body = multipart(&[("to", CUSTOMER), ("message", "lihat ini")], filename, file);
    let headers = [("x-api-key", office.key.as_str()), ("content-type", "multipart/form-data; boundary=B")];
    let path = format!("/api/sessions/{}/send-media", session.id());
    let answer = request(office.gateway.address(), "POST", &path, &headers, body).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let id = answer.json()["messageId"].as_str().unwrap().to_owned();
    assert_eq!(office.reached(&id, Progress::Failed).await.progress, Progress::Failed);
    id
}

async fn retry(office: &Office, session: &Session, id: &str) -> Answer {
    office.call("POST", &format!("/api/v1/sessions/{}/messages/{id}/retry", session.id()), None).await
}

fn pdf(bytes: usize) -> Vec<u8> {
    [b"%PDF-1.7\n".to_vec(), vec![b' '; bytes], b"\n%%EOF\n".to_vec()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_failed_is_sent_when_it_is_tried_again() {
    let (office, session) = Office::paired().await;
    let id = refused(&office, &session, "foto.png", &png()).await;
    // Also after a restart.
    let office = office.restart().await;
    let session = office.gateway.registry().list().remove(0);
    crate::support::wait_for(&session, |s| s.status == Status::Connected).await;
    let answer = retry(&office, &session, &id).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let sent = async {
        let mut commits = office.gateway.store().commits();
        loop {
            commits.borrow_and_update();
            if office.gateway.outbox().find(&id).unwrap().unwrap().progress > Progress::Failed {
                return;
            }
            commits.changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, sent).await.expect("it is never sent");
    let inbox = office.sim.inbox(CUSTOMER, 1, PATIENCE).await.unwrap();
    assert_eq!((inbox.len(), inbox[0].kind.as_str(), inbox[0].id.as_str()), (1, "image", id.as_str()));
    assert_eq!(office.sim.media(CUSTOMER, &id).await.unwrap(), png());
    assert_eq!(retry(&office, &session, &id).await.status, 409, "it was sent");
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_failed_messages_make_room_for_new_ones_the_oldest_first() {
    let (office, session) = Office::paired_with(|config| config.media_quota = 1024 * 1024).await;
    let first = refused(&office, &session, "satu.pdf", &pdf(400_000)).await;
    let second = refused(&office, &session, "dua.pdf", &pdf(400_000)).await;
    let third = refused(&office, &session, "tiga.pdf", &pdf(400_000)).await;
    let answer = retry(&office, &session, &first).await;
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(answer.json()["message"].as_str().unwrap().contains("no longer kept"), "{answer:?}");
    for id in [&second, &third] {
        assert_eq!(retry(&office, &session, id).await.status, 200);
    }
    let mut came: Vec<_> =
        office.sim.inbox(CUSTOMER, 2, PATIENCE).await.unwrap().into_iter().map(|item| item.id).collect();
    came.sort();
    let mut expected = vec![second, third];
    expected.sort();
    assert_eq!(came, expected);
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_message_leaves_no_file() {
    let (office, session) = Office::paired().await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let tomorrow = (now.as_secs() + 24 * 3600) * 1000;
    let data = base64::engine::general_purpose::STANDARD.encode(png());
    let body = json!({"to": CUSTOMER, "media": {"data": data}, "send_at_ms": tomorrow});
    let path = format!("/api/v1/sessions/{}/messages", session.id());
    let answer = office.call("POST", &path, Some(body)).await;
    let id = answer.json()["message"]["id"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned();
    let folder = office.folder.path().join("media");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    let message = office.gateway.outbox().find(&id).unwrap().unwrap();
    office.gateway.outbox().cancel(message.seq).await.unwrap();
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    assert_eq!(retry(&office, &session, &id).await.status, 409);
}
