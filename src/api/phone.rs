//! What callers write where a phone number or chat is meant.

/// Where a message goes, as far as the text alone tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// Digits with country code; WhatsApp is asked which JID it answers with.
    Number(String),
    /// A JID that needs no look-up: a group, or an account that was named by its LID.
    Jid(String),
}

/// Why a text is not a recipient.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecipientError {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// Something that is neither digits nor punctuation that people put into numbers.
    #[error("is not a phone number: only digits with the country code are expected, such as 6281234567890")]
    NotANumber,
    /// Too short or too long. E.164 allows 15 digits; the shortest numbers in use have 7 with the country code.
    #[error("has {0} digits; a phone number with country code has 7 to 15")]
    Length(usize),
    /// An address that is not a chat one can write to.
    #[error("is not a chat that Kurir can write to")]
    Chat,
}

/// Reads a recipient. `country_code` replaces one leading `0`; empty: it stays as it is.
pub fn recipient(text: &str, country_code: &str) -> Result<Recipient, RecipientError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(RecipientError::Empty);
    }
    if let Some((user, server)) = text.split_once('@') {
        return match server {
            "s.whatsapp.net" | "c.us" => number(user, "").map(Recipient::Number),
            "lid" if !user.is_empty() && user.len() <= 20 && digits(user) => {
                Ok(Recipient::Jid(format!("{user}@lid")))
            }
            // A group's id is digits, or the creator's number and a time in older groups.
            "g.us" if user.len() <= 40 && user.split('-').all(|part| !part.is_empty() && digits(part)) => {
                Ok(Recipient::Jid(format!("{user}@g.us")))
            }
            _ => Err(RecipientError::Chat),
        };
    }
    number(text, country_code).map(Recipient::Number)
}

fn digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

/// Digits of a phone number, with the country code.
pub fn number(text: &str, country_code: &str) -> Result<String, RecipientError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(RecipientError::Empty);
    }
    let international = text.starts_with('+');
    let mut number = String::with_capacity(text.len().min(32));
    for (index, c) in text.chars().enumerate() {
        match c {
            '0'..='9' => number.push(c),
            '+' if index == 0 => {}
            ' ' | '-' | '(' | ')' | '.' | '\u{a0}' => {}
            _ => return Err(RecipientError::NotANumber),
        }
        if number.len() > 32 {
            return Err(RecipientError::Length(number.len()));
        }
    }
    if !international
        && !country_code.is_empty()
        && let Some(national) = number.strip_prefix('0')
    {
        number = format!("{country_code}{national}");
    }
    match number.len() {
        7..=15 => Ok(number),
        0 => Err(RecipientError::NotANumber),
        length => Err(RecipientError::Length(length)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ways_people_write_one_number_come_out_the_same() {
        for text in [
            "6281234567890",
            "+62 812-3456-7890",
            "081234567890",
            "(0812) 3456 7890",
            "6281234567890@s.whatsapp.net",
        ] {
            assert_eq!(recipient(text, "62"), Ok(Recipient::Number("6281234567890".into())), "{text}");
        }
        assert_eq!(number("0812345678", ""), Ok("0812345678".into()), "switched off");
        assert_eq!(number("00812345678", "62"), Ok("620812345678".into()), "only one zero is replaced");
    }

    #[test]
    fn groups_and_lids_stay_as_they_are_and_other_addresses_are_refused() {
        for jid in ["120363041234567890@g.us", "6281234567890-1600000000@g.us", "123456789@lid"] {
            assert_eq!(recipient(jid, "62"), Ok(Recipient::Jid(jid.into())));
        }
        for bad in ["status@broadcast", "x@g.us", "@g.us", "1@newsletter", "1@lid@lid", "-@g.us"] {
            assert_eq!(recipient(bad, "62"), Err(RecipientError::Chat), "{bad}");
        }
        assert_eq!(recipient("  ", "62"), Err(RecipientError::Empty));
        assert_eq!(recipient("budi", "62"), Err(RecipientError::NotANumber));
        assert_eq!(recipient("12345", ""), Err(RecipientError::Length(5)));
        assert_eq!(recipient("62+81234567890", ""), Err(RecipientError::NotANumber));
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_always_7_to_15_digits_and_stable(text in "\\PC{0,40}") {
            if let Ok(n) = number(&text, "62") {
                prop_assert!((7..=15).contains(&n.len()) && digits(&n));
                prop_assert_eq!(number(&n, ""), Ok(n.clone()));
            }
            let _ = recipient(&text, "62");
        }
    }
}
