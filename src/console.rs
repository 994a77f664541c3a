//! The serial console of a box without a display: the code that claims it, and where.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use tokio::sync::watch;

use crate::api::Place;
use crate::panel::run::Shown;

/// How soon a console that takes nothing is tried again: at first, then after twice as long each time, and in the end.
const AGAIN: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_secs(64);
/// From this pause on it counts as trouble, and not as a serial line that has much to say.
const TROUBLE: Duration = Duration::from_secs(16);

/// What is printed. A test of the image reads it: keep it.
fn line(code: &str, url: Option<&str>) -> String {
    match url {
        Some(url) => format!("Kurir: claim code {code}, {url}/"),
        None => format!("Kurir: claim code {code}, no address yet"),
    }
}

/// Prints the code, each new one, and each again when the address changes, for as long as no display shows it and until
/// `stop` becomes true. One that takes nothing is tried again: the kernel may have filled it, or a terminal may be stopped. A
/// console that cannot be written is told in the log, once.
pub async fn run(
    console: PathBuf,
    mut code: watch::Receiver<Option<String>>,
    mut panel: watch::Receiver<Shown>,
    mut place: Place,
    mut stop: watch::Receiver<bool>,
) {
    let (mut last, mut told, mut pause) = (None, false, AGAIN);
    loop {
        place.addresses.borrow_and_update();
        let has_screen = panel.borrow_and_update().display.as_str() == "works";
        let known = code.borrow_and_update().clone();
        let now =
            known.filter(|_| !has_screen).map(|code| line(&code, place.urls().first().map(String::as_str)));
        let failed = match &now {
            Some(text) if now != last => print(console.clone(), text.clone()).await.err(),
            _ => None,
        };
        let again = failed.as_ref().filter(|e| e.kind() == io::ErrorKind::WouldBlock).map(|_| pause);
        if let Some(e) = failed
            && again.is_none_or(|pause| pause >= TROUBLE)
            && !std::mem::replace(&mut told, true)
        {
            log::error!(
                "the claim code cannot be shown on {}: {e}; `kurir key new --name NAME --admin` on the box makes a key as well",
                console.display()
            );
        }
        pause = again.map_or(AGAIN, |pause| (pause * 2).min(SELDOM));
        last = now.filter(|_| again.is_none());
        tokio::select! {
            // The guard that `wait_for` returns must not live across an await.
            () = async { let _ = stop.wait_for(|stop| *stop).await; } => return,
            () = passed(again) => {}
            changed = code.changed() => if changed.is_err() { return },
            changed = panel.changed() => if changed.is_err() { return },
            changed = place.addresses.changed() => if changed.is_err() { return },
        }
    }
}

async fn passed(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}

async fn print(console: PathBuf, line: String) -> io::Result<()> {
    tokio::task::spawn_blocking(move || write(&console, &line)).await.map_err(io::Error::other)?
}

/// On a line of its own, whatever stands there already. Never waits: nobody may be at the other end, and a terminal can
/// be stopped. It is opened each time, and never made: a file where a device is missing would help nobody.
fn write(console: &Path, line: &str) -> io::Result<()> {
    let flags = i32::try_from((OFlags::NOCTTY | OFlags::NONBLOCK).bits()).map_err(io::Error::other)?;
    let mut file = OpenOptions::new().append(true).custom_flags(flags).open(console)?;
    file.write_all(format!("\n{line}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_what_the_test_of_the_image_reads() {
        let url = "http://kurir-a1b2.local";
        assert_eq!(line("ACEF-3467", Some(url)), "Kurir: claim code ACEF-3467, http://kurir-a1b2.local/");
        assert_eq!(line("ACEF-3467", None), "Kurir: claim code ACEF-3467, no address yet");
    }

    #[test]
    fn a_console_that_is_missing_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let console = folder.path().join("console");
        assert!(write(&console, "x").is_err() && !console.exists());
        std::fs::write(&console, "boot").unwrap();
        write(&console, "x").unwrap();
        assert_eq!(std::fs::read_to_string(&console).unwrap(), "boot\nx\n");
    }
}
