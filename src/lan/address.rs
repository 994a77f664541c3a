//! The addresses at which others reach the box, and when they change: told by the kernel, not asked for. No packet leaves
//! for it.

use std::cmp::Reverse;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::time::Duration;

use if_addrs::{IfAddr, Interface};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;

/// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR` and `RTMGRP_IPV6_IFADDR` (linux/rtnetlink.h): interfaces up and down, addresses.
const GROUPS: u32 = 0x1 | 0x10 | 0x100;
/// A cable that is plugged in brings a burst of changes; they are looked at together.
const SETTLE: Duration = Duration::from_millis(300);
/// How often to look where the kernel tells nothing.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The box's addresses now, the one to show first: a cable before Wi-Fi before anything else, IPv4 before IPv6. Loopback
/// and bridges of containers are left out, link-local ones as long as there is another.
fn current() -> Vec<IpAddr> {
    match if_addrs::get_if_addrs() {
        Ok(interfaces) => order(interfaces),
        Err(e) => {
            log::warn!("the box's addresses cannot be read: {e}");
            Vec::new()
        }
    }
}

fn order(interfaces: Vec<Interface>) -> Vec<IpAddr> {
    const BRIDGES: [&str; 5] = ["docker", "br-", "veth", "virbr", "cni"];
    let mut found: Vec<_> = interfaces
        .into_iter()
        .filter(|one| !one.is_loopback() && !one.ip().is_unspecified())
        .filter(|one| !BRIDGES.iter().any(|bridge| one.name.starts_with(bridge)))
        .filter(|one| !matches!(&one.addr, IfAddr::V6(v6) if v6.ip.is_unicast_link_local()))
        .collect();
    if found.iter().any(|one| !one.is_link_local()) {
        found.retain(|one| !one.is_link_local());
    }
    let rank = |name: &str| match name.as_bytes().first() {
        Some(b'e') => 2,
        Some(b'w') => 1,
        _ => 0,
    };
    found.sort_by_key(|one| (one.ip().is_ipv6(), Reverse(rank(&one.name)), one.name.clone(), one.ip()));
    let mut addresses: Vec<IpAddr> = Vec::with_capacity(found.len());
    for one in found {
        if !addresses.contains(&one.ip()) {
            addresses.push(one.ip());
        }
    }
    addresses
}

/// The box's addresses as they change.
pub struct Addresses {
    known: watch::Sender<Vec<IpAddr>>,
}

impl Default for Addresses {
    fn default() -> Addresses {
        Addresses { known: watch::Sender::new(current()) }
    }
}

impl Addresses {
    /// The addresses, and changes of them.
    pub fn watch(&self) -> watch::Receiver<Vec<IpAddr>> {
        self.known.subscribe()
    }

    /// Follows the kernel's notices until `stop` becomes true.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            // The guard that `wait_for` returns must not live across an await.
            () = async { let _ = stop.wait_for(|stop| *stop).await; } => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&self) {
        let untold = |e: io::Error| {
            log::info!("the kernel does not tell when the network changes ({e}); it is looked at every 30 s");
        };
        let mut notices = notices().map_err(untold).ok();
        loop {
            // What changed before the socket listened, or between two notices, is seen here as well.
            let now = current();
            self.known.send_if_modified(|known| {
                let changed = *known != now;
                if changed {
                    *known = now;
                }
                changed
            });
            let told = match &notices {
                Some(notices) => next(notices).await,
                None => {
                    tokio::time::sleep(LOOK_EVERY).await;
                    Ok(())
                }
            };
            if let Err(e) = told {
                untold(e);
                notices = None;
            }
        }
    }
}

fn notices() -> io::Result<Receiver> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // No protocol is protocol 0, `NETLINK_ROUTE`.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    // Not a pipe, but tokio reads one as it reads anything that can be polled.
    Receiver::from_owned_fd_unchecked(socket)
}

/// Waits for the next burst of notices, and for its end.
async fn next(notices: &Receiver) -> io::Result<()> {
    loop {
        notices.readable().await?;
        if drain(notices)? {
            tokio::time::sleep(SETTLE).await;
            return drain(notices).map(|_| ());
        }
    }
}

/// Reads all that waits. What it says is of no use: the addresses are read as they are then. True if there was any.
fn drain(notices: &Receiver) -> io::Result<bool> {
    let mut any = false;
    let mut buffer = [0; 8192];
    loop {
        match notices.try_read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => any = true,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(any),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            // More changed than the kernel could keep for us.
            Err(e) if e.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => any = true,
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use if_addrs::{IfOperStatus, Ifv4Addr, Ifv6Addr};

    use super::*;

    fn interface(name: &str, ip: &str) -> Interface {
        let addr = match ip.parse().unwrap() {
            IpAddr::V4(ip) => {
                IfAddr::V4(Ifv4Addr { ip, netmask: Ipv4Addr::BROADCAST, prefixlen: 32, broadcast: None })
            }
            IpAddr::V6(ip) => {
                IfAddr::V6(Ifv6Addr { ip, netmask: Ipv6Addr::UNSPECIFIED, prefixlen: 0, broadcast: None })
            }
        };
        Interface { name: name.into(), addr, index: None, oper_status: IfOperStatus::Up, is_p2p: false }
    }

    fn ordered(interfaces: &[(&str, &str)]) -> Vec<String> {
        let interfaces = interfaces.iter().map(|(name, ip)| interface(name, ip)).collect();
        order(interfaces).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_cable_comes_first_and_what_nobody_can_reach_is_left_out() {
        assert_eq!(
            ordered(&[
                ("lo", "127.0.0.1"),
                ("lo", "::1"),
                ("tun0", "10.8.0.2"),
                ("tun1", "0.0.0.0"),
                ("docker0", "172.17.0.1"),
                ("wlan0", "192.168.1.21"),
                ("wlan1", "192.168.1.21"),
                ("eth0", "fd00::20"),
                ("eth0", "fe80::1"),
                ("eth0", "192.168.1.20"),
                ("eth1", "169.254.3.4"),
            ]),
            ["192.168.1.20", "192.168.1.21", "10.8.0.2", "fd00::20"]
        );
        assert_eq!(ordered(&[("eth0", "169.254.3.4"), ("lo", "127.0.0.1")]), ["169.254.3.4"]);
        assert!(ordered(&[("lo", "127.0.0.1"), ("eth0", "fe80::1")]).is_empty());
    }

    #[tokio::test]
    async fn the_kernel_is_listened_to() {
        let notices = notices().expect("every Linux has rtnetlink");
        let change = tokio::time::timeout(Duration::from_millis(50), next(&notices));
        assert!(change.await.is_err(), "nothing has changed");
    }

    #[tokio::test]
    async fn the_task_ends_and_what_it_knew_stays() {
        let addresses = Addresses::default();
        let known = addresses.watch();
        let (stop, stopping) = watch::channel(false);
        let running = tokio::spawn(addresses.run(stopping));
        tokio::task::yield_now().await;
        stop.send(true).unwrap();
        running.await.unwrap();
        assert_eq!(*known.borrow(), current());
    }
}
