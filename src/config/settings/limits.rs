//! How fast, how much and how long: pacing, limits, and what is kept.

use std::time::Duration;

use super::{Setting, bounded};

pub(super) const SETTINGS: &[Setting] = &[
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
        doc: "Megabytes that the media of queued messages may take on disk. Those of failed messages, kept for three days, make room\nfor new ones.",
        secret: false,
        set: |c, v| {
            c.media_quota = bounded::<u64>(v, 1..=1_000_000)? * 1024 * 1024;
            Ok(())
        },
        get: |c| (c.media_quota / (1024 * 1024)).to_string(),
    },
];
