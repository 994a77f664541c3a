//! Whether the box has a way out, from the kernel's routing tables: cheap, and no packet leaves for it.

use std::time::Duration;

/// How often a waiting session looks. Only sessions that wait for a lost network do.
pub(super) const PROBE_EVERY: Duration = Duration::from_secs(2);

/// Whether there is a default route, IPv4 or IPv6, on an interface that is up.
pub(super) fn has_default_route() -> bool {
    let v4 = std::fs::read_to_string("/proc/net/route").is_ok_and(|table| default_v4(&table));
    v4 || std::fs::read_to_string("/proc/net/ipv6_route").is_ok_and(|table| default_v6(&table))
}

/// `/proc/net/route`: Iface Destination Gateway Flags …, in hexadecimal; flag 1 is "up".
fn default_v4(table: &str) -> bool {
    table.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(1) == Some(&"00000000")
            && fields.get(7) == Some(&"00000000")
            && fields.get(3).and_then(|f| u32::from_str_radix(f, 16).ok()).is_some_and(|flags| flags & 1 == 1)
    })
}

/// `/proc/net/ipv6_route`: destination, its prefix length, …, flags, interface. The kernel keeps a reject route on `lo`.
fn default_v6(table: &str) -> bool {
    table.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.first().is_some_and(|d| d.bytes().all(|b| b == b'0'))
            && fields.get(1) == Some(&"00")
            && fields.get(9).is_some_and(|interface| *interface != "lo")
            && fields.get(8).and_then(|f| u32::from_str_radix(f, 16).ok()).is_some_and(|flags| flags & 1 == 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    #[test]
    fn a_default_route_is_told_from_a_local_one() {
        assert!(default_v4(&format!("{HEAD}eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n")));
        assert!(!default_v4(&format!(
            "{HEAD}eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
        )));
        assert!(!default_v4(&format!(
            "{HEAD}eth0\t00000000\t0101A8C0\t0002\t0\t0\t100\t00000000\t0\t0\t0\n"
        )));
        assert!(!default_v4(HEAD) && !default_v4(""));
        let zero = "0".repeat(32);
        let route = |flags: &str, device: &str| {
            format!("{zero} 00 {zero} 00 {zero} 00000400 00000001 00000000 {flags} {device}\n")
        };
        assert!(default_v6(&route("00000003", "wlan0")));
        assert!(!default_v6(&route("00200200", "lo")));
    }
}
