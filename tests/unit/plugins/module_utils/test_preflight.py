# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is looked at before anything is written."""

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import preflight


def test_a_directory_with_room_is_fine_and_nothing_stays_in_it(tmp_path):
    assert preflight.home(str(tmp_path)) is None
    assert not list(tmp_path.iterdir())


def test_what_others_put_into_a_shared_directory_is_neither_written_to_nor_in_the_way(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    shared = tmp_path / "shared"
    shared.mkdir()
    # Whatever names it tries, the first one is taken already.
    monkeypatch.setattr(preflight.tempfile, "_get_candidate_names", lambda: iter(["taken", "free"]))
    (shared / ".hpc.jupyter-taken").symlink_to(victim)
    assert preflight.home(str(shared)) is None
    assert victim.read_text() == "mine" and [path.name for path in shared.iterdir()] == [".hpc.jupyter-taken"]


@pytest.mark.parametrize("failing", ["open", "fsync"])
def test_one_that_can_not_be_written_is_told(tmp_path, monkeypatch, failing):
    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(preflight.tempfile if failing == "open" else preflight.os, "NamedTemporaryFile" if failing == "open" else "fsync", full)
    assert "No space left" in preflight.home(str(tmp_path))
    assert not list(tmp_path.iterdir())
