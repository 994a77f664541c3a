//! SSD1306 and SSD1309, through the `ssd1306` crate.

use display_interface::WriteOnlyDataCommand;
use embedded_graphics::prelude::*;
use embedded_hal::{delay::DelayNs, digital::OutputPin};
use ssd1306::{
    Ssd1306 as Controller,
    mode::BufferedGraphicsMode,
    prelude::{
        Brightness, DisplayConfig, DisplayRotation, DisplaySize, DisplaySize128x32, DisplaySize128x64,
    },
};

use super::{Driver, Reset, bus::Note};
use crate::{Depth, Frame, Panel, PartError};

/// A size that the controller has.
pub trait Ssd1306Size: DisplaySize + Send + 'static {
    /// Width and height, pixels.
    const SIZE: Size;
}

impl Ssd1306Size for DisplaySize128x64 {
    const SIZE: Size = Size::new(128, 64);
}

impl Ssd1306Size for DisplaySize128x32 {
    const SIZE: Size = Size::new(128, 32);
}

/// An SSD1306 or SSD1309 behind any display interface.
pub struct Ssd1306<DI, S: Ssd1306Size, P, D> {
    controller: Controller<DI, S, BufferedGraphicsMode<S>>,
    reset: Option<Reset<P>>,
    delay: D,
    note: Note,
    name: &'static str,
}

impl<DI, S, P, D> Ssd1306<DI, S, P, D>
where
    DI: WriteOnlyDataCommand,
    S: Ssd1306Size,
{
    /// A controller called `name` (`SSD1306`) behind `interface`, whose failures are in `note`. `upside_down` turns
    /// the picture by 180 degrees.
    pub fn new(
        name: &'static str,
        interface: DI,
        size: S,
        upside_down: bool,
        reset: Option<Reset<P>>,
        delay: D,
        note: Note,
    ) -> Self {
        let rotation = if upside_down { DisplayRotation::Rotate180 } else { DisplayRotation::Rotate0 };
        let controller = Controller::new(interface, size, rotation).into_buffered_graphics_mode();
        Self { controller, reset, delay, note, name }
    }
}

impl<DI, S, P, D> Driver for Ssd1306<DI, S, P, D>
where
    DI: WriteOnlyDataCommand + Send + 'static,
    S: Ssd1306Size,
    S::Buffer: Send,
    P: OutputPin + Send + 'static,
    D: DelayNs + Send + 'static,
{
    fn panel(&self) -> Panel {
        Panel { name: self.name, size: S::SIZE, depth: Depth::Mono, dims: true, inverts: true, wears: true }
    }

    fn place(&self) -> &str {
        self.note.place()
    }

    fn init(&mut self) -> Result<(), PartError> {
        if let Some(reset) = &mut self.reset {
            reset.pulse(&mut self.delay).map_err(|e| self.note.take(&format!("reset line: {e:?}")))?;
        }
        self.controller.init().map_err(|e| self.note.take(&format!("{e:?}")))?;
        // The crate turns the panel on before anything is in its memory.
        self.set_on(false)
    }

    fn show(&mut self, before: Option<&Frame>, frame: &Frame) -> Result<(), PartError> {
        for point in frame.bounding_box().points() {
            let lit = frame.is_lit(point);
            // The crate sends the rectangle around what was set, so what did not change is not set.
            if before.is_none_or(|b| b.is_lit(point) != lit) {
                self.controller.set_pixel(point.x as u32, point.y as u32, lit);
            }
        }
        self.controller.flush().map_err(|e| self.note.take(&format!("{e:?}")))
    }

    fn set_brightness(&mut self, level: u8) -> Result<(), PartError> {
        // Phase 2 of the precharge is 1 or 2 clocks as in the crate's own levels: 1 is visibly darker.
        let precharge = if level < 0x20 { 1 } else { 2 };
        let brightness = Brightness::custom(precharge, level);
        self.controller.set_brightness(brightness).map_err(|e| self.note.take(&format!("{e:?}")))
    }

    fn set_inverted(&mut self, inverted: bool) -> Result<(), PartError> {
        self.controller.set_invert(inverted).map_err(|e| self.note.take(&format!("{e:?}")))
    }

    fn set_on(&mut self, on: bool) -> Result<(), PartError> {
        self.controller.set_display_on(on).map_err(|e| self.note.take(&format!("{e:?}")))
    }
}
