//! The parts as they are sold: display controllers on I2C and SPI, buttons and LEDs on GPIO lines.
//!
//! A [`Driver`] blocks on its bus; [`Background`] runs it beside the async code and makes a [`Display`](crate::Display)
//! of it. What each driver stands on:
//!
//! | part | crate |
//! |---|---|
//! | SSD1306, SSD1309 | `ssd1306` (the SSD1309 takes the same commands and ignores the charge pump's) |
//! | SH1106, SH1107 | [`sh110x`], written here: the published drivers speak embedded-hal 0.2, or need `defmt` |
//! | ST7789 | `mipidsi` |
//! | buses | `linux-embedded-hal` |
//! | lines | `gpiocdev` |

mod background;
pub mod bus;
mod buttons;
pub mod gpio;
mod led;
#[cfg(feature = "rppal")]
mod rppal_pwm;
pub mod sh110x;
mod ssd1306;
mod st7789;
#[cfg(test)]
mod tests;

use std::convert::Infallible;

use embedded_hal::{
    delay::DelayNs,
    digital::{self, OutputPin},
};

pub use self::{
    background::Background,
    buttons::WaitButtons,
    led::{PinLed, PwmLed, SysfsLed},
    sh110x::{Sh110x, Variant},
    ssd1306::{Ssd1306, Ssd1306Size},
    st7789::{St7789, St7789Options},
};
#[cfg(feature = "rppal")]
pub use rppal_pwm::RaspberryPwm;

use crate::{Frame, Panel, PartError};

/// A display controller on a bus that blocks. [`Background`] makes a [`Display`](crate::Display) of it.
pub trait Driver: Send + 'static {
    /// What the panel is and can do.
    fn panel(&self) -> Panel;

    /// The controller, its address and its bus, for messages.
    fn place(&self) -> &str;

    /// Sets the controller up from any state. The panel is off afterwards and its memory holds anything.
    ///
    /// # Errors
    /// What the bus said.
    fn init(&mut self) -> Result<(), PartError>;

    /// Writes `frame`, which is of the panel's size. `before` is what the memory holds, or `None` if that is unknown.
    ///
    /// # Errors
    /// What the bus said; the memory then holds anything.
    fn show(&mut self, before: Option<&Frame>, frame: &Frame) -> Result<(), PartError>;

    /// Brightness, 0 to 255.
    ///
    /// # Errors
    /// What the bus said.
    fn set_brightness(&mut self, level: u8) -> Result<(), PartError>;

    /// Swaps lit and unlit.
    ///
    /// # Errors
    /// What the bus said.
    fn set_inverted(&mut self, inverted: bool) -> Result<(), PartError>;

    /// Turns the panel on or off.
    ///
    /// # Errors
    /// What the bus said.
    fn set_on(&mut self, on: bool) -> Result<(), PartError>;
}

/// A line that a module does not have: writing it does nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NotWired;

impl digital::ErrorType for NotWired {
    type Error = Infallible;
}

impl OutputPin for NotWired {
    fn set_low(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A reset line, which is pulsed before a controller is set up. Many modules reset themselves at power-on and have none.
pub struct Reset<P> {
    pin: P,
}

impl<P: OutputPin> Reset<P> {
    /// A reset on `pin`, active low.
    pub fn new(pin: P) -> Self {
        Self { pin }
    }

    /// 10 ms low; the data sheets of all controllers here ask for 3 to 10 microseconds, and for up to 5 ms before the
    /// first command.
    fn pulse(&mut self, delay: &mut impl DelayNs) -> Result<(), P::Error> {
        self.pin.set_high()?;
        delay.delay_ms(1);
        self.pin.set_low()?;
        delay.delay_ms(10);
        self.pin.set_high()?;
        delay.delay_ms(10);
        Ok(())
    }
}
