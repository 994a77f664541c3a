//! ST7789, a colour LCD of 240x240, through `mipidsi`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use embedded_graphics::prelude::*;
use embedded_hal::{delay::DelayNs, digital::OutputPin, spi::SpiDevice};
use mipidsi::{
    Builder, Display as Controller, NoResetPin,
    interface::{Interface, InterfaceKind},
    models::ST7789,
    options::{ColorInversion, Orientation, Rotation},
};

use super::{Driver, Reset, bus::Note};
use crate::{Depth, Frame, Panel, PartError};

/// Bytes in one SPI transfer: spidev's default buffer is 4096 bytes, and a longer transfer is refused.
const TRANSFER: usize = 4096;

/// How the panel is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct St7789Options {
    /// Width and height, pixels; up to 240x320.
    pub size: Size,
    /// Quarter turns clockwise, 0 to 3.
    pub quarter_turns: u8,
    /// Where the panel begins in the controller's 240x320 memory, before rotation.
    pub offset: (u16, u16),
}

/// An ST7789 on SPI, with a data/command line, and a backlight line if the module has one.
pub struct St7789<SPI, P, D>
where
    SPI: SpiDevice,
    P: OutputPin,
{
    wires: Wires<SPI, P>,
    // None until it is set up.
    controller: Option<Controller<Wires<SPI, P>, ST7789, NoResetPin>>,
    options: St7789Options,
    reset: Option<Reset<P>>,
    backlight: Option<P>,
    delay: D,
    note: Note,
}

impl<SPI, P, D> St7789<SPI, P, D>
where
    SPI: SpiDevice,
    P: OutputPin,
{
    /// A panel on `spi` with the data/command line `dc`. Failures of bus and lines are in `note`.
    pub fn new(
        spi: SPI,
        dc: P,
        options: St7789Options,
        reset: Option<Reset<P>>,
        backlight: Option<P>,
        delay: D,
        note: Note,
    ) -> Self {
        let wires = Wires(Arc::new(Mutex::new(WirePair { spi, dc, buffer: Vec::with_capacity(TRANSFER) })));
        Self { wires, controller: None, options, reset, backlight, delay, note }
    }

    fn set_backlight(&mut self, on: bool) -> Result<(), PartError> {
        let Some(pin) = &mut self.backlight else { return Ok(()) };
        let set = if on { pin.set_high() } else { pin.set_low() };
        set.map_err(|e| self.note.take(&format!("backlight line: {e:?}")))
    }
}

impl<SPI, P, D> Driver for St7789<SPI, P, D>
where
    SPI: SpiDevice + Send + 'static,
    P: OutputPin + Send + 'static,
    D: DelayNs + Send + 'static,
{
    fn panel(&self) -> Panel {
        let St7789Options { size, .. } = self.options;
        Panel { name: "ST7789", size, depth: Depth::Rgb565, dims: false, inverts: false, wears: false }
    }

    fn place(&self) -> &str {
        self.note.place()
    }

    fn init(&mut self) -> Result<(), PartError> {
        self.set_backlight(false)?;
        if let Some(reset) = &mut self.reset {
            reset.pulse(&mut self.delay).map_err(|e| self.note.take(&format!("reset line: {e:?}")))?;
        }
        let St7789Options { size, quarter_turns, offset } = self.options;
        let rotation = [Rotation::Deg0, Rotation::Deg90, Rotation::Deg180, Rotation::Deg270];
        let set_up = Builder::new(ST7789, self.wires.clone())
            // All these panels are IPS, which shows the complement.
            .invert_colors(ColorInversion::Inverted)
            .orientation(Orientation::new().rotate(rotation[usize::from(quarter_turns % 4)]))
            .display_size(size.width as u16, size.height as u16)
            .display_offset(offset.0, offset.1)
            .init(&mut self.delay);
        self.controller = Some(set_up.map_err(|e| self.note.take(&format!("{e:?}")))?);
        Ok(())
    }

    fn show(&mut self, before: Option<&Frame>, frame: &Frame) -> Result<(), PartError> {
        let differs = |y: &u32| before.is_none_or(|b| b.row(*y) != frame.row(*y));
        let rows = 0..self.options.size.height;
        let Some(first) = rows.clone().find(differs) else { return Ok(()) };
        let last = rows.rev().find(differs).unwrap_or(first);
        let width = self.options.size.width as u16;
        let pixels = (first..=last).flat_map(|y| frame.row(y)).copied();
        let Some(controller) = &mut self.controller else {
            return Err(self.note.failed("it was not set up"));
        };
        let sent = controller.set_pixels(0, first as u16, width - 1, last as u16, pixels);
        sent.map_err(|e| self.note.take(&format!("{e:?}")))
    }

    fn set_brightness(&mut self, _level: u8) -> Result<(), PartError> {
        Ok(())
    }

    fn set_inverted(&mut self, _inverted: bool) -> Result<(), PartError> {
        Ok(())
    }

    fn set_on(&mut self, on: bool) -> Result<(), PartError> {
        self.set_backlight(on)?;
        if self.backlight.is_none() {
            // Without a backlight line the panel can only be put to sleep.
            let Some(controller) = &mut self.controller else {
                return Err(self.note.failed("it was not set up"));
            };
            let sent = match on {
                true if controller.is_sleeping() => controller.wake(&mut self.delay),
                false if !controller.is_sleeping() => controller.sleep(&mut self.delay),
                _ => Ok(()),
            };
            sent.map_err(|e| self.note.take(&format!("{e:?}")))?;
        }
        Ok(())
    }
}

/// `mipidsi`'s interface over SPI. Shared, so that the controller can be set up anew after its builder failed.
struct Wires<SPI, DC>(Arc<Mutex<WirePair<SPI, DC>>>);

struct WirePair<SPI, DC> {
    spi: SPI,
    dc: DC,
    buffer: Vec<u8>,
}

impl<SPI, DC> Clone for Wires<SPI, DC> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<SPI, DC> Wires<SPI, DC> {
    fn lock(&self) -> MutexGuard<'_, WirePair<SPI, DC>> {
        // The buffer is cleared before each use, so nothing of a panicked holder is left.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which of the wires failed; the details are in the [`Note`].
#[derive(Debug)]
enum WireError {
    Spi,
    Dc,
}

impl<SPI: SpiDevice, DC: OutputPin> Interface for Wires<SPI, DC> {
    type Word = u8;
    type Error = WireError;

    const KIND: InterfaceKind = InterfaceKind::Serial4Line;

    fn send_command(&mut self, command: u8, args: &[u8]) -> Result<(), WireError> {
        let wires = &mut *self.lock();
        wires.dc.set_low().map_err(|_| WireError::Dc)?;
        wires.spi.write(&[command]).map_err(|_| WireError::Spi)?;
        wires.dc.set_high().map_err(|_| WireError::Dc)?;
        if args.is_empty() { Ok(()) } else { wires.spi.write(args).map_err(|_| WireError::Spi) }
    }

    fn send_pixels<const N: usize>(
        &mut self,
        pixels: impl IntoIterator<Item = [u8; N]>,
    ) -> Result<(), WireError> {
        let WirePair { spi, buffer, .. } = &mut *self.lock();
        buffer.clear();
        for pixel in pixels {
            if buffer.len() + N > TRANSFER {
                spi.write(buffer).map_err(|_| WireError::Spi)?;
                buffer.clear();
            }
            buffer.extend_from_slice(&pixel);
        }
        if buffer.is_empty() { Ok(()) } else { spi.write(buffer).map_err(|_| WireError::Spi) }
    }

    fn send_repeated_pixel<const N: usize>(&mut self, pixel: [u8; N], count: u32) -> Result<(), WireError> {
        self.send_pixels(std::iter::repeat_n(pixel, count as usize))
    }
}
