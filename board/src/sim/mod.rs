//! The panel in a terminal: for whoever works on the project, and for a box whose panel is an SSH session.
//!
//! The display is drawn with half blocks, two pixels a cell, and only the cells that change are written. The keys are in
//! [`keys`]. A 128x64 panel needs a terminal of 128x33.
//!
//! The terminal is taken whole, so logs should go elsewhere: `KURIR_BOARD=sim kurir 2>kurir.log`.

pub mod cells;
pub mod keys;
mod terminal;

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use embedded_graphics::prelude::*;
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe,
    time::{Instant, sleep_until},
};

use self::{
    cells::{Cells, Look},
    keys::{Act, Keys},
    terminal::Terminal,
};
use crate::{
    Button, Buttons, Depth, Dimming, Edge, Frame, Led, Panel, PartError,
    drivers::{Background, Driver},
    picture,
};

/// The terminal of this process.
const TTY: &str = "/dev/tty";

/// Pixels of the saved picture for each of the panel's.
const PICTURE_SCALE: u32 = 4;

/// The parts of a simulated panel.
pub struct Parts {
    /// The display.
    pub display: Background<SimDisplay>,
    /// The buttons.
    pub buttons: SimButtons,
    /// The LED.
    pub led: SimLed,
}

/// Takes the terminal of this process for a panel of `size` pixels. It is given back when all parts are dropped. Must be
/// called inside of a tokio runtime.
///
/// # Errors
/// [`PartError::Missing`] if there is no terminal.
pub fn open(size: Size) -> Result<Parts, PartError> {
    open_at(Path::new(TTY), size, Path::new("."))
}

/// Takes the terminal `tty`; pictures are saved in `folder`.
fn open_at(tty: &Path, size: Size, folder: &Path) -> Result<Parts, PartError> {
    let failed = |e: io::Error| PartError::Missing {
        part: "sim".into(),
        place: format!("terminal ({}: {e})", tty.display()),
        fix: "run it in a terminal, or choose the board `none`".into(),
    };
    let terminal = Arc::new(Terminal::open(tty).map_err(failed)?);
    let keyboard = terminal.keyboard().and_then(pipe::Receiver::from_file_unchecked).map_err(failed)?;
    let shown = Arc::new(Mutex::new(Frame::new(size)));
    let legend_row = size.height.div_ceil(2) + 1;
    let display = SimDisplay {
        size,
        look: Look { brightness: 128, inverted: false, on: false },
        frame: Frame::new(size),
        cells: None,
        shown: Arc::clone(&shown),
        terminal: Arc::clone(&terminal),
        legend_row,
    };
    let buttons = SimButtons {
        keyboard,
        keys: Keys::default(),
        edges: VecDeque::new(),
        shown,
        folder: folder.to_owned(),
        saved: 0,
        _terminal: Arc::clone(&terminal),
    };
    Ok(Parts { display: Background::new(display), buttons, led: SimLed { terminal, legend_row } })
}

/// The display in the terminal.
pub struct SimDisplay {
    size: Size,
    look: Look,
    frame: Frame,
    // What the terminal shows; None if that is unknown.
    cells: Option<Cells>,
    shown: Arc<Mutex<Frame>>,
    terminal: Arc<Terminal>,
    legend_row: u32,
}

impl SimDisplay {
    fn draw(&mut self) -> Result<(), PartError> {
        let cells = Cells::new(&self.frame, self.look);
        let written = self.terminal.write(&cells.update(self.cells.as_ref()));
        self.cells = written.is_ok().then_some(cells);
        written.map_err(|e| PartError::Failed {
            part: "display".into(),
            place: self.place().into(),
            problem: e.to_string(),
        })
    }
}

impl Driver for SimDisplay {
    fn panel(&self) -> Panel {
        Panel { name: "sim", size: self.size, depth: Depth::Rgb565, dims: true, inverts: true, wears: true }
    }

    fn place(&self) -> &str {
        "the terminal"
    }

    fn init(&mut self) -> Result<(), PartError> {
        self.cells = None;
        self.look.on = false;
        self.frame = Frame::new(self.size);
        let legend = format!("\x1b[2J\x1b[{};3Hc reconnect   r reset   p picture   q quit", self.legend_row);
        self.terminal.write(&legend).map_err(|e| PartError::Failed {
            part: "display".into(),
            place: "the terminal".into(),
            problem: e.to_string(),
        })
    }

    fn show(&mut self, _before: Option<&Frame>, frame: &Frame) -> Result<(), PartError> {
        self.frame.clone_from(frame);
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone_from(frame);
        self.draw()
    }

    fn set_brightness(&mut self, level: u8) -> Result<(), PartError> {
        self.look.brightness = level;
        self.draw()
    }

    fn set_inverted(&mut self, inverted: bool) -> Result<(), PartError> {
        self.look.inverted = inverted;
        self.draw()
    }

    fn set_on(&mut self, on: bool) -> Result<(), PartError> {
        self.look.on = on;
        self.draw()
    }
}

/// The keys of the terminal as buttons.
pub struct SimButtons {
    // Not a pipe, but tokio reads one as it reads any file that can be polled.
    keyboard: pipe::Receiver,
    keys: Keys,
    edges: VecDeque<Edge>,
    shown: Arc<Mutex<Frame>>,
    folder: PathBuf,
    saved: u32,
    // Given back when the last part is dropped.
    _terminal: Arc<Terminal>,
}

impl SimButtons {
    fn act(&mut self, acts: Vec<Act>) -> Result<(), PartError> {
        for act in acts {
            match act {
                Act::Edge(edge) => self.edges.push_back(edge),
                Act::Save => self.save(),
                Act::Quit => terminal::interrupt_self().map_err(|e| failed(&e))?,
            }
        }
        Ok(())
    }

    fn save(&mut self) {
        let frame = self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.saved += 1;
        let path = self.folder.join(format!("kurir-panel-{}.png", self.saved));
        match std::fs::write(&path, picture::png(&frame, PICTURE_SCALE)) {
            Ok(()) => log::info!("saved {}", path.display()),
            Err(e) => log::warn!("cannot save {}: {e}", path.display()),
        }
    }
}

fn failed(error: &io::Error) -> PartError {
    PartError::Failed { part: "buttons".into(), place: "the terminal".into(), problem: error.to_string() }
}

#[async_trait]
impl Buttons for SimButtons {
    fn present(&self) -> &[Button] {
        &Button::ALL
    }

    fn held_at_start(&self) -> &[Button] {
        &[]
    }

    async fn next(&mut self) -> Result<Edge, PartError> {
        loop {
            if let Some(edge) = self.edges.pop_front() {
                return Ok(edge);
            }
            let mut bytes = [0; 256];
            let deadline = self.keys.deadline();
            let expired = async {
                match deadline {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let read = tokio::select! {
                // Keys before the clock: a repetition that waits to be read is not a release.
                biased;
                read = self.keyboard.read(&mut bytes) => read.map_err(|e| failed(&e))?,
                () = expired => {
                    let acts = self.keys.expire(Instant::now());
                    self.act(acts)?;
                    continue;
                }
            };
            if read == 0 {
                return Err(PartError::Closed { part: "buttons".into(), place: "the terminal".into() });
            }
            let acts = self.keys.feed(&bytes[..read], Instant::now());
            self.act(acts)?;
        }
    }
}

/// The LED as a dot below the display.
pub struct SimLed {
    terminal: Arc<Terminal>,
    legend_row: u32,
}

impl Led for SimLed {
    fn dimming(&self) -> Dimming {
        Dimming::Pwm
    }

    fn set(&mut self, level: u8) -> Result<(), PartError> {
        // Gray where it is off, so that one sees that it is there.
        let green = 64 + u32::from(level) * 191 / 255;
        let other = 64 - u32::from(level) * 64 / 255;
        let dot = format!("\x1b[{};1H\x1b[38;2;{other};{green};{other}m●\x1b[0m", self.legend_row);
        self.terminal.try_write(&dot);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
