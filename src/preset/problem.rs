//! What can be wrong with the file, in the words of both languages. No value of the file is ever repeated: a password may
//! stand anywhere in it.

use std::borrow::Cow;

use crate::panel::Language;

/// Longest key that is repeated in a message.
const LONGEST_KEY: usize = 40;

/// One thing to correct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// The file cannot be read.
    Unreadable(String),
    /// The file is larger than [`super::LARGEST`].
    TooLarge,
    /// The file is not text.
    NotUtf8,
    /// The file is not TOML; the line, from 1.
    Syntax(usize),
    /// No setting has this key.
    UnknownSetting(String),
    /// Nothing in `[network]` has this key.
    UnknownNetwork(String),
    /// Only the image may choose this.
    OfTheImage(String),
    /// A value that this setting does not take, and what it takes.
    Setting(String, String),
    /// A value that this key of `[network]` does not take.
    Network(&'static str, Wrong),
    /// The image's own settings are wrong here: a mistake of whoever built it.
    Base(String),
}

/// What is wrong with a value in `[network]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    NoTable,
    NoText,
    NoBool,
    NoList,
    Ssid,
    PasswordLength,
    PasswordLetters,
    WithoutSsid,
    CountryMissing,
    Country,
    Address,
    Gateway,
    GatewayElsewhere,
    GatewayMissing,
    WithoutAddress,
    Dns,
    TimeServer,
    TooMany,
    Interface,
    NoWifi,
}

impl Wrong {
    /// English, Indonesian.
    fn words(self) -> [&'static str; 2] {
        match self {
            Wrong::NoTable => ["[network] is needed", "tulis sebagai [network]"],
            Wrong::NoText => ["put the value in \"quotes\"", "tulis nilainya di antara \"tanda kutip\""],
            Wrong::NoBool => ["true or false is needed", "harus true atau false"],
            Wrong::NoList => ["a list is needed: [\"…\", \"…\"]", "harus daftar: [\"…\", \"…\"]"],
            Wrong::Ssid => ["1 to 32 bytes are needed", "harus 1 sampai 32 bita"],
            Wrong::PasswordLength => ["must have 8 to 63 characters", "harus 8 sampai 63 karakter"],
            Wrong::PasswordLetters => {
                ["has characters that Wi-Fi does not allow", "berisi karakter yang tidak boleh di Wi-Fi"]
            }
            Wrong::WithoutSsid => ["wifi_ssid is missing", "wifi_ssid belum diisi"],
            Wrong::CountryMissing => {
                ["is needed for Wi-Fi, such as \"ID\"", "wajib untuk Wi-Fi, misalnya \"ID\""]
            }
            Wrong::Country => [
                "a country's two letters are needed, such as \"ID\"",
                "harus dua huruf negara, misalnya \"ID\"",
            ],
            Wrong::Address => ["such as \"192.168.1.9/24\" is needed", "harus seperti \"192.168.1.9/24\""],
            Wrong::Gateway => ["such as \"192.168.1.1\" is needed", "harus seperti \"192.168.1.1\""],
            Wrong::GatewayElsewhere => {
                ["is not in the network of address", "tidak berada di jaringan yang sama dengan address"]
            }
            Wrong::GatewayMissing => {
                ["is needed with address to reach WhatsApp", "wajib bersama address agar WhatsApp terjangkau"]
            }
            Wrong::WithoutAddress => ["address is missing", "address belum diisi"],
            Wrong::Dns => {
                ["IP addresses are needed, such as \"1.1.1.1\"", "harus alamat IP, misalnya \"1.1.1.1\""]
            }
            Wrong::TimeServer => {
                ["names or IP addresses of servers are needed", "harus nama atau alamat IP server"]
            }
            Wrong::TooMany => ["has more than 8 entries", "berisi lebih dari 8"],
            Wrong::Interface => ["ethernet or wifi is needed", "harus ethernet atau wifi"],
            Wrong::NoWifi => ["wifi has no wifi_ssid that works", "wifi belum punya wifi_ssid yang benar"],
        }
    }
}

impl Problem {
    /// One line, short enough for the panel.
    pub(super) fn text(&self, language: Language) -> String {
        let say = |english: &str, indonesian: &str| {
            (if language == Language::English { english } else { indonesian }).to_owned()
        };
        match self {
            Problem::Unreadable(why) => {
                format!("kurir.toml: {} ({why})", say("cannot be read", "tidak bisa dibaca"))
            }
            Problem::TooLarge => {
                say("kurir.toml: is larger than 64 KB", "kurir.toml: lebih besar dari 64 KB")
            }
            Problem::NotUtf8 => {
                say("kurir.toml: save it as UTF-8 text", "kurir.toml: simpan sebagai teks UTF-8")
            }
            Problem::Syntax(line) => format!(
                "kurir.toml {} {line}: {}",
                say("line", "baris"),
                say("not valid TOML; nothing of it is used", "TOML tidak benar; isinya tidak dipakai")
            ),
            Problem::UnknownSetting(key) => {
                format!("kurir.toml: {}: {}", shown(key), say("no such setting", "pengaturan ini tidak ada"))
            }
            Problem::UnknownNetwork(key) => format!(
                "kurir.toml: {}: {}",
                shown(key),
                say("no such setting in [network]", "tidak ada di [network]")
            ),
            Problem::OfTheImage(key) => format!(
                "kurir.toml: {}: {}",
                shown(key),
                say("is fixed in the image", "sudah ditetapkan dan tidak bisa diubah")
            ),
            Problem::Setting(key, reason) => {
                let [english, indonesian] = takes(key, reason);
                format!("kurir.toml: {}: {}", shown(key), say(&english, &indonesian))
            }
            Problem::Network(key, wrong) => {
                let [english, indonesian] = wrong.words();
                format!("kurir.toml: {key}: {}", say(english, indonesian))
            }
            Problem::Base(what) => {
                format!("{}: {}", say("the image's settings", "pengaturan bawaan"), shown(what))
            }
        }
    }
}

/// A key, unless it is none that anybody would recognise.
fn shown(key: &str) -> &str {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if key.len() <= LONGEST_KEY && !key.is_empty() && key.chars().all(plain) { key } else { "?" }
}

/// What a gateway's setting takes, in English and Indonesian. The settings themselves explain in English only.
pub(super) fn takes<'a>(key: &str, reason: &'a str) -> [Cow<'a, str>; 2] {
    let fixed = |english: &'static str, indonesian: &'static str| [english.into(), indonesian.into()];
    match key {
        "listen" | "listen_https" => fixed(
            "such as 0.0.0.0:80 is needed: 0.0.0.0, a port from 80 on, each once",
            "harus seperti 0.0.0.0:80: 0.0.0.0, port mulai 80, tidak sama",
        ),
        "host_name" => fixed(
            "letters, digits and dashes are needed, at most 63",
            "harus huruf, angka dan tanda hubung, paling banyak 63",
        ),
        "mdns" => fixed("must be on or off", "harus on atau off"),
        "admin_key" => fixed("must have 16 characters or more", "harus 16 karakter atau lebih"),
        "allow_private_fetch" => {
            fixed("networks such as 192.168.1.0/24 are needed", "harus jaringan seperti 192.168.1.0/24")
        }
        "country_code" => {
            fixed("one to three digits are needed, such as 62", "harus satu sampai tiga angka, misalnya 62")
        }
        "public_url" => {
            fixed("an http:// or https:// address is needed", "harus alamat http:// atau https://")
        }
        "log" => fixed(
            "error, warn, info or debug is needed, or part=level",
            "harus error, warn, info atau debug, atau bagian=tingkat",
        ),
        "panel_language" => fixed("id or en is needed", "harus id atau en"),
        "board" => fixed(
            "a board's name or the path of a file is needed",
            "harus nama papan atau lokasi berkas papan",
        ),
        _ => {
            let indonesian = match reason.strip_prefix("must be from ") {
                Some(range) => format!("harus dari {}", range.replace(" to ", " sampai ")),
                None if reason.starts_with("a whole number") => "harus bilangan bulat".into(),
                None => "nilai ini tidak berlaku".into(),
            };
            [reason.split(" (").next().unwrap_or(reason).into(), indonesian.into()]
        }
    }
}
