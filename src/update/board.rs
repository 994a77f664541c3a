//! The slots of a Raspberry Pi: partitions, the firmware's `autoboot.txt` and tryboot, and a file in the data folder.
//!
//! The firmware reads `autoboot.txt` on the card's first partition. `boot_partition` under `[all]` is what starts;
//! under `[tryboot]`, what starts after `reboot "0 tryboot"`. That flag is gone after one start, so that a crash, a hang
//! that the watchdog ends, or a power cut lead back to the first
//! (<https://www.raspberrypi.com/documentation/computers/config_txt.html#the-tryboot-filter>).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{Boot, Disk, Memory, Slot};
use crate::files::{open_plain, replace};

/// The partition that is named in `autoboot.txt`.
const BOOT: &str = "boot";
/// Where the firmware says which partition it started from (a big-endian number).
const STARTED_FROM: &str = "/proc/device-tree/chosen/bootloader/partition";
/// Where the image's initramfs says which slot's root it mounted: `a` or `b`.
pub const MOUNTED: &str = "/run/kurir-slot";
/// Bytes of a record: a few hundred, and a reason.
const MAX_RECORD: u64 = 64 * 1024;
/// Where the slot is named if there is no such firmware, as in a virtual machine: `kurir.slot=a`.
const COMMAND_LINE: &str = "/proc/cmdline";

/// The kind of box that this program was built for.
pub const KIND: &str = if cfg!(target_arch = "aarch64") {
    "arm64"
} else if cfg!(target_arch = "arm") {
    "armhf"
} else {
    "amd64"
};

/// A slot's partitions by name, such as `boot` and `root`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotPaths(BTreeMap<String, PathBuf>);

impl SlotPaths {
    /// From `boot=/dev/mmcblk0p2,root=/dev/mmcblk0p3`; empty: there are no slots.
    ///
    /// # Errors
    /// What the text should be.
    pub fn parse(text: &str) -> Result<SlotPaths, String> {
        let mut paths = BTreeMap::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (name, path) = pair.split_once('=').ok_or("name=/dev/… is needed for each partition")?;
            let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            if !plain || !path.starts_with('/') || paths.insert(name.to_owned(), path.into()).is_some() {
                return Err("name=/dev/… is needed for each partition, each name once".into());
            }
        }
        Ok(SlotPaths(paths))
    }

    /// The partitions' names.
    pub fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// Whether this box has no slots.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Display for SlotPaths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pairs: Vec<String> =
            self.0.iter().map(|(name, path)| format!("{name}={}", path.display())).collect();
        f.write_str(&pairs.join(","))
    }
}

/// The partitions of the card.
pub struct Partitions {
    a: SlotPaths,
    b: SlotPaths,
    mounts: PathBuf,
    open: BTreeMap<(bool, String), File>,
}

impl Partitions {
    /// Both slots must have the same parts.
    ///
    /// # Errors
    /// They do not, or there are none.
    pub fn new(a: SlotPaths, b: SlotPaths) -> Result<Partitions, String> {
        if a.is_empty() || !a.0.keys().eq(b.0.keys()) {
            return Err("this box has no update slots: update_slot_a and update_slot_b must name the same \
                        partitions, as the image does"
                .into());
        }
        Ok(Partitions { a, b, mounts: "/proc/mounts".into(), open: BTreeMap::new() })
    }

    fn path(&self, slot: Slot, part: &str) -> io::Result<&Path> {
        let paths = if slot == Slot::A { &self.a } else { &self.b };
        let path = paths.0.get(part).map(PathBuf::as_path);
        path.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no partition {part}")))
    }

    /// Opens it once, and never one that is in use.
    fn file(&mut self, slot: Slot, part: &str) -> io::Result<&File> {
        let path = self.path(slot, part)?.canonicalize()?;
        match self.open.entry((slot == Slot::A, part.to_owned())) {
            Entry::Occupied(open) => Ok(open.into_mut()),
            Entry::Vacant(place) => {
                let mounts = std::fs::read_to_string(&self.mounts).unwrap_or_default();
                if mounts.lines().any(|line| line.split(' ').next().is_some_and(|d| Path::new(d) == path)) {
                    return Err(io::Error::new(
                        io::ErrorKind::ResourceBusy,
                        format!("{} is mounted; it cannot be the slot that does not run", path.display()),
                    ));
                }
                Ok(place.insert(OpenOptions::new().read(true).write(true).open(&path)?))
            }
        }
    }
}

impl Disk for Partitions {
    fn parts(&self) -> Vec<String> {
        self.a.names()
    }

    fn room(&mut self, slot: Slot, part: &str) -> io::Result<u64> {
        // A block device has no length of its own in its metadata.
        let mut file = self.file(slot, part)?;
        file.seek(SeekFrom::End(0))
    }

    fn write(&mut self, slot: Slot, part: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(slot, part)?.write_all_at(bytes, offset)
    }

    fn read(&mut self, slot: Slot, part: &str, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file(slot, part)?.read_exact_at(bytes, offset)
    }

    fn sync(&mut self, slot: Slot, part: &str) -> io::Result<()> {
        let file = self.file(slot, part)?;
        file.sync_all()?;
        // What is read back must come from the card.
        rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)?;
        Ok(())
    }
}

/// The Pi's firmware.
pub struct Firmware {
    autoboot: PathBuf,
    started_from: PathBuf,
    mounted: PathBuf,
    command_line: PathBuf,
    restart: Vec<String>,
    a: u32,
    b: u32,
}

/// The slot that a file such as [`MOUNTED`] names; `None`: there is none.
///
/// # Errors
/// It cannot be read, or holds something else.
pub fn mounted(file: &Path) -> io::Result<Option<Slot>> {
    match std::fs::read_to_string(file) {
        Ok(text) => slot_named(text.trim())
            .map(Some)
            .ok_or_else(|| io::Error::other(format!("{} holds neither a nor b", file.display()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

impl Firmware {
    /// `autoboot`: the file on the card's first partition, writable. The slots' `boot` partitions are told by their
    /// numbers.
    ///
    /// # Errors
    /// A slot has no boot partition, or it has no number.
    pub fn new(autoboot: PathBuf, a: &SlotPaths, b: &SlotPaths) -> Result<Firmware, String> {
        let restart = ["systemctl", "reboot", "--reboot-argument=0 tryboot"].map(str::to_owned).to_vec();
        let (a, b) = (partition_number(a)?, partition_number(b)?);
        if a == b {
            return Err("both slots have the same boot partition".into());
        }
        Ok(Firmware {
            autoboot,
            started_from: STARTED_FROM.into(),
            mounted: MOUNTED.into(),
            command_line: COMMAND_LINE.into(),
            restart,
            a,
            b,
        })
    }

    /// What the initramfs says; `None`: it says nothing.
    fn mounted(&self) -> io::Result<Option<Slot>> {
        mounted(&self.mounted)
    }

    /// What the firmware says; `None`: it is not a Pi's.
    fn started(&self) -> io::Result<Option<Slot>> {
        let bytes = match std::fs::read(&self.started_from) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let number = bytes.as_slice().try_into().map(u32::from_be_bytes);
        let number =
            number.map_err(|_| io::Error::other(format!("{} has no number", self.started_from.display())))?;
        self.slot(number, "the firmware").map(Some)
    }

    /// What the kernel's command line says.
    fn on_command_line(&self) -> io::Result<Slot> {
        let line = std::fs::read_to_string(&self.command_line)?;
        let slot =
            line.split_ascii_whitespace().find_map(|word| slot_named(word.strip_prefix("kurir.slot=")?));
        slot.ok_or_else(|| {
            io::Error::other(
                "neither the firmware nor kurir.slot=a or b on the kernel's command line says so",
            )
        })
    }

    fn slot(&self, number: u32, from: &str) -> io::Result<Slot> {
        match number {
            n if n == self.a => Ok(Slot::A),
            n if n == self.b => Ok(Slot::B),
            n => Err(io::Error::other(format!("{from} names partition {n}, which belongs to no slot"))),
        }
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let same_length = std::fs::metadata(&self.autoboot).is_ok_and(|file| file.len() == text.len() as u64);
        if same_length {
            // One sector of the card, written in place: FAT has no journal, and a rename is several sectors.
            let file = OpenOptions::new().write(true).open(&self.autoboot)?;
            file.write_all_at(text.as_bytes(), 0)?;
            return file.sync_all();
        }
        replace(&self.autoboot, text.as_bytes())
    }

    /// The file's partition, `rw` or `ro`.
    fn remount(&self, how: &str) -> io::Result<()> {
        let folder = self.autoboot.parent().unwrap_or(Path::new("/"));
        let option = format!("remount,{how}");
        let status = std::process::Command::new("mount").args(["-o", &option]).arg(folder).status()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("mount -o {option} {}: {status}", folder.display())))
        }
    }

    fn number(&self, slot: Slot) -> u32 {
        if slot == Slot::A { self.a } else { self.b }
    }
}

/// Writes where it may; on a file system that is mounted read-only, as the image's is, mounts it writable for that write.
fn writable(write: impl Fn() -> io::Result<()>, remount: impl Fn(&str) -> io::Result<()>) -> io::Result<()> {
    match write() {
        Err(e) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            remount("rw")?;
            let written = write();
            if let Err(e) = remount("ro") {
                log::warn!("the partition of autoboot.txt stays writable until the next start: {e}");
            }
            written
        }
        written => written,
    }
}

/// `/dev/mmcblk0p2` → 2.
fn partition_number(slot: &SlotPaths) -> Result<u32, String> {
    let path = slot.0.get(BOOT).ok_or("a slot has no boot partition")?;
    // A name under /dev/disk is a link.
    let path = path.canonicalize().unwrap_or_else(|_| path.clone());
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    name[name.len() - digits..].parse().map_err(|_| format!("{} has no partition number", path.display()))
}

fn slot_named(text: &str) -> Option<Slot> {
    match text {
        "a" => Some(Slot::A),
        "b" => Some(Slot::B),
        _ => None,
    }
}

/// `boot_partition` under `[all]`.
fn preferred_in(autoboot: &str) -> Option<u32> {
    let mut section = "all";
    let mut found = None;
    for line in autoboot.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        } else if section == "all"
            && let Some(("boot_partition", number)) = line.split_once('=')
        {
            found = number.trim().parse().ok();
        }
    }
    found
}

/// The whole file. Numbers of one length give files of one length.
fn autoboot(preferred: u32, other: u32) -> String {
    format!("[all]\ntryboot_a_b=1\nboot_partition={preferred}\n[tryboot]\nboot_partition={other}\n")
}

impl Boot for Firmware {
    fn running(&mut self) -> io::Result<Slot> {
        match (self.mounted()?, self.started()?) {
            // Whichever is wrong, the slot that runs could be written over.
            (Some(mounted), Some(started)) if mounted != started => Err(io::Error::other(format!(
                "{} says {mounted}, and the firmware {started}",
                self.mounted.display()
            ))),
            (Some(slot), _) | (None, Some(slot)) => Ok(slot),
            (None, None) => self.on_command_line(),
        }
    }

    fn preferred(&mut self) -> io::Result<Slot> {
        let text = std::fs::read_to_string(&self.autoboot)?;
        let file = self.autoboot.display().to_string();
        let number =
            preferred_in(&text).ok_or_else(|| io::Error::other(format!("{file} names no partition")))?;
        self.slot(number, &file)
    }

    fn prefer(&mut self, slot: Slot) -> io::Result<()> {
        let text = autoboot(self.number(slot), self.number(slot.other()));
        writable(|| self.write(&text), |how| self.remount(how))
    }

    fn try_other(&mut self) -> io::Result<()> {
        let status = std::process::Command::new(&self.restart[0]).args(&self.restart[1..]).status()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("{}: {status}", self.restart[0])))
        }
    }
}

/// A file that is replaced as a whole.
pub struct RecordFile(pub PathBuf);

impl Memory for RecordFile {
    fn load(&mut self) -> io::Result<Option<Vec<u8>>> {
        // Root reads it in the gateway's folder. What is no file, or too long for one of ours, holds nothing.
        let Some(file) = open_plain(&self.0)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(MAX_RECORD + 1).read_to_end(&mut bytes)?;
        Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= MAX_RECORD))
    }

    fn save(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Nothing else takes a file's place against its will.
        if std::fs::symlink_metadata(&self.0).is_ok_and(|there| there.is_dir()) {
            std::fs::remove_dir_all(&self.0)?;
        }
        replace(&self.0, bytes)
    }
}

#[cfg(test)]
mod tests;
