//! Every string of the screen, in both languages. `{}` stands for the value.

mod english;
mod format;
mod indonesian;

pub(super) use format::{bytes, code, date_time, phone};

use super::view::Language;

/// The strings of one language. A string that is missing in a language does not compile.
pub(super) struct Words {
    pub(super) months: [&'static str; 12],
    pub(super) starting: &'static str,
    pub(super) one_moment: &'static str,
    pub(super) erasing: &'static str,
    pub(super) updating: &'static str,
    pub(super) keep_power: &'static str,
    pub(super) notice: &'static str,
    pub(super) claim: &'static str,
    pub(super) claim_where: &'static str,
    pub(super) claim_nowhere: &'static str,
    pub(super) no_network: &'static str,
    pub(super) check_network: &'static str,
    pub(super) no_session: &'static str,
    pub(super) add_session: &'static str,
    pub(super) scan: &'static str,
    pub(super) scan_where: &'static str,
    pub(super) seconds: &'static str,
    pub(super) open_page: &'static str,
    pub(super) open_page_why: &'static str,
    pub(super) no_page: &'static str,
    pub(super) pairing_code: &'static str,
    pub(super) pairing_code_where: &'static str,
    pub(super) connecting: &'static str,
    pub(super) online: &'static str,
    pub(super) queue: &'static str,
    pub(super) last: &'static str,
    pub(super) no_message: &'static str,
    pub(super) exhausted: &'static str,
    pub(super) exhausted_do: &'static str,
    pub(super) disconnected: &'static str,
    pub(super) network_trouble: &'static str,
    pub(super) locked: &'static str,
    pub(super) locked_do: &'static str,
    pub(super) refused: &'static str,
    pub(super) restart_loop: &'static str,
    pub(super) store: &'static str,
    pub(super) banned: &'static str,
    pub(super) until: &'static str,
    pub(super) until_unknown: &'static str,
    pub(super) logged_out: &'static str,
    pub(super) logged_out_do: &'static str,
    pub(super) conflict: &'static str,
    pub(super) conflict_do: &'static str,
    pub(super) outdated: &'static str,
    pub(super) outdated_do: &'static str,
    pub(super) disk: &'static str,
    pub(super) free: &'static str,
    pub(super) disk_do: &'static str,
    pub(super) clock: &'static str,
    pub(super) clock_do: &'static str,
    pub(super) page: &'static str,
    pub(super) fingerprint: &'static str,
    pub(super) let_go: Acts,
    pub(super) hold_on: Acts,
    pub(super) done: Acts,
    pub(super) all_numbers: &'static str,
    pub(super) everything: &'static str,
}

/// One string for each thing that a button does.
pub(super) struct Acts {
    pub(super) nothing: &'static str,
    pub(super) redial: &'static str,
    pub(super) fresh_qr: &'static str,
    pub(super) new_session: &'static str,
    pub(super) unlink: &'static str,
    pub(super) erase: &'static str,
}

impl Acts {
    /// The one for `release`.
    pub(super) const fn of(&self, release: super::Release) -> &'static str {
        use super::Release;
        match release {
            Release::Nothing => self.nothing,
            Release::Redial => self.redial,
            Release::FreshQr => self.fresh_qr,
            Release::NewSession => self.new_session,
            Release::Unlink => self.unlink,
            Release::Erase => self.erase,
        }
    }
}

/// The strings of `language`.
pub(super) const fn words(language: Language) -> &'static Words {
    match language {
        Language::Indonesian => &indonesian::WORDS,
        Language::English => &english::WORDS,
    }
}

/// `template` with its `{}` replaced.
pub(super) fn fill(template: &str, value: impl std::fmt::Display) -> String {
    template.replace("{}", &value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_its_place_in_both_languages() {
        for language in Language::ALL {
            let w = words(language);
            let hold = &w.hold_on;
            let with_value = [
                w.seconds,
                w.queue,
                w.last,
                w.refused,
                w.until,
                w.free,
                w.all_numbers,
                hold.redial,
                hold.fresh_qr,
                hold.new_session,
                hold.unlink,
                hold.erase,
            ];
            for template in with_value {
                assert_eq!(template.matches("{}").count(), 1, "{template}");
                assert!(fill(template, 42).contains("42"), "{template}");
            }
            for plain in [&w.let_go, &w.done] {
                for text in [
                    plain.nothing,
                    plain.redial,
                    plain.fresh_qr,
                    plain.new_session,
                    plain.unlink,
                    plain.erase,
                ] {
                    assert!(!text.contains("{}"), "{text}");
                }
            }
        }
    }
}
