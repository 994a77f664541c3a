"""Tests of the card's partition table and of the check after a power cut."""

import os
import shutil
import struct
import tempfile
import unittest

from . import card
from .card import SECTOR, Card, Partition, partitions

MIB = 2048  # sectors


def record(*entries):
    """A sector with a partition table: (type, first sector, sectors)."""
    table = b"".join(struct.pack("<4xB3xII", *entry) for entry in entries)
    return bytes(446) + table.ljust(64, b"\0") + b"\x55\xaa"


class Partitions(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.image = os.path.join(folder.name, "image")
        self.put(0, record((0x0C, MIB, MIB), (0x0C, 2 * MIB, MIB), (0, 0, 0), (0x0F, 4 * MIB, 16 * MIB)))
        # Logical ones count from their own record, the chain from the extended partition's start.
        self.put(4 * MIB, record((0x83, 8, MIB), (0x05, 2 * MIB, 2 * MIB)))
        self.put(6 * MIB, record((0x83, 16, MIB), (0x05, 4 * MIB, 12 * MIB)))
        self.put(8 * MIB, record((0x83, MIB, 11 * MIB)))
        os.truncate(self.image, 20 * MIB * SECTOR)

    def put(self, sector, data):
        with open(self.image, "r+b" if os.path.exists(self.image) else "wb") as file:
            file.seek(sector * SECTOR)
            file.write(data)

    def card(self):
        return Card(self.image, os.path.join(self.folder, "card"), 40 * MIB * SECTOR)

    def test_they_have_the_numbers_that_linux_gives_them(self):
        megabyte = 1 << 20
        self.assertEqual(partitions(self.image), {
            1: Partition(megabyte, megabyte),
            2: Partition(2 * megabyte, megabyte),
            5: Partition(4 * megabyte + 8 * SECTOR, megabyte),
            6: Partition(6 * megabyte + 16 * SECTOR, megabyte),
            7: Partition(9 * megabyte, 11 * megabyte),
        })

    def test_a_copy_is_larger_and_the_image_as_it_was(self):
        before = os.path.getsize(self.image)
        copy = self.card()
        self.assertEqual((os.path.getsize(copy.path), os.path.getsize(self.image)), (40 << 20, before))
        first = copy.digest(5)
        self.put(4 * MIB + 8, b"x")
        self.assertEqual(copy.digest(5), first)
        self.assertNotEqual(self.card().digest(5), first)
        with self.assertRaises(SystemExit):
            Card(self.image, copy.path, 1 << 20)

    @unittest.skipUnless(shutil.which("mke2fs"), "no e2fsprogs here")
    def test_a_sound_file_system_passes_and_a_damaged_one_does_not(self):
        start = 9 << 20
        card.run("mke2fs", "-q", "-t", "ext4", "-E", f"offset={start}", self.image, "11M")
        sound = self.card()
        self.assertIn("files", sound.check_data(self.folder))
        with open(sound.path, "rb") as file:
            file.seek(start + 1024)
            block_size = 1024 << struct.unpack_from("<I", file.read(64), 24)[0]
            file.seek(start + max(2048, block_size))
            bitmap, = struct.unpack("<I", file.read(4))
        with open(sound.path, "r+b") as file:
            file.seek(start + bitmap * block_size)
            file.write(bytes(64))
        with self.assertRaises(SystemExit):
            sound.check_data(self.folder)
