//! Every setting there is, one row each.

use std::path::PathBuf;
use std::time::Duration;

use super::Config;
use crate::media::Cidr;
use crate::panel::Language;
use crate::update::board::SlotPaths;

/// One setting: its key, its default, its explanation, and how it is read and written.
pub(super) struct Setting {
    pub(super) key: &'static str,
    pub(super) default: &'static str,
    pub(super) doc: &'static str,
    pub(super) secret: bool,
    pub(super) set: fn(&mut Config, &str) -> Result<(), String>,
    pub(super) get: fn(&Config) -> String,
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    text.trim().parse().map_err(|e: T::Err| e.to_string())
}

fn bounded<T>(text: &str, range: std::ops::RangeInclusive<T>) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
    T::Err: std::fmt::Display,
{
    let value: T = parse(text).map_err(|e| format!("a whole number is needed ({e})"))?;
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(format!("must be from {} to {}", range.start(), range.end()))
    }
}

fn only_with_sim<T>(text: &str, value: impl FnOnce(&str) -> Result<T, String>) -> Result<T, String> {
    if cfg!(feature = "sim") {
        value(text)
    } else {
        Err("this build talks to WhatsApp only; the test server needs a build with the Cargo feature `sim`"
            .into())
    }
}

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        key: "data_dir",
        default: "kurir-data",
        doc: "Folder of the store, of queued media and of the control socket.",
        secret: false,
        set: |c, v| {
            if v.trim().is_empty() {
                return Err("must not be empty".into());
            }
            c.data_dir = PathBuf::from(v);
            Ok(())
        },
        get: |c| c.data_dir.display().to_string(),
    },
    Setting {
        key: "listen",
        default: "127.0.0.1:8080",
        doc: "Address and port of the HTTP API. Beyond loopback, a box that has no API key yet answers nothing but its claim.",
        secret: false,
        set: |c, v| {
            c.listen =
                parse(v).map_err(|_| "an address and port is needed, such as 0.0.0.0:8080".to_owned())?;
            Ok(())
        },
        get: |c| c.listen.to_string(),
    },
    Setting {
        key: "listen_https",
        default: "",
        doc: "Address and port of the same API over HTTPS, such as 0.0.0.0:8443. The certificate is made on the first start;\nPUT /api/v1/certificate replaces it. Empty: no HTTPS.",
        secret: false,
        set: |c, v| {
            c.listen_https = match v.trim() {
                "" => None,
                v => Some(
                    parse(v).map_err(|_| "an address and port is needed, such as 0.0.0.0:8443".to_owned())?,
                ),
            };
            Ok(())
        },
        get: |c| c.listen_https.map(|address| address.to_string()).unwrap_or_default(),
    },
    Setting {
        key: "host_name",
        default: "",
        doc: "What this box is called on the network. Empty: kurir- and four digits of its hardware address.",
        secret: false,
        set: |c, v| {
            c.host_name = match v.trim() {
                "" => None,
                name if crate::lan::is_label(name) => Some(name.to_ascii_lowercase()),
                _ => return Err("letters, digits and dashes are needed, at most 63 (no dots)".into()),
            };
            Ok(())
        },
        get: |c| c.host_name.clone().unwrap_or_default(),
    },
    Setting {
        key: "mdns",
        default: "on",
        doc: "on: the box answers to its host name with .local, such as http://kurir-a1b2.local (multicast DNS), unless it\nlistens on loopback only. off: it does not.",
        secret: false,
        set: |c, v| {
            c.mdns = match v.trim().to_ascii_lowercase().as_str() {
                "on" | "true" | "yes" | "1" => true,
                "off" | "false" | "no" | "0" => false,
                _ => return Err("must be on or off".into()),
            };
            Ok(())
        },
        get: |c| if c.mdns { "on".into() } else { "off".into() },
    },
    Setting {
        key: "log",
        default: "info",
        doc: "What is logged: error, warn, info, debug, or per part as in \"info,kurir::outbox=debug\".\nPhone numbers are masked and message texts left out unless debug is on.",
        secret: false,
        set: |c, v| {
            for directive in v.split(',').map(str::trim).filter(|d| !d.is_empty()) {
                let (part, level) = directive.split_once('=').unwrap_or(("kurir", directive));
                let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-' | '/');
                if !part.chars().all(named) || level.trim().parse::<log::LevelFilter>().is_err() {
                    return Err(
                        "levels are off, error, warn, info, debug and trace, alone or as part=level".into()
                    );
                }
            }
            c.log = v.trim().to_owned();
            Ok(())
        },
        get: |c| c.log.clone(),
    },
    Setting {
        key: "admin_key",
        default: "",
        doc: "A preset administrator key of 16 characters or more. Better: `kurir key new --admin`, which stores only a hash.",
        secret: true,
        set: |c, v| {
            c.admin_key = match v.trim() {
                "" => None,
                key if key.len() < 16 => return Err("must have 16 characters or more".into()),
                key => Some(key.to_owned()),
            };
            Ok(())
        },
        get: |c| c.admin_key.clone().unwrap_or_default(),
    },
    Setting {
        key: "allow_private_fetch",
        default: "",
        doc: "Private address ranges that media URLs may point into, as a comma list: 192.168.1.0/24,10.0.0.5/32.\nWithout it, Kurir fetches from public addresses only.",
        secret: false,
        set: |c, v| {
            c.allow_private_fetch = Cidr::parse_list(v).map_err(|e| e.to_string())?;
            Ok(())
        },
        get: |c| c.allow_private_fetch.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
    },
    Setting {
        key: "country_code",
        default: "62",
        doc: "Country code that replaces a leading 0 in a phone number. 0: leave numbers as they are.",
        secret: false,
        set: |c, v| {
            let code = v.trim();
            if code.is_empty() || code.len() > 3 || !code.bytes().all(|b| b.is_ascii_digit()) {
                return Err("one to three digits are needed, such as 62".into());
            }
            c.country_code = if code == "0" { String::new() } else { code.to_owned() };
            Ok(())
        },
        get: |c| if c.country_code.is_empty() { "0".into() } else { c.country_code.clone() },
    },
    Setting {
        key: "send_delay_ms",
        default: "0",
        doc: "Pause between two sends of one session, in milliseconds. 5000 is prudent for numbers that never wrote to you.",
        secret: false,
        set: |c, v| {
            c.send_delay = Duration::from_millis(bounded(v, 0..=3_600_000)?);
            Ok(())
        },
        get: |c| c.send_delay.as_millis().to_string(),
    },
    Setting {
        key: "send_jitter_ms",
        default: "0",
        doc: "Random extra pause on top of send_delay_ms, in milliseconds.",
        secret: false,
        set: |c, v| {
            c.send_jitter = Duration::from_millis(bounded(v, 0..=3_600_000)?);
            Ok(())
        },
        get: |c| c.send_jitter.as_millis().to_string(),
    },
    Setting {
        key: "send_parallel",
        default: "32",
        doc: "Messages of one session that may wait for WhatsApp's acknowledgement at once. One chat is always in order.",
        secret: false,
        set: |c, v| {
            c.send_parallel = bounded(v, 1..=256)?;
            Ok(())
        },
        get: |c| c.send_parallel.to_string(),
    },
    Setting {
        key: "send_attempts",
        default: "8",
        doc: "Attempts after which a message counts as failed.",
        secret: false,
        set: |c, v| {
            c.send_attempts = bounded(v, 1..=100)?;
            Ok(())
        },
        get: |c| c.send_attempts.to_string(),
    },
    Setting {
        key: "send_max_age_s",
        default: "86400",
        doc: "Age in seconds after which a message that could not be sent counts as failed.",
        secret: false,
        set: |c, v| {
            c.send_max_age = Duration::from_secs(bounded(v, 10..=2_592_000)?);
            Ok(())
        },
        get: |c| c.send_max_age.as_secs().to_string(),
    },
    Setting {
        key: "key_rate_per_minute",
        default: "0",
        doc: "Requests per minute that one API key may make; more are answered with 429. 0: any number.",
        secret: false,
        set: |c, v| {
            c.key_rate_per_minute = bounded(v, 0..=1_000_000)?;
            Ok(())
        },
        get: |c| c.key_rate_per_minute.to_string(),
    },
    Setting {
        key: "number_checks_per_month",
        default: "1000",
        doc: "Phone numbers that one API key may have checked in a calendar month (UTC). WhatsApp bans accounts that check\nmany. 0: any number.",
        secret: false,
        set: |c, v| {
            c.number_checks_per_month = bounded(v, 0..=100_000_000)?;
            Ok(())
        },
        get: |c| c.number_checks_per_month.to_string(),
    },
    Setting {
        key: "queue_delay_ms",
        default: "5000",
        doc: "Pause between two messages of dialect 3's queue (POST /api/send-message with X-API-Key), in milliseconds.",
        secret: false,
        set: |c, v| {
            c.queue_delay = Duration::from_millis(bounded(v, 0..=3_600_000)?);
            Ok(())
        },
        get: |c| c.queue_delay.as_millis().to_string(),
    },
    Setting {
        key: "queue_jitter_ms",
        default: "1000",
        doc: "Random extra pause on top of queue_delay_ms, in milliseconds.",
        secret: false,
        set: |c, v| {
            c.queue_jitter = Duration::from_millis(bounded(v, 0..=3_600_000)?);
            Ok(())
        },
        get: |c| c.queue_jitter.as_millis().to_string(),
    },
    Setting {
        key: "main_number",
        default: "",
        doc: "The number or group that \"main\" stands for in dialect 3.",
        secret: false,
        set: |c, v| {
            c.main_number = Some(v.trim().to_owned()).filter(|v| !v.is_empty());
            Ok(())
        },
        get: |c| c.main_number.clone().unwrap_or_default(),
    },
    Setting {
        key: "queue_allow",
        default: "*",
        doc: "Whom dialect 3's queue may write to: a comma list of numbers and groups, or * for everybody.",
        secret: false,
        set: |c, v| {
            let list: Vec<String> =
                v.split(',').map(|v| v.trim().to_owned()).filter(|v| !v.is_empty()).collect();
            c.queue_allow = if list.iter().any(|v| v == "*") { None } else { Some(list) };
            Ok(())
        },
        get: |c| c.queue_allow.as_ref().map_or_else(|| "*".to_owned(), |list| list.join(",")),
    },
    Setting {
        key: "public_url",
        default: "",
        doc: "The address at which people reach this box, shown by GET /api/status: https://wa.example.com",
        secret: false,
        set: |c, v| {
            c.public_url = match v.trim() {
                "" => None,
                url if url.starts_with("http://") || url.starts_with("https://") => Some(url.to_owned()),
                _ => return Err("an http:// or https:// address is needed".into()),
            };
            Ok(())
        },
        get: |c| c.public_url.clone().unwrap_or_default(),
    },
    Setting {
        key: "stranger_daily_cap",
        default: "0",
        doc: "Messages that one session may send per day to numbers that never wrote to it; further ones are answered with 429.\nWhatsApp bans accounts that write to many strangers. 0: any number.",
        secret: false,
        set: |c, v| {
            c.stranger_daily_cap = bounded(v, 0..=1_000_000)?;
            Ok(())
        },
        get: |c| c.stranger_daily_cap.to_string(),
    },
    Setting {
        key: "stranger_delay_ms",
        default: "0",
        doc: "Pause between two messages to numbers that never wrote to the session, in milliseconds. 0: none.",
        secret: false,
        set: |c, v| {
            c.stranger_delay = Duration::from_millis(bounded(v, 0..=3_600_000)?);
            Ok(())
        },
        get: |c| c.stranger_delay.as_millis().to_string(),
    },
    Setting {
        key: "queue_limit",
        default: "20000",
        doc: "Messages that one session may have waiting; a further one is answered with 429.",
        secret: false,
        set: |c, v| {
            c.queue_limit = bounded(v, 1..=1_000_000)?;
            Ok(())
        },
        get: |c| c.queue_limit.to_string(),
    },
    Setting {
        key: "history_days",
        default: "30",
        doc: "Days for which finished messages stay readable.",
        secret: false,
        set: |c, v| {
            c.history_days = bounded(v, 1..=3650)?;
            Ok(())
        },
        get: |c| c.history_days.to_string(),
    },
    Setting {
        key: "journal_events",
        default: "100000",
        doc: "Events (messages, receipts, votes, …) that are kept for webhooks and GET /api/v1/events.",
        secret: false,
        set: |c, v| {
            c.journal_events = bounded(v, 100..=10_000_000)?;
            Ok(())
        },
        get: |c| c.journal_events.to_string(),
    },
    Setting {
        key: "journal_mb",
        default: "64",
        doc: "Megabytes of events that are kept; the oldest go first.",
        secret: false,
        set: |c, v| {
            c.journal_bytes = bounded::<u64>(v, 1..=100_000)? * 1024 * 1024;
            Ok(())
        },
        get: |c| (c.journal_bytes / (1024 * 1024)).to_string(),
    },
    Setting {
        key: "journal_days",
        default: "30",
        doc: "Days for which events are kept.",
        secret: false,
        set: |c, v| {
            c.journal_days = bounded(v, 1..=3650)?;
            Ok(())
        },
        get: |c| c.journal_days.to_string(),
    },
    Setting {
        key: "received_media_days",
        default: "7",
        doc: "Days for which a received file that was asked for is kept here, and for which links to it work.",
        secret: false,
        set: |c, v| {
            c.received_media_days = bounded(v, 1..=3650)?;
            Ok(())
        },
        get: |c| c.received_media_days.to_string(),
    },
    Setting {
        key: "received_media_mb",
        default: "256",
        doc: "Megabytes that received files may take here; those asked for longest ago go first. A larger file is not fetched.",
        secret: false,
        set: |c, v| {
            c.received_media_bytes = bounded::<u64>(v, 1..=1_000_000)? * 1024 * 1024;
            Ok(())
        },
        get: |c| (c.received_media_bytes / (1024 * 1024)).to_string(),
    },
    Setting {
        key: "webhook_retry_ms",
        default: "5000",
        doc: "Pause after the first failure of a webhook, in milliseconds; it doubles with each further one, up to an hour.",
        secret: false,
        set: |c, v| {
            c.webhook_retry = Duration::from_millis(bounded(v, 10..=3_600_000)?);
            Ok(())
        },
        get: |c| c.webhook_retry.as_millis().to_string(),
    },
    Setting {
        key: "request_log_rows",
        default: "1000",
        doc: "HTTP requests that GET /api/v1/requests shows, without keys and files, to the account that made them. 0: none are kept.",
        secret: false,
        set: |c, v| {
            c.request_log_rows = bounded(v, 0..=100_000)?;
            Ok(())
        },
        get: |c| c.request_log_rows.to_string(),
    },
    Setting {
        key: "request_log_mb",
        default: "4",
        doc: "Megabytes of requests that are kept; the oldest go first.",
        secret: false,
        set: |c, v| {
            c.request_log_bytes = bounded::<u64>(v, 1..=1_000)? * 1024 * 1024;
            Ok(())
        },
        get: |c| (c.request_log_bytes / (1024 * 1024)).to_string(),
    },
    Setting {
        key: "request_log_days",
        default: "7",
        doc: "Days for which requests are kept.",
        secret: false,
        set: |c, v| {
            c.request_log_days = bounded(v, 1..=3650)?;
            Ok(())
        },
        get: |c| c.request_log_days.to_string(),
    },
    Setting {
        key: "request_log_body_kb",
        default: "4",
        doc: "Kilobytes of each request's and each answer's body that are kept; of a longer one only the length. 0: no bodies.",
        secret: false,
        set: |c, v| {
            c.request_log_body = bounded::<usize>(v, 0..=64)? * 1024;
            Ok(())
        },
        get: |c| (c.request_log_body / 1024).to_string(),
    },
    Setting {
        key: "max_connections",
        default: "256",
        doc: "HTTP connections at once.",
        secret: false,
        set: |c, v| {
            c.max_connections = bounded(v, 4..=65_536)?;
            Ok(())
        },
        get: |c| c.max_connections.to_string(),
    },
    Setting {
        key: "max_connections_per_address",
        default: "160",
        doc: "HTTP connections at once from one address, so that one client cannot take them all.",
        secret: false,
        set: |c, v| {
            c.max_connections_per_address = bounded(v, 1..=65_536)?;
            Ok(())
        },
        get: |c| c.max_connections_per_address.to_string(),
    },
    Setting {
        key: "media_quota_mb",
        default: "512",
        doc: "Megabytes that the media of queued messages may take on disk.",
        secret: false,
        set: |c, v| {
            c.media_quota = bounded::<u64>(v, 1..=1_000_000)? * 1024 * 1024;
            Ok(())
        },
        get: |c| (c.media_quota / (1024 * 1024)).to_string(),
    },
    Setting {
        key: "update_slot_a",
        default: "",
        doc: "Partitions of the first update slot: boot=/dev/mmcblk0p2,root=/dev/mmcblk0p5. Set by the image.",
        secret: false,
        set: |c, v| {
            c.update_slot_a = SlotPaths::parse(v)?;
            Ok(())
        },
        get: |c| c.update_slot_a.to_string(),
    },
    Setting {
        key: "update_slot_b",
        default: "",
        doc: "Partitions of the second update slot, with the same names.",
        secret: false,
        set: |c, v| {
            c.update_slot_b = SlotPaths::parse(v)?;
            Ok(())
        },
        get: |c| c.update_slot_b.to_string(),
    },
    Setting {
        key: "update_autoboot",
        default: "",
        doc: "The firmware's autoboot.txt, which says which slot starts. Set by the image.",
        secret: false,
        set: |c, v| {
            c.update_autoboot = Some(v.trim()).filter(|v| !v.is_empty()).map(PathBuf::from);
            Ok(())
        },
        get: |c| c.update_autoboot.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
    },
    Setting {
        key: "update_key",
        default: "",
        doc: "File with the public key that updates are checked with: 64 hexadecimal digits (Ed25519). Set by the image.",
        secret: false,
        set: |c, v| {
            c.update_key = Some(v.trim()).filter(|v| !v.is_empty()).map(PathBuf::from);
            Ok(())
        },
        get: |c| c.update_key.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
    },
    Setting {
        key: "board",
        default: "auto",
        doc: "The front panel: auto, the name of a board that `kurir board` lists, the path of a .toml file of your own,\nsim for a panel in the terminal, or none.",
        secret: false,
        set: |c, v| {
            // A board that does not exist is told by whoever opens it: the gateway runs without a panel then.
            c.board = match v.trim() {
                "" => "none".into(),
                board if board.chars().any(char::is_control) => {
                    return Err("a board's name or the path of a file is needed".into());
                }
                board => board.to_owned(),
            };
            Ok(())
        },
        get: |c| c.board.clone(),
    },
    Setting {
        key: "console",
        default: "",
        doc: "Where a box without a display prints the code that claims it, and its address: /dev/console. Set by the image.\nEmpty: standard error, on which a service's log is.",
        secret: false,
        set: |c, v| {
            c.console = Some(v.trim()).filter(|v| !v.is_empty()).map(PathBuf::from);
            Ok(())
        },
        get: |c| c.console.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
    },
    Setting {
        key: "panel_language",
        default: "id",
        doc: "Language of the front panel: id (Indonesian) or en (English).",
        secret: false,
        set: |c, v| {
            let named = Language::ALL.into_iter().find(|language| language.code() == v.trim());
            c.panel_language = named.ok_or("id or en is needed")?;
            Ok(())
        },
        get: |c| c.panel_language.code().into(),
    },
    Setting {
        key: "whatsapp_url",
        default: "",
        doc: "Where to connect instead of WhatsApp: the test server's ws:// address. Only in a build with the Cargo feature `sim`.",
        secret: false,
        set: |c, v| {
            c.whatsapp_url = match v.trim() {
                "" => None,
                url => only_with_sim(url, |url| {
                    if url.starts_with("ws://") || url.starts_with("wss://") {
                        Ok(Some(url.to_owned()))
                    } else {
                        Err("a ws:// or wss:// address is needed".into())
                    }
                })?,
            };
            Ok(())
        },
        get: |c| c.whatsapp_url.clone().unwrap_or_default(),
    },
    Setting {
        key: "sync_delay_ms",
        default: "0",
        doc: "Delay added to each sync of the store, to stand for an SD card. Only in a build with the Cargo feature `sim`.",
        secret: false,
        set: |c, v| {
            c.sync_delay = match v.trim() {
                "0" => Duration::ZERO,
                ms => only_with_sim(ms, |ms| Ok(Duration::from_millis(bounded(ms, 0..=1000)?)))?,
            };
            Ok(())
        },
        get: |c| c.sync_delay.as_millis().to_string(),
    },
];
