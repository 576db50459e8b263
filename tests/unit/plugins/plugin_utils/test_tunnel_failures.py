# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a tunnel that does not come up."""

from __future__ import annotations

import pytest
from ansible_collections.hpc.jupyter.plugins.plugin_utils import laptop, routes
from ansible_collections.hpc.jupyter.plugins.plugin_utils.ssh_command import Connection
from ansible_collections.hpc.jupyter.plugins.plugin_utils.tunnel import Tunnel, TunnelError

READY = {
    "session": "default", "id": "0" * 32, "node": "node7", "relay_dir": "/tmp/jupyter-1-0123456789abcdef", "connect": "~/.jupyter_connect",
    "endpoint": {"kind": "socket", "path": "/tmp/x/s"},
}


@pytest.mark.parametrize("said, told", [
    ("jupyter: /home/carol/.jupyter/batch/program.pyz is damaged. Run 'ansible-playbook hpc.jupyter.setup' again.",
     ": /home/carol/.jupyter/batch/program.pyz is damaged. Run 'ansible-playbook hpc.jupyter.setup' again."),
    ("zlib.error: Error -3 while decompressing data: invalid code lengths set",
     "is damaged (zlib.error: Error -3 while decompressing data: invalid code lengths set). 'ansible-playbook hpc.jupyter.setup' puts it right."),
])
def test_a_damaged_installation_is_told_with_its_remedy(tmp_path, said, told):
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\necho 'Welcome to login.' >&2\ncat >&2 <<'E'\n{said}\nE\nexit 127\n")
    ssh.chmod(0o755)
    tunnel = Tunnel(Connection("login", executable=str(ssh)), "default", laptop.State(tmp_path / "state"))
    with pytest.raises(TunnelError) as failure:
        tunnel.open("relay", routes.Target.from_answer(READY))
    assert failure.value.cause == "installation"
    assert failure.value.message.endswith(told) and "ssh said" not in failure.value.message
