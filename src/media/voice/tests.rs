use std::f64::consts::PI;
use std::fs;
use std::io::{Cursor, Seek, Write};

use ogg::PacketReader;
use proptest::prelude::*;
use ropus::{DecodeMode, Decoder};

use super::*;

const HZ: f64 = 440.0;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/", $name)).as_slice()
    };
}

/// 440 Hz at an eighth of full scale, made with ffmpeg.
const FIXTURES: &[(&str, &[u8], u32)] = &[
    ("sine.mp3", fixture!("sine.mp3"), 2),
    ("sine.m4a", fixture!("sine.m4a"), 2),
    ("sine.aac", fixture!("sine.aac"), 2),
    ("sine.vorbis.ogg", fixture!("sine.vorbis.ogg"), 2),
    ("sine.opus.ogg", fixture!("sine.opus.ogg"), 2),
    ("sine.stereo.ogg", fixture!("sine.stereo.ogg"), 2),
    ("sine.flac", fixture!("sine.flac"), 1),
];

fn sine(rate: u32, seconds: f64) -> impl Iterator<Item = f64> {
    let count = (f64::from(rate) * seconds) as usize;
    (0..count).map(move |n| (n as f64 * HZ * 2.0 * PI / f64::from(rate)).sin() * 0.5)
}

/// A WAV; `format`: 1 for whole numbers, 3 for floating point, 7 for µ-law.
fn wav(format: u16, bits: u16, channels: u16, rate: u32, data: &[u8]) -> Vec<u8> {
    let block = channels * bits / 8;
    let mut file = b"RIFF".to_vec();
    file.extend((36 + data.len() as u32).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0");
    file.extend([format.to_le_bytes(), channels.to_le_bytes()].concat());
    file.extend([rate.to_le_bytes(), (rate * u32::from(block)).to_le_bytes()].concat());
    file.extend([block.to_le_bytes(), bits.to_le_bytes()].concat());
    file.extend(b"data");
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(data);
    file
}

fn wav16(rate: u32, samples: impl Iterator<Item = f64>) -> Vec<u8> {
    let data: Vec<u8> = samples.flat_map(|s| ((s * 32_767.0) as i16).to_le_bytes()).collect();
    wav(1, 16, 1, rate, &data)
}

fn made(file: &[u8], name: &str) -> Result<Fetched, VoiceError> {
    made_within(file, name, LONGEST)
}

fn made_within(file: &[u8], name: &str, longest: Duration) -> Result<Fetched, VoiceError> {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path()).unwrap();
    let mut writer = spool.writer(MAX_MEDIA).unwrap();
    SpoolWriter::write(&mut writer, file).unwrap();
    let fetched = writer.finish(Some(name.to_owned())).unwrap();
    let made = convert(fetched, &spool, &Watch::default(), longest);
    match &made {
        Ok(made) => assert_eq!(spool.used(), made.size, "only the note counts any more"),
        Err(_) => assert_eq!(spool.used(), 0),
    }
    // The folder goes with this function, the file is open by then.
    made.inspect(|made| {
        let bytes = fs::read(&made.file).unwrap();
        READ.with(|read| *read.borrow_mut() = bytes);
    })
}

thread_local! {
    /// The last note's bytes.
    static READ: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
}

struct Heard {
    packets: Vec<Vec<u8>>,
    samples: Vec<f32>,
}

/// What a phone plays of the last note.
fn heard() -> Heard {
    let bytes = READ.with(|read| read.borrow().clone());
    let mut reader = PacketReader::new(Cursor::new(bytes));
    let head = reader.read_packet().unwrap().unwrap().data;
    assert_eq!((&head[..10], head.len()), (b"OpusHead\x01\x01".as_slice(), 19));
    let pre_skip = usize::from(u16::from_le_bytes([head[10], head[11]]));
    assert!(reader.read_packet().unwrap().unwrap().data.starts_with(b"OpusTags"));
    let mut decoder = Decoder::new(48_000, Channels::Mono).unwrap();
    let (mut packets, mut samples, mut end) = (Vec::new(), Vec::new(), 0);
    let mut pcm = vec![0.0; 5760];
    while let Some(packet) = reader.read_packet().unwrap() {
        let count = decoder.decode_float(&packet.data, &mut pcm, DecodeMode::Normal).unwrap();
        samples.extend_from_slice(&pcm[..count]);
        if packet.last_in_stream() {
            end = packet.absgp_page() as usize;
        }
        packets.push(packet.data);
    }
    assert!(end > pre_skip && end <= samples.len(), "{end} of {}", samples.len());
    samples.truncate(end);
    samples.drain(..pre_skip);
    Heard { packets, samples }
}

/// How much of a sound's power is the sine (Goertzel), and its mean power.
fn share_of_sine(samples: &[f32]) -> (f64, f64) {
    let turn = HZ * 2.0 * PI / 48_000.0;
    let (mut re, mut im, mut power) = (0.0, 0.0, 0.0);
    for (n, sample) in samples.iter().enumerate() {
        let sample = f64::from(*sample);
        re += sample * (turn * n as f64).cos();
        im += sample * (turn * n as f64).sin();
        power += sample * sample;
    }
    let count = samples.len() as f64;
    (2.0 * (re * re + im * im) / count / power, power / count)
}

fn check_sine(name: &str, note: &Fetched, seconds: u32, amplitude: f64) {
    assert_eq!((note.mime, note.seconds), ("audio/ogg; codecs=opus", Some(seconds)), "{name}");
    let waveform = STANDARD.decode(note.waveform.as_ref().unwrap()).unwrap();
    assert_eq!(waveform.len(), 64, "{name}");
    // A steady tone is a flat line; codecs need a moment at both ends. Of so short a file an AAC encoder makes ripples.
    let flat = if name.ends_with("m4a") || name.ends_with("aac") { 50..=100 } else { 80..=100 };
    assert!(waveform[2..62].iter().all(|level| flat.contains(level)), "{name}: {waveform:?}");
    let heard = heard();
    let length = heard.samples.len() as f64 / 48_000.0;
    // AAC brings up to two frames of its encoder's delay.
    assert!((length - f64::from(seconds)).abs() < 0.2, "{name}: {length} s");
    let inner = &heard.samples[4800..heard.samples.len() - 4800];
    let (share, power) = share_of_sine(inner);
    assert!(share > 0.9, "{name}: {share}");
    let ideal = amplitude * amplitude / 2.0;
    // ffmpeg halves the power where it makes two channels of one.
    assert!((0.3..2.0).contains(&(power / ideal)), "{name}: {power} instead of {ideal}");
}

#[test]
fn every_format_becomes_a_note_that_sounds_the_same() {
    for (name, file, seconds) in FIXTURES {
        let note = made(file, name).unwrap_or_else(|e| panic!("{name}: {e}"));
        check_sine(name, &note, *seconds, 0.125);
        assert!(note.filename.ends_with(".ogg"), "{}", note.filename);
    }
}

#[test]
fn every_kind_of_wav_becomes_a_note() {
    let stereo: Vec<u8> = sine(44_100, 1.0)
        .flat_map(|s| [s, s].map(|s| ((s * 32_767.0) as i16).to_le_bytes()).concat())
        .collect();
    let float: Vec<u8> = sine(96_000, 1.0).flat_map(|s| (s as f32).to_le_bytes()).collect();
    let small: Vec<u8> = sine(8_000, 1.0).map(|s| (128.0 + s * 127.0) as u8).collect();
    for (name, file) in [
        ("stereo", wav(1, 16, 2, 44_100, &stereo)),
        ("float", wav(3, 32, 1, 96_000, &float)),
        ("eight bits", wav(1, 8, 1, 8_000, &small)),
        ("sixteen", wav16(16_000, sine(16_000, 1.0))),
        ("odd rate", wav16(22_051, sine(22_051, 1.0))),
        ("already 48", wav16(48_000, sine(48_000, 1.0))),
    ] {
        let note = made(&file, "a.wav").unwrap_or_else(|e| panic!("{name}: {e}"));
        check_sine(name, &note, 1, 0.5);
        assert!(heard().packets.iter().all(|packet| packet[0] & 4 == 0), "{name}: one channel");
        assert!(heard().samples.len().abs_diff(48_000) <= 1, "{name}: {}", heard().samples.len());
    }
}

#[test]
fn opus_of_one_channel_keeps_its_packets_and_other_opus_does_not() {
    let packets_of = |file: &[u8]| {
        let mut reader = PacketReader::new(Cursor::new(file.to_vec()));
        let packets = std::iter::from_fn(|| reader.read_packet().unwrap().map(|packet| packet.data));
        packets.skip(2).collect::<Vec<_>>()
    };
    made(fixture!("sine.opus.ogg"), "a.ogg").unwrap();
    let before = packets_of(fixture!("sine.opus.ogg"));
    assert!(before.len() > 90 && heard().packets == before);
    made(fixture!("sine.stereo.ogg"), "a.ogg").unwrap();
    assert_ne!(heard().packets, packets_of(fixture!("sine.stereo.ogg")));
    // What the first note says of itself is what a second conversion finds.
    made(fixture!("sine.opus.ogg"), "a.ogg").unwrap();
    let (again, samples) = (READ.with(|read| read.borrow().clone()), heard().samples);
    made(&again, "a.ogg").unwrap();
    let heard = heard();
    assert_eq!((heard.packets.len(), heard.samples.len()), (before.len(), samples.len()));
    assert!(heard.packets == before && heard.samples == samples);
}

#[test]
fn the_waveform_follows_the_sound() {
    // Silence, then the tone, then half as loud.
    let sound = sine(16_000, 3.0).enumerate().map(|(n, s)| s * [0.0, 1.0, 0.5][n / 16_000]);
    let note = made(&wav16(16_000, sound), "a.wav").unwrap();
    let waveform = STANDARD.decode(note.waveform.unwrap()).unwrap();
    assert!(waveform[..20].iter().all(|level| *level == 0), "{waveform:?}");
    assert!(waveform[23..41].iter().all(|level| *level >= 98), "{waveform:?}");
    assert!(waveform[44..].iter().all(|level| (47..=53).contains(level)), "{waveform:?}");
}

#[test]
fn silence_is_a_note_too() {
    let note = made(&wav16(8_000, std::iter::repeat_n(0.0, 4_000)), "a.wav").unwrap();
    assert_eq!(note.seconds, Some(1));
    assert_eq!(STANDARD.decode(note.waveform.unwrap()).unwrap(), [0; 64]);
}

#[test]
fn not_a_number_is_silence() {
    let data: Vec<u8> = [f32::NAN, f32::INFINITY, -1e30, 0.5]
        .iter()
        .cycle()
        .take(48_000)
        .flat_map(|s| s.to_le_bytes())
        .collect();
    made(&wav(3, 32, 1, 48_000, &data), "a.wav").unwrap();
    assert_eq!(heard().samples.len(), 48_000);
}

#[test]
fn what_is_no_sound_is_said_to_be_none() {
    let film = super::super::containers::tests::mp4_file(b"isom", &[b"vide"]);
    let mut cut = fixture!("sine.mp3")[..40].to_vec();
    cut.resize(5_000, 0);
    let mut broken = fixture!("sine.opus.ogg").to_vec();
    broken.iter_mut().skip(200).for_each(|byte| *byte ^= 0x5a);
    for (name, file) in [
        ("text", b"Selamat pagi".to_vec()),
        ("film", film),
        ("cut", cut),
        ("broken", broken),
        ("empty wav", wav16(8_000, std::iter::empty())),
        ("amr", b"#!AMR\n\x3c\x48\xf5\x1f\x96\x66\x79\xe1\xe0\x01\xe7\xcf\xf0".repeat(20)),
    ] {
        match made(&file, "a.mp3") {
            Err(e @ VoiceError::Undecodable(_)) => {
                assert!(e.is_client() && e.to_string().contains("voice note"), "{name}: {e}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn a_note_has_a_longest() {
    let file = wav16(8_000, sine(8_000, 3.0));
    assert!(made_within(&file, "a.wav", Duration::from_secs(4)).is_ok());
    let long = made_within(&file, "a.wav", Duration::from_secs(2));
    assert!(matches!(&long, Err(e @ VoiceError::TooLong) if e.is_client()), "{long:?}");
}

#[tokio::test]
async fn a_conversion_that_nobody_waits_for_gives_its_place_and_its_room_back() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path()).unwrap();
    let file = |seconds: f64| {
        let mut writer = spool.writer(MAX_MEDIA).unwrap();
        SpoolWriter::write(&mut writer, &wav16(8_000, sine(8_000, seconds))).unwrap();
        writer.finish(None).unwrap()
    };
    for _ in 0..4 {
        let long = file(120.0);
        let given_up = tokio::time::timeout(Duration::from_millis(20), voice_note(long, &spool)).await;
        assert!(given_up.is_err(), "two minutes of sound take longer than this");
    }
    let note = voice_note(file(1.0), &spool).await.unwrap();
    assert_eq!(note.seconds, Some(1));
    let places = spool.converting();
    let all = tokio::time::timeout(Duration::from_secs(30), places.acquire_many(2)).await;
    assert!(all.is_ok(), "all places are free again");
    assert_eq!(spool.used(), note.size);
}

#[test]
fn headers_tell_the_length() {
    for (name, bytes, seconds) in FIXTURES {
        let mut file = tempfile::tempfile().unwrap();
        Write::write_all(&mut file, bytes).unwrap();
        Seek::rewind(&mut file).unwrap();
        let sniffed = super::super::sniff(&mut file).unwrap();
        Seek::rewind(&mut file).unwrap();
        let told = super::seconds(file, sniffed.mime);
        assert!(told.is_none_or(|told| told == *seconds), "{name}: {told:?}");
        if !name.ends_with("aac") {
            assert!(told.is_some(), "{name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    /// A panic here would be a panic in a blocking thread there, which costs the caller an answer.
    #[test]
    fn damaged_files_become_a_note_or_an_error(
        which in 0..FIXTURES.len() + 1,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        head in prop::collection::vec((0_usize..200, any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        keep: bool,
    ) {
        let mut file = match FIXTURES.get(which) {
            Some((_, file, _)) => file.to_vec(),
            None => wav16(8_000, sine(8_000, 0.3)),
        };
        for (at, byte) in flips {
            let at = at.index(file.len());
            file[at] = byte;
        }
        for (at, byte) in head {
            file[at] = byte;
        }
        if !keep {
            file.truncate(cut.index(file.len()).max(1));
        }
        if let Ok(note) = made_within(&file, "a", Duration::from_secs(5)) {
            prop_assert!(note.seconds.unwrap() >= 1);
        }
    }
}
