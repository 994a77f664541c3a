#!/usr/bin/env python3
"""image/pair-and-send.py GATEWAY SIM [RUNNER...]: a released gateway pairs with the test server and sends a text.

GATEWAY is run by RUNNER (an emulator) where one is given, SIM natively. The gateway is a copy with the test server's two keys in
WhatsApp's place; in a network of its own it looks for WhatsApp by name, over TLS, and finds the test server. What counts is what
the customer's phone decrypted.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

sys.dont_write_bytecode = True
from boottest.alone import alone, name_here  # noqa: E402: before, it would leave files

OFFICE, CUSTOMER = "6281100000001", "6281200000002"
KEY = "preset-key-of-the-check"
PATIENCE = 180  # seconds; an emulated board is slow


def call(method, url, body=None, timeout=PATIENCE):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"X-API-Key": KEY, "Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")


def ok(method, url, body=None):
    status, answer = call(method, url, body)
    assert status == 200, f"{method} {url}: {status}: {answer}"
    return answer


def until(what, probe):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = probe()
        if found:
            return found
        time.sleep(0.2)
    raise SystemExit(f"no {what} within {PATIENCE} s")


def main():
    alone()
    name_here()
    gateway, sim, runner = sys.argv[1], sys.argv[2], sys.argv[3:]
    processes = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            keys, copy = f"{folder}/keys", f"{folder}/kurir"
            subprocess.run([sim, "rekey", keys, gateway, copy], check=True)
            server = subprocess.Popen([sim, "--as-whatsapp", keys, "--listen", "127.0.0.1:443"],
                                      stdout=subprocess.PIPE, text=True)
            processes.append(server)
            line = server.stdout.readline()
            assert line, f"the test server ended before it listened: {server.wait()}"
            where = json.loads(line)
            for number, name in [(OFFICE, "Kantor"), (CUSTOMER, "Ibu Sari")]:
                ok("POST", f"{where['control']}/phones", {"number": number, "name": name})

            began = time.monotonic()
            environment = {k: v for k, v in os.environ.items() if not k.startswith("KURIR_")} | {
                "KURIR_DATA_DIR": f"{folder}/data",
                "KURIR_LISTEN": "127.0.0.1:0",
                "KURIR_ADMIN_KEY": KEY,
            }
            process = subprocess.Popen([*runner, copy, "serve"], stdout=subprocess.PIPE, text=True, env=environment)
            processes.append(process)
            line = next((line for line in process.stdout if "http://" in line), None)
            assert line, f"the gateway ended before it listened: {process.wait()}"
            api = "http://" + line.split("http://")[1].strip() + "/api/sessions"
            print(f"listening after {time.monotonic() - began:.1f} s")

            session = ok("GET", f"{api}?list=1")["sessions"][0]["id"]

            def code():
                status, answer = call("GET", f"{api}/{session}/qr")
                return answer.get("qr") if status == 200 else None

            ok("POST", f"{where['control']}/phones/{OFFICE}/scan", {"qr": until("QR code", code)})

            def accepted():
                message = {"to": CUSTOMER, "message": "Pesanan siap diambil"}
                status, answer = call("POST", f"{api}/{session}/send", message)
                return answer if status == 200 else None

            until("accepted message", accepted)
            inbox = ok("GET", f"{where['control']}/phones/{CUSTOMER}/inbox?count=1&wait={PATIENCE - 10}")
            assert [m["text"] for m in inbox] == ["Pesanan siap diambil"], f"the phone shows {inbox}"
            stats = ok("GET", f"{where['control']}/stats")
            assert stats["violations"] == [], f"the test server complains: {stats['violations']}"
            print(f"paired, sent, and read on the phone after {time.monotonic() - began:.1f} s")

            process.terminate()
            assert process.wait(timeout=60) == 0, f"it ended with {process.returncode}"
        finally:
            for process in processes:
                process.kill()
                process.wait()


main()
