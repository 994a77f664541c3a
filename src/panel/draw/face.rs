//! Letters: fixed-width fonts at whole multiples, line breaks, and what can be written with them.

use embedded_graphics::{
    Pixel,
    mono_font::{MonoFont, MonoTextStyle, iso_8859_1 as latin},
    pixelcolor::Rgb565,
    prelude::*,
    primitives::{PrimitiveStyle, Rectangle},
    text::{Baseline, Text},
};
use kurir_board::Frame;

/// A font at a whole multiple of its size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Face {
    font: &'static MonoFont<'static>,
    scale: u32,
}

const fn face(font: &'static MonoFont<'static>, scale: u32) -> Face {
    Face { font, scale }
}

pub(super) const TINY: Face = face(&latin::FONT_5X7, 1);
pub(super) const SMALL: Face = face(&latin::FONT_5X8, 1);
pub(super) const COMPACT: Face = face(&latin::FONT_6X9, 1);
pub(super) const BODY: Face = face(&latin::FONT_6X10, 1);
pub(super) const ROOMY: Face = face(&latin::FONT_6X12, 1);
pub(super) const PLAIN: Face = face(&latin::FONT_6X13, 1);
pub(super) const WIDE: Face = face(&latin::FONT_7X13, 1);
pub(super) const WIDE_BOLD: Face = face(&latin::FONT_7X13_BOLD, 1);
pub(super) const BROAD_BOLD: Face = face(&latin::FONT_8X13_BOLD, 1);
pub(super) const MEDIUM: Face = face(&latin::FONT_8X13, 1);
pub(super) const MEDIUM_BOLD: Face = face(&latin::FONT_9X15_BOLD, 1);
pub(super) const LARGE: Face = face(&latin::FONT_9X18, 1);
pub(super) const LARGE_BOLD: Face = face(&latin::FONT_9X18_BOLD, 1);
pub(super) const HUGE: Face = face(&latin::FONT_10X20, 1);
pub(super) const DOUBLE_PLAIN: Face = face(&latin::FONT_6X13, 2);
pub(super) const DOUBLE_WIDE: Face = face(&latin::FONT_7X13_BOLD, 2);
pub(super) const DOUBLE_BROAD: Face = face(&latin::FONT_8X13_BOLD, 2);
pub(super) const POSTER: Face = face(&latin::FONT_10X20, 2);

impl Face {
    /// The height of a line, pixels.
    pub(super) const fn height(self) -> u32 {
        self.font.character_size.height * self.scale
    }

    /// The width of a letter, pixels.
    pub(super) const fn advance(self) -> u32 {
        (self.font.character_size.width + self.font.character_spacing) * self.scale
    }

    /// How many letters fit in `width`.
    pub(super) const fn columns(self, width: u32) -> usize {
        (width / self.advance()) as usize
    }

    /// The width of `text`.
    pub(super) fn width(self, text: &str) -> u32 {
        text.chars().count() as u32 * self.advance()
    }

    /// Writes `text` with its top left corner at `at`.
    pub(super) fn write(self, frame: &mut Frame, text: &str, at: Point, color: Rgb565) {
        let style = MonoTextStyle::new(self.font, color);
        if self.scale == 1 {
            let Ok(_) = Text::with_baseline(text, at, style, Baseline::Top).draw(frame);
        } else {
            let mut enlarged = Enlarged { frame, at, scale: self.scale };
            let Ok(_) = Text::with_baseline(text, Point::zero(), style, Baseline::Top).draw(&mut enlarged);
        }
    }
}

/// Draws each pixel as a square.
struct Enlarged<'a> {
    frame: &'a mut Frame,
    at: Point,
    scale: u32,
}

impl Dimensions for Enlarged<'_> {
    fn bounding_box(&self) -> Rectangle {
        Rectangle::new(Point::zero(), self.frame.size())
    }
}

impl DrawTarget for Enlarged<'_> {
    type Color = Rgb565;
    type Error = std::convert::Infallible;

    fn draw_iter<I>(&mut self, pixels: I) -> Result<(), Self::Error>
    where
        I: IntoIterator<Item = Pixel<Rgb565>>,
    {
        for Pixel(point, color) in pixels {
            Rectangle::new(self.at + point * self.scale as i32, Size::new(self.scale, self.scale))
                .into_styled(PrimitiveStyle::with_fill(color))
                .draw(self.frame)?;
        }
        Ok(())
    }
}

/// `text` as far as the fonts have it (ISO 8859-1), without gaps where something was left out.
pub(super) fn writable(text: &str) -> String {
    let plain = text.chars().map(|c| match c {
        '\u{2018}' | '\u{2019}' => '\'',
        '\u{201c}' | '\u{201d}' => '"',
        '\u{2013}' | '\u{2014}' => '-',
        c if c.is_whitespace() => ' ',
        c => c,
    });
    let kept: String = plain.filter(|c| matches!(c, ' '..='~' | '\u{a1}'..='\u{ff}')).collect();
    kept.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `text` in lines of at most `columns` letters, broken between words; `None` if a word is longer.
pub(super) fn wrap(text: &str, columns: usize) -> Option<Vec<String>> {
    let mut lines = vec![String::new()];
    for word in text.split(' ').filter(|w| !w.is_empty()) {
        let length = word.chars().count();
        if length > columns {
            return None;
        }
        let line = lines.last_mut()?;
        let filled = line.chars().count();
        if filled == 0 {
            line.push_str(word);
        } else if filled + 1 + length <= columns {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    Some(lines)
}

/// `text` in lines of `columns` letters, broken anywhere, the lines about equally long.
pub(super) fn chop(text: &str, columns: usize) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    let rows = letters.len().div_ceil(columns.max(1)).max(1);
    letters.chunks(letters.len().div_ceil(rows).max(1)).map(|c| c.iter().collect()).collect()
}

/// `text` in at most `columns` letters; two dots stand for what is left out.
pub(super) fn shorten(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let kept: String = text.chars().take(columns.saturating_sub(2)).collect();
    format!("{}..", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_fonts_lack_is_left_out() {
        assert_eq!(writable("Toko \u{1f600} Maju\u{a0}\u{1f600}"), "Toko Maju");
        assert_eq!(writable("Caf\u{e9} \u{2013} \u{2018}Ibu\u{2019}"), "Caf\u{e9} - 'Ibu'");
        assert_eq!(writable("\u{5e97}\u{200f}"), "");
    }

    #[test]
    fn long_names_end_in_two_dots() {
        assert_eq!(shorten("Koperasi Sejahtera", 18), "Koperasi Sejahtera");
        assert_eq!(shorten("Koperasi Sejahtera", 11), "Koperasi..");
        assert_eq!(chop("HTTP://KURIR.LOCAL/", 10), ["HTTP://KUR", "IR.LOCAL/"]);
    }

    proptest! {
        #[test]
        fn wrapping_keeps_every_word_and_every_limit(text in "[a-z ]{0,80}", columns in 1..30usize) {
            let longest = text.split(' ').map(str::len).max().unwrap_or(0);
            match wrap(&text, columns) {
                None => prop_assert!(longest > columns),
                Some(lines) => {
                    prop_assert!(lines.iter().all(|l| l.len() <= columns));
                    let words = |t: &str| t.split_whitespace().map(String::from).collect::<Vec<_>>();
                    prop_assert_eq!(words(&lines.join(" ")), words(&text));
                }
            }
        }
    }
}
