//! Updates with a way back: the box has two slots, runs from one, writes the other, tries it once, and keeps it only
//! if it was healthy for a while. `docs/updates.md` has the file's format, decision 13 the reasons.
//!
//! What decides is here and touches nothing itself: disks, the boot flag and the record are traits, so that tests cut the
//! power at every single write. [`board`] has those of a Raspberry Pi.

use std::io;

pub mod board;
pub mod bundle;
mod install;
pub mod intake;
pub mod lock;
mod record;
pub mod release;
mod trial;

pub use bundle::{Bundle, Manifest, Part, PublicKey, Version};
pub use install::{PIECE, Rules, install};
pub use record::{Outcome, Record, Stage, known, on_trial, refused, start};
pub use trial::{HEALTHY_FOR, PATIENCE, Trial, Verdict, commit, give_up, try_once};

/// One of the two places for a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// The one that this is not.
    pub fn other(self) -> Slot {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }
}

impl std::fmt::Display for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if *self == Slot::A { "A" } else { "B" })
    }
}

/// The partitions of both slots.
pub trait Disk {
    /// The names of a slot's partitions; both slots have the same.
    fn parts(&self) -> Vec<String>;
    /// Bytes that the partition takes.
    ///
    /// # Errors
    /// The partition is not there.
    fn room(&mut self, slot: Slot, part: &str) -> io::Result<u64>;
    /// Writes; nothing is certain before [`Disk::sync`].
    ///
    /// # Errors
    /// The partition cannot be written.
    fn write(&mut self, slot: Slot, part: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Fills `bytes` with what the disk holds; after a sync, not with what some cache remembers.
    ///
    /// # Errors
    /// The partition cannot be read.
    fn read(&mut self, slot: Slot, part: &str, offset: u64, bytes: &mut [u8]) -> io::Result<()>;
    /// Returns once all that was written is on the disk.
    ///
    /// # Errors
    /// It is not.
    fn sync(&mut self, slot: Slot, part: &str) -> io::Result<()>;
}

/// What the firmware starts.
pub trait Boot {
    /// The slot that runs.
    ///
    /// # Errors
    /// The firmware does not say.
    fn running(&mut self) -> io::Result<Slot>;
    /// The slot that starts when nothing else is asked for.
    ///
    /// # Errors
    /// It cannot be read.
    fn preferred(&mut self) -> io::Result<Slot>;
    /// Makes this the preferred slot: after a power cut within, either the old or the new one is.
    ///
    /// # Errors
    /// It cannot be written.
    fn prefer(&mut self, slot: Slot) -> io::Result<()>;
    /// Restarts in the slot that is not preferred, this once.
    ///
    /// # Errors
    /// It cannot be asked for.
    fn try_other(&mut self) -> io::Result<()>;
}

/// A few bytes that survive: after a power cut within [`Memory::save`], either the old or the new ones.
pub trait Memory {
    /// What was saved last.
    ///
    /// # Errors
    /// It cannot be read.
    fn load(&mut self) -> io::Result<Option<Vec<u8>>>;
    /// Keeps this instead.
    ///
    /// # Errors
    /// It cannot be written.
    fn save(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// Why there is no update.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// It is some other file.
    #[error("this is no update file of Kurir")]
    Foreign,
    /// It ends before its end.
    #[error("the update file is cut off: {0} is incomplete; get it again")]
    Truncated(String),
    /// More follows.
    #[error("the update file has more in it than it says")]
    Trailing,
    /// Nobody who may has signed it.
    #[error("the update file's signature is wrong: it was not made for this box, or was changed on the way")]
    Signature,
    /// The key in the image is none.
    #[error("the key that updates are checked with is not 32 bytes in hexadecimal: {0}")]
    Key(String),
    /// Signed, and yet not readable.
    #[error("the update file's list of contents cannot be read: {0}")]
    Manifest(String),
    /// For another kind of box.
    #[error("the update is for {update}, and this box is {this}")]
    Board {
        /// The update's.
        update: String,
        /// This box's.
        this: String,
    },
    /// A step back, or none.
    #[error("the update has version {update}, and this box has {this} already")]
    NotNewer {
        /// The update's.
        update: Version,
        /// This box's.
        this: Version,
    },
    /// The system that runs is itself on trial.
    #[error("version {0} is still on trial; wait a few minutes, or restart the box to go back")]
    OnTrial(String),
    /// Other partitions than the box has.
    #[error("the update has the parts {update}, and this box needs {this}")]
    Parts {
        /// The update's.
        update: String,
        /// This box's.
        this: String,
    },
    /// It does not fit.
    #[error("part {part} of the update has {size} bytes, and its partition has {room}")]
    TooLarge {
        /// Which.
        part: String,
        /// Its size.
        size: u64,
        /// The partition's.
        room: u64,
    },
    /// Its contents are not those that were signed.
    #[error("part {0} of the update is damaged; get the file again")]
    Damaged(String),
    /// The card gives back something else than was written.
    #[error("partition {0} does not keep what was written: the card may be worn out")]
    Card(String),
    /// There is nothing that could be tried.
    #[error("no update has been written")]
    Nothing,
    /// The file or the network.
    #[error("reading the update: {0}")]
    Read(#[source] io::Error),
    /// The disk, the boot flag or the record.
    #[error("{what}: {source}")]
    Io {
        /// What was done.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> UpdateError {
    let what = what.into();
    move |source| UpdateError::Io { what, source }
}
