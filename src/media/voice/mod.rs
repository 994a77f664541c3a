//! Sound as a voice note: whatever can be decoded becomes mono Ogg Opus at 48 kHz, the one form that WhatsApp plays on
//! every phone, with its length and the waveform that the chat draws.
//!
//! All of it streams: a packet is decoded, mixed down, resampled and encoded before the next is read, and the result
//! goes to the spool. That takes about 1 MiB, and at most 30 MiB for a file that was made to hurt (one packet of 4 MiB,
//! or tags of 24). Two notes are converted at a time; others wait.

mod decode;
mod note;
mod resample;
mod watch;
mod waveform;

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter};
use std::panic::catch_unwind;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ropus::{Application, Bitrate, Channels, Encoder, Signal};
use thiserror::Error;
use tokio::task::spawn_blocking;

use self::decode::Sound;
use self::note::NoteWriter;
use self::resample::{RATE, Resampler};
use self::watch::{Leave, Watch};
use self::waveform::Waveform;
use super::MAX_MEDIA;
use super::spool::{Fetched, Spool, SpoolError, SpoolWriter};

/// The MIME type of a voice note, as WhatsApp's own apps write it.
const MIME: &str = "audio/ogg; codecs=opus";
/// Longest note. An hour takes a board of the Raspberry Pi class some minutes.
const LONGEST: Duration = Duration::from_secs(3600);
/// Longest wait for a free place.
const WAIT: Duration = Duration::from_secs(120);
/// Longest conversion, which no sound of [`LONGEST`] takes; it ends what a hostile file keeps busy.
const WORK: Duration = Duration::from_secs(1200);
/// 20 ms, the frame that WhatsApp's own notes have.
const FRAME: usize = RATE as usize / 50;
/// Bits a second, variable: full quality for speech, and enough for music in one channel.
const BITRATE: u32 = 24_000;
/// Of 10. Beyond 5 the encoder takes twice the time for a difference that is hard to hear.
const COMPLEXITY: u8 = 5;
/// Longest Opus packet (RFC 6716, 3.4), with room.
const PACKET: usize = 1_500;

/// How long a sound is, and how loud over its time: [`Fetched::seconds`] and [`Fetched::waveform`].
struct Note {
    seconds: u32,
    waveform: String,
}

/// Why a file does not become a voice note.
#[derive(Debug, Error)]
pub enum VoiceError {
    /// It is no sound, or none that can be decoded.
    #[error(
        "the file cannot be made a voice note: {0}; send MP3, M4A, WAV, Ogg or FLAC, or send it without the voice \
         note flag"
    )]
    Undecodable(Cow<'static, str>),
    /// Longer than a note may be.
    #[error("the file cannot be made a voice note: it is longer than {} minutes", LONGEST.as_secs() / 60)]
    TooLong,
    /// Other notes are being converted.
    #[error("too many voice notes are being converted, and none ended within {} s; try again later", WAIT.as_secs())]
    Busy,
    /// It took too long.
    #[error("the file cannot be made a voice note: it took longer than {} minutes", WORK.as_secs() / 60)]
    Slow,
    /// Nobody waits for it any more.
    #[error("the conversion to a voice note was given up")]
    Cancelled,
    /// The disk.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

impl VoiceError {
    /// Whether the client can put it right by sending something else.
    #[must_use]
    pub fn is_client(&self) -> bool {
        match self {
            Self::Undecodable(_) | Self::TooLong | Self::Slow => true,
            Self::Spool(e) => e.is_client(),
            Self::Busy | Self::Cancelled => false,
        }
    }
}

/// Makes a voice note of a file. Opus of one channel keeps its packets and only gets a fresh, plain Ogg file around
/// them; anything else is encoded anew. Dropping the future ends the work.
///
/// # Errors
/// See [`VoiceError`]; nothing of the file is kept.
pub async fn voice_note(file: Fetched, spool: &Spool) -> Result<Fetched, VoiceError> {
    let places = spool.converting();
    let place = tokio::time::timeout(WAIT, places.acquire_owned()).await.map_err(|_| VoiceError::Busy)?;
    let watch = Watch::default();
    let _leave = Leave(watch.clone());
    let spool = spool.clone();
    let done = spawn_blocking(move || {
        let done = convert(file, &spool, &watch, LONGEST);
        // Held to the very end, also when nobody waits for the result any more.
        drop(place);
        done
    });
    match done.await {
        Ok(done) => done,
        Err(e) if e.is_panic() => {
            log::error!("a decoder failed on a file that was to be a voice note; please report the file");
            Err(VoiceError::Undecodable("its decoder failed".into()))
        }
        Err(_) => Err(VoiceError::Cancelled),
    }
}

/// How long a sound file says it is, in seconds, rounded, at least 1. Reads its header only.
pub(super) fn seconds(file: File, mime: &str) -> Option<u32> {
    // A sound that is not converted is sent whatever a decoder thinks of it.
    let told = catch_unwind(|| decode::told_seconds(file, mime)).ok().flatten()?;
    Some((told.round().clamp(1.0, f64::from(u32::MAX))) as u32)
}

fn convert(file: Fetched, spool: &Spool, watch: &Watch, longest: Duration) -> Result<Fetched, VoiceError> {
    let source = File::open(&file.file).map_err(|source| SpoolError::Disk {
        what: "cannot read",
        path: file.file.to_path_buf(),
        source,
    })?;
    let sound = Sound::open(source, file.mime, watch.clone())?;
    let writer = spool.writer(MAX_MEDIA)?;
    let (writer, note) = encode(sound, writer, watch, longest)?;
    let mut made = writer.finish(None)?;
    made.mime = MIME;
    made.rename(&file.filename);
    made.seconds = Some(note.seconds);
    made.waveform = Some(note.waveform);
    Ok(made)
}

/// From the sound to the file.
fn encode(
    mut sound: Sound,
    out: SpoolWriter,
    watch: &Watch,
    longest: Duration,
) -> Result<(SpoolWriter, Note), VoiceError> {
    let began = Instant::now();
    let kept = sound.opus_pre_skip();
    let mut encoder = encoder()?;
    let pre_skip = kept.unwrap_or_else(|| u16::try_from(encoder.lookahead()).unwrap_or(0));
    let mut note = NoteWriter::new(BufWriter::with_capacity(32 * 1024, out), pre_skip).map_err(disk)?;
    let mut waveform = Waveform::new();
    let mut resampler: Option<Resampler> = None;
    let (mut mono, mut samples) = (Vec::new(), Vec::new());
    let mut frames = Frames { pcm: [0; FRAME], filled: 0, packet: vec![0; PACKET] };
    let mut heard = 0_u64;
    loop {
        mono.clear();
        samples.clear();
        let piece = sound.next(&mut mono)?;
        if watch.is_cancelled() {
            return Err(VoiceError::Cancelled);
        }
        if began.elapsed() > WORK {
            return Err(VoiceError::Slow);
        }
        match &piece {
            Some(piece) => {
                let fits = resampler.as_ref().is_some_and(|resampler| resampler.rate() == piece.rate);
                if !fits && !mono.is_empty() {
                    // Some formats change their rate on the way.
                    if let Some(mut before) = resampler.replace(Resampler::new(piece.rate)) {
                        before.finish(&mut samples);
                    }
                }
                if let Some(resampler) = &mut resampler {
                    resampler.push(&mono, &mut samples);
                }
            }
            None => {
                if let Some(resampler) = &mut resampler {
                    resampler.finish(&mut samples);
                }
            }
        }
        waveform.push(&samples);
        heard += samples.len() as u64;
        if heard > longest.as_secs() * u64::from(RATE) {
            return Err(VoiceError::TooLong);
        }
        match &piece {
            Some(piece) if kept.is_some() => {
                if let Some((packet, samples)) = &piece.opus {
                    note.packet(packet, *samples).map_err(disk)?;
                }
            }
            Some(_) => frames.push(&samples, &mut encoder, &mut note)?,
            None if kept.is_some() => break,
            None => {
                frames.push(&samples, &mut encoder, &mut note)?;
                // The encoder holds its look-ahead back.
                while note.samples() < heard + u64::from(pre_skip) {
                    frames.push(&[0.0; FRAME], &mut encoder, &mut note)?;
                }
                break;
            }
        }
    }
    if heard == 0 {
        return Err(VoiceError::Undecodable("it holds no sound".into()));
    }
    let out = note.finish(heard).map_err(disk)?.into_inner().map_err(|e| disk(e.into_error()))?;
    let seconds = (heard + u64::from(RATE) / 2) / u64::from(RATE);
    let seconds = u32::try_from(seconds).unwrap_or(u32::MAX).max(1);
    Ok((out, Note { seconds, waveform: STANDARD.encode(waveform.points()) }))
}

fn encoder() -> Result<Encoder, VoiceError> {
    Encoder::builder(RATE, Channels::Mono, Application::Voip)
        .bitrate(Bitrate::Bits(BITRATE))
        .complexity(COMPLEXITY)
        .vbr(true)
        .signal(Signal::Auto)
        .build()
        .map_err(|e| VoiceError::Undecodable(format!("the Opus encoder refuses: {e}").into()))
}

/// Samples gathered into frames.
struct Frames {
    pcm: [i16; FRAME],
    filled: usize,
    packet: Vec<u8>,
}

impl Frames {
    fn push(
        &mut self,
        samples: &[f32],
        encoder: &mut Encoder,
        note: &mut NoteWriter<BufWriter<SpoolWriter>>,
    ) -> Result<(), VoiceError> {
        for sample in samples {
            self.pcm[self.filled] = (sample * 32_767.0).round().clamp(-32_768.0, 32_767.0) as i16;
            self.filled += 1;
            if self.filled == FRAME {
                self.filled = 0;
                let length = encoder
                    .encode(&self.pcm, &mut self.packet)
                    .map_err(|e| VoiceError::Undecodable(format!("the Opus encoder failed: {e}").into()))?;
                note.packet(&self.packet[..length], FRAME).map_err(disk)?;
            }
        }
        Ok(())
    }
}

/// What the spool said, through the writers on top of it.
fn disk(e: io::Error) -> VoiceError {
    match e.downcast::<SpoolError>() {
        Ok(e) => e.into(),
        Err(e) => SpoolError::Aborted(e.to_string()).into(),
    }
}

#[cfg(test)]
mod tests;
