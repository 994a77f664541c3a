//! Makes the pictures of the front panel for `docs/panel.md`: `cargo run --example panel-pictures`.
//!
//! Each screen as a 128x64 panel shows it, in both languages, and one sheet for each size of panel with all screens.

use std::{fs, io, path::Path};

use embedded_graphics::{pixelcolor::Rgb565, prelude::*, primitives::Rectangle};
use kurir::panel::{Language, draw, samples};
use kurir_board::{Depth, Frame, png};

/// Pixels of a picture for each of the panel's.
const SCALE: u32 = 3;
/// The dark housing around a panel, in its pixels.
const HOUSING: u32 = 4;

fn main() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/panel");
    for language in Language::ALL {
        let folder = folder.join(language.code());
        fs::create_dir_all(&folder)?;
        for sample in samples::all(language) {
            let frame = housed(&[drawn(&sample.screen, (128, 64))], 1);
            fs::write(folder.join(format!("{}.png", sample.name)), png(&frame, SCALE))?;
        }
        for (width, height) in samples::SIZES {
            let frames: Vec<_> =
                samples::all(language).iter().map(|s| drawn(&s.screen, (width, height))).collect();
            let sheet = housed(&frames, if height > 100 { 6 } else { 5 });
            fs::write(folder.join(format!("all-{width}x{height}.png")), png(&sheet, 1))?;
        }
    }
    println!("the pictures are in {}", folder.display());
    Ok(())
}

fn drawn(screen: &kurir::panel::Screen, (width, height): (u32, u32)) -> Frame {
    let mut frame = Frame::new(Size::new(width, height));
    draw(screen, &mut frame);
    // The small panels have one colour.
    if height < 200 { frame.shown(Depth::Mono) } else { frame }
}

/// `frames` of one size in rows of `columns`, with a white gap between housings.
fn housed(frames: &[Frame], columns: u32) -> Frame {
    let Some(size) = frames.first().map(Frame::size) else { return Frame::new(Size::zero()) };
    let gap = if frames.len() > 1 { HOUSING } else { 0 };
    let cell = size + Size::new(2 * HOUSING + gap, 2 * HOUSING + gap);
    let rows = (frames.len() as u32).div_ceil(columns);
    let mut sheet = Frame::new(Size::new(cell.width * columns + gap, cell.height * rows + gap));
    if gap > 0 {
        let Ok(()) = sheet.clear(Rgb565::WHITE);
    }
    for (i, frame) in frames.iter().enumerate() {
        let (column, row) = (i as u32 % columns, i as u32 / columns);
        let corner = Point::new((gap + cell.width * column) as i32, (gap + cell.height * row) as i32);
        let housing = Rectangle::new(corner, size + Size::new(2 * HOUSING, 2 * HOUSING));
        let Ok(()) = sheet.fill_solid(&housing, Rgb565::BLACK);
        let inside = Rectangle::new(corner + Point::new(HOUSING as i32, HOUSING as i32), size);
        let Ok(()) = sheet.fill_contiguous(&inside, frame.pixels().iter().copied());
    }
    sheet
}
