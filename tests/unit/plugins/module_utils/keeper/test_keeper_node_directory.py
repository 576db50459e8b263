# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import os
import shutil
import stat

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils.keeper import endings, node_directory


def test_a_fresh_private_directory_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", "/tmp")
    path = node_directory.node_directory([], 60)
    try:
        found = os.lstat(path)
        assert stat.S_IMODE(found.st_mode) == 0o700 and found.st_uid == os.geteuid() and path.startswith("/tmp/")
    finally:
        shutil.rmtree(path)


def test_a_directory_that_others_may_write_to_is_not_trusted(tmp_path, monkeypatch):
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    os.chmod(str(open_to_all), 0o777)
    monkeypatch.setenv("TMPDIR", str(open_to_all))
    path = node_directory.node_directory([], 20)
    try:
        assert not path.startswith(str(open_to_all))
    finally:
        shutil.rmtree(path)
    assert not node_directory.trustworthy(str(open_to_all))
    inside = open_to_all / "inside"
    inside.mkdir(mode=0o700)
    assert not node_directory.trustworthy(str(inside)), "its owner can be changed from above"
    os.chmod(str(open_to_all), 0o1777)
    assert node_directory.trustworthy(str(open_to_all)) == node_directory.trustworthy(str(tmp_path))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to somebody else")
def test_a_directory_made_by_somebody_else_is_not_trusted(tmp_path):
    foreign = tmp_path / "foreign"
    foreign.mkdir(mode=0o700)
    assert node_directory.trustworthy(str(foreign))
    os.chown(str(foreign), 65534, 65534)
    assert not node_directory.trustworthy(str(foreign))
    (tmp_path / "link").symlink_to(foreign)
    assert not node_directory.trustworthy(str(tmp_path / "link"))


def test_no_place_on_the_node_is_a_clear_failure(monkeypatch):
    monkeypatch.setattr(node_directory, "trustworthy", lambda path: False)
    with pytest.raises(endings.Failure) as caught:
        node_directory.node_directory([], 20)
    assert caught.value.cause == "socket" and "TMPDIR" in caught.value.reason


def test_only_what_a_dead_keeper_left_is_swept(tmp_path):
    for name in ("jupyter-dead", "jupyter-alive", "jupyter-other"):
        (tmp_path / name).mkdir()
    (tmp_path / "jupyter-dead" / node_directory.NODE_LOCK).touch()
    held = node_directory.hold(str(tmp_path / "jupyter-alive"))
    node_directory.sweep(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jupyter-alive", "jupyter-other"]
    os.close(held)
