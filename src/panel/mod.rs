//! The front panel: what the screen shows, what the buttons mean, how the LED blinks.
//!
//! [`View`] is all that the panel may show. [`Panel::step`] takes a new view, an [`Edge`](kurir_board::Edge) of a button
//! or the passing of time, and says what to show and to do, and when to call it again. [`draw`] turns a [`Screen`] into
//! pixels, for a panel of any size. All of it is pure: no clock, no bus, no task; what connects it to the gateway and
//! the hardware is beside it and calls it.

mod draw;
pub mod light;
mod machine;
mod pages;
mod press;
pub mod run;
pub mod samples;
mod screen;
mod text;
mod view;
pub mod watch;

pub use draw::draw;
pub use light::{Pattern, Signal};
pub use machine::{Action, BLANK_AFTER, BLANK_AFTER_CODE, Input, Output, Panel};
pub use press::{ERASE_AFTER, REDIAL_AFTER, STUCK_AFTER, UNLINK_AFTER};
pub use screen::{Backlight, Body, Label, PageNumber, Pending, Release, Screen, Target};
pub use view::{Disk, Language, Network, SessionId, SessionState, SessionView, Stage, Trouble, Update, View};
