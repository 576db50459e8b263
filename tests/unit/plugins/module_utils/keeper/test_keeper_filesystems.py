# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils.keeper import filesystems


@pytest.mark.parametrize("kind, shared", [
    ("nfs4", True), ("lustre", True), ("fuse.sshfs", True), ("dvs", True), ("gfs2", True), ("ocfs2", True),
    ("ext4", False), ("xfs", False), ("tmpfs", False), ("overlay", False), ("", False)])
def test_filesystems_that_other_hosts_share(monkeypatch, kind, shared):
    monkeypatch.setattr(filesystems, "filesystem_of", lambda path: kind)
    assert filesystems.on_network("/somewhere") is shared
