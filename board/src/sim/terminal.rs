//! The terminal itself: its modes, and bytes in and out.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::OFlags,
    process::{Signal, getpid, kill_process},
    termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr},
};

/// The alternate screen without cursor, and the Kitty protocol's flags: tell keys apart (1), releases (2), all keys as
/// sequences (8). Terminals without it ignore the request.
const TAKE: &str = "\x1b[?1049h\x1b[?25l\x1b[>11u";
const GIVE_BACK: &str = "\x1b[<u\x1b[0m\x1b[?25h\x1b[?1049l";

/// A terminal in the mode for the panel. Dropping it gives it back as it was.
pub(super) struct Terminal {
    path: PathBuf,
    blocking: File,
    non_blocking: File,
    before: Termios,
}

impl Terminal {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let blocking = open(path, OFlags::NOCTTY)?;
        let non_blocking = open(path, OFlags::NOCTTY | OFlags::NONBLOCK)?;
        let before = tcgetattr(&blocking)?;
        let mut modes = before.clone();
        // Keys at once and unseen. Signals stay: Ctrl-C ends the program where the protocol does not hide it.
        modes.local_modes &= !(LocalModes::ICANON | LocalModes::ECHO);
        tcsetattr(&blocking, OptionalActions::Now, &modes)?;
        let terminal = Self { path: path.to_owned(), blocking, non_blocking, before };
        terminal.write(TAKE)?;
        Ok(terminal)
    }

    /// The keys, for reading without blocking.
    pub(super) fn keyboard(&self) -> io::Result<File> {
        open(&self.path, OFlags::NOCTTY | OFlags::NONBLOCK)
    }

    /// Writes all of `text`; blocks while the terminal is stopped.
    pub(super) fn write(&self, text: &str) -> io::Result<()> {
        (&self.blocking).write_all(text.as_bytes())
    }

    /// Writes `text` if the terminal takes it now. Nothing is lost by dropping it: the next one replaces it.
    pub(super) fn try_write(&self, text: &str) {
        let written = (&self.non_blocking).write(text.as_bytes());
        if let Err(e) = written {
            log::debug!("the terminal does not take the LED: {e}");
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The terminal may be gone, and then there is nothing to give back.
        let _ = self.write(GIVE_BACK);
        let _ = tcsetattr(&self.blocking, OptionalActions::Now, &self.before);
    }
}

fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(flags.bits() as i32).open(path)
}

/// What Ctrl-C would do: the program's own way to end.
pub(super) fn interrupt_self() -> io::Result<()> {
    Ok(kill_process(getpid(), Signal::INT)?)
}
