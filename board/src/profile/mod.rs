//! Boards as data: which parts are on which pins.
//!
//! The profiles in `board/profiles/` are part of the program; a file of the same form can be named instead, for a board
//! of one's own. [`choose`] finds the one to use.

mod check;
mod pins;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

pub use self::pins::{Pin, pin_table, wiring};
use crate::{
    Button,
    drivers::gpio::{ButtonWiring, LineAddress},
};

/// Where Linux says which board this is. A NUL ends it.
pub const MODEL_FILE: &str = "/proc/device-tree/model";

macro_rules! embedded {
    ($($name:literal),* $(,)?) => {
        /// The profiles that are part of the program, by name.
        const EMBEDDED: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("../../profiles/", $name, ".toml")))),*
        ];
    };
}

embedded!(
    "raspberry-pi",
    "raspberry-pi-sh1106",
    "raspberry-pi-ssd1309",
    "raspberry-pi-sh1107",
    "adafruit-oled-bonnet",
    "adafruit-pioled",
    "adafruit-tft-bonnet",
    "adafruit-mini-pitft",
    "waveshare-oled-hat",
    "waveshare-lcd-hat",
    "pimoroni-pirate-audio",
    "generic",
    "sim",
    "none",
);

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// No such name.
    #[error("there is no board profile `{name}`; there are {known}, `auto`, or the path of a .toml file")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// The file cannot be read.
    #[error("board profile {}: {source}; check the path in KURIR_BOARD", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// It is no TOML of this form: an unknown key, a wrong type, a missing value.
    #[error("board profile {origin}: {problem}")]
    Form {
        /// The name or the file.
        origin: String,
        /// The line, the key and what is wrong.
        problem: String,
    },
    /// A value that cannot be.
    #[error("board profile {origin}: {key}: {problem}")]
    Value {
        /// The name or the file.
        origin: String,
        /// The key.
        key: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// Two parts on one pin.
    #[error("board profile {origin}: {pin} is used twice, for {first} and for {second}; move one of them")]
    PinTwice {
        /// The name or the file.
        origin: String,
        /// The pin.
        pin: String,
        /// Who has it.
        first: String,
        /// Who wants it too.
        second: String,
    },
}

/// What the panel is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Real parts.
    #[default]
    Hardware,
    /// A terminal.
    Sim,
    /// Nothing.
    None,
}

/// A header whose pins are known by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Header {
    /// The 40 pins of every Raspberry Pi since the B+.
    RaspberryPi,
}

/// A board and the parts on it. See `docs/hardware.md` for the keys.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The name, as in `KURIR_BOARD`.
    pub name: String,
    /// One line for people.
    pub title: String,
    /// What the panel is made of.
    #[serde(default)]
    pub kind: Kind,
    /// Beginnings of the device tree's model for which `auto` chooses this profile.
    #[serde(default)]
    pub models: Vec<String>,
    /// Labels of the GPIO chip with the header, newest first. With them, a line called `GPIO23` is also found as
    /// offset 23 where the kernel names it otherwise.
    #[serde(default)]
    pub chips: Vec<String>,
    /// The header, for the pin table.
    pub header: Option<Header>,
    /// Whether the parts come as one board that is plugged on, so that nothing is wired by hand.
    #[serde(default)]
    pub plugs_on: bool,
    /// The file that the `enable` lines belong in.
    #[serde(default = "default_config_file")]
    pub config_file: String,
    /// Further lines for people.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The display, if there is one.
    pub display: Option<DisplayProfile>,
    /// The buttons by name.
    #[serde(default)]
    pub buttons: ButtonProfiles,
    /// The LED, if there is one.
    pub led: Option<LedProfile>,
}

fn default_config_file() -> String {
    "/boot/firmware/config.txt".into()
}

/// A display controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Controller {
    /// SSD1306, 128x64 or 128x32.
    Ssd1306,
    /// SSD1309, 128x64.
    Ssd1309,
    /// SH1106, 128x64.
    Sh1106,
    /// SH1107, 128x128.
    Sh1107,
    /// ST7789, up to 240x320.
    St7789,
    /// The terminal, any size.
    Sim,
}

impl Controller {
    /// The name on the data sheet.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ssd1306 => "SSD1306",
            Self::Ssd1309 => "SSD1309",
            Self::Sh1106 => "SH1106",
            Self::Sh1107 => "SH1107",
            Self::St7789 => "ST7789",
            Self::Sim => "terminal",
        }
    }
}

/// The display of a profile.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisplayProfile {
    /// The controller.
    pub controller: Controller,
    /// Width and height, pixels, before rotation.
    pub size: (u32, u32),
    /// Degrees clockwise: 0 or 180, and also 90 and 270 with the ST7789.
    #[serde(default)]
    pub rotation: u16,
    /// Where the panel begins in the controller's memory, columns and rows. Without it, the usual place.
    pub offset: Option<(u16, u16)>,
    /// The I2C bus, if it is on one.
    pub i2c: Option<I2cProfile>,
    /// The SPI bus, if it is on one.
    pub spi: Option<SpiProfile>,
    /// The config.txt line or overlay that makes the bus exist.
    #[serde(default)]
    pub enable: String,
}

/// A display on I2C.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct I2cProfile {
    /// The bus, such as `/dev/i2c-1`.
    pub device: PathBuf,
    /// The 7-bit address.
    pub address: u8,
    /// The reset line, if it is wired.
    pub reset: Option<LineName>,
}

/// A display on SPI.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpiProfile {
    /// The device, such as `/dev/spidev0.0`.
    pub device: PathBuf,
    /// Clock, Hz.
    pub hz: u32,
    /// The data/command line.
    pub dc: LineName,
    /// The reset line, if it is wired.
    pub reset: Option<LineName>,
    /// The backlight line, if there is one.
    pub backlight: Option<LineName>,
}

/// A GPIO line in a profile: its name, or its chip's label and its offset.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "a line is a name (\"GPIO23\") or { chip = \"label\", offset = 23 }")]
pub enum LineName {
    /// `"GPIO23"`
    Name(String),
    /// `{ chip = "pinctrl-bcm2711", offset = 23 }`
    Offset(ChipOffset),
}

/// A line by its place.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChipOffset {
    /// The chip's label, as `gpioinfo` shows it.
    pub chip: String,
    /// The line's offset on the chip.
    pub offset: u32,
}

/// The buttons of a profile.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ButtonProfiles {
    /// The button *reconnect*.
    pub reconnect: Option<ButtonProfile>,
    /// The button *reset*.
    pub reset: Option<ButtonProfile>,
}

/// One button of a profile.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ButtonProfile {
    /// Its line.
    pub line: LineName,
    /// What a press connects the line to.
    #[serde(default)]
    pub to: ButtonTo,
    /// Milliseconds for which the contact must be quiet, 1 to 200.
    #[serde(default = "default_debounce")]
    pub debounce_ms: u32,
    /// What it is called on the board, if the board has its own names (`#5`, `KEY1`).
    pub printed: Option<String>,
}

fn default_debounce() -> u32 {
    20
}

/// What a press connects the line to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum ButtonTo {
    /// Ground; the chip pulls the line up.
    #[default]
    #[serde(rename = "ground")]
    Ground,
    /// 3.3 V; the chip pulls the line down.
    #[serde(rename = "3v3")]
    Supply,
}

/// The LED of a profile: on a line, or one of the kernel's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedProfile {
    /// Its line.
    pub line: Option<LineName>,
    /// Its name in `/sys/class/leds`.
    pub kernel: Option<String>,
    /// Whether it is lit while the line is low.
    #[serde(default)]
    pub active_low: bool,
    /// The Raspberry Pi's hardware PWM channel on that line, for programs built with the feature `rppal`.
    pub pwm_channel: Option<u8>,
    /// The config.txt line that routes the channel to the line.
    #[serde(default)]
    pub pwm_enable: String,
}

/// A profile and why it is this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The profile.
    pub profile: Profile,
    /// For the log and for `kurir board`.
    pub why: String,
}

impl Profile {
    /// Reads a profile from TOML and checks it. `origin` is its name or file, for messages.
    ///
    /// # Errors
    /// [`ProfileError::Form`], [`ProfileError::Value`], [`ProfileError::PinTwice`].
    pub fn parse(origin: &str, text: &str) -> Result<Self, ProfileError> {
        let form = |e: toml::de::Error| ProfileError::Form { origin: origin.into(), problem: e.to_string() };
        let profile: Self = toml::from_str(text).map_err(form)?;
        check::check(origin, &profile)?;
        Ok(profile)
    }

    /// Reads a profile from a file.
    ///
    /// # Errors
    /// As [`Profile::parse`], and [`ProfileError::Read`].
    pub fn load(path: &Path) -> Result<Self, ProfileError> {
        let text =
            fs::read_to_string(path).map_err(|source| ProfileError::Read { path: path.into(), source })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// The profile of the program called `name`.
    ///
    /// # Errors
    /// [`ProfileError::Unknown`].
    pub fn named(name: &str) -> Result<Self, ProfileError> {
        match EMBEDDED.iter().find(|(known, _)| *known == name) {
            Some((name, text)) => Self::parse(name, text),
            None => {
                let known: Vec<_> = EMBEDDED.iter().map(|(name, _)| format!("`{name}`")).collect();
                Err(ProfileError::Unknown { name: name.into(), known: known.join(", ") })
            }
        }
    }

    /// All profiles of the program.
    pub fn all() -> Vec<Self> {
        // A test reads each of them.
        EMBEDDED.iter().filter_map(|(name, text)| Self::parse(name, text).ok()).collect()
    }

    /// The TOML text of the program's profile `name`: what to start from for a board of one's own.
    pub fn text(name: &str) -> Option<&'static str> {
        EMBEDDED.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
    }

    /// The address of `line` on this board.
    pub fn address(&self, line: &LineName) -> LineAddress {
        match line {
            LineName::Name(name) => {
                let number = name.strip_prefix("GPIO").and_then(|n| n.parse().ok());
                let offset = number.filter(|_| !self.chips.is_empty());
                LineAddress { name: Some(name.clone()), chips: self.chips.clone(), offset }
            }
            LineName::Offset(ChipOffset { chip, offset }) => {
                LineAddress { name: None, chips: vec![chip.clone()], offset: Some(*offset) }
            }
        }
    }

    /// The buttons with their lines.
    pub fn button_wirings(&self) -> Vec<ButtonWiring> {
        let wiring = |(button, profile): (Button, &ButtonProfile)| ButtonWiring {
            button,
            line: self.address(&profile.line),
            to_ground: profile.to == ButtonTo::Ground,
            debounce: Duration::from_millis(profile.debounce_ms.into()),
        };
        self.buttons.iter().map(wiring).collect()
    }
}

impl ButtonProfiles {
    /// The buttons that exist.
    pub fn iter(&self) -> impl Iterator<Item = (Button, &ButtonProfile)> {
        let both = [(Button::Reconnect, &self.reconnect), (Button::Reset, &self.reset)];
        both.into_iter().filter_map(|(button, profile)| Some((button, profile.as_ref()?)))
    }
}

/// Finds the profile for `setting`: `auto`, the name of one, or the path of a file (it has a `/` or ends in `.toml`).
/// `model_file` is [`MODEL_FILE`], or a file of a test.
///
/// `auto` takes the profile whose models fit the device tree's. A board that no profile names gets `none`, because
/// driving the pins of an unknown board could harm what is on them.
///
/// # Errors
/// Those of [`Profile::named`] and [`Profile::load`].
pub fn choose(setting: &str, model_file: &Path) -> Result<Chosen, ProfileError> {
    if setting.contains('/') || setting.ends_with(".toml") {
        let profile = Profile::load(Path::new(setting))?;
        return Ok(Chosen { profile, why: format!("{setting} was asked for") });
    }
    if setting != "auto" {
        return Ok(Chosen { profile: Profile::named(setting)?, why: format!("`{setting}` was asked for") });
    }
    let model = fs::read(model_file)
        .map(|bytes| String::from_utf8_lossy(&bytes).trim_end_matches('\0').trim().to_owned());
    let Ok(model) = model else {
        let why =
            "this machine has no device tree; set KURIR_BOARD to `sim` for a panel in the terminal".into();
        return Ok(Chosen { profile: Profile::named("none")?, why });
    };
    match of_model(&model) {
        Some(profile) => {
            let why = format!("this is a {model}; set KURIR_BOARD if another display is on it");
            Ok(Chosen { profile, why })
        }
        None => {
            let why = format!(
                "no profile knows a {model}; set KURIR_BOARD to one that `kurir board` lists, or to a file of your own"
            );
            Ok(Chosen { profile: Profile::named("none")?, why })
        }
    }
}

/// The profile whose model is the longest beginning of `model`.
fn of_model(model: &str) -> Option<Profile> {
    let mut fitting = BTreeMap::new();
    for profile in Profile::all() {
        if let Some(longest) = profile.models.iter().filter(|m| model.starts_with(*m)).map(String::len).max()
        {
            fitting.insert(longest, profile);
        }
    }
    fitting.pop_last().map(|(_, profile)| profile)
}
