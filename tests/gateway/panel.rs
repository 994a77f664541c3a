//! The front panel on a running gateway: a virtual SSD1306 whose pixels a phone scans, buttons that a program presses,
//! and everything that ends with a hold.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::process::{KEY, Process, kurir, run};
use crate::support::{CUSTOMER, OFFICE, Office, PATIENCE, request, wait_for};
use kurir::api::keys::DEFAULT_ACCOUNT;
use kurir::gateway::Gateway;
use kurir::outbox::Progress;
use kurir::panel::run::Parts;
use kurir::session::{Session, Status};
use kurir_board::memory::{self, Fingers, MemoryLed};
use kurir_board::virtual_ssd1306::{Glass, VirtualSsd1306};
use kurir_board::{Board, Button, Dimming, Edge, Frame, Motion};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::watch;
use tokio::time::Instant;
use whatsapp_sim::{Sim, SimConfig};

/// How late an edge may come; a button that is down for a minute counts as stuck.
const EARLIER: Duration = Duration::from_secs(50);

/// A panel in the hands of a test.
struct Hands {
    glass: VirtualSsd1306,
    fingers: Fingers,
    lamp: watch::Receiver<u8>,
    /// When the last edge was.
    last: Cell<Instant>,
}

/// The same on whatever machine this runs.
fn addresses() -> Vec<IpAddr> {
    vec!["192.168.1.20".parse().unwrap()]
}

/// A panel without the hardware.
fn panel() -> (Hands, Parts) {
    let glass = VirtualSsd1306::new(Glass::W128H64);
    let (fingers, buttons) = memory::buttons(&[]);
    let led = MemoryLed::new(Dimming::OnOff);
    let lamp = led.watch();
    let board = Board {
        name: "virtual".into(),
        display: Some(glass.display()),
        buttons: Some(Box::new(buttons)),
        led: Some(Box::new(led)),
        missing: Vec::new(),
    };
    let last = Cell::new(Instant::now() - EARLIER);
    (Hands { glass, fingers, lamp, last }, Parts::of(board, addresses()))
}

async fn office() -> (Hands, Office) {
    let (hands, parts) = panel();
    let sim = Sim::start(SimConfig::default()).await.unwrap();
    (hands, Office::open_panel(sim, |_| {}, |_| parts).await)
}

/// Waits until a watched value fits. What is seen is not held on to: whoever changes it would wait for that.
async fn comes<T>(watch: &mut watch::Receiver<T>, fits: impl FnMut(&T) -> bool) -> bool {
    tokio::time::timeout(PATIENCE, watch.wait_for(fits)).await.is_ok_and(|came| came.is_ok())
}

impl Hands {
    /// Presses and releases a button, both in the past: the edges carry their times, so nobody waits for a hold.
    fn press(&self, button: Button, held: Duration) {
        let after_last = self.last.get() + Duration::from_millis(100);
        let pressed = after_last.max(Instant::now() - EARLIER);
        self.last.set(pressed + held);
        for (motion, at) in [(Motion::Pressed, pressed), (Motion::Released, pressed + held)] {
            assert!(self.fingers.deliver(Edge { button, motion, at }));
        }
    }

    fn hold(&self, button: Button, seconds: u64) {
        self.press(button, Duration::from_secs(seconds));
    }

    /// Waits until `see` finds what it looks for in the pixels.
    async fn see<T>(&self, what: &str, see: impl Fn(&Frame) -> Option<T>) -> T {
        let mut transfers = self.glass.transfers();
        let look = async {
            loop {
                transfers.borrow_and_update();
                if let Some(seen) = see(&self.glass.picture()) {
                    return seen;
                }
                transfers.changed().await.unwrap();
            }
        };
        let Ok(seen) = tokio::time::timeout(PATIENCE, look).await else { panic!("never seen: {what}") };
        seen
    }

    /// Waits until the panel shows this screen, and until its pixels are on the glass.
    async fn sees_screen(&self, gateway: &Gateway, screen: &str) {
        let mut shown = gateway.shown();
        let came = comes(&mut shown, |shown| shown.screen == screen).await;
        assert!(came, "the screen never was {screen}, but {}", gateway.shown().borrow().screen);
        self.see(screen, |seen| (*seen == *gateway.shown().borrow().frame).then_some(())).await;
    }
}

/// What a phone's camera makes of the pixels: each is several of the camera's.
fn scan(frame: &Frame) -> Option<String> {
    const ZOOM: usize = 4;
    let (width, luma) = (128, frame.to_luma());
    let height = luma.len() / width;
    let pixel = |x: usize, y: usize| luma[y / ZOOM * width + x / ZOOM];
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(width * ZOOM, height * ZOOM, pixel);
    image.detect_grids().first()?.decode().ok().map(|(_, text)| text)
}

/// The files of the folder that hold these bytes.
fn holding(folder: &Path, secret: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = std::fs::symlink_metadata(&path).unwrap();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file()
                && std::fs::read(&path).unwrap().windows(secret.len()).any(|part| part == secret)
            {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

/// The private key of the session's connection to WhatsApp.
fn noise_key(session: &Session) -> Vec<u8> {
    let device = session.client().unwrap().persistence_manager().get_device_snapshot();
    device.noise_key.private_key.serialize().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_in_the_boot_configuration_is_on_the_screen() {
    let (_hands, parts) = panel();
    let sim = Sim::start(SimConfig::default()).await.unwrap();
    let wrong = |config: &mut kurir::config::Config| {
        config.notices = vec!["kurir.toml: country: wajib".into(), "kurir.toml: dns: salah".into()];
    };
    let office = Office::open_panel(sim, wrong, |_| parts).await;
    assert!(comes(&mut office.gateway.shown(), |shown| shown.screen == "notice").await);
    assert_eq!(office.gateway.facts().borrow().notice.as_deref(), Some("kurir.toml: country: wajib (+1)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_with_two_buttons_and_a_phone_pairs_unlinks_and_erases() {
    let (hands, office) = office().await;
    hands.sees_screen(&office.gateway, "no-session").await;
    hands.hold(Button::Reconnect, 3);
    let code = hands.see("the first code", scan).await;
    let session = office.gateway.registry().list().pop().unwrap();
    assert_eq!(session.snapshot().qr.unwrap().text, code, "the pixels are the code");
    hands
        .see("bright for the camera", |_| (hands.glass.controller().brightness() == 255).then_some(()))
        .await;
    office.sim.scan(OFFICE, &code).await.unwrap();
    wait_for(&session, |s| s.status == Status::Connected).await;
    hands.sees_screen(&office.gateway, "online").await;
    assert_eq!(office.sim.linked(OFFICE).unwrap().len(), 1);
    let mut lamp = hands.lamp.clone();
    assert!(comes(&mut lamp, |level| *level == 255).await, "the LED is steady");

    hands.hold(Button::Reset, 6);
    let second = hands.see("a second code", |seen| scan(seen).filter(|text| *text != code)).await;
    assert_eq!(office.sim.linked(OFFICE).unwrap(), [0_u16; 0], "unlinked at WhatsApp, not only here");
    assert_eq!(office.gateway.registry().list().len(), 1, "the same session, paired anew");
    office.sim.scan(OFFICE, &second).await.unwrap();
    wait_for(&session, |s| s.status == Status::Connected).await;
    hands.sees_screen(&office.gateway, "online").await;

    let text = "Faktur 2026/11/0042 sudah lunas";
    let path = format!("/api/sessions/{}/send", session.id());
    let sent = office.call("POST", &path, Some(json!({"to": CUSTOMER, "message": text}))).await.json();
    office.reached(sent["messageId"].as_str().unwrap(), Progress::Sent).await;
    let secrets = [
        ("the noise key", noise_key(&session)),
        ("the hash of the API key", Sha256::digest(&office.key).to_vec()),
        ("a message", text.as_bytes().to_vec()),
    ];
    let folder = office.folder.path();
    let mut found = Vec::new();
    // Keys are written as bytes, in hexadecimal or as a list of numbers; what is looked for below is what is found here.
    for (what, bytes) in secrets {
        let numbers = bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(",");
        let spellings = [bytes.clone(), hex::encode(&bytes).into_bytes(), numbers.into_bytes()];
        let spelling = spellings.into_iter().find(|bytes| !holding(folder, bytes).is_empty());
        found.push((
            what,
            spelling.unwrap_or_else(|| panic!("{what} is not in the folder in the first place")),
        ));
    }
    std::fs::write(folder.join("kurir.toml"), "admin_key = \"0123456789abcdef\"\n").unwrap();
    let mut store = std::fs::File::open(folder.join("kurir.redb")).unwrap();

    hands.hold(Button::Reset, 13);
    let asked = tokio::time::timeout(PATIENCE, office.gateway.erase_asked()).await;
    assert!(asked.is_ok(), "twelve seconds are enough");
    drop(session);
    let Office { sim, gateway, config, folder, .. } = office;
    let shown = gateway.shown();
    gateway.erase(&kurir::store::erase::Progress::default()).await.unwrap();
    assert_eq!(sim.linked(OFFICE).unwrap(), [0_u16; 0], "the phone no longer lists the device");
    assert_eq!((shown.borrow().screen, shown.borrow().pattern.name()), ("erasing", "erasing"));
    assert_eq!(hands.glass.picture(), *shown.borrow().frame, "the screen says so to the end");
    for (what, bytes) in &found {
        assert!(holding(folder.path(), bytes).is_empty(), "{what} is still there");
        let mut left = Vec::new();
        std::io::Read::read_to_end(&mut store, &mut left).unwrap();
        std::io::Seek::rewind(&mut store).unwrap();
        assert!(
            !left.windows(bytes.len()).any(|part| part == bytes),
            "{what} was only unlinked, not overwritten"
        );
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "nothing that Kurir wrote is left: {left:?}");

    let gateway = Gateway::start(&config).await.unwrap();
    assert!(gateway.registry().list().is_empty() && !gateway.keys().any(), "as new");
    gateway.shutdown().await;
    hands.glass.check().unwrap();
    assert!(sim.stats().violations.is_empty(), "{:#?}", sim.stats().violations);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_a_power_cut_interrupted_is_finished_at_the_next_start() {
    let (office, session) = Office::paired().await;
    let id = session.id().to_owned();
    drop(session);
    let Office { sim: _sim, gateway, config, folder, .. } = office;
    gateway.shutdown().await;
    std::fs::write(folder.path().join("erasing"), "").unwrap();
    let gateway = Gateway::start(&config).await.unwrap();
    assert!(gateway.registry().get(&id).is_none() && !gateway.keys().any());
    assert!(!folder.path().join("erasing").exists());
    gateway.keys().create("new", DEFAULT_ACCOUNT, false).await.unwrap();
    gateway.shutdown().await;
    let gateway = Gateway::start(&config).await.unwrap();
    assert!(gateway.keys().any(), "and only once");
    gateway.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_display_that_disappears_or_hangs_delays_nothing_and_comes_back() {
    let (hands, office) = office().await;
    hands.sees_screen(&office.gateway, "no-session").await;
    let parts = async || office.call("GET", "/readyz", None).await.json()["panel"]["parts"].clone();
    let works = json!({"display": "works", "buttons": "works", "led": "works"});
    assert_eq!(parts().await, works);

    hands.glass.unplug();
    // A change that is drawn, so that the missing display is noticed.
    let session = office.pair(OFFICE).await;
    let mut shown = office.gateway.shown();
    assert!(comes(&mut shown, |shown| shown.display.as_str() == "fails").await);
    assert_eq!(parts().await["display"], "fails");
    assert_eq!(session.snapshot().status, Status::Connected, "pairing went on without it");
    hands.glass.plug();
    hands.press(Button::Reconnect, Duration::from_millis(200));
    let came = hands.see("the picture on a display that is back", |seen| {
        (*seen == *office.gateway.shown().borrow().frame && seen.to_luma().contains(&255)).then_some(())
    });
    came.await;

    hands.glass.hold_clock();
    hands.hold(Button::Reset, 6);
    let mut unlinked = session.watch();
    assert!(
        comes(&mut unlinked, |s| s.qr.is_some()).await,
        "the button works while the display's bus is held"
    );
    // Answered while nobody lets the bus go.
    assert_eq!(office.call("GET", "/healthz", None).await.status, 200);
    assert_eq!(office.call("GET", "/api/v1/panel.png", None).await.status, 200);
    hands.glass.let_go();
    let code = hands.see("the code, once the bus is free", scan).await;
    assert_eq!(code, session.snapshot().qr.unwrap().text);
    hands.glass.check().unwrap();
}

/// The size of a PNG, and the brightness of each pixel.
fn decode(png: &[u8]) -> ((usize, usize), Vec<u8>) {
    let mut decoder = png::Decoder::new(std::io::Cursor::new(png));
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let size = reader.next_frame(&mut bytes).unwrap();
    assert_eq!(size.color_type, png::ColorType::Grayscale);
    ((size.width as usize, size.height as usize), bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_picture_of_the_panel_is_for_who_may_see_every_session() {
    // No display at all: what one would show is drawn.
    let sim = Sim::start(SimConfig::default()).await.unwrap();
    let board = Board { name: "none".into(), display: None, buttons: None, led: None, missing: Vec::new() };
    let parts = Parts::of(board, addresses());
    let office = Office::open_panel(sim, |_| {}, |_| parts).await;
    let session = office.gateway.registry().create("Kasir", DEFAULT_ACCOUNT).await.unwrap();
    let code = wait_for(&session, |s| s.qr.is_some()).await.qr.unwrap().text;
    let mut shown = office.gateway.shown();
    assert!(comes(&mut shown, |shown| shown.screen == "qr").await);
    let answer = office.call("GET", "/api/v1/panel.png", None).await;
    assert_eq!((answer.status, &answer.headers["content-type"]), (200, &"image/png".parse().unwrap()));
    assert_eq!(answer.headers["cache-control"], "no-store");
    let ((width, height), pixels) = decode(&answer.body);
    assert_eq!((width, height), (512, 256));
    let pixel = |x: usize, y: usize| pixels[y * width + x];
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(width, height, pixel);
    assert_eq!(image.detect_grids()[0].decode().unwrap().1, code);
    let small = office.call("GET", "/api/v1/panel.png?scale=1", None).await;
    assert_eq!(decode(&small.body).0, (128, 64));
    let panel = office.call("GET", "/readyz", None).await.json()["panel"].clone();
    let none = json!({"display": "none", "buttons": "none", "led": "none"});
    assert_eq!(panel, json!({"led": "waiting-for-scan", "screen": "qr", "parts": none}));

    for wrong in ["0", "17", "x", ""] {
        let answer = office.call("GET", &format!("/api/v1/panel.png?scale={wrong}"), None).await;
        assert_eq!(answer.status, 400, "{wrong}");
        assert!(answer.json()["message"].as_str().unwrap().contains("scale"), "{answer:?}");
    }
    let get = async |key: &str| {
        let headers = [("x-api-key", key)];
        request(office.gateway.address(), "GET", "/api/v1/panel.png", &headers, "").await.unwrap().status
    };
    assert_eq!(
        request(office.gateway.address(), "GET", "/api/v1/panel.png", &[], "").await.unwrap().status,
        401
    );
    assert_eq!(get("wrong").await, 401);
    assert_eq!(get(&office.token(&session).await).await, 403, "a key for one session");
    let stranger = office.gateway.keys().create("klinik", "clinic", false).await.unwrap();
    assert_eq!(get(&stranger).await, 403, "a key of another account");
    let admin = office.gateway.keys().create("admin", "clinic", true).await.unwrap();
    assert_eq!(get(&admin).await, 200);
    office.gateway.registry().create("Klinik", "clinic").await.unwrap();
    assert_eq!(get(&office.key).await, 403, "another account's code may be on the screen");
    assert_eq!(get(&admin).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_board_that_is_not_there_is_one_line_and_the_gateway_runs() {
    let sim = Sim::start(SimConfig::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("board.toml");
    let text = include_str!("../fixtures/nowhere.toml");
    std::fs::write(&profile, text).unwrap();
    let profile = profile.display().to_string();
    for (board, says) in [
        (profile.as_str(), ["/nonexistent/i2c-7", "dtparam=i2c_arm=on", "/boot/firmware/config.txt"]),
        ("rasberry-pi", ["`rasberry-pi`", "`raspberry-pi`", "without a panel"]),
    ] {
        let data = folder.path().join("data");
        let process = Process::serve(&data, &sim, &[("KURIR_BOARD", board)]).await;
        let ready = request(process.address, "GET", "/readyz", &[], "").await.unwrap();
        assert_eq!((ready.status, &ready.json()["status"]), (200, &json!("ready")), "{board}");
        let display = ready.json()["panel"]["parts"]["display"].clone();
        let expected = if board == "rasberry-pi" { "none" } else { "fails" };
        assert_eq!(display, expected, "{board}");
        let (_, stderr, well) = process.stop().await;
        assert!(well, "{stderr}");
        let lines: Vec<_> = stderr.lines().filter(|line| line.contains(says[0])).collect();
        assert_eq!(lines.len(), 1, "{board}: {stderr}");
        assert!(says.iter().all(|says| lines[0].contains(says)), "{board}: {stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_board_command_prints_the_wiring_and_refuses_what_does_not_exist() {
    let folder = tempfile::tempdir().unwrap();
    let board = async |name: &str, arguments: &[&str]| {
        let output = run(kurir(folder.path(), arguments).env("KURIR_BOARD", name)).await;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, stdout, _) = board("raspberry-pi", &["board"]).await;
    assert_eq!(code, Some(0));
    assert!(
        stdout.contains("* raspberry-pi ") && stdout.contains("   18  GPIO24  button reset\n"),
        "{stdout}"
    );
    let (code, stdout, stderr) = board("rasberry-pi", &["board"]).await;
    assert_eq!(code, Some(1));
    assert!(stdout.contains("waveshare-oled-hat"), "the list helps to find the name: {stdout}");
    assert!(stderr.starts_with("kurir: ") && stderr.contains("`rasberry-pi`"), "{stderr}");
    let (code, _, stderr) = board("none", &["board", "test"]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("`none`") && stderr.lines().count() == 1, "{stderr}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "looking creates nothing");

    let sim = Sim::start(SimConfig::default()).await.unwrap();
    let process = Process::serve(folder.path(), &sim, &[]).await;
    let (code, _, stderr) = board("raspberry-pi", &["board", "test"]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("systemctl stop kurir"), "{stderr}");
    assert!(process.stop().await.2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_erase_command_makes_a_running_and_a_stopped_gateway_as_new() {
    let sim = Sim::start(SimConfig::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let command = async |arguments: &[&str]| {
        let output = run(&mut kurir(folder.path(), arguments)).await;
        let stderr = String::from_utf8(output.stderr).unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap(), stderr)
    };
    assert!(command(&["key", "new", "--name", "kasir"]).await.0);
    let mut child = kurir(folder.path(), &["serve"])
        .env("KURIR_LISTEN", "127.0.0.1:0")
        .env("KURIR_WHATSAPP_URL", sim.ws_url())
        .env("KURIR_ADMIN_KEY", KEY)
        .spawn()
        .unwrap();
    let pid = child.id();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut listens = async || {
        let wait = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("it ended");
                if let Some((_, address)) = line.split_once("http://") {
                    return address.parse::<SocketAddr>().unwrap();
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("it never listened")
    };
    let sessions = async |address: SocketAddr| -> Value {
        let list = request(address, "GET", "/api/sessions?list=1", &[("x-api-key", KEY)], "").await.unwrap();
        list.json()["sessions"][0]["id"].clone()
    };
    let first = sessions(listens().await).await;
    let (done, _, stderr) = command(&["erase"]).await;
    assert!(!done && stderr.contains("--yes"), "nothing without being sure: {stderr}");
    assert_eq!(command(&["key", "list"]).await.1.lines().count(), 1);
    let (done, _, stderr) = command(&["erase", "--yes"]).await;
    assert!(done, "{stderr}");
    let second = sessions(listens().await).await;
    assert_ne!(first, second, "a new session");
    assert_eq!(command(&["key", "list"]).await.1, "", "the key is gone");
    assert_eq!(
        (child.id(), child.try_wait().unwrap()),
        (pid, None),
        "the same process for whoever supervises it"
    );
    child.kill().await.unwrap();

    assert!(command(&["key", "new", "--name", "kasir"]).await.0);
    assert!(command(&["erase", "--yes"]).await.0, "without a gateway");
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Seconds of CPU time that a process has used.
fn cpu_seconds(pid: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // After the name, which may hold anything: the fields from the third on (proc(5)); 14 and 15 are utime and stime.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

/// The share of one core that a process takes over a minute.
async fn idle_share(pid: &str) -> f64 {
    const MINUTE: Duration = Duration::from_secs(60);
    // What the start still has to do.
    tokio::time::sleep(Duration::from_secs(15)).await;
    let before = cpu_seconds(pid);
    tokio::time::sleep(MINUTE).await;
    (cpu_seconds(pid) - before) / MINUTE.as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures for three minutes: cargo test --test gateway idle -- --ignored --nocapture"]
async fn an_idle_gateway_takes_less_than_half_a_percent_of_a_core() {
    let sim = Sim::start(SimConfig::default()).await.unwrap();
    sim.add_phone(OFFICE, "Kantor").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let process = Process::serve(folder.path(), &sim, &[]).await;
    let headers = [("x-api-key", KEY)];
    let list = request(process.address, "GET", "/api/sessions?list=1", &headers, "").await.unwrap().json();
    let id = list["sessions"][0]["id"].as_str().unwrap();
    let qr = request(process.address, "GET", &format!("/api/sessions/{id}/qr"), &headers, "").await.unwrap();
    sim.scan(OFFICE, qr.json()["qr"].as_str().unwrap()).await.unwrap();
    let process_share = idle_share(&process.child.id().unwrap().to_string()).await;
    process.kill().await;

    let (hands, office) = office().await;
    office.pair(OFFICE).await;
    hands.sees_screen(&office.gateway, "online").await;
    let panel_share = idle_share("self").await;
    println!(
        "idle: {:.3} % of a core without a display; {:.3} % with a virtual one, the test server included",
        process_share * 100.0,
        panel_share * 100.0
    );
    assert!(process_share < 0.005 && panel_share < 0.005);
}
