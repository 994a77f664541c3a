//! Opens the parts of a profile. A part that is missing is said and left out; the others work.

use std::path::Path;

use embedded_graphics::prelude::*;
use linux_embedded_hal::Delay;
use ssd1306::prelude::{DisplaySize128x32, DisplaySize128x64, I2CInterface, SPIInterface};

use crate::{
    Buttons, Display, Led, PartError,
    drivers::{
        Background, PinLed, Reset, Sh110x, Ssd1306, St7789, St7789Options, SysfsLed, Variant,
        bus::{LinuxI2c, Note, Noted, OpenHints, open_spi},
        gpio::{GpioButtons, OutputLine},
    },
    profile::{Controller, DisplayProfile, I2cProfile, Kind, LineName, Profile, SpiProfile},
    sim,
};

/// Where the kernel lists its LEDs.
const LED_CLASS: &str = "/sys/class/leds";

/// The parts of a panel, as far as they are there.
pub struct Board {
    /// The profile's name.
    pub name: String,
    /// The display.
    pub display: Option<Box<dyn Display>>,
    /// The buttons.
    pub buttons: Option<Box<dyn Buttons>>,
    /// The LED.
    pub led: Option<Box<dyn Led>>,
    /// What should be there and is not, each with what to do about it. One log line each.
    pub missing: Vec<PartError>,
}

impl Board {
    /// Opens the parts of `profile`. Must be called inside of a tokio runtime.
    ///
    /// An I2C or SPI display that does not answer is found out by the first frame: only its bus is opened here.
    pub fn open(profile: &Profile) -> Self {
        let mut board =
            Self { name: profile.name.clone(), display: None, buttons: None, led: None, missing: Vec::new() };
        match profile.kind {
            Kind::None => {}
            Kind::Sim => {
                let size = profile.display.as_ref().map_or((128, 64), |d| d.size);
                match sim::open(Size::new(size.0, size.1)) {
                    Ok(parts) => {
                        board.display = Some(Box::new(parts.display));
                        board.buttons = Some(Box::new(parts.buttons));
                        board.led = Some(Box::new(parts.led));
                    }
                    Err(e) => board.missing.push(e),
                }
            }
            Kind::Hardware => {
                board.display = board.keep(open_display(profile).transpose());
                board.buttons = board.keep(open_buttons(profile).transpose());
                board.led = board.keep(open_led(profile).transpose());
            }
        }
        board
    }

    fn keep<T>(&mut self, part: Option<Result<T, PartError>>) -> Option<T> {
        match part? {
            Ok(part) => Some(part),
            Err(e) => {
                self.missing.push(e);
                None
            }
        }
    }
}

/// Opens the display of a hardware profile; `None` if it has none. Can be called again when the bus has come back.
///
/// # Errors
/// [`PartError`] of the bus or of a line.
pub fn open_display(profile: &Profile) -> Result<Option<Box<dyn Display>>, PartError> {
    let Some(display) = profile.display.as_ref().filter(|_| profile.kind == Kind::Hardware) else {
        return Ok(None);
    };
    match (&display.i2c, &display.spi) {
        (Some(i2c), _) => on_i2c(profile, display, i2c).map(Some),
        (None, Some(spi)) => on_spi(profile, display, spi).map(Some),
        (None, None) => Ok(None),
    }
}

/// Opens the buttons of a hardware profile; `None` if it has none.
///
/// # Errors
/// [`PartError`] naming the button and its line.
pub fn open_buttons(profile: &Profile) -> Result<Option<Box<dyn Buttons>>, PartError> {
    let wirings = profile.button_wirings();
    if wirings.is_empty() || profile.kind != Kind::Hardware {
        return Ok(None);
    }
    Ok(Some(Box::new(GpioButtons::open(&wirings)?)))
}

/// Opens the LED of a hardware profile; `None` if it has none.
///
/// # Errors
/// [`PartError`] naming the line or the kernel's LED.
pub fn open_led(profile: &Profile) -> Result<Option<Box<dyn Led>>, PartError> {
    let Some(led) = profile.led.as_ref().filter(|_| profile.kind == Kind::Hardware) else { return Ok(None) };
    if let Some(name) = &led.kernel {
        return Ok(Some(Box::new(SysfsLed::open(Path::new(LED_CLASS), name)?)));
    }
    #[cfg(feature = "rppal")]
    if let Some(channel) = led.pwm_channel {
        match crate::drivers::RaspberryPwm::open(channel, led.active_low, &led.pwm_enable) {
            Ok(pwm) => return Ok(Some(Box::new(pwm))),
            Err(e) => log::info!("{e}; the LED blinks instead of breathing"),
        }
    }
    let Some(line) = &led.line else { return Ok(None) };
    let line = OutputLine::open("LED", &profile.address(line))?;
    Ok(Some(Box::new(PinLed::new(line, led.active_low))))
}

fn hints(profile: &Profile, display: &DisplayProfile, group: &'static str) -> OpenHints {
    let enable = match display.enable.as_str() {
        "" => "enable the bus in the board's configuration, or correct the profile".into(),
        line if line.starts_with("dt") => format!("add `{line}` to {} and restart", profile.config_file),
        other => format!("it needs {other}"),
    };
    OpenHints { enable, group }
}

fn output(
    profile: &Profile,
    part: &str,
    line: &LineName,
    note: &Note,
) -> Result<Noted<OutputLine>, PartError> {
    Ok(Noted::new(OutputLine::open(part, &profile.address(line))?, note.clone()))
}

fn reset(
    profile: &Profile,
    line: Option<&LineName>,
    note: &Note,
) -> Result<Option<Reset<Noted<OutputLine>>>, PartError> {
    line.map(|line| output(profile, "display RST", line, note).map(Reset::new)).transpose()
}

fn on_i2c(
    profile: &Profile,
    display: &DisplayProfile,
    bus: &I2cProfile,
) -> Result<Box<dyn Display>, PartError> {
    let device = LinuxI2c::open("display", &bus.device, &hints(profile, display, "i2c"))?;
    let place =
        format!("{} at address {:#04x} on {}", display.controller.name(), bus.address, bus.device.display());
    let note = Note::new("display", place);
    let reset = reset(profile, bus.reset.as_ref(), &note)?;
    // Control byte 0x40: data follows (the same for all these controllers).
    let interface = I2CInterface::new(Noted::new(device, note.clone()), bus.address, 0x40);
    monochrome(profile, display, interface, reset, note)
}

fn on_spi(
    profile: &Profile,
    display: &DisplayProfile,
    bus: &SpiProfile,
) -> Result<Box<dyn Display>, PartError> {
    let device = open_spi("display", &bus.device, bus.hz, &hints(profile, display, "spi"))?;
    let note = Note::new("display", format!("{} on {}", display.controller.name(), bus.device.display()));
    let dc = output(profile, "display D/C", &bus.dc, &note)?;
    let reset = reset(profile, bus.reset.as_ref(), &note)?;
    let device = Noted::new(device, note.clone());
    if display.controller != Controller::St7789 {
        return monochrome(profile, display, SPIInterface::new(device, dc), reset, note);
    }
    let line = bus.backlight.as_ref();
    let backlight = line.map(|line| output(profile, "display backlight", line, &note)).transpose()?;
    let (width, height) = display.size;
    let options = St7789Options {
        size: Size::new(width, height),
        quarter_turns: (display.rotation / 90) as u8,
        offset: display.offset.unwrap_or_default(),
    };
    Ok(Box::new(Background::new(St7789::new(device, dc, options, reset, backlight, Delay, note))))
}

fn monochrome<DI>(
    profile: &Profile,
    display: &DisplayProfile,
    interface: DI,
    reset: Option<Reset<Noted<OutputLine>>>,
    note: Note,
) -> Result<Box<dyn Display>, PartError>
where
    DI: display_interface::WriteOnlyDataCommand + Send + 'static,
{
    let upside_down = display.rotation == 180;
    let offset = |variant: Variant| match display.offset {
        // The check of the profile keeps both in the controller's memory, which is at most 132 columns.
        Some((columns, rows)) => (columns as u8, rows as u8),
        None => (variant.first_column(), 0),
    };
    Ok(match (display.controller, display.size) {
        (Controller::Ssd1306, (128, 32)) => {
            let size = DisplaySize128x32;
            Box::new(Background::new(Ssd1306::new(
                "SSD1306",
                interface,
                size,
                upside_down,
                reset,
                Delay,
                note,
            )))
        }
        (Controller::Ssd1306, _) => {
            let size = DisplaySize128x64;
            Box::new(Background::new(Ssd1306::new(
                "SSD1306",
                interface,
                size,
                upside_down,
                reset,
                Delay,
                note,
            )))
        }
        (Controller::Ssd1309, _) => {
            let size = DisplaySize128x64;
            Box::new(Background::new(Ssd1306::new(
                "SSD1309",
                interface,
                size,
                upside_down,
                reset,
                Delay,
                note,
            )))
        }
        (Controller::Sh1106, _) => {
            let (variant, offset) = (Variant::Sh1106, offset(Variant::Sh1106));
            Box::new(Background::new(Sh110x::new(
                variant,
                interface,
                upside_down,
                offset,
                reset,
                Delay,
                note,
            )))
        }
        (Controller::Sh1107, _) => {
            let (variant, offset) = (Variant::Sh1107, offset(Variant::Sh1107));
            Box::new(Background::new(Sh110x::new(
                variant,
                interface,
                upside_down,
                offset,
                reset,
                Delay,
                note,
            )))
        }
        (Controller::St7789 | Controller::Sim, _) => {
            return Err(note.failed(format!("the profile {} cannot have it on this bus", profile.name)));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOWHERE: &str = include_str!("../../tests/fixtures/nowhere.toml");

    #[tokio::test]
    async fn each_missing_part_is_said_with_its_place_and_fix_and_nothing_else_stops() {
        let board = Board::open(&Profile::parse("nowhere", NOWHERE).unwrap());
        assert!(board.display.is_none() && board.buttons.is_none() && board.led.is_none());
        let said: Vec<_> = board.missing.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].contains("/nonexistent/i2c-7"), "{said:?}");
        assert!(said[0].contains("add `dtparam=i2c_arm=on` to /boot/firmware/config.txt"), "{said:?}");
        assert!(said[1].contains("button reset") && said[1].contains("NO-SUCH-LINE"), "{said:?}");
        assert!(said[2].contains("no-such-led"), "{said:?}");
    }

    #[tokio::test]
    async fn no_board_is_no_error() {
        let board = Board::open(&Profile::named("none").unwrap());
        assert!(board.display.is_none() && board.missing.is_empty());
    }

    #[tokio::test]
    async fn a_spi_display_without_its_bus_is_said() {
        let text = NOWHERE.replace(
            "i2c = { device = \"/nonexistent/i2c-7\", address = 0x3c }",
            "spi = { device = \"/nonexistent/spidev0.0\", hz = 8000000, dc = \"NO-DC\" }",
        );
        let error = open_display(&Profile::parse("nowhere", &text).unwrap()).err().unwrap();
        assert!(error.to_string().contains("spidev0.0"), "{error}");
    }
}
