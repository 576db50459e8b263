# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways from the laptop to a session's server, as ssh commands.

Interface:
    Target.from_answer(answer)                          what a session's answer says of its server
    plan(route, connection, target, local_port, laptop) the argv of the laptop's ssh ([] for route none)
    plan_start(connection, session, relay_dir, ...)     the relay command that starts the session if need be
    url(route, target, local_port)                      what the browser opens
    endpoint_for(route)                                 which endpoint and listen address a route can reach
    choose(...)                                         `auto`: the first route, in order of preference, that works
The argv is a person's: it may ask for a passphrase, and it carries no option that loosens host keys. `tunnel.Tunnel`
adds what it needs to hold the same command by itself.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

from ansible_collections.hpc.jupyter.plugins.module_utils.places import (
    HOST_NAME,
    LONGEST_SOCKET,
    SESSION_NAME,
)
from ansible_collections.hpc.jupyter.plugins.plugin_utils.ssh_command import Connection

# In order of preference: a relay's URL survives a renewal; a jump needs nothing but ssh; the rest need a site's leave.
ROUTES = ("relay", "jump", "direct", "reverse", "none")
AUTO = ("relay", "jump", "direct", "reverse")

_ALIVE = ("-o", "ExitOnForwardFailure=yes", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3")
# Neither agent nor display travel along; the far side gets no terminal to play with.
_QUIET = ("-a", "-x", "-T")
# A forward has a meaning of its own for ":", and ssh for "%".
_SAFE_PATH = re.compile(r"\A/[A-Za-z0-9/._+@,=-]+\Z")
# What no shell reads as anything but itself; homes have names such as /home/carol@ad.example.edu.
SAFE_COMMAND = re.compile(r"\A~?/[A-Za-z0-9/._+@,=:%-]+\Z")
CONNECT_COMMAND = "~/.jupyter_connect"


class RouteError(Exception):
    """A route can't be used for this session; the message says what to set."""


@dataclasses.dataclass(frozen=True)
class Target:
    """A session's server as the tunnel needs it.

    :param session: its name.
    :param id: its identity, 32 hexadecimal digits.
    :param node: host name by which the login node reaches it.
    :param kind: "socket" or "tls"; path, or address and port, and fingerprint belong to it.
    :param relay_dir: where relays put their sockets on the login node.
    :param reverse_socket: what the job's own ssh put on the login node, for route reverse.
    :param connect: where setup put the connect tool on the login node.
    """

    session: str
    id: str
    node: str
    kind: str
    path: str = ""
    address: str = ""
    port: int = 0
    fingerprint: str | None = None
    base_url: str = "/"
    relay_dir: str = ""
    reverse_socket: str = ""
    connect: str = CONNECT_COMMAND

    @classmethod
    def from_answer(cls, answer: Mapping[str, object]) -> Target:
        """Read it from the login-node program's answer.

        It comes from the cluster and goes into command lines: everything is checked here, once.

        :param answer: dict with session, id, node, endpoint, base_url, and relay_dir or reverse_socket.
        :raises RouteError: for anything that is not of the expected form.
        """
        endpoint = answer.get("endpoint")
        if not isinstance(endpoint, Mapping):
            raise RouteError("the session has no endpoint yet: its server is not up.")
        made = cls(
            session=str(answer.get("session", "")),
            id=str(answer.get("id", "")),
            node=str(answer.get("node_name") or answer.get("node", "")),
            kind=str(endpoint.get("kind", "")),
            path=str(endpoint.get("path") or ""),
            address=str(endpoint.get("address") or ""),
            port=int(endpoint.get("port") or 0),
            fingerprint=str(endpoint["fingerprint"]) if endpoint.get("fingerprint") else None,
            base_url=str(answer.get("base_url") or "/"),
            relay_dir=str(answer.get("relay_dir") or "").rstrip("/"),
            reverse_socket=str(answer.get("reverse_socket") or ""),
            connect=str(answer.get("connect") or CONNECT_COMMAND),
        )
        wrong = [
            name
            for name, value, pattern in (
                ("session", made.session, SESSION_NAME),
                ("id", made.id, re.compile(r"\A[0-9a-f]{32}\Z")),
                ("node", made.node, HOST_NAME),
                ("kind", made.kind, re.compile(r"\A(?:socket|tls)\Z")),
                ("path", made.path or "/x", _SAFE_PATH),
                ("address", made.address or "x", HOST_NAME),
                ("base_url", made.base_url, re.compile(r"\A/(?:[A-Za-z0-9._~/%-]*/)?\Z")),
                ("relay_dir", made.relay_dir or "/x", _SAFE_PATH),
                ("reverse_socket", made.reverse_socket or "/x", _SAFE_PATH),
                ("connect", made.connect, SAFE_COMMAND),
            )
            if not pattern.match(value)
        ]
        if made.kind == "socket" and not made.path:
            wrong.append("path")
        if made.kind == "tls" and not 0 < made.port < 65536:
            wrong.append("port")
        if wrong:
            raise RouteError(f"the answer of the cluster can't be used: odd {', '.join(wrong)}.")
        return made

    @classmethod
    def of_a_start(cls, answer: Mapping[str, object]) -> Target:
        """Read what is known of a session whose server starts: enough for a relay, which finds the server by itself.

        :raises RouteError: as ``from_answer``.
        """
        return cls.from_answer(dict(answer, node=answer.get("node") or "unknown", endpoint={"kind": "socket", "path": "/unknown"}))

    @property
    def loopback(self) -> bool:
        """Whether the endpoint is for processes of its own node only."""
        return self.kind == "socket" or self.address in ("", "127.0.0.1", "::1", "localhost")

    def relay_socket(self, laptop: str) -> str:
        """Return the path of this laptop's relay socket on the login node.

        :raises RouteError: without a relay directory, or when the path is too long for a socket.
        """
        if not self.relay_dir:
            raise RouteError("the account has no relay directory yet. Run the setup playbook again.")
        return _socket(f"{self.relay_dir}/{self.session}-{laptop}.sock")


def _socket(path: str) -> str:
    if len(path) > LONGEST_SOCKET:
        raise RouteError(
            f"{path} has {len(path)} characters, and a socket may have {LONGEST_SOCKET}. Set jupyter_relay_dir to a "
            "shorter directory on the login node's own disk."
        )
    return path


def endpoint_for(route: str) -> tuple[str, str]:
    """Return what a route asks of the server: (endpoint, listen), each "any" where it does not matter."""
    if route == "direct":
        return "tls", "node"
    if route == "none":
        return "tls", "any"
    return "any", "any"


def plan(route: str, connection: Connection, target: Target, local_port: int, laptop: str = "manual") -> list[str]:
    """Return the command that a person types on the laptop.

    :param route: relay, jump, direct, reverse or none.
    :param local_port: on 127.0.0.1 of the laptop.
    :param laptop: the laptop's id, so that two of them don't share a relay.
    :returns: argument list; empty for route none.
    :raises RouteError: when the endpoint can't be reached that way.
    """
    local = f"127.0.0.1:{local_port}"
    if route == "relay":
        path = target.relay_socket(laptop)
        argv = connection.arguments(*_QUIET, *_ALIVE, "-L", f"{local}:{path}")
        return [*argv, target.connect, target.session, "--socket", path]
    if route == "jump":
        if target.kind == "socket":
            far = _socket(target.path)
        else:
            far = f"{_bracketed(target.address or '127.0.0.1')}:{target.port}"
        return connection.second_hop(target.node, *_QUIET, *_ALIVE, "-N", "-L", f"{local}:{far}")
    if route == "direct":
        if target.loopback:
            raise RouteError(
                "route direct needs a server that listens on its node's address, and this one listens for its node "
                "only. Set jupyter_endpoint to tls and launch again, or set jupyter_route to relay."
            )
        far = f"{_bracketed(target.node)}:{target.port}"
        return connection.arguments(*_QUIET, *_ALIVE, "-N", "-L", f"{local}:{far}")
    if route == "reverse":
        if not target.reverse_socket:
            raise RouteError("route reverse needs the socket that the job puts on the login node, and there is none.")
        return connection.arguments(*_QUIET, *_ALIVE, "-N", "-L", f"{local}:{_socket(target.reverse_socket)}")
    if route == "none":
        if target.kind != "tls":
            raise RouteError(
                "route none opens the server's own address, and a browser can't open a unix socket. Set jupyter_endpoint "
                "to tls and launch again, or set jupyter_route to relay."
            )
        return []
    raise RouteError(f"{route!r} is no route; there are {', '.join(ROUTES)}.")


def plan_start(
    connection: Connection, session: str, relay_dir: str, local_port: int, laptop: str = "manual", connect: str = CONNECT_COMMAND
) -> list[str]:
    """Return the relay command that also starts a session that is not running: no Ansible, one authentication.

    :param relay_dir: a directory that nobody else can guess, on the login node's own disk.
    :raises RouteError: when the socket's path would be too long or hold what a shell could misread.
    """
    path = _socket(f"{relay_dir}/{session}-{laptop}.sock")
    if not SESSION_NAME.match(session) or not _SAFE_PATH.match(path):
        raise RouteError(f"{path!r} is no path for a relay's socket.")
    argv = connection.arguments(*_QUIET, *_ALIVE, "-L", f"127.0.0.1:{local_port}:{path}")
    return [*argv, connect, session, "--start", "--socket", path]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def url(route: str, target: Target, local_port: int) -> str:
    """Return the address for the browser; what answers there asks for the password."""
    scheme = "https" if target.kind == "tls" else "http"
    host, port = ("127.0.0.1", local_port)
    if route == "none":
        host, port = _bracketed(target.address or "127.0.0.1"), target.port
    return f"{scheme}://{host}:{port}{target.base_url}"


def order(remembered: Mapping[str, object] | None = None, allowed: Sequence[str] = AUTO) -> list[str]:
    """Return the routes of `auto` in the order in which to try them: what worked last time first."""
    last = (remembered or {}).get("route")
    return sorted(allowed, key=lambda route: (route != last, AUTO.index(route)))
