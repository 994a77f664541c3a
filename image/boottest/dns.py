"""Questions and answers of DNS (RFC 1035), as far as multicast DNS needs them."""

import struct
from typing import NamedTuple

A, AAAA = 1, 28


class Record(NamedTuple):
    """A record of an answer: the name without its last dot, the type, the data."""

    name: str
    kind: int
    data: bytes


def write_name(name):
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"


def question(name, kind):
    return struct.pack(">6H", 0, 0, 1, 0, 0, 0) + write_name(name) + struct.pack(">HH", kind, 1)


def read_name(message, at):
    """The name at that place, and where what follows it begins."""
    parts, after, limit = [], None, at
    while True:
        length = message[at]
        if length >= 0xC0:  # the rest stands earlier in the message
            earlier = struct.unpack_from(">H", message, at)[0] & 0x3FFF
            if earlier >= limit:
                raise ValueError("a name that does not point back")
            after, at, limit = after or at + 2, earlier, earlier
        elif length:
            parts.append(message[at + 1 : at + 1 + length].decode())
            at += 1 + length
        else:
            return ".".join(parts), after or at + 1


def answers(message):
    """The records of a response, whichever section they are in; none where it is something else."""
    try:
        _, flags, questions, *counts = struct.unpack_from(">6H", message)
        if not flags & 0x8000:
            return []
        at, records = 12, []
        for _ in range(questions):
            at = read_name(message, at)[1] + 4
        for _ in range(sum(counts)):
            name, at = read_name(message, at)
            kind, length = struct.unpack_from(">H6xH", message, at)
            at += 10
            records.append(Record(name, kind, message[at : at + length]))
            at += length
        return records
    except (struct.error, IndexError, ValueError):
        return []
