//! The one-time code that claims a box: shown on its screen, typed by a person.

use subtle::ConstantTimeEq;

use crate::ids;

/// Characters of a code.
const LENGTH: usize = 8;
/// No two of these look alike on a small screen or in handwriting: no 0 O D Q, 1 I L, 2 Z, 5 S, 6 G, 8 B, U V.
const ALPHABET: &[u8; 21] = b"ACEFHJKMNPRTVWXY34679";

/// A code. 21 to the power of 8: 3.8 × 10^10 of them.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Code(String);

impl Code {
    /// A new one.
    pub(super) fn random() -> Code {
        let mut text = String::with_capacity(LENGTH);
        while text.len() < LENGTH {
            let byte = usize::from(ids::random::<1>()[0]);
            // The highest multiple of 21 that fits a byte: beyond it some characters would be likelier than others.
            if byte < 252 {
                text.push(char::from(ALPHABET[byte % ALPHABET.len()]));
            }
        }
        Code(text)
    }

    /// As it is shown: two groups of four.
    pub(super) fn shown(&self) -> String {
        format!("{}-{}", &self.0[..LENGTH / 2], &self.0[LENGTH / 2..])
    }

    /// Whether this is what somebody typed, in capitals or not, with or without dash and spaces. Takes the same time
    /// wherever they differ.
    pub(super) fn is(&self, typed: &str) -> bool {
        let typed: Vec<u8> = typed
            .bytes()
            .filter(|b| !b.is_ascii_whitespace() && *b != b'-')
            .map(|b| b.to_ascii_uppercase())
            .take(LENGTH + 1)
            .collect();
        bool::from(self.0.as_bytes().ct_eq(&typed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_eight_clear_characters_and_never_the_same() {
        let code = Code::random();
        assert_eq!(code.0.len(), LENGTH);
        assert!(code.0.bytes().all(|b| ALPHABET.contains(&b)), "{}", code.0);
        assert!(code != Code::random());
        let seen: std::collections::HashSet<char> =
            (0..400).flat_map(|_| Code::random().0.chars().collect::<Vec<_>>()).collect();
        assert_eq!(seen.len(), ALPHABET.len(), "every character is used");
    }

    #[test]
    fn it_is_recognised_however_it_is_typed() {
        let code = Code("ACEF3467".into());
        assert_eq!(code.shown(), "ACEF-3467");
        for typed in ["ACEF3467", "acef-3467", " acef 3467 ", "A-C-E-F-3-4-6-7"] {
            assert!(code.is(typed), "{typed}");
        }
        for typed in ["", "ACEF346", "ACEF34677", "ACEF3466", "ACEF–3467", &"A".repeat(10_000)] {
            assert!(!code.is(typed), "{typed}");
        }
    }
}
