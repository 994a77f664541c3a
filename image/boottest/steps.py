"""What a new owner does with the box, step by step; each fails with what is not as it should be."""

import hashlib
import ipaddress
import json
import random
import struct
import time
import zlib

from . import dns
from .card import Card
from .guest import ADDRESS, MAC
from .machine import BootFailed
from .office import NO_ANSWER, certificate, multipart, request, trusting

OFFICE, CUSTOMER = "6281100000001", "6281200000002"
PASSWORD = "kata sandi kotak uji"
NAME = "kurir-" + MAC.replace(":", "")[-4:]
# A wrong value in the preset: it has to be told, and to harm nothing else.
WRONG = "queue_jitter_ms"
# TCP ports above 1024 that services have, and the seconds for knocking on others.
TCP_PORTS = (1080, 1194, 1433, 1521, 1883, 1900, 2049, 2222, 2375, 2376, 3000, 3128, 3306, 3389, 4444, 5000, 5222, 5353, 5355, 5432,
             5555, 5666, 5672, 5900, 5985, 6000, 6379, 6443, 7000, 8000, 8008, 8080, 8081, 8088, 8443, 8883, 8888, 9000, 9090,
             9100, 9200, 9999, 10000, 10050, 11211, 15672, 19531, 19532, 25565, 27017, 32768, 49152)
KNOCKING = 15
# UDP ports of services that a Debian system may have; 5353 is mDNS, ours, and 68 the DHCP client's.
UDP_PORTS = (53, 67, 68, 69, 111, 123, 137, 138, 161, 323, 427, 500, 514, 546, 631, 1194, 1900, 2049, 3702, 4500, 5060,
             5353, 5355, 51820)
# A prefix of IPv6 for offices alone, and the seconds within which the name is known at an address that it gives.
PREFIX, FOUND = "fd6b:7572:6972::/64", 20


def need(right, what):
    if not right:
        raise BootFailed(what)


def preset(wrong):
    """The `kurir.toml` of the card's first partition: no pauses, and the test's web server may be called."""
    lines = [
        'allow_private_fetch = "10.0.2.0/24"',
        "send_delay_ms = 0",
        "key_rate_per_minute = 0",
    ]
    if wrong:
        lines.append(f'{WRONG} = "sepuluh"')
    return "\n".join(lines) + "\n"


def answers_the_claim_only(box):
    """Nothing else before somebody has claimed it, over neither port."""
    for method, path in [("GET", "/readyz"), ("GET", "/metrics"), ("GET", "/openapi.json"), ("GET", "/docs"),
                         ("GET", "/api/sessions?list=1"), ("POST", "/api/v1/login"), ("POST", "/send-message"),
                         ("POST", "/send"), ("POST", "/api/send-message"), ("GET", "/api/v1/panel.png")]:
        answer = box.request(method, path, {} if method == "POST" else None)
        need(answer.status == 403 and b"no owner yet" in answer.body, f"before the claim {path} is answered {answer}")
    tls = trusting(certificate(box.https))
    tls.check_hostname = False
    answer = request(box.https, "GET", "/readyz", tls=tls)
    need(answer.status == 403, f"before the claim /readyz over HTTPS is answered {answer}")
    need(box.request("GET", "/").status == 200, "the page of the claim is not shown")


def code_on_console(box):
    """The claim code and the box's address, as the serial console shows them."""
    return box.guest.console(r"Kurir: claim code (\w{4}-\w{4}), (http://\S+)", 60)[1].groups()


def claim_and_size(box):
    """Claims the box and returns the size of its data partition's file system in bytes."""
    code, _ = code_on_console(box)
    box.key = box.ok("POST", "/api/v1/claim", {"code": code, "password": PASSWORD}).json()["key"]
    return box.metrics()["kurir_disk_size_bytes"]


def claim(box):
    """With the code that the serial console shows. Returns the box's address as the console has it."""
    code, address = code_on_console(box)
    need(address == f"http://{NAME}.local/", f"the console names the box {address}, not http://{NAME}.local/")
    wrong = "ACEF-3467" if code != "ACEF-3467" else "ACEF-3469"
    answer = box.request("POST", "/api/v1/claim", {"code": wrong, "password": PASSWORD})
    need(answer.status == 403, f"a wrong code is answered {answer}")
    box.key = box.ok("POST", "/api/v1/claim", {"code": code, "password": PASSWORD}).json()["key"]
    answer = box.request("POST", "/api/v1/claim", {"code": code, "password": PASSWORD})
    need(answer.status == 409, f"a second claim is answered {answer}")
    ready(box)
    return address


def ready(box):
    answer = box.ok("GET", "/readyz").json()
    need(answer["status"] == "ready" and answer["store"] == "ok", f"/readyz says {answer}")
    return answer


def shows_the_preset_error(box, there):
    """The wrong value of the preset is named by the status where it is there, and not where it was mended."""
    said = box.ok("GET", "/readyz").body.decode()
    need((WRONG in said) == there, f"{WRONG} is {'' if there else 'still '}{'not ' if there else ''}in /readyz: {said}")


def speaks_https(box):
    """With a certificate that it signed itself, for its own name. Returns the fingerprint."""
    der = certificate(box.https)
    fingerprint = hashlib.sha256(der).hexdigest()
    shown = box.ok("GET", "/api/v1/certificate").json()["certificate"]
    need(shown["source"] == "self-signed", f"the certificate is {shown}")
    need(shown["sha256"].replace(":", "").lower() == fingerprint, f"the fingerprint is {fingerprint}, not {shown['sha256']}")
    # Connecting by its name, with nothing trusted but this certificate.
    answer = request(box.https, "GET", "/readyz", tls=trusting(der), name=f"{NAME}.local")
    need(answer.status == 200, f"/readyz over HTTPS is answered {answer}")
    return fingerprint


def can_drive_a_display(box):
    """The bus's driver, which no device asks for; QEMU's machine has no such bus to look at."""
    need(box.guest.find(r"i2c_dev: i2c /dev entries driver"), "the kernel has not loaded i2c-dev: there would be no /dev/i2c-1")


def is_closed_but_for_its_ports(box):
    """The TCP ports that services have, as many others as the time allows, and the usual UDP ones. Returns what it found, as
    text."""
    usual = [*range(1, 1025), *TCP_PORTS]
    others = sorted(set(range(1025, 65536)).difference(usual))
    random.shuffle(others)  # each run looks at others
    first = box.lan.knock(usual, 60)
    need(len(first.open) + len(first.refused) == len(usual), f"these TCP ports say nothing: {sorted(first.silent)[:20]}")
    more = box.lan.knock(others, KNOCKING)
    found = first.open | more.open
    need(found == {80, 443}, f"the open TCP ports are {sorted(found)}, not 80 and 443")
    left = box.lan.silent_udp_ports(UDP_PORTS)
    need(left <= {68, 5353}, f"somebody has the UDP ports {sorted(left)}")
    need(5353 in left, "nobody has the UDP port 5353 of multicast DNS")
    knocked = sum(map(len, (*first, *more)))
    return (f"80 and 443 of {knocked:,} TCP ports, 1 to 1024 and {len(TCP_PORTS)} usual ones among them; "
            f"of {len(UDP_PORTS)} UDP ports {' and '.join(map(str, sorted(left)))}")


def is_found_by_name(box):
    """Multicast DNS gives its address, and soon those that come while it runs. Returns what it found, as text."""
    name, ours = f"{NAME}.local", ipaddress.ip_address(ADDRESS)
    found = box.lan.mdns_addresses(name, dns.A, FOUND)
    need(found == {ours}, f"multicast DNS gives {sorted(map(str, found))} for {name}, not {ADDRESS}")
    box.lan.offer_prefix(PREFIX)
    end = time.monotonic() + FOUND
    while True:
        more = box.lan.mdns_addresses(name, dns.AAAA)
        new = [address for address in more if address in ipaddress.IPv6Network(PREFIX)]
        if new:
            break
        need(time.monotonic() < end, f"multicast DNS gives {sorted(map(str, more))} for {name}, and none of the new {PREFIX}")
    found = box.lan.mdns_addresses(name, dns.A, FOUND)
    need(found == {ours}, f"with a new address multicast DNS gives {sorted(map(str, found))} for {name}, not {ADDRESS}")
    return f"{name} is {ADDRESS} and, after a router offered {PREFIX}, {new[0]}"


def pair(box, phones):
    """A phone scans the QR code. Returns the session's id."""
    session = box.ok("GET", "/api/sessions?list=1").json()["sessions"][0]["id"]

    def code():
        answer = box.request("GET", f"/api/sessions/{session}/qr")
        return answer.json().get("qr") if answer.status == 200 else None

    phones.scan(OFFICE, box.until("a QR code", code, 120))
    connected(box, 120)
    return session


def connected(box, seconds):
    """Waits until the session is connected."""
    try:
        box.until("a connected session", lambda: ready(box)["counts"].get("connected"), seconds)
    except BootFailed as error:
        raise BootFailed(f"{error}; /readyz says {box.request('GET', '/readyz')}") from None


def sends_a_text(box, phones, session):
    text = "Pesanan siap diambil ☕"
    box.ok("POST", f"/api/sessions/{session}/send", {"to": CUSTOMER, "message": text})
    shown = phones.inbox(CUSTOMER, 1, 60)
    need([m["text"] for m in shown] == [text], f"the phone shows {shown}")


def sends_a_picture(box, phones, session):
    """The far phone decrypts the very bytes. Returns how many."""
    data = picture(160, 120)
    kind, body = multipart([("to", CUSTOMER), ("message", "Faktur")], "media", "faktur.png", "image/png", data)
    box.ok("POST", f"/api/sessions/{session}/send-media", body, {"Content-Type": kind})
    shown = phones.inbox(CUSTOMER, 2, 60)[1:]
    need([(m["kind"], m["caption"], m["mime"]) for m in shown] == [("image", "Faktur", "image/png")],
         f"the phone shows {shown}")
    need(phones.medium(CUSTOMER, shown[0]["id"]) == data, "the phone has other bytes than were sent")
    return len(data)


def picture(width, height):
    """A PNG that cannot be compressed."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    noise = random.Random(1).randbytes((1 + 3 * width) * height)
    rows = b"".join(b"\0" + noise[at * 3 * width : (at + 1) * 3 * width] for at in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def hears_by_webhook(box, phones, application):
    """What the customer writes reaches the application, signed."""
    answer = box.request("POST", "/api/v1/webhooks", {"url": application.url, "events": ["message"]})
    need(answer.status == 201, f"a new webhook is answered {answer}")
    application.secret = answer.json()["secret"]
    hears(phones, application, "Kapan buka?", offline=False)


def hears(phones, application, text, offline, send=True):
    if send:
        phones.send(CUSTOMER, OFFICE, text)
    event = application.event(lambda event: event["type"] == "message" and event["data"].get("text") == text, 120)
    need(event["phone"] == CUSTOMER and event["offline"] == offline, f"the webhook says {event}")


def counts(box):
    """What /metrics has of the sends so far; it needs the key."""
    answer = request(box.http, "GET", "/metrics")
    need(answer.status == 401, f"/metrics without a key is answered {answer}")
    rows = box.metrics()
    need(rows['kurir_sends_total{result="sent"}'] == 2, "/metrics does not count the text and the picture")
    return rows


def is_gone(box):
    """Nobody answers after the cut."""
    try:
        answer = request(box.http, "GET", "/healthz", timeout=5)
    except NO_ANSWER:
        return
    raise BootFailed(f"the box answers without power: {answer}")


def update_parts(update):
    """The version and the parts of an update file by name (docs/updates.md)."""
    length = struct.unpack_from("<I", update, 8)[0]
    manifest, at, parts = json.loads(update[12 : 12 + length]), 12 + length + 64, {}
    for part in manifest["parts"]:
        parts[part["name"]] = update[at : at + part["size"]]
        at += part["size"]
    return manifest["version"], parts


def standing(box):
    """How far an update is."""
    return box.ok("GET", "/api/v1/update").json()["update"]


def takes_an_update(box, update):
    """It comes over the network, is written into the other slot, and the box restarts to try it. What was changed on the way is
    refused before. Returns when the box was down, in seconds after power-on."""
    version, _ = update_parts(update)
    need(standing(box)["stage"] == "idle", f"before any update there is {standing(box)}")
    wrong = update[:-1] + bytes([update[-1] ^ 1])
    answer = box.request("PUT", "/api/v1/update", wrong, {"Content-Type": "application/octet-stream"})
    need(answer.status == 400 and b"damaged" in answer.body, f"a damaged update is answered {answer}")
    answer = box.request("PUT", "/api/v1/update", update, {"Content-Type": "application/octet-stream"})
    need(answer.status == 202 and answer.json()["update"]["next"] == version, f"an update is answered {answer}")
    seconds = box.until_off(180)
    need(box.guest.find(r"reboot: Restarting system with command '0 tryboot'"), "the box went down without asking for the other slot")
    return seconds


def went_back(box, update):
    """The update was written as it is, and did not start: nothing here has the firmware that would try it."""
    version, parts = update_parts(update)
    for number, name in [(Card.BOOT_B, "boot"), (Card.ROOT_B, "root")]:
        need(box.card.begins_with(number, parts[name]), f"the update's {name} is not in partition {number}")
    box.start()
    last = box.until("the end of the update", lambda: standing(box)["last"], 60)
    need((last["outcome"], last["version"]) == ("rolled_back", version), f"the update ended with {last}")
    return last["reason"]
