//! The pages of a view, their order, and which of them come by themselves.

use std::{mem::discriminant, time::Duration};

use tokio::time::Instant;

use super::{
    light::Pattern,
    screen::{Body, Label},
    view::{Disk, Network, SessionId, SessionState, SessionView, Stage, Trouble, View},
};

/// How long a page stays when the pages turn by themselves.
const DWELL: Duration = Duration::from_secs(6);
/// The same for a code that a phone has to scan or a person has to type in.
const CODE_DWELL: Duration = Duration::from_secs(30);
/// The same for the claim code, so that a QR does not stay away for long.
const CLAIM_DWELL: Duration = Duration::from_secs(8);

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PageKey {
    Notice,
    NoNetwork,
    Session(SessionId),
    NoSession,
    Claim,
    Disk,
    Clock,
    Address,
    Fingerprint,
}

/// All pages, in their order.
pub(super) fn pages(view: &View) -> Vec<PageKey> {
    let mut pages = Vec::new();
    pages.extend(view.notice.as_ref().map(|_| PageKey::Notice));
    let offline = offline(view);
    if offline {
        pages.push(PageKey::NoNetwork);
    } else if view.sessions.is_empty() {
        pages.push(PageKey::NoSession);
    } else {
        pages.extend(view.sessions.iter().map(|s| PageKey::Session(s.id.clone())));
    }
    pages.extend(view.claim_code.as_ref().map(|_| PageKey::Claim));
    if view.disk != Disk::Fine {
        pages.push(PageKey::Disk);
    }
    if !view.clock_set {
        pages.push(PageKey::Clock);
    }
    if matches!(&view.network, Network::Up(addresses) if !addresses.is_empty()) {
        pages.push(PageKey::Address);
        pages.extend(view.fingerprint.as_ref().map(|_| PageKey::Fingerprint));
    }
    pages
}

/// No network, and no session that knows better.
fn offline(view: &View) -> bool {
    let works = |s: &SessionView| matches!(s.state, SessionState::Online) || expires(&s.state).is_some();
    view.network == Network::Down && !view.sessions.iter().any(works)
}

/// Whether a person has to do something with what the page shows, so that it comes first.
pub(super) fn is_code(view: &View, page: &PageKey) -> bool {
    *page == PageKey::Claim || session(view, page).is_some_and(|s| expires(&s.state).is_some())
}

/// The pages that take turns by themselves: codes if there are any, and else all but those that are for the curious.
pub(super) fn rotation(view: &View) -> Vec<PageKey> {
    let (codes, others): (Vec<_>, Vec<_>) = pages(view).into_iter().partition(|p| is_code(view, p));
    if codes.is_empty() {
        others.into_iter().filter(|p| !matches!(p, PageKey::Address | PageKey::Fingerprint)).collect()
    } else {
        codes
    }
}

/// The page after `page`; the first one if `page` is not among them.
pub(super) fn after(pages: &[PageKey], page: &PageKey) -> Option<PageKey> {
    let next = pages.iter().position(|p| p == page).map_or(0, |at| at + 1);
    pages.get(next).or(pages.first()).cloned()
}

/// The page to begin with.
pub(super) fn home(view: &View) -> PageKey {
    rotation(view).into_iter().next().unwrap_or(PageKey::NoSession)
}

/// How long the page stays.
pub(super) fn dwell(view: &View, page: &PageKey) -> Duration {
    match page {
        PageKey::Claim => CLAIM_DWELL,
        page if is_code(view, page) => CODE_DWELL,
        _ => DWELL,
    }
}

/// Whether `after` is worth a look for somebody who knows `before`, and which page shows it.
pub(super) fn news(before: &View, after: &View) -> Option<Option<PageKey>> {
    if after.notice != before.notice {
        return Some(after.notice.as_ref().map(|_| PageKey::Notice));
    }
    if offline(after) != offline(before) {
        return Some(offline(after).then_some(PageKey::NoNetwork));
    }
    for session in &after.sessions {
        let known = before.sessions.iter().find(|s| s.id == session.id);
        if known.is_none_or(|k| discriminant(&k.state) != discriminant(&session.state)) {
            return Some(Some(PageKey::Session(session.id.clone())));
        }
    }
    if discriminant(&after.disk) != discriminant(&before.disk) {
        return Some((after.disk != Disk::Fine).then_some(PageKey::Disk));
    }
    if after.claim_code.is_some() && after.claim_code != before.claim_code {
        return Some(Some(PageKey::Claim));
    }
    let same = after.stage == before.stage
        && after.update == before.update
        && after.language == before.language
        && after.sessions.len() == before.sessions.len();
    (!same).then_some(None)
}

/// The session of a page.
pub(super) fn session<'a>(view: &'a View, page: &PageKey) -> Option<&'a SessionView> {
    match page {
        PageKey::Session(id) => view.sessions.iter().find(|s| s.id == *id),
        _ => None,
    }
}

/// When the code on show ends.
pub(super) fn expires(state: &SessionState) -> Option<Instant> {
    match state {
        SessionState::Qr { expires, .. } | SessionState::PairingCode { expires, .. } => Some(*expires),
        _ => None,
    }
}

/// The session's name and number.
pub(super) fn label(session: &SessionView) -> Label {
    Label { name: session.name.clone(), number: session.number.clone() }
}

/// What the page shows.
pub(super) fn body(view: &View, page: &PageKey, now: Instant) -> Body {
    match page {
        PageKey::Notice => Body::Notice { text: view.notice.clone().unwrap_or_default() },
        PageKey::NoNetwork => Body::NoNetwork,
        PageKey::NoSession => Body::NoSession,
        PageKey::Session(_) => match session(view, page) {
            Some(session) => of_session(view, session, now),
            None => Body::NoSession,
        },
        PageKey::Claim => {
            Body::Claim { code: view.claim_code.clone().unwrap_or_default(), url: view.web_url.clone() }
        }
        PageKey::Disk => Body::DiskNearlyFull {
            free: match view.disk {
                Disk::Fine => 0,
                Disk::NearlyFull { free } => free,
            },
        },
        PageKey::Clock => Body::ClockNotSet,
        PageKey::Address => Body::Address {
            url: view.web_url.clone(),
            addresses: match &view.network {
                Network::Up(addresses) => addresses.clone(),
                Network::Unknown | Network::Down => Vec::new(),
            },
        },
        PageKey::Fingerprint => Body::Fingerprint { sha256: view.fingerprint.clone().unwrap_or_default() },
    }
}

fn of_session(view: &View, session: &SessionView, now: Instant) -> Body {
    let label = label(session);
    let left = |expires: Instant| expires.saturating_duration_since(now).as_millis().div_ceil(1000) as u64;
    match &session.state {
        // A code that has run out must not be scanned; the next one is on its way.
        SessionState::Qr { expires, .. } | SessionState::PairingCode { expires, .. } if *expires <= now => {
            Body::Connecting { label }
        }
        SessionState::Connecting => Body::Connecting { label },
        SessionState::Qr { text, expires } => {
            Body::Qr { label, text: text.clone(), seconds: left(*expires), url: view.web_url.clone() }
        }
        SessionState::PairingCode { code, expires } => {
            Body::PairingCode { label, code: code.clone(), seconds: left(*expires) }
        }
        SessionState::Exhausted => Body::Exhausted { label },
        SessionState::Online => Body::Online {
            label,
            address: address(view),
            queue: session.queue,
            last_message: session.last_message,
        },
        SessionState::Disconnected(trouble) => Body::Disconnected { label, trouble: *trouble },
        SessionState::Banned { until } => Body::Banned { label, until: *until },
        SessionState::LoggedOut => Body::LoggedOut { label },
        SessionState::Conflict => Body::Conflict { label },
        SessionState::Outdated => Body::Outdated { label },
    }
}

/// The box's first address, with the web page's port if it is not the usual one.
fn address(view: &View) -> Option<String> {
    let Network::Up(addresses) = &view.network else { return None };
    let ip = addresses.first()?;
    let url = view.web_url.as_deref().unwrap_or_default();
    let host = url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default();
    // The last colon; inside of an IPv6 address's brackets it is none of ours.
    let port = host.rsplit_once(':').map(|(_, port)| port).and_then(|p| p.parse::<u16>().ok());
    Some(match (ip, port) {
        (ip, None) => ip.to_string(),
        (std::net::IpAddr::V4(ip), Some(port)) => format!("{ip}:{port}"),
        (std::net::IpAddr::V6(ip), Some(port)) => format!("[{ip}]:{port}"),
    })
}

/// What the LED says of the view.
pub(super) fn pattern(view: &View) -> Pattern {
    if view.stage == Stage::Erasing {
        return Pattern::Erasing;
    }
    if view.stage == Stage::Starting || view.update.is_some() {
        return Pattern::Starting;
    }
    if offline(view) {
        return Pattern::NoNetwork;
    }
    let any = |is: fn(&SessionState) -> bool| view.sessions.iter().any(|s| is(&s.state));
    let attention = view.notice.is_some()
        || view.disk != Disk::Fine
        || view.sessions.is_empty()
        || any(|s| match s {
            // It dials again by itself, so nobody has to do anything.
            SessionState::Disconnected(trouble) => *trouble != Trouble::Network,
            SessionState::Exhausted
            | SessionState::Banned { .. }
            | SessionState::LoggedOut
            | SessionState::Conflict
            | SessionState::Outdated => true,
            SessionState::Connecting
            | SessionState::Qr { .. }
            | SessionState::PairingCode { .. }
            | SessionState::Online => false,
        });
    if attention {
        Pattern::NeedsAttention
    } else if any(|s| expires(s).is_some()) {
        Pattern::WaitingForScan
    } else if any(|s| !matches!(s, SessionState::Online)) {
        Pattern::Connecting
    } else {
        Pattern::Online
    }
}
