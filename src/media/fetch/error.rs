//! What can go wrong with a media URL, and whose fault it is.

use std::time::Duration;

use thiserror::Error;

use crate::media::spool::SpoolError;

/// Why a media URL was not fetched. No text holds more of the URL than its host: paths and queries carry secrets.
#[derive(Debug, Error)]
pub enum FetchError {
    /// It is no URL that could be fetched.
    #[error("url cannot be fetched: {why}")]
    BadUrl {
        /// What is wrong with it.
        why: &'static str,
    },
    /// Every address of the host is one that must not be fetched from.
    #[error(
        "url leads to {host}, whose address is {kind}; only public addresses may be fetched from, unless the \
         gateway's owner lists the network in KURIR_ALLOW_PRIVATE_FETCH"
    )]
    Forbidden {
        /// The host.
        host: String,
        /// Which kind of address it is.
        kind: &'static str,
    },
    /// It answered with a web page.
    #[error(
        "url needs a direct link to a file, but {host} answered with a web page (HTML), as links to previews and \
         sharing pages do"
    )]
    Html {
        /// The host.
        host: String,
    },
    /// The file is larger than allowed.
    #[error("url's file on {host} is larger than {} MB, the most that can be sent", limit / (1024 * 1024))]
    TooLarge {
        /// The host.
        host: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The file is empty.
    #[error("url's file on {host} is empty")]
    Empty {
        /// The host.
        host: String,
    },
    /// It redirects without end.
    #[error("url redirects more than {limit} times, last to {host}; use the link that it ends at")]
    Redirects {
        /// The last host.
        host: String,
        /// The limit.
        limit: u32,
    },
    /// The host's name is unknown, or its lookup did not work.
    #[error("url's host {host} was not found: {why}; check the name, or try again later")]
    Dns {
        /// The host.
        host: String,
        /// What the system said.
        why: String,
    },
    /// No connection.
    #[error("url's host {host} cannot be reached: {why}; try again later")]
    Connect {
        /// The host.
        host: String,
        /// What the system said.
        why: String,
    },
    /// The host did not prove who it is, or TLS failed otherwise.
    #[error("url's host {host} offers no valid TLS connection: {why}")]
    Tls {
        /// The host.
        host: String,
        /// What was wrong.
        why: String,
    },
    /// It answered with something other than a file.
    #[error("url's host {host} answered {status} instead of the file; check the link")]
    Status {
        /// The host.
        host: String,
        /// The HTTP status.
        status: u16,
    },
    /// It took too long.
    #[error("url's host {host} was too slow: {phase} took longer than {} s", limit.as_secs_f32())]
    Slow {
        /// The host.
        host: String,
        /// What took long.
        phase: &'static str,
        /// The limit it hit.
        limit: Duration,
    },
    /// The answer broke off, or was no proper HTTP.
    #[error("url's host {host} sent an answer that cannot be used: {why}")]
    Broken {
        /// The host.
        host: String,
        /// What was wrong.
        why: String,
    },
    /// Its certificate cannot be checked: the box does not know the time yet.
    #[error(
        "url's host {host} cannot be asked over HTTPS yet, because the gateway's clock is not set; try again in some \
         minutes, or upload the file"
    )]
    Clock {
        /// The host.
        host: String,
    },
    /// Too many downloads are running.
    #[error("too many downloads are under way, and none ended within {} s; try again later", waited.as_secs_f32())]
    Busy {
        /// How long this one waited.
        waited: Duration,
    },
    /// The file could not be kept here.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

impl FetchError {
    /// Whether the other server or the network is to blame (which makes a 502), rather than the request (a 4xx).
    /// [`Busy`](Self::Busy), the clock and the disk are neither: see [`is_local`](Self::is_local).
    #[must_use]
    pub fn is_remote(&self) -> bool {
        matches!(
            self,
            Self::Dns { .. }
                | Self::Connect { .. }
                | Self::Tls { .. }
                | Self::Status { .. }
                | Self::Slow { .. }
                | Self::Broken { .. }
        )
    }

    /// Whether the gateway itself has no room or no time (which makes a 503).
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Busy { .. } | Self::Clock { .. } => true,
            Self::Spool(e) => !e.is_client(),
            _ => false,
        }
    }
}
