//! LEDs on pins, on PWM channels, and those that the kernel already drives.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use embedded_hal::{digital::OutputPin, pwm::SetDutyCycle};

use crate::{Dimming, Led, PartError, duty};

/// An LED on an output pin: on or off.
pub struct PinLed<P> {
    pin: P,
    active_low: bool,
}

impl<P: OutputPin> PinLed<P> {
    /// An LED on `pin`, which lights it when low if `active_low`.
    pub fn new(pin: P, active_low: bool) -> Self {
        Self { pin, active_low }
    }
}

impl<P: OutputPin + Send> Led for PinLed<P> {
    fn dimming(&self) -> Dimming {
        Dimming::OnOff
    }

    fn set(&mut self, level: u8) -> Result<(), PartError> {
        let high = (level > 0) != self.active_low;
        let set = if high { self.pin.set_high() } else { self.pin.set_low() };
        set.map_err(|e| failed("its pin", format!("{e:?}")))
    }
}

/// An LED on a PWM channel.
pub struct PwmLed<P> {
    channel: P,
    active_low: bool,
}

impl<P: SetDutyCycle> PwmLed<P> {
    /// An LED on `channel`, which lights it while low if `active_low`.
    pub fn new(channel: P, active_low: bool) -> Self {
        Self { channel, active_low }
    }
}

impl<P: SetDutyCycle + Send> Led for PwmLed<P> {
    fn dimming(&self) -> Dimming {
        Dimming::Pwm
    }

    fn set(&mut self, level: u8) -> Result<(), PartError> {
        let max = self.channel.max_duty_cycle();
        let lit = duty(level, max);
        let high = if self.active_low { max - lit } else { lit };
        self.channel.set_duty_cycle(high).map_err(|e| failed("its PWM channel", format!("{e:?}")))
    }
}

fn failed(place: impl Into<String>, problem: String) -> PartError {
    PartError::Failed { part: "LED".into(), place: place.into(), problem }
}

/// An LED of the kernel, in `/sys/class/leds`: the board's own, or one that an overlay declares.
/// What triggered it before gets it back when this is dropped.
pub struct SysfsLed {
    brightness: PathBuf,
    trigger: PathBuf,
    before: String,
    max: u16,
}

impl SysfsLed {
    /// Takes the LED `name` in `class` (`/sys/class/leds`) from whatever triggers it now.
    ///
    /// # Errors
    /// [`PartError::Missing`] with the names that exist, [`PartError::Denied`], [`PartError::Failed`].
    pub fn open(class: &Path, name: &str) -> Result<Self, PartError> {
        let folder = class.join(name);
        let explain = |e: io::Error| match e.kind() {
            io::ErrorKind::NotFound => {
                let mut others: Vec<_> = fs::read_dir(class)
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|e| e.file_name().to_string_lossy().into_owned())
                    .collect();
                others.sort();
                let fix = if others.is_empty() {
                    "this kernel has no LEDs; wire one to a GPIO line".into()
                } else {
                    format!("there are: {}", others.join(", "))
                };
                PartError::Missing { part: "LED".into(), place: folder.display().to_string(), fix }
            }
            io::ErrorKind::PermissionDenied => PartError::Denied {
                part: "LED".into(),
                place: folder.display().to_string(),
                fix: "run as root, or let a udev rule give the group `gpio` write access to \
                      /sys/class/leds/*/brightness and trigger"
                    .into(),
            },
            _ => failed(folder.display().to_string(), e.to_string()),
        };
        let max = fs::read_to_string(folder.join("max_brightness")).map_err(explain)?;
        let max =
            max.trim().parse().map_err(|e| failed(folder.display().to_string(), format!("{e}: {max}")))?;
        let trigger = folder.join("trigger");
        let triggers = fs::read_to_string(&trigger).map_err(explain)?;
        fs::write(&trigger, "none").map_err(explain)?;
        let mut led = Self { brightness: folder.join("brightness"), trigger, before: active(&triggers), max };
        led.write(0).map_err(explain)?;
        Ok(led)
    }

    fn write(&mut self, value: u16) -> io::Result<()> {
        fs::write(&self.brightness, value.to_string())
    }
}

/// The active trigger of a list such as `none [mmc0] timer`.
fn active(triggers: &str) -> String {
    let bracketed = triggers.split_whitespace().find_map(|t| t.strip_prefix('[')?.strip_suffix(']'));
    bracketed.unwrap_or("none").to_owned()
}

impl Drop for SysfsLed {
    fn drop(&mut self) {
        // Nobody is left to tell, and the LED is only decoration now.
        let _ = self.write(0);
        let _ = fs::write(&self.trigger, &self.before);
    }
}

impl Led for SysfsLed {
    fn dimming(&self) -> Dimming {
        if self.max > 1 { Dimming::Pwm } else { Dimming::OnOff }
    }

    fn set(&mut self, level: u8) -> Result<(), PartError> {
        let value = duty(level, self.max);
        self.write(value).map_err(|e| failed(self.brightness.display().to_string(), e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[derive(Default)]
    struct Pwm(u16);

    impl embedded_hal::pwm::ErrorType for Pwm {
        type Error = Infallible;
    }

    impl SetDutyCycle for Pwm {
        fn max_duty_cycle(&self) -> u16 {
            1000
        }

        fn set_duty_cycle(&mut self, duty: u16) -> Result<(), Infallible> {
            self.0 = duty;
            Ok(())
        }
    }

    #[test]
    fn a_pwm_led_gets_the_duty_that_looks_like_the_level() {
        let mut led = PwmLed::new(Pwm::default(), false);
        led.set(128).unwrap();
        assert_eq!(led.channel.0, duty(128, 1000));
        led.set(0).unwrap();
        assert_eq!(led.channel.0, 0);
        let mut inverted = PwmLed::new(Pwm::default(), true);
        inverted.set(255).unwrap();
        assert_eq!(inverted.channel.0, 0);
    }

    #[test]
    fn a_kernel_led_is_taken_from_its_trigger() {
        let class = tempfile::tempdir().unwrap();
        let folder = class.path().join("ACT");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("max_brightness"), "255\n").unwrap();
        fs::write(folder.join("trigger"), "none timer [mmc0] heartbeat\n").unwrap();
        let mut led = SysfsLed::open(class.path(), "ACT").unwrap();
        assert_eq!(fs::read_to_string(folder.join("trigger")).unwrap(), "none");
        assert_eq!(led.dimming(), Dimming::Pwm);
        led.set(255).unwrap();
        assert_eq!(fs::read_to_string(folder.join("brightness")).unwrap(), "255");
        drop(led);
        assert_eq!(fs::read_to_string(folder.join("trigger")).unwrap(), "mmc0");
        assert_eq!(fs::read_to_string(folder.join("brightness")).unwrap(), "0");

        let error = SysfsLed::open(class.path(), "PWR").err().unwrap();
        assert!(error.to_string().contains("there are: ACT"), "{error}");
    }
}
