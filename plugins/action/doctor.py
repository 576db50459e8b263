# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of the module ``doctor``; its documentation is in plugins/modules/doctor.py."""

from __future__ import annotations

import platform
import subprocess
import time

import yaml
from ansible.errors import AnsibleConnectionFailure
from ansible.release import __version__ as ansible_version
from ansible_collections.hpc.jupyter.plugins.module_utils.files import printable
from ansible_collections.hpc.jupyter.plugins.plugin_utils import laptop, route_choice, routes
from ansible_collections.hpc.jupyter.plugins.plugin_utils.arguments import place, specification
from ansible_collections.hpc.jupyter.plugins.plugin_utils.remote import ProgramAction, ProgramFailed
from ansible_collections.hpc.jupyter.plugins.plugin_utils.ssh_command import BadConnection, Connection

_SIGNS = {True: "ok", False: "FAIL", None: "-"}
_NOBODY = "0" * 32


class ActionModule(ProgramAction):
    """Looks at a site, from the laptop and from its login node."""

    _for_who_logs_in = True

    def run(self, tmp=None, task_vars=None):
        """Run the task; its result is described in the module's RETURN."""
        super().run(tmp, task_vars)
        _checked, arguments = self.validate_argument_spec(argument_spec=specification("doctor"))
        findings = [_laptop()]
        unreachable = False
        try:
            begun = time.monotonic()
            answer = self.program("doctor", arguments, task_vars)
            findings.append(_finding("log in", True, f"an answer after {time.monotonic() - begun:.1f} s, the look below included"))
            findings += answer["findings"]
            findings += self._routes(arguments, answer, task_vars)
        except AnsibleConnectionFailure as error:
            unreachable = True
            findings.append(_finding("log in", False, str(error)))
        except ProgramFailed as error:
            findings.append(_finding("the login-node program", False, str(error.answer.get("msg"))))
        variables = {name: value for finding in findings for name, value in finding["set"].items()}
        report = _report(task_vars["inventory_hostname"], findings, variables)
        self._display.display(report)
        wrong = [finding["name"] for finding in findings if finding["works"] is False]
        return {
            "changed": False, "findings": findings, "group_vars": variables, "report": report, "reached": not unreachable,
            "msg": f"Not as it should be: {', '.join(wrong)}." if wrong else "All that was looked at works.",
        }

    def _routes(self, arguments: dict, answer: dict, task_vars: dict) -> list[dict]:
        """Try the ways: all of them with a session that is ready, else what the login node lets through."""
        try:
            connection = Connection.from_task(self.login_variables(task_vars), self._connection)
            state = laptop.State()
        except (BadConnection, OSError) as error:
            return [_finding("routes", False, str(error))]
        if connection.in_place:
            found = [_finding("routes", None, "not tried: the playbook runs on the login node, and the laptop is not here")]
            if not answer["ready"]:
                return found
        elif not connection.logs_in_alone():
            master = connection.live_master()
            if master is None:
                return [_finding("a login of its own", False, "ssh would have to ask something, and no connection is open that could be shared")]
            found = [_finding("a login of its own", None, f"ssh would have to ask something; the connection that is open is shared ({master})")]
            connection = connection.sharing(master)
        else:
            found = [_finding("a login of its own", True, "without a question")]
        if not answer["ready"]:
            return found + _forwarding(connection, answer, state)
        name = answer["ready"][0]

        def program(verb: str, **request) -> dict:
            return self.program(verb, dict(request, **place(arguments), session=name, all=True), task_vars)

        try:
            target = routes.Target.from_answer(program("look"))
            tried = route_choice.probe(program, connection, target, state.id)
        except (routes.RouteError, ProgramFailed) as error:
            return [*found, _finding("routes", False, str(error))]
        for route, finding in tried.items():
            said = f"{finding.why}" if finding.works is not True else f"to {target.node}" + (f", by {finding.how}" if finding.how else "")
            found.append(_finding(f"route {route}", finding.works, said))
        best = [route for wanted in (True, None) for route in routes.AUTO if route in tried and tried[route].works is wanted]
        if best:
            found[-1]["set"]["jupyter_route"] = best[0]
            if best[0] == "relay" and tried["relay"].how == "step":
                found[-1]["set"]["jupyter_second_hop"] = "step"
        return found


def _forwarding(connection: Connection, answer: dict, state: laptop.State) -> list[dict]:
    rest = "the routes are tried with a session: launch one and run this again"
    if connection.in_place or not answer.get("relay_dir"):
        return [_finding("routes", None, rest)]
    try:
        target = routes.Target.from_answer({
            "session": "default", "id": _NOBODY, "node": "none", "endpoint": {"kind": "socket", "path": "/none"},
            "relay_dir": answer["relay_dir"], "connect": answer.get("connect")})
    except routes.RouteError as error:
        return [_finding("forward to a socket of the login node", False, str(error))]
    tried = route_choice.forwarding_allowed(connection, target, state.id)
    return [_finding("forward to a socket of the login node", tried.works, tried.why or "permitted"), _finding("routes", None, rest)]


def _laptop() -> dict:
    try:
        ssh = subprocess.run(["ssh", "-V"], capture_output=True, text=True, timeout=5, check=False).stderr.split(",")[0].strip()
    except (OSError, subprocess.TimeoutExpired):
        ssh = "no ssh"
    return _finding("laptop", None, f"{platform.system()}, ansible-core {ansible_version}, Python {platform.python_version()}, {ssh}")


def _finding(name: str, works: bool | None, said: str, **setting) -> dict:
    return {"name": name, "works": works, "said": printable(said, limit=1200), "set": setting}


def _report(host: str, findings: list[dict], variables: dict) -> str:
    lines = [f"hpc.jupyter doctor, host {host}"]
    for finding in findings:
        first, *more = finding["said"].splitlines() or [""]
        lines.append(f"{_SIGNS[finding['works']]:>4}  {finding['name']}: {first}")
        lines += [f"        {line}" for line in more]
    if variables:
        lines += ["", "# What was found, for group_vars:", *yaml.safe_dump(variables, default_flow_style=False).splitlines()]
    return "\n".join(lines)
