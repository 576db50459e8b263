# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person is told of a session."""

import pytest
from ansible_collections.hpc.jupyter.plugins.plugin_utils import progress

VIEW = {"session": "default", "node": "node1"}


@pytest.fixture
def desktop(tmp_path, monkeypatch):
    """Return a function that makes this desktop's notify-send."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def notifier(text):
        path = tmp_path / "notify-send"
        path.write_text(text)
        path.chmod(0o755)

    return notifier


def test_a_notification_names_the_session_and_its_address(desktop, tmp_path):
    desktop(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > '{tmp_path}/shown'\n")
    progress.notify(VIEW, "http://127.0.0.1:8888/")
    assert (tmp_path / "shown").read_text().splitlines()[1:] == [
        "Jupyter is ready", "Session default runs on node1: http://127.0.0.1:8888/"]


@pytest.mark.parametrize("program", ["#!/bin/sh\nexec sleep 60\n", "#!/no/such/interpreter\n"], ids=["hangs", "broken"])
def test_a_desktop_that_takes_no_notification_costs_no_launch(desktop, monkeypatch, program):
    monkeypatch.setattr(progress, "NOTIFY_TIMEOUT", 0.2)
    desktop(program)
    progress.notify(VIEW, "http://127.0.0.1:8888/")
