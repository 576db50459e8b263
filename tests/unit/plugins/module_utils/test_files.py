# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that several hosts share."""

import io
import json

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import files
from ansible_collections.hpc.jupyter.plugins.module_utils.keeper import private_files

WHOLE = json.dumps({"phase": "starting", "endpoint": None})


@pytest.fixture
def replaced(monkeypatch):
    """Return a function that has a path read as another host's client does, right after it was replaced: as long as it was."""

    def replaced(module, *texts):
        left = list(texts)

        def opened(path, mode="r", **_kwargs):
            text = left.pop(0) if len(left) > 1 else left[0]
            return io.BytesIO(text.encode("utf-8")) if "b" in mode else io.StringIO(text)

        if module is files:
            monkeypatch.setattr(module, "open", opened, raising=False)
        else:
            monkeypatch.setattr(module.io, "open", opened)

    return replaced


@pytest.mark.parametrize("module", [files, private_files])
def test_a_file_that_was_just_replaced_is_read_again(replaced, module):
    replaced(module, WHOLE[:20], WHOLE[:20], WHOLE)
    assert module.read_json("server.json") == json.loads(WHOLE)


def test_a_file_that_stays_damaged_counts_as_missing_or_is_told(replaced):
    replaced(files, WHOLE[:20])
    assert files.read_json("server.json", "missing") == "missing"
    replaced(private_files, WHOLE[:20])
    with pytest.raises(ValueError):
        private_files.read_json("server.json")
