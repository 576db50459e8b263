# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Orders for a session that runs."""

import json

from ansible_collections.hpc.jupyter.plugins.module_utils.keeper import control
from ansible_collections.hpc.jupyter.tests.unit.plugins.module_utils.nfs_client import remember_what_is_missing


def test_an_order_is_seen_though_an_nfs_client_remembers_that_there_was_none(tmp_path, monkeypatch):
    """It looks at the server again when the directory is opened."""
    (tmp_path / "job.json").write_text("{}")
    remember_what_is_missing(monkeypatch)
    orders = control.Control(str(tmp_path), by_hand=False)
    assert orders.order() is None
    (tmp_path / "control.json").write_text(json.dumps({"stop": True}))
    assert orders.order() == {"stop": True}
    assert orders.order() is None, "each is obeyed once"
