//! Updates: a box with slots, and signed files for it.

use std::path::PathBuf;

use kurir::config::Config;
use kurir::update::board::{KIND, SlotPaths};
use kurir::update::release::{self, Release};
use tempfile::TempDir;

/// Whoever releases updates for one box.
pub struct Publisher {
    folder: TempDir,
}

impl Publisher {
    /// Makes the box of this configuration one with slots, that takes updates of a new publisher.
    pub fn of(config: &mut Config) -> Publisher {
        let publisher = Publisher { folder: tempfile::tempdir().unwrap() };
        let at = |name: &str| publisher.folder.path().join(name);
        let slot = |n: u8| SlotPaths::parse(&format!("boot=/dev/kurir{n},root=/dev/kurir{}", n + 3)).unwrap();
        (config.update_slot_a, config.update_slot_b) = (slot(2), slot(3));
        config.update_autoboot = Some(at("autoboot.txt"));
        std::fs::write(at("update.pub"), release::key(&at("secret")).unwrap()).unwrap();
        config.update_key = Some(at("update.pub"));
        publisher
    }

    /// A file with the key of somebody else.
    pub fn stranger() -> Publisher {
        Publisher::of(&mut Config::default())
    }

    /// The public key's file.
    pub fn key_file(&self) -> PathBuf {
        self.folder.path().join("update.pub")
    }

    /// An update for the kind of box that the tests run on.
    pub fn pack(&self, version: &str, parts: &[(&str, &[u8])]) -> Vec<u8> {
        self.pack_for(KIND, version, parts)
    }

    /// An update for this kind of box.
    pub fn pack_for(&self, board: &str, version: &str, parts: &[(&str, &[u8])]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let mut named = Vec::new();
        for (name, contents) in parts {
            let path = folder.path().join(name);
            std::fs::write(&path, contents).unwrap();
            named.push(format!("{name}={}", path.display()));
        }
        let (key, out) = (self.folder.path().join("secret"), folder.path().join("kurir.update"));
        let release = Release { key: &key, version: version.parse().unwrap(), board, parts: &named };
        release.pack(&out).unwrap();
        std::fs::read(out).unwrap()
    }
}
