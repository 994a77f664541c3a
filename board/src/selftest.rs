//! Tests of the parts by a person: a picture to look at, a light to look at, buttons to press.

use std::time::Duration;

use embedded_graphics::{
    mono_font::{MonoTextStyle, ascii::FONT_6X10},
    pixelcolor::Rgb565,
    prelude::*,
    primitives::{PrimitiveStyle, Rectangle},
    text::{Alignment, Baseline, Text, TextStyleBuilder},
};
use tokio::time::{Instant, sleep, timeout_at};

use crate::{Board, Button, Buttons, Dimming, Display, Edge, Frame, Led, Motion, PartError};

/// How long a person has for each button.
pub const BUTTON_LIMIT: Duration = Duration::from_secs(20);
/// How long the LED is on, and off, in a blink.
const BLINK: Duration = Duration::from_millis(250);
const BLINKS: u32 = 4;
/// Steps of a breath, 20 ms each.
const BREATH: u8 = 50;

/// Why a test of the buttons failed.
#[derive(Debug, thiserror::Error)]
pub enum ButtonTestError {
    /// Nothing came from it.
    #[error("button {button}: nothing happened for {} s; check its wires and the pin table of `kurir board`", waited.as_secs())]
    Silent {
        /// The button.
        button: Button,
        /// How long was waited.
        waited: Duration,
    },
    /// It is down all the time.
    #[error(
        "button {button}: it was down from the start; it is stuck, wired to the wrong side, or on the wrong pin"
    )]
    Stuck {
        /// The button.
        button: Button,
    },
    /// Another one came.
    #[error("button {button}: {other} came instead; their wires are swapped")]
    Swapped {
        /// The button that was asked for.
        button: Button,
        /// The one that was pressed.
        other: Button,
    },
    /// The line cannot be read.
    #[error(transparent)]
    Part(#[from] PartError),
}

/// A picture that shows whether the display is right: a frame on its outermost pixels (cut off if the size or the
/// offset is wrong), `TOP` at the top (elsewhere if the rotation is wrong), black-and-white checks (gray bars if rows or
/// columns are mixed up), and red, green and blue from left to right where there is colour.
pub fn pattern(size: Size) -> Frame {
    let mut frame = Frame::new(size);
    let all = frame.bounding_box();
    let Ok(()) = all.into_styled(PrimitiveStyle::with_stroke(Rgb565::WHITE, 1)).draw(&mut frame);
    let style = MonoTextStyle::new(&FONT_6X10, Rgb565::WHITE);
    let centred = TextStyleBuilder::new().alignment(Alignment::Center).baseline(Baseline::Top).build();
    let middle = size.width as i32 / 2;
    let Ok(_) = Text::with_text_style("TOP", Point::new(middle, 3), style, centred).draw(&mut frame);
    let text = format!("{}x{}", size.width, size.height);
    let Ok(_) = Text::with_text_style(&text, Point::new(middle, 14), style, centred).draw(&mut frame);

    let top = 26;
    let checks =
        Rectangle::new(Point::new(4, top), Size::new(size.width / 3, size.height.saturating_sub(30)));
    for point in checks.points().filter(|p| (p.x / 4 + p.y / 4) % 2 == 0) {
        let Ok(()) = Pixel(point, Rgb565::WHITE).draw(&mut frame);
    }
    let bar = Size::new(size.width / 6, checks.size.height);
    for (i, colour) in [Rgb565::RED, Rgb565::GREEN, Rgb565::BLUE].into_iter().enumerate() {
        let left = (size.width / 2 + i as u32 * (bar.width + 1)) as i32;
        let Ok(()) = Rectangle::new(Point::new(left, top), bar)
            .intersection(&Rectangle::new(Point::new(0, 0), size - Size::new(3, 3)))
            .into_styled(PrimitiveStyle::with_fill(colour))
            .draw(&mut frame);
    }
    frame
}

/// Shows [`pattern`] at full brightness.
///
/// # Errors
/// Those of [`Display::flush`].
pub async fn show_pattern(display: &mut dyn Display) -> Result<(), PartError> {
    display.flush(&pattern(display.panel().size)).await?;
    display.set_brightness(255).await?;
    display.set_on(true).await
}

/// Blinks four times, or breathes once where there is PWM, and leaves the LED off.
///
/// # Errors
/// Those of [`Led::set`].
pub async fn blink(led: &mut dyn Led) -> Result<(), PartError> {
    if led.dimming() == Dimming::Pwm {
        for step in (0..=BREATH).chain((0..BREATH).rev()) {
            led.set((u16::from(step) * 255 / u16::from(BREATH)) as u8)?;
            sleep(Duration::from_millis(20)).await;
        }
        return led.set(0);
    }
    for _ in 0..BLINKS {
        led.set(255)?;
        sleep(BLINK).await;
        led.set(0)?;
        sleep(BLINK).await;
    }
    Ok(())
}

/// Waits until `button` was pressed and released, and says how long it was held.
///
/// # Errors
/// [`ButtonTestError`], after `limit` at the latest.
pub async fn wait_for(
    buttons: &mut dyn Buttons,
    button: Button,
    limit: Duration,
) -> Result<Duration, ButtonTestError> {
    if buttons.held_at_start().contains(&button) {
        return Err(ButtonTestError::Stuck { button });
    }
    let deadline = Instant::now() + limit;
    let mut pressed: Option<Instant> = None;
    loop {
        let Ok(edge) = timeout_at(deadline, buttons.next()).await else {
            return Err(match pressed {
                Some(_) => ButtonTestError::Stuck { button },
                None => ButtonTestError::Silent { button, waited: limit },
            });
        };
        let Edge { button: moved, motion, at } = edge?;
        match (motion, pressed) {
            (Motion::Pressed, _) if moved == button => pressed = Some(at),
            (Motion::Pressed, None) => return Err(ButtonTestError::Swapped { button, other: moved }),
            (Motion::Released, Some(down)) if moved == button => return Ok(at - down),
            // The other button, left over from its own test, or pressed as well.
            _ => {}
        }
    }
}

/// Tests each part of `board` in turn, with `say` for each line that the person should read. Returns how many parts
/// failed or are missing.
pub async fn run(board: &mut Board, say: &mut (dyn FnMut(&str) + Send)) -> usize {
    let mut failed = board.missing.len();
    for missing in &board.missing {
        say(&format!("missing: {missing}"));
    }
    match &mut board.display {
        Some(display) => match show_pattern(display.as_mut()).await {
            Ok(()) => say("display: it shows a frame to its very edge, TOP at the top, and checks"),
            Err(e) => {
                failed += 1;
                say(&format!("failed: {e}"));
            }
        },
        None => say("display: none in this profile, or missing"),
    }
    match &mut board.led {
        Some(led) => match blink(led.as_mut()).await {
            Ok(()) => say("LED: it blinked four times, or slowly became bright and dark once"),
            Err(e) => {
                failed += 1;
                say(&format!("failed: {e}"));
            }
        },
        None => say("LED: none in this profile, or missing"),
    }
    match &mut board.buttons {
        Some(buttons) => {
            for button in buttons.present().to_vec() {
                say(&format!("press and release the button {button}"));
                match wait_for(buttons.as_mut(), button, BUTTON_LIMIT).await {
                    Ok(held) => say(&format!("button {button}: held for {} ms", held.as_millis())),
                    Err(e) => {
                        failed += 1;
                        say(&format!("failed: {e}"));
                    }
                }
            }
        }
        None => say("buttons: none in this profile, or missing"),
    }
    failed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{self, MemoryDisplay, MemoryLed};

    #[test]
    fn the_pattern_reaches_every_edge_of_every_panel_and_shows_up() {
        for (width, height) in [(128, 32), (128, 64), (128, 128), (240, 240)] {
            let frame = pattern(Size::new(width, height));
            let (right, bottom) = (width as i32 - 1, height as i32 - 1);
            for corner in [(0, 0), (right, 0), (0, bottom), (right, bottom)] {
                assert!(frame.is_lit(corner.into()), "{corner:?} of {width}x{height}");
            }
            let lit = |rows: std::ops::Range<i32>| {
                rows.flat_map(|y| (1..right).map(move |x| Point::new(x, y)))
                    .filter(|&p| frame.is_lit(p))
                    .count()
            };
            assert!(lit(3..13) > 20, "text at the top");
            if height > 32 {
                assert!(lit(bottom - 12..bottom - 2) > 40, "checks at the bottom");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_led_blinks_or_breathes_and_is_off_in_the_end() {
        for (dimming, levels) in [(Dimming::OnOff, 2), (Dimming::Pwm, 40)] {
            let mut led = MemoryLed::new(dimming);
            let mut level = led.watch();
            let watcher = tokio::spawn(async move {
                let mut seen = std::collections::BTreeSet::from([0]);
                while level.changed().await.is_ok() {
                    seen.insert(*level.borrow_and_update());
                }
                seen
            });
            let watch = led.watch();
            blink(&mut led).await.unwrap();
            assert_eq!(*watch.borrow(), 0);
            drop(led);
            let seen = watcher.await.unwrap();
            assert!(seen.contains(&255) && seen.len() >= levels, "{seen:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn buttons_are_pressed_silent_stuck_or_swapped() {
        let (fingers, mut buttons) = memory::buttons(&[]);
        let second = Duration::from_secs(1);
        let press = async {
            fingers.press(Button::Reset);
            sleep(second).await;
            fingers.release(Button::Reset);
        };
        let (held, ()) = tokio::join!(wait_for(&mut buttons, Button::Reset, BUTTON_LIMIT), press);
        assert_eq!(held.unwrap(), second);
        let silent = wait_for(&mut buttons, Button::Reset, BUTTON_LIMIT).await.unwrap_err();
        assert!(matches!(silent, ButtonTestError::Silent { button: Button::Reset, .. }), "{silent}");
        fingers.press(Button::Reconnect);
        let swapped = wait_for(&mut buttons, Button::Reset, BUTTON_LIMIT).await.unwrap_err();
        assert!(matches!(swapped, ButtonTestError::Swapped { other: Button::Reconnect, .. }), "{swapped}");
        fingers.press(Button::Reset);
        let stuck = wait_for(&mut buttons, Button::Reset, BUTTON_LIMIT).await.unwrap_err();
        assert!(matches!(stuck, ButtonTestError::Stuck { .. }), "{stuck}");
        let (_fingers, mut buttons) = memory::buttons(&[Button::Reset]);
        let stuck = wait_for(&mut buttons, Button::Reset, BUTTON_LIMIT).await.unwrap_err();
        assert!(matches!(stuck, ButtonTestError::Stuck { .. }), "{stuck}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_board_is_tested_and_what_fails_is_counted() {
        let display = MemoryDisplay::oled(Size::new(128, 64));
        let shown = display.watch();
        let (fingers, buttons) = memory::buttons(&[]);
        let missing = PartError::Closed { part: "LED".into(), place: "nowhere".into() };
        let mut board = Board {
            name: "test".into(),
            display: Some(Box::new(display)),
            buttons: Some(Box::new(buttons)),
            led: None,
            missing: vec![missing],
        };
        let mut said = Vec::new();
        let failed = run(&mut board, &mut |line| {
            if line == "press and release the button reconnect" {
                fingers.press(Button::Reconnect);
                fingers.release(Button::Reconnect);
            }
            said.push(line.to_owned());
        })
        .await;
        assert_eq!(failed, 2, "the LED is missing and reset was not pressed: {said:?}");
        assert_eq!(shown.borrow().frame, pattern(Size::new(128, 64)).shown(crate::Depth::Mono));
        assert!(said.iter().any(|l| l.contains("button reconnect: held")), "{said:?}");
        assert!(said.iter().any(|l| l.contains("button reset: nothing happened for 20 s")), "{said:?}");
    }
}
