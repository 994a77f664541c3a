"""The SD card: a copy of the image as large as a card, its partitions, and what is in them. Nothing is mounted."""

import hashlib
import os
import re
import struct
import subprocess
from typing import NamedTuple

SECTOR = 512
EXTENDED = (0x05, 0x0F, 0x85)
# The totals in the superblock, which the kernel writes at unmounting only and counts anew at mounting.
SUMMARY = re.compile(r"Free (blocks|inodes) count wrong \(\d+, counted=\d+\)\.\nFix\? no\n")
# e2fsck's last line.
FINE = re.compile(r"\d+/\d+ files \([0-9.]+% non-contiguous\), \d+/\d+ blocks")


class Partition(NamedTuple):
    start: int  # bytes
    size: int


def run(*command, codes=(0,), **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                          timeout=300, **options)
    if done.returncode not in codes:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def partitions(path):
    """The partitions of an MBR by their numbers as Linux counts them, the extended one left out."""
    found = {}

    def entries(file, at):
        file.seek(at * SECTOR)
        record = file.read(SECTOR)
        if record[510:512] != b"\x55\xaa":
            raise SystemExit(f"{path}: no partition table in sector {at}")
        for index in range(4):
            kind, first, count = struct.unpack_from("<4xB3xII", record, 446 + 16 * index)
            yield index + 1, kind, first, count

    with open(path, "rb") as file:
        extended = None
        for number, kind, first, count in entries(file, 0):
            if kind in EXTENDED:
                extended = first
            elif kind:
                found[number] = Partition(first * SECTOR, count * SECTOR)
        number, record = 5, extended
        while record is not None:
            following = None
            for _, kind, first, count in entries(file, record):
                if kind in EXTENDED:
                    following = extended + first
                elif kind:
                    found[number] = Partition((record + first) * SECTOR, count * SECTOR)
            number, record = number + 1, following
    return found


class Card:
    """A sparse copy of an image, enlarged to a card's size."""

    # Numbers of the partitions, as image/build lays them out.
    USERS, BOOT_A, BOOT_B, ROOT_A, ROOT_B, DATA = 1, 2, 3, 5, 6, 7

    def __init__(self, image, path, size):
        self.path = path
        run("cp", "--sparse=always", image, path)
        if os.path.getsize(path) > size:
            raise SystemExit(f"{image} has {os.path.getsize(path)} bytes and does not fit a card of {size}")
        os.truncate(path, size)

    def partition(self, number):
        found = partitions(self.path)
        if number not in found:
            raise SystemExit(f"{self.path} has no partition {number}: {found}")
        return found[number]

    def _fat(self, number):
        return f"{self.path}@@{self.partition(number).start}"

    def take(self, number, name, into):
        """Copies a file out of a FAT partition."""
        run("mcopy", "-n", "-o", "-i", self._fat(number), f"::{name}", into)
        return into

    def text(self, number, name, folder):
        with open(self.take(number, name, os.path.join(folder, name)), encoding="utf-8") as file:
            return file.read()

    def put(self, number, name, text, folder):
        """Writes a file into a FAT partition, over one of that name."""
        path = os.path.join(folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        run("mcopy", "-n", "-o", "-i", self._fat(number), path, f"::{name}")

    def digest(self, number):
        """What is in a partition, as SHA-256."""
        partition, digest = self.partition(number), hashlib.sha256()
        with open(self.path, "rb") as file:
            file.seek(partition.start)
            left = partition.size
            while left:
                piece = file.read(min(1 << 20, left))
                if not piece:
                    raise SystemExit(f"partition {number} reaches beyond the end of {self.path}")
                digest.update(piece)
                left -= len(piece)
        return digest.hexdigest()

    def begins_with(self, number, data):
        """Whether a partition has this from its beginning on."""
        with open(self.path, "rb") as file:
            file.seek(self.partition(number).start)
            return file.read(len(data)) == data

    def check_data(self, folder):
        """After a power cut: the data partition needs its journal and nothing else. The card is not touched: it is a copy
        of the partition that is played forward and checked. Returns what e2fsck counts in it."""
        copy = os.path.join(folder, "data.ext4")
        self._copy_out(self.partition(self.DATA), copy)
        try:
            # Plays the journal, and removes files that were deleted while somebody had them open. 1: something was done.
            run("e2fsck", "-E", "journal_only", "-y", copy, codes=(0, 1))
            # Not -p, which mends more than that without a word.
            said = run("e2fsck", "-f", "-n", copy, codes=range(256))
            rest = SUMMARY.sub("", said).replace(copy, "data")
            if "? no" in rest or "WARNING" in rest or not FINE.search(rest):
                raise SystemExit(f"after its journal the data partition still needs repair:\n{rest}")
            return FINE.search(rest)[0]
        finally:
            os.unlink(copy)

    def _copy_out(self, partition, path):
        """Only what is not a hole: the card is mostly empty."""
        end = min(partition.start + partition.size, os.path.getsize(self.path))
        with open(self.path, "rb") as card, open(path, "wb") as copy:
            copy.truncate(partition.size)
            at = partition.start
            while at < end:
                try:
                    at = os.lseek(card.fileno(), at, os.SEEK_DATA)
                except OSError:  # nothing but holes from here on
                    return
                hole = min(os.lseek(card.fileno(), at, os.SEEK_HOLE), end)
                while at < hole:
                    piece = os.pread(card.fileno(), min(1 << 20, hole - at), at)
                    os.pwrite(copy.fileno(), piece, at - partition.start)
                    at += len(piece)
