//! Hardware PWM of a Raspberry Pi, through rppal (feature `rppal`).

use rppal::pwm::{Channel, Polarity, Pwm};

use crate::{Dimming, Led, PartError, duty};

/// Fast enough that nobody sees it blink, slow enough for fine steps.
const FREQUENCY_HZ: f64 = 1000.0;

/// An LED on a hardware PWM channel of a Raspberry Pi.
pub struct RaspberryPwm {
    pwm: Pwm,
    channel: u8,
}

impl RaspberryPwm {
    /// Takes PWM `channel` (0 to 3). `overlay` is the config.txt line that routes it to the pin, for the message.
    ///
    /// # Errors
    /// [`PartError::Missing`] if there is no such channel, [`PartError::Failed`] with rppal's words.
    pub fn open(channel: u8, active_low: bool, overlay: &str) -> Result<Self, PartError> {
        let place = format!("hardware PWM channel {channel}");
        let which = match channel {
            0 => Channel::Pwm0,
            1 => Channel::Pwm1,
            2 => Channel::Pwm2,
            3 => Channel::Pwm3,
            _ => {
                let fix = "the channels are 0 to 3".into();
                return Err(PartError::Missing { part: "LED".into(), place, fix });
            }
        };
        let polarity = if active_low { Polarity::Inverse } else { Polarity::Normal };
        let pwm = Pwm::with_frequency(which, FREQUENCY_HZ, 0.0, polarity, true).map_err(|e| {
            PartError::Missing {
                part: "LED".into(),
                place: format!("{place}: {e}"),
                fix: format!("add `{overlay}` to config.txt and restart"),
            }
        })?;
        Ok(Self { pwm, channel })
    }
}

impl Led for RaspberryPwm {
    fn dimming(&self) -> Dimming {
        Dimming::Pwm
    }

    fn set(&mut self, level: u8) -> Result<(), PartError> {
        let cycle = f64::from(duty(level, u16::MAX)) / f64::from(u16::MAX);
        self.pwm.set_duty_cycle(cycle).map_err(|e| PartError::Failed {
            part: "LED".into(),
            place: format!("hardware PWM channel {}", self.channel),
            problem: e.to_string(),
        })
    }
}
