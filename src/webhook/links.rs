//! Links to received media that work without a key for a while, because a receiver of webhooks often has none.

use subtle::ConstantTimeEq;

use super::sign::tag;

/// Makes and checks links. Cheap to clone.
#[derive(Clone)]
pub struct Links {
    key: [u8; 32],
    /// Where applications reach this box, without a slash at the end; without it, links have no host.
    base: Option<String>,
    /// How long a link works, in seconds.
    seconds: i64,
}

impl Links {
    /// `key`: random, kept in the store, so that links outlive a restart.
    pub fn new(key: [u8; 32], base: Option<&str>, seconds: i64) -> Links {
        Links { key, base: base.map(|base| base.trim_end_matches('/').to_owned()), seconds }
    }

    /// The link to the medium of this event.
    pub fn link(&self, event_id: &str, now_s: i64) -> String {
        // By the day, so that the same event has the same link in each attempt of a day.
        let until = (now_s.saturating_add(self.seconds) / 86_400 + 1) * 86_400;
        let base = self.base.as_deref().unwrap_or_default();
        format!("{base}/api/v1/media/{event_id}?until={until}&sig={}", self.signature(event_id, until))
    }

    /// Whether `sig` is what [`Links::link`] made, and the time is not over.
    pub fn check(&self, event_id: &str, until: i64, sig: &str, now_s: i64) -> bool {
        let expected = self.signature(event_id, until);
        bool::from(expected.as_bytes().ct_eq(sig.as_bytes())) && now_s < until
    }

    fn signature(&self, event_id: &str, until: i64) -> String {
        hex::encode(
            &tag(&self.key, &[b"media ", event_id.as_bytes(), b" ", until.to_string().as_bytes()])[..16],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_opens_its_own_event_until_its_time_is_over() {
        let links = Links::new([7; 32], Some("http://kurir.lan/"), 3 * 86_400);
        let link = links.link("ab12", 1_000_000);
        let (path, query) = link.split_once('?').unwrap();
        assert_eq!(path, "http://kurir.lan/api/v1/media/ab12");
        let (until, sig) = query.split_once("&sig=").unwrap();
        let until: i64 = until.strip_prefix("until=").unwrap().parse().unwrap();
        assert!((1_000_000 + 3 * 86_400..=1_000_000 + 4 * 86_400).contains(&until));
        assert!(links.check("ab12", until, sig, until - 1));
        assert!(!links.check("ab12", until, sig, until), "over");
        assert!(!links.check("ab13", until, sig, 0), "another event");
        assert!(!links.check("ab12", until + 86_400, sig, 0), "stretched");
        assert!(!links.check("ab12", until, &sig[1..], 0));
        let elsewhere = Links::new([8; 32], None, 60);
        assert!(!elsewhere.check("ab12", until, sig, 0), "another box");
        assert!(elsewhere.link("ab12", 0).starts_with("/api/v1/media/"));
    }
}
