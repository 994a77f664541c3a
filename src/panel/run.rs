//! Connects the panel to its parts: draws, lights, listens to the buttons, and passes on what they ask for.
//!
//! One task runs the panel, the buttons and the LED, none of which can block. The display has a task of its own, which
//! always shows the latest frame. So a part that hangs, fails or comes back is one log line and a retry, and neither
//! the other parts nor the gateway wait for it. Nothing happens here while nothing changes.

mod display;
mod orders;
mod part;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use embedded_graphics::prelude::Size;
use kurir_board::profile::{self, Controller, Kind, Profile};
use kurir_board::{Board, Button, Buttons, Depth, Dimming, Frame, Led, Motion, PartError};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use self::display::Wanted;
pub use self::orders::{FirstSession, carry_out};
pub use self::part::Health;
use self::part::Trouble;
use super::draw;
use super::light::{Pattern, Signal};
use super::machine::{Action, Input, Output, Panel};
use super::screen::{Body, Screen};
use super::view::View;
use crate::config::Config;

/// What is drawn where there is no display, for the web page.
const DEFAULT_SIZE: Size = Size::new(128, 64);
/// A display that a person looks at is set up anew when a button is pressed, but not more often than this.
const REFRESH_EVERY: std::time::Duration = std::time::Duration::from_secs(60);

/// The hardware of a panel, opened as far as it is there.
pub struct Parts {
    /// The board, for opening what was missing.
    pub profile: Profile,
    /// Its parts.
    pub board: Board,
    /// The addresses that the screen shows instead of the box's own: tests do not depend on where they run.
    pub addresses: Option<Vec<IpAddr>>,
}

/// What a person sees now, for the API.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The picture; black while the screen is off. Where there is no display, the last one stays.
    pub frame: Arc<Frame>,
    /// What it is of: [`Body::name`].
    pub screen: &'static str,
    /// What the LED says, or would say.
    pub pattern: Pattern,
    /// The display.
    pub display: Health,
    /// The buttons.
    pub buttons: Health,
    /// The LED.
    pub led: Health,
}

impl Parts {
    /// Opens the board that the settings ask for, and says what is missing, one log line each. Never fails: without a
    /// panel the gateway is the same. Must be called inside of a tokio runtime.
    pub fn open(config: &Config) -> Parts {
        let (profile, board) = match choose(config) {
            Ok(profile) => {
                let board = Board::open(&profile);
                for missing in &board.missing {
                    log::warn!("panel: {missing}; Kurir runs on without it");
                }
                (profile, board)
            }
            Err(problem) => {
                log::error!("panel: {problem}; Kurir runs without a panel");
                (none(), empty())
            }
        };
        Parts { profile, board, addresses: None }
    }

    /// These parts, which cannot be opened again: a test's.
    pub fn of(board: Board, addresses: Vec<IpAddr>) -> Parts {
        Parts { profile: none(), board, addresses: Some(addresses) }
    }

    /// Whether the panel has taken the terminal.
    pub fn takes_terminal(&self) -> bool {
        self.profile.kind == Kind::Sim
    }

    fn has_display(&self) -> bool {
        self.board.display.is_some() || self.profile.display.is_some()
    }

    /// The size that is drawn, also before a display that is missing comes.
    fn size(&self) -> Size {
        if let Some(display) = &self.board.display {
            return display.panel().size;
        }
        match &self.profile.display {
            Some(display) if display.rotation % 180 == 90 => Size::new(display.size.1, display.size.0),
            Some(display) => Size::new(display.size.0, display.size.1),
            None => DEFAULT_SIZE,
        }
    }

    /// The colours that are drawn.
    fn depth(&self) -> Depth {
        if let Some(display) = &self.board.display {
            return display.panel().depth;
        }
        match self.profile.display.as_ref().map(|display| display.controller) {
            Some(Controller::St7789 | Controller::Sim) => Depth::Rgb565,
            _ => Depth::Mono,
        }
    }
}

fn choose(config: &Config) -> Result<Profile, String> {
    let chosen = profile::choose(&config.board, Path::new(profile::MODEL_FILE)).map_err(|e| e.to_string())?;
    if chosen.profile.kind == Kind::Sim && std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        return Err("the board `sim` takes the terminal, and the log would be written over it; start it as \
                    `kurir serve 2>kurir.log`"
            .into());
    }
    if config.board != "none" {
        log::info!("panel: {}: {}", chosen.profile.name, chosen.why);
    }
    Ok(chosen.profile)
}

fn none() -> Profile {
    Profile::named("none").expect("the program's own profiles are read by a test")
}

fn empty() -> Board {
    Board { name: "none".into(), display: None, buttons: None, led: None, missing: Vec::new() }
}

/// What the panel has shown before it runs.
pub fn nothing(parts: &Parts) -> Shown {
    let health = |opened: bool, wanted: bool| match (opened, wanted) {
        (true, _) => Health::Works,
        (false, true) => Health::Fails,
        (false, false) => Health::None,
    };
    let Parts { profile, board, .. } = parts;
    Shown {
        frame: Arc::new(Frame::new(parts.size())),
        screen: Body::Blank.name(),
        pattern: Pattern::Starting,
        display: health(board.display.is_some(), profile.display.is_some()),
        buttons: health(board.buttons.is_some(), profile.buttons.iter().next().is_some()),
        led: health(board.led.is_some(), profile.led.is_some()),
    }
}

/// Runs the panel until `view` is dropped by whoever fills it. Then the display and the LED are turned off, unless
/// everything is being erased: the person is told until the new process has the panel.
///
/// Actions that nobody takes at once are dropped; a person sees that nothing happens and presses again.
pub async fn run(
    parts: Parts,
    mut view: watch::Receiver<View>,
    shown: watch::Sender<Shown>,
    actions: mpsc::Sender<Action>,
) {
    let (size, depth, has_display) = (parts.size(), parts.depth(), parts.has_display());
    let Parts { profile, board, .. } = parts;
    let first = Wanted { frame: Arc::new(Frame::new(size)), brightness: 0, on: false, refresh: 0 };
    let (wanted, wants) = watch::channel(first);
    let (display_health, mut display_changes) = watch::channel(shown.borrow().display);
    let display = tokio::spawn(display::run(board.display, profile.clone(), wants, display_health));
    let mut fingers = Fingers::new(board.buttons, &profile);
    let mut lamp = Lamp::new(board.led, &profile);
    let mut drawn: Option<Screen> = None;
    let mut refreshed = Instant::now();

    let mut panel = Panel::new(view.borrow_and_update().clone(), &fingers.held(), Instant::now());
    let mut input = Input::Tick;
    loop {
        let pressed = matches!(&input, Input::Edge(edge) if edge.motion == Motion::Pressed);
        let now = Instant::now();
        let Output { screen, backlight, signal, action, wake_at, woken } = panel.step(input, now);
        if let Some(action) = action
            && let Err(e) = actions.try_send(action)
        {
            log::warn!(
                "panel: a button's order was dropped, because the one before is still being carried out: {e}"
            );
        }
        // Whoever presses a button before a display that shows nothing wants it back now.
        let fails = *display_changes.borrow() == Health::Fails;
        let stale = fails || now.saturating_duration_since(refreshed) >= REFRESH_EVERY;
        let refresh = woken || (pressed && stale);
        if refresh {
            refreshed = now;
        }
        if drawn.as_ref() != Some(&screen) || refresh {
            let frame = match &drawn {
                Some(same) if *same == screen => Arc::clone(&wanted.borrow().frame),
                _ => {
                    let mut frame = Frame::new(size);
                    draw(&screen, &mut frame);
                    Arc::new(frame)
                }
            };
            wanted.send_modify(|wanted| {
                *wanted = Wanted {
                    frame: Arc::clone(&frame),
                    brightness: backlight.level(),
                    on: backlight.is_on(),
                    refresh: wanted.refresh + u64::from(refresh),
                };
            });
            shown.send_modify(|shown| {
                // Where there is no display, nobody needs it dark.
                if has_display || backlight.is_on() {
                    shown.frame = Arc::new(frame.shown(depth));
                    shown.screen = screen.body.name();
                }
            });
            drawn = Some(screen);
        }
        shown.send_if_modified(|shown| {
            std::mem::replace(&mut shown.pattern, signal.pattern) != signal.pattern
        });
        lamp.light(signal);
        input = loop {
            let health = (fingers.health, lamp.health, *display_changes.borrow_and_update());
            shown.send_if_modified(|shown| {
                let changed = (shown.buttons, shown.led, shown.display) != health;
                (shown.buttons, shown.led, shown.display) = health;
                changed
            });
            let wake = async {
                match wake_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Fingers first: time must not pass over a release that waits to be read.
                biased;
                input = fingers.next(&profile) => break input,
                changed = view.changed() => match changed {
                    Ok(()) => break Input::View(Box::new(view.borrow_and_update().clone())),
                    Err(_) => {
                        let erasing = view.borrow().stage == super::Stage::Erasing;
                        if !erasing {
                            lamp.off();
                            drop(wanted);
                            // Its end is bounded by the driver's own limit.
                            // At a shutdown the runtime may have taken it first.
                            if let Err(e) = display.await
                                && !e.is_cancelled()
                            {
                                log::error!("panel: the display's task ended badly: {e}");
                            }
                        } else {
                            display.abort();
                        }
                        return;
                    }
                },
                () = wake => break Input::Tick,
                () = lamp.changes(&profile) => lamp.light(signal),
                Ok(()) = display_changes.changed() => {}
            }
        };
    }
}

/// The buttons, as long as they can be read.
struct Fingers {
    buttons: Option<Box<dyn Buttons>>,
    trouble: Trouble,
    health: Health,
}

impl Fingers {
    fn new(buttons: Option<Box<dyn Buttons>>, profile: &Profile) -> Fingers {
        let wanted = profile.buttons.iter().next().is_some();
        let (trouble, health) = match (&buttons, wanted) {
            (Some(_), _) => (Trouble::default(), Health::Works),
            (None, true) => (Trouble::missing(Instant::now()), Health::Fails),
            (None, false) => (Trouble::default(), Health::None),
        };
        Fingers { buttons, trouble, health }
    }

    fn held(&self) -> Vec<Button> {
        self.buttons.as_ref().map(|buttons| buttons.held_at_start().to_vec()).unwrap_or_default()
    }

    /// The next edge, or that the buttons are gone or back. Cancel safe.
    async fn next(&mut self, profile: &Profile) -> Input {
        let Some(buttons) = &mut self.buttons else {
            loop {
                self.trouble.retry().await;
                match kurir_board::open_buttons(profile) {
                    Ok(Some(buttons)) => {
                        self.buttons = Some(buttons);
                        self.trouble.works("buttons");
                        self.health = Health::Works;
                        return Input::Buttons(self.held());
                    }
                    Ok(None) => self.trouble = Trouble::default(),
                    Err(e) => self.trouble.failed(&e, Instant::now()),
                }
            }
        };
        match buttons.next().await {
            Ok(edge) => Input::Edge(edge),
            Err(e) => {
                self.buttons = None;
                self.health = Health::Fails;
                if matches!(e, PartError::Closed { .. }) {
                    // Whoever pressed them is gone: a closed terminal, a test that is over.
                    log::debug!("panel: {e}");
                } else {
                    self.trouble.failed(&e, Instant::now());
                }
                Input::Buttons(Button::ALL.to_vec())
            }
        }
    }
}

/// The LED, as long as it can be set.
struct Lamp {
    led: Option<Box<dyn Led>>,
    trouble: Trouble,
    health: Health,
    lit: Option<u8>,
    next: Option<Instant>,
}

impl Lamp {
    fn new(led: Option<Box<dyn Led>>, profile: &Profile) -> Lamp {
        let (trouble, health) = match (&led, &profile.led) {
            (Some(_), _) => (Trouble::default(), Health::Works),
            (None, Some(_)) => (Trouble::missing(Instant::now()), Health::Fails),
            (None, None) => (Trouble::default(), Health::None),
        };
        Lamp { led, trouble, health, lit: None, next: None }
    }

    /// Sets the level of this moment, and remembers when the next one is due.
    fn light(&mut self, signal: Signal) {
        self.next = None;
        let Some(led) = &mut self.led else { return };
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(signal.since);
        let dimming: Dimming = led.dimming();
        let level = signal.pattern.level(dimming, elapsed);
        if self.lit != Some(level) {
            if let Err(e) = led.set(level) {
                self.trouble.failed(&e, now);
                self.health = Health::Fails;
                self.led = None;
                return;
            }
            self.lit = Some(level);
        }
        self.next = signal.pattern.changes_in(dimming, elapsed).map(|wait| now + wait);
    }

    /// Resolves when [`Lamp::light`] should be called. Cancel safe.
    async fn changes(&mut self, profile: &Profile) {
        if self.led.is_some() {
            match self.next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
            return;
        }
        self.trouble.retry().await;
        match kurir_board::open_led(profile) {
            Ok(Some(led)) => {
                self.led = Some(led);
                self.lit = None;
                self.trouble.works("LED");
                self.health = Health::Works;
            }
            Ok(None) => self.trouble = Trouble::default(),
            Err(e) => self.trouble.failed(&e, Instant::now()),
        }
    }

    fn off(&mut self) {
        if let Some(led) = &mut self.led
            && let Err(e) = led.set(0)
        {
            log::debug!("panel: {e}");
        }
    }
}

#[cfg(test)]
mod tests;
