//! The front panel's tasks, and what only the wiring can tell them.

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::api::tls::Certificates;
use crate::clock::ClockState;
use crate::config::Config;
use crate::panel::run::{Parts, Shown};
use crate::panel::watch::Facts;
use crate::panel::{self, Stage, View};

/// The panel's tasks. It runs before and after everything else.
pub(super) struct Panel {
    pub(super) view: watch::Sender<View>,
    pub(super) shown: watch::Receiver<Shown>,
    run: JoinHandle<()>,
    pub(super) takes_terminal: bool,
    /// What reads the parts, and what carries out orders on them.
    pub(super) beside: Vec<JoinHandle<()>>,
}

impl Panel {
    pub(super) fn start(config: &Config, parts: Parts, orders: mpsc::Sender<panel::Action>) -> Panel {
        let (view, views) = watch::channel(panel::watch::starting(config.panel_language));
        let (show, shown) = watch::channel(panel::run::nothing(&parts));
        let takes_terminal = parts.takes_terminal();
        let run = tokio::spawn(panel::run::run(parts, views, show, orders));
        Panel { view, shown, run, takes_terminal, beside: Vec::new() }
    }

    /// Nothing else is shown from now on.
    pub(super) fn stop_watching(&mut self) {
        for task in self.beside.drain(..) {
            task.abort();
        }
    }

    pub(super) fn erasing(&mut self) {
        self.stop_watching();
        self.view.send_modify(|view| view.stage = Stage::Erasing);
    }

    /// Ends with the display off, or as it is while everything is erased.
    pub(super) async fn close(mut self) {
        self.stop_watching();
        drop(self.view);
        if let Err(e) = self.run.await {
            log::error!("panel: ended badly: {e}");
        }
    }
}

/// Keeps what only the claim, the certificate and the clock know on the panel, until `stop` becomes true.
pub(super) async fn tell_panel(
    facts: watch::Sender<Facts>,
    mut code: watch::Receiver<Option<String>>,
    certificates: Option<Certificates>,
    mut clock: watch::Receiver<ClockState>,
    mut stop: watch::Receiver<bool>,
) {
    let mut certificate = certificates.as_ref().map(Certificates::info);
    loop {
        let claim_code = code.borrow_and_update().clone();
        let fingerprint = certificate.as_mut().map(|info| info.borrow_and_update().sha256.clone());
        let clock_set = Some(clock.borrow_and_update().is_set());
        facts.send_if_modified(|facts| {
            let known = (claim_code, fingerprint, clock_set);
            let changed =
                (&facts.claim_code, &facts.fingerprint, &facts.clock_set) != (&known.0, &known.1, &known.2);
            (facts.claim_code, facts.fingerprint, facts.clock_set) = known;
            changed
        });
        let replaced = async {
            match &mut certificate {
                Some(info) => info.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // The guard that `wait_for` returns must not live across an await.
            () = async { let _ = stop.wait_for(|stop| *stop).await; } => return,
            changed = code.changed() => if changed.is_err() { return },
            changed = clock.changed() => if changed.is_err() { return },
            changed = replaced => if changed.is_err() { return },
        }
    }
}
