"""What is around the box: the test server with its phones, an application's webhook, and HTTP clients."""

import hashlib
import hmac
import http.client
import json
import queue
import socket
import ssl
import subprocess
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .guest import HOST
from .machine import BootFailed


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def __str__(self):
        return f"{self.status}: {self.body[:300].decode(errors='replace')}"


class Named(http.client.HTTPSConnection):
    """HTTPS to 127.0.0.1, where a server is expected that is called otherwise."""

    def __init__(self, name, port, timeout, context):
        super().__init__(name, port, timeout=timeout)
        self._tls = context

    def connect(self):
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=self.timeout)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)


def request(port, method, path, body=None, headers=(), timeout=30, tls=None, name="127.0.0.1"):
    """One request to 127.0.0.1. OSError or HTTPException if there is no whole answer. `tls`: over HTTPS, with a certificate for
    `name`."""
    headers = dict(headers)
    if body is not None and not isinstance(body, bytes):
        body, headers = json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
    if tls:
        connection = Named(name, port, timeout, tls)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, headers | {"Connection": "close"})
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


NO_ANSWER = (OSError, http.client.HTTPException)


def multipart(fields, name, filename, mime, data):
    """A form with a file: its content type and its bytes."""
    boundary = uuid.uuid4().hex
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in fields]
    parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
                 f"Content-Type: {mime}\r\n\r\n")
    return f"multipart/form-data; boundary={boundary}", "".join(parts).encode() + data + f"\r\n--{boundary}--\r\n".encode()


def certificate(port, timeout=30):
    """The certificate that a TLS server shows, in DER, whoever signed it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as plain:
        with context.wrap_socket(plain) as tls:
            return tls.getpeercert(binary_form=True)


def trusting(der):
    """A context that trusts this certificate alone, but takes it for no other name than its own."""
    context = ssl.create_default_context(cadata=ssl.DER_cert_to_PEM_cert(der))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


class Phones:
    """The test server as a program, and its phones."""

    def __init__(self, program, keys):
        """In WhatsApp's place for a card of `image/build --sim`, which has left the `keys`."""
        self._program = subprocess.Popen([program, "--as-whatsapp", keys, "--listen", "127.0.0.1:443"],
                                         stdout=subprocess.PIPE, text=True)
        line = self._program.stdout.readline()
        if not line:
            raise BootFailed(f"{program} ended with {self._program.wait()}")
        where = json.loads(line)
        self._control = int(where["control"].rsplit(":", 1)[1])

    def _call(self, method, path, body=None, timeout=60):
        answer = request(self._control, method, path, body, timeout=timeout)
        if answer.status != 200:
            raise BootFailed(f"the test server answers {method} {path} with {answer}")
        return answer

    def add(self, number, name):
        self._call("POST", "/phones", {"number": number, "name": name})

    def scan(self, number, code):
        self._call("POST", f"/phones/{number}/scan", {"qr": code})

    def inbox(self, number, count=0, wait=0):
        """What the phone shows, once there are `count` messages or the seconds are over."""
        return self._call("GET", f"/phones/{number}/inbox?count={count}&wait={wait}", timeout=wait + 30).json()

    def medium(self, number, message):
        """The bytes of a medium that the phone has decrypted."""
        return self._call("GET", f"/phones/{number}/media/{message}").body

    def send(self, number, to, text):
        return self._call("POST", f"/phones/{number}/send", {"to": to, "text": text}).json()["id"]

    def stats(self):
        return self._call("GET", "/stats").json()

    def close(self):
        self._program.kill()
        self._program.wait()


class Application:
    """An application in the office: takes webhooks and answers them with 200."""

    def __init__(self):
        calls = self._calls = queue.Queue()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                calls.put((self.headers, body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True, name="webhook").start()
        self.url = f"http://{HOST}:{self._server.server_address[1]}/kurir"
        self.secret = None

    def event(self, wanted, seconds):
        """The first event for which `wanted` is true; each signature is checked."""
        end = time.monotonic() + seconds
        while True:
            try:
                headers, body = self._calls.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                raise BootFailed(f"no such webhook within {seconds} s") from None
            given = dict(part.split("=", 1) for part in headers["X-Kurir-Signature"].split(","))
            right = hmac.new(self.secret.encode(), given["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
            if not hmac.compare_digest(given["v1"], right):
                raise BootFailed(f"a webhook's signature is {given['v1']} instead of {right}")
            event = json.loads(body)
            if wanted(event):
                return event

    def close(self):
        self._server.shutdown()
        self._server.server_close()
