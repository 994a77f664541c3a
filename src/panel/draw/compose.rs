//! What a screen says, before it is known where it goes.

use super::{
    super::{
        screen::{Body, Label, Release, Screen, Target},
        text::{Words, bytes, code, date_time, fill, phone, words},
        view::Trouble,
    },
    card::{Card, Kind, Line},
    face::writable,
    icons,
    palette::Tone,
};

/// Messages that wait, as a person wants to know it.
const QUEUE_SHOWN: u64 = 9999;
/// The same on a low panel.
const QUEUE_SHOWN_LOW: u64 = 99;
/// Letters of somebody else's text that are set at most.
const NOTICE_SHOWN: usize = 120;

/// Whose screen it is: the name, or else the number, or else nothing.
fn name(label: &Label) -> Option<String> {
    Some(writable(&label.name)).filter(|n| !n.is_empty()).or_else(|| label.number.as_deref().map(phone))
}

/// A line that says whose screen it is; it may go where it is the only session.
fn whose(label: &Label, screen: &Screen) -> Option<Line> {
    let line = Line::new(Kind::Name, name(label)?).quiet();
    Some(if screen.page.is_some() { line } else { line.optional() })
}

/// The web page's address without what everybody knows.
fn short_url(url: &str) -> String {
    url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/').to_owned()
}

/// A card about one session that does not work.
fn trouble(
    screen: &Screen,
    label: &Label,
    icon: icons::Icon,
    tone: Tone,
    title: &str,
    advice: String,
) -> Card {
    let mut card = Card::new(icon, tone, title);
    card.lines.extend(whose(label, screen));
    card.words(advice)
}

/// The card of `screen`; `strip` if the panel is a low one. `None` if it is blank.
pub(super) fn card(screen: &Screen, strip: bool) -> Option<Card> {
    let w = words(screen.language);
    let time = |at| date_time(w, at, screen.utc_offset);
    Some(match &screen.body {
        Body::Blank => return None,
        Body::Starting => Card::new(icons::POWER, Tone::Busy, w.starting).words(w.one_moment),
        Body::Erasing => Card::new(icons::TRASH, Tone::Bad, w.erasing).words(w.keep_power),
        Body::Updating { percent } => {
            let mut card = Card::new(icons::UPDATE, Tone::Busy, w.updating)
                .line(Line::new(Kind::Code, format!("{percent} %")))
                .line(Line::new(Kind::Words, w.keep_power).optional());
            card.bar = Some(*percent);
            card
        }
        Body::Notice { text } => {
            let text: String = writable(text).chars().take(NOTICE_SHOWN).collect();
            Card::new(icons::WARNING, Tone::Warn, w.notice).line(Line::new(Kind::Loose, text))
        }
        Body::Claim { code, url } => {
            let card = Card::new(icons::KEY, Tone::Busy, w.claim).line(Line::new(Kind::Code, code.as_str()));
            match url {
                Some(url) => card
                    .line(Line::new(Kind::Words, w.claim_where).quiet().optional())
                    .line(Line::new(Kind::Address, short_url(url))),
                None => card.words(w.claim_nowhere),
            }
        }
        Body::NoNetwork => Card::new(icons::UNPLUGGED, Tone::Warn, w.no_network).words(w.check_network),
        Body::NoSession => Card::new(icons::PHONE, Tone::Warn, w.no_session).words(w.add_session),
        Body::Qr { label, url, .. } => match url {
            // Only where the code does not fit; see the layout of QR screens.
            Some(url) => Card::new(icons::PHONE, Tone::Busy, w.open_page)
                .line(Line::new(Kind::Address, short_url(url)))
                .line(Line::new(Kind::Words, w.open_page_why).quiet()),
            None => trouble(screen, label, icons::PHONE, Tone::Warn, w.scan, w.no_page.into()),
        },
        Body::PairingCode { label, code: text, seconds } => {
            let mut card = Card::new(icons::PHONE, Tone::Busy, w.pairing_code);
            let left = fill(w.seconds, seconds);
            card.lines.push(Line::new(Kind::Code, code(text)));
            card.lines.push(if strip {
                Line::new(Kind::Words, format!("WhatsApp, {left}"))
            } else {
                Line::new(Kind::Words, w.pairing_code_where)
            });
            card.lines.extend(whose(label, screen).map(Line::optional));
            if !strip {
                card.lines.push(Line::new(Kind::Words, left));
            }
            card
        }
        Body::Connecting { label } => {
            let mut card = Card::new(icons::DOTS, Tone::Busy, w.connecting);
            card.lines.extend(name(label).map(|n| Line::new(Kind::Name, n)));
            let number = label.number.as_deref().map(phone).filter(|_| !writable(&label.name).is_empty());
            card.lines.extend(number.map(|n| Line::new(Kind::Whole, n).quiet().optional()));
            card
        }
        Body::Online { label, address, queue, last_message } => {
            let mut card = Card::new(icons::CHECK, Tone::Good, "");
            card.title =
                Line::new(Kind::Name, name(label).unwrap_or_else(|| w.online.into())).tone(Tone::Good);
            let number = label.number.as_deref().map(phone).filter(|n| *n != card.title_text());
            card.lines.extend(number.map(|n| Line::new(Kind::Whole, n)));
            card.lines.extend(address.as_ref().map(|a| Line::new(Kind::Address, a.as_str())));
            let most = if strip { QUEUE_SHOWN_LOW } else { QUEUE_SHOWN };
            let more = if *queue > most { "+" } else { "" };
            let queue = fill(w.queue, format!("{}{more}", queue.min(&most)));
            match last_message {
                // A low panel has one line for both.
                Some(at) if strip => {
                    card.lines.push(Line::new(Kind::Whole, format!("{queue} {}", time(*at))));
                }
                _ => {
                    card.lines.push(Line::new(Kind::Words, queue));
                    let last = last_message.map_or(w.no_message.into(), |at| fill(w.last, time(at)));
                    let last = Line::new(Kind::Whole, last).quiet();
                    card.lines.push(if strip { last.optional() } else { last });
                }
            }
            card
        }
        Body::Exhausted { label } => {
            trouble(screen, label, icons::PHONE, Tone::Warn, w.exhausted, w.exhausted_do.into())
        }
        Body::Disconnected { label, trouble: why } => disconnected(screen, label, *why, w),
        Body::Banned { label, until } => {
            let mut card = Card::new(icons::BAN, Tone::Bad, w.banned);
            card.lines.extend(whose(label, screen));
            match until {
                Some(at) => card.line(Line::new(Kind::Whole, fill(w.until, time(*at)))),
                None => card.words(w.until_unknown),
            }
        }
        Body::LoggedOut { label } => {
            trouble(screen, label, icons::UNLINKED, Tone::Warn, w.logged_out, w.logged_out_do.into())
        }
        Body::Conflict { label } => {
            trouble(screen, label, icons::WARNING, Tone::Warn, w.conflict, w.conflict_do.into())
        }
        Body::Outdated { label } => {
            trouble(screen, label, icons::UPDATE, Tone::Warn, w.outdated, w.outdated_do.into())
        }
        Body::DiskNearlyFull { free } => {
            Card::new(icons::DISK, Tone::Warn, w.disk).words(fill(w.free, bytes(*free))).words(w.disk_do)
        }
        Body::ClockNotSet => Card::new(icons::CLOCK, Tone::Warn, w.clock).words(w.clock_do),
        Body::Address { url, addresses } => {
            let mut card = Card::new(icons::GLOBE, Tone::Plain, w.page);
            card.lines.extend(url.as_ref().map(|u| Line::new(Kind::Address, short_url(u))));
            // The url may be one of them.
            let shown = |a: &&std::net::IpAddr| url.as_ref().is_none_or(|u| short_url(u) != a.to_string());
            let others = addresses.iter().filter(shown).enumerate();
            card.lines.extend(others.map(|(i, address)| {
                let line = Line::new(Kind::Address, address.to_string()).quiet();
                if i == 0 { line } else { line.optional() }
            }));
            card
        }
        Body::Fingerprint { sha256 } => {
            let digits: String = sha256.chars().filter(char::is_ascii_hexdigit).collect();
            Card::new(icons::KEY, Tone::Plain, w.fingerprint)
                .line(Line::new(Kind::Hex, digits.to_ascii_uppercase()))
        }
        Body::Hold { release, pending, percent, target } => {
            let tone = tone_of(*release);
            let mut card = Card::new(icon_of(*release), tone, w.let_go.of(*release));
            if let Some(pending) = pending {
                let text = fill(w.hold_on.of(pending.then), pending.seconds);
                card.lines.push(Line::new(Kind::Whole, text));
            }
            let about = if *release == Release::Erase {
                Some(Line::new(Kind::Words, w.everything))
            } else {
                let line = target_name(target, w).map(|n| Line::new(Kind::Name, n).quiet());
                // Whose number is about to be unlinked must be there.
                let unlinks =
                    *release == Release::Unlink || pending.is_some_and(|p| p.then == Release::Unlink);
                line.map(|l| if unlinks { l } else { l.optional() })
            };
            card.lines.extend(about);
            card.bar = Some(*percent);
            card
        }
        Body::Done { action, target } => {
            let mut card = Card::new(icon_of(*action), tone_of(*action), w.done.of(*action));
            if *action != Release::Erase {
                card.lines.extend(target_name(target, w).map(|n| Line::new(Kind::Name, n).optional()));
            }
            card.words(w.one_moment)
        }
    })
}

/// The card that stands beside or below a QR that is shown.
pub(super) fn beside_qr(screen: &Screen, label: &Label, seconds: u64) -> Card {
    let w = words(screen.language);
    let mut card = Card::new(icons::PHONE, Tone::Busy, w.scan);
    card.lines.extend(whose(label, screen));
    card.words(w.scan_where).line(Line::new(Kind::Code, fill(w.seconds, seconds)))
}

/// One line for below a QR.
pub(super) fn below_qr(screen: &Screen, seconds: u64) -> Card {
    let w = words(screen.language);
    let mut card = Card::new(icons::PHONE, Tone::Busy, &format!("{} - {}", w.scan, fill(w.seconds, seconds)));
    card.icon = None;
    card
}

fn disconnected(screen: &Screen, label: &Label, why: Trouble, w: &Words) -> Card {
    let (tone, title, advice) = match why {
        Trouble::Network => (Tone::Busy, w.disconnected, w.network_trouble.to_owned()),
        Trouble::AccountLocked => (Tone::Bad, w.locked, w.locked_do.to_owned()),
        Trouble::Refused(code) => (Tone::Warn, w.disconnected, fill(w.refused, code)),
        Trouble::RestartLoop => (Tone::Warn, w.disconnected, w.restart_loop.to_owned()),
        Trouble::Store => (Tone::Bad, w.disconnected, w.store.to_owned()),
    };
    trouble(screen, label, icons::UNLINKED, tone, title, advice)
}

fn tone_of(release: Release) -> Tone {
    match release {
        Release::Nothing => Tone::Plain,
        Release::Redial | Release::FreshQr | Release::NewSession => Tone::Busy,
        Release::Unlink => Tone::Warn,
        Release::Erase => Tone::Bad,
    }
}

fn icon_of(release: Release) -> icons::Icon {
    match release {
        Release::Nothing => icons::PRESS,
        Release::Redial => icons::DOTS,
        Release::FreshQr | Release::NewSession => icons::PHONE,
        Release::Unlink => icons::UNLINKED,
        Release::Erase => icons::TRASH,
    }
}

fn target_name(target: &Target, w: &Words) -> Option<String> {
    match target {
        Target::Session(label) => name(label),
        Target::All(0 | 1) => None,
        Target::All(count) => Some(fill(w.all_numbers, count)),
    }
}
