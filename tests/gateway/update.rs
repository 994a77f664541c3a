//! Updates: what is refused, what is rolled back, and the power cut at every single write.

use std::collections::BTreeMap;
use std::io::{self, Cursor};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kurir::update::bundle::pack;
use kurir::update::{
    Boot, Disk, Memory, Outcome, PublicKey, Record, Rules, Slot, Stage, Trial, UpdateError, Verdict, Version,
    commit, give_up, install, on_trial, start, try_once,
};
use ring::signature::{Ed25519KeyPair, KeyPair};

const OLD: Version = Version(1, 0, 0);
const NEW: Version = Version(1, 1, 0);
const ROOM: usize = 40 * 1024;

fn signer() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

fn public(key: &Ed25519KeyPair) -> PublicKey {
    PublicKey::parse(&hex::encode(key.public_key().as_ref())).unwrap()
}

/// What a version's partition holds: it starts if every byte is right.
fn contents(version: Version, part: &str) -> Arc<Vec<u8>> {
    static KNOWN: Mutex<BTreeMap<String, Arc<Vec<u8>>>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap();
    Arc::clone(known.entry(format!("{version}{part}")).or_insert_with(|| Arc::new(make(version, part))))
}

fn make(version: Version, part: &str) -> Vec<u8> {
    let seed = format!("{version}{part}");
    let length = if part == "boot" { 9_000 } else { 33_000 };
    seed.bytes().cycle().zip(0u32..).map(|(b, n)| b ^ (n / 7).to_le_bytes()[0]).take(length).collect()
}

fn update_of(version: Version, board: &str, parts: &[&str], key: &Ed25519KeyPair) -> Vec<u8> {
    let mut parts: Vec<(String, Cursor<Vec<u8>>)> = parts
        .iter()
        .map(|part| ((*part).to_owned(), Cursor::new(contents(version, part).to_vec())))
        .collect();
    let mut file = Vec::new();
    pack(version, board, &mut parts, key, &mut file).unwrap();
    file
}

fn update() -> Vec<u8> {
    update_of(NEW, "arm64", &["boot", "root"], &signer())
}

fn rules(version: Version) -> Rules {
    Rules { key: public(&signer()), board: "arm64".into(), version, piece: 4096 }
}

/// A card and a firmware, which outlive power cuts.
struct Machine {
    /// What is on the card.
    card: BTreeMap<(bool, String), Vec<u8>>,
    /// What was written and not synced.
    pending: Vec<(bool, String, usize, Vec<u8>)>,
    preferred: Slot,
    running: Slot,
    /// The firmware's flag: gone after one start, and with the power.
    tryboot: bool,
    record: Option<Vec<u8>>,
    /// Operations until the power is cut.
    until_cut: Option<usize>,
    off: bool,
    /// Decides what a cut leaves behind.
    dice: u64,
    /// A card that loses what is written at this offset.
    worn: Option<u64>,
}

impl Machine {
    fn new() -> Machine {
        let mut card = BTreeMap::new();
        for (is_a, version) in [(true, OLD), (false, Version(0, 9, 0))] {
            for part in ["boot", "root"] {
                let mut bytes = contents(version, part).to_vec();
                bytes.resize(ROOM, 0);
                card.insert((is_a, part.to_owned()), bytes);
            }
        }
        Machine {
            card,
            pending: Vec::new(),
            preferred: Slot::A,
            running: Slot::A,
            tryboot: false,
            record: None,
            until_cut: None,
            off: false,
            dice: 1,
            worn: None,
        }
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % sides
    }

    /// Counts an operation; `Ok(false)`: this one is cut in the middle.
    fn powered(&mut self) -> io::Result<bool> {
        if self.off {
            return Err(io::Error::other("no power"));
        }
        match &mut self.until_cut {
            Some(0) => {
                self.off = true;
                Ok(false)
            }
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
            None => Ok(true),
        }
    }

    fn cut<T>() -> io::Result<T> {
        Err(io::Error::other("the power was cut"))
    }

    fn apply(&mut self, count: usize) {
        for (is_a, part, offset, bytes) in self.pending.drain(..count) {
            let disk = self.card.get_mut(&(is_a, part)).unwrap();
            if self.worn.is_none_or(|worn| worn != offset as u64) {
                disk[offset..offset + bytes.len()].copy_from_slice(&bytes);
            }
        }
    }

    /// What was not synced is on the card, or half of it, or not.
    fn lose_power(&mut self) {
        for (is_a, part, offset, bytes) in std::mem::take(&mut self.pending) {
            let keep = match self.roll(3) {
                0 => 0,
                1 => usize::try_from(self.roll(bytes.len() as u64)).unwrap(),
                _ => bytes.len(),
            };
            self.card.get_mut(&(is_a, part)).unwrap()[offset..offset + keep].copy_from_slice(&bytes[..keep]);
        }
        self.tryboot = false;
    }

    fn version_in(&self, slot: Slot) -> Option<Version> {
        [OLD, NEW, Version(0, 9, 0)].into_iter().find(|version| {
            ["boot", "root"].iter().all(|part| {
                let wanted = contents(*version, part);
                self.card[&(slot == Slot::A, (*part).to_owned())][..wanted.len()] == wanted[..]
            })
        })
    }

    /// The firmware starts something; a system that does not come up is restarted by the watchdog.
    fn start_up(&mut self) {
        let wanted = if std::mem::take(&mut self.tryboot) { self.preferred.other() } else { self.preferred };
        self.running = if self.version_in(wanted).is_some() { wanted } else { self.preferred };
        assert!(
            self.version_in(self.running).is_some(),
            "the preferred slot does not start: the box is dead"
        );
    }

    fn power_on(&mut self) {
        self.off = false;
        self.until_cut = None;
        self.start_up();
    }

    fn restart(&mut self) {
        let pending = self.pending.len();
        self.apply(pending);
        self.start_up();
    }

    fn runs(&self) -> Version {
        self.version_in(self.running).unwrap()
    }
}

/// The three traits over one machine; in a box they are three things, too.
struct Part<'a>(&'a std::cell::RefCell<Machine>);

impl Disk for Part<'_> {
    fn parts(&self) -> Vec<String> {
        vec!["boot".into(), "root".into()]
    }

    fn room(&mut self, _slot: Slot, _part: &str) -> io::Result<u64> {
        Ok(ROOM as u64)
    }

    fn write(&mut self, slot: Slot, part: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut machine = self.0.borrow_mut();
        assert_ne!(slot, machine.running, "the running system was written to");
        assert_ne!(slot, machine.preferred, "the system that starts next was written to");
        let powered = machine.powered()?;
        let write = (slot == Slot::A, part.to_owned(), usize::try_from(offset).unwrap(), bytes.to_vec());
        machine.pending.push(write);
        if powered { Ok(()) } else { Machine::cut() }
    }

    fn read(&mut self, slot: Slot, part: &str, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let machine = self.0.borrow();
        if machine.off {
            return Err(io::Error::other("no power"));
        }
        let offset = usize::try_from(offset).unwrap();
        let disk = &machine.card[&(slot == Slot::A, part.to_owned())];
        bytes.copy_from_slice(&disk[offset..offset + bytes.len()]);
        Ok(())
    }

    fn sync(&mut self, _slot: Slot, _part: &str) -> io::Result<()> {
        let mut machine = self.0.borrow_mut();
        if machine.powered()? {
            let pending = machine.pending.len();
            machine.apply(pending);
            return Ok(());
        }
        let pending = machine.pending.len() as u64;
        let some = usize::try_from(machine.roll(pending + 1)).unwrap();
        machine.apply(some);
        Machine::cut()
    }
}

impl Boot for Part<'_> {
    fn running(&mut self) -> io::Result<Slot> {
        Ok(self.0.borrow().running)
    }

    fn preferred(&mut self) -> io::Result<Slot> {
        Ok(self.0.borrow().preferred)
    }

    fn prefer(&mut self, slot: Slot) -> io::Result<()> {
        let mut machine = self.0.borrow_mut();
        let powered = machine.powered()?;
        if powered || machine.roll(2) == 0 {
            machine.preferred = slot;
        }
        if powered { Ok(()) } else { Machine::cut() }
    }

    fn try_other(&mut self) -> io::Result<()> {
        let mut machine = self.0.borrow_mut();
        let powered = machine.powered()?;
        machine.tryboot = powered;
        if powered { Ok(()) } else { Machine::cut() }
    }
}

impl Memory for Part<'_> {
    fn load(&mut self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.borrow().record.clone())
    }

    fn save(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut machine = self.0.borrow_mut();
        let powered = machine.powered()?;
        if powered || machine.roll(2) == 0 {
            machine.record = Some(bytes.to_vec());
        }
        if powered { Ok(()) } else { Machine::cut() }
    }
}

type Cell = std::cell::RefCell<Machine>;

fn installed(cell: &Cell, file: &[u8], version: Version) -> Result<(), UpdateError> {
    install(file, &rules(version), &mut Part(cell), &mut Part(cell), &mut Part(cell), |_, _| {}).map(drop)
}

fn started(cell: &Cell) -> Record {
    start(&mut Part(cell), &mut Part(cell)).unwrap()
}

/// Everything from the file to the kept system, with the restart between. An error is the power cut.
fn whole_update(cell: &Cell) -> Result<(), UpdateError> {
    let version = cell.borrow().runs();
    installed(cell, &update(), version)?;
    try_once(&mut Part(cell), &mut Part(cell))?;
    cell.borrow_mut().restart();
    finish(cell)
}

fn finish(cell: &Cell) -> Result<(), UpdateError> {
    if matches!(start(&mut Part(cell), &mut Part(cell))?.stage, Stage::Trying { .. }) {
        commit(&mut Part(cell), &mut Part(cell))?;
    }
    Ok(())
}

fn record(cell: &Cell) -> Record {
    serde_json::from_slice(cell.borrow().record.as_ref().unwrap()).unwrap()
}

#[test]
fn an_update_is_written_tried_and_kept() {
    let cell = Cell::new(Machine::new());
    assert_eq!(started(&cell), Record::default());
    assert!(matches!(try_once(&mut Part(&cell), &mut Part(&cell)), Err(UpdateError::Nothing)));
    let mut seen = Vec::new();
    let done = install(
        update().as_slice(),
        &rules(OLD),
        &mut Part(&cell),
        &mut Part(&cell),
        &mut Part(&cell),
        |done, total| seen.push((done, total)),
    );
    assert_eq!(done.unwrap().version, NEW);
    assert_eq!(seen.last(), Some(&(42_000, 42_000)));
    cell.borrow_mut().restart();
    assert_eq!(cell.borrow().runs(), OLD, "written is not tried");
    assert!(matches!(started(&cell).stage, Stage::Written { slot: Slot::B, .. }));
    try_once(&mut Part(&cell), &mut Part(&cell)).unwrap();
    cell.borrow_mut().restart();
    assert_eq!((cell.borrow().runs(), cell.borrow().preferred), (NEW, Slot::A), "on trial");
    assert!(matches!(started(&cell).stage, Stage::Trying { slot: Slot::B, version: NEW }));
    let again = installed(&cell, &update_of(Version(2, 0, 0), "arm64", &["boot", "root"], &signer()), NEW);
    assert!(matches!(again, Err(UpdateError::OnTrial(_))), "the way back is not overwritten");
    commit(&mut Part(&cell), &mut Part(&cell)).unwrap();
    assert_eq!(
        started(&cell),
        Record { stage: Stage::Idle, last: Some(Outcome::Committed { version: NEW }) }
    );
    cell.borrow_mut().restart();
    assert_eq!((cell.borrow().runs(), cell.borrow().preferred), (NEW, Slot::B));
    assert!(matches!(commit(&mut Part(&cell), &mut Part(&cell)), Err(UpdateError::Nothing)));
    // The other way round next time.
    let next = update_of(Version(2, 0, 0), "arm64", &["boot", "root"], &signer());
    installed(&cell, &next, NEW).unwrap();
    assert!(matches!(started(&cell).stage, Stage::Written { slot: Slot::A, .. }));
}

#[test]
fn a_system_that_is_not_healthy_goes_back_and_says_why() {
    let cell = Cell::new(Machine::new());
    installed(&cell, &update(), OLD).unwrap();
    try_once(&mut Part(&cell), &mut Part(&cell)).unwrap();
    cell.borrow_mut().restart();
    started(&cell);
    let (begin, mut trial) = (Instant::now(), Trial::new(Instant::now()));
    let mut now = begin;
    let reason = loop {
        now += Duration::from_secs(2);
        // Healthy for half a minute, now and then.
        let health =
            if (now - begin).as_secs() % 40 < 30 { Ok(()) } else { Err("the port does not answer".into()) };
        match trial.look(health, now) {
            Verdict::Wait => {}
            Verdict::GiveUp(reason) => break reason,
            Verdict::Commit => panic!("never healthy for a minute"),
        }
    };
    give_up(&mut Part(&cell), reason).unwrap();
    assert!(on_trial(Slot::B, &mut Part(&cell)).unwrap(), "until the restart");
    assert!(matches!(started(&cell).stage, Stage::GivenUp { version: NEW, .. }), "nor begins the trial anew");
    cell.borrow_mut().restart();
    assert_eq!(cell.borrow().runs(), OLD);
    match started(&cell).last {
        Some(Outcome::RolledBack { version: NEW, reason }) => {
            assert!(reason.contains("the port does not answer"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert!(
        matches!(try_once(&mut Part(&cell), &mut Part(&cell)), Err(UpdateError::Nothing)),
        "not again by itself"
    );
}

#[test]
fn a_system_that_does_not_start_goes_back_by_itself() {
    let cell = Cell::new(Machine::new());
    installed(&cell, &update(), OLD).unwrap();
    try_once(&mut Part(&cell), &mut Part(&cell)).unwrap();
    cell.borrow_mut().card.get_mut(&(false, "root".to_owned())).unwrap()[100] ^= 1;
    cell.borrow_mut().restart();
    assert_eq!(cell.borrow().runs(), OLD);
    assert!(matches!(started(&cell).last, Some(Outcome::RolledBack { version: NEW, .. })));
}

#[test]
fn what_must_not_be_installed_is_refused_with_the_reason() {
    let stranger = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap();
    let whole = update();
    let flipped = |at: usize| {
        let mut file = whole.clone();
        file[at] ^= 1;
        file
    };
    let parts = ["boot", "root"];
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("another's signature", update_of(NEW, "arm64", &parts, &stranger), "signature is wrong"),
        ("an older version", update_of(Version(0, 9, 9), "arm64", &parts, &signer()), "has 1.0.0 already"),
        ("the same version", update_of(OLD, "arm64", &parts, &signer()), "has 1.0.0 already"),
        ("another board", update_of(NEW, "armhf", &parts, &signer()), "this box is arm64"),
        ("half of it", update_of(NEW, "arm64", &["boot"], &signer()), "needs boot, root"),
        (
            "more than there is",
            update_of(NEW, "arm64", &["boot", "root", "home"], &signer()),
            "needs boot, root",
        ),
        ("nothing", Vec::new(), "cut off"),
        ("a picture", b"\x89PNG\r\n\x1a\n and so on, and so on".to_vec(), "no update file"),
        ("a changed manifest", flipped(30), "signature is wrong"),
        ("a changed length", flipped(8), "signature is wrong"),
        ("a huge length", [b"KURIRUP1".as_slice(), &[255; 100]].concat(), "no update file"),
        ("changed contents", flipped(whole.len() - 5), "part root of the update is damaged"),
        ("more after the end", [whole.as_slice(), b"x"].concat(), "more in it"),
    ];
    for (what, file, says) in cases {
        let cell = Cell::new(Machine::new());
        let e = installed(&cell, &file, OLD).unwrap_err().to_string();
        assert!(e.contains(says), "{what}: {e} does not say {says}");
        assert!(matches!(try_once(&mut Part(&cell), &mut Part(&cell)), Err(UpdateError::Nothing)), "{what}");
        cell.borrow_mut().restart();
        assert_eq!(cell.borrow().runs(), OLD, "{what}");
        installed(&cell, &whole, OLD).unwrap_or_else(|e| panic!("{what}: a good one after it: {e}"));
    }
}

#[test]
fn a_file_that_is_cut_off_anywhere_is_refused() {
    let whole = update();
    for length in (0..whole.len()).step_by(611).chain([whole.len() - 1]) {
        let cell = Cell::new(Machine::new());
        let e = installed(&cell, &whole[..length], OLD).unwrap_err();
        assert!(matches!(e, UpdateError::Truncated(_)), "{length} of {} bytes: {e}", whole.len());
        assert!(!matches!(started(&cell).stage, Stage::Written { .. }));
    }
}

#[test]
fn parts_that_do_not_fit_and_a_card_that_forgets_are_noticed() {
    let mut parts =
        [("boot".to_owned(), Cursor::new(vec![1; 10])), ("root".to_owned(), Cursor::new(vec![1; ROOM + 1]))];
    let mut file = Vec::new();
    pack(NEW, "arm64", &mut parts, &signer(), &mut file).unwrap();
    let cell = Cell::new(Machine::new());
    let e = installed(&cell, &file, OLD).unwrap_err();
    assert!(matches!(e, UpdateError::TooLarge { .. }), "{e}");
    assert!(cell.borrow().record.is_none(), "nothing was begun");

    let cell = Cell::new(Machine { worn: Some(0), ..Machine::new() });
    let e = installed(&cell, &update(), OLD).unwrap_err();
    assert!(matches!(e, UpdateError::Card(_)), "{e}");
    match record(&cell).last {
        Some(Outcome::Failed { reason, .. }) => assert!(reason.contains("worn out"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

/// The power is cut at every operation of a whole update, with several fates for what was under way. After each cut the
/// box starts, runs the old or the new version, and the update can be done again.
#[test]
fn after_a_power_cut_at_any_write_the_box_starts_and_can_be_updated() {
    let cell = Cell::new(Machine { until_cut: Some(usize::MAX), ..Machine::new() });
    whole_update(&cell).unwrap();
    let operations = usize::MAX - cell.borrow().until_cut.unwrap();
    assert!(operations > 15, "{operations} operations");
    for at in 0..operations {
        for dice in 0..8 {
            let cell = Cell::new(Machine { until_cut: Some(at), dice: dice * 7919 + 1, ..Machine::new() });
            assert!(whole_update(&cell).is_err(), "operation {at} was cut");
            let tried = cell.borrow().running == Slot::B;
            cell.borrow_mut().lose_power();
            cell.borrow_mut().power_on();
            let after = started(&cell);
            let version = cell.borrow().runs();
            assert!(version == OLD || version == NEW, "operation {at}: {version}");
            assert_eq!(
                cell.borrow().running,
                cell.borrow().preferred,
                "operation {at}: a trial does not outlive a power cut"
            );
            match (&after.stage, &after.last) {
                // Before anything was begun, or after all of it.
                (Stage::Idle, None) => assert_eq!((at, version), (0, OLD)),
                (Stage::Idle, Some(Outcome::Committed { version: kept })) => {
                    assert_eq!((*kept, version, tried), (NEW, NEW, true), "operation {at}");
                }
                (Stage::Idle, Some(Outcome::Failed { reason, .. } | Outcome::RolledBack { reason, .. })) => {
                    assert_eq!(version, OLD, "operation {at}");
                    assert!(!reason.is_empty());
                }
                (Stage::Written { slot: Slot::B, .. }, _) => assert_eq!(version, OLD, "operation {at}"),
                other => panic!("operation {at}: {other:?}"),
            }
            if version == OLD {
                whole_update(&cell).unwrap_or_else(|e| panic!("operation {at}: again: {e}"));
            }
            cell.borrow_mut().restart();
            assert_eq!((cell.borrow().runs(), cell.borrow().preferred), (NEW, Slot::B), "operation {at}");
        }
    }
}
