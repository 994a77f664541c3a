//! Parts that exist in memory only: a display that remembers, buttons pressed by a program, an LED that can be watched.
//! For tests, and for a gateway that draws for the web page alone.

use async_trait::async_trait;
use embedded_graphics::prelude::*;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::{Button, Buttons, Depth, Dimming, Display, Edge, Frame, Led, Motion, Panel, PartError};

/// Edges that may wait in [`ProgramButtons`] before [`Fingers`] are told that nobody reads them.
const EDGES: usize = 64;

/// What a [`MemoryDisplay`] shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The last frame, as a panel of that depth shows it.
    pub frame: Frame,
    /// Brightness, 0 to 255.
    pub brightness: u8,
    /// Whether lit and unlit are swapped.
    pub inverted: bool,
    /// Whether the panel is on.
    pub on: bool,
}

/// A display that keeps what it is told. [`MemoryDisplay::watch`] sees each change.
#[derive(Debug)]
pub struct MemoryDisplay {
    panel: Panel,
    shown: watch::Sender<Shown>,
}

impl MemoryDisplay {
    /// A display with the given panel.
    pub fn new(panel: Panel) -> Self {
        let shown = Shown { frame: Frame::new(panel.size), brightness: 128, inverted: false, on: true };
        Self { panel, shown: watch::Sender::new(shown) }
    }

    /// A 1-bit display of `size` pixels that dims and inverts.
    pub fn oled(size: Size) -> Self {
        Self::new(Panel { name: "memory", size, depth: Depth::Mono, dims: true, inverts: true, wears: true })
    }

    /// What is shown, now and after each change.
    pub fn watch(&self) -> watch::Receiver<Shown> {
        self.shown.subscribe()
    }

    fn change(&self, set: impl FnOnce(&mut Shown)) {
        self.shown.send_if_modified(|shown| {
            let before = shown.clone();
            set(shown);
            *shown != before
        });
    }
}

#[async_trait]
impl Display for MemoryDisplay {
    fn panel(&self) -> Panel {
        self.panel
    }

    async fn flush(&mut self, frame: &Frame) -> Result<(), PartError> {
        if frame.size() != self.panel.size {
            return Err(PartError::WrongSize {
                part: "display".into(),
                place: format!("a {}x{} display in memory", self.panel.size.width, self.panel.size.height),
                width: frame.size().width,
                height: frame.size().height,
            });
        }
        self.change(|shown| shown.frame = frame.shown(self.panel.depth));
        Ok(())
    }

    async fn set_brightness(&mut self, level: u8) -> Result<(), PartError> {
        if self.panel.dims {
            self.change(|shown| shown.brightness = level);
        }
        Ok(())
    }

    async fn set_inverted(&mut self, inverted: bool) -> Result<(), PartError> {
        if self.panel.inverts {
            self.change(|shown| shown.inverted = inverted);
        }
        Ok(())
    }

    async fn set_on(&mut self, on: bool) -> Result<(), PartError> {
        self.change(|shown| shown.on = on);
        Ok(())
    }
}

/// Buttons that a program presses through [`Fingers`].
#[derive(Debug)]
pub struct ProgramButtons {
    edges: mpsc::Receiver<Edge>,
    held: Vec<Button>,
}

/// Presses [`ProgramButtons`].
#[derive(Debug, Clone)]
pub struct Fingers {
    edges: mpsc::Sender<Edge>,
}

/// Both buttons, of which `held` are down from the start, and the fingers on them.
pub fn buttons(held: &[Button]) -> (Fingers, ProgramButtons) {
    let (sender, edges) = mpsc::channel(EDGES);
    (Fingers { edges: sender }, ProgramButtons { edges, held: held.to_vec() })
}

impl Fingers {
    /// Presses `button` now. False if the buttons are gone or nobody reads them.
    pub fn press(&self, button: Button) -> bool {
        self.send(button, Motion::Pressed)
    }

    /// Releases `button` now. False if the buttons are gone or nobody reads them.
    pub fn release(&self, button: Button) -> bool {
        self.send(button, Motion::Released)
    }

    fn send(&self, button: Button, motion: Motion) -> bool {
        self.deliver(Edge { button, motion, at: Instant::now() })
    }

    /// Delivers `edge` as it is. False if the buttons are gone or nobody reads them.
    pub fn deliver(&self, edge: Edge) -> bool {
        self.edges.try_send(edge).is_ok()
    }
}

#[async_trait]
impl Buttons for ProgramButtons {
    fn present(&self) -> &[Button] {
        &Button::ALL
    }

    fn held_at_start(&self) -> &[Button] {
        &self.held
    }

    async fn next(&mut self) -> Result<Edge, PartError> {
        let closed =
            || PartError::Closed { part: "buttons".into(), place: "the program that pressed them".into() };
        self.edges.recv().await.ok_or_else(closed)
    }
}

/// An LED whose level can be watched.
#[derive(Debug)]
pub struct MemoryLed {
    dimming: Dimming,
    level: watch::Sender<u8>,
}

impl MemoryLed {
    /// An LED that is off.
    pub fn new(dimming: Dimming) -> Self {
        Self { dimming, level: watch::Sender::new(0) }
    }

    /// The level, now and after each change.
    pub fn watch(&self) -> watch::Receiver<u8> {
        self.level.subscribe()
    }
}

impl Led for MemoryLed {
    fn dimming(&self) -> Dimming {
        self.dimming
    }

    fn set(&mut self, level: u8) -> Result<(), PartError> {
        let level = if self.dimming == Dimming::OnOff && level > 0 { 255 } else { level };
        self.level.send_if_modified(|now| std::mem::replace(now, level) != level);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use embedded_graphics::pixelcolor::Rgb565;

    use super::*;

    #[tokio::test]
    async fn a_frame_of_another_size_is_refused_by_name() {
        let mut display = MemoryDisplay::oled(Size::new(128, 64));
        let error = display.flush(&Frame::new(Size::new(128, 32))).await.unwrap_err();
        assert!(error.to_string().contains("128x32") && error.to_string().contains("128x64"), "{error}");
    }

    #[tokio::test]
    async fn only_changes_are_seen() {
        let mut display = MemoryDisplay::oled(Size::new(8, 8));
        let mut seen = display.watch();
        let mut frame = Frame::new(Size::new(8, 8));
        display.flush(&frame).await.unwrap();
        assert!(!seen.has_changed().unwrap());
        let Ok(()) = frame.clear(Rgb565::WHITE);
        display.flush(&frame).await.unwrap();
        assert!(seen.has_changed().unwrap());
        assert!(seen.borrow_and_update().frame.is_lit(Point::zero()));
    }

    #[tokio::test(start_paused = true)]
    async fn edges_carry_the_time_of_the_press() {
        let (fingers, mut buttons) = buttons(&[]);
        let start = Instant::now();
        assert!(fingers.press(Button::Reset));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(fingers.release(Button::Reset));
        let (down, up) = (buttons.next().await.unwrap(), buttons.next().await.unwrap());
        assert_eq!((down.motion, down.at), (Motion::Pressed, start));
        assert_eq!(up.at - down.at, Duration::from_secs(5));
        drop(fingers);
        assert!(matches!(buttons.next().await, Err(PartError::Closed { .. })));
    }
}
