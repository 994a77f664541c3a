#!/usr/bin/env python3
"""image/crate-sizes.py ELF [COUNT]: which crates fill which section of a static binary that has its symbol table.

Symbols are counted for the crate that their name says; generic code counts for the crate that defines it. Constants without
a name, and what lies between symbols, is "(no symbol)".
"""

import re
import struct
import sys
from collections import Counter, defaultdict

C_CODE = [
    ("ring (C, assembly)", re.compile(r"^_?(ring_core_|x25519_|fe_|ge_|sha\d+_|aes_|bn_|chacha20|poly1305|ecp_|p256|p384|gcm_|aesv8)")),
    ("opus (C)", re.compile(r"^_?(opus_|silk_|celt_|ec_|clt_|mdct|quant_|compute_|haar1|alg_)")),
]


def crate_of(name):
    if name.startswith("_ZN"):
        match = re.match(r"_ZN(\d+)", name)
        first = name[match.end():][: int(match.group(1))]
        if first.startswith("_$LT$"):
            # <Type as Trait>::…: the type's crate, past references and the like.
            inner = re.search(r"(?:\$LT\$|\$RF\$|\$BP\$|mut\$u20\$|^)([a-z_][a-z0-9_]*)\.\.", first[5:])
            return inner.group(1) if inner else "core"
        return first
    if name.startswith("_R"):
        match = re.search(r"C(?:s[0-9a-zA-Z]*_)?(\d+)_?", name)
        if match:
            return name[match.end():][: int(match.group(1))]
        return "(Rust)"
    for crate, pattern in C_CODE:
        if pattern.match(name):
            return crate
    return "musl and other C"


def sections_and_symbols(data):
    if data[:4] != b"\x7fELF" or data[5] != 1:
        raise SystemExit("not a little-endian ELF file")
    wide = data[4] == 2
    offset, = struct.unpack_from("<Q" if wide else "<I", data, 0x28 if wide else 0x20)
    entry_size, count, names_index = struct.unpack_from("<HHH", data, 0x3A if wide else 0x2E)
    layout = "<IIQQQQIIQQ" if wide else "<IIIIIIIIII"
    headers = [struct.unpack_from(layout, data, offset + i * entry_size) for i in range(count)]
    names_at = headers[names_index][4]

    def text(base, at):
        start = base + at
        return data[start : data.index(b"\0", start)].decode(errors="replace")

    names = [text(names_at, header[0]) for header in headers]
    symbols = []
    for header in headers:
        if header[1] != 2:  # SHT_SYMTAB
            continue
        strings = headers[header[6]][4]
        for at in range(header[4], header[4] + header[5], header[9]):
            if wide:
                name, _, _, section, value, size = struct.unpack_from("<IBBHQQ", data, at)
            else:
                name, value, size, _, _, section = struct.unpack_from("<IIIBBH", data, at)
            if size and 0 < section < count:
                symbols.append((section, value, size, text(strings, name)))
    # Only what is in the file and in memory: SHF_ALLOC, not SHT_NOBITS.
    kept = {i: (names[i], h[5]) for i, h in enumerate(headers) if h[2] & 2 and h[1] != 8}
    return kept, symbols


def main():
    path = sys.argv[1]
    most = int(sys.argv[2]) if len(sys.argv) > 2 else 12
    with open(path, "rb") as file:
        sections, symbols = sections_and_symbols(file.read())
    if not symbols:
        raise SystemExit(f"{path} has no symbol table")
    sizes, seen = defaultdict(Counter), set()
    for section, value, size, name in symbols:
        if section in sections and (section, value) not in seen:
            seen.add((section, value))
            sizes[section][crate_of(name)] += size
    for index, (name, total) in sorted(sections.items(), key=lambda item: -item[1][1]):
        if total < 64 * 1024:
            continue
        crates = sizes[index]
        crates["(no symbol)"] = max(0, total - sum(crates.values()))
        print(f"{name:<16} {total / 1024:9.0f} KiB")
        for crate, size in crates.most_common(most):
            print(f"  {size / 1024:9.0f} KiB  {crate}")


main()
