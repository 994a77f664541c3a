"""An archive that the kernel adds to an initramfs (Documentation/driver-api/early-userspace/buffer-format.rst)."""


def _padded(data):
    return data + bytes(-len(data) % 4)


def _entry(name, mode, data):
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields)
    return _padded(head + name.encode() + b"\0") + _padded(data)


def archive(behind, files):
    """Regular files, {path: bytes}, in folders that an earlier archive has. `behind`: the bytes that stand before it in the file."""
    entries = b"".join(_entry(name, 0o100644, data) for name, data in files.items())
    return bytes(-behind % 4) + entries + _entry("TRAILER!!!", 0, b"")
