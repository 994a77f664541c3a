//! Changes of device lists, told to those who have asked for them before.

use std::sync::Arc;

use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;

use crate::adv;
use crate::keys::DeviceAddr;
use crate::queue::Class;
use crate::server::Server;

impl Server {
    /// Tells the account's other devices, and every device that knows its list, that a device was linked.
    pub(crate) fn device_added(&self, addr: &DeviceAddr) {
        let Some((phone, adv_id, changed, current, valid, key_index)) = ({
            let world = self.world();
            world.account(addr).and_then(|account| {
                let key_index = account.linked.get(&addr.device)?.key_index;
                let valid: Vec<u32> = account.linked.values().map(|device| device.key_index).collect();
                let phone = Arc::clone(&account.phone);
                Some((phone, account.adv_id, account.adv_changed, account.next_key_index, valid, key_index))
            })
        }) else {
            return;
        };
        let list = adv::key_index_list(&mut phone.state().signal, adv_id, changed, current, valid);
        let list = NodeBuilder::new("key-index-list").attr("ts", changed).bytes(list).build();
        self.announce("add", addr, Some(key_index), list);
    }

    /// The same for a device that was unlinked.
    pub(crate) fn device_removed(&self, addr: &DeviceAddr) {
        let list = NodeBuilder::new("key-index-list").attr("ts", Self::now()).build();
        self.announce("remove", addr, None, list);
    }

    fn announce(&self, change: &'static str, addr: &DeviceAddr, key_index: Option<u32>, list: Node) {
        let mut world = self.world();
        let Some(account) = world.account(addr) else { return };
        let (pn, lid) = (account.pn(0), account.lid(0));
        let mut device = NodeBuilder::new("device")
            .attr("jid", account.pn(addr.device))
            .attr("lid", account.lid(addr.device));
        if let Some(key_index) = key_index {
            device = device.attr("key-index", key_index);
        }
        let mut notification = NodeBuilder::new("notification")
            .attr("from", pn)
            .attr("lid", lid)
            .attr("type", "devices")
            .attr("t", Self::now())
            .children([NodeBuilder::new(change).children([device.build(), list]).build()])
            .build();
        let mut targets = Vec::new();
        for other in world.accounts.values() {
            for (device, linked) in &other.linked {
                let concerned = other.number == addr.user || linked.informed.contains_key(&addr.user);
                let target = other.device(*device);
                if concerned && target != *addr {
                    targets.push(target);
                }
            }
        }
        for target in targets {
            notification.attrs.insert("id", world.fresh_id());
            world.deliver(&target, Class::Notification, notification.clone());
        }
    }
}
