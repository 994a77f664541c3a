//! Screens as pixels, on a panel of any size.

mod card;
mod compose;
mod face;
mod icons;
mod palette;
mod qr;
#[cfg(test)]
mod tests;

use embedded_graphics::{
    pixelcolor::Rgb565,
    prelude::*,
    primitives::{PrimitiveStyle, Rectangle},
};
use kurir_board::Frame;

use self::{
    card::{Card, Style, lay_out},
    palette::{NOTE, ON_BORDER, Tone},
    qr::{Code, Spot, compact_url},
};
use super::screen::{Body, PageNumber, Screen};

/// A QR code's first lifetime in seconds: a full bar. The later codes of a set live for 20 s.
const FULL_BAR: u64 = 60;
/// Pages that are shown as dots at most.
const DOTS: usize = 12;

/// Draws `screen` on all of `frame`, which may have any size; 128x32, 128x64, 128x128 and 240x240 are made for.
pub fn draw(screen: &Screen, frame: &mut Frame) {
    let Ok(()) = frame.clear(Rgb565::BLACK);
    match &screen.body {
        Body::Blank => {}
        Body::Qr { text, seconds, url, .. } => {
            match Code::new(text).and_then(|c| Some((spot(&c, frame)?, c))) {
                Some((spot, code)) => draw_code(screen, *seconds, &code, spot, frame),
                None => draw_page_code(screen, url.as_deref(), frame),
            }
        }
        _ => draw_card(screen, frame),
    }
}

/// A panel's class by its size.
fn style(size: Size) -> &'static Style {
    match (size.width, size.height) {
        (_, ..48) => &Style::STRIP,
        (_, ..96) => &Style::WIDE,
        (..200, _) | (_, ..200) => &Style::SQUARE,
        _ => &Style::LARGE,
    }
}

/// How much room the dots of the pages take: at the right side of a low panel, at the bottom of others.
fn dot(size: Size) -> u32 {
    if size.height < 200 { 3 } else { 6 }
}

fn draw_card(screen: &Screen, frame: &mut Frame) {
    let size = frame.size();
    // One pixel less than there is, so that the picture can be moved by one.
    let room = size.saturating_sub(Size::new(1, 1));
    let corner = Point::new(i32::from(screen.shift.0), i32::from(screen.shift.1));
    let Some(card) = compose::card(screen, size.height < 48) else { return };
    let area = page_dots(screen.page, Rectangle::new(corner, room), frame);
    lay_out(&card, area, style(size)).draw(frame);
}

/// Draws the dots that say which page of how many this is, and returns what is left of `area`.
fn page_dots(page: Option<PageNumber>, area: Rectangle, frame: &mut Frame) -> Rectangle {
    let Some(PageNumber { page, of }) = page.filter(|p| p.of > 1) else { return area };
    let low = area.size.height < 48;
    let side = dot(area.size);
    let length = if low { area.size.height } else { area.size.width };
    let of = of.min(DOTS).min((length / (2 * side)) as usize);
    if of < 2 || area.size.width < side {
        return area;
    }
    // More pages than dots: the last dot stands for all the others.
    let page = page.clamp(1, of);
    let whole = 2 * side * of as u32 - side;
    for i in 0..of {
        let along = ((length - whole) / 2 + 2 * side * i as u32) as i32;
        let at = if low {
            Point::new((area.size.width - side) as i32, along)
        } else {
            Point::new(along, (area.size.height - side) as i32)
        };
        let here = i + 1 == page;
        // The other pages' dots are a third as large.
        let size = if here { side } else { side / 3 };
        let color = if here { Rgb565::WHITE } else { NOTE };
        let inset = ((side - size) / 2) as i32;
        let place = Rectangle::new(area.top_left + at + Point::new(inset, inset), Size::new(size, size));
        let Ok(()) = place.into_styled(PrimitiveStyle::with_fill(color)).draw(frame);
    }
    let taken = if low { Size::new(side + 2, 0) } else { Size::new(0, side + side / 3) };
    Rectangle::new(area.top_left, area.size.saturating_sub(taken))
}

/// Where a pairing code goes on this panel, if it fits.
fn spot(code: &Code, frame: &Frame) -> Option<Spot> {
    let size = frame.size();
    let room = size.width.min(size.height);
    let spot = code.spot(room)?;
    // On a square panel of one colour, the bar for the time left takes two rows, if the border does not get lost.
    let square = size.width < room + 40 && size.height < room + 20;
    if square && size.height < 200 && spot.whole.size.height + 2 > size.height {
        return code.spot(room - 2).filter(|smaller| smaller.scale == spot.scale).or(Some(spot));
    }
    Some(spot)
}

/// A pairing code, with what to do beside or below it, or else a bar for the time left.
fn draw_code(screen: &Screen, seconds: u64, code: &Code, mut spot: Spot, frame: &mut Frame) {
    let size = frame.size();
    let side = spot.whole.size.width;
    let (right, below) = (size.width - side, size.height - side);
    let Body::Qr { label, .. } = &screen.body else { return };
    let card = compose::beside_qr(screen, label, seconds);
    if right >= 40 {
        spot.whole.top_left = Point::new(0, (below / 2) as i32);
        code.draw(frame, spot);
        let place = Rectangle::new(Point::new(side as i32 + 3, 0), Size::new(right - 3, size.height));
        set_beside(screen, &card, place, frame);
    } else if below >= 20 {
        spot.whole.top_left = Point::new((right / 2) as i32, 0);
        code.draw(frame, spot);
        let place = Rectangle::new(Point::new(0, side as i32 + 2), Size::new(size.width, below - 2));
        let text = compose::below_qr(screen, seconds);
        lay_out(&text, place, &Style::LARGE).draw(frame);
    } else {
        let full = seconds.min(FULL_BAR) as u32;
        if below >= 2 {
            let top = (below - 2) / 2;
            spot.whole.top_left = Point::new((right / 2) as i32, top as i32);
            code.draw(frame, spot);
            bar_at(frame, size.height - 1, size.width * full / FULL_BAR as u32, Tone::Busy.color(), 1);
        } else {
            spot.whole.top_left = Point::new((right / 2) as i32, (below / 2) as i32);
            code.draw(frame, spot);
            if spot.quiet >= 5 {
                bar_at(frame, size.height - 2, size.width * full / FULL_BAR as u32, ON_BORDER, 2);
            }
        }
    }
}

fn bar_at(frame: &mut Frame, top: u32, width: u32, color: Rgb565, height: u32) {
    let place = Rectangle::new(Point::new(0, top as i32), Size::new(width, height));
    let Ok(()) = place.into_styled(PrimitiveStyle::with_fill(color)).draw(frame);
}

fn set_beside(screen: &Screen, card: &Card, place: Rectangle, frame: &mut Frame) {
    let style = if place.size.height < 48 { &Style::STRIP } else { &Style::NARROW };
    let area = page_dots(screen.page, place, frame);
    lay_out(card, area, style).draw(frame);
}

/// The web page's address as a QR, where the pairing code does not fit; or else only words.
fn draw_page_code(screen: &Screen, url: Option<&str>, frame: &mut Frame) {
    let size = frame.size();
    let code = url.and_then(|u| Code::new(&compact_url(u)));
    let Some((mut spot, code)) = code.and_then(|c| Some((c.spot(size.height.min(size.width))?, c))) else {
        return draw_card(screen, frame);
    };
    let side = spot.whole.size.width;
    spot.whole.top_left = Point::new(0, ((size.height - side) / 2) as i32);
    code.draw(frame, spot);
    let place = Rectangle::new(
        Point::new(side as i32 + 3, 0),
        Size::new(size.width.saturating_sub(side + 3), size.height),
    );
    if let Some(mut card) = compose::card(screen, true) {
        card.icon = None;
        set_beside(screen, &card, place, frame);
    }
}
