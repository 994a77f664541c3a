//! Downloading a media URL: into the spool, from where it is allowed, in bounded time.
//!
//! On `ureq`, which is in the binary already, on a blocking thread. Its own redirects, proxies and decompression are
//! off: each hop is checked here like the first, a proxy would look up the host itself and so pass by the check of
//! its addresses, and an unpacked file could be a thousand times what was counted.

mod error;

use std::error::Error as StdError;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_blocking;
use ureq::config::Config;
use ureq::http::{Response, StatusCode, Uri, header};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, Timeout};

use super::spool::{Fetched, Spool, SpoolError};
use super::{MAX_MEDIA, address, name, url};
use crate::clock::ClockState;
use crate::media::Cidr;
pub use error::FetchError;

/// What a download may do and take.
#[derive(Debug, Clone)]
pub struct FetchPolicy {
    /// Blocks of addresses that may be fetched from although they are private, loopback or the box's own.
    pub allow_private: Vec<Cidr>,
    /// The largest file, in bytes. Default [`MAX_MEDIA`].
    pub max_bytes: u64,
    /// Time for a host's lookup, and again for connecting with its TLS handshake. Default 10 s each.
    pub connect: Duration,
    /// Time for all of it: waiting for a free place, every redirect, the whole file. Default 120 s.
    pub total: Duration,
    /// Longest silence of the server, and the span in which [`min_bytes`](Self::min_bytes) must come. Default 20 s.
    pub stall: Duration,
    /// What must arrive in each [`stall`](Self::stall) of a body, in bytes. Default 20 KiB (1 KiB/s).
    pub min_bytes: u64,
    /// Redirects followed. Default 5.
    pub redirects: u32,
    /// Whether the clock can be right; without it, it is taken for right.
    pub clock: Option<watch::Receiver<ClockState>>,
    /// Places for downloads at the same time; further ones wait.
    places: Arc<Semaphore>,
}

impl FetchPolicy {
    /// The defaults, four downloads at a time, and the blocks of `allow_private` open.
    #[must_use]
    pub fn new(allow_private: Vec<Cidr>) -> Self {
        Self {
            allow_private,
            max_bytes: MAX_MEDIA,
            connect: Duration::from_secs(10),
            total: Duration::from_secs(120),
            stall: Duration::from_secs(20),
            min_bytes: 20 * 1024,
            redirects: 5,
            clock: None,
            places: Arc::new(Semaphore::new(4)),
        }
    }

    /// With another number of downloads at the same time; clones made later share it.
    #[must_use]
    pub fn with_parallel(self, parallel: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(parallel)), ..self }
    }
}

/// Fetches the file behind `url` into `spool`. Dropping the future ends the download.
///
/// # Errors
/// See [`FetchError`]; nothing of the file is kept.
pub async fn fetch(url: &str, policy: &FetchPolicy, spool: &Spool) -> Result<Fetched, FetchError> {
    let spool = spool.clone();
    visit(url, policy, move |download, uri| {
        let (uri, answer) = download.open(uri)?;
        download.receive(&uri, answer, &spool)
    })
    .await
}

/// Does something with what is behind `url`, on a blocking thread. Dropping the future ends it.
pub(super) async fn visit<T: Send + 'static>(
    url: &str,
    policy: &FetchPolicy,
    work: impl FnOnce(&Download, Uri) -> Result<T, FetchError> + Send + 'static,
) -> Result<T, FetchError> {
    let began = Instant::now();
    // Before waiting for a place: a mistake is told at once.
    let uri = url::parse(url)?;
    let busy = |_| FetchError::Busy { waited: policy.total };
    let place =
        tokio::time::timeout(policy.total, policy.places.clone().acquire_owned()).await.map_err(busy)?;
    let left = Arc::new(AtomicBool::new(false));
    let download = Download {
        agent: agent(policy),
        policy: policy.clone(),
        deadline: began + policy.total,
        left: left.clone(),
    };
    let _leave = Leave { left, agent: Some(download.agent.clone()) };
    let done = spawn_blocking(move || {
        let done = work(&download, uri);
        // Held to the very end, also when nobody waits for the result any more.
        drop(place);
        done
    });
    done.await.unwrap_or_else(|e| Err(SpoolError::Aborted(e.to_string()).into()))
}

/// Ends the download when its future is dropped: the blocking thread would otherwise sit out its time.
struct Leave {
    left: Arc<AtomicBool>,
    agent: Option<Agent>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.left.store(true, Ordering::Relaxed);
        if let Some(agent) = self.agent.take() {
            agent.shutdown();
        }
    }
}

/// One agent for each download: its connections end with it, and none is reused past a change of DNS.
fn agent(policy: &FetchPolicy) -> Agent {
    let config = Agent::config_builder()
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_idle_connections(0)
        .max_response_header_size(32 * 1024)
        .input_buffer_size(32 * 1024)
        .output_buffer_size(8 * 1024)
        .accept_encoding("identity")
        .user_agent(concat!("Kurir/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(policy.connect))
        .timeout_connect(Some(policy.connect))
        .timeout_send_request(Some(policy.stall))
        .timeout_recv_response(Some(policy.stall))
        .timeout_per_read(Some(policy.stall))
        .build();
    Agent::with_parts(
        config,
        DefaultConnector::default(),
        Guard { allow: policy.allow_private.clone(), inner: DefaultResolver::default() },
    )
}

/// An agent for calls that are no downloads, such as webhooks: it reaches the same addresses and no others.
pub(crate) fn guarded(config: Config, policy: &FetchPolicy) -> Agent {
    let guard = Guard { allow: policy.allow_private.clone(), inner: DefaultResolver::default() };
    Agent::with_parts(config, DefaultConnector::default(), guard)
}

/// Checks a link that is to be called later: its form, and its address where that is written in it. A host's name is
/// looked up, and its addresses checked, at each call.
pub(crate) fn check_link(text: &str, policy: &FetchPolicy) -> Result<String, FetchError> {
    let uri = url::parse(text)?;
    let host = uri.host().unwrap_or_default();
    if let Ok(ip) = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>()
        && !policy.allow_private.iter().any(|block| block.contains(ip))
        && let Some(kind) = address::forbidden(ip)
    {
        return Err(FetchError::Forbidden { host: host.to_owned(), kind });
    }
    Ok(uri.to_string())
}

/// Looks hosts up and keeps only the addresses that may be fetched from. The connector gets no other ones, so a name
/// that resolves differently the second time gains nothing.
#[derive(Debug)]
struct Guard {
    allow: Vec<Cidr>,
    inner: DefaultResolver,
}

impl Resolver for Guard {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.inner.resolve(uri, config, timeout).map_err(|e| match e {
            ureq::Error::Io(e) => other(FetchError::Dns { host: url::host(uri), why: e.to_string() }),
            e => e,
        })?;
        let mut allowed = self.empty();
        let mut refused = None;
        for address in found.iter() {
            let ip = address.ip();
            let kind = if self.allow.iter().any(|block| block.contains(ip)) {
                None
            } else {
                address::forbidden(ip).or_else(|| address::is_own(ip).then_some("the gateway's own"))
            };
            match kind {
                None => allowed.push(*address),
                Some(kind) => refused = Some(kind),
            }
        }
        match refused {
            Some(kind) if allowed.is_empty() => {
                Err(other(FetchError::Forbidden { host: url::host(uri), kind }))
            }
            _ => Ok(allowed),
        }
    }
}

fn other(e: FetchError) -> ureq::Error {
    ureq::Error::Other(Box::new(e))
}

pub(super) struct Download {
    agent: Agent,
    policy: FetchPolicy,
    deadline: Instant,
    left: Arc<AtomicBool>,
}

impl Download {
    /// Follows redirects to an answer that brings something.
    pub(super) fn open(&self, mut uri: Uri) -> Result<(Uri, Response<Body>), FetchError> {
        for _ in 0..=self.policy.redirects {
            let host = url::host(&uri);
            let answer = self.ask(&uri).map_err(|e| self.explain(&host, e))?;
            let location = answer.headers().get(header::LOCATION);
            match (answer.status(), location) {
                (StatusCode::OK, _) => return Ok((uri, answer)),
                (status, Some(location)) if is_redirect(status) => {
                    uri = url::join(&uri, &String::from_utf8_lossy(location.as_bytes()))?;
                }
                (status, _) => return Err(FetchError::Status { host, status: status.as_u16() }),
            }
        }
        Err(FetchError::Redirects { host: url::host(&uri), limit: self.policy.redirects })
    }

    fn ask(&self, uri: &Uri) -> Result<Response<Body>, ureq::Error> {
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            return Err(ureq::Error::Timeout(Timeout::Global));
        }
        let is_unset = |clock: &watch::Receiver<ClockState>| *clock.borrow() == ClockState::Unset;
        if uri.scheme_str() == Some("https") && self.policy.clock.as_ref().is_some_and(is_unset) {
            return Err(other(FetchError::Clock { host: url::host(uri) }));
        }
        self.agent.get(uri).config().timeout_global(Some(remaining)).build().call()
    }

    fn receive(&self, uri: &Uri, answer: Response<Body>, spool: &Spool) -> Result<Fetched, FetchError> {
        let host = url::host(uri);
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        if header(header::CONTENT_TYPE).is_some_and(is_page) {
            return Err(FetchError::Html { host });
        }
        if header(header::CONTENT_ENCODING)
            .is_some_and(|coding| !coding.trim().eq_ignore_ascii_case("identity"))
        {
            let why = "it is compressed although that was not asked for".to_owned();
            return Err(FetchError::Broken { host, why });
        }
        let limit = self.policy.max_bytes;
        let announced = header(header::CONTENT_LENGTH).and_then(|length| length.trim().parse::<u64>().ok());
        if announced.is_some_and(|length| length > limit) {
            return Err(FetchError::TooLarge { host, limit });
        }
        let filename = header(header::CONTENT_DISPOSITION)
            .and_then(name::from_disposition)
            .or_else(|| url::file_name(uri));

        let mut writer = spool.writer(limit)?;
        let mut body = answer.into_body().into_reader();
        let mut chunk = vec![0; 32 * 1024];
        let mut span = (Instant::now(), 0);
        loop {
            let length = match body.read(&mut chunk) {
                Ok(0) => break,
                Ok(length) => length,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(self.explain(&host, e.into())),
            };
            match writer.write(&chunk[..length]) {
                Err(SpoolError::TooLarge { limit }) => return Err(FetchError::TooLarge { host, limit }),
                written => written?,
            }
            if self.left.load(Ordering::Relaxed) {
                break;
            }
            // ureq cuts silence; this cuts a trickle.
            span.1 += length as u64;
            if span.0.elapsed() >= self.policy.stall {
                if span.1 < self.policy.min_bytes {
                    return Err(FetchError::Slow {
                        host,
                        phase: "a small part of the file",
                        limit: self.policy.stall,
                    });
                }
                span = (Instant::now(), 0);
            }
        }
        if self.left.load(Ordering::Relaxed) {
            // A connection that was shut down looks like a file that has ended.
            return Err(FetchError::Broken { host, why: "the download was given up".to_owned() });
        }
        let fetched = match writer.finish(filename) {
            Err(SpoolError::Empty) => return Err(FetchError::Empty { host }),
            fetched => fetched?,
        };
        if matches!(fetched.mime, "text/html" | "application/xhtml+xml") {
            return Err(FetchError::Html { host });
        }
        Ok(fetched)
    }

    pub(super) fn explain(&self, host: &str, e: ureq::Error) -> FetchError {
        use io::ErrorKind as K;
        let host = host.to_owned();
        match e {
            ureq::Error::Other(e) => match e.downcast::<FetchError>() {
                Ok(e) => *e,
                Err(e) => FetchError::Broken { host, why: e.to_string() },
            },
            ureq::Error::Timeout(Timeout::Resolve) => {
                FetchError::Dns { host, why: "no answer in time".to_owned() }
            }
            ureq::Error::Timeout(Timeout::Connect) => {
                FetchError::Connect { host, why: "no connection in time".to_owned() }
            }
            ureq::Error::Timeout(Timeout::Global | Timeout::PerCall) => {
                FetchError::Slow { host, phase: "the whole download", limit: self.policy.total }
            }
            ureq::Error::Timeout(Timeout::RecvResponse) => {
                FetchError::Slow { host, phase: "the beginning of the answer", limit: self.policy.stall }
            }
            ureq::Error::Timeout(_) => {
                FetchError::Slow { host, phase: "the next part of the answer", limit: self.policy.stall }
            }
            ureq::Error::HostNotFound => FetchError::Dns { host, why: "no address".to_owned() },
            ureq::Error::ConnectionFailed => FetchError::Connect { host, why: "no connection".to_owned() },
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                FetchError::BadUrl { why: "it is not a well-formed link" }
            }
            ureq::Error::Tls(why) => FetchError::Tls { host, why: why.to_owned() },
            ureq::Error::Rustls(e) => FetchError::Tls { host, why: e.to_string() },
            // rustls reports a failed handshake through the connection's own errors.
            ureq::Error::Io(e) if e.kind() == K::InvalidData => FetchError::Tls { host, why: innermost(&e) },
            ureq::Error::Io(e)
                if matches!(
                    e.kind(),
                    K::ConnectionRefused
                        | K::HostUnreachable
                        | K::NetworkUnreachable
                        | K::TimedOut
                        | K::AddrNotAvailable
                ) =>
            {
                FetchError::Connect { host, why: e.to_string() }
            }
            ureq::Error::Io(e) => FetchError::Broken { host, why: e.to_string() },
            e => FetchError::Broken { host, why: e.to_string() },
        }
    }
}

fn innermost(e: &io::Error) -> String {
    e.get_ref().map_or_else(
        || e.to_string(),
        |inner| {
            let mut last: &(dyn StdError + 'static) = inner;
            while let Some(next) = last.source() {
                last = next;
            }
            last.to_string()
        },
    )
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

pub(super) fn is_page(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    ["text/html", "application/xhtml+xml"].iter().any(|page| kind.eq_ignore_ascii_case(page))
}
