//! CPU of the broker: of the process that listens where the brokers are, if that is this machine,
//! or of the threads of the broker in this process.

use std::fs;
use std::net::{IpAddr, ToSocketAddrs};

use super::process::{self, ProcessMeter, stat};

/// Measures the broker.
pub(in crate::bench) struct BrokerMeter(Option<ProcessMeter>);

impl BrokerMeter {
    /// Looks for the process behind `brokers`, `host:port` with commas between. Brokers elsewhere,
    /// several on this machine, and one whose process may not be looked at, are not measured.
    pub(in crate::bench) fn start(brokers: &str) -> Self {
        let pids = brokers.split(',').map(|broker| listener(broker.trim()));
        let found = pids.collect::<Option<Vec<_>>>().and_then(|pids| match pids[..] {
            [pid] => Some(pid),
            _ => None,
        });
        Self(found.map(ProcessMeter::start))
    }

    /// CPU seconds since the start.
    pub(in crate::bench) fn cpu(&self) -> Option<f64> {
        self.0.as_ref()?.cpu()
    }
}

fn listener(broker: &str) -> Option<u32> {
    let addresses = broker.to_socket_addrs().ok()?;
    let is_local = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
    let port = addresses.filter(|address| is_local(address.ip())).map(|a| a.port()).next()?;
    let socket = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
        let table = fs::read_to_string(table).ok()?;
        listening_socket(&table, port)
    })?;
    let pid = process::all().into_iter().find(|pid| has_open(*pid, &socket))?;
    // Behind a proxy of a container engine, its CPU would be the wrong one; in this process it
    // would be ours.
    let is_proxy = stat(pid).is_none_or(|stat| stat.name.contains("proxy"));
    (!is_proxy && pid != std::process::id()).then_some(pid)
}

/// The inode of the socket that listens on `port`, in the form of the links under `/proc/PID/fd`.
fn listening_socket(table: &str, port: u16) -> Option<String> {
    const LISTENS: &str = "0A";
    let wanted = format!(":{port:04X}");
    table.lines().find_map(|line| {
        let fields = line.split_whitespace().collect::<Vec<_>>();
        let is_it = fields.get(1)?.ends_with(&wanted) && *fields.get(3)? == LISTENS;
        is_it.then(|| format!("socket:[{}]", fields.get(9).unwrap_or(&"")))
    })
}

fn has_open(pid: u32, socket: &str) -> bool {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    links
        .filter_map(|link| fs::read_link(link.path()).ok())
        .any(|target| target.as_os_str() == socket)
}

#[cfg(test)]
mod tests {
    use super::listening_socket;

    #[test]
    fn the_socket_that_listens_is_found_by_its_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when\n\
             0: 0100007F:4E85 0100007F:9C40 01 00000000:00000000 00:00000000 00000000 0 0 111 1\n\
             1: 0100007F:4E85 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 222 1\n";
        assert_eq!(listening_socket(table, 0x4E85).as_deref(), Some("socket:[222]"));
        assert_eq!(listening_socket(table, 1), None);
    }
}
