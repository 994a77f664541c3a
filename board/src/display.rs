//! A display: what it can do, and how a frame gets there.

use std::time::Duration;

use async_trait::async_trait;
use embedded_graphics::{
    pixelcolor::{Gray4, Rgb565},
    prelude::*,
};

use crate::{Frame, PartError, frame::luma};

/// How many colours a panel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Lit or unlit.
    Mono,
    /// 16 shades.
    Gray4,
    /// 65536 colours.
    Rgb565,
}

impl Depth {
    /// The colour that a panel of this depth shows for `color`.
    pub fn nearest(self, color: Rgb565) -> Rgb565 {
        match self {
            Self::Mono if luma(color) >= 128 => Rgb565::WHITE,
            Self::Mono => Rgb565::BLACK,
            Self::Gray4 => Rgb565::from(Gray4::new(((u16::from(luma(color)) + 8) / 17) as u8)),
            Self::Rgb565 => color,
        }
    }
}

/// What a panel is and can do. The drivers' constants say it for each controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panel {
    /// The controller's name, for messages: `SSD1306`.
    pub name: &'static str,
    /// Width and height as the person sees it (after rotation), pixels.
    pub size: Size,
    /// Colours.
    pub depth: Depth,
    /// Whether [`Display::set_brightness`] changes the light.
    pub dims: bool,
    /// Whether [`Display::set_inverted`] swaps lit and unlit in the controller, without a new frame.
    pub inverts: bool,
    /// Whether pixels wear with use (OLED), so that the screen should be blanked, shifted and dimmed.
    pub wears: bool,
}

/// A panel that shows frames.
///
/// All methods end in bounded time ([`FLUSH_LIMIT`] in the drivers of this crate) and can be called again
/// after an error: the display is then initialised anew, so one that was unplugged comes back by itself.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use embedded_graphics::{pixelcolor::Rgb565, prelude::*};
/// use kurir_board::{Display, Frame, memory::MemoryDisplay};
///
/// let mut display: Box<dyn Display> = Box::new(MemoryDisplay::oled(Size::new(128, 64)));
/// let mut frame = Frame::new(display.panel().size);
/// let Ok(()) = frame.clear(Rgb565::WHITE);
/// display.flush(&frame).await?;
/// # Ok::<(), kurir_board::PartError>(()) }).unwrap();
/// ```
#[async_trait]
pub trait Display: Send {
    /// What the panel is and can do.
    fn panel(&self) -> Panel;

    /// Shows `frame`, which must be of the panel's size. A frame equal to the one shown costs nothing.
    ///
    /// # Errors
    /// [`PartError::WrongSize`], [`PartError::NoAnswer`], [`PartError::TimedOut`], [`PartError::Failed`].
    async fn flush(&mut self, frame: &Frame) -> Result<(), PartError>;

    /// Brightness from 0 (dimmest, still visible) to 255. Does nothing where [`Panel::dims`] is false.
    ///
    /// # Errors
    /// As [`Display::flush`].
    async fn set_brightness(&mut self, level: u8) -> Result<(), PartError>;

    /// Swaps lit and unlit. Does nothing where [`Panel::inverts`] is false.
    ///
    /// # Errors
    /// As [`Display::flush`].
    async fn set_inverted(&mut self, inverted: bool) -> Result<(), PartError>;

    /// Turns the panel off (it keeps its picture) or on.
    ///
    /// # Errors
    /// As [`Display::flush`].
    async fn set_on(&mut self, on: bool) -> Result<(), PartError>;

    /// Sets the panel up anew and shows everything again. A display that lost its power for a moment, without a transfer in
    /// that moment, stays dark and answers as if nothing had happened; so call this when a person wakes the screen.
    ///
    /// # Errors
    /// As [`Display::flush`].
    async fn refresh(&mut self) -> Result<(), PartError> {
        Ok(())
    }
}

/// The longest that a call on a [`Display`] of this crate waits for its bus. A whole 128x64 frame takes about 30 ms on
/// a 400 kHz I2C bus, about 110 ms on the Raspberry Pi's default 100 kHz, and a 240x240 colour frame about 30 ms on a
/// 32 MHz SPI bus.
pub const FLUSH_LIMIT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn black_and_white_are_themselves_on_every_panel() {
        for depth in [Depth::Mono, Depth::Gray4, Depth::Rgb565] {
            assert_eq!(depth.nearest(Rgb565::WHITE), Rgb565::WHITE, "{depth:?}");
            assert_eq!(depth.nearest(Rgb565::BLACK), Rgb565::BLACK, "{depth:?}");
        }
    }
}
