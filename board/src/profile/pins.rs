//! Which part is on which pin: for the check that none is used twice, and for the person with the soldering iron.

use std::{fmt::Write, path::Path};

use super::{ButtonTo, Header, Kind, Profile};

/// Something that occupies a line.
pub(super) struct Claim {
    /// The line, written the same way however the profile names it.
    pub(super) line: String,
    /// The part, for people.
    pub(super) user: String,
}

/// A row of the pin table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The number on the header, if the header is known.
    pub number: Option<u8>,
    /// The line's name, or `3.3 V`, `ground`.
    pub line: String,
    /// What is connected there.
    pub part: String,
}

/// Pins 1 to 40 of the Raspberry Pi's header.
const RASPBERRY_PI: [&str; 40] = [
    "3.3 V", "5 V", "GPIO2", "5 V", "GPIO3", "ground", "GPIO4", "GPIO14", "ground", "GPIO15", "GPIO17",
    "GPIO18", "GPIO27", "ground", "GPIO22", "GPIO23", "3.3 V", "GPIO24", "GPIO10", "ground", "GPIO9",
    "GPIO25", "GPIO11", "GPIO8", "ground", "GPIO7", "GPIO0", "GPIO1", "GPIO5", "ground", "GPIO6", "GPIO12",
    "GPIO13", "ground", "GPIO19", "GPIO16", "GPIO26", "GPIO20", "ground", "GPIO21",
];

/// The lines of a bus of the Raspberry Pi and what they are called on a display. MISO is left out: no display here is
/// read, and some HATs use that pin for another purpose.
fn bus_lines(device: &Path) -> &'static [(&'static str, &'static str)] {
    match device.to_str() {
        Some("/dev/i2c-1") => &[("GPIO2", "SDA"), ("GPIO3", "SCL")],
        Some("/dev/spidev0.0") => &[("GPIO11", "SCLK"), ("GPIO10", "MOSI"), ("GPIO8", "CS")],
        Some("/dev/spidev0.1") => &[("GPIO11", "SCLK"), ("GPIO10", "MOSI"), ("GPIO7", "CS")],
        _ => &[],
    }
}

pub(super) fn claims(profile: &Profile) -> Vec<Claim> {
    let mut claims = Vec::new();
    let mut claim = |line: String, user: String| claims.push(Claim { line, user });
    let name = |line| {
        let address = profile.address(line);
        match (&address.name, address.offset) {
            // `GPIO23` and offset 23 of the header's chip are one line.
            (None, Some(offset)) if address.chips.iter().any(|c| profile.chips.contains(c)) => {
                format!("GPIO{offset}")
            }
            (Some(name), _) => name.clone(),
            _ => address.to_string(),
        }
    };
    if let Some(display) = &profile.display {
        let device = display.i2c.as_ref().map(|b| &b.device).or(display.spi.as_ref().map(|b| &b.device));
        if let (Some(Header::RaspberryPi), Some(device)) = (profile.header, device) {
            for (line, wire) in bus_lines(device) {
                claim((*line).into(), format!("display {wire}"));
            }
        }
        if let Some(reset) = display.i2c.as_ref().and_then(|b| b.reset.as_ref()) {
            claim(name(reset), "display RST".into());
        }
        if let Some(spi) = &display.spi {
            claim(name(&spi.dc), "display D/C".into());
            if let Some(reset) = &spi.reset {
                claim(name(reset), "display RST".into());
            }
            if let Some(backlight) = &spi.backlight {
                claim(name(backlight), "display backlight".into());
            }
        }
    }
    for (button, b) in profile.buttons.iter() {
        claim(name(&b.line), format!("button {button}"));
    }
    if let Some(line) = profile.led.as_ref().and_then(|led| led.line.as_ref()) {
        claim(name(line), "LED".into());
    }
    claims
}

/// What is connected to which pin, by pin number. For parts that are wired by hand, the supply and the nearest ground
/// of each part are in it too.
pub fn wiring(profile: &Profile) -> Vec<Pin> {
    let number = |line: &str| {
        let at = RASPBERRY_PI.iter().position(|l| *l == line)?;
        profile.header.map(|Header::RaspberryPi| at as u8 + 1)
    };
    let mut pins: Vec<Pin> = Vec::new();
    for Claim { line, user } in claims(profile) {
        let printed = profile.buttons.iter().find(|(b, _)| user == format!("button {b}"));
        let part = match printed.and_then(|(_, b)| b.printed.as_ref()) {
            Some(printed) => format!("{user} (printed {printed})"),
            None => user,
        };
        pins.push(Pin { number: number(&line), line, part });
    }
    if profile.header.is_some() && !profile.plugs_on {
        // Each part once; parts that share a pin for ground may share the wire.
        let nearest = |wanted: &str, to: u8| {
            let all = (1..=40u8).filter(|n| RASPBERRY_PI[usize::from(*n) - 1] == wanted);
            all.min_by_key(|n| n.abs_diff(to))
        };
        let mut extra: Vec<Pin> = Vec::new();
        let mut supply = |line: &str, to: Option<u8>, part: String| {
            let number = to.and_then(|to| nearest(line, to));
            extra.push(Pin { number, line: line.into(), part });
        };
        if profile.display.is_some() {
            let first = pins.iter().filter(|p| p.part.starts_with("display")).filter_map(|p| p.number).min();
            supply("3.3 V", first, "display VCC".into());
            supply("ground", first, "display GND".into());
        }
        for (button, b) in profile.buttons.iter() {
            let at =
                pins.iter().find(|p| p.part.starts_with(&format!("button {button}"))).and_then(|p| p.number);
            let line = if b.to == ButtonTo::Ground { "ground" } else { "3.3 V" };
            supply(line, at, format!("button {button}, other side"));
        }
        if let Some(led) = profile.led.as_ref().filter(|l| l.line.is_some()) {
            let at = pins.iter().find(|p| p.part == "LED").and_then(|p| p.number);
            let (line, side) =
                if led.active_low { ("3.3 V", "anode") } else { ("ground", "cathode (short leg)") };
            supply(line, at, format!("LED {side}, through 330 ohm to 1 kohm"));
        }
        pins.append(&mut extra);
    }
    pins.sort_by(|a, b| {
        (a.number.unwrap_or(u8::MAX), &a.line, &a.part).cmp(&(b.number.unwrap_or(u8::MAX), &b.line, &b.part))
    });
    pins
}

/// The profile as a table for people: what is on which pin, what to put in config.txt, notes.
pub fn pin_table(profile: &Profile) -> String {
    let mut text = String::new();
    let mut line = |row: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", row.trim_end());
    };
    line(format!("{}: {}", profile.name, profile.title));
    match profile.kind {
        Kind::Sim => {
            line(
                "  the panel is drawn in the terminal; c is reconnect, r is reset, p saves a picture".into(),
            );
        }
        Kind::None => line("  no display, no buttons, no LED".into()),
        Kind::Hardware => {}
    }
    let pins = wiring(profile);
    if !pins.is_empty() {
        line(String::new());
        let width = pins.iter().map(|p| p.line.len()).max().unwrap_or(4).max(4);
        line(format!(
            "  {:>3}  {:width$}  {}",
            "pin",
            "line",
            if profile.plugs_on { "used by" } else { "connect to" }
        ));
        for Pin { number, line: name, part } in &pins {
            let number = number.map_or_else(|| "-".into(), |n| n.to_string());
            line(format!("  {number:>3}  {name:width$}  {part}"));
        }
    }
    let mut places = Vec::new();
    if let Some(display) = &profile.display {
        let (width, height) = display.size;
        let bus = match (&display.i2c, &display.spi) {
            (Some(i2c), _) => format!(" at address {:#04x} on {}", i2c.address, i2c.device.display()),
            (_, Some(spi)) => format!(" on {} at {} kHz", spi.device.display(), spi.hz / 1000),
            _ => String::new(),
        };
        places.push(format!("  display: {} {width}x{height}{bus}", display.controller.name()));
        if !display.enable.is_empty() {
            places.push(format!("  needs in {}: {}", profile.config_file, display.enable));
        }
    }
    if let Some(led) = &profile.led {
        if let Some(name) = &led.kernel {
            places.push(format!("  LED: /sys/class/leds/{name}"));
        }
        if !led.pwm_enable.is_empty() {
            places.push(format!("  for a breathing LED, in {}: {}", profile.config_file, led.pwm_enable));
        }
    }
    if !places.is_empty() {
        line(String::new());
    }
    places.into_iter().chain(profile.notes.iter().map(|note| format!("  {note}"))).for_each(line);
    text
}
