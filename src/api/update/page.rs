//! The page for updates. Pure.

use crate::api::page::{FOOT, HEAD, escaped};
use crate::update::intake::{NoIntake, Standing};
use crate::update::{Outcome, Stage};

/// Whether a person only has to wait.
pub(super) fn is_underway(standing: &Standing) -> bool {
    let stage = &standing.record.stage;
    standing.received.is_some()
        || matches!(stage, Stage::Writing { .. } | Stage::Trying { .. } | Stage::GivenUp { .. })
}

/// `message`: what was wrong with the last attempt. `password`: whether the box has one, by which it can be updated here.
pub(super) fn of(board: &str, standing: &Standing, password: bool, message: Option<&str>) -> String {
    let running = standing.running;
    let mut page = format!(
        "{HEAD}{}<p>Versi {running} ({board}) berjalan.<br>\n<span class=\"en\">Version {running} ({board}) is \
         running.</span></p>\n",
        error(message)
    );
    if let Some((id, en)) = underway(standing) {
        page += &both(&id, &en);
    } else {
        if let Some((id, en)) = standing.record.last.as_ref().map(ended) {
            page += &both(&id, &en);
        }
        page += if password { FORM } else { NO_PASSWORD };
    }
    page + FOOT
}

/// Of a gateway that takes no updates.
pub(super) fn without(why: NoIntake, message: Option<&str>) -> String {
    let reason = match why {
        NoIntake::Slots => NO_SLOTS,
        NoIntake::Key => NO_KEY,
    };
    format!("{HEAD}{}{reason}{FOOT}", error(message))
}

fn error(message: Option<&str>) -> String {
    message.map(|m| format!("<p class=\"error\" role=\"alert\">{}</p>\n", escaped(m))).unwrap_or_default()
}

fn both(id: &str, en: &str) -> String {
    format!("<p>{}<br>\n<span class=\"en\">{}</span></p>\n", escaped(id), escaped(en))
}

fn underway(standing: &Standing) -> Option<(String, String)> {
    Some(match (&standing.received, &standing.record.stage) {
        (_, Stage::Writing { version }) => (
            format!("Versi {version} sedang ditulis. Kotak tetap bekerja, lalu mulai ulang sendiri."),
            format!("Version {version} is being written. The box goes on working, then restarts by itself."),
        ),
        (_, Stage::Trying { version, .. }) => (
            format!(
                "Versi {version} sedang dicoba. Kalau sehat selama satu menit, versi ini dipakai; kalau tidak, kotak kembali \
                 sendiri ke versi sebelumnya. Bila halaman ini hilang, muat ulang setelah dua menit."
            ),
            format!(
                "Version {version} is on trial. If it is healthy for a minute it is kept; otherwise the box goes back by itself. \
                 If this page is gone, load it again after two minutes."
            ),
        ),
        (_, Stage::GivenUp { version, reason, .. }) => (
            format!("Versi {version} tidak dipakai: {reason}. Kotak mulai ulang ke versi sebelumnya."),
            format!("Version {version} was given up: {reason}. The box restarts into the version before it."),
        ),
        (Some(version), _) => (
            format!("Pembaruan ke versi {version} sudah lengkap dan asli, dan segera ditulis."),
            format!("The update to version {version} is whole and genuine, and is about to be written."),
        ),
        (None, _) => return None,
    })
}

fn ended(last: &Outcome) -> (String, String) {
    match last {
        Outcome::Committed { version } => (
            format!("Pembaruan terakhir berhasil: versi {version} dipakai."),
            format!("The last update succeeded: version {version} is in use."),
        ),
        Outcome::RolledBack { version, reason } => (
            format!("Versi {version} dibatalkan, kotak kembali ke versi sebelumnya: {reason}."),
            format!("Version {version} was given up, and the box went back: {reason}."),
        ),
        Outcome::Failed { version, reason } => (
            format!("Versi {version} tidak terpasang: {reason}."),
            format!("Version {version} was not installed: {reason}."),
        ),
    }
}

const FORM: &str = "<form method=\"post\" action=\"/api/v1/update\" enctype=\"multipart/form-data\">\n\
    <label>Kata sandi kotak ini <span class=\"en\">/ This box's password</span><input name=\"password\" type=\"password\" \
    required autocomplete=\"current-password\"></label>\n\
    <label>Berkas pembaruan <span class=\"en\">/ Update file</span> (.update)<input name=\"file\" type=\"file\" \
    required accept=\".update\"></label>\n\
    <button>Perbarui <span class=\"en\">/ Update</span></button></form>\n\
    <p>Pesan tetap aman. Setelah ditulis, kotak mulai ulang sekitar dua menit.<br>\n\
    <span class=\"en\">Messages are safe. Once it is written, the box restarts, for about two minutes.</span></p>\n";
const NO_PASSWORD: &str = "<p>Kotak ini belum punya kata sandi. Pembaruan dikirim lewat API dengan kunci administrator.<br>\n\
    <span class=\"en\">This box has no password. Send the update through the API, with an administrator's key.</span></p>\n";
const NO_SLOTS: &str = "<p>Kurir ini dipasang sebagai program, bukan dari kartu SD-nya; perbarui dengan cara yang sama.<br>\n\
    <span class=\"en\">This Kurir was installed as a program and not from its SD card; update it the same way.</span></p>\n";
const NO_KEY: &str = "<p>Kotak ini tidak punya kunci untuk memeriksa pembaruan; tulis ulang kartunya.<br>\n\
    <span class=\"en\">This box has no key to check updates with; write its card anew.</span></p>\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::{Record, Slot, Version};

    const OLD: Version = Version(1, 0, 0);
    const NEW: Version = Version(1, 1, 0);

    fn standing(received: bool, stage: Stage, last: Option<Outcome>) -> Standing {
        Standing { running: OLD, received: received.then_some(NEW), record: Record { stage, last } }
    }

    #[test]
    fn there_is_a_form_only_when_an_update_can_be_sent() {
        let idle = standing(false, Stage::Idle, None);
        for (standing, waits) in [
            (idle.clone(), false),
            (standing(false, Stage::Written { slot: Slot::B, version: NEW }, None), false),
            (standing(true, Stage::Idle, None), true),
            (standing(false, Stage::Writing { version: NEW }, None), true),
            (standing(false, Stage::Trying { slot: Slot::B, version: NEW }, None), true),
        ] {
            let page = of("arm64", &standing, true, None);
            assert_eq!((page.contains("<form"), is_underway(&standing)), (!waits, waits), "{page}");
            assert!(page.contains("Versi 1.0.0 (arm64) berjalan"), "{page}");
            assert_eq!(page.contains("1.1.0"), waits, "{page}");
        }
        let page = of("arm64", &idle, false, None);
        assert!(!page.contains("<form") && page.contains("API"), "{page}");
    }

    #[test]
    fn pages_load_nothing_and_repeat_nothing_as_markup() {
        let bad = || "<script>\"'&".to_owned();
        for page in [
            of("arm64", &standing(false, Stage::Idle, None), true, Some(&bad())),
            of(
                "arm64",
                &standing(false, Stage::Idle, Some(Outcome::Failed { version: NEW, reason: bad() })),
                true,
                None,
            ),
            of(
                "arm64",
                &standing(false, Stage::Idle, Some(Outcome::RolledBack { version: NEW, reason: bad() })),
                true,
                None,
            ),
            without(NoIntake::Slots, Some(&bad())),
            without(NoIntake::Key, Some(&bad())),
        ] {
            assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
            assert!(page.contains("&lt;script&gt;&quot;&#39;&amp;"), "{page}");
            for outside in ["http://", "https://", "src=", "<script", "url("] {
                assert!(!page.contains(outside), "{outside} in {page}");
            }
        }
    }
}
