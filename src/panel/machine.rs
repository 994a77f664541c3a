//! The panel's state machine: what is on the screen, what the LED says and what a button does, at each moment.

use std::time::Duration;

use kurir_board::{Button, Edge, Motion};
use tokio::time::Instant;

use super::{
    light::{Pattern, Signal},
    pages::{self, PageKey},
    press::{Gesture, Presses, Step, step_after, thresholds},
    screen::{Backlight, Body, PageNumber, Pending, Release, Screen, Target},
    view::{SessionId, SessionState, Stage, View},
};

/// The screen goes dark after this long without a press or a change.
pub const BLANK_AFTER: Duration = Duration::from_secs(60);
/// The same while a code waits for a person, or while Kurir starts, updates or erases. A set of QR codes lasts less:
/// it runs out after 8 minutes.
pub const BLANK_AFTER_CODE: Duration = Duration::from_secs(600);
/// How long a page stays after a person turned to it.
const TURNED_DWELL: Duration = Duration::from_secs(20);
/// Reconnect is down for this long before the screen shows what a hold does: a tap that turns the page does not flash.
const HOLD_SHOWN_AFTER: Duration = Duration::from_millis(400);
/// How often the bar of a hold grows. Divides every threshold.
const HOLD_STEP: Duration = Duration::from_millis(250);
/// How long the screen says what a button has begun.
const DONE_DWELL: Duration = Duration::from_secs(3);
/// How long the LED flickers after a message.
const TRAFFIC_DWELL: Duration = Duration::from_millis(480);
/// The places that the picture takes in turn, against burn-in.
const SHIFTS: [(u8, u8); 4] = [(0, 0), (1, 0), (1, 1), (0, 1)];

/// What happens to the panel.
#[derive(Debug, Clone)]
pub enum Input {
    /// What may be shown has changed.
    View(Box<View>),
    /// A button moved. Edges of one button must come in order, and about equally late: one that comes 50 ms later than the
    /// one before it may find that one decided.
    Edge(Edge),
    /// The buttons were opened anew, with these down, or are gone for now (all of them). What was held before means
    /// nothing: its release was not seen.
    Buttons(Vec<Button>),
    /// Time has passed: [`Output::wake_at`] has come. More often does no harm.
    Tick,
}

/// What a button asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Connect this session anew, now.
    Redial(SessionId),
    /// Ask WhatsApp for new QR codes for this session.
    FreshQr(SessionId),
    /// There is no session: begin one.
    NewSession,
    /// Unlink these sessions from WhatsApp and pair them again.
    Unlink(Vec<SessionId>),
    /// Erase everything and start as new.
    Erase,
}

/// What to show and to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// What to draw. Draw it when it differs from the screen before.
    pub screen: Screen,
    /// How bright.
    pub backlight: Backlight,
    /// What the LED says.
    pub signal: Signal,
    /// What to do, once.
    pub action: Option<Action>,
    /// When to call [`Panel::step`] again if nothing happens; always after the time of this step. `None`: never.
    pub wake_at: Option<Instant>,
    /// Whether a person has just woken the screen: a good moment for [`kurir_board::Display::refresh`].
    pub woken: bool,
}

/// The panel.
#[derive(Debug, Clone)]
pub struct Panel {
    view: View,
    presses: Presses,
    page: PageKey,
    /// When the page turns by itself.
    turn_at: Instant,
    /// The last press or change that is worth a look.
    active: Instant,
    awake: bool,
    /// The press that is down woke the screen, so it does not turn the page.
    press_woke: bool,
    shift: usize,
    done: Option<Done>,
    flicker_until: Option<Instant>,
    signal: Signal,
}

#[derive(Debug, Clone)]
struct Done {
    action: Release,
    target: Target,
    until: Instant,
}

/// What a held button does, at one moment.
struct Plan {
    release: Release,
    target: Target,
    action: Option<Action>,
}

impl Panel {
    /// The panel at power-on, when the buttons `held` are down.
    pub fn new(view: View, held: &[Button], now: Instant) -> Self {
        let page = pages::home(&view);
        let signal = Signal { pattern: Pattern::Starting, since: now };
        Self {
            turn_at: now + pages::dwell(&view, &page),
            view,
            presses: Presses::new(held),
            page,
            active: now,
            awake: true,
            press_woke: false,
            shift: 0,
            done: None,
            flicker_until: None,
            signal,
        }
    }

    /// The view that is shown.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Takes what happened at `now`, which never goes backwards, and says what to show and to do.
    pub fn step(&mut self, input: Input, now: Instant) -> Output {
        let mut action = None;
        let mut woken = false;
        let waited = self.page_waits();
        match input {
            Input::View(view) => self.look(*view, now),
            Input::Edge(edge) => {
                let before = self.presses.holding();
                let gesture = self.presses.edge(edge, now);
                action = gesture.and_then(|g| self.mean(g, now));
                // A contact that bounces does not keep the screen on.
                if self.presses.holding().or(before).is_some_and(|h| h.clean) {
                    if edge.motion == Motion::Pressed {
                        self.press_woke = !self.awake;
                        woken = self.press_woke;
                    }
                    self.wake(now);
                }
            }
            Input::Buttons(held) => self.presses = Presses::new(&held),
            Input::Tick => {}
        }
        if let Some(gesture) = self.presses.pass(now) {
            action = self.mean(gesture, now).or(action);
        }
        if !self.listens() {
            self.presses.void();
        }
        self.done = self.done.take().filter(|d| now < d.until);
        self.flicker_until = self.flicker_until.filter(|&until| now < until);
        if now >= self.blank_at() && self.presses.deadline().is_none() {
            self.awake = false;
        }
        if waited && !self.page_waits() {
            self.turn_at = self.turn_at.max(now + pages::dwell(&self.view, &self.page));
        }
        self.turn_in_time(now);
        self.output(action, woken, now)
    }

    /// Whether a button can do anything now.
    fn listens(&self) -> bool {
        self.view.stage == Stage::Running && self.view.update.is_none()
    }

    fn wake(&mut self, now: Instant) {
        self.active = now;
        if !self.awake {
            self.awake = true;
            self.shift += 1;
            self.turn_at = now + pages::dwell(&self.view, &self.page);
        }
    }

    fn blank_at(&self) -> Instant {
        let waits = !self.listens() || pages::pages(&self.view).iter().any(|p| pages::is_code(&self.view, p));
        self.active + if waits { BLANK_AFTER_CODE } else { BLANK_AFTER }
    }

    /// Takes a new view: wakes the screen and shows the page of what changed, if it is worth a look.
    fn look(&mut self, view: View, now: Instant) {
        let before = std::mem::replace(&mut self.view, view);
        if self.view.traffic != before.traffic {
            self.flicker_until = Some(now + TRAFFIC_DWELL);
        }
        let news = pages::news(&before, &self.view);
        let pages = pages::pages(&self.view);
        let stays = pages.contains(&self.page);
        let on_code = stays && pages::is_code(&self.view, &self.page);
        if news.is_some() {
            self.wake(now);
        }
        if self.presses.deadline().is_some() && stays {
            // A button that is down is about this page.
            return;
        }
        if let Some(Some(page)) = news
            && pages.contains(&page)
            && (!on_code || pages::is_code(&self.view, &page))
        {
            self.go(page, now);
        } else if !stays {
            self.presses.void();
            self.go(pages::home(&self.view), now);
        }
        // A code that has just come does not wait for its turn.
        let code_before = pages::pages(&before).iter().any(|p| pages::is_code(&before, p));
        if !code_before && !pages::is_code(&self.view, &self.page) {
            let home = pages::home(&self.view);
            if pages::is_code(&self.view, &home) {
                self.go(home, now);
            }
        }
    }

    fn go(&mut self, page: PageKey, now: Instant) {
        if self.page != page {
            self.page = page;
            self.shift += 1;
        }
        self.turn_at = now + pages::dwell(&self.view, &self.page);
    }

    /// Turns the page if its time is over.
    fn turn_in_time(&mut self, now: Instant) {
        if !self.awake || self.page_waits() || now < self.turn_at {
            return;
        }
        let round = pages::rotation(&self.view);
        if let Some(next) = pages::after(&round, &self.page) {
            self.go(next, now);
        }
    }

    /// Whether the pages turn by themselves now.
    fn turns(&self) -> bool {
        let round = pages::rotation(&self.view);
        pages::after(&round, &self.page).is_some_and(|next| next != self.page)
    }

    /// While the screen shows something else, or a button is down that is about this page, it does not turn.
    fn page_waits(&self) -> bool {
        !self.listens() || self.done.is_some() || self.presses.deadline().is_some()
    }

    /// Carries out what a button meant.
    fn mean(&mut self, gesture: Gesture, now: Instant) -> Option<Action> {
        if !self.listens() {
            return None;
        }
        self.wake(now);
        match gesture {
            Gesture::Tap(Button::Reconnect) => {
                let all = pages::pages(&self.view);
                if !self.press_woke
                    && self.done.take().is_none()
                    && let Some(next) = pages::after(&all, &self.page)
                {
                    self.go(next, now);
                    self.turn_at = now + TURNED_DWELL;
                }
                None
            }
            Gesture::Tap(Button::Reset) => None,
            Gesture::Held(button, step) => {
                let Plan { release, target, action } = self.plan(button, step);
                if action.is_some() {
                    self.done = Some(Done { action: release, target, until: now + DONE_DWELL });
                }
                action
            }
        }
    }

    /// What releasing `button` at `step` does now.
    fn plan(&self, button: Button, step: Step) -> Plan {
        let sessions = &self.view.sessions;
        let on_page = pages::session(&self.view, &self.page);
        let (release, target, action) = match (button, step) {
            (Button::Reconnect, _) => {
                let rank = |s: &SessionState| match s {
                    SessionState::Exhausted | SessionState::LoggedOut => 0,
                    SessionState::Online | SessionState::Banned { .. } => 2,
                    _ => 1,
                };
                let session = on_page.or_else(|| sessions.iter().min_by_key(|s| rank(&s.state)));
                let target = session.map_or(Target::All(0), |s| Target::Session(pages::label(s)));
                let (release, action) = match session {
                    None => (Release::NewSession, Some(Action::NewSession)),
                    Some(s) => match s.state {
                        SessionState::Exhausted
                        | SessionState::LoggedOut
                        | SessionState::Qr { .. }
                        | SessionState::PairingCode { .. } => {
                            (Release::FreshQr, Some(Action::FreshQr(s.id.clone())))
                        }
                        // WhatsApp's clock runs; dialling would only make it worse.
                        SessionState::Banned { .. } => (Release::Nothing, None),
                        _ => (Release::Redial, Some(Action::Redial(s.id.clone()))),
                    },
                };
                (release, target, action)
            }
            (Button::Reset, Step::Second) => {
                (Release::Erase, Target::All(sessions.len()), Some(Action::Erase))
            }
            (Button::Reset, _) => match on_page.or(if sessions.len() == 1 { sessions.first() } else { None })
            {
                Some(s) => (
                    Release::Unlink,
                    Target::Session(pages::label(s)),
                    Some(Action::Unlink(vec![s.id.clone()])),
                ),
                None if sessions.is_empty() => (Release::Nothing, Target::All(0), None),
                None => {
                    let all = sessions.iter().map(|s| s.id.clone()).collect();
                    (Release::Unlink, Target::All(sessions.len()), Some(Action::Unlink(all)))
                }
            },
        };
        if step == Step::Early {
            return Plan { release: Release::Nothing, target, action: None };
        }
        Plan { release, target, action }
    }

    /// What the screen says of the button that is down.
    fn hold_shown(&self, now: Instant) -> Option<Body> {
        let hold = self.presses.holding()?;
        let held = now.saturating_duration_since(hold.since);
        if hold.button == Button::Reconnect && held < HOLD_SHOWN_AFTER {
            return None;
        }
        let Plan { release, mut target, .. } = self.plan(hold.button, step_after(hold.button, held));
        let (first, second) = thresholds(hold.button);
        let coming = [(first, Step::First), (second.unwrap_or(first), Step::Second)];
        let pending = coming.into_iter().filter(|(at, _)| *at > held).find_map(|(at, step)| {
            let plan = self.plan(hold.button, step);
            let seconds = (at - held).as_millis().div_ceil(1000) as u64;
            (plan.release != release).then(|| {
                if release == Release::Nothing {
                    target = plan.target;
                }
                Pending { then: plan.release, seconds }
            })
        });
        let steps = |d: Duration| d.as_millis() / HOLD_STEP.as_millis();
        let whole = steps(second.unwrap_or(first));
        let percent = (steps(held) * 100 / whole).min(100) as u8;
        Some(Body::Hold { release, pending, percent, target })
    }

    fn output(&mut self, action: Option<Action>, woken: bool, now: Instant) -> Output {
        let hold = self.hold_shown(now);
        let pattern = self.pattern(hold.as_ref());
        if pattern != self.signal.pattern {
            self.signal = Signal { pattern, since: now };
        }
        let (body, page) = self.body(hold, now);
        let backlight = match body {
            Body::Blank => Backlight::Off,
            Body::Qr { .. } => Backlight::Bright,
            _ => Backlight::Dim,
        };
        let screen = Screen {
            shift: if body == Body::Blank { SHIFTS[0] } else { SHIFTS[self.shift % SHIFTS.len()] },
            body,
            language: self.view.language,
            utc_offset: self.view.utc_offset,
            page,
        };
        let wake_at = self.wake_at(&screen.body, now);
        Output { screen, backlight, signal: self.signal, action, wake_at, woken }
    }

    fn body(&self, hold: Option<Body>, now: Instant) -> (Body, Option<PageNumber>) {
        let body = if !self.awake {
            Body::Blank
        } else if self.view.stage == Stage::Erasing {
            Body::Erasing
        } else if let Some(update) = self.view.update {
            Body::Updating { percent: update.percent.min(100) }
        } else if self.view.stage == Stage::Starting {
            Body::Starting
        } else if let Some(hold) = hold {
            hold
        } else if let Some(done) = &self.done {
            Body::Done { action: done.action, target: done.target.clone() }
        } else {
            let all = pages::pages(&self.view);
            let at = all.iter().position(|p| *p == self.page);
            let page = at.filter(|_| all.len() > 1).map(|at| PageNumber { page: at + 1, of: all.len() });
            return (pages::body(&self.view, &self.page, now), page);
        };
        (body, None)
    }

    fn pattern(&self, hold: Option<&Body>) -> Pattern {
        match hold {
            Some(Body::Hold { release, .. }) if self.listens() => match release {
                Release::Nothing => Pattern::Hold,
                Release::Erase => Pattern::HoldErase,
                _ => Pattern::HoldAct,
            },
            _ => match pages::pattern(&self.view) {
                Pattern::Online if self.flicker_until.is_some() => Pattern::Traffic,
                pattern => pattern,
            },
        }
    }

    /// The next moment at which something changes by itself.
    fn wake_at(&self, body: &Body, now: Instant) -> Option<Instant> {
        let mut due = vec![self.presses.deadline(), self.flicker_until];
        due.push(self.done.as_ref().map(|d| d.until));
        if let Some(hold) = self.presses.holding() {
            let (first, second) = thresholds(hold.button);
            let held = now.saturating_duration_since(hold.since);
            let next = HOLD_STEP * (held.as_millis() / HOLD_STEP.as_millis() + 1) as u32;
            due.push((next <= second.unwrap_or(first)).then(|| hold.since + next));
            due.push((held < HOLD_SHOWN_AFTER).then(|| hold.since + HOLD_SHOWN_AFTER));
        } else if self.awake && self.presses.deadline().is_none() {
            due.push(Some(self.blank_at()));
        }
        if self.awake && !self.page_waits() && self.turns() {
            due.push(Some(self.turn_at));
        }
        if let Body::Qr { seconds, .. } | Body::PairingCode { seconds, .. } = body {
            let expires = pages::session(&self.view, &self.page).and_then(|s| pages::expires(&s.state));
            due.push(expires.map(|at| at - Duration::from_secs(seconds - 1)));
        }
        due.into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests;
