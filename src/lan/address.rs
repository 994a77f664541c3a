//! The addresses at which others reach the box, and when they change: told by the kernel, not asked for.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

/// `RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR` (rtnetlink(7)).
const GROUPS: u32 = 0x1 | 0x10 | 0x100;
/// A cable that is plugged in brings a burst of changes; they are looked at together.
const SETTLE: Duration = Duration::from_millis(300);

/// The box's addresses now: no loopback, and none that is good on one cable only; IPv4 first.
pub fn current() -> Vec<IpAddr> {
    match if_addrs::get_if_addrs() {
        Ok(interfaces) => useful(interfaces.iter().map(if_addrs::Interface::ip)),
        Err(e) => {
            log::warn!("the box's addresses cannot be read: {e}");
            Vec::new()
        }
    }
}

fn useful(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut useful: Vec<IpAddr> = addresses
        .filter(|address| match address {
            IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_unspecified(),
            IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unspecified() && !v6.is_unicast_link_local(),
        })
        .collect();
    useful.sort_by_key(|address| (address.is_ipv6(), *address));
    useful.dedup();
    useful
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
        let follow = async {
            match self.follow().await {
                Ok(()) => {}
                Err(e) => {
                    log::warn!("changes of the box's addresses are not noticed until it starts again: {e}");
                    // The values stay readable.
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            // The guard that `wait_for` returns must not live across an await.
            () = async { let _ = stop.wait_for(|stop| *stop).await; } => {}
            () = follow => {}
        }
    }

    async fn follow(&self) -> io::Result<()> {
        let notices = notices()?;
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
            notices.readable().await?.clear_ready();
            tokio::time::sleep(SETTLE).await;
            drain(&notices)?;
        }
    }
}

#[allow(deprecated, reason = "an OwnedFd owns what it registers; the replacement is an unsafe function")]
fn notices() -> io::Result<AsyncFd<OwnedFd>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // No protocol means NETLINK_ROUTE, which is 0.
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    AsyncFd::new(socket)
}

/// What the notices say does not matter, only that there were some. The kernel drops those that find no room, which is
/// no harm for the same reason.
fn drain(notices: &AsyncFd<OwnedFd>) -> io::Result<()> {
    let mut buffer = [0; 8192];
    loop {
        match rustix::net::recv(notices.get_ref(), &mut buffer, RecvFlags::empty()) {
            Ok(_) | Err(rustix::io::Errno::INTR | rustix::io::Errno::NOBUFS) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_others_can_use_are_shown() {
        let all =
            ["fe80::1", "2001:db8::2", "127.0.0.1", "192.168.1.9", "::1", "10.0.0.3", "10.0.0.3", "0.0.0.0"];
        let shown = useful(all.iter().map(|a| a.parse().unwrap()));
        assert_eq!(shown, ["10.0.0.3", "192.168.1.9", "2001:db8::2"].map(|a| a.parse::<IpAddr>().unwrap()));
    }

    #[tokio::test]
    async fn the_kernel_is_listened_to_and_the_task_ends() {
        let addresses = Addresses::default();
        let known = addresses.watch();
        let (stop, stopping) = watch::channel(false);
        let running = tokio::spawn(addresses.run(stopping));
        tokio::task::yield_now().await;
        assert_eq!(*known.borrow(), current());
        stop.send(true).unwrap();
        running.await.unwrap();
    }
}
