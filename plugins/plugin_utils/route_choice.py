# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`auto`: which routes work at a site, tried side by side once and then remembered.

Interface:
    choose(program, connection, target, state, fresh=False) -> Choice
    Choice.route; .routes {name: why it does or doesn't}; .remembered; .how
A site's memory is dropped with ``state.forget_site(connection.site)`` when its route stops working.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable

from ansible_collections.hpc.jupyter.plugins.module_utils import ssh_errors
from ansible_collections.hpc.jupyter.plugins.plugin_utils import laptop, routes
from ansible_collections.hpc.jupyter.plugins.plugin_utils.ssh_command import Connection

# Seconds.
CONNECT = 5
PATIENCE = 8.0


class NoRoute(routes.RouteError):
    """Nothing that was tried leads to the server; the message lists why, and what to ask the site for."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """Whether a route works: True, False, or None where only a try can tell."""

    works: bool | None
    why: str = ""
    how: str = ""


@dataclasses.dataclass(frozen=True)
class Choice:
    """The route to take and how it was found."""

    route: str
    routes: dict[str, Finding]
    remembered: bool = False


def _jump(connection: Connection, target: routes.Target) -> Finding:
    """Log in on the node through the login node, without asking anything."""
    argv = connection.second_hop(
        target.node, "-a", "-x", "-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT}", "-o", "LogLevel=INFO")
    try:
        done = subprocess.run([*argv, "true"], stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return Finding(False, f"{target.node} does not answer through {connection.host}")
    except OSError as error:
        return Finding(False, f"{connection.executable} can't be run: {error.strerror}")
    if done.returncode == 0:
        return Finding(True, how="ssh")
    return Finding(False, ssh_errors.read(done.stderr).said or "ssh gave no reason")


def _forwarding(connection: Connection) -> Finding:
    """Ask the login node's sshd to forward to a socket that can't exist: it forbids that, or says that it is not there."""
    with tempfile.TemporaryDirectory(prefix="jupyter-") as directory:
        path = os.path.join(directory, "probe")
        argv = connection.arguments(
            "-a", "-x", "-T", "-N", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT}", "-o", "LogLevel=INFO",
            "-o", "ExitOnForwardFailure=yes", "-o", "ControlPath=none", "-L", f"{path}:/nonexistent/jupyter-probe",
        )
        log = os.path.join(directory, "log")
        with open(log, "wb") as stream:
            ssh = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
        try:
            deadline = time.monotonic() + PATIENCE
            asked = False
            while time.monotonic() < deadline:
                with open(log, "rb") as stream:
                    reading = ssh_errors.read(stream.read())
                if reading.cause == "endpoint":
                    return Finding(True)
                if reading.cause != "unknown" or ssh.poll() is not None:
                    return Finding(False, reading.said)
                if not asked and os.path.exists(path):
                    with socket.socket(socket.AF_UNIX) as probe:
                        probe.connect(path)
                    asked = True
                time.sleep(0.05)
            return Finding(None, "the login node's sshd did not say")
        finally:
            ssh.terminate()
            ssh.wait()


def probe(program: Callable[..., dict], connection: Connection, target: routes.Target) -> dict[str, Finding]:
    """Try all routes side by side.

    :param program: calls a verb of the login-node program for this session.
    """
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        # In place there is no laptop to try from: what the login node sees has to do.
        jump = None if connection.in_place else pool.submit(_jump, connection, target)
        forwarding = None if connection.in_place else pool.submit(_forwarding, connection)
        # Ansible's connection is for this thread.
        seen = program("probe").get("routes", {})
        found = {
            name: Finding(finding.get("works"), str(finding.get("said") or ""), str(finding.get("how") or ""))
            for name, finding in seen.items() if name in routes.AUTO and isinstance(finding, dict)
        }
        found["jump"] = jump.result() if jump else Finding(None, "the laptop was not asked")
        allowed = forwarding.result() if forwarding else Finding(None)
    if allowed.works is False:
        for name in ("relay", "direct", "reverse"):
            found[name] = Finding(False, f"{connection.host} lets nothing be forwarded ({allowed.why})")
    return found


def choose(
    program: Callable[..., dict], connection: Connection, target: routes.Target, state: laptop.State, fresh: bool = False
) -> Choice:
    """Return the route that `auto` means at this site.

    :param fresh: try again whatever is remembered.
    :raises NoRoute: when none can work.
    """
    known = state.site(connection.site).get("route")
    if known in routes.AUTO and not fresh:
        return Choice(known, {}, remembered=True)
    found = probe(program, connection, target)
    for wanted in (True, None):
        for name in routes.AUTO:
            if name in found and found[name].works is wanted and _fits(name, found[name], target):
                if wanted:
                    state.remember_site(connection.site, route=name, how=found[name].how)
                return Choice(name, found)
    reasons = "; ".join(f"{name}: {found[name].why or 'does not fit this server'}" for name in routes.AUTO if name in found)
    raise NoRoute(
        f"None of the routes leads from here to {target.node}. {reasons}. Ask the site for one of: ssh from the login node "
        "to the nodes of your own jobs; ssh forwarding on the login node; or set jupyter_route to try one all the same."
    )


def _fits(route: str, finding: Finding, target: routes.Target) -> bool:
    if route == "reverse":
        return bool(target.reverse_socket)
    # A server that listens for its node only can be told to listen for others: the caller does so for route direct.
    return route != "direct" or not target.loopback or finding.how == "rebind"
