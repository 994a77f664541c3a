//! Buttons on any pin that can wait for its edges (embedded-hal-async), debounced here.

use std::time::Duration;

use embedded_hal::digital::InputPin;
use embedded_hal_async::digital::Wait;
use tokio::time::{Instant, sleep_until};

use crate::{Button, Edge, Motion, PartError, memory::Fingers};

/// One button on a pin of any board support crate. For pins that the kernel knows,
/// [`GpioButtons`](super::gpio::GpioButtons) is better: it has exact times and loses nothing between two reads.
///
/// The futures of embedded-hal-async cannot move between threads, so this is no [`Buttons`](crate::Buttons) itself:
/// [`WaitButtons::drive`] runs on one thread (`tokio::task::LocalSet`) and presses [`memory::buttons`].
///
/// [`memory::buttons`]: crate::memory::buttons
///
/// An edge counts when the level has been quiet for the debounce time, and carries the time of its beginning.
pub struct WaitButtons<P> {
    pin: P,
    name: [Button; 1],
    active_low: bool,
    debounce: Duration,
    down: bool,
    held: bool,
    // The level changed at that time and is not yet quiet.
    changing: Option<Instant>,
}

impl<P: InputPin + Wait> WaitButtons<P> {
    /// `button` on `pin`, which is low while pressed if `active_low`.
    ///
    /// # Errors
    /// [`PartError::Failed`] if the pin cannot be read.
    pub fn new(mut pin: P, button: Button, active_low: bool, debounce: Duration) -> Result<Self, PartError> {
        let down = is_down(&mut pin, active_low).map_err(|e| failed(button, &e))?;
        Ok(Self { pin, name: [button], active_low, debounce, down, held: down, changing: None })
    }
}

fn is_down<P: InputPin>(pin: &mut P, active_low: bool) -> Result<bool, P::Error> {
    Ok(pin.is_high()? != active_low)
}

fn failed(button: Button, error: &impl std::fmt::Debug) -> PartError {
    PartError::Failed {
        part: format!("button {button}"),
        place: "its pin".into(),
        problem: format!("{error:?}"),
    }
}

impl<P: InputPin + Wait> WaitButtons<P> {
    /// The button, if it was already down when this was made.
    pub fn held_at_start(&self) -> &[Button] {
        if self.held { &self.name } else { &[] }
    }

    /// Presses with `fingers` as the pin says, until the pin fails or nobody reads the buttons any more.
    pub async fn drive(mut self, fingers: Fingers) -> PartError {
        loop {
            match self.next().await {
                Ok(edge) if fingers.deliver(edge) => {}
                Ok(_) => return PartError::Closed { part: "buttons".into(), place: "their reader".into() },
                Err(error) => return error,
            }
        }
    }

    /// Waits for the next edge. Cancel safe.
    ///
    /// # Errors
    /// [`PartError::Failed`] if the pin cannot be read.
    pub async fn next(&mut self) -> Result<Edge, PartError> {
        let [button] = self.name;
        loop {
            let Some(since) = self.changing else {
                // A level and not an edge: a change that came between two calls is not missed.
                let released = self.down != self.active_low;
                let wait = async {
                    if released { self.pin.wait_for_low().await } else { self.pin.wait_for_high().await }
                };
                wait.await.map_err(|e| failed(button, &e))?;
                self.changing = Some(Instant::now());
                continue;
            };
            let mut quiet = since + self.debounce;
            loop {
                tokio::select! {
                    () = sleep_until(quiet) => break,
                    bounced = self.pin.wait_for_any_edge() => {
                        bounced.map_err(|e| failed(button, &e))?;
                        quiet = Instant::now() + self.debounce;
                    }
                }
            }
            self.changing = None;
            let down = is_down(&mut self.pin, self.active_low).map_err(|e| failed(button, &e))?;
            if down != self.down {
                self.down = down;
                let motion = if down { Motion::Pressed } else { Motion::Released };
                return Ok(Edge { button, motion, at: since });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use embedded_hal::digital::ErrorType;
    use tokio::sync::watch;

    use super::*;

    struct Pin(watch::Receiver<bool>);

    impl ErrorType for Pin {
        type Error = Infallible;
    }

    impl InputPin for Pin {
        fn is_high(&mut self) -> Result<bool, Infallible> {
            Ok(*self.0.borrow())
        }

        fn is_low(&mut self) -> Result<bool, Infallible> {
            Ok(!*self.0.borrow())
        }
    }

    impl Wait for Pin {
        async fn wait_for_high(&mut self) -> Result<(), Infallible> {
            self.0.wait_for(|high| *high).await.map(drop).unwrap();
            Ok(())
        }

        async fn wait_for_low(&mut self) -> Result<(), Infallible> {
            self.0.wait_for(|high| !*high).await.map(drop).unwrap();
            Ok(())
        }

        async fn wait_for_rising_edge(&mut self) -> Result<(), Infallible> {
            self.wait_for_low().await?;
            self.wait_for_high().await
        }

        async fn wait_for_falling_edge(&mut self) -> Result<(), Infallible> {
            self.wait_for_high().await?;
            self.wait_for_low().await
        }

        async fn wait_for_any_edge(&mut self) -> Result<(), Infallible> {
            self.0.changed().await.unwrap();
            Ok(())
        }
    }

    const MS: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn a_bouncing_contact_is_one_press_at_its_beginning() {
        let (level, pin) = watch::channel(true);
        let mut buttons = WaitButtons::new(Pin(pin), Button::Reset, true, 20 * MS).unwrap();
        let start = Instant::now();
        let press = async {
            for _ in 0..5 {
                level.send_replace(false);
                tokio::time::advance(MS).await;
                level.send_replace(true);
                tokio::time::advance(MS).await;
            }
            level.send_replace(false);
            std::future::pending::<()>().await;
        };
        let edge = tokio::select! { edge = buttons.next() => edge.unwrap(), () = press => unreachable!() };
        assert_eq!((edge.button, edge.motion), (Button::Reset, Motion::Pressed));
        assert!(edge.at - start < 20 * MS, "{:?}", edge.at - start);
        assert!(start.elapsed() >= 29 * MS, "after 20 ms of quiet");
    }

    #[tokio::test(start_paused = true)]
    async fn a_spike_is_nothing_and_a_button_held_at_the_start_only_comes_up() {
        let (level, pin) = watch::channel(false);
        let mut buttons = WaitButtons::new(Pin(pin), Button::Reconnect, true, 20 * MS).unwrap();
        assert_eq!(buttons.held_at_start(), [Button::Reconnect]);
        level.send_replace(true);
        let up = buttons.next().await.unwrap();
        assert_eq!(up.motion, Motion::Released);

        level.send_replace(false);
        // The future is dropped in the middle of the debouncing; the next call goes on with it.
        assert!(tokio::time::timeout(5 * MS, buttons.next()).await.is_err());
        level.send_replace(true);
        assert!(tokio::time::timeout(200 * MS, buttons.next()).await.is_err(), "a spike of 5 ms");
        level.send_replace(false);
        assert_eq!(buttons.next().await.unwrap().motion, Motion::Pressed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_driven_pin_presses_buttons_for_any_thread() {
        use crate::{Buttons, memory};

        let (level, pin) = watch::channel(true);
        let pin = WaitButtons::new(Pin(pin), Button::Reset, true, 20 * MS).unwrap();
        let (fingers, mut buttons) = memory::buttons(pin.held_at_start());
        let local = tokio::task::LocalSet::new();
        let driven = local.spawn_local(pin.drive(fingers));
        local
            .run_until(async {
                level.send_replace(false);
                assert_eq!(buttons.next().await.unwrap().motion, Motion::Pressed);
                drop(buttons);
                level.send_replace(true);
                assert!(matches!(driven.await.unwrap(), PartError::Closed { .. }));
            })
            .await;
    }
}
