# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a session that is ready to a command, an address and, if asked for, an open tunnel."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Mapping

from ansible_collections.hpc.jupyter.plugins.module_utils.failure import playbook
from ansible_collections.hpc.jupyter.plugins.module_utils.files import printable
from ansible_collections.hpc.jupyter.plugins.plugin_utils import laptop, route_choice, routes
from ansible_collections.hpc.jupyter.plugins.plugin_utils.ssh_command import (
    BadConnection,
    Connection,
    Unquotable,
    alone,
    as_posix,
    as_windows,
)
from ansible_collections.hpc.jupyter.plugins.plugin_utils.tunnel import Opened, Tunnel, TunnelError

# Seconds for a server to start again on another endpoint, or for the job's own ssh to come through.
ORDER_PATIENCE = 90
# Seconds that a relay which was only guessed may take after the server is ready, before the routes are tried one by one.
GUESS_PATIENCE = 3.0
# Seconds for which what the login node told of a session is taken for good while its server answers.
TOLD_FOR = 12 * 3600.0
# Seconds before its end, and part of its walltime, from which on a session has a warning to give (keeper/job.py), and a minute more.
WARNED, WARNED_PART, WARNED_EARLIER = 600.0, 0.2, 60.0
# The id of a laptop that has none of its own.
OTHER_LAPTOP = "manual"
# What no other route would mend.
_ELSEWHERE = ("over", "not-running", "hung", "busy", "wrong-server", "port", "bind", "no-ssh", "host-key-changed")


class ReachFailed(Exception):
    """The session is there and can't be reached from the laptop."""

    def __init__(self, cause: str, message: str):
        super().__init__(message)
        self.cause = cause


@dataclasses.dataclass
class Laptop:
    """This laptop, one login node, and what the task asks of them."""

    connection: Connection
    state: laptop.State
    route: str
    mode: str
    endpoint_wanted: str | None
    local_port: int | None
    ca: str | None
    browser_here: bool
    _begun: Tunnel | None = None
    _guessed: bool = False

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
            # None: what setup was told.
            "endpoint": self.endpoint_wanted,
            # Instead of "auto".
            "endpoint_of_route": None if endpoint == "any" else endpoint,
            "listen": "loopback" if listen == "any" else listen,
            # Where the browser runs on the very host of the server there is nothing to tunnel.
            "browser_here": self.browser_here and self.route in ("auto", "none"),
        }

    def begin(self, view: Mapping) -> None:
        """Start the tunnel while the server starts, where a relay will be used: the two take as long.

        At a site that is not known yet that is a guess, for a relay is what most sites allow. What goes wrong here is found
        again, and told, by ``reach``.
        """
        route = self.route if self.route != "auto" else self.state.site(self.connection.site).get("route", "relay")
        if self._begun or self.mode == "emit" or route != "relay" or self.connection.in_place:
            return
        with contextlib.suppress(routes.RouteError, TunnelError, OSError):
            connection = self._shared_or_own(check=False)
            if connection.master is None:
                tunnel = Tunnel(connection, view["session"], self.state, self.ca)
                tunnel.begin(routes.Target.of_a_start(view), self.local_port)
                self._begun = tunnel

    def abandon(self) -> None:
        """End a tunnel that was begun for a session that did not come up."""
        if self._begun:
            self._begun.abandon()
            self._begun = None

    def reach(self, view: dict, program: Callable, say: Callable[[str], None], check: bool, fresh: bool = False) -> dict:
        """Return the result's ``tunnel``.

        :param view: a session that is ready; updated where its server had to move for the route.
        :param program: calls a verb of the login-node program for this session.
        :param say: shows a line.
        :param fresh: look for a route anew whatever is remembered of the site.
        :raises ReachFailed: with what to type next.
        """
        try:
            connection = self._shared_or_own(check)
            try:
                return self._reach(connection, view, program, check, fresh)
            except (routes.RouteError, TunnelError) as error:
                cause = getattr(error, "cause", None)
                if cause == "auth" and self._logs_in_otherwise(connection, say):
                    return self._reach(self._shared_or_own(check), view, program, check, fresh)
                remembered = self.state.site(self.connection.site).get("route")
                if self.route != "auto" or fresh or not (remembered or self._guessed) or cause in _ELSEWHERE:
                    raise
                if remembered:
                    say(f"what worked at {self.connection.host} before does not any more ({error}); looking for another way")
                self.state.forget_site(self.connection.site)
                return self._reach(self._shared_or_own(check), view, program, check, fresh=True)
        except routes.RouteError as error:
            raise ReachFailed("route", self._still_runs(view, str(error))) from error
        except TunnelError as error:
            over = error.cause in ("over", "not-running")
            raise ReachFailed(error.cause, error.message if over else self._still_runs(view, error.message)) from error

    def _shared_or_own(self, check: bool) -> Connection:
        """Return the connection to use: by way of a master that a person opened, where a login of its own would ask something."""
        login = self.state.site(self.connection.site).get("login")
        # That a login asked nothing before is found out to be over when it fails: to look each time would cost each launch.
        if self.connection.in_place or check or login == "own":
            return self.connection
        master = self.connection.live_master()
        if master is None:
            return self.connection
        if login is None:
            login = "own" if self.connection.logs_in_alone() else "shared"
            self.state.remember_site(self.connection.site, login=login)
        return self.connection.sharing(master) if login == "shared" else self.connection

    def _logs_in_otherwise(self, connection: Connection, say: Callable[[str], None]) -> bool:
        """Find out anew whether a login of its own asks nothing, after one did; return whether that changes the way in."""
        if connection.in_place or connection.master is not None or self.connection.live_master() is None:
            return False
        if self.connection.logs_in_alone():
            return False
        say(f"{self.connection.host} lets nobody in without a question any more; taking the connection that is open already")
        self.state.remember_site(self.connection.site, login="shared")
        return True

    def _reach(self, connection: Connection, view: dict, program: Callable, check: bool, fresh: bool) -> dict:
        """Find the route, and open the tunnel if that is asked for.

        :raises routes.RouteError, TunnelError: when that can't be.
        """
        target = self._target(view)
        if self._begun and self._begun.connection != connection:
            self.abandon()
        tunnel = self._begun or Tunnel(connection, target.session, self.state, self.ca)
        route = self._route(connection, target, view, program, check, fresh)
        if not check:
            # The server may have moved while a route was looked for.
            target = self._prepared(route, self._target(view), view, program)
        if self.mode == "emit" or connection.in_place and route != "none" or check:
            return self._told(connection, tunnel, route, target, check)
        opened = tunnel.open(route, target, self.local_port, keep=self.mode == "keep")
        self.state.remember_site(self.connection.site, route=opened.route)
        return self._opened(opened, target)

    def _opened(self, opened: Opened, target: routes.Target) -> dict:
        return {
            "route": opened.route, "command": opened.command,
            "command_windows": self._for_windows(opened.route, target, opened.port, self.state.id), "url": opened.url,
            "port": opened.port, "open": True, "notes": list(opened.notes), "changed": opened.changed,
        }

    def remember(self, view: Mapping, asked: str) -> None:
        """Keep what the login node told of a session that was reached, for ``held``.

        Not of one whose news the server's own answer would not tell: a renewal, another certificate.

        :param asked: what tells one request from another.
        """
        if self.mode == "emit" or view["endpoint"]["kind"] != "socket" or any(
                view.get(name) for name in ("successor", "renewals_left", "renewal_problem", "warning")):
            return
        key = laptop.key(self.connection.site, view["session"])
        # The tunnel's keeper may be at it, which changes what is known.
        with contextlib.suppress(laptop.Busy), self.state.locked(key, patience=0):
            known = self.state.load(key)
            # Of a tunnel that a person holds in a terminal nothing tells that it is still that one.
            if known.get("id") == view["id"] and known.get("pid"):
                self.state.save(key, dict(known, told={"asked": asked, "at": time.time(), "view": dict(view)}))

    def held(self, session: str, asked: str) -> tuple[dict, dict] | None:
        """Return the view and the tunnel of a session whose own server answers through the tunnel that this laptop holds.

        The login node is not asked, which takes a login: only that session's server has the identity that it answers with.

        :param asked: as for ``remember``; None is returned for anything else than what was asked then.
        """
        if self.mode == "emit" or self.connection.in_place:
            return None
        told = self.state.load(laptop.key(self.connection.site, session)).get("told") or {}
        view, age = told.get("view"), time.time() - told.get("at", 0)
        if told.get("asked") != asked or not 0 <= age < TOLD_FOR:
            return None
        if view["time_left"] is not None:
            # Reckoned in the laptop's own seconds: its clock need not be the site's.
            view["time_left"] -= int(age)
            if view["time_left"] < min(WARNED, WARNED_PART * (view["walltime"] or WARNED)) + WARNED_EARLIER:
                return None
        with contextlib.suppress(routes.RouteError, TunnelError):
            target = routes.Target.from_answer(view)
            tunnel = Tunnel(self._shared_or_own(check=False), session, self.state, self.ca)
            opened = tunnel.found(None if self.route == "auto" else self.route, target, self.local_port, keep=self.mode == "keep")
            if opened:
                # It grows all the time, and by what, the scheduler knows.
                return dict(view, core_hours=None), self._opened(opened, target)
        return None

    def _told(self, connection: Connection, tunnel: Tunnel, route: str, target: routes.Target, check: bool) -> dict:
        """Return the command for a person to type; in check mode also whether one would be run."""
        note = held = None
        if route == "none":
            port = target.port
        else:
            held = tunnel.held_port(target)
            if held and self.local_port in (None, held):
                # It is this session's for good; the command is for another laptop.
                port = held
            elif check:
                port = tunnel.expected_port(self.local_port)
            else:
                useless = tunnel.drop_useless(route, target) if held is None else None
                # What is at the session's own port was asked already.
                port, note = tunnel.choose_port(target if self.local_port else None, self.local_port)
                if useless:
                    note = note or f"the tunnel that was open did not work any more ({useless}); it was closed"
            if held and port != held:
                note = note or f"the tunnel is open on this laptop already, at {routes.url(route, target, held)}"
        is_open = bool(held) and port == held
        # Two laptops don't share a relay: with this one's, the command would take it away from the tunnel that is open here.
        at = OTHER_LAPTOP if is_open else self.state.id
        argv = routes.plan(route, connection, target, port, at)
        if not check and not is_open:
            tunnel.emitted(argv)
        return {
            "route": route, "command": as_posix(alone(argv)), "command_windows": self._for_windows(route, target, port, at),
            "url": routes.url(route, target, port), "port": port, "open": is_open, "notes": [note] if note else [],
            "changed": check and self.mode != "emit" and route != "none" and not tunnel.is_up(),
        }

    def _for_windows(self, route: str, target: routes.Target, port: int, at: str) -> str | None:
        # Windows' ssh shares no connections.
        try:
            return as_windows(routes.plan(route, self.connection, target, port, at))
        except Unquotable:
            return None

    def close(self, session: str, check: bool) -> bool:
        """Close the session's tunnel; return whether there was one."""
        tunnel = Tunnel(self.connection, session, self.state, self.ca)
        return tunnel.is_up() if check else tunnel.close()

    def _target(self, view: Mapping) -> routes.Target:
        reverse = view.get("reverse") or {}
        socket = reverse.get("socket") if reverse.get("state") == "up" else None
        try:
            return routes.Target.from_answer(dict(view, reverse_socket=socket))
        except routes.RouteError as error:
            raise ReachFailed("odd-answer", self._still_runs(view, str(error))) from error

    def _route(
        self, connection: Connection, target: routes.Target, view: Mapping, program: Callable, check: bool, fresh: bool
    ) -> str:
        if self.route != "auto":
            return self.route
        if self.browser_here and view["host"] == view["node"]:
            return "none"
        if check:
            return routes.order(self.state.site(self.connection.site))[0]
        if self._begun and not fresh and not self.state.site(self.connection.site).get("route"):
            self._guessed = self._begun.begun_is_ready(GUESS_PATIENCE)
            if self._guessed:
                return "relay"
            self.abandon()
        choice = route_choice.choose(program, connection, target, self.state, fresh)
        if choice.route == "direct" and target.loopback and not choice.remembered:
            unfit = self._direct_is_unfit(target, view, program)
            if unfit:
                target = self._target(view)
                choice = route_choice.choose(program, connection, target, self.state, True, {"direct": unfit})
        if choice.route == "reverse" and not target.reverse_socket:
            # The last that is left: whether it works only the job can find out.
            try:
                self._prepared("reverse", target, view, program)
            except routes.RouteError as error:
                found = dict(choice.routes, reverse=route_choice.Finding(False, str(error)))
                raise route_choice.no_route(target, found) from error
        self.state.remember_site(connection.site, route=choice.route)
        return choice.route

    def _direct_is_unfit(self, target: routes.Target, view: dict, program: Callable) -> route_choice.Finding | None:
        """Have the server listen for others, and look whether it can be reached there; else it moves back.

        A node that refused a closed port was taken for one that can be reached, and a firewall may do the same.
        """
        wanted = self._endpoint_wanted(view)
        if wanted == "socket":
            return route_choice.Finding(False, "it needs a port, and jupyter_endpoint is socket")
        try:
            self._prepared("direct", target, view, program)
        except routes.RouteError as error:
            return route_choice.Finding(False, str(error))
        seen = program("probe", all=True)["routes"]["direct"]
        if seen["works"]:
            return None
        self._order({"endpoint": wanted, "listen": "loopback"}, view, program)
        return route_choice.Finding(False, printable(seen["said"]))

    def _endpoint_wanted(self, view: Mapping) -> str:
        return self.endpoint_wanted or view.get("endpoint_of_site") or "auto"

    def _prepared(self, route: str, target: routes.Target, view: dict, program: Callable) -> routes.Target:
        """Ask of the session what a route needs: a server that listens for others, or a tunnel back to the login node.

        :raises routes.RouteError: when it can't do so.
        """
        if route == "direct" and target.loopback and self._endpoint_wanted(view) != "socket":
            refused = self._order({"endpoint": "tls", "listen": "node"}, view, program)
            what = "route direct needs a server that listens on its node's address, and this one can't move there now"
        elif route == "reverse" and not target.reverse_socket:
            order = {"host": view["host"], "socket": f"{target.relay_dir}/{target.session}-job.sock"}
            refused = self._order({"reverse": order}, view, program)
            what = f"the tunnel from {target.node} back to {view['host']} does not come up"
        else:
            return target
        if refused:
            raise routes.RouteError(f"{what}: {refused}")
        return self._target(view)

    @staticmethod
    def _order(order: dict, view: dict, program: Callable) -> str | None:
        """Give the session an order and bring the view up to date; return why it was not carried out, None if it was."""
        answer = program("control", order=order, hold=ORDER_PATIENCE)
        view.update({name: value for name, value in answer.items() if name in view})
        return None if answer["done"] else printable(answer.get("refused") or f"no answer within {ORDER_PATIENCE} s")

    @staticmethod
    def _still_runs(view: Mapping, problem: str) -> str:
        return (
            f"{problem} Session '{view['session']}' runs on {view['node']} (job {view['job']}) all the same: mend this and run "
            f"{playbook('connect', view['session'])}, or end it with {playbook('stop', view['session'])}."
        )


def no_tunnel() -> dict:
    """Return the result's ``tunnel`` where none is known: of a session that is not ready."""
    return {"route": None, "command": None, "command_windows": None, "url": None, "port": None, "open": False, "notes": []}


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
