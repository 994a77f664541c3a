//! What is replaced in a text before it is sent. Pure.

/// Fills `{number}` and chooses one of each `{a|b|c}`. `roll` gives a number from 0 to 1 per choice. Braces without a bar
/// stay as they are, so that a text may contain them.
pub(super) fn fill(text: &str, number: &str, mut roll: impl FnMut() -> f64) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        rest = &rest[open..];
        // The innermost braces: an opening one before the closing one starts anew.
        let end = rest[1..].find(['{', '}']).map(|at| at + 1);
        let Some(end) = end.filter(|end| rest[*end..].starts_with('}')) else {
            out.push('{');
            rest = &rest[1..];
            continue;
        };
        let inner = &rest[1..end];
        if inner == "number" {
            out.push_str(number);
        } else if inner.contains('|') {
            let choices: Vec<&str> = inner.split('|').collect();
            let last = choices.len() - 1;
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "from 0 to the number of choices"
            )]
            let chosen = (roll().clamp(0.0, 1.0) * choices.len() as f64) as usize;
            out.push_str(choices[chosen.min(last)]);
        } else {
            out.push_str(&rest[..=end]);
        }
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_and_choices_are_filled_and_all_else_stays() {
        assert_eq!(fill("{Halo|Hai} {number}, {x} {}", "62", || 0.0), "Halo 62, {x} {}");
        assert_eq!(fill("{Halo|Hai}", "62", || 1.0), "Hai");
        assert_eq!(fill("{a|b|c}{a|b|c}", "", || 0.5), "bb");
        assert_eq!(fill("{ {number}", "62", || 0.0), "{ 62");
        assert_eq!(fill("{\"a\": 1}", "62", || 0.0), "{\"a\": 1}");
        assert_eq!(fill("offen {", "62", || 0.0), "offen {");
    }

    proptest! {
        #[test]
        fn any_text(text in "[{}|a-z ]{0,40}", roll in 0.0..1.0f64) {
            let filled = fill(&text, "62", || roll);
            prop_assert!(filled.len() <= text.len() + 62);
            if !text.contains('{') {
                prop_assert_eq!(filled, text);
            }
        }
    }
}
