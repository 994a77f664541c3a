"""Callers that send texts through power cuts, and the account of what has to be on the far phone in the end."""

import threading
import time
from collections import Counter

from .machine import BootFailed
from .office import NO_ANSWER, request


class Sends:
    """`total` texts by some callers at once. A caller that got no answer does not know whether its message was taken: it sends
    another one, which says so, because the first one may arrive as well."""

    def __init__(self, port, key, session, to, total, callers=4):
        self.total = total
        self.accepted, self.unsure = [], set()
        self._path = f"/api/sessions/{session}/send"
        self._port, self._headers, self._to = port, {"X-API-Key": key}, to
        self._numbers = iter(range(total))
        self._changed = threading.Condition()
        self._on, self._start, self._over = False, 0, False
        self._refused = Counter()
        self._threads = [threading.Thread(target=self._call, daemon=True, name="caller") for _ in range(callers)]
        for thread in self._threads:
            thread.start()

    def power(self, on):
        """Tells the callers that the box listens, or that its power was cut: before the cut, so that nobody takes the rest of
        that start for the next one."""
        with self._changed:
            self._on = on
            self._start += on
            self._changed.notify_all()

    def _call(self):
        while True:
            with self._changed:
                number = next(self._numbers, None)
            if number is None:
                return
            attempt = 0
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._on or self._over)
                    start = self._start
                if self._over:
                    return
                text = f"pesan {number} percobaan {attempt}"
                try:
                    answer = request(self._port, "POST", self._path, {"to": self._to, "message": text}, self._headers,
                                     timeout=60)
                except NO_ANSWER:
                    attempt += 1
                    with self._changed:
                        self.unsure.add(text)
                        self._changed.notify_all()
                        self._changed.wait_for(lambda: self._over or self._start > start, timeout=60)
                    continue
                if answer.status == 200:
                    with self._changed:
                        self.accepted.append(text)
                        self._changed.notify_all()
                    break
                with self._changed:
                    self._refused[str(answer)] += 1
                time.sleep(0.1)  # just starting: the session is not back yet

    def wait(self, count, seconds, check):
        """Until so many were accepted. `check` fails if the box is not well."""
        end = time.monotonic() + seconds
        with self._changed:
            while len(self.accepted) < count:
                check()
                if time.monotonic() > end:
                    raise BootFailed(f"{len(self.accepted)} of {count} messages were accepted within {seconds} s; "
                                     f"refusals: {self._refused.most_common(3)}")
                self._changed.wait(0.2)
            return len(self.accepted)

    def stop(self):
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def settle(self, inbox, seconds):
        """Once all that was accepted is on the phone: how often each text is there."""
        end, wanted = time.monotonic() + seconds, len(self.accepted)
        while True:
            left = max(0, end - time.monotonic())
            texts = [message["text"] for message in inbox(wanted, left)]
            ours = Counter(text for text in texts if text and text.startswith("pesan "))
            missing = [text for text in self.accepted if not ours[text]]
            if not missing:
                return ours
            if not left:
                raise BootFailed(f"{len(missing)} accepted messages never arrived: {missing[:5]}")
            wanted = len(texts) + 1

    def judge(self, ours):
        """Exactly once what was accepted, at most once what was not answered, and nothing else."""
        wrong = [f"{text!r} is there {count} times" for text, count in ours.items() if count != 1]
        wrong += [f"{text!r} was accepted and never arrived" for text in self.accepted if not ours[text]]
        known = self.unsure.union(self.accepted)
        wrong += [f"{text!r} was refused or never sent" for text in ours if text not in known]
        if len(self.accepted) != self.total or len(set(self.accepted)) != self.total:
            wrong.append(f"{len(self.accepted)} were accepted, not {self.total}")
        if wrong:
            raise BootFailed("\n".join(wrong[:10]))
