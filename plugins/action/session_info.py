# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of the module ``session_info``; its documentation is in plugins/modules/session_info.py."""

from __future__ import annotations

from ansible_collections.hpc.jupyter.plugins.plugin_utils import progress, reach
from ansible_collections.hpc.jupyter.plugins.plugin_utils.arguments import place, specification
from ansible_collections.hpc.jupyter.plugins.plugin_utils.remote import ProgramAction


class ActionModule(ProgramAction):
    """Lists sessions."""

    def run(self, tmp=None, task_vars=None):
        """Run the task; its result is described in the module's RETURN."""
        super().run(tmp, task_vars)
        _checked, arguments = self.validate_argument_spec(argument_spec=specification("session_info"))
        try:
            return self.answered(lambda: self._list(arguments, task_vars), task_vars)
        except reach.ReachFailed as error:
            return {"failed": True, "cause": error.cause, "msg": str(error)}

    def _list(self, arguments: dict, task_vars: dict) -> dict:
        tunnels = reach.tunnels(self.login_variables(task_vars), self._connection)
        answer = self.program("info", {**place(arguments), "sessions": arguments["names"], "check": self._task.check_mode}, task_vars)
        sessions = [dict(view, tunnel=tunnels(view["session"])) for view in answer["sessions"]]
        table = progress.table(sessions, answer["set_up"])
        if arguments["table"]:
            self._display.display(progress.headed("\n".join(table), task_vars))
        return {"changed": False, "sessions": sessions, "table": table}
