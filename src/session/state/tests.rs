use proptest::prelude::*;

use super::*;

fn after(state: &mut State, events: &[Event], now: Instant) -> Vec<Effect> {
    events.iter().flat_map(|e| state.step(e.clone(), now, 0.5)).collect()
}

fn start() -> Event {
    Event::Start { ban_left: None }
}

#[test]
fn pairing_goes_through_qr_and_a_515_to_connected() {
    let now = Instant::now();
    let mut s = State::new(false);
    assert_eq!(after(&mut s, &[start()], now), [Effect::Dial]);
    assert_eq!(s.status(), Status::Connecting);
    after(&mut s, &[Event::Qr], now);
    assert_eq!(s.status(), Status::Qr);
    after(&mut s, &[Event::PairSuccess], now);
    assert_eq!(after(&mut s, &[Event::Ended], now), [Effect::Dial], "a 515 after pairing redials at once");
    after(&mut s, &[Event::Connected], now);
    assert_eq!(s.status(), Status::Connected);
    assert!(s.paired);
}

#[test]
fn qr_codes_run_out_after_three_sets_and_a_press_shows_fresh_ones() {
    let now = Instant::now();
    let mut s = State::new(false);
    after(&mut s, &[start()], now);
    for set in 1..=QR_SETS {
        after(&mut s, &[Event::Qr], now);
        assert_eq!(after(&mut s, &[Event::QrExhausted], now), [Effect::HangUp]);
        let next = after(&mut s, &[Event::Ended], now);
        assert_eq!(next.is_empty(), set == QR_SETS);
    }
    assert_eq!((s.status(), s.reason.clone()), (Status::Disconnected, Reason::QrExhausted));
    assert_eq!(after(&mut s, &[Event::Reconnect], now), [Effect::Dial]);
    after(&mut s, &[Event::Qr, Event::QrExhausted], now);
    assert_eq!(after(&mut s, &[Event::Ended], now), [Effect::Dial], "the count starts again");
}

#[test]
fn a_server_that_repeats_515_is_not_redialled_in_a_tight_loop() {
    let now = Instant::now();
    let mut s = State::new(true);
    after(&mut s, &[start()], now);
    let mut dials = 0;
    for _ in 0..20 {
        dials += after(&mut s, &[Event::PairSuccess, Event::Ended], now).len();
    }
    assert_eq!(dials, RESTART_BURST);
    assert_eq!(s.reason, Reason::RestartLoop);
    assert!(s.deadline().unwrap() > now);
}

#[test]
fn a_login_that_ends_each_time_backs_off_and_a_stable_one_resets_it() {
    let mut now = Instant::now();
    let mut s = State::new(true);
    after(&mut s, &[start()], now);
    let mut pauses = Vec::new();
    for _ in 0..12 {
        after(&mut s, &[Event::Connected, Event::Ended], now);
        let until = s.deadline().unwrap();
        pauses.push(until - now);
        now = until;
        assert_eq!(after(&mut s, &[Event::Timer], now), [Effect::Dial]);
    }
    assert!(pauses.windows(2).all(|w| w[0] <= w[1]), "{pauses:?}");
    assert!(pauses[11] >= BACKOFF_CAP.mul_f64(0.79));
    after(&mut s, &[Event::Connected], now);
    now += STABLE_AFTER;
    after(&mut s, &[Event::Ended], now);
    assert!(s.deadline().unwrap() - now <= Duration::from_secs(2));
}

#[test]
fn a_returning_network_cuts_the_backoff_short_but_not_a_ban() {
    let now = Instant::now();
    let mut s = State::new(true);
    after(&mut s, &[start(), Event::Ended], now);
    assert_eq!(after(&mut s, &[Event::NetworkUp], now), [Effect::Dial]);

    let mut banned = State::new(true);
    after(&mut banned, &[start()], now);
    let effects = after(&mut banned, &[Event::Banned(Duration::from_secs(3600)), Event::Ended], now);
    assert!(effects.contains(&Effect::RememberBan(Duration::from_secs(3600))));
    assert_eq!((banned.status(), banned.reason.clone()), (Status::Disconnected, Reason::Banned));
    assert!(after(&mut banned, &[Event::NetworkUp, Event::Reconnect, Event::Timer], now).is_empty());
    assert!(banned.paired, "a ban keeps the credentials");
    assert_eq!(after(&mut banned, &[Event::Timer], now + Duration::from_secs(3600)), [Effect::Dial]);
}

#[test]
fn only_a_log_out_or_a_person_wipes_the_credentials() {
    let now = Instant::now();
    for event in [
        Event::Replaced,
        Event::Outdated,
        Event::AccountLocked,
        Event::Refused(503),
        Event::Banned(Duration::from_secs(60)),
        Event::TooMany,
        Event::QrExhausted,
        Event::StoreFailed,
    ] {
        let mut s = State::new(true);
        let effects = after(&mut s, &[start(), event.clone(), Event::Ended], now);
        assert!(!effects.contains(&Effect::Wipe) && s.paired, "{event:?} must keep the credentials");
    }
    let mut s = State::new(true);
    let effects = after(&mut s, &[start(), Event::Connected, Event::LoggedOut, Event::Ended], now);
    assert!(effects.ends_with(&[Effect::Wipe]) && !s.paired);
    assert_eq!((s.status(), s.reason.clone()), (Status::Disconnected, Reason::LoggedOut));
}

#[test]
fn a_repair_logs_out_wipes_and_pairs_again() {
    let now = Instant::now();
    let mut s = State::new(true);
    after(&mut s, &[start(), Event::Connected], now);
    assert_eq!(after(&mut s, &[Event::Repair], now), [Effect::LogOut]);
    assert_eq!(after(&mut s, &[Event::LoggedOut, Event::Ended], now), [Effect::Wipe, Effect::Dial]);
}

#[test]
fn a_client_that_shows_nothing_is_hung_up() {
    let now = Instant::now();
    let mut s = State::new(true);
    after(&mut s, &[start()], now);
    assert!(after(&mut s, &[Event::Timer], now + DIAL_TIMEOUT / 2).is_empty());
    assert_eq!(after(&mut s, &[Event::Timer], now + DIAL_TIMEOUT), [Effect::HangUp]);
    after(&mut s, &[Event::Ended], now + DIAL_TIMEOUT);
    assert!(s.deadline().is_some());
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Qr),
        Just(Event::QrExhausted),
        Just(Event::PairSuccess),
        Just(Event::Connected),
        Just(Event::LoggedOut),
        Just(Event::AccountLocked),
        Just(Event::Replaced),
        (1u64..10_000).prop_map(|s| Event::Banned(Duration::from_secs(s))),
        Just(Event::Outdated),
        (400u16..600).prop_map(Event::Refused),
        Just(Event::TooMany),
        Just(Event::Ended),
        Just(Event::StoreFailed),
        Just(Event::Timer),
        Just(Event::NetworkUp),
        Just(Event::Reconnect),
        Just(Event::Repair),
    ]
}

proptest! {
    /// Whatever comes, in whatever order: at most one client runs, one that should stop is told so once, and the
    /// session is never stuck without a client, a timer or a person who can act.
    #[test]
    fn never_two_clients_and_never_stuck(paired: bool, events in prop::collection::vec((any_event(), 0u64..400), 0..80)) {
        let mut now = Instant::now();
        let mut s = State::new(paired);
        let mut running = false;
        for (event, seconds) in std::iter::once((start(), 0)).chain(events) {
            now += Duration::from_secs(seconds);
            // Only a running client can speak; `StoreFailed` stands for one that could not be built.
            let from_client = matches!(event, Event::Qr | Event::QrExhausted | Event::PairSuccess | Event::Connected
                | Event::LoggedOut | Event::AccountLocked | Event::Replaced | Event::Banned(_) | Event::Outdated
                | Event::Refused(_) | Event::TooMany | Event::Ended | Event::StoreFailed);
            if from_client && !running { continue; }
            if matches!(event, Event::Ended | Event::StoreFailed) { running = false; }
            for effect in s.step(event.clone(), now, 0.5) {
                match effect {
                    Effect::Dial => { prop_assert!(!running, "a second client after {event:?}"); running = true; }
                    Effect::HangUp | Effect::LogOut => prop_assert!(running, "nothing to stop after {event:?}"),
                    Effect::Wipe => prop_assert!(!running, "wiped under a running client after {event:?}"),
                    _ => {}
                }
            }
            prop_assert!(running || s.deadline().is_some() || s.phase == Phase::Idle, "stuck in {:?}", s.phase);
            prop_assert_eq!(s.phase == Phase::Idle, s.phase == Phase::Idle && !running);
        }
        if running { s.step(Event::Stop, now, 0.5); }
        let effects = s.step(if running { Event::Ended } else { Event::Stop }, now, 0.5);
        prop_assert!(effects.contains(&Effect::Finish));
        prop_assert_eq!(s.phase, Phase::Stopped);
    }
}

#[test]
fn a_ban_of_no_length_is_not_dialled_in_a_loop() {
    let mut now = Instant::now();
    let mut s = State::new(true);
    after(&mut s, &[start()], now);
    let mut pauses = Vec::new();
    for _ in 0..4 {
        after(&mut s, &[Event::Banned(Duration::ZERO), Event::Ended], now);
        let until = s.deadline().unwrap();
        pauses.push(until.duration_since(now));
        now = until;
        after(&mut s, &[Event::Timer], now);
    }
    assert!(pauses.iter().all(|p| *p >= Duration::from_millis(800)) && pauses.is_sorted(), "{pauses:?}");
}

#[test]
fn nothing_is_dialled_before_the_clock_is_set() {
    let now = Instant::now();
    let mut state = State::new(true);
    state.hold();
    assert_eq!(state.step(Event::Start { ban_left: None }, now, 0.5), []);
    assert_eq!((state.status(), &state.reason), (Status::Connecting, &Reason::Clock));
    assert_eq!(state.deadline(), None);
    assert_eq!(state.step(Event::Reconnect, now, 0.5), [], "asking does not help");
    assert_eq!(state.step(Event::NetworkUp, now, 0.5), []);
    assert_eq!(state.step(Event::ClockReady, now, 0.5), [Effect::Dial]);
    assert_eq!(state.reason, Reason::None);
    assert_eq!(state.step(Event::ClockReady, now, 0.5), [], "once");

    let mut state = State::new(false);
    state.hold();
    state.step(Event::Start { ban_left: None }, now, 0.5);
    assert_eq!(state.step(Event::Repair, now, 0.5), [Effect::Wipe], "forgets, but still waits");
    assert_eq!(state.phase, Phase::Held);
    assert_eq!(state.step(Event::Stop, now, 0.5), [Effect::Finish]);
    assert_eq!(state.step(Event::ClockReady, now, 0.5), []);
}

#[test]
fn a_ban_outlasts_the_wait_for_the_clock() {
    let now = Instant::now();
    let mut state = State::new(true);
    state.hold();
    let ban = Duration::from_secs(60);
    assert_eq!(state.step(Event::Start { ban_left: Some(ban) }, now, 0.5), []);
    assert_eq!(state.step(Event::ClockReady, now, 0.5), [], "banned all the same");
    assert_eq!(state.step(Event::Timer, now + ban, 0.5), [Effect::Dial]);
}
