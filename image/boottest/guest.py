"""The box: QEMU with the image's own kernel and initrd, and its disk served by nbd.py."""

import json
import os
import socket
import time

from . import nbd
from .card import Card
from .machine import BootFailed, Machine

MACHINES = {
    "arm64": ["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72"],
    # Debian's armmp kernel has 32-bit addresses only, so the PCI windows must be below 4 GB.
    "armhf": ["qemu-system-arm", "-M", "virt,highmem=off", "-cpu", "cortex-a15"],
}
MAC = "52:54:00:12:34:56"
# QEMU's user networking: the guest's address, and its host's loopback as the guest sees it.
ADDRESS, HOST = "10.0.2.15", "10.0.2.2"


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Guest(Machine):
    """One start of the box, from power-on to power-off."""

    def __init__(self, arch, card, folder, forwards, lan=None, memory=512):
        """`forwards`: the guest's TCP ports and where each is reached on 127.0.0.1. `lan`: a lan.Lan to be on the network."""
        self.disk = nbd.Disk(card.path)
        sockets = {name: os.path.join(folder, name) for name in ("nbd", "qmp")}
        for path in sockets.values():
            if os.path.exists(path):
                os.unlink(path)
        self._server = nbd.Server(self.disk, sockets["nbd"])
        command_line = card.text(Card.BOOT_A, "cmdline.txt", folder).strip()
        network = "user,id=out" + "".join(f",hostfwd=tcp:127.0.0.1:{near}-:{far}" for far, near in forwards.items())
        command = [
            *MACHINES[arch], "-smp", "2", "-m", str(memory), "-display", "none", "-no-reboot",
            "-monitor", "none", "-serial", "stdio", "-qmp", f"unix:{sockets['qmp']},server=on,wait=off",
            "-kernel", card.take(Card.BOOT_A, "vmlinuz", os.path.join(folder, "vmlinuz")),
            "-initrd", card.take(Card.BOOT_A, "initrd.img", os.path.join(folder, "initrd.img")),
            # The image is quiet; here the kernel, its initramfs and a unit that fails are to be heard.
            "-append", f"{command_line} kurir.slot=a console=ttyAMA0 loglevel=7 systemd.show_status=error",
            "-blockdev", f"nbd,node-name=card,server.type=unix,server.path={sockets['nbd']},export=card",
            "-device", "virtio-blk-pci,drive=card,write-cache=on",
            # A hub, so that lan.Lan hears and says what it likes beside QEMU's own network.
            "-netdev", network, "-netdev", "hubport,id=hub-out,hubid=0,netdev=out",
            "-netdev", "hubport,id=hub-box,hubid=0",
            "-device", f"virtio-net-pci,netdev=hub-box,romfile=,mac={MAC}",
            "-device", "virtio-balloon-pci,id=balloon",
            *(lan.arguments() if lan else []),
        ]
        self._qmp_path = sockets["qmp"]
        super().__init__(command)

    def check(self):
        """Fails if QEMU has ended or the disk's server had trouble."""
        super().check()
        if self._server.trouble:
            raise BootFailed(self._server.trouble)

    def qmp(self, *commands):
        """The answers of QEMU's monitor protocol to these commands."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(20)
            connection.connect(self._qmp_path)
            stream = connection.makefile("rw", encoding="utf-8")
            stream.readline()  # the greeting
            answers = []
            for command in ({"execute": "qmp_capabilities"}, *commands):
                stream.write(json.dumps(command) + "\n")
                stream.flush()
                while True:
                    answer = json.loads(stream.readline())
                    if "return" in answer or "error" in answer:
                        answers.append(answer.get("return"))
                        break
            return answers[1:]

    def memory(self, seconds=10):
        """Bytes that the guest uses and has, as its balloon driver tells them: what is not available counts as used, so the
        page cache does not. None if it tells nothing."""
        where = {"path": "/machine/peripheral/balloon"}
        self.qmp({"execute": "qom-set",
                  "arguments": {**where, "property": "guest-stats-polling-interval", "value": 1}})
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            said, = self.qmp({"execute": "qom-get", "arguments": {**where, "property": "guest-stats"}})
            stats = said["stats"] if said else {}
            total, available = stats.get("stat-total-memory", -1), stats.get("stat-available-memory", -1)
            # Unknown ones are 2^64 - 1.
            if said and said["last-update"] and 0 < total < 1 << 40 and 0 < available < 1 << 40:
                return total - available, total
            time.sleep(0.5)
        return None

    def cut(self, random):
        """The power goes now: first for the disk, then for the rest. Returns what became of the disk's cache."""
        cut = self.disk.cut(random)
        self.kill()
        return cut

    def kill(self):
        """Ends everything that was started; what the disk holds in its cache is lost unless it was cut before."""
        super().kill()
        self._server.close()
        self.disk.close()
