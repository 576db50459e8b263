# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What setup writes on the login node."""

import json

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import batch


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def apply(**request):
    return batch.apply(dict({"scheduler": "local", "preflight": False}, **request))


def test_what_makes_jupyter_available_is_kept_for_engines(home):
    environment = {"modules": ["jupyterlab", "openmpi"], "variables": {"OMP_NUM_THREADS": "1"}}
    apply(environment=environment)
    assert json.loads((home / ".jupyter/batch/site.json").read_text())["environment"] == environment
    assert not apply(environment=environment)["changed"]
    assert apply(environment={"modules": ["jupyterlab"]})["changed"]
