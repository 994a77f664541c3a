//! The simulated panel on a pseudo terminal.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    time::Duration,
};

use embedded_graphics::pixelcolor::Rgb565;
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, tcgetattr},
};

use super::*;
use crate::{Display, Motion};

/// The side of the person: a terminal window.
struct Window {
    side: File,
    name: PathBuf,
}

fn window() -> Window {
    let side: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&side).unwrap();
    unlockpt(&side).unwrap();
    let name = ptsname(&side, Vec::new()).unwrap().into_string().unwrap().into();
    Window { side: side.into(), name }
}

impl Window {
    fn read(&mut self) -> String {
        let mut bytes = [0; 65536];
        let read = self.side.read(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    }

    fn read_until(&mut self, end: &str) -> String {
        let mut text = String::new();
        while !text.contains(end) {
            text.push_str(&self.read());
        }
        text
    }

    fn type_keys(&mut self, keys: &str) {
        self.side.write_all(keys.as_bytes()).unwrap();
    }
}

#[tokio::test]
async fn the_panel_takes_the_terminal_draws_changes_and_gives_it_back() {
    let mut window = window();
    let folder = tempfile::tempdir().unwrap();
    let size = Size::new(8, 4);
    let Parts { mut display, buttons, mut led } = open_at(&window.name, size, folder.path()).unwrap();
    assert!(!tcgetattr(&window.side).unwrap().local_modes.contains(LocalModes::ICANON));
    let mut frame = Frame::new(size);
    display.flush(&frame).await.unwrap();
    let text = window.read_until("quit");
    assert!(
        text.contains("\x1b[?1049h") && text.contains("\x1b[>11u") && text.contains("r reset"),
        "{text:?}"
    );
    let Ok(()) = Pixel(Point::new(2, 1), Rgb565::WHITE).draw(&mut frame);
    display.set_brightness(255).await.unwrap();
    display.flush(&frame).await.unwrap();
    let text = window.read_until("48;2;255;255;255m▀");
    assert!(text.ends_with("\x1b[1;3H\x1b[38;2;0;0;0;48;2;255;255;255m▀\x1b[0m"), "{text:?}");
    led.set(255).unwrap();
    assert!(window.read_until("●").contains("\x1b[3;1H\x1b[38;2;0;255;0m●"));

    drop((display, buttons, led));
    assert!(window.read_until("?1049l").contains("\x1b[<u"));
    assert!(tcgetattr(&window.side).unwrap().local_modes.contains(LocalModes::ICANON));
}

#[tokio::test]
async fn keys_are_buttons_and_a_picture_is_saved() {
    let mut window = window();
    let folder = tempfile::tempdir().unwrap();
    let size = Size::new(8, 4);
    let Parts { mut display, mut buttons, led: _led } = open_at(&window.name, size, folder.path()).unwrap();
    let mut frame = Frame::new(size);
    let Ok(()) = Pixel(Point::new(2, 1), Rgb565::WHITE).draw(&mut frame);
    display.flush(&frame).await.unwrap();
    window.type_keys("p\x1b[114;1:1u");
    let down = buttons.next().await.unwrap();
    assert_eq!((down.button, down.motion), (Button::Reset, Motion::Pressed));
    window.type_keys("\x1b[114;1:3uC");
    let up = buttons.next().await.unwrap();
    assert_eq!((up.button, up.motion), (Button::Reset, Motion::Released));
    assert!(up.at >= down.at);
    assert_eq!(buttons.next().await.unwrap().button, Button::Reconnect);
    let saved = std::fs::read(folder.path().join("kurir-panel-1.png")).unwrap();
    assert_eq!(saved, picture::png(&frame, PICTURE_SCALE));
}

#[tokio::test(start_paused = true)]
async fn a_tapped_key_comes_up_by_itself() {
    let mut window = window();
    let parts = open_at(&window.name, Size::new(8, 4), Path::new("/nonexistent")).unwrap();
    let mut buttons = parts.buttons;
    window.type_keys("c");
    let down = buttons.next().await.unwrap();
    let up = buttons.next().await.unwrap();
    assert_eq!((up.button, up.motion), (Button::Reconnect, Motion::Released));
    assert_eq!(up.at - down.at, keys::TAP);
    assert!(down.at.elapsed() >= keys::FIRST_REPEAT - Duration::from_millis(1));
    // A picture that cannot be saved is not the end.
    window.type_keys("pC");
    assert_eq!(buttons.next().await.unwrap().motion, Motion::Pressed);
}

#[tokio::test]
async fn without_a_terminal_the_message_says_what_to_do() {
    let error = open_at(Path::new("/nonexistent/tty"), Size::new(8, 4), Path::new(".")).err().unwrap();
    let text = error.to_string();
    assert!(text.contains("/nonexistent/tty") && text.contains("run it in a terminal"), "{text}");
}

#[tokio::test]
async fn a_closed_window_ends_the_buttons() {
    let window = window();
    let mut buttons = open_at(&window.name, Size::new(8, 4), Path::new(".")).unwrap().buttons;
    drop(window);
    assert!(buttons.next().await.is_err());
}
