//! What `kurir serve` prints for who has no screen: claim codes and pairing codes.

use kurir::api::qr;
use kurir::panel::run::Shown;
use kurir::session::{Session, Status};
use tokio::sync::watch;

/// Prints each claim code once, on standard error, if there is no screen that shows it: a box without one has its serial
/// console there.
pub(crate) async fn claim(mut codes: watch::Receiver<Option<String>>, panel: watch::Receiver<Shown>) {
    loop {
        let code = codes.borrow_and_update().clone();
        let has_screen = panel.borrow().display.as_str() == "works";
        if let Some(code) = code.filter(|_| !has_screen) {
            eprintln!(
                "This box has no owner yet. Open its address in a browser and enter this code, or POST it to \
                 /api/v1/claim. Claim code: {code}"
            );
        }
        if codes.changed().await.is_err() {
            return;
        }
    }
}

/// Prints the QR codes of a session that starts unpaired, and that it is paired.
pub(crate) async fn pairing(session: Session) {
    let mut changes = session.watch();
    let mut shown = None;
    loop {
        let snapshot = changes.borrow_and_update().clone();
        let code = snapshot.qr.map(|code| code.text);
        if code != shown {
            if let Some(Ok(picture)) = code.as_deref().map(qr::terminal) {
                println!(
                    "\nScan with WhatsApp > Linked devices (WhatsApp > Perangkat tertaut), session {}:",
                    session.no()
                );
                println!("{picture}");
            }
            shown = code;
        }
        match snapshot.status {
            Status::Connected => {
                println!("Session {} is connected. Session id for the API: {}", session.no(), session.id());
                return;
            }
            Status::Disconnected => println!("Session {}: {}", session.no(), snapshot.reason.advice()),
            Status::Connecting | Status::Qr => {}
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}
