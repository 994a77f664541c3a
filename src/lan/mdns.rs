//! `http://kurir-XXXX.local`: the box answers multicast DNS (RFC 6762) and announces its services (RFC 6763).
//!
//! The mdns-sd crate does the protocol on a thread of its own. It would look for new addresses every few seconds; here
//! the kernel says when there are some, and it is started again with them, because version 0.21.7 may take its own
//! packets for another machine's: while it probes an address that came later, its announcement of the others counts as
//! a conflict, and it then goes from name to name, several a second, without end.

use std::net::IpAddr;
use std::time::Duration;

use mdns_sd::{DaemonEvent, IfKind, ServiceDaemon, ServiceInfo};
use tokio::sync::watch;

/// How long the farewell to the network may take at shutdown, and the end of the one before at a new address.
const FAREWELL: Duration = Duration::from_secs(1);
/// Between the one before and the next. What the first has sent may reach the box's other interface later, because an
/// access point keeps multicast back until its next beacon; the next must not hear it.
const SILENCE: Duration = Duration::from_millis(500);

/// What is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The host name, without `.local`.
    pub host: String,
    /// The port of `http://`.
    pub http: u16,
    /// The port of `https://`, where there is one.
    pub https: Option<u16>,
    /// The only address that the API listens on; `None`: on all of them, and the announcement follows them.
    pub address: Option<IpAddr>,
    /// Whether this machine itself is told as well. Tests need it; an office's box does not.
    pub loopback: bool,
}

impl Announcement {
    fn services(&self) -> Result<Vec<ServiceInfo>, mdns_sd::Error> {
        let host = format!("{}.local.", self.host);
        let service = |kind: &str, port: u16| {
            let properties = [("path", "/")];
            let addresses: Vec<IpAddr> = self.address.into_iter().collect();
            let service =
                ServiceInfo::new(kind, &self.host, &host, addresses.as_slice(), port, &properties[..])?;
            Ok(if self.address.is_none() { service.enable_addr_auto() } else { service })
        };
        let mut services = vec![service("_http._tcp.local.", self.http)?];
        if let Some(port) = self.https {
            services.push(service("_https._tcp.local.", port)?);
        }
        Ok(services)
    }
}

/// Answers for the box's name.
pub struct Mdns {
    announcement: Announcement,
    daemon: ServiceDaemon,
    names: Vec<String>,
}

impl Mdns {
    /// Starts to announce. A network that does not let multicast through is one line in the log; the box is then
    /// reached by its address.
    pub fn start(announcement: &Announcement) -> Option<Mdns> {
        match Mdns::try_start(announcement) {
            Ok(mdns) => {
                log::info!("announced as http://{}.local", announcement.host);
                Some(mdns)
            }
            Err(e) => {
                log::warn!("{}.local is not announced: {e}; use the box's address", announcement.host);
                None
            }
        }
    }

    fn try_start(announcement: &Announcement) -> Result<Mdns, mdns_sd::Error> {
        let daemon = ServiceDaemon::new()?;
        let registered = Mdns::register(&daemon, announcement);
        if registered.is_err() {
            // Its thread would stay.
            let _ = daemon.shutdown();
        }
        Ok(Mdns { announcement: announcement.clone(), names: registered?, daemon })
    }

    fn register(daemon: &ServiceDaemon, announcement: &Announcement) -> Result<Vec<String>, mdns_sd::Error> {
        daemon.set_ip_check_interval(0)?;
        if !announcement.loopback {
            daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
        }
        let mut names = Vec::new();
        for service in announcement.services()? {
            names.push(service.get_fullname().to_owned());
            daemon.register(service)?;
        }
        Ok(names)
    }

    /// Follows the box's addresses until `stop` becomes true, then says farewell.
    pub async fn run(mut self, mut addresses: watch::Receiver<Vec<IpAddr>>, mut stop: watch::Receiver<bool>) {
        loop {
            let changed = tokio::select! {
                // The guard that `wait_for` returns must not live across an await.
                () = async { let _ = stop.wait_for(|stop| *stop).await; } => break,
                changed = addresses.changed() => changed.is_ok(),
                () = self.tell() => false,
            };
            if changed {
                self.start_again().await;
            } else {
                let _ = stop.wait_for(|stop| *stop).await;
                break;
            }
        }
        let farewell = async {
            for name in &self.names {
                if let Ok(done) = self.daemon.unregister(name) {
                    let _ = done.recv_async().await;
                }
            }
            if let Ok(done) = self.daemon.shutdown() {
                let _ = done.recv_async().await;
            }
        };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }

    async fn start_again(&mut self) {
        if let Ok(done) = self.daemon.shutdown() {
            let _ = tokio::time::timeout(FAREWELL, done.recv_async()).await;
        }
        tokio::time::sleep(SILENCE).await;
        match Mdns::try_start(&self.announcement) {
            Ok(mdns) => *self = mdns,
            Err(e) => log::warn!("the box's name is not announced at its new addresses: {e}"),
        }
    }

    /// Logs what people have to know: that the name is another box's, and the first failure.
    async fn tell(&self) {
        let mut failed = false;
        if let Ok(events) = self.daemon.monitor() {
            while let Ok(event) = events.recv_async().await {
                match event {
                    DaemonEvent::NameChange(change) => log::warn!(
                        "another machine is called {} already; this box is now {}. The setting host_name chooses another",
                        change.original,
                        change.new_name
                    ),
                    DaemonEvent::Error(e) if !failed => {
                        failed = true;
                        log::warn!(
                            "multicast DNS: {e}; logged once. If the name does not work, use the box's address"
                        );
                    }
                    _ => {}
                }
            }
        }
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use mdns_sd::DaemonStatus;

    use super::*;

    fn announcement() -> Announcement {
        Announcement {
            host: format!("kurir-test-{}", std::process::id()),
            http: 8080,
            https: Some(8443),
            address: None,
            loopback: true,
        }
    }

    #[test]
    fn the_records_name_host_ports_and_addresses() {
        let announcement = Announcement { host: "kurir-a1b2".into(), ..announcement() };
        let services = announcement.services().unwrap();
        let names: Vec<&str> = services.iter().map(ServiceInfo::get_fullname).collect();
        assert_eq!(names, ["kurir-a1b2._http._tcp.local.", "kurir-a1b2._https._tcp.local."]);
        for (service, port) in services.iter().zip([8080, 8443]) {
            assert_eq!((service.get_hostname(), service.get_port()), ("kurir-a1b2.local.", port));
            assert!(service.is_addr_auto());
        }
        let plain = Announcement { https: None, address: Some("192.0.2.7".parse().unwrap()), ..announcement };
        let services = plain.services().unwrap();
        assert_eq!((services.len(), services[0].is_addr_auto()), (1, false));
        assert_eq!(services[0].get_addresses_v4().len(), 1);
    }

    /// A second machine's part is played by a second daemon, over this machine's own multicast.
    #[tokio::test(flavor = "multi_thread")]
    async fn another_machine_finds_the_box_by_name() {
        let announcement = announcement();
        let Some(mdns) = Mdns::start(&announcement) else { return };
        let (stop, stopping) = watch::channel(false);
        let (addresses, known) = watch::channel(Vec::new());
        let before = mdns.daemon.clone();
        let running = tokio::spawn(mdns.run(known, stopping));
        // As after a cable is plugged in. What answers below is the daemon that was started after it.
        addresses.send(vec!["192.0.2.1".parse().unwrap()]).unwrap();
        let ended = async {
            while let Ok(Ok(DaemonStatus::Running)) = before.status().map(|status| status.recv()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), ended).await.expect("the first daemon ends");
        let querier = ServiceDaemon::new().unwrap();
        let found = querier.resolve_hostname(&format!("{}.local.", announcement.host), Some(10_000)).unwrap();
        let addresses = tokio::time::timeout(Duration::from_secs(15), async {
            while let Ok(event) = found.recv_async().await {
                match event {
                    mdns_sd::HostnameResolutionEvent::AddressesFound(_, addresses) => return Some(addresses),
                    mdns_sd::HostnameResolutionEvent::SearchTimeout(_) => return None,
                    _ => {}
                }
            }
            None
        });
        let addresses = addresses.await.expect("the querier ends by itself");
        stop.send(true).unwrap();
        running.await.unwrap();
        let _ = querier.shutdown();
        // A sandbox may have no interface with multicast at all; then there is nothing to look at.
        if let Some(addresses) = addresses {
            let ours: Vec<IpAddr> =
                if_addrs::get_if_addrs().unwrap().iter().map(if_addrs::Interface::ip).collect();
            assert!(!addresses.is_empty());
            for address in addresses {
                assert!(ours.contains(&address.to_ip_addr()), "{address:?} is not ours");
            }
        }
    }
}
