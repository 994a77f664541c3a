//! Reading a file for a decoder that trusts nobody: bounded between two looks, and ended when nobody waits any more.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use symphonia::core::io::MediaSource;

/// What may still be read before the next packet, and whether to go on at all. Clones share both.
#[derive(Clone, Default)]
pub(super) struct Watch {
    left: Arc<AtomicU64>,
    cancelled: Arc<AtomicBool>,
}

impl Watch {
    /// Allows so many further bytes.
    pub(super) fn allow(&self, bytes: u64) {
        self.left.store(bytes, Ordering::Relaxed);
    }

    /// Ends all reading.
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    fn spend(&self, bytes: u64) -> io::Result<()> {
        if self.is_cancelled() {
            return Err(io::Error::other("nobody waits for it any more"));
        }
        let spent =
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        spent.map(|_| ()).map_err(|_| io::Error::other("a single part of it is too large"))
    }
}

/// Cancels when dropped: the thread that converts would otherwise go on for nobody.
pub(super) struct Leave(pub(super) Watch);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// A file that is read under a [`Watch`].
pub(super) struct Watched {
    file: File,
    length: u64,
    watch: Watch,
}

impl Watched {
    pub(super) fn new(file: File, watch: Watch) -> io::Result<Watched> {
        let length = file.metadata()?.len();
        Ok(Watched { file, length, watch })
    }
}

impl Read for Watched {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.watch.spend(buf.len() as u64)?;
        self.file.read(buf)
    }
}

impl Seek for Watched {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        // A walk through boxes that hold nothing seeks without reading much.
        self.watch.spend(64)?;
        self.file.seek(to)
    }
}

impl MediaSource for Watched {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.length)
    }
}
