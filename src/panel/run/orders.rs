//! Carries out what the buttons ask for, one after the other, beside the panel: a session that is slow to answer does
//! not stop the screen.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, watch};

use super::super::machine::Action;
use super::super::view::SessionId;
use crate::session::Registry;

/// A session that does not take a command for this long is given up; its own task says why.
const PATIENCE: Duration = Duration::from_secs(10);

/// The session that is made where there is none.
#[derive(Clone, Debug)]
pub struct FirstSession {
    /// Its name.
    pub name: &'static str,
    /// The account that owns it.
    pub account: &'static str,
}

/// Carries out actions until their sender is gone. Erasing is only told: it ends everything, this task as well.
pub async fn carry_out(
    registry: Registry,
    first: FirstSession,
    mut actions: mpsc::Receiver<Action>,
    erase: watch::Sender<bool>,
) {
    while let Some(action) = actions.recv().await {
        match action {
            Action::Redial(id) => {
                log::info!("panel: a button was held: {} is connected anew", name(&registry, &id));
                reconnect(&registry, &id).await;
            }
            Action::FreshQr(id) => {
                log::info!("panel: a button was held: new QR codes for {}", name(&registry, &id));
                reconnect(&registry, &id).await;
            }
            Action::NewSession => match registry.create(first.name, first.account).await {
                Ok(session) => log::info!("panel: a button was held: session {} is new", session.no()),
                Err(e) => log::error!("panel: no session could be made: {e}"),
            },
            Action::Unlink(ids) => {
                let all = ids.iter().filter_map(|id| registry.get(id)).map(async |session| {
                    log::warn!(
                        "panel: a button was held: session {} is unlinked and paired again",
                        session.no()
                    );
                    if tokio::time::timeout(PATIENCE, session.pair_again()).await.is_err() {
                        log::error!("session {}: it does not take the order to unlink", session.no());
                    }
                });
                join_all(all).await;
            }
            Action::Erase => {
                log::warn!("panel: a button was held: everything is erased");
                erase.send_replace(true);
            }
        }
    }
}

async fn reconnect(registry: &Registry, id: &SessionId) {
    let Some(session) = registry.get(id) else { return };
    if tokio::time::timeout(PATIENCE, session.reconnect()).await.is_err() {
        log::error!("session {}: it does not take the order to connect anew", session.no());
    }
}

fn name(registry: &Registry, id: &SessionId) -> String {
    registry.get(id).map_or_else(|| "a session that is gone".into(), |s| format!("session {}", s.no()))
}
