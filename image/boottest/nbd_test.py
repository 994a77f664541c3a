"""Tests of the disk that loses what was not flushed, and of its server."""

import os
import random
import socket
import struct
import tempfile
import threading
import unittest

from . import nbd
from .nbd import SECTOR, Disk, Server

SIZE = 1 << 20


def sectors(*letters):
    return b"".join(letter.encode() * SECTOR for letter in letters)


class Fate:
    """Chance that is told what to come out with."""

    def __init__(self, fates, coins=()):
        self.fates, self.coins = list(fates), list(coins)

    def choice(self, among):
        fate = self.fates.pop(0)
        assert fate in among, f"{fate} is not among {among}"
        return fate

    def random(self):
        return self.coins.pop(0)


class WithDisk(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = os.path.join(self.folder.name, "disk")
        with open(self.path, "wb") as file:
            file.truncate(SIZE)
        self.disk = self.open()

    def open(self, **options):
        disk = Disk(self.path, **options)
        self.addCleanup(disk.close)
        return disk

    def medium(self, offset, length):
        with open(self.path, "rb") as file:
            file.seek(offset)
            return file.read(length)


class StandStill(WithDisk):
    def in_background(self, work, *arguments):
        ended = []

        def run():
            try:
                work(*arguments)
            except OSError as error:
                ended.append(str(error))

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread, ended

    def test_it_stands_still_with_writes_in_its_cache_until_the_power_goes(self):
        self.disk.stand_still(2)
        self.disk.write(0, sectors("a"))
        self.disk.flush()
        self.disk.write(0, sectors("b"))
        second, second_ended = self.in_background(self.disk.write, SECTOR, sectors("c"))
        self.assertTrue(self.disk.still.wait(10))
        flush, flush_ended = self.in_background(self.disk.flush)
        third, third_ended = self.in_background(self.disk.write, 2 * SECTOR, sectors("d"))
        for thread in (second, flush, third):
            thread.join(0.05)
            self.assertTrue(thread.is_alive(), "nothing is answered")
        self.assertEqual(str(self.disk.cut(Fate(["kept", "lost"]))), "2 writes in the cache: 1 kept, 1 lost, 0 torn; 0 KiB lost")
        for thread, ended in ((second, second_ended), (flush, flush_ended), (third, third_ended)):
            thread.join(10)
            self.assertEqual(ended, ["the power is cut"])
        self.assertEqual(self.medium(0, 3 * SECTOR), sectors("b", "\0", "\0"))

    def test_a_disk_that_is_closed_lets_go_of_who_waits(self):
        self.disk.stand_still(1)
        write, ended = self.in_background(self.disk.write, 0, sectors("a"))
        self.assertTrue(self.disk.still.wait(10))
        self.disk.close()
        write.join(10)
        self.assertEqual(ended, ["the power is cut"])


class Cache(WithDisk):
    def test_a_write_is_read_back_but_is_not_on_the_medium_before_a_flush(self):
        self.disk.write(SECTOR, sectors("a", "b"))
        self.assertEqual(self.disk.read(0, 4 * SECTOR), sectors("\0", "a", "b", "\0"))
        self.assertEqual(self.medium(0, 4 * SECTOR), bytes(4 * SECTOR))
        self.disk.flush()
        self.assertEqual(self.medium(0, 4 * SECTOR), sectors("\0", "a", "b", "\0"))
        self.assertEqual(self.disk.read(0, 4 * SECTOR), sectors("\0", "a", "b", "\0"))

    def test_the_later_of_two_writes_to_a_sector_is_read(self):
        self.disk.write(0, sectors("a", "a", "a"))
        self.disk.write(SECTOR, sectors("b"))
        self.assertEqual(self.disk.read(0, 3 * SECTOR), sectors("a", "b", "a"))
        self.disk.flush()
        self.assertEqual(self.medium(0, 3 * SECTOR), sectors("a", "b", "a"))

    def test_what_was_flushed_outlives_every_cut(self):
        for seed in range(20):
            disk = self.open()
            disk.write(0, sectors("a", "b"))
            disk.flush()
            cut = disk.cut(random.Random(seed))
            self.assertEqual((sum(cut.writes.values()), cut.lost_bytes), (0, 0))
            self.assertEqual(self.medium(0, 2 * SECTOR), sectors("a", "b"))

    def test_a_cut_keeps_loses_and_tears(self):
        for offset, letter in enumerate("abc"):
            self.disk.write(offset * 4 * SECTOR, sectors(letter, letter))
        # Coins that tear nothing are thrown again.
        cut = self.disk.cut(Fate(["kept", "lost", "torn"], [0.1, 0.1, 0.9, 0.1]))
        self.assertEqual(self.medium(0, 2 * SECTOR), sectors("a", "a"))
        self.assertEqual(self.medium(4 * SECTOR, 2 * SECTOR), bytes(2 * SECTOR))
        self.assertEqual(self.medium(8 * SECTOR, 2 * SECTOR), sectors("\0", "c"))
        self.assertEqual(dict(cut.writes), {"kept": 1, "lost": 1, "torn": 1})
        self.assertEqual(cut.lost_bytes, 3 * SECTOR)

    def test_one_sector_is_not_torn(self):
        self.disk.write(0, sectors("a"))
        cut = self.disk.cut(Fate(["torn", "lost"]))
        self.assertEqual(dict(cut.writes), {"kept": 0, "lost": 1, "torn": 0})
        self.assertEqual(self.medium(0, SECTOR), bytes(SECTOR))

    def test_a_lost_later_write_leaves_the_earlier_one_and_never_the_other_way_round(self):
        self.disk.write(0, sectors("a"))
        self.disk.write(0, sectors("b"))
        self.disk.cut(Fate(["kept", "lost"]))
        self.assertEqual(self.medium(0, SECTOR), sectors("a"))
        disk = self.open()
        disk.write(0, sectors("a"))
        disk.write(0, sectors("b"))
        disk.cut(Fate(["kept", "kept"]))
        self.assertEqual(self.medium(0, SECTOR), sectors("b"))

    def test_a_forced_write_outlives_the_cut_over_what_came_before_it(self):
        self.disk.write(0, sectors("a", "a"))
        self.disk.write(0, sectors("b"), forced=True)
        self.disk.cut(Fate(["kept"]))
        self.assertEqual(self.medium(0, 2 * SECTOR), sectors("b", "a"))

    def test_after_the_cut_nothing_is_taken(self):
        self.disk.cut(random.Random(1))
        with self.assertRaises(OSError):
            self.disk.write(0, sectors("a"))
        with self.assertRaises(OSError):
            self.disk.flush()
        self.assertEqual(self.medium(0, SECTOR), bytes(SECTOR))

    def test_the_same_seed_does_the_same(self):
        images = []
        for _ in range(2):
            with open(self.path, "wb") as file:
                file.truncate(SIZE)
            disk = self.open()
            for at in range(40):
                disk.write(at * 8 * SECTOR, sectors(*"abcdefgh"))
            disk.cut(random.Random(7))
            images.append(self.medium(0, SIZE))
        self.assertEqual(images[0], images[1])
        self.assertNotEqual(images[0], bytes(SIZE))

    def test_the_cache_is_bounded_and_evicts_the_oldest(self):
        disk = self.open(cache_bytes=3 * SECTOR)
        disk.write(0, sectors("a", "a"))
        disk.write(0, sectors("b"))
        disk.write(2 * SECTOR, sectors("c", "c"))
        self.assertEqual(self.medium(0, 4 * SECTOR), sectors("a", "a", "\0", "\0"))
        self.assertEqual(disk.read(0, 4 * SECTOR), sectors("b", "a", "c", "c"))
        disk.cut(Fate(["lost", "lost"]))
        self.assertEqual(self.medium(0, 4 * SECTOR), sectors("a", "a", "\0", "\0"))

    def test_parts_of_sectors_and_places_beyond_the_end_are_refused(self):
        for offset, length in [(1, SECTOR), (0, SECTOR - 1), (SIZE, SECTOR)]:
            with self.assertRaises(ValueError):
                self.disk.write(offset, bytes(length))
            with self.assertRaises(ValueError):
                self.disk.read(offset, length)


class Protocol(WithDisk):
    def setUp(self):
        super().setUp()
        self.server = Server(self.disk, self.path + ".socket")
        self.addCleanup(self.server.close)
        self.client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(self.client.close)
        self.client.settimeout(10)
        self.client.connect(self.path + ".socket")
        self.assertEqual(self.get(16), b"NBDMAGICIHAVEOPT")
        self.assertEqual(self.get(2), b"\0\3")
        self.client.sendall(struct.pack(">I", 3))

    def get(self, length):
        return nbd.receive(self.client, length)

    def option(self, option, data=b""):
        self.client.sendall(b"IHAVEOPT" + struct.pack(">II", option, len(data)) + data)

    def answer(self):
        _, option, kind, length = struct.unpack(">QIII", self.get(20))
        return option, kind, self.get(length)

    def go(self):
        self.option(nbd.OPT_GO, struct.pack(">I4sH", 4, b"card", 0))
        self.assertEqual(self.answer(), (7, nbd.REP_INFO, struct.pack(">HQH", 0, SIZE, 1 | 4 | 8 | 64)))
        self.assertEqual(self.answer(), (7, nbd.REP_INFO, struct.pack(">HIII", 3, 512, 4096, 32 << 20)))
        self.assertEqual(self.answer(), (7, nbd.REP_ACK, b""))

    def request(self, kind, offset=0, length=0, data=b"", flags=0):
        self.client.sendall(struct.pack(">IHHQQI", nbd.REQUEST_MAGIC, flags, kind, 42, offset, length) + data)
        magic, error, handle = struct.unpack(">IIQ", self.get(16))
        self.assertEqual((magic, handle), (nbd.REPLY_MAGIC, 42))
        return error

    def test_an_unknown_option_is_refused_and_the_known_one_taken(self):
        self.option(8)  # structured replies
        self.assertEqual(self.answer(), (8, nbd.REP_ERR_UNSUP, b""))
        self.go()

    def test_writes_flushes_and_reads(self):
        self.go()
        self.assertEqual(self.request(nbd.WRITE, SECTOR, SECTOR, sectors("a")), 0)
        self.assertEqual(self.medium(SECTOR, SECTOR), bytes(SECTOR))
        self.assertEqual(self.request(nbd.FLUSH), 0)
        self.assertEqual(self.medium(SECTOR, SECTOR), sectors("a"))
        self.assertEqual(self.request(nbd.READ, 0, 2 * SECTOR), 0)
        self.assertEqual(self.get(2 * SECTOR), sectors("\0", "a"))
        self.assertEqual(self.request(nbd.WRITE_ZEROES, 0, SIZE), 0)
        self.assertEqual(self.request(nbd.READ, SECTOR, SECTOR), 0)
        self.assertEqual(self.get(SECTOR), bytes(SECTOR))
        self.assertEqual(self.request(nbd.READ, SIZE, SECTOR), nbd.EINVAL)
        self.assertEqual(self.request(99), nbd.EINVAL)
        self.assertIsNone(self.server.trouble)

    def test_a_forced_write_survives_and_a_plain_one_need_not(self):
        self.go()
        self.assertEqual(self.request(nbd.WRITE, 0, SECTOR, sectors("a"), flags=nbd.FLAG_FUA), 0)
        self.assertEqual(self.request(nbd.WRITE, SECTOR, SECTOR, sectors("b")), 0)
        self.disk.cut(Fate(["lost"]))
        self.assertEqual(self.medium(0, 2 * SECTOR), sectors("a", "\0"))

    def test_after_the_cut_nobody_is_answered(self):
        self.go()
        self.disk.cut(random.Random(1))
        self.client.sendall(struct.pack(">IHHQQI", nbd.REQUEST_MAGIC, 0, nbd.FLUSH, 1, 0, 0))
        self.assertEqual(self.client.recv(1), b"")

    def test_nonsense_is_told(self):
        self.go()
        self.client.sendall(bytes(28))
        self.assertEqual(self.client.recv(1), b"")
        self.server.close()
        self.assertIn("magic", self.server.trouble)
