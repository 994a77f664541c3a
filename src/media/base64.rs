//! Base64 as applications send it.

use std::io::{self, Read};

use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{alphabet, read::DecoderReader};

use super::SpoolError;

static ANY_PADDING: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Decodes a text piece by piece: standard or URL-safe, padded or not, with white space anywhere, bare or as a `data:`
/// URL.
pub(super) fn decoder(text: &str) -> Result<DecoderReader<'static, GeneralPurpose, Plain<'_>>, SpoolError> {
    Ok(DecoderReader::new(Plain(payload(text)?.as_bytes()), &ANY_PADDING))
}

/// The Base64 part of a text that may be a `data:` URL (RFC 2397).
fn payload(text: &str) -> Result<&str, SpoolError> {
    let text = text.trim();
    if !text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")) {
        return Ok(text);
    }
    let (head, data) =
        text.split_once(',').ok_or_else(|| SpoolError::BadBase64("the data: URL has no comma".to_owned()))?;
    if head.len() >= 7 && head.to_ascii_lowercase().ends_with(";base64") {
        Ok(data)
    } else {
        Err(SpoolError::BadBase64("the data: URL must say `;base64`".to_owned()))
    }
}

/// Reads Base64 without its white space, in the standard alphabet.
pub(super) struct Plain<'a>(&'a [u8]);

impl Read for Plain<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            let Some((&byte, rest)) = self.0.split_first() else { break };
            self.0 = rest;
            let byte = match byte {
                b' ' | b'\t' | b'\r' | b'\n' => continue,
                b'-' => b'+',
                b'_' => b'/',
                byte => byte,
            };
            buf[filled] = byte;
            filled += 1;
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn base64_reads_back_however_it_is_broken_into_lines(bytes in prop::collection::vec(any::<u8>(), 1..300), every in 1_usize..80) {
            let text = BASE64_STANDARD.encode(&bytes);
            let lines: Vec<_> = text.as_bytes().chunks(every).map(|c| std::str::from_utf8(c).unwrap()).collect();
            let lines = lines.join("\n");
            let mut decoded = Vec::new();
            decoder(&lines).unwrap().read_to_end(&mut decoded).unwrap();
            prop_assert_eq!(decoded, bytes);
        }
    }

    proptest! {
        #[test]
        fn any_text_decodes_or_fails_cleanly(text in "(data:)?.{0,80}") {
            if let Ok(mut decoder) = decoder(&text) {
                let _ = decoder.read_to_end(&mut Vec::new());
            }
        }
    }
}
