//! The task of the display. It alone waits for the bus, so a display that hangs delays nothing but its own picture.

use std::sync::Arc;

use kurir_board::profile::Profile;
use kurir_board::{Display, Frame, PartError, open_display};
use tokio::sync::watch;
use tokio::time::Instant;

use super::part::{Health, Trouble};

/// What the display should show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) frame: Arc<Frame>,
    pub(super) brightness: u8,
    pub(super) on: bool,
    /// Counts up when a person wakes the screen or presses a button before one that should show something: the
    /// display may have lost its power since, and is set up anew.
    pub(super) refresh: u64,
}

/// Shows the latest of what is wanted until the sender is gone, and then turns the display off, unless it is to `stay`.
/// Tries again after failures, sooner when a person presses a button. A board that had no display when it was opened
/// is opened again.
pub(super) async fn run(
    mut display: Option<Box<dyn Display>>,
    profile: Profile,
    mut wanted: watch::Receiver<Wanted>,
    health: watch::Sender<Health>,
) {
    let mut trouble = match (&display, &profile.display) {
        (Some(_), _) => Trouble::default(),
        (None, Some(_)) => Trouble::missing(Instant::now()),
        (None, None) => return,
    };
    let mut refreshed = wanted.borrow().refresh;
    loop {
        let next = wanted.borrow_and_update().clone();
        let refresh = std::mem::replace(&mut refreshed, next.refresh) != next.refresh;
        match show(&mut display, &profile, &next, refresh, trouble.failures()).await {
            Ok(()) => {
                trouble.works("display");
                health.send_if_modified(|health| std::mem::replace(health, Health::Works) != Health::Works);
            }
            Err(error) => {
                trouble.failed(&error, Instant::now());
                health.send_if_modified(|health| std::mem::replace(health, Health::Fails) != Health::Fails);
            }
        }
        // A display that fails is left alone until it is time, whatever else there would be to show; but a person who
        // presses a button is looking at it.
        loop {
            tokio::select! {
                changed = wanted.changed() => {
                    if changed.is_err() {
                        if let Some(display) = &mut display
                            && trouble.failures() == 0
                            && let Err(e) = display.set_on(false).await
                        {
                            log::debug!("panel: {e}");
                        }
                        return;
                    }
                    if trouble.failures() == 0 || wanted.borrow_and_update().refresh != refreshed {
                        break;
                    }
                }
                () = trouble.retry() => break,
            }
        }
    }
}

async fn show(
    display: &mut Option<Box<dyn Display>>,
    profile: &Profile,
    wanted: &Wanted,
    refresh: bool,
    failures: u32,
) -> Result<(), PartError> {
    let known = match display {
        Some(display) => display,
        None => match open_display(profile)? {
            Some(opened) => display.insert(opened),
            None => return Ok(()),
        },
    };
    let shown = bring(known.as_mut(), wanted, refresh).await;
    if let Err(PartError::Failed { .. } | PartError::Closed { .. }) = &shown
        && failures > 0
    {
        // The device may have been taken out and put back, and then the open one stays dead. What cannot be opened
        // anew (a test's display) is kept.
        if let Ok(Some(opened)) = open_display(profile) {
            *display = Some(opened);
        }
    }
    shown
}

async fn bring(display: &mut dyn Display, wanted: &Wanted, refresh: bool) -> Result<(), PartError> {
    if !wanted.on {
        return display.set_on(false).await;
    }
    if refresh {
        display.refresh().await?;
    }
    display.flush(&wanted.frame).await?;
    display.set_brightness(wanted.brightness).await?;
    display.set_on(true).await
}
