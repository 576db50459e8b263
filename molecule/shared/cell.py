# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Type a launch's command, log in through it, run a cell, print what it says:  cell.py TUNNEL PASSWORD AUTHORITY"""

import json
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "integration"))

from harness import typed  # noqa: E402
from kernel_client import Jupyter  # noqa: E402

tunnel, password, authority = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
authority = authority if tunnel["url"].startswith("https:") else None
with tempfile.TemporaryDirectory() as directory:
    log = pathlib.Path(directory, "ssh.log")
    with typed(tunnel, log):
        print(Jupyter(tunnel["url"], password, authority).run("import socket; print(socket.gethostname())").strip())
