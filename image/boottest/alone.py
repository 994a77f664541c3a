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


# Whoever is not root becomes it for what it starts in there.
_UNSHARE = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--net", "--mount"]


def why_not():
    """What keeps this machine from having such a network; None if it can."""
    if not shutil.which("unshare"):
        return "unshare is missing; install util-linux (Debian's name)"
    tried = subprocess.run([*_UNSHARE, "true"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if tried.returncode:
        return (f"no network and mount namespace of its own: {tried.stderr.strip()}. Run it as root; in a container with "
                "CAP_SYS_ADMIN (--privileged)")
    return None


def alone():
    """Starts this program anew in such a network, if it is not in one. Call it before anything is started or opened."""
    if os.environ.pop(_MARK, None) != str(os.getpid()):
        reason = why_not()
        if reason:
            raise SystemExit(f"{os.path.basename(sys.argv[0])}: {reason}")
        os.environ[_MARK] = str(os.getpid())  # unshare and what it starts keep the number
        sys.stdout.flush()
        os.execvp(_UNSHARE[0], [*_UNSHARE, sys.executable, *sys.argv])
    _loopback_up()


def name_here():
    """WhatsApp's names lead to this machine's loopback, for programs started from now on."""
    with tempfile.NamedTemporaryFile("w", prefix="hosts-") as hosts:
        hosts.write("127.0.0.1 localhost\n" + "".join(f"127.0.0.1 {name}\n" for name in NAMES))
        hosts.flush()
        os.chmod(hosts.name, 0o644)
        subprocess.run(["mount", "--bind", hosts.name, "/etc/hosts"], check=True)
