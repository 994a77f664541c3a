//! Why a gateway does not start.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::api::control;
use crate::api::tls::CertificateError;
use crate::media::SpoolError;
use crate::session::ReceivedError;
use crate::session::registry::RegistryError;
use crate::store::erase::EraseError;
use crate::store::{OpenError, StoreError};

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder could not be made.
    #[error("cannot create the data folder {path}: {source}; choose another with KURIR_DATA_DIR")]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Everything was to be erased before the restart, and cannot be.
    #[error(transparent)]
    Erase(#[from] EraseError),
    /// The store could not be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] StoreError),
    /// The copy of the store that a system on trial works on.
    #[error(
        "the copy of the store for the trial of an update, {path}: {source}; it needs as much room as the store"
    )]
    Trial {
        /// The copy.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The sessions could not be loaded.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The media folder could not be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The folder of received files could not be used.
    #[error(transparent)]
    Received(#[from] ReceivedError),
    /// There is no certificate for HTTPS.
    #[error("HTTPS: {0}")]
    Certificate(#[from] CertificateError),
    /// HTTPS cannot be set up.
    #[error("HTTPS: {0}")]
    Tls(#[from] tokio_rustls::rustls::Error),
    /// The control socket could not be made.
    #[error(transparent)]
    Control(#[from] control::ControlError),
    /// The port could not be bound.
    #[error(
        "cannot listen on {address}: {source}; is another program using the port? {setting} chooses another"
    )]
    Listen {
        /// The setting that chose it.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}
