//! SH1106 and SH1107 (Sino Wealth): like an SSD1306 without windows. One page is addressed at a time, and the columns
//! are set by halves.
//!
//! Written against the data sheets "SH1106" v2.3 and "SH1107" v2.1, because the published drivers speak an older
//! embedded-hal or need `defmt` on Linux.

use display_interface::{DataFormat, WriteOnlyDataCommand};
use embedded_graphics::prelude::*;
use embedded_hal::{delay::DelayNs, digital::OutputPin};

use super::{Driver, Reset, bus::Note};
use crate::{Depth, Frame, Panel, PartError};

/// Which controller, with which panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// SH1106, 132x64 of memory, 128x64 of panel in the middle.
    Sh1106,
    /// SH1107, 128x128.
    Sh1107,
}

impl Variant {
    /// Name, for messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sh1106 => "SH1106",
            Self::Sh1107 => "SH1107",
        }
    }

    /// Width and height of the panel, pixels.
    pub const fn size(self) -> Size {
        match self {
            Self::Sh1106 => Size::new(128, 64),
            Self::Sh1107 => Size::new(128, 128),
        }
    }

    /// The memory's column that is the panel's first, when nothing else is known of the module.
    pub const fn first_column(self) -> u8 {
        match self {
            Self::Sh1106 => 2,
            Self::Sh1107 => 0,
        }
    }

    /// Commands from power-on to a dark, ready panel. Contrast and inversion are set later.
    fn set_up(self, upside_down: bool, row_offset: u8) -> Vec<Vec<u8>> {
        let (remap, scan) = if upside_down { (0xA0, 0xC0) } else { (0xA1, 0xC8) };
        let mut commands = vec![vec![0xAE]];
        match self {
            Self::Sh1106 => commands.extend([
                vec![0x40],       // start line 0
                vec![0xDA, 0x12], // COM pins alternate
                vec![0x32],       // pump at 8.0 V
            ]),
            Self::Sh1107 => commands.extend([
                vec![0xDC, 0x00], // start line 0
                vec![0x20],       // page addressing
            ]),
        }
        let rows = self.size().height as u8;
        commands.extend([
            vec![remap],
            vec![scan],
            vec![0xA8, rows - 1],
            vec![0xD3, row_offset],
            vec![0xD5, if self == Self::Sh1106 { 0x80 } else { 0x51 }], // oscillator: the reset value, or faster
            vec![0xD9, 0x22], // precharge 2, discharge 2 (reset value)
            vec![0xDB, 0x35], // VCOM deselect (reset value)
            vec![0xAD, 0x8B], // DC-DC converter on, while the panel is off
            vec![0xA4],       // show the memory
        ]);
        commands
    }
}

/// An SH1106 or SH1107 behind any display interface.
pub struct Sh110x<DI, P, D> {
    variant: Variant,
    interface: DI,
    upside_down: bool,
    first_column: u8,
    row_offset: u8,
    reset: Option<Reset<P>>,
    delay: D,
    note: Note,
}

impl<DI: WriteOnlyDataCommand, P, D> Sh110x<DI, P, D> {
    /// A controller behind `interface`, whose failures are in `note`. `offset` is the panel's place in the
    /// controller's memory, columns and rows; it differs between modules ([`Variant::first_column`]).
    pub fn new(
        variant: Variant,
        interface: DI,
        upside_down: bool,
        offset: (u8, u8),
        reset: Option<Reset<P>>,
        delay: D,
        note: Note,
    ) -> Self {
        let (first_column, row_offset) = offset;
        Self { variant, interface, upside_down, first_column, row_offset, reset, delay, note }
    }

    fn command(&mut self, bytes: &[u8]) -> Result<(), PartError> {
        let sent = self.interface.send_commands(DataFormat::U8(bytes));
        sent.map_err(|e| self.note.take(&format!("{e:?}")))
    }
}

/// The bytes of a page, which is eight rows: one byte per column, the top row in bit 0.
fn page_bytes(frame: &Frame, page: u32) -> Vec<u8> {
    let column = |x: u32| {
        let lit = |bit: u32| frame.is_lit(Point::new(x as i32, (page * 8 + bit) as i32));
        (0..8).fold(0, |byte, bit| byte | u8::from(lit(bit)) << bit)
    };
    (0..frame.size().width).map(column).collect()
}

impl<DI, P, D> Driver for Sh110x<DI, P, D>
where
    DI: WriteOnlyDataCommand + Send + 'static,
    P: OutputPin + Send + 'static,
    D: DelayNs + Send + 'static,
{
    fn panel(&self) -> Panel {
        let (name, size) = (self.variant.name(), self.variant.size());
        Panel { name, size, depth: Depth::Mono, dims: true, inverts: true, wears: true }
    }

    fn place(&self) -> &str {
        self.note.place()
    }

    fn init(&mut self) -> Result<(), PartError> {
        if let Some(reset) = &mut self.reset {
            reset.pulse(&mut self.delay).map_err(|e| self.note.take(&format!("reset line: {e:?}")))?;
        }
        for command in self.variant.set_up(self.upside_down, self.row_offset) {
            self.command(&command)?;
        }
        Ok(())
    }

    fn show(&mut self, before: Option<&Frame>, frame: &Frame) -> Result<(), PartError> {
        for page in 0..frame.size().height / 8 {
            let bytes = page_bytes(frame, page);
            let old = before.map(|b| page_bytes(b, page));
            // From the first column that changed to the last.
            let differs = |x: &usize| old.as_ref().is_none_or(|old| old[*x] != bytes[*x]);
            let Some(first) = (0..bytes.len()).find(differs) else { continue };
            let last = (first..bytes.len()).rev().find(differs).unwrap_or(first);
            let column = first as u8 + self.first_column;
            self.command(&[0xB0 | page as u8, column & 0x0F, 0x10 | column >> 4])?;
            let sent = self.interface.send_data(DataFormat::U8(&bytes[first..=last]));
            sent.map_err(|e| self.note.take(&format!("{e:?}")))?;
        }
        Ok(())
    }

    fn set_brightness(&mut self, level: u8) -> Result<(), PartError> {
        self.command(&[0x81, level])
    }

    fn set_inverted(&mut self, inverted: bool) -> Result<(), PartError> {
        self.command(&[0xA6 | u8::from(inverted)])
    }

    fn set_on(&mut self, on: bool) -> Result<(), PartError> {
        self.command(&[0xAE | u8::from(on)])
    }
}
