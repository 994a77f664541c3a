//! QR codes, as large as the panel allows.

use embedded_graphics::{
    pixelcolor::Rgb565,
    prelude::*,
    primitives::{PrimitiveStyle, Rectangle},
};
use kurir_board::Frame;
use qrcode::{EcLevel, QrCode, types::Color};

/// The border that ISO/IEC 18004 asks for, in modules.
const QUIET: u32 = 4;
/// The narrowest border, in modules. Without one, decoders fail (docs/hardware.md).
const QUIET_MIN: u32 = 1;

/// The modules of a code.
pub(super) struct Code {
    side: u32,
    dark: Vec<bool>,
}

/// Where a code is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    /// Pixels a module.
    pub(super) scale: u32,
    /// The lit border, in pixels.
    pub(super) quiet: u32,
    /// Code and border.
    pub(super) whole: Rectangle,
}

impl Code {
    /// The code of `text` at level L: a screen has no dirt to correct for, and fewer modules are larger ones. `None` if
    /// no code is large enough.
    pub(super) fn new(text: &str) -> Option<Self> {
        let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
        let dark = code.to_colors().into_iter().map(|c| c == Color::Dark).collect();
        Some(Self { side: code.width() as u32, dark })
    }

    /// The largest whole-pixel scale in a square of `room` pixels, and then the widest border up to four modules, whole
    /// pixels wide; the border's top left corner is at zero. `None` if not even the narrowest fits.
    pub(super) fn spot(&self, room: u32) -> Option<Spot> {
        let scale = room / (self.side + 2 * QUIET_MIN);
        if scale == 0 {
            return None;
        }
        let quiet = (QUIET * scale).min((room - self.side * scale) / 2);
        let whole = self.side * scale + 2 * quiet;
        Some(Spot { scale, quiet, whole: Rectangle::new(Point::zero(), Size::new(whole, whole)) })
    }

    /// Draws it: the border and the light modules are lit.
    pub(super) fn draw(&self, frame: &mut Frame, spot: Spot) {
        let Ok(()) = spot.whole.into_styled(PrimitiveStyle::with_fill(Rgb565::WHITE)).draw(frame);
        let corner = spot.whole.top_left + Point::new(spot.quiet as i32, spot.quiet as i32);
        let module = Size::new(spot.scale, spot.scale);
        for (i, _) in self.dark.iter().enumerate().filter(|(_, dark)| **dark) {
            let (x, y) = (i as u32 % self.side * spot.scale, i as u32 / self.side * spot.scale);
            let place = Rectangle::new(corner + Point::new(x as i32, y as i32), module);
            let Ok(()) = place.into_styled(PrimitiveStyle::with_fill(Rgb565::BLACK)).draw(frame);
        }
    }
}

/// `url` as a QR carries it with the fewest modules: in capitals, if that is the same address to a browser (scheme and
/// host do not care, a path does).
pub(super) fn compact_url(url: &str) -> String {
    let capital = url.to_ascii_uppercase();
    let path = url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    let alphanumeric = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || " $%*+-./:".contains(c);
    if path.is_empty() && capital.chars().all(alphanumeric) { capital } else { url.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_written_in_capitals_where_that_changes_nothing() {
        assert_eq!(compact_url("http://kurir.local/"), "HTTP://KURIR.LOCAL/");
        assert_eq!(compact_url("http://192.168.1.20:8080"), "HTTP://192.168.1.20:8080");
        assert_eq!(compact_url("http://kurir.local/setup"), "http://kurir.local/setup");
        assert_eq!(compact_url("http://[fe80::1]/"), "http://[fe80::1]/", "brackets are not alphanumeric");
        assert_eq!(Code::new("HTTP://KURIR.LOCAL/").unwrap().side, 21, "version 1");
    }

    #[test]
    fn scale_comes_before_border_and_both_are_whole_pixels() {
        let code = Code { side: 57, dark: Vec::new() };
        let spot = |room| code.spot(room).map(|s| (s.scale, s.quiet, s.whole.size.width));
        assert_eq!(spot(58), None);
        assert_eq!(spot(59), Some((1, 1, 59)));
        assert_eq!(spot(64), Some((1, 3, 63)));
        assert_eq!(spot(65), Some((1, 4, 65)));
        assert_eq!(spot(128), Some((2, 7, 128)));
        assert_eq!(spot(240), Some((4, 6, 240)));
    }
}
