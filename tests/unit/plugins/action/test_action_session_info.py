# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module session_info shows."""

from unittest.mock import MagicMock

import pytest
from ansible_collections.hpc.jupyter.plugins.action import session_info
from ansible_collections.hpc.jupyter.plugins.plugin_utils import reach


@pytest.mark.parametrize("hosts, head", [(["login1"], ""), (["login1", "login2"], "[login1]\n")], ids=["one host", "two hosts"])
def test_the_table_of_one_of_several_hosts_is_shown_under_its_name(monkeypatch, hosts, head):
    monkeypatch.setattr(reach, "tunnels", lambda *_: lambda name: None)
    task = MagicMock(args={"table": True}, async_val=0, check_mode=False, diff=False)
    action = session_info.ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
    view = {"session": "one", "state": "ready", "job": "7", "node": "node1", "time_left": None}
    action.program = lambda *_: {"sessions": [view], "set_up": True}
    action._display = MagicMock()
    table = action.run(task_vars={"inventory_hostname": "login1", "ansible_play_hosts_all": hosts})["table"]
    assert len(table) == 2
    action._display.display.assert_called_once_with(head + "\n".join(table))
