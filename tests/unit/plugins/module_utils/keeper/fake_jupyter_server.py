# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for `python -m jupyter_server` in tests of the keeper: as much of a server as the keeper looks at.

It runs under Python 2.7 too. FAKE in the environment says how it behaves:
good, open (no authentication), deaf (never listens), stranger (without our header), stubborn (ignores SIGTERM), or
"die STATUS TEXT" (prints the text and ends), slow (drops the first two requests of a stranger, and the next it answers with
no HTTP).
"""
import io
import json
import os
import signal
import socket
import sys
import threading
import time

BEHAVIOUR = os.environ.get("FAKE", "good")

config = os.environ["JUPYTER_CONFIG_PATH"].split(os.pathsep)[0]
with io.open(os.path.join(config, "jupyter_server_config.json"), encoding="utf-8") as stream:
    sections = json.load(stream)
app = sections["ServerApp"]
token = sections["PasswordIdentityProvider"]["token"]

if BEHAVIOUR.startswith("die "):
    dummy, status, text = BEHAVIOUR.split(" ", 2)
    sys.stderr.write(text + "\n")
    sys.exit(int(status))
if BEHAVIOUR == "deaf":
    while True:
        time.sleep(3600)
if BEHAVIOUR == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


dropped = []


def answer(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(4096)
        if not part:
            return
        data += part
    head = data.decode("ascii", "replace")
    method, path = head.split(" ")[:2]
    path = path.rstrip("/") or "/"
    known = BEHAVIOUR == "open" or ("token " + token) in head
    status, body = 200, "[]"
    if path == "/api":
        body = '{"version": "2.99.0"}'
    elif not known:
        status, body = 403, "{}"
        if BEHAVIOUR == "slow" and len(dropped) < 3:
            dropped.append(path)
            if len(dropped) == 3:
                connection.sendall(b"?\r\n\r\n")
            connection.close()
            return
    headers = "" if BEHAVIOUR == "stranger" else "".join("%s: %s\r\n" % item for item in app["tornado_settings"]["headers"].items())
    connection.sendall(("HTTP/1.1 %d X\r\n%sContent-Length: %d\r\n\r\n%s" % (status, headers, len(body), body)).encode("ascii"))
    connection.close()
    if path == "/api/shutdown" and known and BEHAVIOUR != "stubborn":
        os._exit(0)


listener = socket.socket(socket.AF_UNIX)
listener.bind(app["sock"])
listener.listen(20)
while True:
    thread = threading.Thread(target=answer, args=(listener.accept()[0],))
    thread.daemon = True
    thread.start()
