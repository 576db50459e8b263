# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils.keeper import diagnosis

MEANINGS = [
    ("ModuleNotFoundError: No module named 'jupyterlab'", 1, "jupyter-missing"),
    ("ModuleNotFoundError: No module named 'tornado'", 1, "import-error"),
    ("ImportError: libssl.so.1.1: cannot open shared object file", 1, "import-error"),
    ("traitlets.traitlets.TraitError: The 'port' trait", 1, "bad-option"),
    ("OSError: [Errno 28] No space left on device: 'x'", 1, "disk-full"),
    ("OSError: [Errno 122] Disk quota exceeded", 1, "disk-full"),
    ("OSError: [Errno 98] Address already in use", 1, "port-taken"),
    ("ERROR: the Jupyter server could not be started because no available port could be found.", 1, "port-taken"),
    ("ssl.SSLError: [SSL] PEM lib (_ssl.c:4065)", 1, "certificate"),
    ("OSError: AF_UNIX path too long", None, "socket"),
    ("slurmstepd: error: Detected 1 oom-kill event(s)", -9, "killed"),
    ("", -9, "killed"),
    ("Exception while loading config file /home/carol/.jupyter/jupyter_server_config.py", 1, "config-error"),
    ("goodbye", 3, "unknown"),
]


@pytest.mark.parametrize("log, status, cause", MEANINGS)
def test_what_a_log_means(log, status, cause):
    assert diagnosis.explain("[I] starting\n" + log + "\n", status)[0] == cause
