//! GPIO lines through the kernel's character device, by line name or by chip label.
//!
//! A chip's number is no address: the Raspberry Pi 5's header was gpiochip4 and became gpiochip0 with a newer kernel.
//! So a line is looked up by its name, or by the label of its chip and its offset there.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use embedded_hal::digital::{self, OutputPin};
use gpiocdev::{
    Chip, Request,
    line::{Bias, EdgeDetection, EdgeKind, Offset, Value},
    tokio::AsyncRequest,
};
use tokio::time::Instant;

use crate::{Button, Buttons, Edge, Motion, PartError};

/// Which GPIO line.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LineAddress {
    /// The line's name, such as `GPIO23`. Looked for first.
    pub name: Option<String>,
    /// Labels of the chip that has it, such as `pinctrl-rp1`; the first that exists is used.
    pub chips: Vec<String>,
    /// The line's offset on that chip.
    pub offset: Option<u32>,
}

impl fmt::Display for LineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, self.offset) {
            (Some(name), _) => write!(f, "GPIO line {name}"),
            (None, Some(offset)) => write!(f, "GPIO line {offset} of {}", self.chips.join(" or ")),
            (None, None) => write!(f, "GPIO line without a name"),
        }
    }
}

/// A line that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The chip's device file.
    pub chip: PathBuf,
    /// The chip's label.
    pub label: String,
    /// The line's offset on the chip.
    pub offset: u32,
    /// Who uses it now, if anybody.
    pub used_by: Option<String>,
}

const ENABLE: &str = "`gpioinfo` lists the lines of this board; put one of their names into the profile";
const GROUP: &str =
    "add the user that runs this to the group `gpio` (`usermod -aG gpio USER`) and log in again";

/// Looks `line` up on all chips, for `part`.
///
/// # Errors
/// [`PartError::Missing`] if no chip has it, [`PartError::Denied`] if a chip could not be opened and the line was not
/// found on another, [`PartError::Taken`] if somebody uses it.
pub fn find(part: &str, line: &LineAddress) -> Result<Found, PartError> {
    let place = line.to_string();
    let missing =
        |what: &str, fix: &str| PartError::Missing { part: part.into(), place: what.into(), fix: fix.into() };
    let paths = gpiocdev::chip::chips().unwrap_or_default();
    if paths.is_empty() {
        return Err(missing(
            &format!("{place}: no GPIO chip at all (/dev/gpiochip*)"),
            "this machine has no GPIO, or its kernel lacks CONFIG_GPIO_CDEV; choose the board `sim` or `none`",
        ));
    }
    let mut denied = None;
    let mut chips = Vec::new();
    for path in paths {
        match Chip::from_path(&path) {
            Ok(chip) => chips.push(chip),
            Err(e) if errno(&e).kind() == io::ErrorKind::PermissionDenied => denied = denied.or(Some(path)),
            // A chip that just went away (a USB adapter) is as good as not there.
            Err(e) => log::debug!("{}: {e}", path.display()),
        }
    }
    match search(&chips, line) {
        Some(Found { used_by: Some(user), chip, label, .. }) => Err(PartError::Taken {
            part: part.into(),
            place: format!("{place} on {} ({label})", chip.display()),
            user,
            fix: "stop that program, remove the overlay that claims it from config.txt, or move the wire and the \
                  profile to another pin"
                .into(),
        }),
        Some(found) => Ok(found),
        None => match denied {
            Some(chip) => {
                let place = format!("{place}: {}", chip.display());
                Err(PartError::Denied { part: part.into(), place, fix: GROUP.into() })
            }
            None => Err(missing(&place, ENABLE)),
        },
    }
}

fn search(chips: &[Chip], line: &LineAddress) -> Option<Found> {
    let found = |chip: &Chip, info: gpiocdev::line::Info| Found {
        chip: chip.path().to_owned(),
        label: chip.info().map(|i| i.label).unwrap_or_default(),
        offset: info.offset,
        used_by: info
            .used
            .then(|| if info.consumer.is_empty() { "the kernel".into() } else { info.consumer }),
    };
    if let Some(name) = &line.name
        && let Some(hit) = chips.iter().find_map(|c| c.find_line_info(name).map(|i| found(c, i)))
    {
        return Some(hit);
    }
    let offset = line.offset?;
    let with_label = |label: &String| chips.iter().find(|c| c.info().is_ok_and(|i| i.label == *label));
    let chip = line.chips.iter().find_map(with_label)?;
    chip.line_info(offset).ok().map(|info| found(chip, info))
}

fn errno(error: &gpiocdev::Error) -> io::Error {
    use gpiocdev::Error as E;
    let number = match error {
        E::Os(number) => Some(number.0),
        E::Uapi(_, source) => return io_of(source.to_string()),
        _ => None,
    };
    number.map_or_else(|| io_of(error.to_string()), io::Error::from_raw_os_error)
}

fn io_of(text: String) -> io::Error {
    io::Error::other(text)
}

fn request_failed(part: &str, place: String, found: &Found, error: &gpiocdev::Error) -> PartError {
    let place = format!("{place} ({} of {}, {})", found.offset, found.chip.display(), found.label);
    PartError::Failed { part: part.into(), place, problem: error.to_string() }
}

/// A line that is driven.
pub struct OutputLine {
    request: Request,
    offset: Offset,
    place: String,
}

impl OutputLine {
    /// Takes `line` for `part` and drives it low.
    ///
    /// # Errors
    /// As [`find`], and [`PartError::Failed`] if the kernel refuses.
    pub fn open(part: &str, line: &LineAddress) -> Result<Self, PartError> {
        let found = find(part, line)?;
        let request = Request::builder()
            .on_chip(&found.chip)
            .with_consumer("kurir")
            .with_line(found.offset)
            .as_output(Value::Inactive)
            .request()
            .map_err(|e| request_failed(part, line.to_string(), &found, &e))?;
        let place = format!("{line} ({})", found.label);
        Ok(Self { request, offset: found.offset, place })
    }

    /// The line and its chip, for messages.
    pub fn place(&self) -> &str {
        &self.place
    }
}

/// Why a line could not be driven.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {source}")]
pub struct LineError {
    place: String,
    source: gpiocdev::Error,
}

impl digital::Error for LineError {
    fn kind(&self) -> digital::ErrorKind {
        digital::ErrorKind::Other
    }
}

impl digital::ErrorType for OutputLine {
    type Error = LineError;
}

impl OutputPin for OutputLine {
    fn set_low(&mut self) -> Result<(), LineError> {
        self.set(Value::Inactive)
    }

    fn set_high(&mut self) -> Result<(), LineError> {
        self.set(Value::Active)
    }
}

impl OutputLine {
    fn set(&self, value: Value) -> Result<(), LineError> {
        let failed = |source| LineError { place: self.place.clone(), source };
        self.request.set_value(self.offset, value).map(drop).map_err(failed)
    }
}

/// How a button is wired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ButtonWiring {
    /// Which button.
    pub button: Button,
    /// Its line.
    pub line: LineAddress,
    /// Whether it connects the line to ground (the usual case) and not to 3.3 V. The chip's own resistor pulls the
    /// line to the other side.
    pub to_ground: bool,
    /// How long the contact must be quiet.
    pub debounce: Duration,
}

/// Buttons on GPIO lines, debounced and time-stamped by the kernel.
pub struct GpioButtons {
    // One request per line: they may be on different chips, and their debounce times differ.
    requests: Vec<(AsyncRequest, Offset, Button)>,
    present: Vec<Button>,
    held: Vec<Button>,
    clock: EventClock,
    contacts: Contacts,
    // Where to look first, so that a bouncing button cannot starve the other.
    turn: usize,
}

impl GpioButtons {
    /// Takes the lines of `wirings`. Must be called inside of a tokio runtime.
    ///
    /// # Errors
    /// As [`find`] for each line, and [`PartError::Failed`] if the kernel refuses.
    pub fn open(wirings: &[ButtonWiring]) -> Result<Self, PartError> {
        let mut requests = Vec::new();
        let mut held = Vec::new();
        for wiring in wirings {
            let part = format!("button {}", wiring.button);
            let found = find(&part, &wiring.line)?;
            let failed = |e| request_failed(&part, wiring.line.to_string(), &found, &e);
            let mut builder = Request::builder();
            builder
                .on_chip(&found.chip)
                .with_consumer("kurir")
                .with_line(found.offset)
                .as_input()
                .with_bias(if wiring.to_ground { Bias::PullUp } else { Bias::PullDown })
                .with_edge_detection(EdgeDetection::BothEdges)
                .with_debounce_period(wiring.debounce);
            if wiring.to_ground {
                builder.as_active_low();
            }
            let request = builder.request().map_err(failed)?;
            if request.value(found.offset).map_err(failed)? == Value::Active {
                held.push(wiring.button);
            }
            requests.push((AsyncRequest::new(request), found.offset, wiring.button));
        }
        let present = wirings.iter().map(|w| w.button).collect();
        let contacts = Contacts { down: held.clone() };
        Ok(Self { requests, present, held, clock: EventClock::default(), contacts, turn: 0 })
    }
}

#[async_trait]
impl Buttons for GpioButtons {
    fn present(&self) -> &[Button] {
        &self.present
    }

    fn held_at_start(&self) -> &[Button] {
        &self.held
    }

    async fn next(&mut self) -> Result<Edge, PartError> {
        loop {
            let (button, kind, time) = self.event().await?;
            // A rising edge is one towards active: the request says which level that is.
            let motion = if kind == EdgeKind::Rising { Motion::Pressed } else { Motion::Released };
            if self.contacts.moved(button, motion) {
                let at = self.clock.at(time, Instant::now());
                return Ok(Edge { button, motion, at });
            }
        }
    }
}

impl GpioButtons {
    async fn event(&mut self) -> Result<(Button, EdgeKind, Duration), PartError> {
        if self.requests.is_empty() {
            // No button will ever be pressed.
            std::future::pending::<()>().await;
        }
        self.turn = (self.turn + 1) % self.requests.len();
        let (before, from) = self.requests.split_at(self.turn);
        let reads = from.iter().chain(before).map(|(request, offset, button)| {
            Box::pin(async move { (request.read_edge_event().await, *offset, *button) })
        });
        let ((event, offset, button), ..) = futures_util::future::select_all(reads).await;
        let failed = |e: gpiocdev::Error| PartError::Failed {
            part: format!("button {button}"),
            place: format!("GPIO line {offset}"),
            problem: e.to_string(),
        };
        let event = event.map_err(failed)?;
        Ok((button, event.kind, Duration::from_nanos(event.timestamp_ns)))
    }
}

/// Which buttons are down. Between taking a line and reading its level it may move, and the kernel drops events when
/// nobody reads them for long; either would give a button that is pressed twice and never released between.
#[derive(Debug)]
struct Contacts {
    down: Vec<Button>,
}

impl Contacts {
    /// Whether `motion` is news.
    fn moved(&mut self, button: Button, motion: Motion) -> bool {
        let known = self.down.contains(&button);
        match motion {
            Motion::Pressed if !known => self.down.push(button),
            Motion::Released if known => self.down.retain(|b| *b != button),
            _ => return false,
        }
        true
    }
}

/// Turns the kernel's event times, whose zero is unknown here, into [`Instant`]s.
///
/// An event is delivered after it happened, never before; so the smallest delay seen so far is the best guess of where
/// the kernel's zero is. Differences between events are then exact, also when the program was too busy to read them.
#[derive(Debug, Default)]
struct EventClock {
    zero: Option<(Duration, Instant)>,
}

impl EventClock {
    fn at(&mut self, event: Duration, now: Instant) -> Instant {
        let guess = self.zero.and_then(|(event0, at0)| match event.checked_sub(event0) {
            Some(later) => at0.checked_add(later),
            None => at0.checked_sub(event0 - event),
        });
        match guess {
            Some(at) if at <= now => at,
            _ => {
                self.zero = Some((event, now));
                now
            }
        }
    }
}

/// Whether `path` is a GPIO chip that this user may open; for `kurir board`.
pub fn chip_labels() -> Vec<(PathBuf, Result<String, String>)> {
    let label = |path: &Path| {
        let info = Chip::from_path(path).and_then(|c| c.info());
        info.map(|i| i.label).map_err(|e| e.to_string())
    };
    gpiocdev::chip::chips().unwrap_or_default().into_iter().map(|p| (p.clone(), label(&p))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_does_not_exist_is_named_with_the_fix() {
        let line = LineAddress { name: Some("NO-SUCH-LINE".into()), chips: vec![], offset: None };
        let error = find("button reset", &line).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("button reset") && text.contains("NO-SUCH-LINE"), "{text}");
        assert!(matches!(error, PartError::Missing { .. } | PartError::Denied { .. }), "{text}");
    }

    #[test]
    fn a_line_by_offset_is_named_by_its_chip() {
        let chips = vec!["pinctrl-rp1".to_owned(), "pinctrl-bcm2711".to_owned()];
        let line = LineAddress { name: None, chips, offset: Some(23) };
        assert_eq!(line.to_string(), "GPIO line 23 of pinctrl-rp1 or pinctrl-bcm2711");
    }

    #[test]
    fn motions_of_a_button_alternate_whatever_the_kernel_says() {
        let mut contacts = Contacts { down: vec![Button::Reset] };
        assert!(!contacts.moved(Button::Reset, Motion::Pressed), "held at the start");
        assert!(contacts.moved(Button::Reconnect, Motion::Pressed));
        assert!(contacts.moved(Button::Reset, Motion::Released));
        assert!(!contacts.moved(Button::Reset, Motion::Released));
        assert!(contacts.moved(Button::Reset, Motion::Pressed));
        assert!(contacts.moved(Button::Reconnect, Motion::Released));
    }

    #[tokio::test(start_paused = true)]
    async fn event_times_keep_their_differences_when_reading_is_late() {
        let mut clock = EventClock::default();
        let start = Instant::now();
        let ms = Duration::from_millis;
        assert_eq!(clock.at(ms(1_000_000), start), start);
        // Read 3 s late: it still happened 2 s after the press.
        tokio::time::advance(ms(5000)).await;
        assert_eq!(clock.at(ms(1_002_000), Instant::now()), start + ms(2000));
        // Read with less delay than the first: an event cannot be in the future, so the zero moves.
        assert_eq!(clock.at(ms(1_006_000), Instant::now()), start + ms(5000));
        tokio::time::advance(ms(1000)).await;
        assert_eq!(clock.at(ms(1_006_500), Instant::now()), start + ms(5500));
    }
}
