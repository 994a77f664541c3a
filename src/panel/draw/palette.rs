//! The colours. Each is at least half as bright as white, so that it is lit on a panel without colours.

use embedded_graphics::pixelcolor::Rgb565;
use embedded_graphics::prelude::*;

/// What the reader should feel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// Nothing special.
    Plain,
    /// All is well.
    Good,
    /// Something is on its way.
    Busy,
    /// Somebody should do something.
    Warn,
    /// Something is lost, or will be.
    Bad,
}

impl Tone {
    /// The colour of titles and icons.
    pub(super) const fn color(self) -> Rgb565 {
        match self {
            Self::Plain => Rgb565::WHITE,
            Self::Good => Rgb565::new(10, 60, 14),
            Self::Busy => Rgb565::new(13, 50, 31),
            Self::Warn => Rgb565::new(31, 46, 6),
            Self::Bad => Rgb565::new(31, 31, 15),
        }
    }
}

/// Text that is read second.
pub(super) const NOTE: Rgb565 = Rgb565::new(23, 47, 24);
/// What is left of a time, drawn on the lit border of a QR: light enough to count as border.
pub(super) const ON_BORDER: Rgb565 = Rgb565::new(18, 60, 20);

#[cfg(test)]
mod tests {
    use kurir_board::Depth;

    use super::*;

    #[test]
    fn every_colour_is_lit_on_a_panel_without_colours() {
        let tones = [Tone::Plain, Tone::Good, Tone::Busy, Tone::Warn, Tone::Bad].map(Tone::color);
        for color in tones.into_iter().chain([NOTE, ON_BORDER]) {
            assert_eq!(Depth::Mono.nearest(color), Rgb565::WHITE, "{color:?}");
        }
    }
}
