"""A network of one's own: a loopback and nothing else. Every port is free there, and WhatsApp's names lead where we say."""

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile

# What a gateway connects to (tests/whatsapp-sim/src/identity.rs); image/build writes the same names into the card's /etc/hosts.
NAMES = ("web.whatsapp.com", "mmg.whatsapp.net")
_MARK = "KURIR_ALONE"
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def _loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        wanted = struct.pack("16sh14x", b"lo", 0)
        name, flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, wanted))
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", name, flags | _IFF_UP))


def alone():
    """Starts this program anew in such a network, if it is not in one. Call it before anything is started or opened."""
    if os.environ.pop(_MARK, None) != str(os.getpid()):
        if not shutil.which("unshare"):
            raise SystemExit("unshare is missing; install util-linux (Debian's name)")
        # Whoever is not root becomes it for what it starts here.
        root = [] if os.geteuid() == 0 else ["--map-root-user"]
        os.environ[_MARK] = str(os.getpid())  # unshare and what it starts keep the number
        sys.stdout.flush()
        os.execvp("unshare", ["unshare", *root, "--net", "--mount", sys.executable, *sys.argv])
    _loopback_up()


def name_here():
    """WhatsApp's names lead to this machine's loopback, for programs started from now on."""
    with tempfile.NamedTemporaryFile("w", prefix="hosts-") as hosts:
        hosts.write("127.0.0.1 localhost\n" + "".join(f"127.0.0.1 {name}\n" for name in NAMES))
        hosts.flush()
        os.chmod(hosts.name, 0o644)
        subprocess.run(["mount", "--bind", hosts.name, "/etc/hosts"], check=True)
