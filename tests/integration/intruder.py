# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of ipyparallel in another user's hands: intruder.py CONNECTION_FILE.

Prints "port open" when the controller's port takes the connection, then "connected" with what an engine computed, or "refused".
"""

import json
import socket
import sys

import ipyparallel

with open(sys.argv[1], encoding="utf-8") as stream:
    info = json.load(stream)
socket.create_connection((info["location"], info["registration"]), 10).close()
print("port open")
try:
    client = ipyparallel.Client(sys.argv[1], timeout=8)
    print("connected", client[0].apply_async(eval, "6 * 7").get(timeout=20))
except Exception as error:
    print("refused", type(error).__name__)
