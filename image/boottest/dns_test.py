"""Tests of the DNS messages."""

import struct
import unittest

from . import dns


class Messages(unittest.TestCase):
    def response(self, body, *, answers, more=0, questions=0):
        return struct.pack(">6H", 0, 0x8400, questions, answers, 0, more) + body

    def test_records_are_read_with_names_written_short(self):
        record = struct.pack(">HHIH", dns.A, 0x8001, 120, 4) + b"\x0a\0\2\x0f"
        first = dns.write_name("kurir-3456.local") + record
        short = struct.pack(">H", 0xC000 | 12) + struct.pack(">HHIH", dns.AAAA, 0x8001, 120, 16) + bytes(16)
        part = b"\2io" + struct.pack(">H", 0xC000 | 12 + 11) + record  # io, then local
        self.assertEqual(dns.answers(self.response(first + short + part, answers=2, more=1)), [
            ("kurir-3456.local", dns.A, b"\x0a\0\2\x0f"),
            ("kurir-3456.local", dns.AAAA, bytes(16)),
            ("io.local", dns.A, b"\x0a\0\2\x0f"),
        ])

    def test_the_question_that_an_answer_repeats_is_left_out(self):
        asked = dns.question("kurir-3456.local", dns.A)[12:]
        record = struct.pack(">H", 0xC000 | 12) + struct.pack(">HHIH", dns.A, 1, 10, 4) + bytes(4)
        answer = self.response(asked + record, answers=1, questions=1)
        self.assertEqual(dns.answers(answer), [("kurir-3456.local", dns.A, bytes(4))])

    def test_what_is_no_response_has_no_records(self):
        self.assertEqual(dns.answers(dns.question("kurir-3456.local", dns.A)), [])
        endless = self.response(b"\7endless\xc0\x0c", answers=1)
        for broken in (b"", bytes(11), endless, self.response(b"\4ab", answers=1), self.response(b"\xc0\x0c", answers=1)):
            self.assertEqual(dns.answers(broken), [])
