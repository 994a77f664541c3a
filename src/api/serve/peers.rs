//! Each address's share of the connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// How many connections each address has open. A `std` mutex: it is held for one map operation, never across an await.
#[derive(Clone, Default)]
pub(super) struct Peers(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl Peers {
    /// A place for one more connection from `address`, given back when dropped.
    pub(super) fn admit(&self, address: IpAddr, share: usize) -> Option<Place> {
        // ::ffff:192.0.2.1 on a dual-stack listener is the same machine as 192.0.2.1.
        let address = address.to_canonical();
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = counts.get(&address).copied().unwrap_or(0);
        if open >= share {
            return None;
        }
        counts.insert(address, open + 1);
        Some(Place { peers: self.clone(), address })
    }
}

pub(super) struct Place {
    peers: Peers,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = counts.get_mut(&self.address) {
            *open -= 1;
            if *open == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_given_back_when_its_connection_ends() {
        let peers = Peers::default();
        let v4: IpAddr = "192.0.2.1".parse().unwrap();
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        let first = peers.admit(v4, 2).unwrap();
        let second = peers.admit(mapped, 2).unwrap();
        assert!(peers.admit(v4, 2).is_none());
        assert!(peers.admit("192.0.2.2".parse().unwrap(), 2).is_some());
        drop(first);
        let third = peers.admit(v4, 2).unwrap();
        drop((second, third));
        assert!(peers.0.lock().unwrap().is_empty());
    }
}
