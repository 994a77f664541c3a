"""Tests of what ends a trial where the system on trial cannot: image/root/usr/lib/kurir/end-trial, with this machine's shell."""

import os
import pathlib
import subprocess
import tempfile
import unittest

IMAGE = pathlib.Path(__file__).parent.parent
SCRIPT = (IMAGE / "root/usr/lib/kurir/end-trial").read_text()
AUTOBOOT = (IMAGE / "boot/autoboot.txt").read_text()


class EndTrial(unittest.TestCase):
    def asked(self, slot, autoboot=AUTOBOOT, result="exit-code", tryboot=None):
        """What systemctl was asked for."""
        with tempfile.TemporaryDirectory() as folder:
            at = pathlib.Path(folder)
            for name, text in {"kurir-slot": slot, "autoboot.txt": autoboot, "tryboot": tryboot}.items():
                if text is not None:
                    (at / name).write_text(text)
            (at / "systemctl").write_text(f'#!/bin/sh\necho "$*" >>{folder}/asked\n')
            (at / "systemctl").chmod(0o755)
            script = SCRIPT.replace("/run/kurir-slot", f"{folder}/kurir-slot").replace("/boot/kurir/", f"{folder}/")
            script = script.replace("/proc/device-tree/chosen/bootloader/", f"{folder}/")
            subprocess.run(["sh", "-c", script], check=True, capture_output=True,
                           env={"PATH": f"{folder}:{os.environ['PATH']}", "SERVICE_RESULT": result})
            asked = at / "asked"
            return asked.read_text().splitlines() if asked.exists() else []

    def test_only_a_start_that_is_a_trial_and_failed_goes_back(self):
        back = ["--no-block reboot"]
        other = AUTOBOOT.replace("boot_partition=2", "boot_partition=9").replace("=3", "=2").replace("=9", "=3")
        self.assertEqual(self.asked("b\n"), back)
        self.assertEqual(self.asked("b\n", result="signal"), back)
        self.assertEqual(self.asked("a\n", other), back)
        self.assertEqual(self.asked("b\n", result="success"), [])
        self.assertEqual(self.asked("a\n"), [], "a system that was kept must not restart for ever")
        self.assertEqual(self.asked("b\n", other), [])

    def test_a_line_that_a_person_saved_otherwise_is_read(self):
        for end in ("\r\n", " \n"):
            self.assertEqual(self.asked("a\n", AUTOBOOT.replace("\n", end)), [], "a restart without end")

    def test_where_the_file_does_not_say_the_firmware_does(self):
        for autoboot in (None, "", AUTOBOOT.replace("=2", "=2 3")):
            self.assertEqual(self.asked("b\n", autoboot, tryboot="\0\0\0\1"), ["--no-block reboot"])
            self.assertEqual(self.asked("b\n", autoboot, tryboot="\0\0\0\0"), [])

    def test_where_nothing_is_known_nothing_is_done(self):
        for slot, autoboot in ((None, AUTOBOOT), ("c\n", AUTOBOOT), ("b\n", None), ("b\n", "[tryboot]\nboot_partition=3\n")):
            self.assertEqual(self.asked(slot, autoboot), [])


if __name__ == "__main__":
    unittest.main()
