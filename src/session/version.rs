//! The client version that WhatsApp expects: fetched once a day, cached, and the last good one when that fails.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::record;
use crate::store::Store;

/// WhatsApp Web's service worker, which names the current revision (whatsapp-rust reads the same file).
const SERVICE_WORKER: &str = "https://web.whatsapp.com/sw.js";
/// Age after which the cached version is looked up again.
const FRESH: Duration = Duration::from_secs(24 * 3600);
/// Pause between two look-ups, whatever asks for them.
const PAUSE: Duration = Duration::from_secs(300);
/// A version is asked for before a dial, so a slow answer must not hold the dial up for long.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The file has about 20 KiB.
const MAX_BODY: u64 = 1024 * 1024;

/// primary.secondary.tertiary
pub(super) type Version = (u32, u32, u32);

#[derive(Clone, Serialize, Deserialize)]
struct Cached {
    version: Version,
    fetched_at_s: u64,
}

/// Knows the current client version.
pub struct Versions {
    store: Store,
    url: String,
    /// When the last look-up was, and whether it was answered. Held over the fetch, so that sessions that dial together
    /// ask once.
    last_try: Mutex<Option<(SystemTime, bool)>>,
}

impl Versions {
    /// `whatsapp_url`: the test server's address, which serves the same file.
    pub fn new(store: Store, whatsapp_url: Option<&str>) -> Versions {
        let url = whatsapp_url
            .and_then(|url| url.strip_prefix("ws://"))
            .and_then(|rest| rest.split('/').next())
            .map_or_else(|| SERVICE_WORKER.to_owned(), |host| format!("http://{host}/sw.js"));
        Versions { store, url, last_try: Mutex::new(None) }
    }

    /// The version to dial with. `refresh`: WhatsApp called the last one outdated.
    pub async fn current(&self, refresh: bool) -> Version {
        let mut last_try = self.last_try.lock().await;
        let now = SystemTime::now();
        let cached: Option<Cached> = record::fact(&self.store, "client_version").unwrap_or_else(|e| {
            log::warn!("cannot read the cached client version: {e}");
            None
        });
        let age = |then: u64| now.duration_since(UNIX_EPOCH + Duration::from_secs(then)).unwrap_or_default();
        let fresh = cached.as_ref().is_some_and(|c| age(c.fetched_at_s) < FRESH);
        let tried_lately = last_try.is_some_and(|(at, answered)| {
            // A refused log-in shows that WhatsApp can be reached, so an earlier failure says nothing any more.
            (answered || !refresh) && now.duration_since(at).is_ok_and(|since| since < PAUSE)
        });
        let known = cached.as_ref().map_or_else(built_in, |c| c.version.max(built_in()));
        if (fresh && !refresh) || tried_lately {
            return known;
        }
        let answer = self.fetch().await;
        *last_try = Some((now, answer.is_ok()));
        match answer {
            Ok(version) => {
                let fetched_at_s = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                let cached = Cached { version, fetched_at_s };
                if let Err(e) = record::set_fact(&self.store, "client_version", &cached).await {
                    log::warn!("cannot cache the client version: {e}");
                }
                version
            }
            Err(e) => {
                log::info!("cannot look up WhatsApp's client version ({e}); using the last one known");
                known
            }
        }
    }

    async fn fetch(&self) -> Result<Version, String> {
        let url = self.url.clone();
        let body = tokio::task::spawn_blocking(move || -> Result<String, String> {
            let agent: ureq::Agent =
                ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).proxy(None).build().into();
            // WhatsApp serves this file to browsers only; whatsapp-rust asks with the same two headers.
            let mut response = agent
                .get(&url)
                .header("sec-fetch-site", "none")
                .header(
                    "user-agent",
                    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
                )
                .call()
                .map_err(|e| e.to_string())?;
            response.body_mut().with_config().limit(MAX_BODY).read_to_string().map_err(|e| e.to_string())
        })
        .await
        .map_err(|e| e.to_string())??;
        wacore::version::parse_sw_js(&body).ok_or_else(|| "the answer names no revision".to_owned())
    }
}

/// The version that this build of whatsapp-rust was made for.
fn built_in() -> Version {
    static BUILT_IN: std::sync::OnceLock<Version> = std::sync::OnceLock::new();
    *BUILT_IN.get_or_init(|| {
        let device = wacore::store::device::Device::new();
        (device.app_version_primary, device.app_version_secondary, device.app_version_tertiary)
    })
}
