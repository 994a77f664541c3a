//! The picture that is drawn and then shown.

use std::convert::Infallible;

use embedded_graphics::{Pixel, pixelcolor::Rgb565, prelude::*, primitives::Rectangle};

use crate::display::Depth;

/// A picture of the whole display, in memory. Screens draw on it with embedded-graphics; a
/// [`Display`](crate::Display) shows it as well as its panel can (see [`Frame::shown`]).
///
/// The colour is always [`Rgb565`], the deepest of the panels' colours, so that one drawing serves all of them:
/// white is lit and black is unlit everywhere. Things drawn in [`BinaryColor`] fit through
/// [`DrawTargetExt::color_converted`].
///
/// ```
/// use embedded_graphics::{pixelcolor::Rgb565, prelude::*, primitives::{PrimitiveStyle, Rectangle}};
/// use kurir_board::Frame;
///
/// let mut frame = Frame::new(Size::new(128, 64));
/// let lit = PrimitiveStyle::with_fill(Rgb565::WHITE);
/// let Ok(()) = Rectangle::new(Point::new(2, 2), Size::new(4, 4)).into_styled(lit).draw(&mut frame);
/// assert!(frame.is_lit(Point::new(3, 3)));
/// assert!(!frame.is_lit(Point::new(7, 7)));
/// ```
///
/// [`BinaryColor`]: embedded_graphics::pixelcolor::BinaryColor
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    size: Size,
    // Row by row from the top left.
    pixels: Vec<Rgb565>,
}

impl Frame {
    /// A black frame of `size` pixels.
    pub fn new(size: Size) -> Self {
        Self { size, pixels: vec![Rgb565::BLACK; size.width as usize * size.height as usize] }
    }

    /// The pixel at `point`, or `None` outside of the frame.
    pub fn pixel(&self, point: Point) -> Option<Rgb565> {
        self.index(point).map(|i| self.pixels[i])
    }

    /// Whether the pixel at `point` is lit on a 1-bit panel: at least half as bright as white. Outside of the
    /// frame nothing is lit.
    pub fn is_lit(&self, point: Point) -> bool {
        self.pixel(point).is_some_and(|c| luma(c) >= 128)
    }

    /// The pixels row by row, from the top left.
    pub fn pixels(&self) -> &[Rgb565] {
        &self.pixels
    }

    /// The pixels of row `y`, from the left; empty outside of the frame.
    pub fn row(&self, y: u32) -> &[Rgb565] {
        let width = self.size.width as usize;
        self.pixels.get(y as usize * width..(y as usize + 1) * width).unwrap_or(&[])
    }

    /// The brightness of each pixel, 0 to 255, row by row: what an image file or a QR decoder wants.
    pub fn to_luma(&self) -> Vec<u8> {
        self.pixels.iter().map(|&c| luma(c)).collect()
    }

    /// The frame as a panel of `depth` shows it: colours become grays, grays become lit or unlit.
    #[must_use]
    pub fn shown(&self, depth: Depth) -> Self {
        let pixels = self.pixels.iter().map(|&c| depth.nearest(c)).collect();
        Self { size: self.size, pixels }
    }

    /// The same picture moved by `by`; what leaves the frame is lost, what comes in is black. Used against burn-in.
    #[must_use]
    pub fn shifted(&self, by: Point) -> Self {
        let mut moved = Self::new(self.size);
        for (i, point) in moved.bounding_box().points().enumerate() {
            if let Some(c) = self.pixel(point - by) {
                moved.pixels[i] = c;
            }
        }
        moved
    }

    fn index(&self, point: Point) -> Option<usize> {
        let (x, y) = (u32::try_from(point.x).ok()?, u32::try_from(point.y).ok()?);
        (x < self.size.width && y < self.size.height).then(|| (y * self.size.width + x) as usize)
    }
}

/// Brightness of a colour, 0 to 255, by ITU-R BT.601.
pub(crate) fn luma(c: Rgb565) -> u8 {
    // Widen 5 and 6 bits to 8 so that full is 255 and not 248.
    let (r, g, b) = (u32::from(c.r()) * 255 / 31, u32::from(c.g()) * 255 / 63, u32::from(c.b()) * 255 / 31);
    ((r * 299 + g * 587 + b * 114) / 1000) as u8
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lit = self.pixels.iter().filter(|&&c| luma(c) >= 128).count();
        write!(f, "Frame({}x{}, {lit} lit)", self.size.width, self.size.height)
    }
}

impl OriginDimensions for Frame {
    fn size(&self) -> Size {
        self.size
    }
}

impl DrawTarget for Frame {
    type Color = Rgb565;
    type Error = Infallible;

    fn draw_iter<I>(&mut self, pixels: I) -> Result<(), Self::Error>
    where
        I: IntoIterator<Item = Pixel<Rgb565>>,
    {
        for Pixel(point, color) in pixels {
            if let Some(i) = self.index(point) {
                self.pixels[i] = color;
            }
        }
        Ok(())
    }

    fn fill_solid(&mut self, area: &Rectangle, color: Rgb565) -> Result<(), Self::Error> {
        let area = area.intersection(&self.bounding_box());
        for y in area.rows() {
            let start = y as usize * self.size.width as usize + area.top_left.x as usize;
            self.pixels[start..start + area.size.width as usize].fill(color);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawing_outside_is_ignored_and_inside_is_kept() {
        let mut frame = Frame::new(Size::new(3, 2));
        let drawn = [(-1, 0), (3, 0), (0, 2), (2, 1)].map(|(x, y)| Pixel(Point::new(x, y), Rgb565::WHITE));
        let Ok(()) = frame.draw_iter(drawn);
        let lit: Vec<_> = frame.bounding_box().points().filter(|&p| frame.is_lit(p)).collect();
        assert_eq!(lit, [Point::new(2, 1)]);
    }

    #[test]
    fn a_solid_rectangle_is_clipped() {
        let mut frame = Frame::new(Size::new(4, 4));
        let Ok(()) = frame.fill_solid(&Rectangle::new(Point::new(2, -1), Size::new(9, 3)), Rgb565::WHITE);
        let lit = frame.to_luma().iter().filter(|&&l| l == 255).count();
        assert_eq!(lit, 4, "two columns of two rows");
        assert!(frame.is_lit(Point::new(3, 1)) && !frame.is_lit(Point::new(1, 1)));
        let Ok(()) = frame.fill_solid(&Rectangle::new(Point::new(20, 20), Size::new(9, 3)), Rgb565::WHITE);
        assert_eq!(frame.to_luma().iter().filter(|&&l| l == 255).count(), 4);
    }

    #[test]
    fn a_shift_moves_everything_and_brings_black_in() {
        let mut frame = Frame::new(Size::new(4, 4));
        let Ok(()) = frame.clear(Rgb565::WHITE);
        let moved = frame.shifted(Point::new(1, -1));
        assert!(!moved.is_lit(Point::new(0, 0)) && !moved.is_lit(Point::new(2, 3)));
        assert!(moved.is_lit(Point::new(1, 0)) && moved.is_lit(Point::new(3, 2)));
    }

    #[test]
    fn each_depth_shows_what_it_can() {
        let mut frame = Frame::new(Size::new(2, 1));
        let colours =
            [Pixel(Point::new(0, 0), Rgb565::RED), Pixel(Point::new(1, 0), Rgb565::new(20, 40, 20))];
        let Ok(()) = frame.draw_iter(colours);
        assert_eq!(frame.shown(Depth::Rgb565), frame);
        assert_eq!(frame.shown(Depth::Mono).pixels(), [Rgb565::BLACK, Rgb565::WHITE]);
        let gray = frame.shown(Depth::Gray4);
        assert_eq!(gray.shown(Depth::Gray4), gray, "showing twice changes nothing");
        assert_eq!(gray.pixels()[0].r(), gray.pixels()[0].b());
    }
}
