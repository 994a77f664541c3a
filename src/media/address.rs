//! Which addresses a media URL may lead to.
//!
//! A URL comes from whoever may call the API, the gateway sits inside the office network: without this check it
//! would fetch the router's configuration page for them. The ranges are those of the IANA special-purpose address
//! registries for IPv4 and IPv6 (RFC 6890 and successors).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::str::FromStr;

use thiserror::Error;

/// A block of addresses, such as `192.168.0.0/16`. A single address stands for the block that holds only it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

/// Why a text is not a [`Cidr`].
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CidrError {
    /// The part before the slash is no address.
    #[error("`{0}` is not an IP address; write a block like 192.168.0.0/16 or fd00::/8")]
    Address(String),
    /// The part after the slash is no prefix length for this family.
    #[error("`{text}`: the prefix length must be a number from 0 to {max}")]
    Prefix {
        /// The text as given.
        text: String,
        /// 32 for IPv4, 128 for IPv6.
        max: u8,
    },
    /// Bits are set beyond the prefix, so either half may be the mistake.
    #[error("`{text}` has bits set beyond its prefix; did you mean {meant}?")]
    HostBits {
        /// The text as given.
        text: String,
        /// The block that the address lies in.
        meant: Cidr,
    },
}

impl Cidr {
    /// Whether `ip` lies in this block. An IPv4-mapped IPv6 address counts as the IPv4 address that it holds.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.network, ip.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => v4_in(ip, network, self.prefix),
            (IpAddr::V6(network), IpAddr::V6(ip)) => v6_in(ip, network, self.prefix),
            _ => false,
        }
    }

    /// Parses a comma-separated list; an empty one is empty.
    ///
    /// # Errors
    /// The first entry that is not a block.
    pub fn parse_list(list: &str) -> Result<Vec<Self>, CidrError> {
        list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::parse).collect()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let text = text.trim();
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let ip: IpAddr = address.parse().map_err(|_| CidrError::Address(address.to_owned()))?;
        let max = if ip.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => max,
            // u8's own parser would also take "+8".
            Some(digits) => digits
                .parse()
                .ok()
                .filter(|prefix| *prefix <= max && digits.bytes().all(|b| b.is_ascii_digit()))
                .ok_or_else(|| CidrError::Prefix { text: text.to_owned(), max })?,
        };
        let network = match ip {
            IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask_v4(prefix))),
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask_v6(prefix))),
        };
        let block = Self { network, prefix };
        if network == ip {
            Ok(block)
        } else {
            Err(CidrError::HostBits { text: text.to_owned(), meant: block })
        }
    }
}

fn mask_v4(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

fn mask_v6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

fn v4_in(ip: Ipv4Addr, network: Ipv4Addr, prefix: u8) -> bool {
    ip.to_bits() & mask_v4(prefix) == network.to_bits()
}

fn v6_in(ip: Ipv6Addr, network: Ipv6Addr, prefix: u8) -> bool {
    ip.to_bits() & mask_v6(prefix) == network.to_bits()
}

const V4: &[(Ipv4Addr, u8, &str)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8, "unspecified"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "carrier-grade NAT"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "protocol assignment"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "6to4 relay"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "benchmark"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

const V6: &[(Ipv6Addr, u8, &str)] = &[
    (Ipv6Addr::UNSPECIFIED, 128, "unspecified"),
    (Ipv6Addr::LOCALHOST, 128, "loopback"),
    // IPv4-compatible, deprecated; some systems still route it to the IPv4 address inside.
    (Ipv6Addr::UNSPECIFIED, 96, "IPv4-compatible"),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, "local NAT64"),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64, "discard"),
    // Teredo carries two IPv4 addresses, one of them disguised; nothing serves files from it.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, "Teredo"),
    (Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0), 48, "benchmark"),
    (Ipv6Addr::new(0x2001, 0x10, 0, 0, 0, 0, 0, 0), 28, "ORCHID"),
    (Ipv6Addr::new(0x2001, 0x20, 0, 0, 0, 0, 0, 0), 28, "ORCHID"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "documentation"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "documentation"),
    (Ipv6Addr::new(0x5f00, 0, 0, 0, 0, 0, 0, 0), 16, "segment routing"),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "private"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "link-local"),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, "site-local"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "multicast"),
];

/// Why nothing may be fetched from `ip`, or `None` if it is an ordinary public address. IPv6 addresses that lead to
/// an IPv4 one (mapped, 6to4, NAT64) are judged by that one.
#[must_use]
pub fn forbidden(ip: IpAddr) -> Option<&'static str> {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            V4.iter().find(|(network, prefix, _)| v4_in(ip, *network, *prefix)).map(|(.., why)| *why)
        }
        IpAddr::V6(ip) => {
            if let Some((.., why)) = V6.iter().find(|(network, prefix, _)| v6_in(ip, *network, *prefix)) {
                return Some(why);
            }
            embedded_v4(ip).and_then(|inner| forbidden(IpAddr::V4(inner)))
        }
    }
}

fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = ip.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match s {
        // 6to4, RFC 3056.
        [0x2002, high, low, ..] => Some(join(high, low)),
        // NAT64's well-known prefix, RFC 6052.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(join(high, low)),
        _ => None,
    }
}

/// Whether `ip` is one of this machine's own addresses, as of now: a public one is no private range, but leads to
/// the box itself all the same. Only an own address can be bound.
pub(super) fn is_own(ip: IpAddr) -> bool {
    // With the kernel's ip_nonlocal_bind set, everything can be bound and the answer would mean nothing.
    const NEVER_OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    let can_bind = |ip| UdpSocket::bind((ip, 0)).is_ok();
    can_bind(ip.to_canonical()) && !can_bind(NEVER_OWN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn why(ip: &str) -> Option<&'static str> {
        forbidden(ip.parse().unwrap())
    }

    #[test]
    fn everything_inside_is_forbidden() {
        for ip in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "192.88.99.1",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.1.2.3",
            "::ffff:169.254.169.254",
            "2002:7f00:1::",
            "2002:0a00:0001::1",
            "2002:c0a8:0101::1",
            "64:ff9b::7f00:1",
            "64:ff9b::192.168.0.1",
            "64:ff9b:1::1",
            "2001:0:1:2::3",
            "2001:db8::1",
            "3fff::1",
            "fc00::1",
            "fdff::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "2001:2::1",
        ] {
            assert!(why(ip).is_some(), "{ip} may be fetched from");
        }
    }

    #[test]
    fn the_public_network_is_not() {
        for ip in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "126.0.0.1",
            "128.0.0.1",
            "169.253.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.0.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450:4001::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:0808:0808::1",
        ] {
            assert_eq!(why(ip), None, "{ip}");
        }
    }

    #[test]
    fn own_addresses_are_known() {
        assert!(is_own("127.0.0.1".parse().unwrap()));
        assert!(is_own("::ffff:127.0.0.1".parse().unwrap()));
        assert!(!is_own("198.51.100.7".parse().unwrap()));
    }

    #[test]
    fn blocks_parse_with_errors_that_say_what_to_write() {
        let block: Cidr = " 10.0.0.0/8 ".parse().unwrap();
        assert!(block.contains("10.255.0.1".parse().unwrap()));
        assert!(block.contains("::ffff:10.0.0.1".parse().unwrap()));
        assert!(!block.contains("11.0.0.1".parse().unwrap()));
        assert!(!block.contains("fd00::1".parse().unwrap()));
        assert_eq!("::1".parse::<Cidr>().unwrap().to_string(), "::1/128");
        assert!("0.0.0.0/0".parse::<Cidr>().unwrap().contains("8.8.8.8".parse().unwrap()));
        assert_eq!(
            "10.0.0.7/8".parse::<Cidr>().unwrap_err().to_string(),
            "`10.0.0.7/8` has bits set beyond its prefix; did you mean 10.0.0.0/8?"
        );
        for wrong in
            ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/-1", "fd00::/129", "10/8", "lan"]
        {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
        assert_eq!(Cidr::parse_list("").unwrap(), []);
        assert_eq!(Cidr::parse_list("127.0.0.0/8, ::1").unwrap().len(), 2);
        assert_eq!(Cidr::parse_list("127.0.0.0/8, lan").unwrap_err(), CidrError::Address("lan".into()));
    }

    proptest! {
        #[test]
        fn any_text_parses_or_fails_cleanly(text in ".{0,40}") {
            let _ = text.parse::<Cidr>();
        }

        #[test]
        fn a_block_prints_as_it_parses_and_holds_its_ends(bits: u32, prefix in 0_u8..=32) {
            let network = Ipv4Addr::from_bits(bits & mask_v4(prefix));
            let text = format!("{network}/{prefix}");
            let block: Cidr = text.parse().unwrap();
            prop_assert_eq!(block.to_string(), text);
            prop_assert!(block.contains(IpAddr::V4(network)));
            prop_assert!(block.contains(IpAddr::V4(Ipv4Addr::from_bits(bits | !mask_v4(prefix)))));
            prop_assert!(block.contains(IpAddr::V4(Ipv4Addr::from_bits(bits))));
        }

        #[test]
        fn a_v6_block_prints_as_it_parses(bits: u128, prefix in 0_u8..=128) {
            let network = Ipv6Addr::from_bits(bits & mask_v6(prefix));
            let block: Cidr = format!("{network}/{prefix}").parse().unwrap();
            prop_assert_eq!(block, Cidr { network: IpAddr::V6(network), prefix });
        }

        #[test]
        fn mapped_addresses_are_judged_as_what_they_hold(bits: u32) {
            let v4 = Ipv4Addr::from_bits(bits);
            prop_assert_eq!(forbidden(IpAddr::V4(v4)), forbidden(IpAddr::V6(v4.to_ipv6_mapped())));
        }
    }
}
