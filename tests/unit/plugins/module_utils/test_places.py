# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths as a person sets them mean the same wherever they are set."""

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import batch, places, server_config
from ansible_collections.hpc.jupyter.plugins.module_utils.failure import Failure


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.delenv("NOWHERE", raising=False)
    for name in ("scratch", "config"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.mark.parametrize("path, there", [
    ("~/x", "x"), ("$SCRATCH/x", "scratch/x"), ("${SCRATCH}/x", "scratch/x"), ("x", "x"), ("~", ""), ("$HOME/x/", "x"), ("~/a/../x", "x")])
def test_a_path_is_expanded(home, path, there):
    wanted = str(home / there) if there else str(home)
    assert places.expand("jupyter_root_dir", path) == wanted
    assert places.Site(path).path == wanted
    # Role batch tells the keeper where role server puts the configuration.
    assert batch._job({"job": {"config_dir": path}})["config_dir"] == server_config.inspect({"config_dir": path})["config_dir"] == wanted


@pytest.mark.parametrize("path", ["$NOWHERE/x", "~somebody/x", "/a/$NOWHERE"])
def test_a_path_that_is_nowhere_makes_no_directory_of_that_name(path):
    with pytest.raises(Failure, match="jupyter_batch_dir is .* Nothing was changed"):
        places.Site(path)
