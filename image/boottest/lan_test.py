"""Tests of the neighbour's frames, against a stand-in for the box's network card."""

import ipaddress
import queue
import socket
import struct
import threading
import unittest

from . import dns, lan
from .guest import ADDRESS, MAC
from .lan import Lan


class Card:
    """Takes what the neighbour sends, and answers as a box with some open ports would."""

    def __init__(self, network, tcp=(), udp=(), names=()):
        arguments = network.arguments()[1]
        settings = dict(part.split("=") for part in arguments.split(",")[1:])
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        host, port = settings["localaddr"].split(":")
        self.socket.bind((host, int(port)))
        self.neighbour = ("127.0.0.1", int(settings["udp"].rsplit(":", 1)[1]))
        self.tcp, self.udp, self.names = tcp, udp, dict(names)
        self.offered = queue.Queue()
        threading.Thread(target=self.run, daemon=True).start()

    def send(self, packet, to=lan.OUR_MAC):
        self.socket.sendto(to + bytes.fromhex(MAC.replace(":", "")) + struct.pack(">H", lan.IPV4) + packet, self.neighbour)

    def run(self):
        while True:
            try:
                frame = self.socket.recv(65536)
            except OSError:
                return
            packet = frame[14:]
            if frame[12:14] == struct.pack(">H", lan.IPV6):
                self.offered.put(packet)
                continue
            source, data = socket.inet_ntoa(packet[12:16]), packet[20:]
            near, far = struct.unpack(">HH", data[:4])
            assert lan.checksum(packet[:20]) == 0
            if packet[9] == lan.TCP and data[13] == lan.SYN:
                assert lan.checksum(packet[12:20] + struct.pack(">HH", lan.TCP, len(data)) + data) == 0
                flags = lan.SYN | lan.ACK if far in self.tcp else lan.RST | lan.ACK
                self.send(lan.tcp(ADDRESS, source, far, near, flags))
            elif packet[9] == lan.UDP and far == lan.MDNS_PORT:
                for name, address in self.names.items():
                    if data[8:] == dns.question(name, dns.A):
                        record = dns.write_name(name) + struct.pack(">HHIH", dns.A, 0x8001, 120, 4) + socket.inet_aton(address)
                        answer = struct.pack(">6H", 0, 0x8400, 0, 1, 0, 0) + record
                        self.send(lan.udp(ADDRESS, lan.MDNS, lan.MDNS_PORT, lan.MDNS_PORT, answer), lan.MDNS_MAC)
            elif packet[9] == lan.UDP and far not in self.udp:
                self.send(lan.ipv4(ADDRESS, source, lan.ICMP, b"\3\3" + bytes(6) + packet[:28]))


class Neighbour(unittest.TestCase):
    def setUp(self):
        self.lan = Lan()
        self.addCleanup(self.lan.close)

    def card(self, **options):
        card = Card(self.lan, **options)
        self.addCleanup(card.socket.close)
        return card

    def test_the_open_ports_are_found(self):
        self.card(tcp={80, 443})
        knocks = self.lan.knock(range(1, 1025), 30)
        self.assertEqual((knocks.open, knocks.silent), ({80, 443}, set()))
        self.assertEqual(knocks.refused, set(range(1, 1025)) - {80, 443})

    def test_ports_that_say_nothing_are_told_apart(self):
        self.assertEqual(self.lan.knock([80], 0.2), (set(), set(), {80}))
        self.assertFalse(self.lan.listens(80, 0.1))

    def test_a_port_that_comes_to_listen_is_noticed(self):
        card = self.card()
        self.assertFalse(self.lan.listens(80, 0.1))
        card.tcp = {80}
        self.assertTrue(self.lan.listens(80, 5))

    def test_udp_ports_that_somebody_has_are_silent(self):
        self.card(udp={68})
        self.assertEqual(self.lan.silent_udp_ports([53, 67, 68, 123], rounds=1), {68})

    def test_a_name_is_asked_for(self):
        self.card(names={"kurir-3456.local": ADDRESS})
        found = self.lan.mdns_addresses("kurir-3456.local", dns.A, 5)
        self.assertEqual(found, {ipaddress.ip_address(ADDRESS)})
        self.assertEqual(self.lan.mdns_addresses("kurir-9999.local", dns.A, 0.1), set())
        self.assertEqual(self.lan.mdns_addresses("kurir-3456.local", dns.AAAA, 0.1), set())

    def test_a_prefix_is_offered(self):
        card = self.card()
        self.lan.offer_prefix("fd00:6b::/64")
        packet = card.offered.get(timeout=5)
        message = packet[40:]
        self.assertEqual(struct.unpack(">HBB", packet[4:8]), (len(message), lan.ICMPV6, 255))
        self.assertEqual(lan.checksum(packet[8:40] + struct.pack(">II", len(message), lan.ICMPV6) + message), 0)
        self.assertEqual((message[0], message[16:20]), (134, bytes([3, 4, 64, 0xC0])))
        self.assertEqual(message[-16:], ipaddress.IPv6Address("fd00:6b::").packed)
