"""In a network of its own a program reaches its own ports and nobody else."""

import os
import subprocess
import sys
import tempfile
import unittest

from .alone import why_not

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAM = f"""
import socket, sys
sys.path.insert(0, {HERE!r})
from boottest import alone
alone.alone()
alone.name_here()
print(socket.gethostbyname("web.whatsapp.com"), [name for _, name in socket.if_nameindex()])
with socket.socket() as server:
    server.bind(("127.0.0.1", 443))
    server.listen()
    socket.create_connection(("mmg.whatsapp.net", 443), timeout=5).close()
try:
    socket.create_connection(("192.0.2.1", 80), timeout=5)
except OSError as error:
    print(error.strerror)
"""


class Alone(unittest.TestCase):
    @unittest.skipIf(why_not(), why_not())
    def test_it_has_its_own_ports_and_names(self):
        path = os.path.join(self.enterContext(tempfile.TemporaryDirectory()), "program.py")
        with open(path, "w") as file:
            file.write(PROGRAM)
        shown = subprocess.run([sys.executable, path], stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout
        self.assertEqual(shown.splitlines(), ["127.0.0.1 ['lo']", "Network is unreachable"])


if __name__ == "__main__":
    unittest.main()
