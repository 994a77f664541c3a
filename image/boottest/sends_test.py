"""Tests of the account of messages, against a stand-in for the box."""

import threading
import unittest
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .machine import BootFailed
from .sends import Sends


class Box:
    """Answers `answers` in turn: a status, or None for a connection that ends without an answer; then 200."""

    def __init__(self, answers):
        answers, lock = iter(answers), threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                with lock:
                    status = next(answers, 200)
                if status is None:
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Account(unittest.TestCase):
    def sends(self, answers, total):
        box = Box(answers)
        self.addCleanup(box.close)
        sends = Sends(box.port, "key", "session", "1", total, callers=1)
        self.addCleanup(sends.stop)
        return sends

    def test_a_message_without_an_answer_is_sent_again_after_the_next_start_under_another_text(self):
        sends = self.sends([200, None], 2)
        sends.power(True)
        sends.wait(1, 10, lambda: None)
        with sends._changed:
            self.assertTrue(sends._changed.wait_for(lambda: sends.unsure, timeout=10))
        self.assertEqual(sends.unsure, {"pesan 1 percobaan 0"})
        sends.power(False)
        sends.power(True)
        sends.wait(2, 10, lambda: None)
        self.assertEqual(sends.accepted, ["pesan 0 percobaan 0", "pesan 1 percobaan 1"])
        for there in (["pesan 0 percobaan 0", "pesan 1 percobaan 1"],
                      ["pesan 0 percobaan 0", "pesan 1 percobaan 0", "pesan 1 percobaan 1"]):
            sends.judge(Counter(there))
        for there in (["pesan 0 percobaan 0"],
                      ["pesan 0 percobaan 0", "pesan 0 percobaan 0", "pesan 1 percobaan 1"],
                      ["pesan 0 percobaan 0", "pesan 1 percobaan 0", "pesan 1 percobaan 0", "pesan 1 percobaan 1"],
                      ["pesan 0 percobaan 0", "pesan 1 percobaan 1", "pesan 9 percobaan 0"]):
            with self.assertRaises(BootFailed):
                sends.judge(Counter(there))

    def test_a_refused_message_is_sent_again_as_it_is(self):
        sends = self.sends([503, 200], 1)
        sends.power(True)
        sends.wait(1, 10, lambda: None)
        self.assertEqual((sends.accepted, sends.unsure), (["pesan 0 percobaan 0"], set()))

    def test_nothing_is_sent_while_the_power_is_off(self):
        sends = self.sends([], 1)
        with self.assertRaises(BootFailed):
            sends.wait(1, 0.3, lambda: None)
        self.assertEqual(sends.accepted, [])

    def test_it_waits_for_what_was_accepted(self):
        sends = self.sends([], 2)
        sends.power(True)
        sends.wait(2, 10, lambda: None)
        waits = []

        def inbox(count, seconds):
            waits.append(count)
            shown = ["halo", *sends.accepted][: max(2, len(waits) + 1)]
            return [{"text": text} for text in shown]

        sends.judge(sends.settle(inbox, 10))
        self.assertEqual(waits, [2, 3])
        with self.assertRaises(BootFailed):
            sends.settle(lambda count, seconds: [], 0)
