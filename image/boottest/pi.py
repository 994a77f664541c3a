"""The card in an emulated Pi: its own device tree, card reader and serial console. QEMU has no network for it, and no watchdog."""

import os
from typing import NamedTuple

from . import cpio
from .box import TROUBLE
from .card import Card
from .machine import BootFailed, Machine


class Board(NamedTuple):
    name: str
    machine: tuple
    tree: str
    line: str  # the file with the kernel's command line, as config.txt names it
    serial: tuple  # where the two ports go: that of the header's pins is the one to be read


BOARDS = {
    "arm64": Board("Pi 3", ("qemu-system-aarch64", "-M", "raspi3b"), "bcm2837-rpi-3-b.dtb",
                   "cmdline.txt", ("null", "stdio")),
    "armhf": Board("Pi 2", ("qemu-system-arm", "-M", "raspi2b"), "bcm2836-rpi-2-b.dtb",
                   "cmdline-pi2.txt", ("stdio", "null")),
}
# QEMU's cards have a power of two.
CARD_BYTES = 4 << 30
# A Pi 2's four cores wait for each other where there are only two.
PATIENCE = 600
# To QEMU, a watchdog that is started is one that has run out. So the initramfs gets an empty module, which does not load.
WATCHDOG = "bcm2835_wdt"
# What is to be heard of the kernel: each driver with its device, and each I2C bus with its number.
HEARD = f'modprobe.blacklist={WATCHDOG} loglevel=8 dyndbg="func driver_bound +p" i2c_dev.dyndbg="func i2cdev_attach_adapter +p" systemd.show_status=error'
# The front panel's buses, with the numbers that they have on the header (image/boot/panel.dtso).
PANEL = {
    "/dev/i2c-1": r"adapter \[bcm2835 \(i2c@7e804000\)\] registered as minor 1\b",
    "/dev/spidev0.0": r"spidev spi0\.0: .*bound to device",
    "/dev/spidev0.1": r"spidev spi0\.1: .*bound to device",
}


def start(board, card, folder):
    """Power on."""
    line = card.text(Card.BOOT_A, board.line, folder).strip()
    initrd = card.take(Card.BOOT_A, "initrd.img", os.path.join(folder, "initrd.img"))
    # A later archive's files take the place of an earlier one's.
    with open(initrd, "ab") as file:
        file.write(cpio.archive(file.tell(), {f"modules/{WATCHDOG}.ko": b""}))
    return Machine([
        *board.machine, "-display", "none", "-no-reboot", "-monitor", "none",
        "-serial", board.serial[0], "-serial", board.serial[1],
        "-kernel", card.take(Card.BOOT_A, "vmlinuz", os.path.join(folder, "vmlinuz")),
        "-initrd", initrd,
        "-dtb", card.take(Card.BOOT_A, board.tree, os.path.join(folder, board.tree)),
        "-append", f"{line} {HEARD}",
        "-drive", f"file={card.path},if=sd,format=raw",
    ])


def starts(arch, image, folder, say):
    """A new card in a Pi, until its console shows the claim code. Returns the seconds from power-on until then."""
    card = Card(image, os.path.join(folder, "pi.img"), CARD_BYTES)
    machine = start(BOARDS[arch], card, folder)
    try:
        at, _ = machine.console(r"kurir-init: slot a, root /dev/mmcblk0p5", PATIENCE)
        say(f"the {BOARDS[arch].name}'s card reader has the card {at:.1f} s after power-on")
        at, code = machine.console(r"Kurir: claim code \w{4}-\w{4}, (http://\S+)", PATIENCE)
        say(f"the serial console shows the claim code and {code[1]} {at:.1f} s after power-on")
        for device, pattern in PANEL.items():
            machine.console(pattern, 30)
            say(f"the kernel has {device}")
        machine.console(r"kurir_tryboot: a restart goes where autoboot.txt says", 0)
        bad = machine.find(TROUBLE)
        if bad:
            raise BootFailed("the console says:\n" + "\n".join(bad[:5]))
        return at
    except BootFailed:
        print("-- the end of the serial console's log:")
        print("\n".join(machine.tail()), flush=True)
        raise
    finally:
        machine.kill()
        with open(os.path.join(folder, "pi.log"), "w", encoding="utf-8") as file:
            file.write("\n".join(machine.tail(100_000)) + "\n")
