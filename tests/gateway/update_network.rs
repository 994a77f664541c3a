//! Updates that come over the network: what is taken, what is refused and when, and that nothing of it is left over.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::support::files::multipart;
use crate::support::updates::Publisher;
use crate::support::{Answer, Office, PATIENCE, request};
use kurir::update::board::{KIND, RecordFile};
use kurir::update::intake::{RECEIVED, take_received};
use kurir::update::{Memory as _, Outcome, PublicKey, Record, Slot, Stage, Version};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATH: &str = "/api/v1/update";
const PASSWORD: &str = "rahasia sekali";
const NEW: &str = "900.0.0";
const PARTS: [(&str, &[u8]); 2] = [("boot", &[1; 300_000]), ("root", &[2; 700_000])];

/// A box with slots.
struct Slotted {
    office: Office,
    publisher: Publisher,
    admin: String,
}

impl Slotted {
    async fn open() -> Slotted {
        let mut publisher = None;
        let office = Office::open_with(|config| publisher = Some(Publisher::of(config))).await;
        let admin = office.gateway.keys().create("admin", "main", true).await.unwrap();
        Slotted { office, publisher: publisher.unwrap(), admin }
    }

    async fn call(&self, method: &str, key: &str, body: impl Into<axum::body::Bytes>) -> Answer {
        request(self.office.gateway.address(), method, PATH, &[("x-api-key", key)], body).await.unwrap()
    }

    async fn put(&self, update: Vec<u8>) -> (u16, Value) {
        let answer = self.call("PUT", &self.admin, update).await;
        (answer.status, answer.json())
    }

    async fn shown(&self) -> Value {
        let answer = self.call("GET", &self.admin, "").await;
        assert_eq!(answer.status, 200);
        answer.json()["update"].clone()
    }

    async fn form(&self, parts: Vec<u8>) -> Answer {
        let headers = [("content-type", "multipart/form-data; boundary=B")];
        request(self.office.gateway.address(), "POST", PATH, &headers, parts).await.unwrap()
    }

    fn received(&self) -> Option<Vec<u8>> {
        std::fs::read(self.office.config.data_dir.join(RECEIVED)).ok()
    }

    /// What lies in the data folder and in the one for files under way.
    fn files(&self) -> BTreeSet<String> {
        let data = &self.office.config.data_dir;
        let names = |folder: &std::path::Path| {
            let entries = std::fs::read_dir(folder).unwrap();
            entries.map(|entry| entry.unwrap().path().display().to_string()).collect::<Vec<_>>()
        };
        names(data).into_iter().chain(names(&data.join("spool"))).collect()
    }

    /// Opens a request whose body has `length` bytes, and sends these of it.
    async fn begin(&self, length: usize, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.office.gateway.address()).await.unwrap();
        let head = format!(
            "PUT {PATH} HTTP/1.1\r\nhost: kurir\r\nx-api-key: {}\r\ncontent-length: {length}\r\n\r\n",
            self.admin
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    fn record(&self, stage: Stage, last: Option<Outcome>) {
        let record = serde_json::to_vec(&Record { stage, last }).unwrap();
        std::fs::write(self.office.config.update_record_path(), record).unwrap();
    }
}

fn version() -> Version {
    NEW.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_and_signed_update_is_handed_over() {
    let it = Slotted::open().await;
    let update = it.publisher.pack(NEW, &PARTS);
    let own = env!("CARGO_PKG_VERSION");
    let idle = json!({"version": own, "board": KIND, "stage": "idle", "next": null, "last": null});
    assert_eq!(it.shown().await, idle);
    let (status, answer) = it.put(update.clone()).await;
    let received = json!({"version": own, "board": KIND, "stage": "received", "next": NEW, "last": null});
    assert_eq!((status, &answer), (202, &json!({"success": true, "update": received})));
    assert_eq!(it.shown().await, received);
    assert_eq!(it.received().as_ref(), Some(&update), "byte for byte");
    let file = std::fs::metadata(it.office.config.data_dir.join(RECEIVED)).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);

    // As long as nobody has begun to write it, a later one takes its place.
    let later = it.publisher.pack("900.0.1", &PARTS);
    assert_eq!(it.put(later.clone()).await.1["update"]["next"], "900.0.1");
    assert_eq!(it.received(), Some(later));

    // Root's side.
    let data = &it.office.config.data_dir;
    let mut file = take_received(data).unwrap().unwrap();
    assert_eq!((it.received(), take_received(data).unwrap().is_none()), (None, true));
    let key = PublicKey::parse(&std::fs::read_to_string(it.publisher.key_file()).unwrap()).unwrap();
    assert_eq!(kurir::update::intake::version_of(&mut file, &key).unwrap().to_string(), "900.0.1");
    let bundle = kurir::update::Bundle::open(file, &key).unwrap();
    let mut root = Vec::new();
    let unpacked = bundle.unpack(4096, |part, _, bytes| {
        if part.name == "root" {
            root.extend_from_slice(bytes);
        }
        Ok(())
    });
    assert_eq!((unpacked.unwrap().parts.len(), root), (2, vec![2; 700_000]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_with_the_reason_and_nothing_is_left() {
    let it = Slotted::open().await;
    let good = it.publisher.pack(NEW, &PARTS);
    let changed = |at: usize| {
        let mut update = good.clone();
        update[at] ^= 1;
        update
    };
    let other_board = if KIND == "arm64" { "armhf" } else { "arm64" };
    let before = it.files();
    for (what, update, status, says) in [
        ("nothing", Vec::new(), 400, "cut off"),
        ("something else", vec![b'x'; 5000], 400, "no update file"),
        ("somebody else's", Publisher::stranger().pack(NEW, &PARTS), 400, "signature"),
        ("a changed list", changed(20), 400, "signature"),
        ("changed contents", changed(good.len() - 1), 400, "part root of the update is damaged"),
        ("cut in its list", good[..40].to_vec(), 400, "cut off"),
        ("cut in a part", good[..good.len() - 1].to_vec(), 400, "part root is incomplete"),
        ("more than it says", [good.as_slice(), b"x"].concat(), 400, "more in it"),
        ("for another box", it.publisher.pack_for(other_board, NEW, &PARTS), 400, other_board),
        ("older", it.publisher.pack("0.0.1", &PARTS), 409, "0.0.1"),
        ("what runs", it.publisher.pack(env!("CARGO_PKG_VERSION"), &PARTS), 409, "already"),
        ("other parts", it.publisher.pack(NEW, &PARTS[..1]), 400, "boot, root"),
    ] {
        let (got, answer) = it.put(update).await;
        assert_eq!((got, answer["success"].as_bool()), (status, Some(false)), "{what}: {answer}");
        assert!(answer["message"].as_str().unwrap().to_lowercase().contains(says), "{what}: {answer}");
        assert_eq!(it.files(), before, "{what}");
    }
    assert_eq!(it.shown().await["stage"], "idle");
    assert_eq!(it.put(good).await.0, 202, "a good one is taken after all that");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_sends_one_and_only_where_there_are_slots() {
    let it = Slotted::open().await;
    let update = it.publisher.pack(NEW, &PARTS);
    let other = it.office.gateway.keys().create("till", "main", false).await.unwrap();
    for (key, status) in [("", 401), ("wrong", 401), (other.as_str(), 403)] {
        for (method, body) in [("GET", Vec::new()), ("PUT", update.clone())] {
            assert_eq!(it.call(method, key, body).await.status, status, "{method} with {key:?}");
        }
    }
    assert_eq!(it.received(), None);

    let office = Office::open().await;
    let admin = office.gateway.keys().create("admin", "main", true).await.unwrap();
    for method in ["GET", "PUT"] {
        let headers = [("x-api-key", admin.as_str())];
        let answer = request(office.gateway.address(), method, PATH, &headers, "x").await.unwrap();
        assert_eq!(answer.status, 409, "{answer:?}");
        assert!(answer.json()["message"].as_str().unwrap().contains("no slots"), "{answer:?}");
    }
    let page = request(office.gateway.address(), "GET", "/update", &[], "").await.unwrap();
    assert!(!String::from_utf8_lossy(&page.body).contains("<form"), "{page:?}");
}

/// Somebody who sends half a gigabyte that nobody signed hears so at its beginning.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_head_is_refused_before_the_rest_is_sent() {
    let it = Slotted::open().await;
    let update = Publisher::stranger().pack(NEW, &PARTS);
    let list = u32::from_le_bytes(update[8..12].try_into().unwrap()) as usize;
    // And waits.
    let mut stream = it.begin(500_000_000, &update[..12 + list + 64]).await;
    let mut answer = vec![0; 12];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 400");
    let mut stream = it.begin(2_000_000_000, b"").await;
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 413", "no update is that long");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_breaks_off_leaves_nothing_and_makes_room_for_the_next() {
    let it = Slotted::open().await;
    let update = it.publisher.pack(NEW, &PARTS);
    let before = it.files();
    let under_way = it.begin(update.len(), &update[..update.len() / 2]).await;
    let begun = async {
        while it.files() == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, begun).await.expect("nothing of it is written");
    let (status, answer) = it.put(update.clone()).await;
    assert_eq!(status, 409, "two are received at once");
    assert!(answer["message"].as_str().unwrap().contains("being received"), "{answer}");
    drop(under_way);
    let free = async {
        loop {
            match it.put(update.clone()).await {
                (409, _) => tokio::time::sleep(Duration::from_millis(5)).await,
                (status, answer) => return (status, answer),
            }
        }
    };
    let (status, answer) = tokio::time::timeout(PATIENCE, free).await.expect("its place is not given back");
    assert_eq!(status, 202, "{answer}");
    let mut expected = before;
    expected.insert(it.office.config.data_dir.join(RECEIVED).display().to_string());
    assert_eq!(it.files(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_at_a_time_is_installed_and_people_see_how_far_it_is() {
    let it = Slotted::open().await;
    let update = it.publisher.pack(NEW, &PARTS);
    let last = Some(Outcome::RolledBack { version: version(), reason: "it did not answer".into() });
    let trying = Stage::Trying { slot: Slot::B, version: version() };
    let given_up = Stage::GivenUp { slot: Slot::B, version: version(), reason: "port 80: refused".into() };
    let writing = Stage::Writing { version: version() };
    for (stage, name) in [(writing, "writing"), (trying, "trying"), (given_up, "given_up")] {
        it.record(stage, last.clone());
        let (status, answer) = it.put(update.clone()).await;
        assert_eq!(status, 409, "{answer}");
        assert!(answer["message"].as_str().unwrap().contains(NEW), "{answer}");
        let shown = it.shown().await;
        assert_eq!((&shown["stage"], &shown["next"]), (&json!(name), &json!(NEW)));
        let outcome = json!({"outcome": "rolled_back", "version": NEW, "reason": "it did not answer"});
        assert_eq!(shown["last"], outcome);
    }
    assert_eq!(it.received(), None);
    // One that was written and never tried is written over.
    it.record(Stage::Written { slot: Slot::B, version: version() }, None);
    assert_eq!(it.shown().await["stage"], "written");
    assert_eq!(it.put(update).await.0, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_updates_from_a_browser_with_the_password() {
    let it = Slotted::open().await;
    let address = it.office.gateway.address();
    let update = it.publisher.pack(NEW, &PARTS);
    let file = Some(("file", "kurir.update", update.as_slice()));
    let text = |answer: &Answer| String::from_utf8(answer.body.to_vec()).unwrap();

    let page = request(address, "GET", "/update", &[], "").await.unwrap();
    assert!(page.status == 200 && !text(&page).contains("<form"), "the box has no password: {page:?}");
    let refused = it.form(multipart(&[("password", PASSWORD)], file)).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    let body = json!({"password": PASSWORD}).to_string();
    let set = request(address, "PUT", "/api/v1/password", &[("x-api-key", &it.admin)], body).await.unwrap();
    assert_eq!(set.status, 200);
    let front = request(address, "GET", "/", &[], "").await.unwrap();
    assert!(text(&front).contains("href=\"/update\""));
    let page = request(address, "GET", "/update", &[], "").await.unwrap();
    assert!(text(&page).contains("<form") && page.headers.get("refresh").is_none(), "{page:?}");

    let late = [multipart(&[], file), multipart(&[("password", PASSWORD)], None)].concat();
    let long = "x".repeat(10_000);
    for (what, parts, status) in [
        ("a wrong password", multipart(&[("password", "kata sandi lain")], file), 401),
        ("no password", multipart(&[], file), 400),
        ("the password after the file", late, 400),
        ("a long password", multipart(&[("password", &long)], file), 400),
        ("no file", multipart(&[("password", PASSWORD)], None), 400),
        ("another field", multipart(&[("password", PASSWORD), ("x", "y")], file), 400),
        ("no update", multipart(&[("password", PASSWORD)], Some(("file", "a.pdf", b"%PDF-1.7"))), 400),
    ] {
        let answer = it.form(parts).await;
        assert_eq!(answer.status, status, "{what}: {}", text(&answer));
        assert!(text(&answer).contains("role=\"alert\"") && text(&answer).contains("<form"), "{what}");
        assert_eq!(it.received(), None, "{what}");
    }
    let json = request(address, "POST", PATH, &[], "{}").await.unwrap();
    assert_eq!(json.status, 400, "{json:?}");

    let answer = it.form(multipart(&[("password", PASSWORD)], file)).await;
    assert_eq!(answer.status, 202, "{}", text(&answer));
    assert!(text(&answer).contains(NEW) && !text(&answer).contains("<form"), "{}", text(&answer));
    assert_eq!(answer.headers["refresh"], "10; url=/update", "the browser looks again by itself");
    assert_eq!(it.received(), Some(update));
}

/// A message may have 50 MB; an update has more than three times that.
#[tokio::test(flavor = "multi_thread")]
async fn an_update_is_longer_than_any_message() {
    let it = Slotted::open().await;
    let root = vec![0; 80 * 1024 * 1024];
    let update = it.publisher.pack(NEW, &[("boot", b"boot"), ("root", &root)]);
    let length = update.len() as u64;
    assert_eq!(it.put(update.clone()).await.0, 202);
    let file = it.office.config.data_dir.join(RECEIVED);
    assert_eq!(std::fs::metadata(&file).unwrap().len(), length);
    let headers = [("x-api-key", it.admin.as_str())];
    let elsewhere =
        request(it.office.gateway.address(), "PUT", "/api/v1/certificate", &headers, update).await;
    assert_eq!(elsewhere.unwrap().status, 413, "and only there");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_received_is_erased_with_everything_else() {
    let it = Slotted::open().await;
    assert_eq!(it.put(it.publisher.pack(NEW, &PARTS)).await.0, 202);
    let Slotted { office, .. } = it;
    office.gateway.shutdown().await;
    kurir::gateway::erase_data_dir(&office.config).unwrap();
    assert!(!office.config.data_dir.join(RECEIVED).exists());
}

/// The folder is the gateway's, and root looks into it.
#[test]
fn root_takes_nothing_but_a_file() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(RECEIVED);
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    assert!(take_received(folder.path()).unwrap().is_none());
    symlink(&secret, &path).unwrap();
    assert!(take_received(folder.path()).is_err());
    assert!(!path.is_symlink() && secret.exists(), "the link is gone, what it named is not");
    let fifo = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(fifo.success());
    assert!(take_received(folder.path()).is_err(), "and it did not wait for somebody to write");
    assert!(!path.exists());
    std::fs::create_dir_all(path.join("more")).unwrap();
    assert!(take_received(folder.path()).is_err());
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["secret"], "nothing is in the way of the next one");
}

/// As the folder's owner could try to keep root waiting, or to fill its memory.
#[test]
fn the_record_is_read_from_a_file_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("update.json");
    let mut record = RecordFile(path.clone());
    assert_eq!(record.load().unwrap(), None);
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    assert_eq!(record.load().unwrap(), None, "a link");
    record.save(b"{}").unwrap();
    assert_eq!(record.load().unwrap().unwrap(), b"{}", "its place is taken");
    std::fs::remove_file(&path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert_eq!(record.load().unwrap(), None, "a pipe that nobody writes to");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir_all(path.join("more")).unwrap();
    assert_eq!(record.load().unwrap(), None, "a folder");
    record.save(b"{}").unwrap();
    assert_eq!(record.load().unwrap().unwrap(), b"{}");
    std::fs::write(&path, vec![b' '; 100_000]).unwrap();
    assert_eq!(record.load().unwrap(), None, "too long for a record");
}
