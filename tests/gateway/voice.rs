//! Sound becomes a voice note that any phone plays, or the caller hears why not.

use std::f64::consts::PI;
use std::io::Cursor;
use std::net::SocketAddr;

use crate::support::{CUSTOMER, OFFICE, Office, PATIENCE};
use ogg::PacketReader;
use ropus::{Channels, DecodeMode, Decoder};
use serde_json::json;

async fn office() -> Office {
    Office::paired_with(|config| config.allow_private_fetch = vec!["127.0.0.0/8".parse().unwrap()]).await.0
}

async fn file_server(files: Vec<(&'static str, Vec<u8>)>) -> SocketAddr {
    let mut router = axum::Router::new();
    for (path, file) in files {
        router = router.route(path, axum::routing::get(move || async move { file }));
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = kurir::api::serve::ServeLimits::default();
    tokio::spawn(kurir::api::serve::serve(listener, router, limits, None, std::future::pending()));
    address
}

/// 16 bits, one channel, 22,050 Hz: silence for a second, then two seconds of 440 Hz at half of full scale.
fn wav() -> Vec<u8> {
    let rate = 22_050_u32;
    let tone = |n: u32| (f64::from(n) * 440.0 * 2.0 * PI / f64::from(rate)).sin() * 16_384.0;
    let data: Vec<u8> =
        (0..3 * rate).flat_map(|n| (if n < rate { 0.0 } else { tone(n) } as i16).to_le_bytes()).collect();
    let mut file = b"RIFF".to_vec();
    file.extend((36 + data.len() as u32).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend([rate.to_le_bytes(), (2 * rate).to_le_bytes()].concat());
    file.extend(b"\x02\0\x10\0data");
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(data);
    file
}

/// What a player hears of an Ogg Opus file of one channel, at 48 kHz.
fn play(file: Vec<u8>) -> Vec<f32> {
    let mut reader = PacketReader::new(Cursor::new(file));
    let head = reader.read_packet().unwrap().unwrap().data;
    assert!(head.starts_with(b"OpusHead\x01\x01"), "{head:?}");
    let pre_skip = usize::from(u16::from_le_bytes([head[10], head[11]]));
    assert!(reader.read_packet().unwrap().unwrap().data.starts_with(b"OpusTags"));
    let mut decoder = Decoder::new(48_000, Channels::Mono).unwrap();
    let (mut samples, mut pcm, mut end) = (Vec::new(), vec![0.0; 5760], 0);
    while let Some(packet) = reader.read_packet().unwrap() {
        let count = decoder.decode_float(&packet.data, &mut pcm, DecodeMode::Normal).unwrap();
        samples.extend_from_slice(&pcm[..count]);
        if packet.last_in_stream() {
            end = packet.absgp_page() as usize;
        }
    }
    samples.truncate(end);
    samples.split_off(pre_skip)
}

/// How much of the power is a sine of 440 Hz.
fn purity(samples: &[f32]) -> f64 {
    let (mut re, mut im, mut power) = (0.0, 0.0, 0.0);
    for (n, sample) in samples.iter().enumerate() {
        let (turn, sample) = (n as f64 * 440.0 * 2.0 * PI / 48_000.0, f64::from(*sample));
        re += sample * turn.cos();
        im += sample * turn.sin();
        power += sample * sample;
    }
    2.0 * (re * re + im * im) / samples.len() as f64 / power
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_arrives_as_a_voice_note() {
    let office = office().await;
    let files = vec![
        ("/rekaman.wav", wav()),
        ("/suara.mp3", include_bytes!("../fixtures/sine.mp3").to_vec()),
        ("/suara.m4a", include_bytes!("../fixtures/sine.m4a").to_vec()),
        ("/suara.ogg", include_bytes!("../fixtures/sine.opus.ogg").to_vec()),
    ];
    let address = file_server(files).await;
    let flags = [json!({"ppt": true}), json!({"ptt": "true"}), json!({"ptt": "vn"}), json!({"ppt": 1})];
    let cases = ["/rekaman.wav", "/suara.mp3", "/suara.m4a", "/suara.ogg"].into_iter().zip(flags);
    for (index, (path, flag)) in cases.enumerate() {
        let mut body = json!({"api_key": office.key, "sender": OFFICE, "number": CUSTOMER,
            "media_type": "audio", "url": format!("http://{address}{path}")});
        body.as_object_mut().unwrap().extend(flag.as_object().unwrap().clone());
        let answer = office.post("/send-media", body).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let got = office.sim.inbox(CUSTOMER, index + 1, PATIENCE).await.unwrap().pop().unwrap();
        assert_eq!((got.kind.as_str(), got.ptt), ("audio", Some(true)), "{path}");
        assert_eq!(got.mime.as_deref(), Some("audio/ogg; codecs=opus"), "{path}");
        let waveform = got.waveform.unwrap();
        assert_eq!(waveform.len(), 64, "{path}");
        let heard = play(office.sim.media(CUSTOMER, &got.id).await.unwrap().to_vec());
        if path == "/rekaman.wav" {
            assert_eq!(got.seconds, Some(3));
            assert!(heard.len().abs_diff(3 * 48_000) <= 1, "{}", heard.len());
            assert!(waveform[..20].iter().all(|level| *level <= 1), "{waveform:?}");
            assert!(waveform[23..].iter().all(|level| *level >= 95 && *level <= 100), "{waveform:?}");
            assert!(heard[..43_000].iter().all(|sample| sample.abs() < 0.01));
            assert!(purity(&heard[60_000..140_000]) > 0.95);
            let loudest = heard.iter().fold(0.0_f32, |loudest, sample| loudest.max(sample.abs()));
            assert!((0.4..0.7).contains(&loudest), "{loudest}");
        } else {
            assert_eq!(got.seconds, Some(2), "{path}");
            assert!(heard.len().abs_diff(2 * 48_000) < 4_800, "{path}: {}", heard.len());
            assert!(purity(&heard[10_000..80_000]) > 0.9, "{path}");
        }
    }
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn audio_without_the_flag_stays_as_it_is() {
    let office = office().await;
    let file = include_bytes!("../fixtures/sine.mp3").to_vec();
    let address = file_server(vec![("/lagu.mp3", file.clone())]).await;
    let body = json!({"api_key": office.key, "sender": OFFICE, "number": CUSTOMER, "media_type": "audio",
        "url": format!("http://{address}/lagu.mp3"), "ppt": false});
    assert_eq!(office.post("/send-media", body).await.status, 200);
    let got = office.sim.inbox(CUSTOMER, 1, PATIENCE).await.unwrap().pop().unwrap();
    assert_eq!((got.ptt, got.mime.as_deref(), got.seconds), (Some(false), Some("audio/mpeg"), Some(2)));
    assert_eq!(office.sim.media(CUSTOMER, &got.id).await.unwrap(), file);
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_voice_note_is_refused_in_the_formats_own_shape() {
    let office = office().await;
    let mut damaged = include_bytes!("../fixtures/sine.opus.ogg").to_vec();
    damaged.iter_mut().skip(200).for_each(|byte| *byte ^= 0x5a);
    let mut cut = include_bytes!("../fixtures/sine.mp3")[..30].to_vec();
    cut.resize(9_000, 0);
    let address = file_server(vec![
        ("/rusak.ogg", damaged),
        ("/potong.mp3", cut),
        ("/pesan.amr", b"#!AMR\n\x3c\x48\xf5\x1f\x96\x66\x79\xe1\xe0\x01\xe7\xcf\xf0".repeat(20)),
        ("/surat.pdf", b"%PDF-1.7\n%%EOF\n".to_vec()),
    ])
    .await;
    for (path, says) in [
        ("/rusak.ogg", "voice note"),
        ("/potong.mp3", "voice note"),
        ("/pesan.amr", "voice note"),
        ("/surat.pdf", "media_type"),
    ] {
        let body = json!({"api_key": office.key, "sender": OFFICE, "number": CUSTOMER,
            "media_type": "audio", "url": format!("http://{address}{path}"), "ppt": true});
        let answer = office.post("/send-media", body).await;
        let text = answer.json();
        assert_eq!((answer.status, &text["status"]), (400, &json!(false)), "{path}: {text}");
        assert!(text["msg"].as_str().unwrap().contains(says), "{path}: {text}");
    }
    // Nothing of them is kept, and nothing was queued.
    for folder in ["media", "spool"] {
        let left = std::fs::read_dir(office.folder.path().join(folder)).unwrap().count();
        assert_eq!(left, 0, "{folder}");
    }
    let address = file_server(vec![("/rekaman.wav", wav())]).await;
    let body = json!({"api_key": office.key, "sender": OFFICE, "number": CUSTOMER, "media_type": "audio",
        "url": format!("http://{address}/rekaman.wav"), "ppt": true});
    assert_eq!(office.post("/send-media", body).await.status, 200);
    assert_eq!(office.sim.inbox(CUSTOMER, 1, PATIENCE).await.unwrap().len(), 1);
    office.assert_no_violations();
}
