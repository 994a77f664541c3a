//! What the service manager hears: readiness, status, the watchdog's food for as long as everything makes progress, the end.

use std::ffi::OsString;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use crate::process::{KEY, Process, kurir, run};
use crate::support::{Office, PATIENCE, request};
use kurir::notify::ServiceManager;
use kurir::store::erase::Progress;
use kurir::watchdog::Watchdog;
use tokio::net::UnixDatagram;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use whatsapp_sim::{Sim, SimConfig};

/// The watchdog's period in these tests: long enough for a busy machine to answer in, a third of it, three times over.
const PERIOD: Duration = Duration::from_millis(1500);

/// The service manager's end.
struct Heard {
    socket: UnixDatagram,
}

impl Heard {
    fn at(path: &Path) -> Heard {
        Heard { socket: UnixDatagram::bind(path).unwrap() }
    }

    /// The next datagram.
    async fn next(&self) -> String {
        let mut buffer = [0; 2048];
        let length = timeout(PATIENCE, self.socket.recv(&mut buffer)).await.expect("silence").unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    /// The next datagram with this line in it.
    async fn next_with(&self, line: &str) -> String {
        let began = Instant::now();
        loop {
            let heard = self.next().await;
            if heard.lines().any(|l| l.starts_with(line)) {
                return heard;
            }
            assert!(began.elapsed() < PATIENCE, "{line} was not said; the last was {heard:?}");
        }
    }

    /// What comes within a time.
    async fn within(&self, time: Duration) -> Vec<String> {
        let until = Instant::now() + time;
        let mut all = Vec::new();
        let mut buffer = [0; 2048];
        while let Ok(length) = tokio::time::timeout_at(until, self.socket.recv(&mut buffer)).await {
            all.push(String::from_utf8_lossy(&buffer[..length.unwrap()]).into_owned());
        }
        all
    }
}

fn feeds(heard: &[String]) -> usize {
    heard.iter().filter(|h| h.starts_with("WATCHDOG=1")).count()
}

/// An office whose gateway is watched.
struct Watched {
    office: Office,
    heard: Heard,
    watching: tokio::task::JoinHandle<()>,
}

impl Watched {
    async fn start() -> Watched {
        let (office, _) = Office::paired().await;
        let path = office.folder.path().join("notify");
        let heard = Heard::at(&path);
        let manager = manager(&path);
        let watchdog: Watchdog = office.gateway.watchdog();
        let watching = tokio::spawn(async move { watchdog.run(&manager).await });
        heard.next_with("WATCHDOG=1").await;
        Watched { office, heard, watching }
    }

    /// From now on there is no food, and the status names the part.
    async fn assert_starved_by(&self, part: &str) {
        self.heard.next_with(&format!("STATUS={part}")).await;
        let heard = self.heard.within(PERIOD * 2).await;
        assert_eq!(feeds(&heard), 0, "{heard:?}");
    }

    async fn end(self) {
        self.watching.abort();
        let _ = self.watching.await;
        self.office.gateway.shutdown().await;
    }
}

fn manager(path: &Path) -> ServiceManager {
    let path = path.as_os_str().to_owned();
    ServiceManager::from_env(move |name| match name {
        "NOTIFY_SOCKET" => Some(path.clone()),
        "WATCHDOG_USEC" => Some(OsString::from(PERIOD.as_micros().to_string())),
        _ => None,
    })
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_says_ready_feeds_and_says_that_it_stops() {
    let sim = Sim::start(SimConfig::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let heard = Heard::at(&path);
    let socket = path.to_str().unwrap();
    let period = PERIOD.as_micros().to_string();
    let data = folder.path().join("data");
    let process =
        Process::serve(&data, &sim, &[("NOTIFY_SOCKET", socket), ("WATCHDOG_USEC", period.as_str())]).await;

    let first = heard.next().await;
    assert!(first.starts_with("READY=1\nSTATUS=0 of 1 sessions connected"), "{first:?}");
    // It said so when the port answered.
    let answer =
        request(process.address, "GET", "/api/sessions?list=1", &[("x-api-key", KEY)], "").await.unwrap();
    assert_eq!(answer.status, 200);
    for _ in 0..3 {
        let fed = heard.next_with("WATCHDOG=1").await;
        assert!(fed.contains("STATUS=0 of 1 sessions connected"), "{fed:?}");
    }
    let (_, _, well) = process.stop().await;
    assert!(well);
    heard.next_with("STOPPING=1").await;
    let after = heard.within(Duration::from_millis(100)).await;
    assert!(after.is_empty(), "after STOPPING=1: {after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_cannot_listen_is_never_ready() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let heard = Heard::at(&path);
    let output = run(kurir(&folder.path().join("data"), &["serve"])
        .env("KURIR_LISTEN", taken.local_addr().unwrap().to_string())
        .env("NOTIFY_SOCKET", &path))
    .await;
    assert!(!output.status.success());
    let said = heard.within(Duration::from_millis(100)).await;
    assert!(said.is_empty(), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_that_cannot_be_reached_is_an_error_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(kurir(&folder.path().join("data"), &["serve"])
        .env("KURIR_LISTEN", "127.0.0.1:0")
        .env("NOTIFY_SOCKET", "/nonexistent/notify"))
    .await;
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("NOTIFY_SOCKET") && said.contains("/nonexistent/notify"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_writer_ends_the_feeding_until_it_goes_on() {
    let watched = Watched::start().await;
    let (go_on, stalled) = mpsc::channel::<()>();
    let store = watched.office.gateway.store().clone();
    // The writer's one thread waits in here, as it would in a sync that never returns.
    let stall = tokio::spawn(async move {
        store
            .write(move |_| {
                let _ = stalled.recv_timeout(PATIENCE);
                Ok(())
            })
            .await
    });
    watched.assert_starved_by("the store's writer does not answer").await;
    go_on.send(()).unwrap();
    stall.await.unwrap().unwrap();
    watched.heard.next_with("WATCHDOG=1").await;
    watched.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_supervisor_ends_the_feeding_until_it_goes_on() {
    let watched = Watched::start().await;
    let session = watched.office.gateway.registry().list()[0].clone();
    let stall = session.stall().await;
    watched.assert_starved_by("the supervisor of session").await;
    drop(stall);
    watched.heard.next_with("WATCHDOG=1").await;
    watched.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_session_or_losing_the_network_does_not_end_the_feeding() {
    let watched = Watched::start().await;
    let session = watched.office.gateway.registry().list()[0].clone();
    let other = watched.office.gateway.registry().create("Gudang", "default").await.unwrap();
    watched.office.sim.shutdown();
    assert!(watched.office.gateway.registry().delete(other.id()).await.unwrap());
    let heard = watched.heard.within(PERIOD * 2).await;
    assert!(feeds(&heard) >= 2, "{heard:?}");
    crate::support::wait_for(&session, |s| s.status != kurir::session::Status::Connected).await;
    watched.heard.next_with("WATCHDOG=1").await;
    watched.end().await;
}

#[tokio::test]
async fn an_erasure_feeds_while_it_goes_on_and_starves_when_it_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let heard = Heard::at(&path);
    let manager = manager(&path);
    let progress = Progress::default();
    let (end, work) = oneshot::channel::<()>();
    let steps = progress.watch();
    let watching =
        tokio::spawn(
            async move { Watchdog::while_it_goes_on(&manager, "Erasing everything", steps, work).await },
        );
    heard.next_with("WATCHDOG=1").await;
    for _ in 0..3 {
        progress.step();
        let fed = heard.next_with("WATCHDOG=1").await;
        assert!(fed.contains("STATUS=Erasing everything"), "{fed:?}");
    }
    let hung = heard.within(PERIOD * 2).await;
    assert_eq!(feeds(&hung), 0, "{hung:?}");
    progress.step();
    heard.next_with("WATCHDOG=1").await;
    end.send(()).unwrap();
    watching.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_feeds_while_it_erases_and_is_ready_again() {
    let sim = Sim::start(SimConfig::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let heard = Heard::at(&path);
    let data = folder.path().join("data");
    // Nobody but the erasure feeds within such a period.
    let environment = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "600000000")];
    let process = Process::serve(&data, &sim, &environment).await;
    heard.next_with("READY=1").await;
    assert!(run(&mut kurir(&data, &["erase", "--yes"])).await.status.success());
    let fed = heard.next_with("STATUS=Erasing everything").await;
    assert!(fed.starts_with("WATCHDOG=1"), "{fed:?}");
    heard.next_with("READY=1").await;
    process.stop().await;
}
