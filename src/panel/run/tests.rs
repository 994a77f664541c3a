//! The panel's task with parts that fail, hang and come back, in paused time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use embedded_graphics::geometry::OriginDimensions;
use kurir_board::memory::{self, MemoryDisplay, MemoryLed};
use kurir_board::{Display, FLUSH_LIMIT};

use super::super::view::{Network, SessionState, SessionView, Stage};
use super::*;

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Works,
    Fails,
    /// Each call takes as long as it may and then fails, as one does whose bus is held.
    Hangs,
}

#[derive(Clone)]
struct Wires {
    mode: Arc<Mutex<Mode>>,
    calls: Arc<AtomicUsize>,
    refreshes: Arc<AtomicUsize>,
}

impl Wires {
    fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner) = mode;
    }

    async fn call(&self) -> Result<(), PartError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mode = *self.mode.lock().unwrap_or_else(PoisonError::into_inner);
        let (part, place) = ("display".into(), "a loose wire".into());
        match mode {
            Mode::Works => Ok(()),
            Mode::Fails => Err(PartError::Failed { part, place, problem: "it fails".into() }),
            Mode::Hangs => {
                tokio::time::sleep(FLUSH_LIMIT).await;
                Err(PartError::TimedOut { part, place, after: FLUSH_LIMIT })
            }
        }
    }
}

struct Loose {
    inner: MemoryDisplay,
    wires: Wires,
}

#[async_trait]
impl Display for Loose {
    fn panel(&self) -> kurir_board::Panel {
        self.inner.panel()
    }
    async fn flush(&mut self, frame: &Frame) -> Result<(), PartError> {
        self.wires.call().await?;
        self.inner.flush(frame).await
    }
    async fn set_brightness(&mut self, level: u8) -> Result<(), PartError> {
        self.wires.call().await?;
        self.inner.set_brightness(level).await
    }
    async fn set_inverted(&mut self, inverted: bool) -> Result<(), PartError> {
        self.wires.call().await?;
        self.inner.set_inverted(inverted).await
    }
    async fn set_on(&mut self, on: bool) -> Result<(), PartError> {
        self.wires.call().await?;
        self.inner.set_on(on).await
    }
    async fn refresh(&mut self) -> Result<(), PartError> {
        self.wires.refreshes.fetch_add(1, Ordering::Relaxed);
        self.wires.call().await
    }
}

struct Bench {
    wires: Wires,
    glass: watch::Receiver<memory::Shown>,
    fingers: memory::Fingers,
    lamp: watch::Receiver<u8>,
    view: watch::Sender<View>,
    shown: watch::Receiver<Shown>,
    actions: mpsc::Receiver<Action>,
    task: tokio::task::JoinHandle<()>,
}

fn online() -> View {
    let session = SessionView {
        id: "one".into(),
        name: "Kasir".into(),
        number: Some("6281100000001".into()),
        state: SessionState::Online,
        queue: 0,
        last_message: None,
    };
    View {
        stage: Stage::Running,
        network: Network::Up(vec!["192.168.1.20".parse().unwrap()]),
        sessions: vec![session],
        clock_set: true,
        ..View::default()
    }
}

fn bench(mode: Mode) -> Bench {
    let wires = Wires { mode: Arc::new(Mutex::new(mode)), calls: Arc::default(), refreshes: Arc::default() };
    let inner = MemoryDisplay::oled(Size::new(128, 64));
    let glass = inner.watch();
    let (fingers, buttons) = memory::buttons(&[]);
    let led = MemoryLed::new(Dimming::OnOff);
    let lamp = led.watch();
    let board = Board {
        name: "bench".into(),
        display: Some(Box::new(Loose { inner, wires: wires.clone() })),
        buttons: Some(Box::new(buttons)),
        led: Some(Box::new(led)),
        missing: Vec::new(),
    };
    let parts = Parts::of(board, Vec::new());
    let (view, views) = watch::channel(online());
    let (show, shown) = watch::channel(nothing(&parts));
    let (orders, actions) = mpsc::channel(4);
    let task = tokio::spawn(run(parts, views, show, orders));
    Bench { wires, glass, fingers, lamp, view, shown, actions, task }
}

async fn until<T>(watch: &mut watch::Receiver<T>, what: &str, fits: impl FnMut(&T) -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(300), watch.wait_for(fits)).await;
    assert!(matches!(waited, Ok(Ok(_))), "{what}");
}

#[tokio::test(start_paused = true)]
async fn a_display_that_fails_is_tried_again_and_the_other_parts_go_on() {
    let mut bench = bench(Mode::Fails);
    until(&mut bench.shown, "the failure is in the status", |shown| shown.display == Health::Fails).await;
    until(&mut bench.lamp, "the LED says that all is well", |level| *level == 255).await;
    assert_eq!(bench.shown.borrow().pattern, Pattern::Online);
    assert_eq!(bench.shown.borrow().screen, "online", "what would be shown is known");

    bench.fingers.press(Button::Reconnect);
    tokio::time::sleep(Duration::from_secs(3)).await;
    bench.fingers.release(Button::Reconnect);
    assert_eq!(bench.actions.recv().await, Some(Action::Redial("one".into())));

    bench.wires.set(Mode::Works);
    until(&mut bench.shown, "the display is back by itself", |shown| shown.display == Health::Works).await;
    until(&mut bench.glass, "it is lit", |glass| glass.on).await;
    until(&mut bench.shown, "the hold is over", |shown| shown.screen == "online").await;
    let frame = bench.shown.borrow().frame.clone();
    assert_ne!(*frame, Frame::new(frame.size()));
    until(&mut bench.glass, "it shows the latest picture", |glass| glass.frame == *frame).await;
}

#[tokio::test(start_paused = true)]
async fn a_display_that_hangs_delays_neither_a_button_nor_the_led() {
    let mut bench = bench(Mode::Hangs);
    until(&mut bench.shown, "it is drawn", |shown| shown.screen == "online").await;
    let began = Instant::now();
    // The edges carry their own times, so a hold needs no waiting.
    let edge = |motion, at| kurir_board::Edge { button: Button::Reset, motion, at };
    bench.fingers.deliver(edge(Motion::Pressed, began - Duration::from_secs(6)));
    bench.fingers.deliver(edge(Motion::Released, began));
    assert_eq!(bench.actions.recv().await, Some(Action::Unlink(vec!["one".into()])));
    assert!(began.elapsed() < Duration::from_millis(200), "{:?}", began.elapsed());
    assert_eq!(*bench.lamp.borrow(), 255);
    until(&mut bench.shown, "it is known to hang", |shown| shown.display == Health::Fails).await;
    bench.wires.set(Mode::Works);
    until(&mut bench.shown, "it came back", |shown| shown.display == Health::Works).await;
}

#[tokio::test(start_paused = true)]
async fn a_press_tries_a_failed_display_at_once() {
    let mut bench = bench(Mode::Fails);
    until(&mut bench.shown, "it failed", |shown| shown.display == Health::Fails).await;
    // Late enough for the longest pause between two tries, and for the screen to be dark.
    tokio::time::sleep(Duration::from_secs(301)).await;
    bench.wires.set(Mode::Works);
    let pressed = Instant::now();
    bench.fingers.press(Button::Reconnect);
    until(&mut bench.glass, "it is lit", |glass| glass.on && glass.frame != Frame::new(glass.frame.size()))
        .await;
    assert!(pressed.elapsed() < Duration::from_millis(100), "{:?}", pressed.elapsed());
    assert!(bench.wires.refreshes.load(Ordering::Relaxed) > 0, "set up anew");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_done_while_nothing_changes() {
    let mut bench = bench(Mode::Works);
    until(&mut bench.glass, "it is lit", |glass| glass.on).await;
    until(&mut bench.glass, "it is dark after a while", |glass| !glass.on).await;
    let calls = bench.wires.calls.load(Ordering::Relaxed);
    let mut shown = bench.shown.clone();
    shown.borrow_and_update();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(bench.wires.calls.load(Ordering::Relaxed), calls);
    assert!(!shown.has_changed().unwrap());
    let dark = shown.borrow().frame.clone();
    assert_eq!(*dark, Frame::new(dark.size()), "a screen that is off shows nothing");
}

#[tokio::test(start_paused = true)]
async fn the_end_turns_everything_off_unless_everything_is_being_erased() {
    let mut ends = bench(Mode::Works);
    until(&mut ends.glass, "it is lit", |glass| glass.on).await;
    drop(ends.view);
    ends.task.await.unwrap();
    assert!(!ends.glass.borrow().on);
    assert_eq!(*ends.lamp.borrow(), 0);

    let mut erases = bench(Mode::Works);
    erases.view.send_modify(|view| view.stage = Stage::Erasing);
    until(&mut erases.shown, "it says so", |shown| shown.screen == "erasing").await;
    assert_eq!(erases.shown.borrow().pattern.name(), "erasing");
    let frame = erases.shown.borrow().frame.clone();
    until(&mut erases.glass, "it is drawn", |glass| glass.on && glass.frame == *frame).await;
    drop(erases.view);
    erases.task.await.unwrap();
    assert!(erases.glass.borrow().on, "the person is told until the new process has the panel");
}

#[tokio::test(start_paused = true)]
async fn without_a_display_the_last_picture_stays() {
    let parts = Parts::of(empty(), Vec::new());
    let (view, views) = watch::channel(online());
    let (show, mut shown) = watch::channel(nothing(&parts));
    let (orders, _actions) = mpsc::channel(4);
    let task = tokio::spawn(run(parts, views, show, orders));
    until(&mut shown, "it is drawn", |shown| shown.screen == "online").await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(shown.borrow().screen, "online");
    assert_eq!(shown.borrow().frame.size(), DEFAULT_SIZE);
    assert_eq!(shown.borrow().display, Health::None);
    drop(view);
    task.await.unwrap();
}

/// Buttons whose line fails while one is held, and that are opened anew.
#[test]
fn a_hold_whose_release_was_not_seen_erases_nothing() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let edge = |motion, at| Input::Edge(kurir_board::Edge { button: Button::Reset, motion, at });
    let mut panel = Panel::new(online(), &[], start);
    let mut step = |input, now| panel.step(input, now).action;
    assert_eq!(step(edge(Motion::Pressed, at(0)), at(0)), None);
    assert_eq!(step(Input::Buttons(Button::ALL.to_vec()), at(1)), None, "the line failed");
    assert_eq!(step(Input::Buttons(Vec::new()), at(11)), None, "it is back, with nothing held");
    assert_eq!(step(edge(Motion::Pressed, at(12)), at(12)), None);
    assert_eq!(step(edge(Motion::Released, at(13)), at(13)), None);
    assert_eq!(step(Input::Tick, at(14)), None);
    assert_eq!(step(edge(Motion::Pressed, at(20)), at(20)), None);
    assert_eq!(step(edge(Motion::Released, at(33)), at(33)), None);
    assert_eq!(step(Input::Tick, at(34)), Some(Action::Erase), "and works as before");
}

#[tokio::test]
async fn a_board_that_does_not_exist_is_said_and_the_gateway_has_no_panel() {
    for board in ["rasberry-pi", "/nonexistent/board.toml"] {
        let parts = Parts::open(&Config { board: board.into(), ..Config::default() });
        assert_eq!(parts.profile.kind, Kind::None, "{board}");
        assert!(!parts.has_display() && parts.size() == DEFAULT_SIZE);
    }
}
