# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Another user of a host tries every TCP port and every unix socket of a victim there:  prowl.py USER_ID

Prints a JSON list of what took a connection: {"where", "entered": the HTTP status 200 was had without any secret, "zmq": the
type of a kernel's ZeroMQ socket, or null}. A PUB tells its subscribers all that a kernel computes.
"""

import json
import socket
import ssl
import struct
import sys

VICTIM = int(sys.argv[1])
REQUEST = b"GET /api/contents?content=0 HTTP/1.0\r\nHost: localhost\r\n\r\n"


def tcp_listeners():
    """Everybody can read in /proc who listens where."""
    for family, path in ((socket.AF_INET, "/proc/net/tcp"), (socket.AF_INET6, "/proc/net/tcp6")):
        with open(path) as stream:
            for line in list(stream)[1:]:
                fields = line.split()
                if fields[3] != "0A" or int(fields[7]) != VICTIM:
                    continue
                address, port = fields[1].split(":")
                # The kernel prints addresses as 32-bit words of the host's byte order.
                packed = b"".join(struct.pack("=I", int(address[at:at + 8], 16)) for at in range(0, len(address), 8))
                host = socket.inet_ntop(family, packed)
                yield family, ({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), int(port, 16))


def unix_listeners():
    with open("/proc/net/unix") as stream:
        for line in list(stream)[1:]:
            fields = line.rstrip("\n").split(" ", 7)
            if len(fields) == 8 and fields[3] == "00010000":  # accepts connections
                path = fields[7].split(" ", 1)[-1]
                yield "\0" + path[1:] if path.startswith("@") else path


def status(connection):
    try:
        connection.settimeout(3)
        connection.sendall(REQUEST)
        return connection.recv(4096).split(b"\r\n")[0].split()[1:2] == [b"200"]
    except OSError:
        return False
    finally:
        connection.close()


def over_tls(plain):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    plain.settimeout(3)
    try:
        return context.wrap_socket(plain)
    except OSError:
        plain.close()
        return plain


def zeromq(address, family, ours):
    """Shake hands as ZMTP 3.0 does; the other side then tells its type, if ours goes with it."""
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
    ready = b"\x05READY\x0bSocket-Type" + struct.pack("!I", len(ours)) + ours
    said = b""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(2)
            connection.connect(address)
            connection.sendall(greeting + b"\x04" + bytes([len(ready)]) + ready)
            while b"Socket-Type" not in said and said[:1] in (b"", b"\xff"):
                data = connection.recv(4096)
                if not data:
                    break
                said += data
    except OSError:
        pass
    _before, mark, after = said.partition(b"Socket-Type")
    return after[4:4 + after[3]].decode() if mark else None


found = []
for family, address in tcp_listeners():
    entered = None
    for dress in (lambda plain: plain, over_tls):
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(3)
        try:
            connection.connect(address)
        except OSError:
            connection.close()
            continue
        entered = bool(entered) or status(dress(connection))
    if entered is not None:
        kind = next(filter(None, (zeromq(address, family, ours) for ours in (b"SUB", b"PUSH", b"DEALER"))), None)
        found.append({"where": "%s port %d" % address, "entered": entered, "zmq": kind})
for path in set(unix_listeners()):
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(path)
        owner = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
    except (OSError, ValueError):
        connection.close()
        continue
    if owner == VICTIM:
        found.append({"where": path.replace("\0", "@"), "entered": status(connection), "zmq": None})
    connection.close()
print(json.dumps(found))
