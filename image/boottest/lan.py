"""A neighbour on the box's network that speaks in raw Ethernet frames: it knocks on every TCP port, asks mDNS, and plays a
router of IPv6.

QEMU's user networking forwards single ports and no multicast, so the neighbour sits on a hub beside it.
"""

import ipaddress
import itertools
import math
import select
import socket
import struct
import time
from typing import NamedTuple

from . import dns
from .guest import ADDRESS, MAC, free_port

OUR_MAC, BROADCAST = bytes.fromhex("525400000050"), b"\xff" * 6
# One address for each UDP port that is tried: Linux tells one peer "unreachable" once a second only.
OUR_ADDRESS, OURS = "10.0.2.50", range(50, 250)
ARP, IPV4, IPV6, ICMP, TCP, UDP, ICMPV6 = 0x0806, 0x0800, 0x86DD, 1, 6, 17, 58
SYN, RST, ACK = 2, 4, 16
MDNS, MDNS_MAC, MDNS_PORT = "224.0.0.251", bytes.fromhex("01005e0000fb"), 5353
ROUTER, ALL_NODES, ALL_NODES_MAC = "fe80::5054:ff:fe00:50", "ff02::1", bytes.fromhex("333300000001")


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(source, target, protocol, payload):
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0, 255, protocol, 0,
                       socket.inet_aton(source), socket.inet_aton(target))
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def pseudo(source, target, protocol, length):
    return socket.inet_aton(source) + socket.inet_aton(target) + struct.pack(">BBH", 0, protocol, length)


def tcp(source, target, near, far, flags, sequence=1):
    segment = struct.pack(">HHIIBBHHH", near, far, sequence, 0, 5 << 4, flags, 1024, 0, 0)
    total = checksum(pseudo(source, target, TCP, len(segment)) + segment)
    return ipv4(source, target, TCP, segment[:16] + struct.pack(">H", total) + segment[18:])


def udp(source, target, near, far, data):
    # Over IPv4 no checksum is needed: 0.
    return ipv4(source, target, UDP, struct.pack(">HHHH", near, far, 8 + len(data), 0) + data)


def router_advertisement(prefix):
    """RFC 4861 4.2, of a router that offers no way out but a prefix of 64 bits to make addresses from."""
    network = ipaddress.IPv6Network(prefix)
    offered = struct.pack(">BBBBIII", 3, 4, network.prefixlen, 0xC0, 86400, 14400, 0) + network.network_address.packed
    message = struct.pack(">BBHBBHII", 134, 0, 0, 0, 0, 0, 0, 0) + offered
    ends = ipaddress.IPv6Address(ROUTER).packed + ipaddress.IPv6Address(ALL_NODES).packed
    total = checksum(ends + struct.pack(">II", len(message), ICMPV6) + message)
    # The hop limit shows that it comes from this network.
    head = struct.pack(">IHBB", 6 << 28, len(message), ICMPV6, 255) + ends
    return head + message[:2] + struct.pack(">H", total) + message[4:]


class Knocks(NamedTuple):
    """What became of the TCP ports that were knocked on."""

    open: set
    refused: set
    silent: set


class Lan:
    """The neighbour. QEMU gets `arguments()`; frames that come while nobody asks are dropped."""

    def __init__(self):
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self._qemu = ("127.0.0.1", free_port(socket.SOCK_DGRAM))
        self._box = bytes.fromhex(MAC.replace(":", ""))

    def arguments(self):
        near = self._socket.getsockname()[1]
        return ["-netdev", f"socket,id=lan,udp=127.0.0.1:{near},localaddr=127.0.0.1:{self._qemu[1]}",
                "-netdev", "hubport,id=hub-lan,hubid=0,netdev=lan"]

    def close(self):
        self._socket.close()

    def _send(self, packet, mac=None, kind=IPV4):
        self._socket.sendto((mac or self._box) + OUR_MAC + struct.pack(">H", kind) + packet, self._qemu)

    def _frames(self, seconds, idle=None):
        """What comes for us within that time: (source, target, protocol, payload), or until nothing more has come for `idle`
        seconds after something came. Answers who asks for our address."""
        end, some = time.monotonic() + seconds, False
        while True:
            left = end - time.monotonic()
            if some and idle:
                left = min(left, idle)
            if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                return
            some = True
            frame = self._socket.recv(65536)
            kind, packet = struct.unpack(">H", frame[12:14])[0], frame[14:]
            if frame[6:12] != self._box:
                continue
            if kind == ARP and len(packet) >= 28:
                operation, sender, sender_ip, asked = struct.unpack(">6xH6s4s6x4s", packet[:28])
                if operation == 1 and asked[:3] == socket.inet_aton("10.0.2.0")[:3] and asked[3] in OURS:
                    answer = struct.pack(">HHBBH6s4s6s4s", 1, IPV4, 6, 4, 2, OUR_MAC, asked, sender, sender_ip)
                    self._send(answer, kind=ARP)
            elif kind == IPV4 and len(packet) >= 20:
                head = (packet[0] & 15) * 4
                length, = struct.unpack(">H", packet[2:4])
                yield (socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20]), packet[9], packet[head:length])

    def _drain(self):
        for _ in self._frames(0.05):
            pass

    def listens(self, port, seconds):
        """Whether the port takes a connection within that time."""
        return port in self.knock([port], seconds, again=seconds).open

    def knock(self, ports, seconds, again=1, window=64):
        """Knocks on each port, a window of them at a time and on one that says nothing every `again` seconds, in their order
        and for as many seconds at most."""
        self._drain()
        waiting, asked, knocks = iter(ports), {}, Knocks(set(), set(), set())
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            now = time.monotonic()
            for port in itertools.islice(waiting, window - len(asked)):
                asked[port] = -math.inf
            if not asked:
                break
            for port, at in asked.items():
                if at + again <= now:
                    asked[port] = now
                    self._send(tcp(OUR_ADDRESS, ADDRESS, 40000, port, SYN))
            for source, target, protocol, data in self._frames(min(again, end - now), idle=0.005):
                if (source, target, protocol) != (ADDRESS, OUR_ADDRESS, TCP) or len(data) < 14:
                    continue
                port, to, flags = struct.unpack(">HH9xB", data[:14])
                if to != 40000 or port not in asked:
                    continue
                del asked[port]
                (knocks.open if flags & SYN else knocks.refused).add(port)
                if flags & SYN:
                    # Taken back, so that the box does not repeat its answer.
                    self._send(tcp(OUR_ADDRESS, ADDRESS, 40000, port, RST, sequence=2))
                if len(asked) < window // 2:
                    break
        knocks.silent.update(port for port, at in asked.items() if at > -math.inf)
        return knocks

    def silent_udp_ports(self, ports, rounds=4):
        """Of these ports, those of which the box does not say that nobody is there."""
        self._drain()
        left = set(ports)
        assert len(left) <= len(OURS), "each needs an address of its own"
        for _ in range(rounds):
            ours = {f"10.0.2.{OURS[index]}": port for index, port in enumerate(sorted(left))}
            for address, port in ours.items():
                self._send(udp(address, ADDRESS, 40000, port, b"\0"))
            for source, target, protocol, data in self._frames(1.5):
                # Destination unreachable, port unreachable.
                if source == ADDRESS and protocol == ICMP and data[:2] == b"\3\3":
                    left.discard(ours.get(target))
                    if not left:
                        return left
        return left

    def mdns_addresses(self, name, kind, seconds=2):
        """The addresses that multicast DNS gives for a name, `dns.A` or `dns.AAAA`, within that time; empty if nobody answers."""
        self._drain()
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._send(udp(OUR_ADDRESS, MDNS, MDNS_PORT, MDNS_PORT, dns.question(name, kind)), mac=MDNS_MAC)
            for source, _, protocol, data in self._frames(min(left, 2)):
                if source != ADDRESS or protocol != UDP or data[:2] != struct.pack(">H", MDNS_PORT):
                    continue
                found = {r.data for r in dns.answers(data[8:]) if (r.name, r.kind) == (name, kind)}
                if found:
                    return {ipaddress.ip_address(address) for address in found}
        return set()

    def offer_prefix(self, prefix):
        """A router says that the network has this prefix of IPv6 as well."""
        self._send(router_advertisement(prefix), mac=ALL_NODES_MAC, kind=IPV6)
