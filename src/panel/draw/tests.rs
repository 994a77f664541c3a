use std::path::{Path, PathBuf};

use embedded_graphics::prelude::*;
use kurir_board::{Depth, Frame};

use super::{card::lay_out_whole, *};
use crate::panel::{
    Label, Language,
    samples::{self, SIZES, Sample, pairing_text},
};

fn drawn(screen: &Screen, (width, height): (u32, u32)) -> Frame {
    let mut frame = Frame::new(Size::new(width, height));
    draw(screen, &mut frame);
    frame
}

/// What a camera sees that is held well: each pixel some pixels wide, and the dark housing around the panel.
fn decode(frame: &Frame) -> Vec<String> {
    const HOUSING: usize = 40;
    let (width, height) = (frame.size().width as usize, frame.size().height as usize);
    // About as many pixels for each size of panel, three or more a module.
    let zoom = (400 / width).max(1);
    let luma = frame.to_luma();
    let seen = |x: usize, y: usize| {
        let inside = |v: usize, size: usize| v.checked_sub(HOUSING).map(|v| v / zoom).filter(|v| *v < size);
        match (inside(x, width), inside(y, height)) {
            (Some(x), Some(y)) => luma[y * width + x],
            _ => 0,
        }
    };
    let (w, h) = (width * zoom + 2 * HOUSING, height * zoom + 2 * HOUSING);
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(w, h, seen);
    image.detect_grids().iter().filter_map(|grid| grid.decode().ok()).map(|(_, text)| text).collect()
}

fn qr(text: &str, url: Option<&str>, seconds: u64) -> Screen {
    let body = Body::Qr { label: Label::default(), text: text.into(), seconds, url: url.map(Into::into) };
    Screen::of(body, Language::Indonesian)
}

#[test]
fn every_pairing_code_decodes_from_the_pixels_of_every_panel_on_which_it_fits() {
    for reference in 80..=120 {
        let text = pairing_text(reference);
        assert_eq!(text.len(), reference + 3 * 44 + 5, "ref,noise,identity,adv,1");
        for size in &SIZES[1..] {
            // The large panel has colours, the others are lit or unlit.
            let depth = if size.1 < 200 { Depth::Mono } else { Depth::Rgb565 };
            let frame = drawn(&qr(&text, None, 60), *size).shown(depth);
            assert_eq!(decode(&frame), [text.as_str()], "{size:?}, a reference of {reference} bytes");
        }
    }
}

#[test]
fn longer_pairing_codes_decode_as_well() {
    // Up to 300 bytes, in case WhatsApp adds a field.
    for extra in [10, 20, 30, 43] {
        let text = format!("{},{}", pairing_text(120), "x".repeat(extra - 1));
        for size in &SIZES[1..] {
            assert_eq!(
                decode(&drawn(&qr(&text, None, 20), *size)),
                [text.as_str()],
                "{size:?}, {}",
                text.len()
            );
        }
    }
}

#[test]
fn where_the_code_does_not_fit_the_web_pages_address_decodes() {
    for (url, code) in [
        ("http://kurir.local/", "HTTP://KURIR.LOCAL/"),
        ("http://192.168.100.123:8080/", "HTTP://192.168.100.123:8080/"),
        ("https://kurir-lantai-2.local/", "HTTPS://KURIR-LANTAI-2.LOCAL/"),
        ("http://kurir.local/pairing", "http://kurir.local/pairing"),
    ] {
        for reference in [80, 104, 120] {
            let frame = drawn(&qr(&pairing_text(reference), Some(url), 18), (128, 32));
            assert_eq!(decode(&frame.shown(Depth::Mono)), [code]);
        }
    }
}

#[test]
fn every_qr_of_every_sample_decodes() {
    for sample in Language::ALL.into_iter().flat_map(samples::all) {
        let Body::Qr { text, url, .. } = &sample.screen.body else { continue };
        for size in SIZES {
            let found = decode(&drawn(&sample.screen, size).shown(Depth::Mono));
            let expected = match (size, url) {
                ((_, 32), None) => vec![],
                ((_, 32), Some(_)) => vec!["HTTP://KURIR.LOCAL/"],
                _ => vec![text.as_str()],
            };
            assert_eq!(found, expected, "{} on {size:?}", sample.name);
        }
    }
}

#[test]
fn the_time_left_shows_on_every_panel_with_a_code() {
    for size in SIZES.into_iter().filter(|s| s.1 > 32) {
        let [early, late] = [50, 10].map(|s| drawn(&qr(&pairing_text(104), None, s), size));
        assert_ne!(early, late, "{size:?}");
    }
}

#[test]
fn a_code_is_drawn_as_large_as_the_panel_allows() {
    for (size, scale) in [((128, 64), 1), ((128, 128), 2), ((240, 240), 4)] {
        let code = Code::new(&pairing_text(90)).unwrap();
        let spot = spot(&code, &Frame::new(Size::new(size.0, size.1))).unwrap();
        assert_eq!(spot.scale, scale, "{size:?}");
        assert!(spot.quiet >= spot.scale, "{size:?}");
    }
}

/// The cards of a screen, each with its place, as `draw` sets them; `None` where something would be cut.
fn layouts(screen: &Screen, (width, height): (u32, u32)) -> Vec<(Option<card::Layout>, Rectangle)> {
    let mut scratch = Frame::new(Size::new(width, height));
    let size = scratch.size();
    let area = Rectangle::new(Point::zero(), size.saturating_sub(Size::new(1, 1)));
    match &screen.body {
        Body::Blank => vec![],
        Body::Qr { text, seconds, label, url } => {
            let code = Code::new(text).unwrap();
            let (side, card) = match (spot(&code, &scratch), url) {
                (Some(spot), _) => (spot.whole.size.width, compose::beside_qr(screen, label, *seconds)),
                (None, Some(url)) => {
                    let code = Code::new(&compact_url(url)).unwrap();
                    let side = code.spot(height).unwrap().whole.size.width;
                    (side, compose::card(screen, true).map(|c| Card { icon: None, ..c }).unwrap())
                }
                (None, None) => {
                    let card = compose::card(screen, true).unwrap();
                    return vec![(lay_out_whole(&card, area, style(size)), area)];
                }
            };
            if width - side < 40 {
                return vec![];
            }
            let place = Rectangle::new(Point::new(side as i32 + 3, 0), Size::new(width - side - 3, height));
            let place = page_dots(screen.page, place, &mut scratch);
            let style = if height < 48 { &Style::STRIP } else { &Style::NARROW };
            vec![(lay_out_whole(&card, place, style), place)]
        }
        _ => {
            let card = compose::card(screen, height < 48).unwrap();
            let area = page_dots(screen.page, area, &mut scratch);
            vec![(lay_out_whole(&card, area, style(size)), area)]
        }
    }
}

#[test]
fn no_text_is_cut_on_any_panel_in_any_language() {
    let mut wrong = Vec::new();
    for (language, Sample { name, screen }) in
        Language::ALL.into_iter().flat_map(|l| samples::all(l).into_iter().map(move |s| (l, s)))
    {
        for size in SIZES {
            for (layout, area) in layouts(&screen, size) {
                let Some(layout) = layout else {
                    wrong.push(format!("{name} {} {size:?}: cut", language.code()));
                    continue;
                };
                for text in layout.texts {
                    let place =
                        Rectangle::new(text.at, Size::new(text.face.width(&text.text), text.face.height()));
                    if place.intersection(&area) != place {
                        wrong.push(format!("{name} {} {size:?}: {}", language.code(), text.text));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_moved_picture_is_the_same_picture() {
    for sample in samples::all(Language::English) {
        if matches!(sample.screen.body, Body::Qr { .. }) {
            continue;
        }
        for size in SIZES {
            let still = drawn(&sample.screen, size);
            for shift in [(1, 0), (1, 1), (0, 1)] {
                let moved = drawn(&Screen { shift, ..sample.screen.clone() }, size);
                let by = Point::new(i32::from(shift.0), i32::from(shift.1));
                assert_eq!(moved, still.shifted(by), "{} on {size:?}", sample.name);
                assert_eq!(still, moved.shifted(-by), "{} on {size:?}: nothing is lost", sample.name);
            }
        }
    }
}

#[test]
fn any_size_and_any_text_is_drawn_without_a_panic() {
    let texts = ["", "x", &"w".repeat(500), "\u{1f600}\u{5e97}", "a b c d e f g h"];
    for size in [(0, 0), (1, 1), (8, 8), (20, 200), (64, 48), (96, 16), (160, 80), (320, 240), (480, 30)] {
        for sample in samples::all(Language::Indonesian) {
            drawn(&sample.screen, size);
        }
        for text in texts {
            let label = || Label { name: text.into(), number: Some(text.into()) };
            for body in [
                Body::Notice { text: text.into() },
                Body::Claim { code: text.into(), url: Some(text.into()) },
                Body::Qr { label: label(), text: text.into(), seconds: 3, url: Some(text.into()) },
                Body::Fingerprint { sha256: text.into() },
                Body::PairingCode { label: label(), code: text.into(), seconds: 0 },
                Body::Connecting { label: label() },
            ] {
                for page in [None, Some(PageNumber { page: 40, of: 99 })] {
                    drawn(&Screen { page, ..Screen::of(body.clone(), Language::English) }, size);
                }
            }
        }
    }
}

/// The reference pictures: `tests/panel_screens/SIZE/LANGUAGE/NAME.png`.
fn reference(size: (u32, u32), language: Language, name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/panel_screens");
    folder.join(format!("{}x{}", size.0, size.1)).join(language.code()).join(format!("{name}.png"))
}

/// What a PNG shows: its size, its kind of pixels, and these. Its bytes also depend on who packed it.
fn pixels(png: &[u8]) -> Option<(u32, u32, png::ColorType, Vec<u8>)> {
    let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().ok()?;
    let mut pixels = vec![0; reader.output_buffer_size()?];
    let info = reader.next_frame(&mut pixels).ok()?;
    Some((info.width, info.height, info.color_type, pixels))
}

/// After a change that is meant: `KURIR_UPDATE_PICTURES=1 cargo test -p kurir --lib panel::draw`, then look at them.
#[test]
fn every_screen_looks_as_its_reference_picture() {
    let update = std::env::var_os("KURIR_UPDATE_PICTURES").is_some();
    let mut wrong = Vec::new();
    for language in Language::ALL {
        for Sample { name, screen } in samples::all(language) {
            for size in SIZES {
                let path = reference(size, language, &name);
                let depth = if size.1 < 200 { Depth::Mono } else { Depth::Rgb565 };
                let picture = kurir_board::png(&drawn(&screen, size).shown(depth), 1);
                if update {
                    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                    std::fs::write(&path, &picture).unwrap();
                } else {
                    let known = std::fs::read(&path).ok().and_then(|known| pixels(&known));
                    if known.is_none() || known != pixels(&picture) {
                        wrong.push(path.display().to_string());
                    }
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "not as before; set KURIR_UPDATE_PICTURES if it is meant:\n{}",
        wrong.join("\n")
    );
}
