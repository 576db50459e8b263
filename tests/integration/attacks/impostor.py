# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A false Jupyter that waits for somebody's password:  impostor.py ADDRESS PORT|PORT_FILE TAKEN [CERTIFICATE_WITH_KEY]

With a file instead of a port it listens as soon as the file names one. Whatever is sent to it is appended to TAKEN, which
begins with the line "listening".
"""

import os
import socket
import ssl
import sys
import threading

address, port, taken = sys.argv[1:4]
if not port.isdigit():
    while True:
        try:
            with open(port) as stream:
                text = stream.read()
        except OSError:
            continue
        if text.endswith("\n"):
            port = text.strip()
            break
kind = socket.AF_UNIX if port == "0" else socket.AF_INET
listener = socket.socket(kind, socket.SOCK_STREAM)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(address if kind == socket.AF_UNIX else (address, int(port)))
if kind == socket.AF_UNIX:
    os.chmod(address, 0o666)
listener.listen(50)
sink = open(taken, "ab", buffering=0)
sink.write(b"listening\n")
PAGE = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nSet-Cookie: _xsrf=0\r\n\r\n[]"


def serve(connection):
    try:
        if len(sys.argv) > 4:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(sys.argv[4])
            connection = context.wrap_socket(connection, server_side=True)
        connection.settimeout(5)
        data = connection.recv(65536)
        while data:
            sink.write(data)
            head, _blank, body = data.partition(b"\r\n\r\n")
            length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            if not length or len(body) >= int(length[0].split(b":")[1]):
                break
            data = connection.recv(65536)
        connection.sendall(PAGE)
    except OSError:
        pass
    finally:
        connection.close()


while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
