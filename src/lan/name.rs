//! What the box is called: the name from the settings, or `kurir-` and four digits of its hardware address, so that two
//! boxes in one office have two names and each keeps its own.

use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::files::{open_plain, replace};
use crate::ids;

/// Where the kernel shows network interfaces.
const INTERFACES: &str = "/sys/class/net";
/// Where the firmware of a Raspberry Pi describes the board.
const DEVICE_TREE: &str = "/proc/device-tree";
/// In the data folder's file: no hardware address was known when the box got its name.
const RANDOM: &str = "random";
/// How often to look whether an interface is there.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Whether this can be a host name: one label of RFC 1123 (letters, digits, dashes; at most 63).
pub fn is_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// The box's host name: the one that was set, or `kurir-XXXX`. XXXX is kept in the data folder: a driver that is late once must not
/// give the box another name, and with it another certificate. Where there was no hardware address at first, it is random.
pub fn host_name(set: Option<&str>, data_dir: &Path) -> String {
    name_from(set, Path::new(INTERFACES), Path::new(DEVICE_TREE), data_dir)
}

/// Waits until a hardware address is known, for so long at most: early in the start the drivers may still be on their
/// way, and the name must not depend on which of them was first.
pub fn await_hardware(patience: Duration) {
    let until = Instant::now() + patience;
    while hardware_suffix(Path::new(INTERFACES), Path::new(DEVICE_TREE)).is_none() && Instant::now() < until {
        #[allow(
            clippy::disallowed_methods,
            reason = "the command that waits here does nothing else meanwhile"
        )]
        std::thread::sleep(LOOK_EVERY);
    }
}

fn name_from(set: Option<&str>, interfaces: &Path, device_tree: &Path, data_dir: &Path) -> String {
    if let Some(name) = set {
        return name.to_ascii_lowercase();
    }
    let file = data_dir.join("box-id");
    let kept = kept_suffix(&file);
    let suffix = match (hardware_suffix(interfaces, device_tree), kept.clone()) {
        // Another box's, or the first.
        (Some(known), Some(Suffix { random: false, .. }) | None) => Suffix { digits: known, random: false },
        (_, Some(kept)) => kept,
        (None, None) => Suffix { digits: hex::encode(ids::random::<2>()), random: true },
    };
    if kept.as_ref() != Some(&suffix) {
        keep(&file, &suffix);
    }
    format!("kurir-{}", suffix.digits)
}

/// What follows `kurir-`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Suffix {
    /// Four hexadecimal ones.
    digits: String,
    /// Not of a hardware address. Applications have been told the name, so it stays when an address turns up later.
    random: bool,
}

fn hardware_suffix(interfaces: &Path, device_tree: &Path) -> Option<String> {
    board_suffix(device_tree).or_else(|| interface_suffix(interfaces))
}

/// The last two bytes of the hardware address that the firmware gave to the board's own Ethernet port. It is there before
/// any driver is.
fn board_suffix(device_tree: &Path) -> Option<String> {
    let alias = std::fs::read_to_string(device_tree.join("aliases/ethernet0")).ok()?;
    let node = alias.trim_end_matches('\0').trim_start_matches('/');
    let address = std::fs::read(device_tree.join(node).join("local-mac-address")).ok()?;
    // Zeros stand there until a firmware writes over them.
    (address.len() == 6 && address.iter().any(|b| *b != 0)).then(|| hex::encode(&address[4..]))
}

/// The last two bytes of the hardware address of the first real interface: Ethernet before Wi-Fi, so that plugging in a
/// cable or not does not matter.
fn interface_suffix(interfaces: &Path) -> Option<String> {
    let mut real: Vec<(bool, String, String)> = std::fs::read_dir(interfaces)
        .ok()?
        .flatten()
        .filter(|interface| {
            // A bridge, a tunnel or a container's pair has no device behind it, and an address made up by the kernel.
            interface.path().join("device").exists()
        })
        .filter_map(|interface| {
            let address = std::fs::read_to_string(interface.path().join("address")).ok()?;
            let suffix = suffix_of(address.trim())?;
            let name = interface.file_name().into_string().ok()?;
            Some((interface.path().join("wireless").exists() || name.starts_with('w'), name, suffix))
        })
        .collect();
    real.sort();
    real.into_iter().next().map(|(_, _, suffix)| suffix)
}

/// `dc:a6:32:01:a1:b2` → `a1b2`.
fn suffix_of(address: &str) -> Option<String> {
    let bytes: Vec<u8> =
        address.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>().ok()?;
    if bytes.len() != 6 || bytes.iter().all(|b| *b == 0) {
        return None;
    }
    Some(hex::encode(&bytes[4..]))
}

/// `a1b2`, or `a1b2 random`. Root reads it, too, in a folder of the gateway's.
fn kept_suffix(path: &Path) -> Option<Suffix> {
    let mut kept = String::new();
    open_plain(path).ok()??.take(16).read_to_string(&mut kept).ok()?;
    let mut words = kept.split_whitespace();
    let digits =
        words.next().filter(|word| word.len() == 4 && word.bytes().all(|b| b.is_ascii_hexdigit()))?;
    Some(Suffix { digits: digits.to_owned(), random: words.next() == Some(RANDOM) })
}

fn keep(path: &Path, Suffix { digits, random }: &Suffix) {
    let text = if *random { format!("{digits} {RANDOM}") } else { digits.clone() };
    if let Err(e) = replace(path, text.as_bytes()) {
        log::warn!(
            "the box's name kurir-{digits} cannot be kept in {}: {e}; it may have another next time",
            path.display()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(sys: &Path, name: &str, address: &str, real: bool) {
        let folder = sys.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("address"), format!("{address}\n")).unwrap();
        if real {
            std::fs::create_dir(folder.join("device")).unwrap();
        }
    }

    #[test]
    fn the_name_comes_from_the_settings_or_the_wired_interface() {
        let sys = tempfile::tempdir().unwrap();
        let data = tempfile::tempdir().unwrap();
        interface(sys.path(), "lo", "00:00:00:00:00:00", false);
        interface(sys.path(), "docker0", "02:42:aa:bb:cc:dd", false);
        interface(sys.path(), "wlan0", "dc:a6:32:01:ff:ee", true);
        assert_eq!(name_from(None, sys.path(), sys.path(), data.path()), "kurir-ffee");
        interface(sys.path(), "eth0", "dc:a6:32:01:A1:B2", true);
        assert_eq!(name_from(None, sys.path(), sys.path(), data.path()), "kurir-a1b2");
        std::fs::create_dir_all(sys.path().join("aliases")).unwrap();
        std::fs::create_dir_all(sys.path().join("scb/ethernet@7d580000")).unwrap();
        std::fs::write(sys.path().join("aliases/ethernet0"), "/scb/ethernet@7d580000\0").unwrap();
        let address = sys.path().join("scb/ethernet@7d580000/local-mac-address");
        std::fs::write(&address, [0; 6]).unwrap();
        assert_eq!(
            name_from(None, sys.path(), sys.path(), data.path()),
            "kurir-a1b2",
            "no firmware wrote it"
        );
        std::fs::write(&address, [0xdc, 0xa6, 0x32, 1, 0xc3, 0xd4]).unwrap();
        assert_eq!(name_from(None, sys.path(), sys.path(), data.path()), "kurir-c3d4");
        assert_eq!(name_from(Some("Kantor-1"), sys.path(), sys.path(), data.path()), "kantor-1");
    }

    /// Its certificate is made for the name, and people have compared its fingerprint.
    #[test]
    fn a_driver_that_is_late_once_does_not_rename_the_box() {
        let (sys, later) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let data = tempfile::tempdir().unwrap();
        interface(sys.path(), "eth0", "dc:a6:32:01:a1:b2", true);
        for interfaces in [&sys, &later, &sys] {
            assert_eq!(name_from(None, interfaces.path(), later.path(), data.path()), "kurir-a1b2");
        }
        // The folder is the gateway's; root may be the one who writes.
        let secret = later.path().join("secret");
        std::fs::write(&secret, "secret").unwrap();
        std::fs::remove_file(data.path().join("box-id")).unwrap();
        std::os::unix::fs::symlink(&secret, data.path().join("box-id")).unwrap();
        assert_eq!(name_from(None, sys.path(), later.path(), data.path()), "kurir-a1b2");
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret");
        // The card in another box.
        interface(later.path(), "eth0", "dc:a6:32:01:c3:d4", true);
        assert_eq!(name_from(None, later.path(), sys.path(), data.path()), "kurir-c3d4");
    }

    #[test]
    fn without_hardware_the_name_is_random_and_stays() {
        let sys = tempfile::tempdir().unwrap();
        let data = tempfile::tempdir().unwrap();
        interface(sys.path(), "eth0", "00:00:00:00:00:00", true);
        let first = name_from(None, sys.path(), sys.path(), data.path());
        assert!(first.len() == 10 && first.starts_with("kurir-") && is_label(&first), "{first}");
        assert_eq!(name_from(None, sys.path(), sys.path(), data.path()), first);
        // A driver that is late the very first time.
        let later = tempfile::tempdir().unwrap();
        interface(later.path(), "eth0", "dc:a6:32:01:a1:b2", true);
        assert_eq!(name_from(None, later.path(), sys.path(), data.path()), first, "people know it by now");
        std::fs::write(data.path().join("box-id"), "../x").unwrap();
        assert!(
            is_label(&name_from(None, sys.path(), sys.path(), data.path())),
            "a damaged file is replaced"
        );
    }

    #[test]
    fn host_names_are_labels() {
        for good in ["kurir", "Kantor-1", "a", &"x".repeat(63)] {
            assert!(is_label(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a.b", "a b", "ä", "a_b", &"x".repeat(64)] {
            assert!(!is_label(bad), "{bad}");
        }
    }
}
