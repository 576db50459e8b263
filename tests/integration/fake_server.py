# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for keeper and Jupyter in the tests of tunnels: answers /api with the session's identity, and says where it runs.

    fake_server.py SESSION_DIR [socket|tls [ADDRESS CERTIFICATE]]

/api tells the host's name; /slow sends a line and keeps the connection open, as a kernel's websocket would; an upload to
/echo comes back. Its server.json is written when it listens.
"""

import http.server
import json
import os
import socket
import socketserver
import ssl
import sys
import tempfile
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as one session's server."""

    protocol_version = "HTTP/1.1"
    identity = ""

    def address_string(self):
        return "somebody"

    def do_GET(self):
        if self.path == "/slow":
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"open\n")
            self.wfile.flush()
            self.rfile.read(1)
            return
        self.answer(socket.gethostname().encode() + b"\n")

    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, body):
        self.send_response(200)
        self.send_header("X-Jupyter-Session", self.identity)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class TcpServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True


def main(directory, kind="socket", address="127.0.0.1", certificate=None):
    with open(os.path.join(directory, "record.json")) as stream:
        record = json.load(stream)
    Handler.identity = record["id"]
    if kind == "socket":
        path = os.path.join(tempfile.mkdtemp(prefix="jupyter-"), "server.sock")
        os.umask(0o177)
        server = UnixServer(path, Handler)
        endpoint = {"kind": "socket", "path": path}
    else:
        server = TcpServer(("0.0.0.0" if address == "node" else address, 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        import hashlib

        with open(certificate) as stream:
            der = ssl.PEM_cert_to_DER_cert(stream.read().partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n")
        endpoint = {"kind": "tls", "address": socket.gethostname() if address == "node" else address,
                    "port": server.server_address[1], "fingerprint": hashlib.sha256(der).hexdigest()}
    os.umask(0o077)
    facts = {"version": 1, "session": record["session"], "id": record["id"], "job": os.environ["SLURM_JOB_ID"],
             "node": socket.gethostname(), "fqdn": socket.gethostname(), "phase": "ready", "endpoint": endpoint,
             "base_url": "/", "pid": os.getpid(), "started": 1.0, "ends": None, "reason": None}
    new = os.path.join(directory, "server.json.new")
    with open(new, "w") as stream:
        json.dump(facts, stream)
    os.rename(new, os.path.join(directory, "server.json"))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
