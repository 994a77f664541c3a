//! Pure: a frame as terminal cells, and the bytes that turn one picture into the next.
//!
//! A cell of a terminal is about twice as high as wide, so it holds two pixels: the upper half block in the
//! foreground's colour, over the background's colour.

use std::fmt::Write;

use embedded_graphics::prelude::*;

use crate::{Frame, picture::rgb888};

/// How the panel shows its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// 0 to 255.
    pub brightness: u8,
    /// Lit and unlit are swapped.
    pub inverted: bool,
    /// Off is black.
    pub on: bool,
}

type Rgb = [u8; 3];

/// Two pixels, one above the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    top: Rgb,
    bottom: Rgb,
}

/// A picture in cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cells {
    columns: usize,
    cells: Vec<Cell>,
}

impl Cells {
    /// `frame` as it looks.
    pub fn new(frame: &Frame, look: Look) -> Self {
        let size = frame.size();
        let colour = |x: u32, y: u32| {
            let Some(pixel) = frame.pixel(Point::new(x as i32, y as i32)) else { return [0; 3] };
            let rgb = rgb888(pixel);
            // Dim is 40 % and not black, as on a panel: the terminal has its own idea of darkness.
            let strength = 102 + u32::from(look.brightness) * 153 / 255;
            let shine = |value: u8| {
                let value = if look.inverted { 255 - value } else { value };
                if look.on { (u32::from(value) * strength / 255) as u8 } else { 0 }
            };
            rgb.map(shine)
        };
        let rows = size.height.div_ceil(2);
        let cells = (0..rows)
            .flat_map(|row| (0..size.width).map(move |x| (x, row)))
            .map(|(x, row)| Cell { top: colour(x, row * 2), bottom: colour(x, row * 2 + 1) })
            .collect();
        Self { columns: size.width as usize, cells }
    }

    /// Rows of the terminal that the picture takes.
    pub fn rows(&self) -> usize {
        self.cells.len() / self.columns.max(1)
    }

    /// The escape sequences that turn `before` into this picture, with its top left cell in row 1, column 1: only the
    /// cells that changed. Empty if none did.
    pub fn update(&self, before: Option<&Self>) -> String {
        let before = before.filter(|b| b.columns == self.columns && b.cells.len() == self.cells.len());
        let mut text = String::new();
        let (mut cursor, mut colours) = (None, None);
        for (i, cell) in self.cells.iter().enumerate() {
            if before.is_some_and(|b| b.cells[i] == *cell) {
                continue;
            }
            // Writing to a String cannot fail.
            if cursor != Some(i) || i % self.columns == 0 {
                let _ = write!(text, "\x1b[{};{}H", i / self.columns + 1, i % self.columns + 1);
            }
            if colours != Some(*cell) {
                let Cell { top: [r, g, b], bottom: [br, bg, bb] } = cell;
                let _ = write!(text, "\x1b[38;2;{r};{g};{b};48;2;{br};{bg};{bb}m");
                colours = Some(*cell);
            }
            text.push('▀');
            cursor = Some(i + 1);
        }
        if !text.is_empty() {
            text.push_str("\x1b[0m");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use embedded_graphics::pixelcolor::Rgb565;
    use proptest::prelude::*;

    use super::*;

    const BRIGHT: Look = Look { brightness: 255, inverted: false, on: true };

    /// A terminal that knows as much as `update` uses.
    struct Screen {
        columns: usize,
        cells: Vec<Cell>,
    }

    impl Screen {
        fn new(like: &Cells) -> Self {
            let dark = Cell { top: [0; 3], bottom: [0; 3] };
            Self { columns: like.columns, cells: vec![dark; like.cells.len()] }
        }

        fn feed(&mut self, text: &str) {
            let (mut at, mut colours) = (usize::MAX, Cell { top: [0; 3], bottom: [0; 3] });
            let mut rest = text;
            while !rest.is_empty() {
                if let Some(after) = rest.strip_prefix('▀') {
                    self.cells[at] = colours;
                    at += 1;
                    rest = after;
                } else {
                    let sequence = rest.strip_prefix("\x1b[").expect("nothing but blocks and sequences");
                    let end = sequence.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                    let numbers: Vec<usize> =
                        sequence[..end].split(';').map(|n| n.parse().unwrap()).collect();
                    match (sequence.as_bytes()[end], &numbers[..]) {
                        (b'H', [row, column]) => at = (row - 1) * self.columns + column - 1,
                        (b'm', [38, 2, r, g, b, 48, 2, br, bg, bb]) => {
                            let rgb = |r: &usize, g: &usize, b: &usize| [*r as u8, *g as u8, *b as u8];
                            colours = Cell { top: rgb(r, g, b), bottom: rgb(br, bg, bb) };
                        }
                        (b'm', [0]) => {}
                        other => panic!("{other:?}"),
                    }
                    rest = &sequence[end + 1..];
                }
            }
        }
    }

    #[test]
    fn two_pixels_share_a_cell() {
        let mut frame = Frame::new(Size::new(2, 3));
        let Ok(()) = Pixel(Point::new(1, 2), Rgb565::WHITE).draw(&mut frame);
        let cells = Cells::new(&frame, BRIGHT);
        assert_eq!((cells.rows(), cells.cells.len()), (2, 4));
        assert_eq!(cells.cells[3], Cell { top: [255; 3], bottom: [0; 3] });
    }

    #[test]
    fn an_unchanged_picture_writes_nothing_and_one_pixel_writes_one_cell() {
        let mut frame = Frame::new(Size::new(128, 64));
        let before = Cells::new(&frame, BRIGHT);
        assert_eq!(before.update(Some(&before)), "");
        let Ok(()) = Pixel(Point::new(9, 9), Rgb565::WHITE).draw(&mut frame);
        let update = Cells::new(&frame, BRIGHT).update(Some(&before));
        assert_eq!(update, "\x1b[5;10H\x1b[38;2;0;0;0;48;2;255;255;255m▀\x1b[0m");
    }

    #[test]
    fn off_is_black_inverted_swaps_and_dim_is_darker_but_not_black() {
        let frame = Frame::new(Size::new(2, 2));
        let cell = |look| Cells::new(&frame, look).cells[0].top;
        assert_eq!(cell(Look { on: false, inverted: true, ..BRIGHT }), [0; 3]);
        assert_eq!(cell(Look { inverted: true, ..BRIGHT }), [255; 3]);
        let dim = cell(Look { inverted: true, brightness: 0, on: true })[0];
        assert!((60..200).contains(&dim), "{dim}");
    }

    proptest! {
        /// Whatever was shown before, after the update the terminal shows the new picture.
        #[test]
        fn updates_lead_to_the_picture(
            width in 1..12u32, height in 1..12u32,
            pictures in prop::collection::vec(prop::collection::vec(any::<bool>(), 144), 1..5),
        ) {
            let mut screen: Option<Screen> = None;
            let mut before: Option<Cells> = None;
            for lit in pictures {
                let mut frame = Frame::new(Size::new(width, height));
                let points: Vec<_> = frame.bounding_box().points().collect();
                for (point, lit) in points.into_iter().zip(lit) {
                    let colour = if lit { Rgb565::WHITE } else { Rgb565::BLACK };
                    let Ok(()) = Pixel(point, colour).draw(&mut frame);
                }
                let cells = Cells::new(&frame, BRIGHT);
                let screen = screen.get_or_insert_with(|| Screen::new(&cells));
                screen.feed(&cells.update(before.as_ref()));
                prop_assert_eq!(&screen.cells, &cells.cells);
                before = Some(cells);
            }
        }
    }
}
