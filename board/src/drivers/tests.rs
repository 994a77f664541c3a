//! The drivers on simulated hardware.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use ::ssd1306::{I2CDisplayInterface, prelude::*};
use display_interface::{DataFormat, DisplayError, WriteOnlyDataCommand};
use embedded_graphics::{
    pixelcolor::Rgb565,
    prelude::*,
    primitives::{Circle, PrimitiveStyle, Rectangle},
};
use embedded_hal::{digital, spi};
use proptest::prelude::*;

use super::{
    bus::{Note, Noted},
    *,
};
use crate::{
    Display, FLUSH_LIMIT,
    virtual_ssd1306::{Glass, VirtualSsd1306},
};

/// Time that does not pass.
struct NoDelay;

impl DelayNs for NoDelay {
    fn delay_ns(&mut self, _: u32) {}
}

type Oled = Background<Ssd1306<I2CInterface<Noted<VirtualSsd1306>>, DisplaySize128x64, NotWired, NoDelay>>;

fn oled(glass: &VirtualSsd1306, address: u8) -> Oled {
    let note = Note::new("display", format!("SSD1306 at {address:#04x} on a virtual bus"));
    let bus = Noted::new(glass.clone(), note.clone());
    let interface = I2CDisplayInterface::new_custom_address(bus, address);
    Background::new(Ssd1306::new("SSD1306", interface, DisplaySize128x64, false, None, NoDelay, note))
}

fn circle(size: Size, diameter: u32) -> Frame {
    let mut frame = Frame::new(size);
    let style = PrimitiveStyle::with_stroke(Rgb565::WHITE, 1);
    let Ok(()) = Circle::new(Point::new(3, 4), diameter).into_styled(style).draw(&mut frame);
    frame
}

#[tokio::test]
async fn frames_brightness_inversion_and_power_reach_the_glass() {
    let glass = VirtualSsd1306::new(Glass::W128H64);
    let mut display = oled(&glass, 0x3C);
    for diameter in [50, 51, 12] {
        let frame = circle(display.panel().size, diameter);
        display.flush(&frame).await.unwrap();
        assert_eq!(glass.picture(), frame);
    }
    display.set_brightness(200).await.unwrap();
    assert_eq!(glass.controller().brightness(), 200);
    display.set_inverted(true).await.unwrap();
    assert!(glass.picture().is_lit(Point::new(127, 63)));
    display.set_on(false).await.unwrap();
    assert!(!glass.controller().is_on());
    display.set_on(true).await.unwrap();
    assert!(glass.controller().is_on());
    glass.check().unwrap();
}

#[tokio::test]
async fn turning_on_first_shows_no_noise() {
    let glass = VirtualSsd1306::new(Glass::W128H64);
    let mut display = oled(&glass, 0x3C);
    display.set_on(true).await.unwrap();
    assert!(glass.controller().is_on());
    assert_eq!(glass.picture(), Frame::new(Size::new(128, 64)));
}

#[tokio::test]
async fn the_same_frame_again_sends_nothing_and_a_small_change_sends_little() {
    let glass = VirtualSsd1306::new(Glass::W128H64);
    let mut display = oled(&glass, 0x3C);
    let mut frame = circle(Size::new(128, 64), 40);
    display.flush(&frame).await.unwrap();
    let mut transfers = glass.transfers();
    let before = *transfers.borrow_and_update();
    display.flush(&frame).await.unwrap();
    display.set_brightness(128).await.unwrap();
    display.set_on(true).await.unwrap();
    assert!(!transfers.has_changed().unwrap());
    let Ok(()) = Pixel(Point::new(100, 60), Rgb565::WHITE).draw(&mut frame);
    display.flush(&frame).await.unwrap();
    let sent = *transfers.borrow() - before;
    assert!(sent <= 3, "two window commands and one byte, not {sent} transfers");
    assert_eq!(glass.picture(), frame);
}

#[tokio::test]
async fn nobody_at_the_address_is_said_with_bus_address_and_fix() {
    let glass = VirtualSsd1306::new(Glass::W128H64);
    let error = oled(&glass, 0x3D).flush(&circle(Size::new(128, 64), 9)).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, PartError::NoAnswer { .. }), "{text}");
    assert!(text.contains("0x3d on a virtual bus") && text.contains("i2cdetect"), "{text}");
}

#[tokio::test]
async fn a_display_that_comes_back_shows_the_wanted_frame_at_the_wanted_brightness() {
    let glass = VirtualSsd1306::new(Glass::W128H64);
    let mut display = oled(&glass, 0x3C);
    let first = circle(Size::new(128, 64), 30);
    display.set_brightness(9).await.unwrap();
    display.flush(&first).await.unwrap();
    glass.unplug();
    let second = circle(Size::new(128, 64), 31);
    assert!(matches!(display.flush(&second).await, Err(PartError::NoAnswer { .. })));
    glass.plug();
    display.flush(&second).await.unwrap();
    assert_eq!(glass.picture(), second);
    assert_eq!(glass.controller().brightness(), 9);
    glass.check().unwrap();
}

#[tokio::test]
async fn a_display_that_lost_its_power_unnoticed_comes_back_with_a_refresh() {
    let glass = VirtualSsd1306::new(Glass::W128H64);
    let mut display = oled(&glass, 0x3C);
    let frame = circle(Size::new(128, 64), 30);
    display.flush(&frame).await.unwrap();
    glass.unplug();
    glass.plug();
    display.flush(&frame).await.unwrap();
    assert!(!glass.controller().is_on(), "nothing was sent, so nothing was noticed");
    display.refresh().await.unwrap();
    assert_eq!(glass.picture(), frame);
    glass.check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_hangs_ends_in_bounded_time_and_recovers() {
    let glass = VirtualSsd1306::new(Glass::W128H64);
    let mut display = oled(&glass, 0x3C);
    let frame = circle(Size::new(128, 64), 20);
    display.flush(&circle(Size::new(128, 64), 10)).await.unwrap();
    glass.hold_clock();
    for _ in 0..3 {
        // Time stands still while the transfer blocks its thread, so it is moved by hand.
        let flush = display.flush(&frame);
        let time = async {
            tokio::task::yield_now().await;
            tokio::time::advance(FLUSH_LIMIT + Duration::from_millis(1)).await;
        };
        let (result, ()) = tokio::join!(flush, time);
        let error = result.unwrap_err();
        assert!(matches!(error, PartError::TimedOut { .. }), "{error}");
        assert!(error.to_string().contains("virtual bus"), "{error}");
    }
    glass.let_go();
    display.flush(&frame).await.unwrap();
    assert_eq!(glass.picture(), frame);
}

#[tokio::test]
async fn a_dropped_flush_is_made_good_by_the_next() {
    let glass = VirtualSsd1306::new(Glass::W128H64);
    let mut display = oled(&glass, 0x3C);
    let (first, second) = (circle(Size::new(128, 64), 20), circle(Size::new(128, 64), 21));
    glass.hold_clock();
    tokio::select! {
        biased;
        _ = display.flush(&first) => panic!("the clock is held"),
        () = std::future::ready(()) => {}
    }
    glass.let_go();
    display.flush(&second).await.unwrap();
    assert_eq!(glass.picture(), second);
}

#[tokio::test]
async fn a_frame_of_another_size_is_refused() {
    let glass = VirtualSsd1306::new(Glass::W128H64);
    let error = oled(&glass, 0x3C).flush(&Frame::new(Size::new(128, 128))).await.unwrap_err();
    assert!(matches!(error, PartError::WrongSize { height: 128, .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever was asked and whenever the cable was out, a refresh with the cable in shows all that is wanted.
    #[test]
    fn what_is_wanted_is_shown_in_the_end(steps in prop::collection::vec((0..6u8, any::<u8>()), 1..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let glass = VirtualSsd1306::new(Glass::W128H64);
            let mut display = oled(&glass, 0x3C);
            let mut frame = Frame::new(Size::new(128, 64));
            let (mut brightness, mut inverted, mut on) = (128, false, true);
            for (step, value) in steps {
                // Failures are expected while the cable is out, and until the controller is set up after that.
                let _ = match step {
                    0 => {
                        frame = circle(Size::new(128, 64), u32::from(value % 60));
                        display.flush(&frame).await
                    }
                    1 => {
                        brightness = value;
                        display.set_brightness(value).await
                    }
                    2 => {
                        inverted = value % 2 == 1;
                        display.set_inverted(inverted).await
                    }
                    3 => {
                        on = value % 2 == 1;
                        display.set_on(on).await
                    }
                    4 => {
                        glass.unplug();
                        Ok(())
                    }
                    _ => {
                        glass.plug();
                        Ok(())
                    }
                };
            }
            glass.plug();
            let before = glass.violations().len();
            display.refresh().await.unwrap();
            assert_eq!(glass.violations().len(), before);
            assert_eq!(glass.controller().is_on(), on);
            display.set_on(true).await.unwrap();
            assert_eq!(glass.controller().brightness(), brightness);
            assert_eq!(glass.controller().is_inverse(), inverted);
            let picture = glass.picture();
            for p in picture.bounding_box().points() {
                assert_eq!(picture.is_lit(p), frame.is_lit(p) != inverted);
            }
        });
    }
}

/// An SH1106 or SH1107 as far as its addressing goes: pages, columns by halves, and the commands that exist.
#[derive(Clone)]
struct VirtualSh110x(Arc<Mutex<Sh>>);

struct Sh {
    variant: Variant,
    ram: Vec<[u8; 132]>,
    page: usize,
    column: usize,
    contrast: u8,
    inverted: bool,
    on: bool,
    pump: bool,
    upright: (bool, bool),
}

impl VirtualSh110x {
    fn new(variant: Variant) -> Self {
        let pages = variant.size().height as usize / 8;
        let sh = Sh {
            variant,
            ram: vec![[0xA5; 132]; pages],
            page: 0,
            column: 0,
            contrast: 0x80,
            inverted: false,
            on: false,
            pump: true,
            upright: (false, false),
        };
        Self(Arc::new(Mutex::new(sh)))
    }

    fn picture(&self) -> Frame {
        let sh = self.0.lock().unwrap();
        let mut frame = Frame::new(sh.variant.size());
        let first = usize::from(sh.variant.first_column());
        let points: Vec<_> = frame.bounding_box().points().collect();
        for p in points {
            let (x, y) = (p.x as usize, p.y as usize);
            if sh.on && (sh.ram[y / 8][x + first] >> (y % 8) & 1 == 1) != sh.inverted {
                let Ok(()) = Pixel(p, Rgb565::WHITE).draw(&mut frame);
            }
        }
        frame
    }
}

impl WriteOnlyDataCommand for VirtualSh110x {
    fn send_commands(&mut self, commands: DataFormat<'_>) -> Result<(), DisplayError> {
        let DataFormat::U8(mut bytes) = commands else { return Err(DisplayError::DataFormatNotImplemented) };
        let sh = &mut *self.0.lock().unwrap();
        let sh1107 = sh.variant == Variant::Sh1107;
        while let Some((&opcode, rest)) = bytes.split_first() {
            let two = matches!(opcode, 0x81 | 0xA8 | 0xAD | 0xD3 | 0xD5 | 0xD9 | 0xDB)
                || opcode == if sh1107 { 0xDC } else { 0xDA };
            let argument = if two { *rest.first().expect("a command of two bytes") } else { 0 };
            match opcode {
                0x00..=0x0F => sh.column = sh.column & 0xF0 | usize::from(opcode),
                0x10..=0x17 => sh.column = sh.column & 0x0F | usize::from(opcode & 0x0F) << 4,
                0x18..=0x1F if !sh1107 => sh.column = sh.column & 0x0F | usize::from(opcode & 0x0F) << 4,
                0x20 if sh1107 => {}
                0x30..=0x33 | 0x40..=0x7F if !sh1107 => {}
                0x81 => sh.contrast = argument,
                0xA0 | 0xA1 => sh.upright.0 = opcode & 1 == 1,
                0xA4 => {}
                0xA6 | 0xA7 => sh.inverted = opcode & 1 == 1,
                0xA8 => assert_eq!(u32::from(argument) + 1, sh.variant.size().height),
                0xAD => {
                    // "Display must be off when this command is issued."
                    assert!(!sh.on && (0x8A..=0x8B).contains(&argument));
                    sh.pump = argument & 1 == 1;
                }
                0xAE => sh.on = false,
                0xAF => {
                    assert!(sh.pump);
                    sh.on = true;
                }
                0xB0..=0xBF => {
                    sh.page = usize::from(opcode & 0x0F);
                    assert!(sh.page < sh.ram.len());
                }
                0xC0 | 0xC8 => sh.upright.1 = opcode == 0xC8,
                0xD3 | 0xD5 | 0xD9 | 0xDB => {}
                0xDA if !sh1107 => {}
                0xDC if sh1107 => {}
                other => panic!("{:?} has no command {other:02X}", sh.variant),
            }
            bytes = &rest[usize::from(two)..];
        }
        Ok(())
    }

    fn send_data(&mut self, data: DataFormat<'_>) -> Result<(), DisplayError> {
        let DataFormat::U8(bytes) = data else { return Err(DisplayError::DataFormatNotImplemented) };
        let sh = &mut *self.0.lock().unwrap();
        for &byte in bytes {
            sh.ram[sh.page][sh.column] = byte;
            // The column stops at the end, it does not wrap to the next page.
            sh.column = (sh.column + 1).min(131);
        }
        Ok(())
    }
}

fn sh110x(glass: &VirtualSh110x, variant: Variant) -> Sh110x<VirtualSh110x, NotWired, NoDelay> {
    let offset = (variant.first_column(), 0);
    let reset = Some(Reset::new(NotWired));
    Sh110x::new(
        variant,
        glass.clone(),
        false,
        offset,
        reset,
        NoDelay,
        Note::new("display", "a virtual SH110x"),
    )
}

#[tokio::test]
async fn sh110x_panels_show_what_was_drawn() {
    for variant in [Variant::Sh1106, Variant::Sh1107] {
        let glass = VirtualSh110x::new(variant);
        let mut display = Background::new(sh110x(&glass, variant));
        display.set_on(true).await.unwrap();
        assert_eq!(glass.picture(), Frame::new(variant.size()), "{variant:?} starts dark");
        for diameter in [40, 41, 7] {
            let frame = circle(variant.size(), diameter);
            display.flush(&frame).await.unwrap();
            assert_eq!(glass.picture(), frame, "{variant:?}");
        }
        display.set_brightness(33).await.unwrap();
        display.set_inverted(true).await.unwrap();
        let sh = glass.0.lock().unwrap();
        assert_eq!((sh.contrast, sh.inverted, sh.upright), (33, true, (true, true)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Partial updates end where a full one would.
    #[test]
    fn sh1106_updates_only_what_changed_and_nothing_else(
        boxes in prop::collection::vec((0..128i32, 0..64i32, 1..40u32, 1..40u32, any::<bool>()), 1..12),
    ) {
        let glass = VirtualSh110x::new(Variant::Sh1106);
        let mut driver = sh110x(&glass, Variant::Sh1106);
        driver.init().unwrap();
        let mut before: Option<Frame> = None;
        for (x, y, w, h, lit) in boxes {
            let mut frame = before.clone().unwrap_or_else(|| Frame::new(Size::new(128, 64)));
            let color = if lit { Rgb565::WHITE } else { Rgb565::BLACK };
            let Ok(()) = frame.fill_solid(&Rectangle::new(Point::new(x, y), Size::new(w, h)), color);
            driver.show(before.as_ref(), &frame).unwrap();
            before = Some(frame);
        }
        driver.set_on(true).unwrap();
        prop_assert_eq!(glass.picture(), before.unwrap());
    }
}

/// An ST7789 as far as its addressing goes, behind SPI and a data/command line.
#[derive(Clone)]
struct VirtualSt7789(Arc<Mutex<St>>);

#[derive(Default)]
struct St {
    data: bool,
    command: u8,
    args: Vec<u8>,
    columns: (usize, usize),
    rows: (usize, usize),
    at: (usize, usize),
    half: Option<u8>,
    ram: std::collections::HashMap<(usize, usize), u16>,
    seen: Vec<u8>,
    broken: bool,
}

#[derive(Clone)]
struct DcPin(VirtualSt7789);

impl digital::ErrorType for DcPin {
    type Error = Infallible;
}

impl OutputPin for DcPin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.0.0.lock().unwrap().data = false;
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.0.0.lock().unwrap().data = true;
        Ok(())
    }
}

impl spi::ErrorType for VirtualSt7789 {
    type Error = spi::ErrorKind;
}

impl spi::SpiDevice for VirtualSt7789 {
    fn transaction(&mut self, operations: &mut [spi::Operation<'_, u8>]) -> Result<(), spi::ErrorKind> {
        let st = &mut *self.0.lock().unwrap();
        if st.broken {
            return Err(spi::ErrorKind::Other);
        }
        for operation in operations {
            let spi::Operation::Write(bytes) = operation else { panic!("only writes") };
            assert!(bytes.len() <= 4096, "spidev refuses longer transfers");
            for &byte in bytes.iter() {
                st.byte(byte);
            }
        }
        Ok(())
    }
}

impl St {
    fn byte(&mut self, byte: u8) {
        if !self.data {
            self.seen.push(byte);
            self.command = byte;
            self.args.clear();
            if byte == 0x2C {
                self.at = (self.columns.0, self.rows.0);
            }
            return;
        }
        if self.command == 0x2C {
            let Some(high) = self.half.take() else {
                self.half = Some(byte);
                return;
            };
            self.ram.insert(self.at, u16::from_be_bytes([high, byte]));
            self.at.0 += 1;
            if self.at.0 > self.columns.1 {
                self.at = (self.columns.0, self.at.1 + 1);
            }
            return;
        }
        self.args.push(byte);
        if let (0x2A | 0x2B, [a, b, c, d]) = (self.command, self.args.as_slice()) {
            let range = (usize::from(*a) << 8 | usize::from(*b), usize::from(*c) << 8 | usize::from(*d));
            if self.command == 0x2A { self.columns = range } else { self.rows = range }
        }
    }
}

#[tokio::test]
async fn st7789_shows_colours_and_sends_only_the_rows_that_changed() {
    let lcd = VirtualSt7789(Arc::default());
    let options = St7789Options { size: Size::new(240, 240), quarter_turns: 0, offset: (0, 80) };
    let note = Note::new("display", "ST7789 on a virtual bus");
    let bus = Noted::new(lcd.clone(), note.clone());
    let driver = St7789::new(bus, DcPin(lcd.clone()), options, None, Some(DcPin(lcd.clone())), NoDelay, note);
    let mut display = Background::new(driver);
    let mut frame = circle(Size::new(240, 240), 200);
    let Ok(()) = frame.fill_solid(&Rectangle::new(Point::new(9, 9), Size::new(2, 2)), Rgb565::RED);
    display.flush(&frame).await.unwrap();
    let at = |x: usize, y: usize| lcd.0.lock().unwrap().ram[&(x, y + 80)];
    assert_eq!(lcd.0.lock().unwrap().ram.len(), 240 * 240);
    for point in frame.bounding_box().points() {
        let expected = frame.pixel(point).unwrap().into_storage();
        assert_eq!(at(point.x as usize, point.y as usize), expected, "{point}");
    }
    assert!(lcd.0.lock().unwrap().seen.contains(&0x21), "IPS panels are inverted");

    lcd.0.lock().unwrap().ram.clear();
    let Ok(()) = Pixel(Point::new(5, 100), Rgb565::BLUE).draw(&mut frame);
    display.flush(&frame).await.unwrap();
    assert_eq!(lcd.0.lock().unwrap().ram.len(), 240, "one row");
    assert_eq!(at(5, 100), Rgb565::BLUE.into_storage());

    // A bus that fails, and then does not: everything is drawn again.
    lcd.0.lock().unwrap().broken = true;
    let Ok(()) = frame.clear(Rgb565::GREEN);
    let error = display.flush(&frame).await.unwrap_err();
    assert!(error.to_string().contains("ST7789 on a virtual bus"), "{error}");
    lcd.0.lock().unwrap().broken = false;
    lcd.0.lock().unwrap().ram.clear();
    display.flush(&frame).await.unwrap();
    assert_eq!(lcd.0.lock().unwrap().ram.len(), 240 * 240);
}
