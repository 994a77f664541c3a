use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;
use crate::panel::{Disk, Network, SessionView, Trouble, Update};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn session(id: &str, state: SessionState) -> SessionView {
    SessionView { id: id.into(), name: id.into(), number: None, state, queue: 0, last_message: None }
}

fn view(sessions: Vec<SessionView>) -> View {
    View {
        stage: Stage::Running,
        network: Network::Up(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]),
        web_url: Some("http://kurir.local/".into()),
        sessions,
        clock_set: true,
        ..View::default()
    }
}

fn qr(expires: Instant) -> SessionState {
    SessionState::Qr { text: "2@abc".into(), expires }
}

/// A panel, the time since its start, and the last that it said.
#[derive(Clone)]
struct Bench {
    panel: Panel,
    start: Instant,
    now: Instant,
    out: Output,
    actions: Vec<Action>,
    steps: usize,
}

impl Bench {
    fn new(view: View) -> Self {
        Self::held(view, &[])
    }

    fn held(view: View, held: &[Button]) -> Self {
        Self::at(view, held, Instant::now())
    }

    fn at(view: View, held: &[Button], start: Instant) -> Self {
        let mut panel = Panel::new(view, held, start);
        let out = panel.step(Input::Tick, start);
        Self { panel, start, now: start, out, actions: Vec::new(), steps: 0 }
    }

    fn step(&mut self, input: Input) {
        self.out = self.panel.step(input, self.now);
        self.actions.extend(self.out.action.clone());
        self.steps += 1;
        if let Some(at) = self.out.wake_at {
            assert!(at > self.now, "{:?} would be called again at once", self.out);
        }
    }

    /// Lets `time` pass, waking when the panel asked for it and only then.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.out.wake_at.filter(|at| *at <= until) {
            self.now = at;
            self.step(Input::Tick);
        }
        self.now = until;
    }

    fn edge(&mut self, button: Button, motion: Motion) {
        self.step(Input::Edge(Edge { button, motion, at: self.now }));
    }

    fn hold(&mut self, button: Button, time: Duration) {
        self.edge(button, Motion::Pressed);
        self.pass(time);
        self.edge(button, Motion::Released);
        self.pass(ms(60));
    }

    fn tap(&mut self) {
        self.hold(Button::Reconnect, ms(120));
    }

    fn look(&mut self, change: impl FnOnce(&mut View)) {
        let mut view = self.panel.view().clone();
        change(&mut view);
        self.step(Input::View(Box::new(view)));
    }

    fn shown(&self) -> &'static str {
        self.out.screen.body.name()
    }

    fn pattern(&self) -> &'static str {
        self.out.signal.pattern.name()
    }

    /// Whose page is shown.
    fn whose(&self) -> String {
        match &self.out.screen.body {
            Body::Online { label, .. } | Body::Qr { label, .. } | Body::Connecting { label } => {
                label.name.clone()
            }
            other => panic!("{}", other.name()),
        }
    }
}

fn online(count: usize) -> Bench {
    Bench::new(view((0..count).map(|i| session(&format!("s{i}"), SessionState::Online)).collect()))
}

#[test]
fn the_screen_goes_dark_after_a_minute_and_then_nothing_is_due() {
    let mut bench = online(1);
    assert_eq!((bench.shown(), bench.out.backlight), ("online", Backlight::Dim));
    bench.pass(ms(59_999));
    assert_eq!(bench.shown(), "online");
    bench.pass(ms(1));
    assert_eq!((bench.shown(), bench.out.backlight), ("blank", Backlight::Off));
    assert_eq!(bench.out.wake_at, None, "idle costs nothing");
    assert_eq!(bench.pattern(), "online");
    assert!(bench.steps <= 2, "{} steps in a minute", bench.steps);
}

#[test]
fn traffic_does_not_wake_the_screen_and_trouble_does() {
    let mut bench = online(1);
    bench.pass(s(100));
    bench.look(|v| {
        v.traffic += 1;
        v.sessions[0].queue = 7;
        v.sessions[0].last_message = Some(std::time::UNIX_EPOCH);
    });
    assert_eq!((bench.shown(), bench.pattern()), ("blank", "traffic"));
    bench.pass(s(1));
    assert_eq!((bench.pattern(), bench.out.wake_at), ("online", None));
    bench.look(|v| v.sessions[0].state = SessionState::LoggedOut);
    assert_eq!((bench.shown(), bench.pattern()), ("logged-out", "needs-attention"));
    bench.pass(s(61));
    assert_eq!((bench.shown(), bench.pattern()), ("blank", "needs-attention"));
}

#[test]
fn a_press_wakes_the_screen_and_only_the_next_one_turns_the_page() {
    let mut bench = online(2);
    bench.pass(s(70));
    bench.edge(Button::Reconnect, Motion::Pressed);
    assert!(bench.out.woken, "at once, not when it is released");
    let first = bench.out.screen.page.unwrap();
    bench.pass(ms(100));
    bench.edge(Button::Reconnect, Motion::Released);
    bench.pass(ms(60));
    assert_eq!(bench.out.screen.page, Some(first));
    let mut seen = Vec::new();
    for i in 1..=3 {
        bench.tap();
        assert!(!bench.out.woken);
        assert_eq!(bench.out.screen.page, Some(PageNumber { page: (first.page - 1 + i) % 3 + 1, of: 3 }));
        seen.push(bench.shown());
    }
    assert!(seen.contains(&"address"), "pages that do not come by themselves come by hand: {seen:?}");
    assert_eq!(bench.actions, []);
}

#[test]
fn several_sessions_take_turns() {
    let mut bench = online(3);
    let mut seen = vec![bench.whose()];
    for _ in 0..3 {
        bench.pass(s(6));
        seen.push(bench.whose());
    }
    assert_eq!(seen, ["s0", "s1", "s2", "s0"]);
    bench.tap();
    bench.pass(s(19));
    assert_eq!(bench.whose(), "s1", "a page that a person turned to stays longer");
}

#[test]
fn the_picture_moves_by_a_pixel_each_time() {
    let mut bench = online(3);
    let mut places = std::collections::HashSet::new();
    for _ in 0..4 {
        places.insert(bench.out.screen.shift);
        bench.pass(s(6));
    }
    assert_eq!(places.len(), 4);
    let mut bench = online(1);
    let before = bench.out.screen.shift;
    bench.pass(s(70));
    bench.edge(Button::Reset, Motion::Pressed);
    assert_ne!(bench.out.screen.shift, before, "also where there is one page only");
}

#[test]
fn a_code_comes_first_is_bright_counts_down_and_stays() {
    let mut bench = online(2);
    bench.pass(s(70));
    let expires = bench.now + s(60);
    bench.look(|v| v.sessions[1].state = qr(expires));
    assert_eq!((bench.shown(), bench.out.backlight), ("qr", Backlight::Bright));
    assert_eq!(bench.pattern(), "waiting-for-scan");
    for left in (1..=60).rev() {
        let Body::Qr { seconds, label, .. } = &bench.out.screen.body else { panic!("{}", bench.shown()) };
        assert_eq!((*seconds, label.name.as_str()), (left, "s1"));
        bench.pass(s(1));
    }
    assert_eq!(bench.shown(), "connecting", "a code that has run out is not shown");
    let expires = bench.now + s(20);
    bench.look(|v| v.sessions[1].state = qr(expires));
    assert_eq!(bench.shown(), "qr");
    bench.look(|v| v.sessions[0].state = SessionState::Connecting);
    assert_eq!(bench.shown(), "qr", "other news does not take the code away");
    bench.look(|v| v.sessions[1].state = SessionState::Online);
    assert_eq!((bench.shown(), bench.whose().as_str()), ("online", "s1"));
    assert_eq!(bench.out.backlight, Backlight::Dim);
}

#[test]
fn codes_keep_the_screen_on_for_ten_minutes_at_most() {
    let mut bench = Bench::new(view(vec![session("s", SessionState::Connecting)]));
    let begin = bench.now;
    let mut dark_after = None;
    // New codes without end, which WhatsApp would not give.
    while bench.now < begin + s(1200) {
        let expires = bench.now + s(20);
        bench.look(|v| v.sessions[0].state = qr(expires));
        if bench.shown() == "blank" && dark_after.is_none() {
            dark_after = Some(bench.now - begin);
        }
        bench.pass(s(20));
    }
    assert_eq!(dark_after, Some(s(600)));
    let expires = bench.now + s(20);
    bench.look(|v| v.sessions[0].state = qr(expires));
    assert_eq!(bench.shown(), "blank");
    bench.edge(Button::Reconnect, Motion::Pressed);
    assert_eq!(bench.shown(), "qr");
}

#[test]
fn a_claim_code_takes_turns_with_a_qr_and_leaves_it_more_time() {
    let mut bench = Bench::new(view(vec![session("s", SessionState::Connecting)]));
    let expires = bench.now + s(60);
    bench.look(|v| {
        v.sessions[0].state = qr(expires);
        v.claim_code = Some("K7PM-42XD".into());
    });
    assert_eq!(bench.shown(), "qr");
    bench.pass(s(30));
    assert_eq!(bench.shown(), "claim");
    bench.pass(s(8));
    assert_eq!(bench.shown(), "qr");
    bench.look(|v| v.claim_code = None);
    bench.pass(s(10));
    assert_eq!(bench.shown(), "qr");
}

#[test]
fn reconnect_redials_or_asks_for_a_new_qr() {
    let id = SessionId::from("s");
    for (state, release, action) in [
        (SessionState::Online, Release::Redial, Some(Action::Redial(id.clone()))),
        (SessionState::Disconnected(Trouble::Network), Release::Redial, Some(Action::Redial(id.clone()))),
        (SessionState::Exhausted, Release::FreshQr, Some(Action::FreshQr(id.clone()))),
        (SessionState::LoggedOut, Release::FreshQr, Some(Action::FreshQr(id.clone()))),
        (SessionState::Banned { until: None }, Release::Nothing, None),
    ] {
        let mut bench = Bench::new(view(vec![session("s", state)]));
        bench.hold(Button::Reconnect, ms(1950));
        assert_eq!(bench.actions, [], "too short");
        bench.edge(Button::Reconnect, Motion::Pressed);
        bench.pass(s(2));
        let Body::Hold { release: shown, pending, percent, .. } = &bench.out.screen.body else {
            panic!("{}", bench.shown())
        };
        assert_eq!((*shown, *pending, *percent), (release, None, 100));
        bench.edge(Button::Reconnect, Motion::Released);
        bench.pass(ms(60));
        assert_eq!(bench.actions, Vec::from_iter(action.clone()));
        assert_eq!(bench.shown() == "done", action.is_some());
        bench.pass(s(3));
        assert_ne!(bench.shown(), "done");
    }
    let mut bench = Bench::new(view(vec![]));
    assert_eq!((bench.shown(), bench.pattern()), ("no-session", "needs-attention"));
    bench.hold(Button::Reconnect, s(3));
    assert_eq!(bench.actions, [Action::NewSession]);
}

#[test]
fn reset_unlinks_the_session_on_the_screen_or_erases_everything() {
    let mut bench = online(3);
    bench.tap();
    assert_eq!(bench.whose(), "s1");
    bench.hold(Button::Reset, s(4));
    assert_eq!(bench.actions, [], "an early release does nothing");
    bench.hold(Button::Reset, s(7));
    assert_eq!(bench.actions, [Action::Unlink(vec!["s1".into()])]);
    bench.hold(Button::Reset, s(12));
    assert_eq!(bench.actions[1..], [Action::Erase]);
    assert_eq!(bench.shown(), "done");
    bench.look(|v| v.stage = Stage::Erasing);
    assert_eq!((bench.shown(), bench.pattern()), ("erasing", "erasing"));

    // On a page that is about no session, it is about all of them.
    let mut bench = online(3);
    bench.look(|v| v.disk = Disk::NearlyFull { free: 9 });
    assert_eq!(bench.shown(), "disk-nearly-full");
    bench.hold(Button::Reset, s(5));
    assert_eq!(bench.actions, [Action::Unlink(vec!["s0".into(), "s1".into(), "s2".into()])]);
}

#[test]
fn the_page_does_not_turn_while_a_button_is_down() {
    let mut bench = online(3);
    bench.pass(ms(5900));
    bench.hold(Button::Reset, s(6));
    assert_eq!(bench.actions, [Action::Unlink(vec!["s0".into()])]);
}

#[test]
fn a_button_held_at_power_on_and_a_stuck_one_do_nothing() {
    let mut bench = Bench::held(view(vec![session("s", SessionState::Online)]), &[Button::Reset]);
    bench.pass(s(13));
    assert_eq!(bench.shown(), "online", "no countdown either");
    bench.edge(Button::Reset, Motion::Released);
    bench.pass(s(1));
    assert_eq!(bench.actions, []);
    bench.hold(Button::Reset, s(61));
    assert_eq!(bench.actions, []);
    assert_eq!(bench.shown(), "blank", "a stuck button does not keep the screen on");
    bench.hold(Button::Reset, s(5));
    assert_eq!(bench.actions.len(), 1, "once it is free, it works");
}

#[test]
fn no_button_interrupts_an_update_or_an_erasure() {
    for change in [
        (|v: &mut View| v.update = Some(Update { percent: 7 })) as fn(&mut View),
        |v| v.stage = Stage::Erasing,
        |v| v.stage = Stage::Starting,
    ] {
        let mut bench = online(1);
        bench.look(change);
        let shown = bench.shown();
        bench.edge(Button::Reset, Motion::Pressed);
        bench.pass(s(13));
        assert_eq!(bench.shown(), shown);
        bench.look(|v| {
            v.update = None;
            v.stage = Stage::Running;
        });
        bench.edge(Button::Reset, Motion::Released);
        bench.pass(s(1));
        assert_eq!(bench.actions, [], "a press from before means nothing");
    }
}

#[test]
fn the_led_says_the_most_important_thing() {
    let at = Instant::now() + s(60);
    let cases: [(&str, fn(&mut View)); 7] = [
        ("starting", |v| v.stage = Stage::Starting),
        ("starting", |v| v.update = Some(Update { percent: 1 })),
        ("no-network", |v| v.network = Network::Down),
        ("needs-attention", |v| v.disk = Disk::NearlyFull { free: 1 }),
        ("needs-attention", |v| v.notice = Some("x".into())),
        ("erasing", |v| v.stage = Stage::Erasing),
        ("connecting", |_| {}),
    ];
    for (name, change) in cases {
        let mut bench = Bench::new(view(vec![session("s", SessionState::Connecting)]));
        bench.look(change);
        assert_eq!(bench.pattern(), name);
    }
    let mut bench = Bench::new(view(vec![session("a", SessionState::Online), session("b", qr(at))]));
    assert_eq!(bench.pattern(), "waiting-for-scan");
    bench.look(|v| v.network = Network::Down);
    assert_eq!(bench.pattern(), "waiting-for-scan", "a session that is online knows better");
    bench.look(|v| v.sessions.truncate(0));
    assert_eq!((bench.pattern(), bench.shown()), ("no-network", "no-network"));
}

#[test]
fn a_hold_blinks_faster_at_each_threshold_and_says_what_comes() {
    let mut bench = online(1);
    bench.edge(Button::Reset, Motion::Pressed);
    let mut seen = Vec::new();
    for _ in 0..13 {
        let Body::Hold { release, pending, .. } = bench.out.screen.body.clone() else {
            panic!("{}", bench.shown())
        };
        seen.push((bench.pattern(), release, pending.map(|p| (p.then, p.seconds))));
        bench.pass(s(1));
    }
    assert_eq!(seen[0], ("hold", Release::Nothing, Some((Release::Unlink, 5))));
    assert_eq!(seen[4], ("hold", Release::Nothing, Some((Release::Unlink, 1))));
    assert_eq!(seen[5], ("hold-act", Release::Unlink, Some((Release::Erase, 7))));
    assert_eq!(seen[11], ("hold-act", Release::Unlink, Some((Release::Erase, 1))));
    assert_eq!(seen[12], ("hold-erase", Release::Erase, None));
}

#[test]
fn the_screen_shows_at_each_moment_what_a_release_would_do() {
    for (button, state) in [
        (Button::Reset, SessionState::Online),
        (Button::Reconnect, SessionState::Online),
        (Button::Reconnect, SessionState::Exhausted),
        (Button::Reconnect, SessionState::Banned { until: None }),
    ] {
        let mut bench = Bench::new(view(vec![session("s", state)]));
        bench.edge(button, Motion::Pressed);
        for _ in 0..640 {
            let shown = match &bench.out.screen.body {
                Body::Hold { release, .. } => *release,
                _ => Release::Nothing,
            };
            let mut released = bench.clone();
            released.edge(button, Motion::Released);
            released.pass(ms(60));
            let done = match released.actions.as_slice() {
                [] => Release::Nothing,
                [Action::Redial(_)] => Release::Redial,
                [Action::FreshQr(_)] => Release::FreshQr,
                [Action::Unlink(_)] => Release::Unlink,
                [Action::Erase] => Release::Erase,
                other => panic!("{other:?}"),
            };
            assert_eq!(shown, done, "{button} after {:?}", bench.now - bench.start);
            bench.pass(ms(97));
        }
    }
}

/// Something that happens to a panel.
#[derive(Debug, Clone)]
enum Event {
    Edge(bool, bool),
    State(usize, u8),
    Claim(bool),
    Down(bool),
    Stage(u8),
    Traffic,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (any::<bool>(), any::<bool>()).prop_map(|(b, m)| Event::Edge(b, m)),
        4 => (0..3usize, 0..7u8).prop_map(|(s, k)| Event::State(s, k)),
        1 => any::<bool>().prop_map(Event::Claim),
        1 => any::<bool>().prop_map(Event::Down),
        1 => (0..8u8).prop_map(Event::Stage),
        1 => Just(Event::Traffic),
    ]
}

impl Event {
    fn happen(&self, bench: &mut Bench) {
        let now = bench.now;
        match *self {
            Self::Edge(second, pressed) => bench.edge(
                if second { Button::Reset } else { Button::Reconnect },
                if pressed { Motion::Pressed } else { Motion::Released },
            ),
            Self::State(which, kind) => bench.look(|v| {
                v.sessions[which].state = match kind {
                    0 => SessionState::Connecting,
                    1 => SessionState::Online,
                    2 => qr(now + s(20)),
                    3 => SessionState::PairingCode { code: "ABCDEFGH".into(), expires: now + ms(1500) },
                    4 => SessionState::Exhausted,
                    5 => SessionState::Banned { until: None },
                    _ => qr(now),
                }
            }),
            Self::Claim(on) => bench.look(|v| v.claim_code = on.then(|| "CODE".into())),
            Self::Down(on) => bench.look(|v| v.network = if on { Network::Down } else { Network::Unknown }),
            Self::Stage(kind) => bench.look(|v| {
                v.stage = match kind {
                    0 => Stage::Starting,
                    1 => Stage::Erasing,
                    _ => Stage::Running,
                };
                v.update = (kind == 2).then_some(Update { percent: 3 });
            }),
            Self::Traffic => bench.look(|v| v.traffic += 1),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Whoever calls only when asked to sees the same as somebody who calls all the time.
    #[test]
    fn nothing_changes_between_two_wakes(events in prop::collection::vec((event(), 1..40_000u64), 1..15)) {
        let sessions = ["a", "b", "c"].map(|id| session(id, SessionState::Online));
        let start = Instant::now();
        let mut lazy = Bench::at(view(sessions.to_vec()), &[], start);
        let mut busy = Bench::at(view(sessions.to_vec()), &[], start);
        for (event, pause) in events {
            event.happen(&mut lazy);
            event.happen(&mut busy);
            // In steps of 50 ms: everything happens at multiples of it except what is shown late by less.
            for _ in 0..pause / 50 {
                lazy.pass(ms(50));
                busy.pass(ms(50));
                busy.step(Input::Tick);
                prop_assert_eq!(&lazy.out.screen, &busy.out.screen, "at {:?}", lazy.now - start);
                prop_assert_eq!(lazy.out.signal, busy.out.signal);
                prop_assert_eq!(lazy.out.backlight, busy.out.backlight);
            }
            prop_assert_eq!(&lazy.actions, &busy.actions);
        }
    }
}
