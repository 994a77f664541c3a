//! What a profile must fulfil beyond its form.

use super::{Controller, DisplayProfile, Kind, LedProfile, Profile, ProfileError, pins};

pub(super) fn check(origin: &str, profile: &Profile) -> Result<(), ProfileError> {
    let wrong = |key: &str, problem: String| {
        Err(ProfileError::Value { origin: origin.into(), key: key.into(), problem })
    };
    match (profile.kind, &profile.display) {
        (Kind::None, Some(_)) => return wrong("display", "a board of kind `none` has no parts".into()),
        (Kind::Sim, None) => {
            return wrong("display", "a board of kind `sim` needs a display with a size".into());
        }
        (Kind::Sim, Some(d)) if d.controller != Controller::Sim => {
            return wrong("display.controller", "a board of kind `sim` has the controller `sim`".into());
        }
        (Kind::Hardware, Some(d)) if d.controller == Controller::Sim => {
            return wrong("display.controller", "the controller `sim` needs `kind = \"sim\"`".into());
        }
        _ => {}
    }
    if profile.kind != Kind::Hardware && (profile.led.is_some() || profile.buttons.iter().next().is_some()) {
        return wrong("kind", "buttons and LED lines need `kind = \"hardware\"`".into());
    }
    if let Some(display) = &profile.display {
        display_fits(display).or_else(|(key, problem)| wrong(key, problem))?;
    }
    for (button, b) in profile.buttons.iter() {
        if !(1..=200).contains(&b.debounce_ms) {
            let key = format!("buttons.{button}.debounce_ms");
            return wrong(&key, format!("{} is not between 1 and 200", b.debounce_ms));
        }
    }
    if let Some(led) = &profile.led {
        led_fits(led).or_else(|(key, problem)| wrong(key, problem))?;
    }
    let mut taken: Vec<(String, String)> = Vec::new();
    for pins::Claim { line, user } in pins::claims(profile) {
        if let Some((_, first)) = taken.iter().find(|(known, _)| *known == line) {
            let (first, second) = (first.clone(), user);
            return Err(ProfileError::PinTwice { origin: origin.into(), pin: line, first, second });
        }
        taken.push((line, user));
    }
    Ok(())
}

type Wrong = (&'static str, String);

fn display_fits(display: &DisplayProfile) -> Result<(), Wrong> {
    let (width, height) = display.size;
    let sizes: &[(u32, u32)] = match display.controller {
        Controller::Ssd1306 => &[(128, 64), (128, 32)],
        Controller::Ssd1309 | Controller::Sh1106 => &[(128, 64)],
        Controller::Sh1107 => &[(128, 128)],
        Controller::St7789 => &[(240, 240), (240, 320), (135, 240), (170, 320)],
        Controller::Sim => {
            if !(16..=320).contains(&width) || !(16..=320).contains(&height) {
                return Err(("display.size", format!("{width}x{height}: a side has 16 to 320 pixels")));
            }
            if display.i2c.is_some() || display.spi.is_some() {
                return Err(("display", "the terminal is on no bus".into()));
            }
            return Ok(());
        }
    };
    if !sizes.contains(&display.size) {
        let has: Vec<_> = sizes.iter().map(|(w, h)| format!("[{w}, {h}]")).collect();
        return Err((
            "display.size",
            format!("[{width}, {height}] is not a size of this controller: {}", has.join(", ")),
        ));
    }
    let colour = display.controller == Controller::St7789;
    match display.rotation {
        0 | 180 => {}
        90 | 270 if colour => {}
        other => {
            return Err((
                "display.rotation",
                format!("{other} is not 0 or 180 (90 and 270 with the ST7789)"),
            ));
        }
    }
    match (&display.i2c, &display.spi) {
        (Some(_), Some(_)) => return Err(("display", "it is on I2C or on SPI, not on both".into())),
        (None, None) => return Err(("display", "it needs a bus: `i2c = {...}` or `spi = {...}`".into())),
        (Some(_), None) if colour => return Err(("display.i2c", "the ST7789 speaks SPI".into())),
        (Some(i2c), None) if !(0x08..=0x77).contains(&i2c.address) => {
            return Err((
                "display.i2c.address",
                format!("{:#04x} is not between 0x08 and 0x77", i2c.address),
            ));
        }
        (None, Some(spi)) if !(100_000..=80_000_000).contains(&spi.hz) => {
            return Err(("display.spi.hz", format!("{} is not between 100 kHz and 80 MHz", spi.hz)));
        }
        _ => {}
    }
    let (columns, rows) = display.offset.unwrap_or_default();
    let (most_columns, most_rows) = match display.controller {
        Controller::Sh1106 => (132 - width, 63),
        Controller::Sh1107 => (0, 127),
        Controller::St7789 => (240 - width, 320 - height),
        _ => (0, 0),
    };
    if u32::from(columns) > most_columns || u32::from(rows) > most_rows {
        let problem =
            format!("[{columns}, {rows}] leaves the memory; the most is [{most_columns}, {most_rows}]");
        return Err(("display.offset", problem));
    }
    Ok(())
}

fn led_fits(led: &LedProfile) -> Result<(), Wrong> {
    match (&led.line, &led.kernel) {
        (None, None) => {
            Err(("led", "it needs a `line`, or the `kernel` name of one in /sys/class/leds".into()))
        }
        (Some(_), Some(_)) => Err(("led", "it has a `line` or a `kernel` name, not both".into())),
        (None, Some(name)) if name.contains('/') || name.starts_with('.') => {
            Err(("led.kernel", format!("`{name}` is not the name of a folder in /sys/class/leds")))
        }
        _ if led.pwm_channel.is_some_and(|c| c > 3) => {
            Err(("led.pwm_channel", "the channels are 0 to 3".into()))
        }
        _ => Ok(()),
    }
}
