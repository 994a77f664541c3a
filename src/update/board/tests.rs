use super::*;

fn slots(dir: &Path) -> (SlotPaths, SlotPaths) {
    let slot = |boot: &str, root: &str| {
        for name in [boot, root] {
            std::fs::write(dir.join(name), vec![0; 8192]).unwrap();
        }
        let dir = dir.display();
        SlotPaths::parse(&format!("boot={dir}/{boot}, root={dir}/{root}")).unwrap()
    };
    (slot("mmcblk0p2", "mmcblk0p5"), slot("mmcblk0p3", "mmcblk0p6"))
}

#[test]
fn slots_are_named_in_the_settings() {
    let slot = SlotPaths::parse("root=/dev/mmcblk0p5, boot=/dev/mmcblk0p2").unwrap();
    assert_eq!(slot.to_string(), "boot=/dev/mmcblk0p2,root=/dev/mmcblk0p5");
    assert_eq!(SlotPaths::parse(&slot.to_string()).unwrap(), slot);
    assert!(SlotPaths::parse("").unwrap().is_empty());
    for wrong in ["boot", "boot=p2", "=/dev/x", "boot=/dev/a,boot=/dev/b", "a b=/dev/x"] {
        assert!(SlotPaths::parse(wrong).is_err(), "{wrong}");
    }
    let other = SlotPaths::parse("boot=/dev/mmcblk0p3").unwrap();
    assert!(Partitions::new(slot, other).is_err());
    assert!(Partitions::new(SlotPaths::default(), SlotPaths::default()).is_err());
}

#[test]
fn partitions_are_written_read_and_never_touched_while_mounted() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = slots(dir.path());
    let mut partitions = Partitions::new(a.clone(), b.clone()).unwrap();
    assert_eq!(partitions.parts(), ["boot", "root"]);
    assert_eq!(partitions.room(Slot::B, "root").unwrap(), 8192);
    partitions.write(Slot::B, "root", 4096, b"here").unwrap();
    partitions.sync(Slot::B, "root").unwrap();
    let mut read = [0; 4];
    partitions.read(Slot::B, "root", 4096, &mut read).unwrap();
    assert_eq!(&read, b"here");
    assert_eq!(&std::fs::read(dir.path().join("mmcblk0p6")).unwrap()[4096..4100], b"here");
    assert!(partitions.room(Slot::A, "home").is_err());
    let mounts = dir.path().join("mounts");
    let device = dir.path().canonicalize().unwrap().join("mmcblk0p2");
    std::fs::write(&mounts, format!("proc /proc proc rw 0 0\n{} /boot vfat rw 0 0\n", device.display()))
        .unwrap();
    let mut partitions = Partitions { mounts, ..Partitions::new(a, b).unwrap() };
    assert!(partitions.room(Slot::A, "boot").unwrap_err().to_string().contains("mounted"));
    assert!(partitions.room(Slot::B, "boot").is_ok());
}

#[test]
fn the_firmware_is_read_and_told_in_its_own_file() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = slots(dir.path());
    let file = dir.path().join("autoboot.txt");
    let mut firmware = Firmware::new(file.clone(), &a, &b).unwrap();
    assert!(firmware.preferred().is_err(), "there is no file");
    std::fs::write(&file, "# by hand\n[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n")
        .unwrap();
    assert_eq!(firmware.preferred().unwrap(), Slot::A);
    firmware.prefer(Slot::B).unwrap();
    assert_eq!(firmware.preferred().unwrap(), Slot::B);
    let inode = |file: &Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(file).unwrap());
    let before = inode(&file);
    firmware.prefer(Slot::A).unwrap();
    assert_eq!((firmware.preferred().unwrap(), inode(&file)), (Slot::A, before), "in place");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), autoboot(2, 3));
    assert_eq!(
        include_str!("../../../image/boot/autoboot.txt"),
        autoboot(2, 3),
        "the image begins with this one"
    );
    std::fs::write(&file, "[all]\nboot_partition=7\n").unwrap();
    assert!(firmware.preferred().unwrap_err().to_string().contains('7'));
    firmware.restart = vec!["false".into()];
    assert!(firmware.try_other().is_err());
    assert!(Firmware::new(file, &a, &a).is_err());
}

#[test]
fn the_slot_that_runs_is_told_by_the_firmware_the_initramfs_or_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = slots(dir.path());
    let mut firmware = Firmware::new(dir.path().join("autoboot.txt"), &a, &b).unwrap();
    firmware.started_from = dir.path().join("partition");
    firmware.mounted = dir.path().join("kurir-slot");
    firmware.command_line = dir.path().join("cmdline");
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
    write("cmdline", b"root=/dev/vda5 xkurir.slot=a ro\n");
    assert!(firmware.running().unwrap_err().to_string().contains("kurir.slot"), "nobody says it");
    write("cmdline", b"console=ttyAMA0 kurir.slot=b ro\n");
    assert_eq!(firmware.running().unwrap(), Slot::B);
    // A Pi's firmware knows better than a line that somebody copied.
    write("partition", &2u32.to_be_bytes());
    assert_eq!(firmware.running().unwrap(), Slot::A);
    write("kurir-slot", b"a\n");
    assert_eq!(firmware.running().unwrap(), Slot::A);
    write("kurir-slot", b"b\n");
    assert!(firmware.running().is_err(), "they disagree");
    std::fs::remove_file(&firmware.started_from).unwrap();
    assert_eq!(firmware.running().unwrap(), Slot::B);
    write("kurir-slot", b"c\n");
    assert!(firmware.running().is_err());
    std::fs::remove_file(&firmware.mounted).unwrap();
    write("partition", b"x");
    assert!(firmware.running().is_err());
    write("partition", &7u32.to_be_bytes());
    assert!(firmware.running().unwrap_err().to_string().contains('7'));
}

#[test]
fn a_read_only_partition_is_writable_for_one_write() {
    let read_only = || io::Error::from(io::ErrorKind::ReadOnlyFilesystem);
    let done = std::cell::RefCell::new(Vec::new());
    let mounted = std::cell::Cell::new("ro");
    let note = |what: &str| done.borrow_mut().push(what.to_owned());
    let write = || {
        note("write");
        if mounted.get() == "ro" { Err(read_only()) } else { Ok(()) }
    };
    let remount = |how: &str| {
        note(how);
        mounted.set(if how == "rw" { "rw" } else { "ro" });
        Ok(())
    };
    writable(write, remount).unwrap();
    assert_eq!(done.take(), ["write", "rw", "write", "ro"]);
    assert!(writable(write, |_| Err(io::Error::other("busy"))).is_err());
    mounted.set("rw");
    done.take();
    writable(write, remount).unwrap();
    assert_eq!(done.take(), ["write"], "nothing is mounted where it is writable");
    assert!(writable(|| Err(io::Error::other("full")), remount).is_err());
}

#[test]
fn the_record_is_replaced_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut record = RecordFile(dir.path().join("update.json"));
    assert_eq!(record.load().unwrap(), None);
    record.save(b"one").unwrap();
    record.save(b"two").unwrap();
    assert_eq!(record.load().unwrap().unwrap(), b"two");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}
