//! A JSON body whose one long string, a file as Base64, goes to disk while it arrives.
//!
//! A file of 50 MB is 70 MB of Base64; held as a JSON value it would cost the board a quarter of its memory. So bytes are
//! looked at as they come: strings stay in memory until one of them is longer than any other field may be, and the rest
//! of that one is decoded into the spool. What is left over is small and parsed as usual.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::media::SpoolError;

/// Longest string that stays in memory, in bytes. A message has at most 65,536 characters, each of which JSON may write
/// as six bytes or, beyond the basic plane, as twelve.
const LONG: usize = 800 * 1024;
/// Longest body without its long string.
pub(super) const MAX_REST: usize = 2 * 1024 * 1024;

static ANY_PADDING: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Why a body cannot be taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum ScanError {
    /// A second long string, or too much of everything else.
    #[error("the request body is larger than {MAX_REST} bytes without its file")]
    TooLarge,
    /// The long string is not Base64.
    #[error("{0}")]
    Base64(String),
}

impl From<ScanError> for SpoolError {
    fn from(error: ScanError) -> SpoolError {
        SpoolError::BadBase64(error.to_string())
    }
}

/// Separates the long string from the rest.
pub(super) struct Scanner {
    rest: Vec<u8>,
    marker: String,
    in_string: bool,
    escaped: bool,
    /// Where the string under way begins in `rest`, behind its quote.
    start: usize,
    decoder: Option<Decoder>,
    found: bool,
}

impl Scanner {
    /// `marker` stands for the long string in the rest; nobody else knows it.
    pub(super) fn new(marker: String) -> Scanner {
        Scanner {
            rest: Vec::new(),
            marker,
            in_string: false,
            escaped: false,
            start: 0,
            decoder: None,
            found: false,
        }
    }

    /// Takes a piece of the body; decoded bytes of the long string are added to `file`.
    pub(super) fn feed(&mut self, piece: &[u8], file: &mut Vec<u8>) -> Result<(), ScanError> {
        for &byte in piece {
            if let Some(decoder) = &mut self.decoder {
                match byte {
                    b'"' => {
                        decoder.finish(file)?;
                        self.decoder = None;
                        self.in_string = false;
                        self.rest.extend_from_slice(self.marker.as_bytes());
                        self.rest.push(b'"');
                    }
                    byte => decoder.push(byte, file)?,
                }
                continue;
            }
            self.rest.push(byte);
            if !self.in_string {
                if byte == b'"' {
                    (self.in_string, self.start) = (true, self.rest.len());
                }
            } else if self.escaped {
                self.escaped = false;
            } else if byte == b'\\' {
                self.escaped = true;
            } else if byte == b'"' {
                self.in_string = false;
            } else if self.rest.len() - self.start > LONG && !self.found {
                self.found = true;
                let mut decoder = Decoder::default();
                for byte in self.rest.split_off(self.start) {
                    decoder.push(byte, file)?;
                }
                self.decoder = Some(decoder);
            }
            if self.rest.len() > MAX_REST {
                return Err(ScanError::TooLarge);
            }
        }
        Ok(())
    }

    /// The body without its long string.
    pub(super) fn finish(self) -> Vec<u8> {
        self.rest
    }
}

/// Base64 as [`crate::media::Spool::from_base64`] takes it, inside a JSON string, piece by piece.
#[derive(Default)]
struct Decoder {
    /// The beginning, until it is known whether it is a `data:` URL.
    head: Option<Vec<u8>>,
    begun: bool,
    group: Vec<u8>,
    escaped: bool,
}

/// Characters decoded at once; a multiple of four.
const GROUP: usize = 16 * 1024;
/// Longest head of a `data:` URL.
const MAX_HEAD: usize = 256;

impl Decoder {
    fn push(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<(), ScanError> {
        if !self.begun {
            return self.begin(byte, out);
        }
        let byte = match (std::mem::take(&mut self.escaped), byte) {
            (false, b'\\') => {
                self.escaped = true;
                return Ok(());
            }
            // Line breaks and tabs, and the slash that some encoders escape.
            (true, b'n' | b'r' | b't') | (false, b' ' | b'\t' | b'\r' | b'\n') => return Ok(()),
            (true, b'/') => b'/',
            (true, _) => return Err(ScanError::Base64("the file's data is not Base64".into())),
            (false, b'-') => b'+',
            (false, b'_') => b'/',
            (false, byte) => byte,
        };
        self.group.push(byte);
        if self.group.len() == GROUP {
            // Padding stands at the end only, so a full group has none.
            self.decode(out)?;
        }
        Ok(())
    }

    /// Skips `data:…;base64,`.
    fn begin(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<(), ScanError> {
        let head = self.head.get_or_insert_default();
        head.push(byte);
        if head.len() < 5 {
            return Ok(());
        }
        let is_url = head[..5].eq_ignore_ascii_case(b"data:");
        if is_url && byte != b',' {
            if head.len() > MAX_HEAD {
                return Err(ScanError::Base64("the data: URL has no comma".into()));
            }
            return Ok(());
        }
        self.begun = true;
        let head = self.head.take().unwrap_or_default();
        if is_url {
            let says = head.to_ascii_lowercase().ends_with(b";base64,");
            return if says {
                Ok(())
            } else {
                Err(ScanError::Base64("the data: URL must say `;base64`".into()))
            };
        }
        head.into_iter().try_for_each(|byte| self.push(byte, out))
    }

    fn decode(&mut self, out: &mut Vec<u8>) -> Result<(), ScanError> {
        ANY_PADDING
            .decode_vec(&self.group, out)
            .map_err(|e| ScanError::Base64(format!("the file's data is not Base64: {e}")))?;
        self.group.clear();
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), ScanError> {
        self.decode(out)
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn scan(body: &[u8], piece: usize) -> Result<(Vec<u8>, Vec<u8>, bool), ScanError> {
        let (mut scanner, mut file) = (Scanner::new("MARK".into()), Vec::new());
        for piece in body.chunks(piece) {
            scanner.feed(piece, &mut file)?;
        }
        let found = scanner.found;
        Ok((scanner.finish(), file, found))
    }

    #[test]
    fn a_long_string_goes_to_the_file_and_its_marker_stays() {
        let bytes: Vec<u8> = (0..1_000_000u32).map(|n| (n.wrapping_mul(7919) >> 3) as u8).collect();
        let data = STANDARD.encode(&bytes);
        let lines: String =
            data.as_bytes().chunks(76).map(|l| String::from_utf8(l.to_vec()).unwrap() + "\n").collect();
        for data in [data.clone(), format!("data:application/pdf;base64,{data}"), lines] {
            let body = json!({"number": "62", "media": {"data": data, "filename": "a\"b.pdf"}}).to_string();
            for body in [body.clone(), body.replace('/', "\\/")] {
                let (rest, file, found) = scan(body.as_bytes(), 65_537).unwrap();
                assert!(found && file == bytes);
                let rest: Value = serde_json::from_slice(&rest).unwrap();
                assert_eq!(rest["media"], json!({"data": "MARK", "filename": "a\"b.pdf"}));
            }
        }
    }

    #[test]
    fn what_is_not_base64_or_comes_twice_is_refused() {
        let long = "A".repeat(LONG + 100);
        assert!(scan(json!({"a": "!".repeat(LONG + 100)}).to_string().as_bytes(), 1000).is_err());
        assert!(
            scan(json!({"a": long, "b": long, "c": long, "d": long}).to_string().as_bytes(), 1000).is_err()
        );
        assert_eq!(scan(&vec![b' '; MAX_REST + 1], 4096), Err(ScanError::TooLarge));
    }

    proptest! {
        #[test]
        fn a_body_without_a_long_string_stays_as_it_is(body in prop::collection::vec(any::<u8>(), 0..200), piece in 1usize..50) {
            let (rest, file, found) = scan(&body, piece).unwrap();
            prop_assert!(rest == body && file.is_empty() && !found);
        }
    }
}
