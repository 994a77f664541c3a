#!/usr/bin/env python3
"""image/initramfs/waits.py MODULES-ALIAS NAMES DTB…: whether the card's and USB's drivers have what they wait for.

A card reader whose regulator has no driver yet is put off, for ever where that driver is a module that is not in the initramfs. No
dependency between modules says so, only the device tree. NAMES is a file with the names of the initramfs's modules (`fixed.ko`), one a
line. For each board's device tree this follows what its MMC and USB controllers, and their buses, name as supplies, clocks, resets and the
like, and fails where one of those is driven by a module that is not among the names. What no module drives is taken to be built in.

The device tree's format: Devicetree Specification 0.4, chapter 5; the properties: the kernel's Documentation/devicetree/bindings.
"""

import os
import struct
import sys

BEGIN, END, PROPERTY, NOTHING, FINISH = 1, 2, 3, 4, 9
# Lists of a phandle and as many cells as that node's property says.
LISTS = {"clocks": "#clock-cells", "resets": "#reset-cells", "power-domains": "#power-domain-cells", "phys": "#phy-cells",
         "gpios": "#gpio-cells", "gpio": "#gpio-cells", "mboxes": "#mbox-cells", "dmas": "#dma-cells"}
# A phandle alone.
SINGLE = ("usb-phy", "mmc-pwrseq", "phy-handle", "firmware", "brcm,firmware")
CONTROLLERS = ("mmc", "mmcnr", "sdhost", "usb")


class Node:
    def __init__(self, name, parent):
        self.name, self.parent, self.properties, self.children = name, parent, {}, []

    def cells(self, name):
        value = self.properties.get(name, b"")
        return struct.unpack(f">{len(value) // 4}I", value[:len(value) // 4 * 4])

    def texts(self, name):
        return [text for text in self.properties.get(name, b"").decode("latin-1").split("\0") if text]

    @property
    def path(self):
        return "/" if self.parent is None else self.parent.path.rstrip("/") + "/" + self.name

    def enabled(self):
        here = (self.texts("status") or ["okay"])[0] in ("okay", "ok")
        return here and (self.parent is None or self.parent.enabled())

    def all(self):
        yield self
        for child in self.children:
            yield from child.all()


def read(blob):
    """The root node of a flattened device tree."""
    magic, _, structure, strings = struct.unpack_from(">4I", blob)
    if magic != 0xD00DFEED:
        raise ValueError("not a device tree")
    position, node, root = structure, None, None
    while True:
        (token,) = struct.unpack_from(">I", blob, position)
        position += 4
        if token == BEGIN:
            end = blob.index(b"\0", position)
            child = Node(blob[position:end].decode("latin-1"), node)
            if node:
                node.children.append(child)
            root = root or child
            node = child
            position = (end + 4) & ~3
        elif token == END:
            node = node.parent
        elif token == PROPERTY:
            length, offset = struct.unpack_from(">2I", blob, position)
            position += 8
            name = blob[strings + offset:blob.index(b"\0", strings + offset)].decode("latin-1")
            node.properties[name] = blob[position:position + length]
            position = (position + length + 3) & ~3
        elif token == FINISH:
            return root
        elif token != NOTHING:
            raise ValueError(f"token {token} at {position - 4}")


def suppliers(node, handles):
    """What the node names, and the bus that it is on."""
    for name in node.properties:
        cells, size = node.cells(name), None
        if name.endswith("-supply") or name in SINGLE or (name.startswith("pinctrl-") and name != "pinctrl-names"):
            size = "none"
        elif name in LISTS or name.endswith("-gpios"):
            size = LISTS.get(name, "#gpio-cells")
        at = 0
        while size and at < len(cells):
            there = handles.get(cells[at])
            at += 1
            if there is None:
                continue
            yield there
            at += (there.cells(size) or (0,))[0]
    if node.parent is not None:
        yield node.parent


def drivers(lines):
    """Modules by `compatible`, of modules.alias."""
    found = {}
    for line in lines:
        words = line.split()
        if len(words) == 3 and words[0] == "alias" and words[1].startswith("of:N*T*C"):
            compatible = words[1].removeprefix("of:N*T*C").removesuffix("C*")
            found.setdefault(compatible, set()).add(words[2].replace("-", "_"))
    return found


def missing(root, modules, names):
    """(controller, supplier, modules) of each that has a driver, but not among the names."""
    handles = {node.cells("phandle")[0]: node for node in root.all() if node.cells("phandle")}
    lacking = []
    for controller in root.all():
        if controller.name.split("@")[0] not in CONTROLLERS or not controller.enabled():
            continue
        seen, todo = {controller}, [controller]
        while todo:
            node = todo.pop()
            wanted = set().union(*(modules.get(kind, set()) for kind in node.texts("compatible")))
            if wanted and not wanted & names:
                lacking.append((controller.path, node.path, sorted(wanted)))
            fresh = [there for there in suppliers(node, handles) if there not in seen]
            seen.update(fresh)
            todo += fresh
    return lacking


def main():
    alias, names, *trees = sys.argv[1:]
    with open(alias, encoding="utf-8") as file:
        modules = drivers(file)
    with open(names, encoding="utf-8") as file:
        names = {line.strip().removesuffix(".ko").replace("-", "_") for line in file}
    status = 0
    for tree in trees:
        with open(tree, "rb") as file:
            root = read(file.read())
        for controller, supplier, wanted in missing(root, modules, names):
            status = 1
            print(f"{os.path.basename(tree)}: {controller} waits for {supplier}, whose driver {' or '.join(wanted)} is not in the initramfs",
                  file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
