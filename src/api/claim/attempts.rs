//! How often somebody may guess a secret that a person can type: pure bookkeeping.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Wrong attempts from one address before it is made to wait.
const FREE: u32 = 5;
/// Longest wait after further wrong attempts.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Wrong attempts from all addresses together, after which everybody waits for [`PAUSE`] and a code is replaced.
pub(super) const BUDGET: u32 = 30;
/// See [`BUDGET`].
pub(super) const PAUSE: Duration = Duration::from_secs(60);
/// Addresses that are remembered; beyond it the oldest are forgotten. [`BUDGET`] holds all the same.
const MAX_ADDRESSES: usize = 256;

struct Wrong {
    count: u32,
    last: Instant,
}

/// Wrong attempts, by address and in all.
#[derive(Default)]
pub(super) struct Attempts {
    by_address: HashMap<IpAddr, Wrong>,
    total: u32,
    paused_until: Option<Instant>,
}

/// What an attempt cost.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Charge {
    /// It may be made.
    Counted,
    /// It may be made, and was the last one of the budget: what is guessed at must be replaced if it is wrong.
    Last,
    /// It may not be made before this long.
    Wait(Duration),
}

impl Attempts {
    /// Counts an attempt as a wrong one before it is looked at, so that attempts made at the same time are all counted.
    /// A right one is forgiven by [`Attempts::right`].
    pub(super) fn charge(&mut self, from: IpAddr, now: Instant) -> Charge {
        if let Some(left) = self.paused_until.and_then(|until| until.checked_duration_since(now))
            && !left.is_zero()
        {
            return Charge::Wait(left);
        }
        self.paused_until = None;
        let from = machine(from);
        if let Some(wrong) = self.by_address.get(&from)
            && let Some(over) = wrong.count.checked_sub(FREE)
        {
            let wait = Duration::from_secs(1 << over.min(6)).min(MAX_WAIT);
            let left = wait.saturating_sub(now.saturating_duration_since(wrong.last));
            if !left.is_zero() {
                return Charge::Wait(left);
            }
        }
        if self.by_address.len() >= MAX_ADDRESSES && !self.by_address.contains_key(&from) {
            let oldest = self.by_address.iter().min_by_key(|(_, wrong)| wrong.last).map(|(a, _)| *a);
            oldest.map(|address| self.by_address.remove(&address));
        }
        let wrong = self.by_address.entry(from).or_insert(Wrong { count: 0, last: now });
        wrong.count = wrong.count.saturating_add(1);
        wrong.last = now;
        self.total += 1;
        if self.total < BUDGET {
            return Charge::Counted;
        }
        self.total = 0;
        self.paused_until = Some(now + PAUSE);
        Charge::Last
    }

    /// The attempt that was charged last from this address was right.
    pub(super) fn right(&mut self, from: IpAddr) {
        self.by_address.remove(&machine(from));
        self.total = 0;
        self.paused_until = None;
    }
}

/// Who counts as one guesser: an IPv4 address, or an IPv6 network of 64 bits, within which a machine picks addresses as
/// it likes.
fn machine(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u8) -> IpAddr {
        [192, 168, 1, n].into()
    }

    #[test]
    fn an_address_waits_longer_each_time_and_another_does_not() {
        let (mut attempts, start) = (Attempts::default(), Instant::now());
        for _ in 0..FREE {
            assert_eq!(attempts.charge(address(1), start), Charge::Counted);
        }
        assert_eq!(attempts.charge(address(1), start), Charge::Wait(Duration::from_secs(1)));
        assert_eq!(attempts.charge(address(2), start), Charge::Counted);
        let mut now = start + Duration::from_secs(1);
        for wait in [2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(attempts.charge(address(1), now), Charge::Counted);
            assert_eq!(attempts.charge(address(1), now), Charge::Wait(Duration::from_secs(wait)));
            now += Duration::from_secs(wait);
        }
        attempts.right(address(1));
        assert_eq!(attempts.charge(address(1), now), Charge::Counted);
        assert_eq!(attempts.charge(address(1), now), Charge::Counted, "a right one clears the count");
    }

    #[test]
    fn all_addresses_together_have_a_budget() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        let mut charges: Vec<Charge> = Vec::new();
        for n in 0..BUDGET {
            charges.push(attempts.charge(IpAddr::V6((u128::from(n) << 64).into()), now));
        }
        assert_eq!(charges.pop(), Some(Charge::Last));
        assert!(charges.iter().all(|charge| *charge == Charge::Counted));
        assert_eq!(attempts.charge(address(9), now), Charge::Wait(PAUSE));
        assert_eq!(attempts.charge(address(9), now + PAUSE), Charge::Counted);
    }

    #[test]
    fn neighbours_in_one_ipv6_network_are_one_guesser() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for n in 0..u16::try_from(FREE).unwrap() {
            let neighbour = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, n, 1);
            assert_eq!(attempts.charge(neighbour.into(), now), Charge::Counted);
        }
        let next: IpAddr = "2001:db8:0:1::ffff".parse().unwrap();
        assert!(matches!(attempts.charge(next, now), Charge::Wait(_)));
        assert_eq!(attempts.charge("2001:db8:0:2::1".parse().unwrap(), now), Charge::Counted);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut attempts, mut now) = (Attempts::default(), Instant::now());
        for n in 0..2 * u128::try_from(MAX_ADDRESSES).unwrap() {
            now += PAUSE;
            attempts.charge(IpAddr::V6((n << 64).into()), now);
        }
        assert_eq!(attempts.by_address.len(), MAX_ADDRESSES);
    }
}
