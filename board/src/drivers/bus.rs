//! Buses and pins that remember why they failed.
//!
//! The published controller drivers reduce any failure to "bus write error". A [`Noted`] bus keeps the real one, with
//! the device's name and what to do about it, and the driver asks the [`Note`] for it.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use embedded_hal::{
    digital::{self, OutputPin},
    i2c::{self, I2c, NoAcknowledgeSource},
    spi::{self, SpiDevice},
};
use linux_embedded_hal::{
    I2cdev, SpidevDevice,
    spidev::{SpiModeFlags, SpidevOptions},
};

use crate::PartError;

/// Where a part is, and why it last failed. Clones are the same note.
#[derive(Debug, Clone)]
pub struct Note {
    part: String,
    place: String,
    last: Arc<Mutex<Option<PartError>>>,
}

impl Note {
    /// A note for `part` (`display`) at `place` (`SSD1306 at 0x3c on /dev/i2c-1`).
    pub fn new(part: impl Into<String>, place: impl Into<String>) -> Self {
        Self { part: part.into(), place: place.into(), last: Arc::default() }
    }

    /// The place, for messages.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Takes the error that was noted last; `problem` is used if none was.
    pub fn take(&self, problem: &str) -> PartError {
        let noted = self.last.lock().unwrap_or_else(PoisonError::into_inner).take();
        noted.unwrap_or_else(|| self.failed(problem))
    }

    /// [`PartError::Failed`] at this place.
    pub fn failed(&self, problem: impl Into<String>) -> PartError {
        PartError::Failed { part: self.part.clone(), place: self.place.clone(), problem: problem.into() }
    }

    fn put(&self, error: PartError) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

/// A bus or a pin that writes its failures to a [`Note`].
#[derive(Debug)]
pub struct Noted<B> {
    inner: B,
    note: Note,
}

impl<B> Noted<B> {
    /// `inner`, whose failures go to `note`.
    pub fn new(inner: B, note: Note) -> Self {
        Self { inner, note }
    }
}

impl<B: i2c::ErrorType> i2c::ErrorType for Noted<B> {
    type Error = B::Error;
}

impl<B: I2c> I2c for Noted<B> {
    fn transaction(&mut self, address: u8, operations: &mut [i2c::Operation<'_>]) -> Result<(), B::Error> {
        self.inner.transaction(address, operations).inspect_err(|e| {
            let note = &self.note;
            let absent = matches!(
                i2c::Error::kind(e),
                i2c::ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address | NoAcknowledgeSource::Unknown)
            );
            note.put(if absent {
                PartError::NoAnswer {
                    part: note.part.clone(),
                    place: note.place.clone(),
                    fix: "check that SDA, SCL, power and ground are connected and that the address is right \
                          (`i2cdetect -y BUS` lists who answers; usual are 0x3c and 0x3d)"
                        .into(),
                }
            } else {
                note.failed(format!("{e:?}"))
            });
        })
    }
}

impl<B: spi::ErrorType> spi::ErrorType for Noted<B> {
    type Error = B::Error;
}

impl<B: SpiDevice> SpiDevice for Noted<B> {
    fn transaction(&mut self, operations: &mut [spi::Operation<'_, u8>]) -> Result<(), B::Error> {
        self.inner.transaction(operations).inspect_err(|e| self.note.put(self.note.failed(format!("{e:?}"))))
    }
}

impl<B: digital::ErrorType> digital::ErrorType for Noted<B> {
    type Error = B::Error;
}

impl<B: OutputPin> OutputPin for Noted<B> {
    fn set_low(&mut self) -> Result<(), B::Error> {
        self.inner.set_low().inspect_err(|e| self.note.put(self.note.failed(format!("{e:?}"))))
    }

    fn set_high(&mut self) -> Result<(), B::Error> {
        self.inner.set_high().inspect_err(|e| self.note.put(self.note.failed(format!("{e:?}"))))
    }
}

/// What to tell a person whose device cannot be opened.
#[derive(Debug, Clone)]
pub struct OpenHints {
    /// How the device is made to exist: a config.txt line, an overlay.
    pub enable: String,
    /// The group whose members may use it.
    pub group: &'static str,
}

impl OpenHints {
    /// The [`PartError`] for a device at `place` that could not be opened.
    pub fn explain(&self, part: &str, place: &str, error: &io::Error) -> PartError {
        let (part, place) = (part.to_owned(), place.to_owned());
        // EBUSY: a kernel driver (an overlay for this display) owns the address.
        match error.kind() {
            io::ErrorKind::NotFound => PartError::Missing { part, place, fix: self.enable.clone() },
            io::ErrorKind::PermissionDenied => {
                let group = self.group;
                let fix = format!(
                    "add the user that runs this to the group `{group}` (`usermod -aG {group} USER`) and log in again"
                );
                PartError::Denied { part, place, fix }
            }
            io::ErrorKind::ResourceBusy => PartError::Taken {
                part,
                place,
                user: "a kernel driver or another program".into(),
                fix: "remove the overlay that claims it from config.txt, or stop the other program".into(),
            },
            _ => PartError::Failed { part, place, problem: error.to_string() },
        }
    }
}

/// An I2C bus of Linux, by its device file.
pub struct LinuxI2c(I2cdev);

impl LinuxI2c {
    /// Opens `path`, such as `/dev/i2c-1`.
    ///
    /// # Errors
    /// [`PartError`] of `part` at `path`, with what to do.
    pub fn open(part: &str, path: &Path, hints: &OpenHints) -> Result<Self, PartError> {
        let explain = |e| hints.explain(part, &path.display().to_string(), &e);
        I2cdev::new(path).map(Self).map_err(|e| explain(io::Error::from(e)))
    }
}

/// What the kernel said about a transfer. `Debug` gives its words.
pub struct LinuxI2cError(linux_embedded_hal::I2CError);

impl std::fmt::Debug for LinuxI2cError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl i2c::Error for LinuxI2cError {
    fn kind(&self) -> i2c::ErrorKind {
        use linux_embedded_hal::i2cdev::linux::LinuxI2CError;
        let number = match self.0.inner() {
            LinuxI2CError::Errno(number) => Some(*number),
            LinuxI2CError::Io(e) => e.raw_os_error(),
        };
        // The Raspberry Pi's controller says EREMOTEIO for an address that nobody acknowledges, where the kernel's
        // list of fault codes has ENXIO.
        if number == Some(rustix::io::Errno::REMOTEIO.raw_os_error()) {
            return i2c::ErrorKind::NoAcknowledge(NoAcknowledgeSource::Unknown);
        }
        i2c::Error::kind(&self.0)
    }
}

impl i2c::ErrorType for LinuxI2c {
    type Error = LinuxI2cError;
}

impl I2c for LinuxI2c {
    fn transaction(
        &mut self,
        address: u8,
        operations: &mut [i2c::Operation<'_>],
    ) -> Result<(), LinuxI2cError> {
        I2c::<i2c::SevenBitAddress>::transaction(&mut self.0, address, operations).map_err(LinuxI2cError)
    }
}

/// Opens an SPI device, such as `/dev/spidev0.0`, in mode 0 at `hz`.
///
/// # Errors
/// [`PartError`] of `part` at `path`, with what to do.
pub fn open_spi(part: &str, path: &Path, hz: u32, hints: &OpenHints) -> Result<SpidevDevice, PartError> {
    let explain = |e: io::Error| hints.explain(part, &path.display().to_string(), &e);
    let mut device = SpidevDevice::open(path)
        .map_err(|e| explain(io::Error::new(e.inner().kind(), e.inner().to_string())))?;
    let options =
        SpidevOptions::new().bits_per_word(8).max_speed_hz(hz).mode(SpiModeFlags::SPI_MODE_0).build();
    device.configure(&options).map_err(explain)?;
    Ok(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_bus_says_how_to_get_it() {
        let hints = OpenHints { enable: "add dtparam=i2c_arm=on to config.txt".into(), group: "i2c" };
        let path = Path::new("/nonexistent/i2c-1");
        let error = LinuxI2c::open("display", path, &hints).err().unwrap();
        assert_eq!(
            error.to_string(),
            "display: there is no /nonexistent/i2c-1; add dtparam=i2c_arm=on to config.txt"
        );
        let error =
            open_spi("display", Path::new("/nonexistent/spidev0.0"), 8_000_000, &hints).err().unwrap();
        assert!(matches!(error, PartError::Missing { .. }), "{error}");
    }

    #[test]
    fn no_permission_names_the_group_and_busy_names_the_overlay() {
        let hints = OpenHints { enable: String::new(), group: "i2c" };
        let denied =
            hints.explain("display", "/dev/i2c-1", &io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(denied.to_string().contains("`i2c`"), "{denied}");
        let busy = hints.explain("display", "/dev/i2c-1", &io::Error::from(io::ErrorKind::ResourceBusy));
        assert!(matches!(busy, PartError::Taken { .. }) && busy.to_string().contains("overlay"), "{busy}");
        let other = hints.explain("display", "/dev/null", &io::Error::from(io::ErrorKind::InvalidInput));
        assert!(matches!(other, PartError::Failed { .. }), "{other}");
    }

    #[test]
    fn an_open_file_that_is_no_bus_fails_with_the_systems_words() {
        let hints = OpenHints { enable: String::new(), group: "spi" };
        let error = open_spi("display", Path::new("/dev/null"), 8_000_000, &hints).err().unwrap();
        assert!(matches!(error, PartError::Failed { .. }), "{error}");
    }
}
