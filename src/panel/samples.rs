//! One screen of each kind, with data such as an office would see: for the pictures in the documentation and for tests.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    screen::{Body, Label, PageNumber, Pending, Release, Screen, Target},
    view::{Language, Trouble},
};

/// Sizes of the panels that the screens are made for, in pixels.
pub const SIZES: [(u32, u32); 4] = [(128, 32), (128, 64), (128, 128), (240, 240)];
/// Jakarta, in seconds.
const WIB: i32 = 7 * 3600;

/// One sample.
#[derive(Debug, Clone)]
pub struct Sample {
    /// A name for files: [`Body::name`], with a word more where there are several.
    pub name: String,
    /// The screen.
    pub screen: Screen,
}

/// A pairing text as WhatsApp's: a reference of `reference` letters, three keys of 32 bytes, the client type.
pub fn pairing_text(reference: usize) -> String {
    let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    // Multiplying by a number without a factor of 64 visits every letter, in no order that a QR could shorten.
    let random = |from: usize, count: usize| -> String {
        (from..from + count).filter_map(|i| letters.chars().nth((i * 29 + i / 64 * 7) % 64)).collect()
    };
    let key = |from: usize| format!("{}=", random(from, 43));
    format!("2@{},{},{},{},1", random(0, reference.saturating_sub(2)), key(301), key(502), key(703))
}

fn shop() -> Label {
    Label { name: "Toko Maju Jaya".into(), number: Some("6281234567890".into()) }
}

/// 21 November 2026, 14:05 in Jakarta.
fn afternoon() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_244_700)
}

fn online(label: Label, queue: u64, last_message: Option<SystemTime>) -> Body {
    Body::Online { label, address: Some("192.168.1.20".into()), queue, last_message }
}

fn hold(release: Release, next: Option<(Release, u64)>, percent: u8) -> Body {
    let pending = next.map(|(then, seconds)| Pending { then, seconds });
    Body::Hold { release, pending, percent, target: Target::Session(shop()) }
}

/// Every screen in `language`.
pub fn all(language: Language) -> Vec<Sample> {
    let url = || Some("http://kurir.local/".to_owned());
    let notice = match language {
        Language::Indonesian => "kurir.toml baris 3: kata sandi Wi-Fi terlalu pendek",
        Language::English => "kurir.toml line 3: the Wi-Fi password is too short",
    };
    let fingerprint =
        "3F:9A:0C:77:E1:5B:28:D4:96:AF:13:60:8E:CB:42:F5:07:B9:6D:31:EC:58:A4:1F:83:DA:2E:70:C6:19:B5:4D";
    let addresses = vec![IpAddr::V4(Ipv4Addr::new(192, 168, 1, 20)), IpAddr::V4(Ipv4Addr::new(10, 42, 0, 1))];
    let new = Label::default();
    let bodies = vec![
        ("", Body::Blank),
        ("", Body::Starting),
        ("", Body::NoNetwork),
        ("", Body::Claim { code: "K7PM-42XD".into(), url: url() }),
        ("offline", Body::Claim { code: "K7PM-42XD".into(), url: None }),
        ("", Body::NoSession),
        ("", Body::Qr { label: new.clone(), text: pairing_text(104), seconds: 18, url: url() }),
        ("without-page", Body::Qr { label: new.clone(), text: pairing_text(104), seconds: 18, url: None }),
        ("", Body::PairingCode { label: new.clone(), code: "7KXQ2MVD".into(), seconds: 142 }),
        ("", Body::Connecting { label: shop() }),
        ("first", Body::Connecting { label: new }),
        ("", online(shop(), 3, Some(afternoon()))),
        ("quiet", online(shop(), 0, None)),
        (
            "long",
            online(
                Label {
                    name: "Koperasi Simpan Pinjam Sejahtera \u{1f33e}".into(),
                    number: Some("6281234567890123".into()),
                },
                123_456,
                Some(afternoon()),
            ),
        ),
        (
            "nameless",
            online(Label { name: String::new(), number: Some("15551234567".into()) }, 0, Some(afternoon())),
        ),
        ("", Body::Exhausted { label: shop() }),
        ("network", Body::Disconnected { label: shop(), trouble: Trouble::Network }),
        ("locked", Body::Disconnected { label: shop(), trouble: Trouble::AccountLocked }),
        ("refused", Body::Disconnected { label: shop(), trouble: Trouble::Refused(503) }),
        ("restarts", Body::Disconnected { label: shop(), trouble: Trouble::RestartLoop }),
        ("store", Body::Disconnected { label: shop(), trouble: Trouble::Store }),
        ("", Body::Banned { label: shop(), until: Some(afternoon()) }),
        ("open-ended", Body::Banned { label: shop(), until: None }),
        ("", Body::LoggedOut { label: shop() }),
        ("", Body::Conflict { label: shop() }),
        ("", Body::Outdated { label: shop() }),
        ("", Body::DiskNearlyFull { free: 350_000_000 }),
        ("", Body::ClockNotSet),
        ("", Body::Notice { text: notice.into() }),
        ("", Body::Updating { percent: 42 }),
        ("", Body::Address { url: url(), addresses }),
        ("", Body::Fingerprint { sha256: fingerprint.into() }),
        ("redial-soon", hold(Release::Nothing, Some((Release::Redial, 1)), 50)),
        ("redial", hold(Release::Redial, None, 100)),
        ("fresh-qr-soon", hold(Release::Nothing, Some((Release::FreshQr, 2)), 12)),
        ("fresh-qr", hold(Release::FreshQr, None, 100)),
        ("new-session", hold(Release::NewSession, None, 100)),
        ("unlink-soon", hold(Release::Nothing, Some((Release::Unlink, 3)), 16)),
        ("unlink", hold(Release::Unlink, Some((Release::Erase, 4)), 66)),
        ("erase", hold(Release::Erase, None, 100)),
        ("banned", hold(Release::Nothing, None, 100)),
        ("redial", Body::Done { action: Release::Redial, target: Target::Session(shop()) }),
        ("fresh-qr", Body::Done { action: Release::FreshQr, target: Target::Session(shop()) }),
        ("new-session", Body::Done { action: Release::NewSession, target: Target::All(0) }),
        ("unlink", Body::Done { action: Release::Unlink, target: Target::All(3) }),
        ("erase", Body::Done { action: Release::Erase, target: Target::All(3) }),
        ("", Body::Erasing),
    ];
    let mut samples: Vec<Sample> = bodies
        .into_iter()
        .map(|(more, body)| {
            let name = if more.is_empty() { body.name().into() } else { format!("{}-{more}", body.name()) };
            Sample { name, screen: Screen { utc_offset: WIB, ..Screen::of(body, language) } }
        })
        .collect();
    // With several sessions, each screen says whose it is, and dots which of how many.
    let paged: Vec<Sample> = samples
        .iter()
        .filter(|s| ["online", "qr", "exhausted", "banned", "conflict"].contains(&s.name.as_str()))
        .map(|s| {
            let mut screen = s.screen.clone();
            screen.page = Some(PageNumber { page: 2, of: 4 });
            if let Body::Qr { label, .. } = &mut screen.body {
                label.name = "Gudang".into();
            }
            Sample { name: format!("{}-of-several", s.name), screen }
        })
        .collect();
    samples.extend(paged);
    samples
}
