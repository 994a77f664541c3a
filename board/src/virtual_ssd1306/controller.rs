//! The state of the controller and what the glass in front of it shows.

use embedded_graphics::{pixelcolor::Rgb565, prelude::*};

use super::{
    Violation,
    command::{Addressing, Command, Scroll, arguments, decode},
};
use crate::Frame;

const COLUMNS: usize = 128;
const PAGES: usize = 8;
const ROWS: usize = 64;

/// How the rows of a panel are wired to the controller's COM pins (data sheet 10.1.18).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wiring {
    /// Row by row to neighbouring pins: the usual 128x32 panels.
    Sequential,
    /// Rows alternate between the two sides of the chip: the usual 128x64 panels.
    Alternative,
}

/// A panel: its size, its wiring and its supply. As sold, the panels are mounted so that the first column is SEG127
/// and the first row is the last COM, which is why drivers send A1h and C8h for an upright picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glass {
    /// Columns, up to 128.
    pub width: u32,
    /// Rows, up to 64.
    pub height: u32,
    /// How the rows are wired.
    pub wiring: Wiring,
    /// Whether the panel gets its voltage from the controller's charge pump, as all small modules do. If so, it
    /// must not be turned on without the pump.
    pub charge_pump: bool,
}

impl Glass {
    /// The usual 128x64 module.
    pub const W128H64: Self = Self { width: 128, height: 64, wiring: Wiring::Alternative, charge_pump: true };
    /// The usual 128x32 module.
    pub const W128H32: Self = Self { width: 128, height: 32, wiring: Wiring::Sequential, charge_pump: true };

    /// Width and height.
    pub const fn size(&self) -> Size {
        Size::new(self.width, self.height)
    }
}

/// An SSD1306, as a state machine over command and data bytes. [`VirtualSsd1306`](super::VirtualSsd1306) puts it on an
/// I2C bus.
#[derive(Debug, Clone)]
pub struct Controller {
    glass: Glass,
    // By page and segment (not column: a remap changes only what is written afterwards, data sheet 10.1.8).
    ram: [[u8; COLUMNS]; PAGES],
    pending: Vec<u8>,
    addressing: Addressing,
    columns: (u8, u8),
    pages: (u8, u8),
    column: u8,
    page: u8,
    start_line: u8,
    remapped: bool,
    multiplex: u8,
    reversed: bool,
    offset: u8,
    alternative: bool,
    sides_swapped: bool,
    contrast: u8,
    entire_on: bool,
    inverse: bool,
    on: bool,
    pump: bool,
    scroll: Option<Scroll>,
    scrolling: bool,
    scroll_area: (u8, u8),
    scrolled_rows: u8,
}

impl Controller {
    /// A controller just after power-on: the registers are those of the data sheet's RESET column, and the RAM holds
    /// noise, because the sheet promises nothing about it.
    pub fn new(glass: Glass) -> Self {
        let mut controller = Self {
            glass,
            ram: [[0; COLUMNS]; PAGES],
            pending: Vec::new(),
            addressing: Addressing::Page,
            columns: (0, 127),
            pages: (0, 7),
            column: 0,
            page: 0,
            start_line: 0,
            remapped: false,
            multiplex: 64,
            reversed: false,
            offset: 0,
            alternative: true,
            sides_swapped: false,
            contrast: 0x7F,
            entire_on: false,
            inverse: false,
            on: false,
            pump: false,
            scroll: None,
            scrolling: false,
            scroll_area: (0, 64),
            scrolled_rows: 0,
        };
        controller.make_noise();
        controller
    }

    /// The panel.
    pub fn glass(&self) -> Glass {
        self.glass
    }

    /// One command byte (D/C# = 0): an opcode or an argument.
    ///
    /// # Errors
    /// What the data sheet forbids; the command then has no effect.
    pub fn command_byte(&mut self, byte: u8) -> Result<(), Violation> {
        self.pending.push(byte);
        let opcode = self.pending[0];
        let Some(count) = arguments(opcode) else {
            self.pending.clear();
            return Err(Violation::UnknownCommand { opcode });
        };
        if self.pending.len() <= count {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.pending);
        self.execute(decode(opcode, &bytes[1..])?, opcode)
    }

    /// One data byte (D/C# = 1): eight rows of the column at the RAM pointer, which moves on.
    ///
    /// # Errors
    /// [`Violation::Truncated`] in the middle of a command, [`Violation::Scrolling`] while the panel scrolls.
    pub fn data_byte(&mut self, byte: u8) -> Result<(), Violation> {
        self.end_command()?;
        if self.scrolling {
            return Err(Violation::Scrolling { what: "writing to the RAM" });
        }
        let segment = if self.remapped { 127 - self.column } else { self.column };
        self.ram[usize::from(self.page)][usize::from(segment)] = byte;
        self.advance();
        Ok(())
    }

    /// The end of a transfer: no command may be unfinished.
    ///
    /// # Errors
    /// [`Violation::Truncated`]. Chips keep waiting for the missing bytes; a driver that relies on it is one lost
    /// transfer away from showing noise.
    pub fn end_command(&mut self) -> Result<(), Violation> {
        let bytes = std::mem::take(&mut self.pending);
        match bytes.first() {
            None => Ok(()),
            Some(&opcode) => Err(Violation::Truncated { opcode, got: bytes.len() - 1 }),
        }
    }

    /// The status byte that a read returns: bit 6 is set while the display is off (data sheet 9, "Read Status").
    pub fn status(&self) -> u8 {
        if self.on { 0 } else { 0x40 }
    }

    /// Whether the pixel in column `x` and row `y`, from the top left as the person sees it, is lit.
    pub fn is_lit(&self, x: u32, y: u32) -> bool {
        if !self.on || x >= self.glass.width || y >= self.glass.height {
            return false;
        }
        let segment = 127 - x as usize;
        let pin = pin(self.glass.wiring == Wiring::Alternative, false, (self.glass.height - 1 - y) as usize);
        // Which COM output of the scan drives this pin, and which row of the picture is on it (tables 10-1 and 10-2).
        let Some(com) = (0..ROWS).find(|&c| self::pin(self.alternative, self.sides_swapped, c) == pin) else {
            return false;
        };
        let (rows, offset) = (usize::from(self.multiplex), usize::from(self.offset));
        let row = if self.reversed { (rows - 1 + offset + ROWS - com) % ROWS } else { (com + offset) % ROWS };
        if row >= rows {
            return false;
        }
        let line = (self.scrolled(row) + usize::from(self.start_line)) % ROWS;
        let bit = self.ram[line / 8][segment] >> (line % 8) & 1 == 1;
        self.entire_on || bit != self.inverse
    }

    /// What the person sees.
    pub fn picture(&self) -> Frame {
        let mut frame = Frame::new(self.glass.size());
        let lit = frame.bounding_box().points().filter(|p| self.is_lit(p.x as u32, p.y as u32));
        let lit: Vec<_> = lit.map(|p| Pixel(p, Rgb565::WHITE)).collect();
        let Ok(()) = frame.draw_iter(lit);
        frame
    }

    /// The contrast register, or 0 while the display is off.
    pub fn brightness(&self) -> u8 {
        if self.on { self.contrast } else { 0 }
    }

    /// Whether the display is on.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Whether lit and unlit are swapped (A7h).
    pub fn is_inverse(&self) -> bool {
        self.inverse
    }

    /// Frames between two steps of the active scroll; `None` if nothing scrolls.
    pub fn scroll_interval(&self) -> Option<u16> {
        self.scroll.filter(|_| self.scrolling).map(|s| s.frames)
    }

    /// One step of the active scroll: the time of the chip is the caller's.
    pub fn scroll_step(&mut self) {
        let Some(scroll) = self.scroll.filter(|_| self.scrolling) else { return };
        for page in &mut self.ram[usize::from(scroll.first)..=usize::from(scroll.last)] {
            // Left and right are those of the RAM's columns, and segments run against them when remapped.
            if scroll.left == self.remapped { page.rotate_right(1) } else { page.rotate_left(1) }
        }
        if self.scroll_area.1 > 0 {
            self.scrolled_rows = (self.scrolled_rows + scroll.rows) % self.scroll_area.1;
        }
    }

    fn scrolled(&self, row: usize) -> usize {
        let (top, height) = (usize::from(self.scroll_area.0), usize::from(self.scroll_area.1));
        if row < top || row >= top + height {
            return row;
        }
        top + (row - top + usize::from(self.scrolled_rows)) % height
    }

    fn execute(&mut self, command: Command, opcode: u8) -> Result<(), Violation> {
        let page_mode = self.addressing == Addressing::Page;
        let mode = |allowed: bool| if allowed { Ok(()) } else { Err(Violation::WrongMode { opcode }) };
        match command {
            Command::Contrast(value) => self.contrast = value,
            Command::EntireOn(on) => self.entire_on = on,
            Command::Inverse(inverse) => self.inverse = inverse,
            Command::DisplayOn(on) => {
                if on && self.glass.charge_pump && !self.pump {
                    return Err(Violation::NoPump);
                }
                self.on = on;
            }
            Command::ChargePump(pump) => {
                if self.on && self.glass.charge_pump && !pump {
                    return Err(Violation::NoPump);
                }
                self.pump = pump;
            }
            Command::ScrollSetup(_) if self.scrolling => {
                return Err(Violation::Scrolling { what: "changing the scroll" });
            }
            Command::ScrollSetup(scroll) => {
                if scroll.rows >= self.scroll_area.1 && scroll.rows > 0 {
                    return Err(Violation::Argument { opcode, index: 4, value: scroll.rows });
                }
                self.scroll = Some(scroll);
            }
            Command::ScrollActive(true) if self.scroll.is_none() => return Err(Violation::NoScroll),
            Command::ScrollActive(active) => {
                if self.scrolling && !active {
                    // "After sending 2Eh command to deactivate the scrolling action, the ram data needs to be
                    // rewritten."
                    self.make_noise();
                    self.scrolled_rows = 0;
                }
                self.scrolling = active;
            }
            Command::ScrollArea(top, rows) => {
                if self.scrolling {
                    return Err(Violation::Scrolling { what: "changing the scroll area" });
                }
                if top + rows > self.multiplex {
                    return Err(Violation::Argument { opcode, index: 1, value: rows });
                }
                self.scroll_area = (top, rows);
            }
            Command::ColumnLow(low) => {
                mode(page_mode)?;
                self.column = self.column & 0x70 | low;
            }
            Command::ColumnHigh(high) => {
                mode(page_mode)?;
                self.column = self.column & 0x0F | high << 4;
            }
            Command::Page(page) => {
                mode(page_mode)?;
                self.page = page;
            }
            Command::Addressing(addressing) => self.addressing = addressing,
            Command::Columns(first, last) => {
                mode(!page_mode)?;
                self.columns = (first, last);
                self.column = first;
            }
            Command::Pages(first, last) => {
                mode(!page_mode)?;
                self.pages = (first, last);
                self.page = first;
            }
            Command::StartLine(line) => self.start_line = line,
            Command::SegmentRemap(remapped) => self.remapped = remapped,
            Command::Multiplex(rows) => self.multiplex = rows,
            Command::ComReversed(reversed) => self.reversed = reversed,
            Command::Offset(offset) => self.offset = offset,
            Command::ComPins(alternative, swapped) => {
                self.alternative = alternative;
                self.sides_swapped = swapped;
            }
            Command::Drive | Command::Nop => {}
        }
        Ok(())
    }

    fn advance(&mut self) {
        match self.addressing {
            // The pointer goes back to column 0 of the same page.
            Addressing::Page => self.column = (self.column + 1) % 128,
            Addressing::Horizontal => {
                if self.column == self.columns.1 {
                    self.column = self.columns.0;
                    self.page = if self.page == self.pages.1 { self.pages.0 } else { (self.page + 1) % 8 };
                } else {
                    self.column = (self.column + 1) % 128;
                }
            }
            Addressing::Vertical => {
                if self.page == self.pages.1 {
                    self.page = self.pages.0;
                    self.column =
                        if self.column == self.columns.1 { self.columns.0 } else { (self.column + 1) % 128 };
                } else {
                    self.page = (self.page + 1) % 8;
                }
            }
        }
    }

    // The same noise each time, so that a test that depends on it fails each time.
    fn make_noise(&mut self) {
        let mut state = 0x2545_F491_u32;
        for byte in self.ram.iter_mut().flatten() {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            *byte = state as u8;
        }
    }
}

/// The pin of COM output `com` (table 10-3).
fn pin(alternative: bool, sides_swapped: bool, com: usize) -> usize {
    let pin = if alternative { com / 2 + com % 2 * 32 } else { com };
    if sides_swapped { pin ^ 32 } else { pin }
}
