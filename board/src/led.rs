//! The status LED.

use crate::PartError;

/// What an LED can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dimming {
    /// Every level is another brightness.
    Pwm,
    /// Any level above 0 is fully on.
    OnOff,
}

/// The status LED.
pub trait Led: Send {
    /// What it can do, so that a pattern can breathe or blink.
    fn dimming(&self) -> Dimming;

    /// Sets the brightness as the eye sees it: 0 is off, 128 looks half as bright as 255. Drivers with
    /// [`Dimming::Pwm`] turn it into a duty cycle with [`duty`]. Returns at once.
    ///
    /// # Errors
    /// [`PartError::Failed`] if the line, channel or file cannot be written.
    fn set(&mut self, level: u8) -> Result<(), PartError>;
}

/// The duty cycle, of `max`, that looks like `level` of 255: CIE 1931 lightness, inverted. Level 0 is off, 255 is
/// `max`, and no level above 0 is off.
pub fn duty(level: u8, max: u16) -> u16 {
    if level == 0 || max == 0 {
        return 0;
    }
    let lightness = f64::from(level) * 100.0 / 255.0;
    let luminance = if lightness <= 8.0 { lightness / 903.3 } else { ((lightness + 16.0) / 116.0).powi(3) };
    ((luminance * f64::from(max)).round() as u16).clamp(1, max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duty_grows_with_the_level_and_reaches_both_ends() {
        for max in [1, 100, 255, 4095, u16::MAX] {
            let duties: Vec<_> = (0..=255).map(|l| duty(l, max)).collect();
            assert!(duties.is_sorted(), "{max}");
            assert_eq!((duties[0], duties[255]), (0, max));
            assert!(duties[1] > 0);
        }
        assert_eq!(duty(200, 0), 0);
        // Half as bright to the eye is 18 % of the light (CIE 1931: L* = 50 at Y = 0.184).
        assert!((11_900..12_400).contains(&duty(128, u16::MAX)), "{}", duty(128, u16::MAX));
    }
}
