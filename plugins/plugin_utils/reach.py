# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a session that is ready to a command, an address and, if asked for, an open tunnel."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping

from ansible_collections.hpc.jupyter.plugins.plugin_utils import laptop, routes
from ansible_collections.hpc.jupyter.plugins.plugin_utils.ssh_command import (
    BadConnection,
    Connection,
    Unquotable,
    as_posix,
    as_windows,
)
from ansible_collections.hpc.jupyter.plugins.plugin_utils.tunnel import Tunnel, TunnelError


class ReachFailed(Exception):
    """The session is there and can't be reached from the laptop.

    :param answer: what the result holds besides the message.
    """

    def __init__(self, cause: str, message: str, answer: dict | None = None):
        super().__init__(message)
        self.cause = cause
        self.answer = answer or {}


@dataclasses.dataclass
class Laptop:
    """This laptop, one login node, and what the task asks of them."""

    connection: Connection
    state: laptop.State
    route: str
    mode: str
    endpoint_wanted: str
    local_port: int | None
    ca: str | None
    browser_here: bool

    @classmethod
    def from_task(cls, arguments: Mapping, task_vars: Mapping, connection) -> Laptop:
        """Build it from a task of the module ``session``.

        :raises ReachFailed: when the connection variables make no ssh command, or the state can't be kept.
        """
        try:
            ssh = Connection.from_task(task_vars, connection)
            state = laptop.State()
        except BadConnection as error:
            raise ReachFailed("connection", f"{error} Nothing was submitted.") from error
        except OSError as error:
            raise ReachFailed(
                "laptop-state", f"{error.filename}: {error.strerror}. What the laptop remembers of its tunnels is kept there. "
                "Nothing was submitted. Set XDG_STATE_HOME to a directory of your own.") from error
        authority = os.path.join(arguments["ca_dir"] or laptop.data_directory(), "ca.crt")
        return cls(
            connection=ssh,
            state=state,
            route=arguments["route"],
            mode=arguments["tunnel"],
            endpoint_wanted=arguments["endpoint"],
            local_port=arguments["local_port"],
            ca=str(authority),
            browser_here=ssh.in_place and not task_vars.get("jupyter_login_host"),
        )

    def endpoint(self) -> dict:
        """Return what the job is asked to listen on (part of job.json), for the route that will be used."""
        route = self.route if self.route != "auto" else self.state.site(self.connection.site).get("route", "auto")
        endpoint, listen = routes.endpoint_for(route)
        return {
            "endpoint": self.endpoint_wanted if self.endpoint_wanted != "auto" or endpoint == "any" else endpoint,
            "listen": "loopback" if listen == "any" else listen,
            # Where the browser runs on the very host of the server there is nothing to tunnel.
            "browser_here": self.browser_here and self.route in ("auto", "none"),
        }

    def reach(self, view: Mapping, program: Callable, say: Callable[[str], None], check: bool) -> dict:
        """Return the result's ``tunnel``.

        :param view: a session that is ready.
        :param program: calls a verb of the login-node program for this session.
        :param say: shows a line.
        :raises ReachFailed: with what to type next.
        """
        target = self._target(view)
        tunnel = Tunnel(self.connection, target.session, self.state, self.ca)
        try:
            route = self._route(target, view)
            port, note = (target.port, None) if route == "none" else tunnel.choose_port(target, self.local_port)
            argv = routes.plan(route, self.connection, target, port, self.state.id)
            answer = {
                "route": route,
                "command": as_posix(argv),
                "command_windows": _for_windows(argv),
                "url": routes.url(route, target, port),
                "port": port,
                "open": False,
                "notes": [note] if note else [],
                "changed": False,
            }
            if self.mode == "emit" or self.connection.in_place and route != "none" or check:
                return answer
            opened = tunnel.open(route, target, self.local_port, keep=self.mode == "keep")
        except routes.RouteError as error:
            raise ReachFailed("route", self._still_runs(view, str(error)), dict(view)) from error
        except TunnelError as error:
            raise ReachFailed(error.cause, self._still_runs(view, error.message), dict(view)) from error
        self.state.remember_site(self.connection.site, route=opened.route)
        answer.update(
            url=opened.url, command=opened.command, port=opened.port, open=True, changed=opened.changed,
            notes=list(opened.notes),
        )
        return answer

    def close(self, session: str, check: bool) -> bool:
        """Close the session's tunnel; return whether there was one."""
        tunnel = Tunnel(self.connection, session, self.state, self.ca)
        return tunnel.is_up() if check else tunnel.close()

    def _target(self, view: Mapping) -> routes.Target:
        reverse = view.get("reverse") or {}
        try:
            return routes.Target.from_answer(dict(view, reverse_socket=reverse.get("socket")))
        except routes.RouteError as error:
            raise ReachFailed("odd-answer", self._still_runs(view, str(error))) from error

    def _route(self, target: routes.Target, view: Mapping) -> str:
        if self.route != "auto":
            return self.route
        if self.browser_here and view["host"] == view["node"]:
            return "none"
        return routes.order(self.state.site(self.connection.site))[0]

    @staticmethod
    def _still_runs(view: Mapping, problem: str) -> str:
        return (
            f"{problem} Session '{view['session']}' runs on {view['node']} (job {view['job']}) all the same: mend this and run "
            "'ansible-playbook hpc.jupyter.connect', or end it with 'ansible-playbook hpc.jupyter.stop'."
        )


def _for_windows(argv: list[str]) -> str | None:
    try:
        return as_windows(argv)
    except Unquotable:
        return None


def tunnels(task_vars: Mapping, connection) -> Callable[[str], dict]:
    """Return a function that says of a session by its name what this laptop knows of its tunnel, without any network.

    :raises ReachFailed: when the connection variables make no ssh command.
    """
    try:
        ssh = Connection.from_task(task_vars, connection)
        state = laptop.State()
    except BadConnection as error:
        raise ReachFailed("connection", str(error)) from error
    return lambda session: Tunnel(ssh, session, state).status()
