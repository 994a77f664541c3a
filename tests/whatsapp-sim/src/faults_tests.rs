use super::*;

const ANNA: DeviceRef<'_> = DeviceRef { number: "4915550001", device: 1 };
const ANNA_TABLET: DeviceRef<'_> = DeviceRef { number: "4915550001", device: 2 };
const BORIS: DeviceRef<'_> = DeviceRef { number: "4915550002", device: 1 };
const PLAIN: MessageFault = MessageFault { deliver: true, ack: AckFault::Now, drop: false };

fn fault(json: &str) -> Fault {
    serde_json::from_str(json).unwrap_or_else(|e| panic!("{json}: {e}"))
}

fn with(faults: &[&str]) -> (Faults, Instant) {
    let now = Instant::now();
    let mut set = Faults::default();
    for json in faults {
        set.add(fault(json), now);
    }
    (set, now)
}

#[test]
fn every_kind_of_the_control_api_is_read() {
    for json in [
        r#"{"kind":"drop"}"#,
        r#"{"kind":"drop","device":"4915550001:1","after_ms":50}"#,
        r#"{"kind":"stall","for_ms":1000}"#,
        r#"{"kind":"refuse"}"#,
        r#"{"kind":"refuse","status":502,"for_ms":100}"#,
        r#"{"kind":"stream-error","code":515}"#,
        r#"{"kind":"stream-error","conflict":"replaced"}"#,
        r#"{"kind":"ban","number":"4915550001","code":101,"expire_s":60}"#,
        r#"{"kind":"no-ack","count":2,"deliver":false}"#,
        r#"{"kind":"slow-ack","ms":300}"#,
        r#"{"kind":"nack","error":479}"#,
        r#"{"kind":"failure","reason":503}"#,
        r#"{"kind":"client-outdated"}"#,
        r#"{"kind":"rate-limit","count":1}"#,
        r#"{"kind":"repeat-515","count":3}"#,
        r#"{"kind":"media","status":503,"after_bytes":1000}"#,
    ] {
        let read = fault(json);
        let again: Fault = serde_json::from_value(serde_json::to_value(&read).unwrap()).unwrap();
        assert_eq!(again, read, "{json}");
    }
}

#[test]
fn a_mistake_in_a_fault_is_an_error_that_names_it() {
    for (json, names) in [
        (r#"{"kind":"explode"}"#, "explode"),
        (r#"{"kind":"slow-ack"}"#, "ms"),
        (r#"{"kind":"slow-ack","ms":1,"cuont":1}"#, "cuont"),
        (r#"{"kind":"drop","device":"anna"}"#, "anna"),
        (r#"{"kind":"drop","device":"49:x"}"#, "49:x"),
        (r#"{"kind":"ban","number":"","code":101,"expire_s":60}"#, "names no device"),
    ] {
        let error = serde_json::from_str::<Fault>(json).unwrap_err().to_string();
        assert!(error.contains(names), "{json}: {error}");
    }
}

#[test]
fn values_that_can_do_nothing_are_noticed() {
    for (json, names) in [
        (r#"{"kind":"no-ack","count":0}"#, "count"),
        (r#"{"kind":"drop","after_messages":0}"#, "count"),
        (r#"{"kind":"refuse","status":200}"#, "status"),
        (r#"{"kind":"media","status":7}"#, "status"),
        (r#"{"kind":"stream-error"}"#, "code"),
    ] {
        let error = fault(json).check().unwrap_err().to_string();
        assert!(error.contains(names), "{json}: {error}");
    }
    for json in [r#"{"kind":"refuse"}"#, r#"{"kind":"drop"}"#, r#"{"kind":"stream-error","code":503}"#] {
        assert_eq!(fault(json).check(), Ok(()));
    }
}

#[test]
fn a_target_is_an_account_or_one_device() {
    let target = |text: &str| Target::try_from(text.to_owned()).unwrap();
    let matches = |target: Target, d: DeviceRef<'_>| target.matches(d.number, d.device);
    assert!(matches(target("4915550001"), ANNA));
    assert!(matches(target("4915550001@s.whatsapp.net"), ANNA_TABLET));
    assert!(matches(target("4915550001:1@s.whatsapp.net"), ANNA));
    assert!(!matches(target("4915550001:1"), ANNA_TABLET));
    assert!(!matches(target("4915550001"), BORIS));
    assert_eq!(String::from(target("4915550001:1@s.whatsapp.net")), "4915550001:1");
}

#[test]
fn a_counted_fault_ends_after_its_count_and_hits_its_device_only() {
    let (mut faults, now) = with(&[r#"{"kind":"no-ack","device":"4915550001","count":2}"#]);
    let unacked = MessageFault { ack: AckFault::Never, ..PLAIN };
    assert_eq!(faults.on_message(BORIS, now), PLAIN);
    assert_eq!(faults.on_message(ANNA, now), unacked);
    assert_eq!(faults.on_message(ANNA_TABLET, now), unacked);
    assert_eq!(faults.on_message(ANNA, now), PLAIN);
}

#[test]
fn a_fault_without_a_count_stays_until_cleared() {
    let (mut faults, now) = with(&[r#"{"kind":"slow-ack","ms":300}"#]);
    for _ in 0..10 {
        let ack = faults.on_message(ANNA, now).ack;
        assert_eq!(ack, AckFault::After(Duration::from_millis(300)));
    }
    faults.clear();
    assert_eq!(faults.on_message(ANNA, now), PLAIN);
}

#[test]
fn a_nacked_message_is_not_delivered() {
    let (mut faults, now) = with(&[r#"{"kind":"nack","error":479,"count":1}"#]);
    let nacked = MessageFault { deliver: false, ack: AckFault::Error(479), drop: false };
    assert_eq!(faults.on_message(ANNA, now), nacked);
    assert_eq!(faults.on_message(ANNA, now), PLAIN);
}

#[test]
fn faults_of_one_kind_apply_one_after_another() {
    let (mut faults, now) =
        with(&[r#"{"kind":"nack","error":1,"count":1}"#, r#"{"kind":"nack","error":2,"count":1}"#]);
    assert_eq!(faults.on_message(ANNA, now).ack, AckFault::Error(1));
    assert_eq!(faults.on_message(ANNA, now).ack, AckFault::Error(2));
    assert_eq!(faults.on_message(ANNA, now), PLAIN);
}

#[test]
fn refusing_ends_with_its_time() {
    let (mut faults, now) = with(&[r#"{"kind":"refuse","for_ms":100}"#]);
    assert_eq!(faults.on_connect(now + Duration::from_millis(99)), Some(503));
    assert_eq!(faults.on_connect(now + Duration::from_millis(100)), None);
}

#[test]
fn a_ban_says_how_long_it_still_lasts() {
    let now = Instant::now();
    let mut faults = Faults::default();
    let live =
        faults.add(fault(r#"{"kind":"ban","number":"4915550001","code":103,"expire_s":60}"#), now).unwrap();
    assert!(live.applies_to(Some(ANNA)) && !live.applies_to(Some(BORIS)) && !live.applies_to(None));
    assert_eq!(live.action, LiveAction::Drop(Duration::ZERO));

    let later = now + Duration::from_millis(20_500);
    let banned = LoginFault::Failure { reason: 402, code: Some(103), expire_s: Some(40) };
    assert_eq!(faults.on_login(Some(ANNA), later), Some(banned));
    assert_eq!(faults.on_login(Some(BORIS), later), None);
    assert_eq!(faults.on_login(None, later), None);
    assert_eq!(faults.on_login(Some(ANNA), now + Duration::from_secs(60)), None);
}

#[test]
fn log_in_faults_have_whatsapps_codes() {
    let stream_error = |code| StreamError { code: Some(code), conflict: None };
    let (mut faults, now) = with(&[
        r#"{"kind":"client-outdated","count":1}"#,
        r#"{"kind":"rate-limit","count":1}"#,
        r#"{"kind":"repeat-515","count":1}"#,
    ]);
    let outdated = LoginFault::Failure { reason: 405, code: None, expire_s: None };
    assert_eq!(faults.on_login(None, now), Some(outdated));
    assert_eq!(faults.on_login(Some(ANNA), now), Some(LoginFault::StreamError(stream_error(429))));
    assert_eq!(faults.on_login(Some(ANNA), now), Some(LoginFault::AfterSuccess(stream_error(515))));
    assert_eq!(faults.on_login(Some(ANNA), now), None);
}

#[test]
fn a_drop_after_messages_strikes_at_the_last_of_them() {
    let (mut faults, now) = with(&[r#"{"kind":"drop","device":"4915550001","after_messages":3}"#]);
    let drops = |faults: &mut Faults| faults.on_message(ANNA, now).drop;
    assert!(!drops(&mut faults));
    assert!(!faults.on_message(BORIS, now).drop);
    assert!(!drops(&mut faults));
    assert!(drops(&mut faults));
    assert!(!drops(&mut faults));
}

#[test]
fn what_strikes_open_connections_leaves_nothing_behind() {
    let now = Instant::now();
    let mut faults = Faults::default();
    let stall = faults.add(fault(r#"{"kind":"stall","for_ms":10}"#), now).unwrap();
    assert_eq!(stall.action, LiveAction::Stall(Duration::from_millis(10)));
    assert!(stall.applies_to(None));
    let error = faults.add(fault(r#"{"kind":"stream-error","code":401,"conflict":"device_removed"}"#), now);
    let removed = StreamError { code: Some(401), conflict: Some("device_removed".into()) };
    assert_eq!(error.unwrap().action, LiveAction::StreamError(removed));
    assert!(faults.active.is_empty());
}

#[test]
fn the_set_is_bounded() {
    let (mut faults, now) = with(&[]);
    for _ in 0..MAX_ACTIVE * 2 {
        faults.add(fault(r#"{"kind":"no-ack"}"#), now);
    }
    assert_eq!(faults.active.len(), MAX_ACTIVE);
}
