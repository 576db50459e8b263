# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import os
import stat

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils.keeper import private_files


def test_write_private_replaces_whole_files_only(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    os.chmod(str(path), 0o644)
    private_files.write_private(str(path), b"new")
    assert path.read_text() == "new" and stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(TypeError):
        private_files.write_private(str(path), None)
    assert [found.name for found in tmp_path.iterdir()] == ["file"]
