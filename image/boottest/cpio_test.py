import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from . import cpio


class CpioTest(unittest.TestCase):
    @unittest.skipUnless(shutil.which("cpio"), "cpio is installed by image/build")
    def test_cpio_reads_it(self):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "modules").mkdir()
            data = cpio.archive(0, {"modules/empty.ko": b"", "modules/a": b"five5"})
            subprocess.run(["cpio", "-i", "--quiet"], input=data, cwd=folder, check=True)
            self.assertEqual(Path(folder, "modules/empty.ko").read_bytes(), b"")
            self.assertEqual(Path(folder, "modules/a").read_bytes(), b"five5")

    def test_it_begins_where_the_kernel_looks(self):
        for behind in range(9):
            begin = cpio.archive(behind, {"a": b"x"}).index(b"070701")
            self.assertEqual((behind + begin) % 4, 0)
            self.assertLess(begin, 4)

    def test_all_is_padded_to_four_bytes(self):
        for size in range(6):
            self.assertEqual(len(cpio.archive(0, {"a": bytes(size)})) % 4, 0)
