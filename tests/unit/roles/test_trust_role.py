# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Role trust on a computer without a browser."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import pytest
from ansible_collections.hpc.jupyter.plugins.plugin_utils import trust

ROOT = pathlib.Path(__file__).resolve().parents[3]
SYSTEM = any(os.path.isdir(directory) for directory, *_commands in trust._SYSTEM_STORES)


@pytest.fixture
def run(tmp_path):
    (tmp_path / "collections/ansible_collections/hpc").mkdir(parents=True)
    (tmp_path / "collections/ansible_collections/hpc/jupyter").symlink_to(ROOT)
    environment = {
        "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "collections"),
        "ANSIBLE_HOME": str(tmp_path / "ansible"), "LC_ALL": "C.UTF-8"}
    program = str(pathlib.Path(sys.executable).parent / "ansible-playbook")

    def run(*words):
        # Check mode: nothing of this machine is to change, and that takes no privilege.
        return subprocess.run(
            [program, "-i", "localhost,", "hpc.jupyter.trust", "--check", "-e", "ansible_become=false", *words], cwd=tmp_path, env=environment,
            capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, check=False)

    return run


@pytest.mark.skipif(not SYSTEM, reason="this machine has no store of its system")
def test_its_system_may_trust_the_authority_all_the_same(run):
    done = run("-e", "jupyter_trust_system=true", "-e", '{"jupyter_trust_stores": ["firefox"]}')
    assert done.returncode == 0 and re.search(r"in the system\] \*+\nSystem .*would trust.*\nchanged", done.stdout), done.stdout + done.stderr


def test_without_that_it_is_told_what_to_do(run):
    done = run("-e", '{"jupyter_trust_stores": ["firefox"]}')
    assert done.returncode == 2 and "No browser or system store" in done.stdout, done.stdout + done.stderr
