//! The certificate of the HTTPS listener: one that the box signs itself on its first start, or one that its owner
//! uploads. Each is one file of the data folder, key and chain together, so that replacing it is one rename.

use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, date_time_ymd};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, ServerConfig};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, InconsistentKeys};

mod validity;

use validity::Facts;

/// Certificates of a chain, the box's own included.
const MAX_CHAIN: usize = 10;
/// Bytes of a chain and its key in PEM.
pub(super) const MAX_PEM: usize = 64 * 1024;
/// A box without a clock of its own starts in 1970 or at its build's date, and its owner's computer is right: so the
/// certificate that it makes then must be valid long before and after. RFC 5280's two-digit years end in 2049.
const VALID: ((i32, u8, u8), (i32, u8, u8)) = ((2020, 1, 1), (2049, 12, 31));

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A block is not what it says.
    #[error("the text is not valid PEM: {0}")]
    Pem(String),
    /// There is no certificate in it.
    #[error("there is no certificate in it; a block -----BEGIN CERTIFICATE----- is needed")]
    NoCertificate,
    /// More than any chain has.
    #[error("there are more than {MAX_CHAIN} certificates in it")]
    LongChain,
    /// There is no key that could be used.
    #[error(
        "there is no private key in it that can be read; a block -----BEGIN PRIVATE KEY-----, without a passphrase, is needed"
    )]
    NoKey,
    /// One of the certificates is damaged.
    #[error("certificate {0} of the chain cannot be read")]
    Unreadable(usize),
    /// The chain has a gap or another order.
    #[error(
        "certificate {0} of the chain was not issued by the next one; the box's own comes first, then its issuers in order"
    )]
    Order(usize),
    /// The key is another one's.
    #[error("the private key does not belong to the first certificate")]
    Mismatch,
    /// The kind of key is not supported.
    #[error(
        "this kind of private key cannot be used ({0}); RSA of 2048 bits or more, ECDSA P-256 or P-384, or Ed25519 is needed"
    )]
    Key(String),
    /// It is over.
    #[error("certificate {place} of the chain expired on {day}, and the box's clock says {today}")]
    Expired {
        /// From 1.
        place: usize,
        /// When.
        day: String,
        /// Now.
        today: String,
    },
    /// It is to come.
    #[error("certificate {place} of the chain is valid only from {day}, and the box's clock says {today}")]
    Early {
        /// From 1.
        place: usize,
        /// From when.
        day: String,
        /// Now.
        today: String,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate for {host}: {detail}")]
    Make {
        /// For whom.
        host: String,
        /// Why.
        detail: String,
    },
    /// A file could not be read or written.
    #[error("the certificate's file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Where the certificate in use comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The box made it.
    SelfSigned,
    /// Somebody uploaded it.
    Uploaded,
}

/// What people compare and look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Where it comes from.
    pub source: Source,
    /// SHA-256 of the certificate, as browsers show it: `AB:CD:…`.
    pub sha256: String,
    /// First second of validity.
    pub not_before: DateTime<Utc>,
    /// Last second of validity.
    pub not_after: DateTime<Utc>,
}

/// The certificate in use. Cheap to clone; connections made after a change get the new one.
#[derive(Clone, Debug)]
pub struct Certificates {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    names: Vec<String>,
    // Held for exchanging an `Arc`.
    served: RwLock<Arc<CertifiedKey>>,
    // Two changes at once must leave on the disk what is served.
    changing: Mutex<()>,
    info: watch::Sender<CertificateInfo>,
}

impl ResolvesServerCert for Inner {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.served.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// A chain and its key, looked at.
struct Pair {
    key: Arc<CertifiedKey>,
    facts: Vec<Facts>,
}

impl Pair {
    fn parse(pem: &[u8]) -> Result<Pair, CertificateError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem)
            .take(MAX_CHAIN + 1)
            .collect::<Result<_, _>>()
            .map_err(|e| CertificateError::Pem(e.to_string()))?;
        if chain.is_empty() {
            return Err(CertificateError::NoCertificate);
        }
        if chain.len() > MAX_CHAIN {
            return Err(CertificateError::LongChain);
        }
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| CertificateError::NoKey)?;
        let facts = chain.iter().enumerate().map(|(n, der)| {
            // Two readers, so that whatever one of them lets pass is caught by the other.
            ParsedCertificate::try_from(der).ok().and_then(|_| Facts::of(der)).ok_or(n + 1)
        });
        let facts: Vec<Facts> = facts.collect::<Result<_, _>>().map_err(CertificateError::Unreadable)?;
        if let Some(n) = facts.windows(2).position(|pair| pair[0].issuer != pair[1].subject) {
            return Err(CertificateError::Order(n + 1));
        }
        let key = CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|e| match e {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => CertificateError::Mismatch,
            e => CertificateError::Key(e.to_string()),
        })?;
        Ok(Pair { key: Arc::new(key), facts })
    }

    fn check_dates(&self, now: DateTime<Utc>) -> Result<(), CertificateError> {
        let day = |at: DateTime<Utc>| at.format("%Y-%m-%d").to_string();
        for (n, facts) in self.facts.iter().enumerate() {
            if now > facts.not_after {
                return Err(CertificateError::Expired {
                    place: n + 1,
                    day: day(facts.not_after),
                    today: day(now),
                });
            }
            if now < facts.not_before {
                return Err(CertificateError::Early {
                    place: n + 1,
                    day: day(facts.not_before),
                    today: day(now),
                });
            }
        }
        Ok(())
    }

    fn names(&self, host: &str) -> bool {
        let Ok(name) = ServerName::try_from(host) else { return false };
        let leaf = self.key.cert.first().and_then(|der| ParsedCertificate::try_from(der).ok());
        leaf.is_some_and(|leaf| verify_server_name(&leaf, &name).is_ok())
    }

    fn info(&self, source: Source) -> CertificateInfo {
        // `parse` made sure that there is a first one.
        let leaf = self.key.cert.first().map(|der| Sha256::digest(der.as_ref())).unwrap_or_default();
        let sha256: Vec<String> = leaf.iter().map(|byte| format!("{byte:02X}")).collect();
        let (not_before, not_after) =
            self.facts.first().map_or_else(Default::default, |facts| (facts.not_before, facts.not_after));
        CertificateInfo { source, sha256: sha256.join(":"), not_before, not_after }
    }
}

impl Certificates {
    /// The uploaded certificate, else the box's own, which is made if it is missing or does not fit `host` any more.
    /// It names `host`, `host.local`, `localhost` and `addresses` as they are when it is made: a later change of
    /// address does not change it, because people compared its fingerprint.
    pub fn open(data_dir: &Path, host: &str, addresses: &[String]) -> Result<Certificates, CertificateError> {
        let folder = data_dir.join("tls");
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|source| CertificateError::File { path: folder.clone(), source })?;
        let mut names = vec![host.to_owned(), format!("{host}.local"), "localhost".to_owned()];
        names.extend(addresses.iter().cloned());
        let uploaded =
            match read(&uploaded_path(&folder)).and_then(|pem| pem.map(|p| Pair::parse(&p)).transpose()) {
                Ok(uploaded) => uploaded,
                Err(e) => {
                    log::error!("the uploaded certificate cannot be used ({e}); HTTPS uses the box's own");
                    None
                }
            };
        let (pair, source) = match uploaded {
            Some(pair) => {
                if let Err(e) = pair.check_dates(Utc::now()) {
                    log::warn!("the uploaded certificate: {e}");
                }
                (pair, Source::Uploaded)
            }
            None => (own(&folder, &names)?, Source::SelfSigned),
        };
        let info = watch::Sender::new(pair.info(source));
        let inner = Inner { folder, names, served: RwLock::new(pair.key), changing: Mutex::new(()), info };
        Ok(Certificates { inner: Arc::new(inner) })
    }

    /// What is in use, and changes of it.
    pub fn info(&self) -> watch::Receiver<CertificateInfo> {
        self.inner.info.subscribe()
    }

    /// TLS 1.2 and 1.3 for HTTP/1.1, with whatever certificate is in use when a connection comes.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, rustls::Error> {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?;
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(&self.inner) as _;
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Checks this chain and its key, keeps them, and uses them from the next connection on. Writes a file: for a
    /// blocking thread.
    pub fn upload(&self, pem: &[u8], now: SystemTime) -> Result<CertificateInfo, CertificateError> {
        let pair = Pair::parse(pem)?;
        pair.check_dates(now.into())?;
        let _changing = self.inner.changing.lock().unwrap_or_else(PoisonError::into_inner);
        write(&uploaded_path(&self.inner.folder), pem)?;
        Ok(self.serve(&pair, Source::Uploaded))
    }

    /// Forgets the uploaded certificate and uses the box's own. Removes a file: for a blocking thread.
    pub fn remove(&self) -> Result<CertificateInfo, CertificateError> {
        let _changing = self.inner.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = own(&self.inner.folder, &self.inner.names)?;
        let path = uploaded_path(&self.inner.folder);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(CertificateError::File { path, source: e });
            }
            _ => {}
        }
        Ok(self.serve(&pair, Source::SelfSigned))
    }

    fn serve(&self, pair: &Pair, source: Source) -> CertificateInfo {
        let info = pair.info(source);
        *self.inner.served.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&pair.key);
        self.inner.info.send_replace(info.clone());
        log::info!("HTTPS uses another certificate now; SHA-256 {}", info.sha256);
        info
    }
}

fn uploaded_path(folder: &Path) -> PathBuf {
    folder.join("uploaded.pem")
}

/// The box's own certificate. Where it cannot be kept, as on a full disk, it lasts until the next start.
fn own(folder: &Path, names: &[String]) -> Result<Pair, CertificateError> {
    let path = folder.join("self-signed.pem");
    let host = names.first().map(String::as_str).unwrap_or_default();
    match read(&path).and_then(|pem| pem.map(|pem| Pair::parse(&pem)).transpose()) {
        Ok(Some(pair)) if pair.names(host) => return Ok(pair),
        Ok(Some(_)) => log::info!("the box is called {host} now: it makes a new certificate"),
        Err(e) => log::warn!("{}: {e}; the box makes a new certificate", path.display()),
        Ok(None) => {}
    }
    let pem = make(names)?;
    if let Err(e) = write(&path, pem.as_bytes()) {
        log::error!(
            "the box's new certificate cannot be kept ({e}); the next start makes another, which browsers ask about again"
        );
    }
    let pair = Pair::parse(pem.as_bytes())?;
    log::info!("a certificate for {host} was made; SHA-256 {}", pair.info(Source::SelfSigned).sha256);
    Ok(pair)
}

fn make(names: &[String]) -> Result<String, CertificateError> {
    let host = names.first().cloned().unwrap_or_default();
    let error = |e: rcgen::Error| CertificateError::Make { host: host.clone(), detail: e.to_string() };
    let mut params = CertificateParams::new(names.to_vec()).map_err(error)?;
    params.distinguished_name.push(DnType::CommonName, host.as_str());
    params.distinguished_name.push(DnType::OrganizationName, "Kurir");
    let ((y, m, d), (end_y, end_m, end_d)) = VALID;
    (params.not_before, params.not_after) = (date_time_ymd(y, m, d), date_time_ymd(end_y, end_m, end_d));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().map_err(error)?;
    let certificate = params.self_signed(&key).map_err(error)?;
    Ok(format!("{}{}", key.serialize_pem(), certificate.pem()))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, CertificateError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CertificateError::File { path: path.to_owned(), source }),
    }
}

/// All of it or nothing, and for its owner only.
fn write(path: &Path, bytes: &[u8]) -> Result<(), CertificateError> {
    let error = |source| CertificateError::File { path: path.to_owned(), source };
    let folder = path.parent().unwrap_or(Path::new("."));
    // Made with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(error)?;
    file.write_all(bytes).map_err(error)?;
    file.as_file().sync_all().map_err(error)?;
    file.persist(path).map_err(|e| error(e.error))?;
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(error)
}

#[cfg(test)]
mod tests;
