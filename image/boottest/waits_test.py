"""What a board's controllers wait for, read from a device tree that is written here."""

import struct
import unittest

from initramfs import waits

MODULES = waits.drivers([
    "# Aliases extracted from modules themselves.\n",
    "alias of:N*T*Cvendor,reader reader\n",
    "alias of:N*T*Cvendor,readerC* reader\n",
    "alias of:N*T*Cregulator-fixed fixed\n",
    "alias of:N*T*Cvendor,oscillator oscillator-one\n",
    "alias of:N*T*Cvendor,bridge bridge\n",
    "alias usb:v1234p* fixed\n",
])


def written(node):
    """A flattened device tree of (name, {property: bytes, list of cells or text}, [children])."""
    names = bytearray()

    def value(content):
        if isinstance(content, list):
            return struct.pack(f">{len(content)}I", *content)
        return content.encode() + b"\0"

    def padded(data):
        return data + bytes(-len(data) % 4)

    def block(node):
        name, properties, children = node
        out = struct.pack(">I", waits.BEGIN) + padded(name.encode() + b"\0")
        for key, content in properties.items():
            data = value(content)
            out += struct.pack(">4I", waits.NOTHING, waits.PROPERTY, len(data), len(names)) + padded(data)
            names.extend(key.encode() + b"\0")
        return out + b"".join(map(block, children)) + struct.pack(">I", waits.END)

    structure = block(node) + struct.pack(">I", waits.FINISH)
    return struct.pack(">4I", 0xD00DFEED, 0, 16, 16 + len(structure)) + structure + bytes(names)


def board(**reader):
    """A reader on a bridge, with a clock of two cells, and two regulators."""
    properties = {"compatible": "vendor,reader", "clocks": [1, 7, 1, 8, 2], "vmmc-supply": [3], **reader}
    return waits.read(written(("", {"#address-cells": [1]}, [
        ("bridge", {"compatible": "vendor,bridge"}, [("mmc@1000", properties, [])]),
        ("clock", {"phandle": [1], "#clock-cells": [1], "compatible": "vendor,clock"}, []),
        ("other-clock", {"phandle": [2], "#clock-cells": [0], "compatible": "vendor,oscillator"}, []),
        ("regulator", {"phandle": [3], "compatible": "regulator-fixed", "vin-supply": [4]}, []),
        ("input", {"phandle": [4], "compatible": "vendor,battery"}, []),
    ])))


class Waits(unittest.TestCase):
    def lacking(self, root, *names):
        return sorted(module for _, _, modules in waits.missing(root, MODULES, set(names)) for module in modules)

    def test_all_that_it_waits_for_is_named(self):
        self.assertEqual(self.lacking(board()), ["bridge", "fixed", "oscillator_one", "reader"])
        self.assertEqual(
            waits.missing(board(), MODULES, {"bridge", "reader", "oscillator_one"}),
            [("/bridge/mmc@1000", "/regulator", ["fixed"])],
        )

    def test_what_is_there_or_built_in_is_not_missed(self):
        self.assertEqual(self.lacking(board(), "bridge", "fixed", "oscillator_one", "reader"), [])

    def test_a_supply_of_a_supply_counts(self):
        modules = {**MODULES, "vendor,battery": {"battery"}}
        found = waits.missing(board(), modules, {"bridge", "fixed", "oscillator_one", "reader"})
        self.assertEqual(found, [("/bridge/mmc@1000", "/input", ["battery"])])

    def test_a_controller_that_is_off_waits_for_nothing(self):
        self.assertEqual(self.lacking(board(status="disabled")), [])

    def test_something_else_is_refused(self):
        with self.assertRaises(ValueError):
            waits.read(bytes(64))


if __name__ == "__main__":
    unittest.main()
