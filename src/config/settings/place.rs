//! Where the box is and what it is: its folder, its addresses, its owner, its hardware.

use std::path::PathBuf;
use std::time::Duration;

use super::{Setting, bounded, only_with_sim, parse};
use crate::media::Cidr;
use crate::panel::Language;
use crate::update::board::SlotPaths;

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
