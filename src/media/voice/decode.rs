//! Sound files to mono samples: symphonia for the containers and most codecs, ropus for Opus, which symphonia does not
//! decode.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ropus::{Channels, DecodeMode, Decoder};
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::common::Limit;
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;

use super::VoiceError;
use super::resample::{RATE, RATES};
use super::watch::{Watch, Watched};

/// Bytes that may be read to find the sound: tags with a cover picture, an MP4's tables.
const TO_OPEN: u64 = 24 * 1024 * 1024;
/// Bytes that may be read for one packet.
const TO_NEXT: u64 = 4 * 1024 * 1024;
/// Pictures in tags are skipped.
const PICTURE: usize = 64 * 1024;
/// Packets that hold no sound, in a row, after which a file is given up: a hostile one may have millions.
const MAX_EMPTY: u32 = 20_000;
/// Longest Opus packet: 120 ms at 48 kHz (RFC 6716, 2.1.4).
const OPUS_FRAME: usize = 5_760;

/// A piece of sound.
pub(super) struct Piece {
    /// Samples a second.
    pub(super) rate: u32,
    /// The Opus packet that it came from, and how many samples that holds, where the file is Opus of one channel.
    pub(super) opus: Option<(Box<[u8]>, usize)>,
}

/// A file's first sound track.
pub(super) struct Sound {
    format: Box<dyn FormatReader>,
    track: u32,
    codec: Codec,
    watch: Watch,
    interleaved: Vec<f32>,
    /// Packets that could be decoded, and that could not.
    counts: (u64, u64),
}

enum Codec {
    Symphonia(Box<dyn AudioDecoder>),
    /// Boxed: its state is 30 KiB.
    Opus {
        decoder: Box<Decoder>,
        head: OpusHead,
        /// Samples still to be dropped: symphonia leaves that to us.
        skip: usize,
    },
}

/// What an Opus stream's header says (RFC 7845, 5.1).
struct OpusHead {
    /// Samples at the beginning that are not heard.
    pre_skip: u16,
    /// Whether its packets can be taken as they are: one channel, no gain.
    plain: bool,
}

/// Opens a file of the type that was recognised.
fn probe(file: File, mime: &str, watch: &Watch) -> Result<Box<dyn FormatReader>, Error> {
    watch.allow(TO_OPEN);
    let source = Watched::new(file, watch.clone())?;
    let stream = MediaSourceStream::new(Box::new(source), MediaSourceStreamOptions::default());
    let mut hint = Hint::new();
    hint.mime_type(mime.split(';').next().unwrap_or(mime));
    let tags = MetadataOptions::default()
        .limit_visual_bytes(Limit::Maximum(PICTURE))
        .limit_tag_bytes(Limit::Maximum(PICTURE));
    symphonia::default::get_probe().probe(&hint, stream, FormatOptions::default(), tags)
}

/// The length that a file's header tells, in seconds.
pub(super) fn told_seconds(file: File, mime: &str) -> Option<f64> {
    let format = probe(file, mime, &Watch::default()).ok()?;
    let track = format.default_track(TrackType::Audio)?;
    let rate = track.codec_params.as_ref()?.audio()?.sample_rate?;
    let frames = track.num_frames.filter(|frames| *frames > 0)?;
    (rate > 0).then(|| frames as f64 / f64::from(rate))
}

/// A decoder that panics on a damaged file has failed on it, and that is all: what it worked on is thrown away.
fn contained<T>(decode: impl FnOnce() -> Result<T, VoiceError>) -> Result<T, VoiceError> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| {
        log::error!("a decoder failed on a file that was to be a voice note; please report the file");
        Err(VoiceError::Undecodable("its decoder failed".into()))
    })
}

impl Sound {
    /// Opens a file of the type that was recognised.
    pub(super) fn open(file: File, mime: &str, watch: Watch) -> Result<Sound, VoiceError> {
        contained(|| {
            let format = probe(file, mime, &watch).map_err(|e| unreadable(&e))?;
            let track = format.default_track(TrackType::Audio).ok_or(NO_TRACK)?;
            let codec = codec(track)?;
            Ok(Sound { track: track.id, format, codec, watch, interleaved: Vec::new(), counts: (0, 0) })
        })
    }

    /// Samples that an Opus stream of one channel begins with and that are not heard.
    pub(super) fn opus_pre_skip(&self) -> Option<u16> {
        match &self.codec {
            Codec::Opus { head, .. } if head.plain => Some(head.pre_skip),
            _ => None,
        }
    }

    /// Appends the next piece to `mono`; `None` at the end. After an error it is of no use any more.
    pub(super) fn next(&mut self, mono: &mut Vec<f32>) -> Result<Option<Piece>, VoiceError> {
        contained(|| self.next_piece(mono))
    }

    fn next_piece(&mut self, mono: &mut Vec<f32>) -> Result<Option<Piece>, VoiceError> {
        let mut empty = 0;
        loop {
            self.watch.allow(TO_NEXT);
            let packet = match self.format.next_packet() {
                Ok(Some(packet)) => packet,
                // A second stream behind the first is another sound; a file that was cut off is played to its end.
                Ok(None) | Err(Error::ResetRequired) => break,
                Err(Error::IoError(e)) if e.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(_) if self.watch.is_cancelled() => return Err(VoiceError::Cancelled),
                Err(e) => return Err(unreadable(&e)),
            };
            if packet.track_id == self.track {
                let before = mono.len();
                let piece = self.decode(&packet, mono)?;
                match &piece {
                    Some(_) => self.counts.0 += 1,
                    None => self.counts.1 += 1,
                }
                if piece.is_some() && (mono.len() > before || matches!(self.codec, Codec::Opus { .. })) {
                    return Ok(piece);
                }
            }
            empty += 1;
            if empty > MAX_EMPTY {
                return Err(VoiceError::Undecodable("most of it holds no sound".into()));
            }
        }
        match self.counts {
            (0, _) => Err(VoiceError::Undecodable("it holds no sound".into())),
            // Some players' files have a damaged packet or two; half of them is not a sound any more.
            (good, bad) if bad > good => Err(VoiceError::Undecodable("most of it is damaged".into())),
            _ => Ok(None),
        }
    }

    /// `None`: the packet is damaged, and its sound missing.
    fn decode(&mut self, packet: &Packet, mono: &mut Vec<f32>) -> Result<Option<Piece>, VoiceError> {
        let trim = |ticks: u64| usize::try_from(ticks).unwrap_or(usize::MAX);
        match &mut self.codec {
            Codec::Symphonia(decoder) => {
                let decoded = match decoder.decode(packet) {
                    Ok(decoded) => decoded,
                    Err(Error::DecodeError(_) | Error::IoError(_)) => return Ok(None),
                    Err(e) => return Err(unreadable(&e)),
                };
                let (rate, channels) = (decoded.spec().rate(), decoded.num_planes());
                if decoded.frames() == 0 || channels == 0 {
                    return Ok(Some(Piece { rate: RATE, opus: None }));
                }
                if !RATES.contains(&rate) {
                    return Err(VoiceError::Undecodable(
                        format!("{rate} samples a second are not supported").into(),
                    ));
                }
                decoded.copy_to_vec_interleaved(&mut self.interleaved);
                let share = 1.0 / channels as f32;
                mono.extend(
                    self.interleaved
                        .chunks_exact(channels)
                        .map(|frame| clean(frame.iter().sum::<f32>() * share)),
                );
                Ok(Some(Piece { rate, opus: None }))
            }
            Codec::Opus { decoder, head, skip } => {
                let start = mono.len();
                mono.resize(start + OPUS_FRAME, 0.0);
                // An empty packet means a lost one to the decoder.
                let decoded = if packet.data.is_empty() {
                    None
                } else {
                    decoder.decode_float(&packet.data, &mut mono[start..], DecodeMode::Normal).ok()
                };
                mono.truncate(start + decoded.unwrap_or(0));
                let Some(samples) = decoded else { return Ok(None) };
                mono.truncate(mono.len() - trim(packet.trim_end.get()).min(samples));
                let cut = trim(packet.trim_start.get()).max(*skip).min(mono.len() - start);
                *skip -= cut.min(*skip);
                mono.drain(start..start + cut);
                mono[start..].iter_mut().for_each(|sample| *sample = clean(*sample));
                Ok(Some(Piece { rate: RATE, opus: head.plain.then(|| (packet.data.clone(), samples)) }))
            }
        }
    }
}

const NO_TRACK: VoiceError = VoiceError::Undecodable(std::borrow::Cow::Borrowed("it has no sound track"));

fn codec(track: &Track) -> Result<Codec, VoiceError> {
    let parameters = track.codec_params.as_ref().and_then(|parameters| parameters.audio()).ok_or(NO_TRACK)?;
    if parameters.codec == CODEC_ID_OPUS {
        let head = opus_head(parameters)?;
        let decoder = Decoder::new(RATE, Channels::Mono)
            .map_err(|e| VoiceError::Undecodable(format!("Opus: {e}").into()))?;
        return Ok(Codec::Opus { decoder: Box::new(decoder), skip: head.pre_skip.into(), head });
    }
    let decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .map_err(|e| unreadable(&e))?;
    Ok(Codec::Symphonia(decoder))
}

fn opus_head(parameters: &AudioCodecParameters) -> Result<OpusHead, VoiceError> {
    let damaged = || VoiceError::Undecodable("its Opus header is damaged".into());
    let head =
        parameters.extra_data.as_deref().and_then(|data| data.first_chunk::<19>()).ok_or_else(damaged)?;
    // The version's lower half may grow without harm.
    if !head.starts_with(b"OpusHead") || head[8] >> 4 != 0 {
        return Err(damaged());
    }
    let (channels, family) = (head[9], head[18]);
    // Two channels in one stream; more take several streams, which nobody records voice notes in.
    if family != 0 || !(1..=2).contains(&channels) {
        return Err(VoiceError::Undecodable("Opus with more than two channels is not supported".into()));
    }
    // MP4 has the same fields the other way round, and calls that version 0.
    let pre_skip = [head[10], head[11]];
    let pre_skip = if head[8] == 0 { u16::from_be_bytes(pre_skip) } else { u16::from_le_bytes(pre_skip) };
    Ok(OpusHead { pre_skip, plain: channels == 1 && head[16..18] == [0, 0] })
}

/// Floating-point files can hold anything.
fn clean(sample: f32) -> f32 {
    if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 }
}

fn unreadable(e: &Error) -> VoiceError {
    VoiceError::Undecodable(match e {
        Error::Unsupported(_) => {
            "its format or codec is not one of MP3, AAC, ALAC, WAV, AIFF, Ogg (Vorbis, Opus) and FLAC".into()
        }
        Error::IoError(e) if e.kind() == io::ErrorKind::UnexpectedEof => "it ends too early".into(),
        e => e.to_string().into(),
    })
}
