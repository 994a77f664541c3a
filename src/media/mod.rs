//! Media on its way to the outbox: fetched from a URL or taken from a request, always streamed to a file, always
//! bounded, and known by its content rather than by what it says it is.

mod address;
mod base64;
mod containers;
mod dimensions;
mod fetch;
mod kind;
mod movie;
mod name;
mod picture;
mod preview;
mod sniff;
mod spool;
mod url;
mod voice;

pub use address::{Cidr, CidrError, forbidden};
pub use dimensions::dimensions;
pub use fetch::{FetchError, FetchPolicy, fetch};
pub(crate) use fetch::{check_link, guarded};
pub use kind::{KindError, MediaKind, MediaType, kind_of};
pub use picture::{Thumbnail, thumbnail};
pub use preview::{Preview, Previews};
pub use sniff::{Sniffed, sniff, sniff_head};
pub use spool::{Fetched, Spool, SpoolError, SpoolWriter, Stored};
pub use voice::{VoiceError, voice_note};

/// The largest media that the dialects take, in bytes (50 MB).
pub const MAX_MEDIA: u64 = 50 * 1024 * 1024;
