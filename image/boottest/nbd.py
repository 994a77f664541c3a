"""A disk with a volatile write cache, served to QEMU over NBD.

What the guest writes is kept apart until it flushes. At a power cut each write that was not flushed is kept, lost or torn,
as a drive or a card may do: stricter than killing QEMU over a file, which loses nothing that the guest has written.
"""

import os
import socket
import struct
import threading
from collections import Counter
from typing import NamedTuple

SECTOR = 512
# A drive's cache is bounded too: beyond this the oldest writes reach the medium without a flush.
CACHE_BYTES = 64 << 20
# The longest request that the protocol's specification lets a client send without asking.
MOST_BYTES = 32 << 20

# The protocol: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md, "fixed newstyle".
MAGIC, OPTION_MAGIC, OPTION_REPLY_MAGIC = b"NBDMAGIC", b"IHAVEOPT", 0x3E889045565A9
REQUEST_MAGIC, REPLY_MAGIC = 0x25609513, 0x67446698
FIXED_NEWSTYLE, NO_ZEROES = 1, 2
OPT_EXPORT_NAME, OPT_ABORT, OPT_INFO, OPT_GO = 1, 2, 6, 7
REP_ACK, REP_INFO, REP_ERR_UNSUP = 1, 3, 0x80000001
INFO_EXPORT, INFO_BLOCK_SIZE = 0, 3
READ, WRITE, DISC, FLUSH, WRITE_ZEROES = 0, 1, 2, 3, 6
FLAG_FUA = 1
# HAS_FLAGS, SEND_FLUSH, SEND_FUA, SEND_WRITE_ZEROES
EXPORT_FLAGS = 1 | 4 | 8 | 64
EIO, EINVAL = 5, 22


class Write(NamedTuple):
    """A write that may not have reached the medium."""

    offset: int
    data: bytes
    # Written with FUA: on the medium, whatever happens to those around it.
    forced: bool


class Cut:
    """What a power cut did to the cache."""

    def __init__(self):
        self.writes = Counter(kept=0, lost=0, torn=0)
        self.lost_bytes = 0

    def __str__(self):
        w = self.writes
        return (f"{sum(w.values())} writes in the cache: {w['kept']} kept, {w['lost']} lost, {w['torn']} torn; "
                f"{self.lost_bytes / 1024:.0f} KiB lost")


class Disk:
    """A file behind a volatile write cache."""

    def __init__(self, path, cache_bytes=CACHE_BYTES):
        self._file = os.open(path, os.O_RDWR)
        self.size = os.fstat(self._file).st_size
        self._cache_bytes = cache_bytes
        self._lock = threading.Lock()
        self._writes = []  # in the order in which they came
        self._bytes = 0
        self._newest = {}  # sector: the last Write to it
        self.powered = True
        self._still_at = None
        self.still = threading.Event()  # nothing is taken any more
        self._ended = threading.Event()  # the power is gone
        self.counts = Counter(reads=0, writes=0, flushes=0, written_bytes=0)

    def _check(self, offset, length):
        if offset % SECTOR or length % SECTOR or offset + length > self.size:
            raise ValueError(f"{length} bytes at {offset}: not whole sectors of a disk of {self.size} bytes")

    def read(self, offset, length):
        """What was written last, whether or not it would outlive a power cut."""
        self._check(offset, length)
        with self._lock:
            self.counts["reads"] += 1
            data = os.pread(self._file, length, offset)
            if not self._newest:
                return data
            data = bytearray(data)
            for at in range(0, length, SECTOR):
                write = self._newest.get((offset + at) // SECTOR)
                if write:
                    start = offset + at - write.offset
                    data[at : at + SECTOR] = write.data[start : start + SECTOR]
            return bytes(data)

    def stand_still(self, waiting):
        """From the moment on at which this many writes wait in the cache, nothing is taken, flushed or answered: it is the one
        before a power cut. `still` is set then."""
        with self._lock:
            self._still_at = waiting

    def _may_go_on(self):
        """Called with the lock held. False: wait for the end without it."""
        if not self.powered:
            raise OSError("the power is cut")
        return not self.still.is_set()

    def _end(self):
        self._ended.wait()
        raise OSError("the power is cut")

    def write(self, offset, data, forced=False):
        """Takes a write into the cache. A forced one survives every cut."""
        self._check(offset, len(data))
        if not self._take(offset, data, forced):
            self._end()

    def _take(self, offset, data, forced):
        with self._lock:
            if not self._may_go_on():
                return False
            self.counts["writes"] += 1
            self.counts["written_bytes"] += len(data)
            write = Write(offset, data, forced)
            self._writes.append(write)
            self._bytes += len(data)
            for sector in range(offset // SECTOR, (offset + len(data)) // SECTOR):
                self._newest[sector] = write
            while self._bytes > self._cache_bytes:
                self._evict()
            if self._still_at and sum(not write.forced for write in self._writes) >= self._still_at:
                self.still.set()
            return not self.still.is_set()

    def _evict(self):
        oldest = self._writes.pop(0)
        os.pwrite(self._file, oldest.data, oldest.offset)
        self._bytes -= len(oldest.data)
        for sector in range(oldest.offset // SECTOR, (oldest.offset + len(oldest.data)) // SECTOR):
            if self._newest.get(sector) is oldest:
                del self._newest[sector]

    def flush(self):
        """Everything written so far outlives a power cut from here on."""
        with self._lock:
            goes_on = self._may_go_on()
            if goes_on:
                self.counts["flushes"] += 1
                for write in self._writes:
                    os.pwrite(self._file, write.data, write.offset)
                self._forget()
        if not goes_on:
            self._end()

    def _forget(self):
        self._writes, self._newest, self._bytes = [], {}, 0

    def cut(self, random):
        """The power goes: `random` decides what becomes of each write that was not flushed. Nothing is taken after that."""
        cut = Cut()
        with self._lock:
            self.powered = False
            # In their order: of two writes to one sector the first may be the one that stays, but never over the second.
            for write in self._writes:
                fate = "kept" if write.forced else random.choice(["kept", "lost", "torn"])
                sectors = len(write.data) // SECTOR
                if fate == "torn" and sectors < 2:
                    fate = random.choice(["kept", "lost"])  # a sector is written whole or not at all
                stays = {"kept": [True] * sectors, "lost": [False] * sectors}.get(fate)
                while stays is None or (fate == "torn" and len(set(stays)) < 2):
                    stays = [random.random() < 0.5 for _ in range(sectors)]
                for index, stay in enumerate(stays):
                    at = index * SECTOR
                    if stay:
                        os.pwrite(self._file, write.data[at : at + SECTOR], write.offset + at)
                    else:
                        cut.lost_bytes += SECTOR
                cut.writes[fate] += 1
            self._forget()
        self._ended.set()
        return cut

    def close(self):
        """Closes the file; what is in the cache is lost."""
        self._ended.set()
        with self._lock:
            self.powered = False
            self._forget()
            if self._file >= 0:
                os.close(self._file)
                self._file = -1


class Gone(Exception):
    """The client has closed the connection."""


def receive(connection, length):
    data = bytearray()
    while len(data) < length:
        piece = connection.recv(length - len(data))
        if not piece:
            raise Gone
        data += piece
    return bytes(data)


class Server:
    """Serves a disk on a Unix socket, to one client at a time, until it is closed."""

    def __init__(self, disk, path):
        self._disk = disk
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen(1)
        self._connection = None
        self.trouble = None  # what a client did that no client may do
        self._thread = threading.Thread(target=self._run, daemon=True, name="nbd")
        self._thread.start()

    def _run(self):
        while True:
            try:
                self._connection, _ = self._listener.accept()
            except OSError:
                return
            with self._connection as connection:
                try:
                    if self._negotiate(connection):
                        while self._serve(connection):
                            pass
                except (Gone, ConnectionError):
                    pass
                except Exception as error:  # noqa: BLE001: whatever it is, the test has to hear of it
                    self.trouble = f"the disk's server: {error!r}"

    def _negotiate(self, connection):
        connection.sendall(MAGIC + OPTION_MAGIC + struct.pack(">H", FIXED_NEWSTYLE | NO_ZEROES))
        client, = struct.unpack(">I", receive(connection, 4))

        def reply(option, kind, data=b""):
            connection.sendall(struct.pack(">QIII", OPTION_REPLY_MAGIC, option, kind, len(data)) + data)

        export = struct.pack(">QH", self._disk.size, EXPORT_FLAGS)
        while True:
            magic, option, length = struct.unpack(">8sII", receive(connection, 16))
            if magic != OPTION_MAGIC or length > 65536:
                raise ValueError(f"option {option} of {length} bytes with magic {magic!r}")
            receive(connection, length)  # the export's name: there is one disk
            if option == OPT_EXPORT_NAME:
                connection.sendall(export + (b"" if client & NO_ZEROES else bytes(124)))
                return True
            if option in (OPT_GO, OPT_INFO):
                reply(option, REP_INFO, struct.pack(">H", INFO_EXPORT) + export)
                reply(option, REP_INFO, struct.pack(">HIII", INFO_BLOCK_SIZE, SECTOR, 4096, MOST_BYTES))
                reply(option, REP_ACK)
                if option == OPT_GO:
                    return True
            elif option == OPT_ABORT:
                reply(option, REP_ACK)
                return False
            else:
                reply(option, REP_ERR_UNSUP)

    def _serve(self, connection):
        magic, flags, kind, handle, offset, length = struct.unpack(">IHHQQI", receive(connection, 28))
        if magic != REQUEST_MAGIC or length > MOST_BYTES and kind in (READ, WRITE):
            raise ValueError(f"request {kind} of {length} bytes with magic {magic:#x}")
        if kind == DISC:
            return False
        data, error, forced = b"", 0, bool(flags & FLAG_FUA)
        body = receive(connection, length) if kind == WRITE else b""
        try:
            if kind == READ:
                data = self._disk.read(offset, length)
            elif kind == WRITE:
                self._disk.write(offset, body, forced)
            elif kind == WRITE_ZEROES:
                # In pieces, so that the cache's limit holds.
                for at in range(0, length, 1 << 20):
                    self._disk.write(offset + at, bytes(min(1 << 20, length - at)), forced)
            elif kind == FLUSH:
                self._disk.flush()
            else:
                error = EINVAL
        except ValueError:
            error = EINVAL
        except OSError:
            error = EIO
        if not self._disk.powered:
            raise Gone  # a disk without power answers nothing
        connection.sendall(struct.pack(">IIQ", REPLY_MAGIC, error, handle) + data)
        return True

    def close(self):
        """Ends the connection and the server. The disk is the caller's."""
        for end in (self._listener, self._connection):
            try:
                if end:
                    end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # closed already
        self._listener.close()
        self._thread.join(timeout=10)
