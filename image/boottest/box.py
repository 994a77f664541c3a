"""The box on its card through several starts, as somebody with a power plug sees it."""

import os
import time
from typing import NamedTuple

from .guest import Guest, free_port
from .lan import Lan
from .machine import BootFailed
from .office import NO_ANSWER, request

# Longer than a start takes on a busy machine of two cores, which emulates both of the box's.
BOOT_PATIENCE = 240
# What the console of a box that is well never says.
TROUBLE = r"Kernel panic|Oops|Internal error|EXT4-fs.*error|I/O error|kurir-init:.*(damaged|cannot|stays)|FAILED|emergency mode"


class Start(NamedTuple):
    """One start: seconds from power-on until the port took a connection and the API answered."""

    listening: float
    first: bool


class Box:
    """`say` prints a line of progress. The consoles' logs are NAME-1.log and so on in the folder."""

    def __init__(self, arch, card, folder, say, name="console"):
        self._name = name
        self.arch, self.card, self.say = arch, card, say
        self._folder = folder
        self.http, self.https = free_port(), free_port()
        self.lan = Lan()
        self.guest = None
        self.starts = []
        self._powered = 0
        self.key = None

    def begin(self):
        """Power on."""
        self.guest = Guest(self.arch, self.card, self._folder, {80: self.http, 443: self.https}, self.lan)
        self._powered += 1
        return self.guest

    def start(self):
        """Power on, and wait until the API answers."""
        guest = self.begin()
        end = guest.power_on + BOOT_PATIENCE
        # Single frames, because QEMU's forwarding says nothing of what the guest's kernel answers, and slows down with tries.
        while not self.lan.listens(80, 0.1):
            self.check(end)
        while True:
            try:
                answer = self.request("GET", "/healthz", timeout=5)
                if answer.status == 200:
                    break
                raise BootFailed(f"/healthz answers {answer}")
            except NO_ANSWER:
                self.check(end)
                time.sleep(0.1)
        start = Start(time.monotonic() - guest.power_on, not self.starts)
        self.starts.append(start)
        self.check()
        self.say(f"start {self._powered}: listening {start.listening:.1f} s after power-on")

    def check(self, end=None):
        """Fails if the box cannot be well."""
        self.guest.check()
        bad = self.guest.find(TROUBLE)
        if bad:
            raise BootFailed("the console says:\n" + "\n".join(bad[:5]))
        if end and time.monotonic() > end:
            raise BootFailed(f"the box does not listen within {BOOT_PATIENCE} s")

    def request(self, method, path, body=None, headers=(), timeout=60):
        headers = dict(headers)
        if self.key:
            headers = {"X-API-Key": self.key, **headers}
        return request(self.http, method, path, body, headers, timeout)

    def ok(self, method, path, body=None, headers=(), timeout=60):
        answer = self.request(method, path, body, headers, timeout)
        if answer.status != 200:
            raise BootFailed(f"{method} {path} is answered {answer}")
        return answer

    def metrics(self):
        """`/metrics` by name with labels."""
        rows = {}
        for line in self.ok("GET", "/metrics").body.decode().splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                rows[name] = float(value)
        return rows

    def until(self, what, probe, seconds):
        """What `probe` returns once it is true."""
        end = time.monotonic() + seconds
        while True:
            self.check()
            found = probe()
            if found:
                return found
            if time.monotonic() > end:
                raise BootFailed(f"not within {seconds} s: {what}")
            time.sleep(0.2)

    def stand_still(self, waiting, seconds=20):
        """Waits until this many writes are in the disk's cache, or fewer if there are never so many, and stops the disk there."""
        self.guest.disk.stand_still(waiting)
        if not self.guest.disk.still.wait(seconds / 2):
            self.guest.disk.stand_still(1)
            self.guest.disk.still.wait(seconds / 2)

    def until_off(self, seconds):
        """Waits until the box has ended by itself. Returns when, in seconds after power-on."""
        end = time.monotonic() + seconds
        while not self.guest.is_off():
            if time.monotonic() > end:
                raise BootFailed(f"the box is not down within {seconds} s")
            time.sleep(0.2)
        return time.monotonic() - self.guest.power_on

    def cut(self, random):
        """Cuts the power."""
        guest, self.guest = self.guest, None
        try:
            return guest.cut(random)
        finally:
            self._keep(guest)

    def _keep(self, guest):
        guest.kill()
        with open(os.path.join(self._folder, f"{self._name}-{self._powered}.log"), "w", encoding="utf-8") as file:
            file.write("\n".join(guest.tail(100_000)) + "\n")

    def close(self):
        if self.guest:
            self._keep(self.guest)
        self.lan.close()
