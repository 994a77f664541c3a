//! Feeds the service manager's watchdog for as long as every part that could hang makes progress.
//!
//! Each round asks the store's writer and every session's supervisor for an answer, which each gives only from its own
//! loop, and looks whether a part's task has ended. The round ends when all have answered, and only then is the
//! watchdog fed: a part that hangs ends the feeding, and the service manager restarts the process.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::notify::ServiceManager;
use crate::session::{Registry, Session, Status};
use crate::store::{Store, StoreError};

/// Rounds per watchdog period: a round may take two thirds of it before the process is killed.
const ROUNDS: u32 = 3;
/// Between two rounds where nobody watches but somebody reads the status.
const UNWATCHED: Duration = Duration::from_secs(60);

/// A part that can hang.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Writer,
    Supervisor(u32),
    Task(&'static str),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Writer => f.write_str("the store's writer"),
            Part::Supervisor(no) => write!(f, "the supervisor of session {no}"),
            Part::Task(name) => write!(f, "the task of {name}"),
        }
    }
}

/// What the watchdog looks at.
pub struct Watchdog {
    store: Store,
    registry: Registry,
    tasks: Vec<(&'static str, AbortHandle)>,
}

impl Watchdog {
    /// `tasks`: those that run until shutdown.
    pub(crate) fn new(store: Store, registry: Registry, tasks: Vec<(&'static str, AbortHandle)>) -> Watchdog {
        Watchdog { store, registry, tasks }
    }

    /// One line about the whole: what `systemctl status` shows.
    pub fn status(&self) -> String {
        let sessions = self.registry.list();
        let connected = sessions.iter().filter(|s| s.snapshot().status == Status::Connected).count();
        let store =
            if self.store.stats().read_only { "; the store cannot be written (disk full?)" } else { "" };
        format!("{connected} of {} sessions connected{store}", sessions.len())
    }

    /// Feeds until dropped. Returns at once where there is no service manager.
    pub async fn run(&self, manager: &ServiceManager) {
        if !manager.is_there() {
            return;
        }
        let pause = manager.watchdog().map_or(UNWATCHED, |period| period / ROUNDS);
        loop {
            self.round(manager, pause).await;
            manager.feed_watchdog(&self.status());
            tokio::time::sleep(pause).await;
        }
    }

    /// Runs `work`, which nothing else shows to be alive, and feeds for as long as `steps` goes on changing: work that
    /// hangs starves the watchdog as a part that hangs does.
    pub async fn while_it_goes_on<T>(
        manager: &ServiceManager,
        status: &str,
        mut steps: watch::Receiver<u64>,
        work: impl Future<Output = T>,
    ) -> T {
        let pause = manager.watchdog().map_or(UNWATCHED, |period| period / ROUNDS);
        let feeding = async {
            manager.feed_watchdog(status);
            while steps.changed().await.is_ok() {
                manager.feed_watchdog(status);
                tokio::time::sleep(pause).await;
            }
            std::future::pending().await
        };
        tokio::select! {
            done = work => done,
            never = feeding => never,
        }
    }

    /// Ends when every part has answered: never, if one hangs or is gone.
    async fn round(&self, manager: &ServiceManager, patience: Duration) {
        for &(name, ref task) in &self.tasks {
            if task.is_finished() {
                Self::ended(manager, Part::Task(name)).await;
            }
        }
        let writer = async {
            match self.store.ping().await {
                // A disk that is full or failing is no reason to restart: the writer lives and says so.
                Ok(()) => {}
                Err(StoreError::Closed) => Self::ended(manager, Part::Writer).await,
                Err(e) => log::debug!("store: {e}"),
            }
        };
        Self::answer(manager, patience, Part::Writer, writer).await;
        let mut supervisors = Vec::new();
        for session in self.registry.list() {
            let part = Part::Supervisor(session.no());
            supervisors.push(Self::answer(manager, patience, part, self.ask(manager, session)));
        }
        futures_util::future::join_all(supervisors).await;
    }

    /// A session that was deleted meanwhile answers no more, and need not.
    async fn ask(&self, manager: &ServiceManager, session: Session) {
        if !session.ping().await && self.registry.by_no(session.no()).is_some() {
            Self::ended(manager, Part::Supervisor(session.no())).await;
        }
    }

    /// Waits for the part, and says so when that takes long.
    async fn answer(manager: &ServiceManager, patience: Duration, part: Part, ask: impl Future<Output = ()>) {
        let mut ask = pin!(ask);
        if tokio::time::timeout(patience, &mut ask).await.is_err() {
            log::error!(
                "{part} has not answered for {:.1} s; until it does, the watchdog is not fed",
                patience.as_secs_f32()
            );
            manager.status(&format!("{part} does not answer"));
            ask.await;
            log::warn!("{part} answers again");
        }
    }

    /// A part is gone that only a restart brings back.
    async fn ended(manager: &ServiceManager, part: Part) {
        log::error!("{part} has ended; the watchdog is not fed any more");
        manager.status(&format!("{part} has ended"));
        std::future::pending::<()>().await;
    }
}
