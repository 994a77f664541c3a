//! What the panel may show, gathered from the gateway: wakes only when something says that it changed.
//!
//! | what | what wakes |
//! |---|---|
//! | sessions, their states and codes | each session's `watch`, and the registry's |
//! | queue, last message, traffic | the store's commits, gathered for half a second |
//! | addresses | their `watch` in `lan`, which the kernel wakes |
//! | room on the disk | the same commits, at most twice a minute; others can fill it too: every five minutes |
//! | the clock | the same five minutes; every ten seconds while it is not set |

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::select_all;
use tokio::sync::watch;
use tokio::time::Instant;

use super::view::{
    Disk, Language, Network, SessionId, SessionState, SessionView, Stage, Trouble, Update, View,
};
use crate::inbox::{self, Inbox};
use crate::outbox::Outbox;
use crate::session::{PairingCode, Reason, Registry, Session, Snapshot, Status};
use crate::store::Store;

/// Commits are gathered for this long.
const GATHER: Duration = Duration::from_millis(500);
/// How often to look at what nobody tells of: the disk, when others fill it, and the local time's offset.
const LOOK_EVERY: Duration = Duration::from_secs(300);
/// The same while the clock is not set.
const LOOK_AT_CLOCK_EVERY: Duration = Duration::from_secs(10);
/// Shortest time between two looks at the disk.
const DISK_EVERY: Duration = Duration::from_secs(30);
/// Less room than this is little: a few hours of events and files, and what the store needs to tidy up.
const LITTLE_ROOM: u64 = 200 << 20;
/// What is said of the room left is rounded down to this.
const ROOM_STEP: u64 = 10 << 20;
/// Events read at a time. After a flood the rest is passed over: only the latest of each session is shown.
const EVENTS: usize = 500;
/// A clock before this was never set: 1 January 2026, before the first release, Unix seconds.
const EARLIEST: u64 = 1_767_225_600;

/// What only the parts know that start the gateway or serve its web page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The web page's address, if it has a name; else it is made of the first address.
    pub web_url: Option<String>,
    /// Something that a person has to correct.
    pub notice: Option<String>,
    /// The one-time code that claims the box.
    pub claim_code: Option<String>,
    /// SHA-256 of the HTTPS certificate, hexadecimal.
    pub fingerprint: Option<String>,
    /// Whether the clock can be right; `None`: nobody has said, so the panel looks for itself.
    pub clock_set: Option<bool>,
    /// An update that is being written.
    pub update: Option<Update>,
}

/// One notice of several: the first, and how many more there are. The status API has them all.
pub fn notice(all: &[String]) -> Option<String> {
    let first = all.first()?;
    Some(if all.len() == 1 { first.clone() } else { format!("{first} (+{})", all.len() - 1) })
}

/// What is looked at.
pub struct Sources {
    /// The sessions.
    pub registry: Registry,
    /// The send queue.
    pub outbox: Outbox,
    /// The event journal.
    pub inbox: Inbox,
    /// The store, whose commits say that a queue moved.
    pub store: Store,
    /// What the other parts say.
    pub facts: watch::Receiver<Facts>,
    /// The box's addresses.
    pub addresses: watch::Receiver<Vec<IpAddr>>,
    /// The data folder, whose disk is looked at.
    pub data_dir: PathBuf,
    /// Where the HTTP API listens.
    pub listen: SocketAddr,
    /// The language of the screen.
    pub language: Language,
}

/// Keeps `view` up to date until the sessions are gone.
pub async fn run(sources: Sources, view: watch::Sender<View>) {
    let mut sessions_changed = sources.registry.changes();
    let mut commits = sources.store.commits();
    let mut facts = sources.facts.clone();
    let mut addresses = sources.addresses.clone();
    let mut collector = Collector::new(sources);
    let mut due = None;
    loop {
        sessions_changed.borrow_and_update();
        facts.borrow_and_update();
        commits.borrow_and_update();
        addresses.borrow_and_update();
        let sessions = collector.sources.registry.list();
        let mut watches: Vec<_> = sessions.iter().map(Session::watch).collect();
        for watch in &mut watches {
            watch.borrow_and_update();
        }
        let next = collector.view(&sessions);
        let clock_set = next.clock_set;
        view.send_if_modified(|view| {
            // Ending this task takes until its next await: what it has gathered must not cover the last screen.
            let changed = *view != next && view.stage != Stage::Erasing;
            if changed {
                *view = next;
            }
            changed
        });
        let look = if clock_set { LOOK_EVERY } else { LOOK_AT_CLOCK_EVERY };
        let look = tokio::time::sleep(look);
        tokio::pin!(look);
        // What can wait is gathered; the rest of this loop's waits end it at once.
        loop {
            let gathered = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let session = async {
                if watches.is_empty() {
                    return std::future::pending().await;
                }
                let (changed, index, _) = select_all(watches.iter_mut().map(|w| Box::pin(w.changed()))).await;
                changed.is_ok().then_some(()).ok_or(index)
            };
            tokio::select! {
                changed = session => match changed {
                    Ok(()) => break,
                    // This one ended; the registry tells whether it was deleted.
                    Err(ended) => drop(watches.swap_remove(ended)),
                },
                changed = sessions_changed.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                Ok(()) = facts.changed() => break,
                changed = commits.changed(), if due.is_none() => match changed {
                    Ok(()) => due = Some(Instant::now() + GATHER),
                    Err(_) => return,
                },
                Ok(()) = addresses.changed() => break,
                () = gathered => {
                    due = None;
                    break;
                }
                () = &mut look => {
                    collector.disk_looked_at = None;
                    break;
                }
            }
        }
    }
}

/// What is remembered of a session between two views.
#[derive(Default)]
struct Remembered {
    sent: u64,
    last_message_ms: Option<i64>,
    /// The code on show, and when it ends by the clock that timers use: made once, so that views stay equal.
    code: Option<(PairingCode, Instant)>,
}

struct Collector {
    sources: Sources,
    disk: Disk,
    disk_looked_at: Option<Instant>,
    sent: Option<u64>,
    received: u64,
    journal: u64,
    sessions: BTreeMap<u32, Remembered>,
}

impl Collector {
    fn new(sources: Sources) -> Collector {
        let newest = sources.inbox.newest().unwrap_or_default();
        let mut collector = Collector {
            sources,
            disk: Disk::Fine,
            disk_looked_at: None,
            sent: None,
            received: 0,
            // The last messages from before the start are shown, and are no traffic.
            journal: newest.saturating_sub(EVENTS as u64),
            sessions: BTreeMap::new(),
        };
        collector.read_journal();
        collector.received = 0;
        collector
    }

    fn view(&mut self, sessions: &[Session]) -> View {
        self.read_journal();
        let sent = self.sources.outbox.sends().sent;
        let counted = self.sent.replace(sent);
        if counted != Some(sent) {
            self.read_sent(sessions, counted.is_none());
        }
        self.sessions.retain(|no, _| sessions.iter().any(|session| session.no() == *no));
        self.look_at_disk();
        let addresses = self.sources.addresses.borrow().clone();
        let facts = self.sources.facts.borrow().clone();
        let network = match addresses.as_slice() {
            [] => Network::Down,
            known => Network::Up(known.to_vec()),
        };
        let web_url = facts.web_url.or_else(|| web_url(self.sources.listen, &addresses));
        let mut views = Vec::with_capacity(sessions.len());
        for session in sessions {
            let remembered = self.sessions.entry(session.no()).or_default();
            views.push(session_view(session, self.sources.outbox.depth(session.no()), remembered));
        }
        View {
            language: self.sources.language,
            stage: Stage::Running,
            network,
            web_url,
            sessions: views,
            disk: self.disk,
            clock_set: facts.clock_set.unwrap_or_else(|| is_set(SystemTime::now())),
            update: facts.update,
            notice: facts.notice,
            claim_code: facts.claim_code,
            fingerprint: facts.fingerprint,
            traffic: sent + self.received,
            utc_offset: chrono::Local::now().offset().local_minus_utc(),
        }
    }

    /// Counts what arrived, and remembers the latest of each session.
    fn read_journal(&mut self) {
        let inbox = &self.sources.inbox;
        let Ok(newest) = inbox.newest() else { return };
        let after = self.journal.max(newest.saturating_sub(EVENTS as u64));
        self.journal = newest;
        if after == newest {
            return;
        }
        let Ok(page) = inbox.page(after, EVENTS) else { return };
        for event in page.events {
            if matches!(event.body, inbox::Body::Message(_)) {
                self.received += 1;
                let remembered = self.sessions.entry(event.origin.session_no).or_default();
                remembered.last_message_ms = remembered.last_message_ms.max(Some(event.at_ms));
            }
        }
    }

    fn read_sent(&mut self, sessions: &[Session], first: bool) {
        let now = crate::clock::now_ms();
        for session in sessions {
            let Ok(sent) = self.sources.outbox.sent_count(session.no()) else { continue };
            let remembered = self.sessions.entry(session.no()).or_default();
            if std::mem::replace(&mut remembered.sent, sent) != sent && !first {
                remembered.last_message_ms = remembered.last_message_ms.max(Some(now));
            }
        }
    }

    fn look_at_disk(&mut self) {
        if self.disk_looked_at.is_none_or(|at| at.elapsed() >= DISK_EVERY) {
            self.disk_looked_at = Some(Instant::now());
            self.disk = disk(&self.sources.data_dir);
        }
    }
}

fn disk(folder: &Path) -> Disk {
    match rustix::fs::statvfs(folder) {
        Ok(disk) => room(disk.f_bavail.saturating_mul(disk.f_frsize)),
        Err(e) => {
            log::debug!("the disk of {} cannot be looked at: {e}", folder.display());
            Disk::Fine
        }
    }
}

fn room(free: u64) -> Disk {
    if free >= LITTLE_ROOM { Disk::Fine } else { Disk::NearlyFull { free: free / ROOM_STEP * ROOM_STEP } }
}

fn is_set(now: SystemTime) -> bool {
    now.duration_since(UNIX_EPOCH).is_ok_and(|since| since.as_secs() >= EARLIEST)
}

/// The web page for a browser in the office; `None` if the API listens to this machine only.
fn web_url(listen: SocketAddr, addresses: &[IpAddr]) -> Option<String> {
    let ip = match listen.ip() {
        ip if ip.is_loopback() => return None,
        ip if ip.is_unspecified() => *addresses.iter().find(|a| listen.is_ipv6() || a.is_ipv4())?,
        ip => ip,
    };
    Some(match listen.port() {
        80 if ip.is_ipv6() => format!("http://[{ip}]/"),
        80 => format!("http://{ip}/"),
        port => format!("http://{}/", SocketAddr::new(ip, port)),
    })
}

fn session_view(session: &Session, depth: usize, remembered: &mut Remembered) -> SessionView {
    let snapshot = session.snapshot();
    let name = if snapshot.push_name.is_empty() { session.name() } else { &snapshot.push_name };
    let last = remembered.last_message_ms.and_then(|ms| u64::try_from(ms).ok());
    SessionView {
        id: SessionId::from(session.id()),
        name: name.to_owned(),
        number: snapshot.number.clone(),
        state: session_state(&snapshot, remembered),
        queue: depth as u64,
        last_message: last.map(|ms| UNIX_EPOCH + Duration::from_millis(ms)),
    }
}

fn session_state(snapshot: &Snapshot, remembered: &mut Remembered) -> SessionState {
    // Whoever asked for a code to type is not going to scan.
    if let Some(code) = snapshot.pair_code.as_ref().or(snapshot.qr.as_ref()) {
        let expires = match &remembered.code {
            Some((known, expires)) if known == code => *expires,
            _ => {
                let left = code.expires.duration_since(SystemTime::now()).unwrap_or_default();
                let expires = Instant::now() + left;
                remembered.code = Some((code.clone(), expires));
                expires
            }
        };
        return match snapshot.pair_code {
            Some(_) => SessionState::PairingCode { code: code.text.clone(), expires },
            None => SessionState::Qr { text: code.text.clone(), expires },
        };
    }
    remembered.code = None;
    // What waits for a person is over once the session dials again.
    let waits = snapshot.status == Status::Disconnected;
    match &snapshot.reason {
        _ if snapshot.status == Status::Connected => SessionState::Online,
        Reason::QrExhausted if waits => SessionState::Exhausted,
        Reason::LoggedOut if waits => SessionState::LoggedOut,
        Reason::AccountLocked if waits => SessionState::Disconnected(Trouble::AccountLocked),
        // Of the clock a page of its own tells.
        Reason::None | Reason::QrExhausted | Reason::LoggedOut | Reason::AccountLocked | Reason::Clock => {
            SessionState::Connecting
        }
        Reason::Network => SessionState::Disconnected(Trouble::Network),
        Reason::Banned => SessionState::Banned { until: snapshot.banned_until },
        Reason::Conflict => SessionState::Conflict,
        Reason::ClientOutdated => SessionState::Outdated,
        Reason::RestartLoop => SessionState::Disconnected(Trouble::RestartLoop),
        Reason::Refused(code) => SessionState::Disconnected(Trouble::Refused(*code)),
        Reason::Store => SessionState::Disconnected(Trouble::Store),
    }
}

/// The view before anything is known.
pub fn starting(language: Language) -> View {
    // Nothing is said of the clock before it was looked at.
    View { language, clock_set: is_set(SystemTime::now()), ..View::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(status: Status, reason: Reason) -> Snapshot {
        Snapshot {
            status,
            reason,
            paired: false,
            qr: None,
            pair_code: None,
            number: None,
            lid: None,
            push_name: String::new(),
            retry_at: None,
            banned_until: None,
        }
    }

    fn state(status: Status, reason: Reason) -> SessionState {
        session_state(&snapshot(status, reason), &mut Remembered::default())
    }

    #[test]
    fn each_state_of_a_session_has_its_screen() {
        use Status::{Connected, Connecting, Disconnected};
        assert_eq!(state(Connecting, Reason::None), SessionState::Connecting);
        assert_eq!(state(Status::Qr, Reason::None), SessionState::Connecting, "no code has come yet");
        assert_eq!(state(Connected, Reason::None), SessionState::Online);
        assert_eq!(state(Connecting, Reason::Network), SessionState::Disconnected(Trouble::Network));
        assert_eq!(state(Disconnected, Reason::QrExhausted), SessionState::Exhausted);
        assert_eq!(state(Connecting, Reason::QrExhausted), SessionState::Connecting);
        assert_eq!(state(Disconnected, Reason::LoggedOut), SessionState::LoggedOut);
        assert_eq!(state(Connecting, Reason::LoggedOut), SessionState::Connecting);
        assert_eq!(
            state(Disconnected, Reason::AccountLocked),
            SessionState::Disconnected(Trouble::AccountLocked)
        );
        assert_eq!(state(Connecting, Reason::Conflict), SessionState::Conflict);
        assert_eq!(state(Connecting, Reason::ClientOutdated), SessionState::Outdated);
        assert_eq!(
            state(Connecting, Reason::Refused(405)),
            SessionState::Disconnected(Trouble::Refused(405))
        );
        assert_eq!(state(Connecting, Reason::Store), SessionState::Disconnected(Trouble::Store));
        let until = UNIX_EPOCH + Duration::from_secs(EARLIEST);
        let banned = Snapshot { banned_until: Some(until), ..snapshot(Disconnected, Reason::Banned) };
        let state = session_state(&banned, &mut Remembered::default());
        assert_eq!(state, SessionState::Banned { until: Some(until) });
    }

    #[tokio::test(start_paused = true)]
    async fn a_code_keeps_its_end_while_the_view_is_made_again() {
        let code = PairingCode { text: "a,b".into(), expires: SystemTime::now() + Duration::from_secs(60) };
        let shown = Snapshot { qr: Some(code), ..snapshot(Status::Qr, Reason::None) };
        let mut remembered = Remembered::default();
        let first = session_state(&shown, &mut remembered);
        assert!(matches!(&first, SessionState::Qr { text, .. } if text == "a,b"));
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(session_state(&shown, &mut remembered), first);
        let typed = PairingCode { text: "ABCD1234".into(), expires: SystemTime::now() };
        let both = Snapshot { pair_code: Some(typed), ..shown };
        assert!(matches!(
            session_state(&both, &mut remembered),
            SessionState::PairingCode { code, expires } if code == "ABCD1234" && expires <= Instant::now()
        ));
    }

    #[test]
    fn the_web_page_is_where_the_office_reaches_it() {
        let addresses: Vec<IpAddr> = vec!["192.168.1.20".parse().unwrap(), "fd00::20".parse().unwrap()];
        let url = |listen: &str, addresses: &[IpAddr]| web_url(listen.parse().unwrap(), addresses);
        assert_eq!(url("127.0.0.1:8080", &addresses), None);
        assert_eq!(url("0.0.0.0:8080", &addresses).as_deref(), Some("http://192.168.1.20:8080/"));
        assert_eq!(url("0.0.0.0:80", &addresses).as_deref(), Some("http://192.168.1.20/"));
        assert_eq!(url("[::]:80", &addresses[1..]).as_deref(), Some("http://[fd00::20]/"));
        assert_eq!(url("[::]:8080", &addresses[1..]).as_deref(), Some("http://[fd00::20]:8080/"));
        assert_eq!(url("0.0.0.0:80", &addresses[1..]), None);
        assert_eq!(url("0.0.0.0:80", &[]), None);
        assert_eq!(url("10.0.0.7:80", &addresses).as_deref(), Some("http://10.0.0.7/"));
    }

    #[test]
    fn little_room_is_rounded_and_a_clock_that_was_never_set_is_known() {
        assert_eq!(room(LITTLE_ROOM), Disk::Fine);
        assert_eq!(room(LITTLE_ROOM - 1), Disk::NearlyFull { free: 190 << 20 });
        assert_eq!(room(5), Disk::NearlyFull { free: 0 });
        assert!(is_set(SystemTime::now()));
        assert!(!is_set(UNIX_EPOCH + Duration::from_secs(86_400)));
    }
}
