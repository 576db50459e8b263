# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of the module ``batch``; its documentation is in plugins/modules/batch.py."""

from __future__ import annotations

from ansible_collections.hpc.jupyter.plugins.module_utils.files import printable
from ansible_collections.hpc.jupyter.plugins.plugin_utils import laptop, routes
from ansible_collections.hpc.jupyter.plugins.plugin_utils.arguments import specification
from ansible_collections.hpc.jupyter.plugins.plugin_utils.remote import ProgramAction
from ansible_collections.hpc.jupyter.plugins.plugin_utils.ssh_command import (
    BadConnection,
    Connection,
    as_posix,
)


class ActionModule(ProgramAction):
    """Deploys the job script, the keeper, the program and the connect tool."""

    _installed = False

    def run(self, tmp=None, task_vars=None):
        """Run the task; its result is described in the module's RETURN."""
        super().run(tmp, task_vars)
        _checked, arguments = self.validate_argument_spec(argument_spec=specification("batch"))
        return self.answered(lambda: self._deploy(arguments, task_vars), task_vars)

    def _deploy(self, arguments: dict, task_vars: dict) -> dict:
        request = dict(arguments, check=self._task.check_mode)
        if arguments["install"]["enabled"] and (not arguments["site_dir"] or arguments["scope"] == "site"):
            self._install(request, task_vars)
        # How each of a site's users logs in, nobody knows here; the tool itself tells them what they may type.
        request["connect_hint"] = arguments["connect_hint"] or ("" if arguments["site_dir"] else self._hint(arguments, task_vars))
        answer = self.program("batch", request, task_vars)
        return dict(answer, changed=answer["changed"] or self._installed)

    def _hint(self, arguments: dict, task_vars: dict) -> str:
        """Return what a person types on the laptop where there is no Ansible: it starts the session if need be."""
        port = arguments["local_port"] or laptop.FIRST_PORT
        connect = arguments["connect_path"]
        try:
            # A path that a shell could misread is for who made it to type.
            connect = connect if routes.SAFE_COMMAND.match(connect) else routes.CONNECT_COMMAND
            connection = Connection.from_task(self.login_variables(task_vars), self._connection)
            other = self.another_user()
            # Staff who set up a user's account log in by another way than that user will.
            connection = connection.of_another(other) if other else connection
            command = as_posix(routes.plan_start(connection, "default", "/RELAY_DIR", port, connect=connect))
        except (BadConnection, routes.RouteError):
            return ""
        return f"{command}\n\nhttp://127.0.0.1:{port}/    (https:// where the tool says that its server uses TLS)"

    def _install(self, request: dict, task_vars: dict) -> None:
        """Have Jupyter installed, showing how far it is; a broken connection is taken up again where it was."""
        install = request["install"]
        asked = {
            key: request[key] for key in ("batch_dir", "site_dir", "scope", "environment", "job", "relay_dir", "install", "check")
        } | {key: install[key] for key in ("directory", "python", "requirements", "index_url")}
        answer = self.program("install", dict(asked, hold=1), task_vars)
        while answer["state"] == "running":
            self._display.display(f"[{task_vars['inventory_hostname']}] installing Jupyter: {printable(answer['progress'], 120)}")
            answer = self.program("install", dict(asked, hold=15, started=True, progress=answer["progress"]), task_vars)
        if answer["state"] == "absent":
            # Check mode: there is nothing yet that a preflight could find.
            request["preflight"] = False
        self._installed = answer["changed"]
