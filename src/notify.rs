//! What the service manager is told: sd_notify(3)'s datagrams, and how often it wants to hear from the watchdog.
//!
//! Outside a service, or under one that did not ask, everything here does nothing.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Characters of a status line; systemctl shows one line.
const STATUS_LENGTH: usize = 200;

/// Why the service manager cannot be told anything.
#[derive(Debug, thiserror::Error)]
#[error("the service manager's socket {address:?} (NOTIFY_SOCKET) cannot be used: {source}")]
pub struct NotifyError {
    address: OsString,
    source: io::Error,
}

/// The service manager, where there is one.
#[derive(Debug)]
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// From `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`, which `variable` looks up.
    ///
    /// # Errors
    /// [`NotifyError`]: there is a socket, and it cannot be reached. A service of `Type=notify` would be killed for its
    /// silence later, so this is better told at once.
    pub fn from_env(variable: impl Fn(&str) -> Option<OsString>) -> Result<ServiceManager, NotifyError> {
        let Some(address) = variable("NOTIFY_SOCKET").filter(|address| !address.is_empty()) else {
            return Ok(ServiceManager { socket: None, watchdog: None });
        };
        let socket = connect(&address).map_err(|source| NotifyError { address, source })?;
        let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
        // The watchdog may be meant for the process that started us.
        let ours = variable("WATCHDOG_PID").is_none()
            || number("WATCHDOG_PID") == Some(u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|micros| ours && *micros > 0);
        Ok(ServiceManager { socket: Some(socket), watchdog: watchdog.map(Duration::from_micros) })
    }

    /// Longest silence after which the service manager kills this process, if it watches.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Whether anybody listens.
    pub fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// Start-up is over: whatever is ordered after this service may start.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", line(status)));
    }

    /// One line for `systemctl status`.
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={}", line(status)));
    }

    /// Everything makes progress.
    pub fn feed_watchdog(&self, status: &str) {
        self.send(&format!("WATCHDOG=1\nSTATUS={}", line(status)));
    }

    /// Shutdown has begun.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=Stopping");
    }

    fn send(&self, message: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(e) = socket.send(message.as_bytes()) {
            log::warn!("the service manager cannot be told: {e}");
        }
    }
}

/// A path, or `@name` in Linux's abstract namespace.
fn connect(address: &OsStr) -> io::Result<UnixDatagram> {
    let address = match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(address)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // A manager that does not read must not hold up the gateway.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(STATUS_LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(list: &[(&str, &OsStr)]) -> impl Fn(&str) -> Option<OsString> {
        move |name| list.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
    }

    fn next(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 1024];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn without_a_manager_nothing_is_sent_and_nothing_watched() {
        let manager = ServiceManager::from_env(variables(&[("WATCHDOG_USEC", OsStr::new("1000"))])).unwrap();
        assert!(!manager.is_there());
        assert_eq!(manager.watchdog(), None);
        manager.ready("up");
    }

    #[test]
    fn a_socket_by_path_and_one_by_abstract_name_get_the_same_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("kurir-test-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(&name).unwrap();
        for (server, address) in [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (UnixDatagram::bind_addr(&abstract_address).unwrap(), OsString::from(format!("@{name}"))),
        ] {
            let manager = ServiceManager::from_env(variables(&[("NOTIFY_SOCKET", &address)])).unwrap();
            manager.ready("two\nlines");
            assert_eq!(next(&server), "READY=1\nSTATUS=twolines");
            manager.feed_watchdog("fine");
            assert_eq!(next(&server), "WATCHDOG=1\nSTATUS=fine");
            manager.stopping();
            assert_eq!(next(&server), "STOPPING=1\nSTATUS=Stopping");
        }
    }

    #[test]
    fn a_socket_that_nobody_reads_is_an_error_that_names_it() {
        let gone = OsStr::new("/nonexistent/notify");
        let error = ServiceManager::from_env(variables(&[("NOTIFY_SOCKET", gone)])).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/notify") && error.contains("NOTIFY_SOCKET"), "{error}");
    }

    #[test]
    fn the_watchdog_of_another_process_is_not_ours() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _server = UnixDatagram::bind(&path).unwrap();
        let watchdog = |pid: &str| {
            let list = [
                ("NOTIFY_SOCKET", path.as_os_str()),
                ("WATCHDOG_USEC", OsStr::new("30000000")),
                ("WATCHDOG_PID", OsStr::new(pid)),
            ];
            ServiceManager::from_env(variables(&list)).unwrap().watchdog()
        };
        assert_eq!(watchdog(&std::process::id().to_string()), Some(Duration::from_secs(30)));
        assert_eq!(watchdog("1"), None);
        assert_eq!(watchdog("nonsense"), None);
    }
}
