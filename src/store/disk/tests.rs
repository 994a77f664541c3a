use std::sync::mpsc;

use proptest::prelude::*;
use redb::backends::InMemoryBackend;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Write(u64, usize, u8),
    SetLen(u64),
    Sync,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0u64..20_000, 0usize..6_000, 1u8..).prop_map(|(at, len, byte)| Step::Write(at, len, byte)),
        1 => (0u64..24_000).prop_map(Step::SetLen),
        1 => Just(Step::Sync),
    ];
    proptest::collection::vec(step, 0..30)
}

/// The same steps on a plain array: whether they fit, and what is there afterwards.
fn model(bytes: &mut Vec<u8>, step: &Step) -> bool {
    match step {
        Step::Sync => true,
        Step::SetLen(len) => {
            bytes.resize(*len as usize, 0);
            true
        }
        Step::Write(at, len, byte) => {
            let range = *at as usize..*at as usize + len;
            bytes.get_mut(range).map(|part| part.fill(*byte)).is_some()
        }
    }
}

fn read_all(handle: &DiskHandle) -> Vec<u8> {
    let mut bytes = vec![0; handle.len().unwrap() as usize];
    handle.read(0, &mut bytes).unwrap();
    bytes
}

/// Refuses the write or sync with this number, once.
#[derive(Debug)]
struct Failing(InMemoryBackend, AtomicU64);

impl Failing {
    fn count(&self) -> io::Result<()> {
        if self.1.fetch_sub(1, Relaxed) == 1 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    }
}

impl StorageBackend for Failing {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.count()?;
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.count()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.count()?;
        self.0.write(offset, data)
    }
}

proptest! {
    #[test]
    fn what_is_held_is_read_and_then_carried_out(
        first in proptest::collection::vec(1u8.., 1..15_000),
        steps in steps(),
        fail_at in 1u64..40,
    ) {
        let backend = Failing(InMemoryBackend::new(), AtomicU64::new(0));
        backend.set_len(first.len() as u64).unwrap();
        backend.write(0, &first).unwrap();
        backend.1.store(fail_at, Relaxed);
        let disk = Arc::new(Disk::new(Box::new(backend), Duration::ZERO));
        disk.hold().unwrap();
        let handle = DiskHandle::new(&disk);
        let mut expected = first.clone();
        for step in &steps {
            let fits = model(&mut expected, step);
            let done = match step {
                Step::Write(at, len, byte) => handle.write(*at, &vec![*byte; *len]),
                Step::SetLen(len) => handle.set_len(*len),
                Step::Sync => handle.sync_data(),
            };
            prop_assert_eq!(done.is_ok(), fits);
            prop_assert_eq!(&read_all(&handle), &expected);
        }
        prop_assert_eq!(disk.counts.bytes_written.load(Relaxed), 0);

        // A release that fails half-way: still held, everything still there to be read, and the next one ends it.
        if disk.release().is_err() {
            prop_assert!(disk.is_held());
            prop_assert_eq!(&read_all(&handle), &expected);
            disk.release().unwrap();
        }
        prop_assert!(!disk.is_held());
        prop_assert_eq!(&read_all(&handle), &expected);
    }
}

#[test]
fn a_replaced_handle_can_do_nothing() {
    let backend = InMemoryBackend::new();
    backend.set_len(10).unwrap();
    let disk = Arc::new(Disk::new(Box::new(backend), Duration::ZERO));
    let old = DiskHandle::new(&disk);
    old.write(0, b"old").unwrap();
    let new = DiskHandle::new(&disk);
    assert!(old.write(0, b"late").is_err());
    assert!(old.set_len(0).is_err());
    assert!(old.sync_data().is_err());
    assert!(old.read(0, &mut [0]).is_err());
    assert!(disk.take_failure().is_none(), "counted as a failure of the disk");
    assert_eq!(&read_all(&new)[..3], b"old");
    disk.revoke();
    assert!(new.write(0, b"late").is_err());
}

/// Has the file replaced, and written over, in the middle of a read.
#[derive(Debug)]
struct Interrupted(Arc<InMemoryBackend>, mpsc::Sender<()>, Mutex<mpsc::Receiver<()>>);

impl StorageBackend for Interrupted {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.1.send(()).unwrap();
        // Nobody answers who has to wait for this read.
        let _ = lock(&self.2).recv_timeout(Duration::from_millis(50));
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

#[test]
fn a_read_under_way_sees_nothing_of_who_comes_next() {
    let file = Arc::new(InMemoryBackend::new());
    file.set_len(3).unwrap();
    file.write(0, b"old").unwrap();
    let (reading, is_reading) = mpsc::channel();
    let (written, is_written) = mpsc::channel();
    let disk = Arc::new(Disk::new(
        Box::new(Interrupted(Arc::clone(&file), reading, Mutex::new(is_written))),
        Duration::ZERO,
    ));
    let old = DiskHandle::new(&disk);
    let reader = std::thread::spawn(move || {
        let mut bytes = *b"...";
        old.read(0, &mut bytes).map(|()| bytes)
    });
    is_reading.recv().unwrap();
    disk.revoke();
    DiskHandle::new(&disk).write(0, b"new").unwrap();
    let _ = written.send(());
    let read = reader.join().unwrap();
    assert!(read.as_ref().map_or(true, |bytes| bytes == b"old"), "{read:?}");
    let mut bytes = *b"...";
    file.read(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"new");
}

#[test]
fn a_file_that_was_never_finished_is_begun_again() {
    for (bytes, is_new) in [
        (vec![0; 8192], true),
        // The header without its magic number.
        ([vec![0; 9], vec![7; 300], vec![0; 8000]].concat(), true),
        // Lost its first page, but there is something behind it.
        ([vec![0; 8000], vec![1]].concat(), false),
        (b"redb".repeat(3000), false),
        (vec![0; 5], true),
        (b"hello".to_vec(), false),
    ] {
        let backend = InMemoryBackend::new();
        backend.set_len(bytes.len() as u64).unwrap();
        backend.write(0, &bytes).unwrap();
        let disk = Disk::new(Box::new(backend), Duration::ZERO);
        disk.hold().unwrap();
        assert_eq!(lock(&disk.held).len == 0, is_new, "{:?}", &bytes[..5]);
    }
}
