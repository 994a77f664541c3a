"""A QEMU that runs, and its serial console, read line by line."""

import re
import subprocess
import threading
import time

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|[\r\x07]")


class BootFailed(Exception):
    """The box did not do what it should; the text says what."""


class Machine:
    """A QEMU that was started, and what it says on the serial console that its standard output is."""

    def __init__(self, command):
        self.lines = []  # (seconds since power-on, text)
        self._changed = threading.Condition()
        self.power_on = time.monotonic()
        self._qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._reader = threading.Thread(target=self._read, daemon=True, name="serial console")
        self._reader.start()

    def _read(self):
        for line in self._qemu.stdout:
            text = ANSI.sub("", line.decode(errors="replace")).rstrip()
            with self._changed:
                self.lines.append((time.monotonic() - self.power_on, text))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def ended(self):
        return self._qemu.poll() is not None

    def is_off(self):
        """Whether the box has ended by itself, and all that its console said has been read."""
        return self.ended() and not self._reader.is_alive()

    def check(self):
        """Fails if QEMU has ended."""
        if self.ended():
            raise BootFailed(f"QEMU ended with {self._qemu.returncode}")

    def console(self, pattern, seconds):
        """The match of the first line on the console that has `pattern`, also one that came before; waits for it."""
        end, seen = time.monotonic() + seconds, 0
        with self._changed:
            while True:
                for at, line in self.lines[seen:]:
                    match = re.search(pattern, line)
                    if match:
                        return at, match
                seen = len(self.lines)
                self.check()
                left = end - time.monotonic()
                if left <= 0:
                    raise BootFailed(f"no line like {pattern} on the console within {seconds} s")
                self._changed.wait(min(left, 1))

    def find(self, pattern):
        """The lines so far that have `pattern`."""
        with self._changed:
            return [line for _, line in self.lines if re.search(pattern, line)]

    def tail(self, count=60):
        with self._changed:
            return [f"[{at:7.2f}] {line}" for at, line in self.lines[-count:]]

    def kill(self):
        """Ends it."""
        if self._qemu.poll() is None:
            self._qemu.kill()
        self._qemu.wait()
        self._reader.join(timeout=10)
