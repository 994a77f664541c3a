use embedded_graphics::{pixelcolor::BinaryColor, prelude::*};
use proptest::prelude::*;
use ssd1306::{I2CDisplayInterface, Ssd1306, mode::BufferedGraphicsMode, prelude::*};

use super::*;

type Real<S> = Ssd1306<I2CInterface<VirtualSsd1306>, S, BufferedGraphicsMode<S>>;

fn real<S: DisplaySize>(glass: &VirtualSsd1306, size: S, rotation: DisplayRotation) -> Real<S> {
    let mut display =
        Ssd1306::new(I2CDisplayInterface::new(glass.clone()), size, rotation).into_buffered_graphics_mode();
    display.init().unwrap();
    display.flush().unwrap();
    display
}

fn lit(glass: &VirtualSsd1306) -> Vec<Point> {
    let picture = glass.picture();
    picture.bounding_box().points().filter(|&p| picture.is_lit(p)).collect()
}

fn commands(glass: &mut VirtualSsd1306, bytes: &[u8]) -> Result<(), Violation> {
    glass.write(ADDRESS, &[&[0x00], bytes].concat())
}

fn data(glass: &mut VirtualSsd1306, bytes: &[u8]) -> Result<(), Violation> {
    glass.write(ADDRESS, &[&[0x40], bytes].concat())
}

/// A display that is on, upright, blank, in horizontal addressing, without the driver.
fn blank(glass: Glass) -> VirtualSsd1306 {
    let mut display = VirtualSsd1306::new(glass);
    let com_pins = if glass.wiring == Wiring::Alternative { 0x12 } else { 0x02 };
    let mux = (glass.height - 1) as u8;
    commands(&mut display, &[0xA8, mux, 0xDA, com_pins, 0xA1, 0xC8, 0x20, 0x00, 0x8D, 0x14, 0xAF]).unwrap();
    data(&mut display, &[0; 1024]).unwrap();
    assert_eq!(lit(&display), []);
    display
}

#[test]
fn the_real_driver_shows_one_pixel_where_it_drew_it() {
    for (x, y) in [(0, 0), (127, 0), (0, 63), (127, 63), (64, 31), (5, 32)] {
        let glass = VirtualSsd1306::new(Glass::W128H64);
        let mut display = real(&glass, DisplaySize128x64, DisplayRotation::Rotate0);
        display.set_pixel(x, y, true);
        display.flush().unwrap();
        assert_eq!(lit(&glass), [Point::new(x as i32, y as i32)]);
        glass.check().unwrap();
    }
    for (x, y) in [(0, 0), (127, 31), (3, 17)] {
        let glass = VirtualSsd1306::new(Glass::W128H32);
        let mut display = real(&glass, DisplaySize128x32, DisplayRotation::Rotate0);
        display.set_pixel(x, y, true);
        display.flush().unwrap();
        assert_eq!(lit(&glass), [Point::new(x as i32, y as i32)]);
    }
}

#[test]
fn a_rotated_picture_is_upside_down() {
    let glass = VirtualSsd1306::new(Glass::W128H64);
    let mut display = real(&glass, DisplaySize128x64, DisplayRotation::Rotate180);
    display.set_pixel(3, 9, true);
    display.flush().unwrap();
    assert_eq!(lit(&glass), [Point::new(124, 54)]);
}

#[test]
fn the_wrong_size_shows_a_wrong_picture() {
    // A 128x32 driver on a 128x64 panel sends the wrong COM pins and multiplex ratio.
    let glass = VirtualSsd1306::new(Glass::W128H64);
    let mut display = real(&glass, DisplaySize128x32, DisplayRotation::Rotate0);
    for x in 0..128 {
        display.set_pixel(x, 0, true);
    }
    display.flush().unwrap();
    assert_ne!(lit(&glass), (0..128).map(|x| Point::new(x, 0)).collect::<Vec<_>>());
}

#[test]
fn a_driver_that_does_not_clear_shows_the_noise_of_power_on() {
    let mut glass = VirtualSsd1306::new(Glass::W128H64);
    commands(&mut glass, &[0x8D, 0x14, 0xAF]).unwrap();
    let noise = lit(&glass).len();
    assert!((3000..5200).contains(&noise), "{noise}");
}

#[test]
fn brightness_inversion_and_power_are_seen() {
    let glass = VirtualSsd1306::new(Glass::W128H64);
    let mut display = real(&glass, DisplaySize128x64, DisplayRotation::Rotate0);
    display.set_brightness(Brightness::custom(1, 0x21)).unwrap();
    assert_eq!(glass.controller().brightness(), 0x21);
    display.set_invert(true).unwrap();
    assert_eq!(lit(&glass).len(), 128 * 64);
    display.set_pixel(7, 7, true);
    display.flush().unwrap();
    assert!(!glass.picture().is_lit(Point::new(7, 7)));
    display.set_display_on(false).unwrap();
    assert_eq!((lit(&glass).len(), glass.controller().brightness()), (0, 0));
    display.set_display_on(true).unwrap();
    assert_eq!(lit(&glass).len(), 128 * 64 - 1, "the RAM outlives the dark");
    glass.check().unwrap();
}

#[test]
fn entire_on_lights_all_and_resume_shows_the_ram() {
    let mut glass = blank(Glass::W128H64);
    commands(&mut glass, &[0xA5]).unwrap();
    assert_eq!(lit(&glass).len(), 8192);
    commands(&mut glass, &[0xA4]).unwrap();
    assert_eq!(lit(&glass).len(), 0);
}

#[test]
fn a_window_wraps_in_each_addressing_mode() {
    // 2 columns by 2 pages; the fifth byte is back at the first.
    for (mode, second) in [(0x00, Point::new(11, 16)), (0x01, Point::new(10, 24))] {
        let mut glass = blank(Glass::W128H64);
        commands(&mut glass, &[0x20, mode, 0x21, 10, 11, 0x22, 2, 3]).unwrap();
        data(&mut glass, &[1, 1]).unwrap();
        assert_eq!(lit(&glass), [Point::new(10, 16), second]);
        data(&mut glass, &[1, 1, 2]).unwrap();
        let all = [(11, 16), (10, 17), (10, 24), (11, 24)].map(|(x, y)| Point::new(x, y));
        assert_eq!(lit(&glass), all);
    }
    let mut glass = blank(Glass::W128H64);
    commands(&mut glass, &[0x20, 0x02, 0xB3, 0x0F, 0x17]).unwrap();
    data(&mut glass, &[0x80, 0x80]).unwrap();
    assert_eq!(lit(&glass), [Point::new(0, 31), Point::new(127, 31)], "page mode stays on its page");
}

#[test]
fn the_start_line_and_the_offset_move_the_picture() {
    let mut glass = blank(Glass::W128H64);
    data(&mut glass, &[0x01]).unwrap();
    assert_eq!(lit(&glass), [Point::new(0, 0)]);
    commands(&mut glass, &[0x40 + 63]).unwrap();
    assert_eq!(lit(&glass), [Point::new(0, 1)], "RAM line 63 is on top, line 0 below it");
    commands(&mut glass, &[0x40, 0xD3, 8]).unwrap();
    // With the scan reversed, COM7 shows row 0 (table 10-2), and COM7 is the eighth row from the bottom.
    assert_eq!(lit(&glass), [Point::new(0, 56)]);
}

#[test]
fn a_smaller_multiplex_ratio_leaves_rows_dark() {
    let mut glass = blank(Glass::W128H64);
    commands(&mut glass, &[0xA7]).unwrap();
    assert_eq!(lit(&glass).len(), 8192);
    commands(&mut glass, &[0xA8, 31]).unwrap();
    assert_eq!(lit(&glass).len(), 128 * 32);
}

#[test]
fn a_remap_changes_what_is_written_afterwards_only() {
    let mut glass = blank(Glass::W128H64);
    data(&mut glass, &[0x01]).unwrap();
    commands(&mut glass, &[0xA0, 0x21, 0, 127, 0x22, 1, 1]).unwrap();
    data(&mut glass, &[0x01]).unwrap();
    assert_eq!(lit(&glass), [Point::new(0, 0), Point::new(127, 8)]);
}

#[test]
fn a_scroll_moves_pages_and_then_leaves_the_ram_to_be_rewritten() {
    let mut glass = blank(Glass::W128H64);
    data(&mut glass, &[0x01]).unwrap();
    commands(&mut glass, &[0x26, 0, 0, 7, 0, 0, 0xFF, 0x2F]).unwrap();
    assert_eq!(glass.controller().scroll_interval(), Some(2));
    let mut controller = glass.controller();
    controller.scroll_step();
    assert!(controller.is_lit(1, 0) && !controller.is_lit(0, 0), "to the right");
    assert_eq!(data(&mut glass, &[1]), Err(Violation::Scrolling { what: "writing to the RAM" }));
    assert!(commands(&mut glass, &[0x27, 0, 0, 7, 0, 0, 0xFF]).is_err());
    commands(&mut glass, &[0x2E]).unwrap();
    assert!(lit(&glass).len() > 1000, "noise until it is rewritten");
}

#[test]
fn a_vertical_scroll_moves_the_area_up() {
    let mut glass = blank(Glass::W128H64);
    commands(&mut glass, &[0x22, 2, 7]).unwrap();
    data(&mut glass, &[0x01]).unwrap();
    assert_eq!(lit(&glass), [Point::new(0, 16)]);
    commands(&mut glass, &[0xA3, 8, 56, 0x29, 0, 0, 0, 0, 1, 0x2F]).unwrap();
    let mut controller = glass.controller();
    controller.scroll_step();
    assert!(controller.is_lit(0, 15));
    assert!(commands(&mut glass, &[0xA3, 8, 57]).is_err(), "8 + 57 rows are more than 64");
}

#[test]
fn what_the_sheet_forbids_fails_on_the_bus_and_is_remembered() {
    use Violation as V;
    type Case = (&'static [u8], Violation);
    let cases: [Case; 12] = [
        (&[0x00, 0xAD, 0x30], V::UnknownCommand { opcode: 0xAD }),
        (&[0x00, 0x81], V::Truncated { opcode: 0x81, got: 0 }),
        (&[0x00, 0x21, 0x00], V::Truncated { opcode: 0x21, got: 1 }),
        (&[0x80, 0x81, 0xC0, 0x10], V::Truncated { opcode: 0x81, got: 0 }),
        (&[0x01, 0xAE], V::ControlByte { byte: 0x01 }),
        (&[0x7F, 0xAE], V::ControlByte { byte: 0x7F }),
        (&[0x00], V::NothingFollows { byte: 0x00 }),
        (&[0x80, 0xA6, 0x80], V::NothingFollows { byte: 0x80 }),
        (&[0x00, 0xA8, 0x0E], V::Argument { opcode: 0xA8, index: 0, value: 0x0E }),
        (&[0x00, 0xAF], V::NoPump),
        (&[0x00, 0x2F], V::NoScroll),
        (&[0x00, 0x21, 0, 127], V::WrongMode { opcode: 0x21 }),
    ];
    for (bytes, expected) in cases {
        let mut glass = VirtualSsd1306::new(Glass::W128H64);
        assert_eq!(glass.write(ADDRESS, bytes), Err(expected), "{bytes:02X?}");
        assert_eq!(glass.check(), Err(expected));
        // The next command is understood again.
        commands(&mut glass, &[0x81, 0x01, 0x8D, 0x14, 0xAF]).unwrap();
        assert_eq!(glass.controller().brightness(), 1);
    }
    let mut glass = VirtualSsd1306::new(Glass::W128H64);
    assert_eq!(glass.write(0x3D, &[0x00, 0xE3]), Err(V::Address { address: 0x3D }));
    commands(&mut glass, &[0x20, 0x00]).unwrap();
    assert_eq!(commands(&mut glass, &[0xB0]), Err(V::WrongMode { opcode: 0xB0 }));
    commands(&mut glass, &[0x8D, 0x14, 0xAF]).unwrap();
    assert_eq!(commands(&mut glass, &[0x8D, 0x10]), Err(V::NoPump));
}

#[test]
fn control_bytes_may_mix_commands_and_data() {
    let mut glass = blank(Glass::W128H64);
    glass.write(ADDRESS, &[0x80, 0x22, 0x80, 0x01, 0x80, 0x01, 0x40, 0x01, 0x01]).unwrap();
    assert_eq!(lit(&glass), [Point::new(0, 8), Point::new(1, 8)]);
}

#[test]
fn the_status_says_whether_it_is_on() {
    let mut glass = blank(Glass::W128H64);
    let mut status = [0xFF];
    glass.read(ADDRESS, &mut status).unwrap();
    assert_eq!(status, [0]);
    commands(&mut glass, &[0xAE]).unwrap();
    glass.read(ADDRESS, &mut status).unwrap();
    assert_eq!(status, [0x40]);
}

#[test]
fn an_unplugged_display_comes_back_without_its_settings() {
    let mut glass = blank(Glass::W128H64);
    glass.unplug();
    assert_eq!(commands(&mut glass, &[0xE3]), Err(Violation::Address { address: ADDRESS }));
    glass.plug();
    assert!(!glass.controller().is_on());
    commands(&mut glass, &[0x8D, 0x14, 0xAF]).unwrap();
    glass.check().unwrap();
}

#[tokio::test]
async fn it_comes_with_the_driver_that_a_profile_opens() {
    for glass in [Glass::W128H64, Glass::W128H32] {
        let seen = VirtualSsd1306::at(glass, ALTERNATE_ADDRESS);
        let mut display = seen.display();
        let frame = crate::selftest::pattern(glass.size());
        display.flush(&frame).await.unwrap();
        assert_eq!(seen.picture(), frame.shown(crate::Depth::Mono));
        seen.check().unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is drawn through the real driver, in whatever pieces, is what is seen.
    #[test]
    fn the_real_driver_and_the_glass_agree(
        strokes in prop::collection::vec((0..128i32, 0..64i32, any::<bool>()), 1..200),
        flush_every in 1..20usize,
    ) {
        let glass = VirtualSsd1306::new(Glass::W128H64);
        let mut display = real(&glass, DisplaySize128x64, DisplayRotation::Rotate0);
        let mut expected = Frame::new(Size::new(128, 64));
        for (i, (x, y, on)) in strokes.into_iter().enumerate() {
            let pixel = Pixel(Point::new(x, y), BinaryColor::from(on));
            pixel.draw(&mut display).unwrap();
            let Ok(()) = pixel.draw(&mut expected.color_converted());
            if i % flush_every == 0 {
                display.flush().unwrap();
            }
        }
        display.flush().unwrap();
        prop_assert_eq!(glass.picture(), expected);
        prop_assert_eq!(glass.check(), Ok(()));
    }

    /// No bytes, however wrong, break the state: everything stays in range and the display can be set up again.
    #[test]
    fn any_bytes_leave_it_usable(transfers in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..24), 0..40)) {
        let mut glass = VirtualSsd1306::new(Glass::W128H64);
        for bytes in &transfers {
            let _ = glass.write(ADDRESS, bytes);
            let _ = glass.picture();
        }
        // A scroll in progress forbids drawing; the driver ends it.
        let mut display = real(&glass, DisplaySize128x64, DisplayRotation::Rotate0);
        display.set_pixel(1, 2, true);
        display.flush().unwrap();
        let mut controller = glass.controller();
        controller.scroll_step();
        prop_assert!(controller.is_lit(1, 2));
    }

    /// Cutting a command anywhere is noticed.
    #[test]
    fn a_truncated_command_is_always_noticed(cut in 1..6usize) {
        let scroll = [0x26, 0, 0, 0, 7, 0, 0xFF];
        let mut glass = blank(Glass::W128H64);
        prop_assert_eq!(commands(&mut glass, &scroll[..cut]), Err(Violation::Truncated { opcode: 0x26, got: cut - 1 }));
    }
}
