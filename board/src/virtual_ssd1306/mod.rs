//! An SSD1306 display without the display: an I2C device that interprets the controller's command and data bytes as
//! its data sheet says (Solomon Systech SSD1306, rev 1.1, 2008), shows what a person would see, and refuses what the
//! sheet forbids. A real driver draws on it, so a wrong byte on the bus is a failing test.
//!
//! ```
//! use embedded_graphics::{pixelcolor::BinaryColor, prelude::*, primitives::{Circle, PrimitiveStyle}};
//! use kurir_board::virtual_ssd1306::{Glass, VirtualSsd1306};
//! use ssd1306::{I2CDisplayInterface, Ssd1306, prelude::*};
//!
//! let glass = VirtualSsd1306::new(Glass::W128H64);
//! let interface = I2CDisplayInterface::new(glass.clone());
//! let mut display =
//!     Ssd1306::new(interface, DisplaySize128x64, DisplayRotation::Rotate0).into_buffered_graphics_mode();
//! display.init().unwrap();
//! Circle::new(Point::new(40, 8), 48)
//!     .into_styled(PrimitiveStyle::with_stroke(BinaryColor::On, 1))
//!     .draw(&mut display)
//!     .unwrap();
//! display.flush().unwrap();
//!
//! let seen = glass.picture();
//! assert!(seen.is_lit(Point::new(64, 8)) && !seen.is_lit(Point::new(64, 32)));
//! glass.check().unwrap();
//! ```
//!
//! It is stricter than the chips where the sheet leaves no room for a correct driver to differ: a command must be
//! whole within one transfer, and arguments must be in their range, also where the chip would ignore the high bits.
//! What it does not model: timing, and the picture's brightness beyond the contrast register.

mod command;
mod controller;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

pub use command::{Addressing, Command, Scroll};
pub use controller::{Controller, Glass, Wiring};
use embedded_hal::i2c::{ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};
use linux_embedded_hal::Delay;
use ssd1306::prelude::{DisplaySize128x32, DisplaySize128x64, I2CInterface};
use tokio::sync::watch;

use crate::{
    Display, Frame,
    drivers::{
        Background, NotWired, Reset, Ssd1306,
        bus::{Note, Noted},
    },
};

/// The address of most modules (SA0 low).
pub const ADDRESS: u8 = 0x3C;
/// The other address (SA0 high).
pub const ALTERNATE_ADDRESS: u8 = 0x3D;

/// What the data sheet forbids, or why nobody answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Another address than the display's, or it is unplugged.
    #[error("nothing answers at address {address:#04x}")]
    Address {
        /// The 7-bit address on the bus.
        address: u8,
    },
    /// The low six bits of a control byte are not zero (data sheet 8.1.5.2).
    #[error("control byte {byte:#04x} has bits that must be 0")]
    ControlByte {
        /// The control byte.
        byte: u8,
    },
    /// A control byte at the end of a transfer, with nothing to control.
    #[error("the transfer ends after control byte {byte:#04x}")]
    NothingFollows {
        /// The control byte.
        byte: u8,
    },
    /// No such command.
    #[error("command {opcode:#04x} is not in the data sheet")]
    UnknownCommand {
        /// The first byte of the command.
        opcode: u8,
    },
    /// An argument out of its range.
    #[error("argument {index} of command {opcode:#04x} cannot be {value:#04x}")]
    Argument {
        /// The first byte of the command.
        opcode: u8,
        /// Which argument, from 0.
        index: usize,
        /// Its value.
        value: u8,
    },
    /// A command lacks arguments.
    #[error("command {opcode:#04x} ends after {got} argument bytes")]
    Truncated {
        /// The first byte of the command.
        opcode: u8,
        /// Arguments that were there.
        got: usize,
    },
    /// A command of page addressing in another mode, or the other way round (data sheet 10.1.1 to 10.1.5).
    #[error("command {opcode:#04x} does not work in this addressing mode")]
    WrongMode {
        /// The first byte of the command.
        opcode: u8,
    },
    /// The display is on and its charge pump is not.
    #[error("the display is on without its charge pump (8Dh 14h before AFh)")]
    NoPump,
    /// 2Fh without a scroll that was set up.
    #[error("a scroll is activated that was not set up")]
    NoScroll,
    /// The sheet prohibits this while a scroll is active (10.2.3).
    #[error("{what} while a scroll is active")]
    Scrolling {
        /// What was tried.
        what: &'static str,
    },
}

impl embedded_hal::i2c::Error for Violation {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Address { .. } => ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address),
            _ => ErrorKind::Other,
        }
    }
}

struct Wire {
    controller: Controller,
    address: u8,
    plugged: bool,
    stuck: bool,
    violations: Vec<Violation>,
}

/// An SSD1306 on an I2C bus of its own. Clones are the same display: give one to the driver and look through the
/// other.
#[derive(Clone)]
pub struct VirtualSsd1306 {
    wire: Arc<(Mutex<Wire>, Condvar)>,
    transfers: watch::Sender<u64>,
}

impl VirtualSsd1306 {
    /// A display that was just powered on, at [`ADDRESS`].
    pub fn new(glass: Glass) -> Self {
        Self::at(glass, ADDRESS)
    }

    /// A display that was just powered on, at `address`.
    pub fn at(glass: Glass, address: u8) -> Self {
        let controller = Controller::new(glass);
        let wire = Wire { controller, address, plugged: true, stuck: false, violations: Vec::new() };
        Self { wire: Arc::new((Mutex::new(wire), Condvar::new())), transfers: watch::Sender::new(0) }
    }

    /// What a person sees on it now.
    pub fn picture(&self) -> Frame {
        self.lock().controller.picture()
    }

    /// The controller's state now.
    pub fn controller(&self) -> Controller {
        self.lock().controller.clone()
    }

    /// The real driver on this display's bus, as a profile would open it: the `ssd1306` crate behind
    /// [`Background`].
    pub fn display(&self) -> Box<dyn Display> {
        let glass = self.lock().controller.glass();
        let address = self.lock().address;
        let note = Note::new("display", format!("SSD1306 at address {address:#04x} on a virtual bus"));
        let interface = I2CInterface::new(Noted::new(self.clone(), note.clone()), address, 0x40);
        let reset: Option<Reset<NotWired>> = None;
        if glass.height == 32 {
            let driver = Ssd1306::new("SSD1306", interface, DisplaySize128x32, false, reset, Delay, note);
            return Box::new(Background::new(driver));
        }
        Box::new(Background::new(Ssd1306::new(
            "SSD1306",
            interface,
            DisplaySize128x64,
            false,
            reset,
            Delay,
            note,
        )))
    }

    /// Counts the transfers; wakes whoever waits for the next picture.
    pub fn transfers(&self) -> watch::Receiver<u64> {
        self.transfers.subscribe()
    }

    /// Everything that was refused so far, oldest first; the first 64 are kept, without transfers to an unplugged display.
    pub fn violations(&self) -> Vec<Violation> {
        self.lock().violations.clone()
    }

    /// Fails with the first thing that was refused.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub fn check(&self) -> Result<(), Violation> {
        self.lock().violations.first().map_or(Ok(()), |v| Err(*v))
    }

    /// Pulls the cable: nobody answers, and the picture is gone.
    pub fn unplug(&self) {
        let mut wire = self.lock();
        wire.plugged = false;
        wire.controller = Controller::new(wire.controller.glass());
    }

    /// Puts the cable back: the display is powered on anew and knows nothing of before.
    pub fn plug(&self) {
        self.lock().plugged = true;
    }

    /// Holds the clock line low: every transfer blocks until [`VirtualSsd1306::let_go`].
    pub fn hold_clock(&self) {
        self.lock().stuck = true;
    }

    /// Lets blocked transfers go on.
    pub fn let_go(&self) {
        self.lock().stuck = false;
        self.wire.1.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Wire> {
        // The state is whole between two bytes, so a panic of another holder leaves nothing half done.
        self.wire.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for VirtualSsd1306 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VirtualSsd1306({:?})", self.picture())
    }
}

impl Wire {
    fn transfer(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), Violation> {
        if !self.plugged || address != self.address {
            return Err(Violation::Address { address });
        }
        for operation in operations {
            match operation {
                Operation::Write(bytes) => self.write(bytes)?,
                Operation::Read(bytes) => bytes.fill(self.controller.status()),
            }
        }
        Ok(())
    }

    /// The bytes after the slave address (data sheet 8.1.5.2): control byte, then one byte (Co = 1) or the rest
    /// (Co = 0).
    fn write(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        let mut rest = bytes;
        while let [control, following @ ..] = rest {
            let control = *control;
            if control & 0x3F != 0 {
                return Err(Violation::ControlByte { byte: control });
            }
            if following.is_empty() {
                return Err(Violation::NothingFollows { byte: control });
            }
            let taken = if control & 0x80 != 0 { 1 } else { following.len() };
            for &byte in &following[..taken] {
                if control & 0x40 != 0 {
                    self.controller.data_byte(byte)?;
                } else {
                    self.controller.command_byte(byte)?;
                }
            }
            rest = &following[taken..];
        }
        self.controller.end_command()
    }
}

impl ErrorType for VirtualSsd1306 {
    type Error = Violation;
}

impl I2c for VirtualSsd1306 {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), Violation> {
        let wire = self.lock();
        let mut wire =
            self.wire.1.wait_while(wire, |wire| wire.stuck).unwrap_or_else(PoisonError::into_inner);
        let result = wire.transfer(address, operations);
        if let Err(violation) = result {
            // A failed transfer ends with a STOP; what it began is forgotten. The error is already being returned.
            let _ = wire.controller.end_command();
            if wire.violations.len() < 64 && !matches!(violation, Violation::Address { .. } if !wire.plugged)
            {
                wire.violations.push(violation);
            }
        }
        drop(wire);
        self.transfers.send_modify(|n| *n += 1);
        result
    }
}
