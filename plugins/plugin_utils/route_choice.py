# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`auto`: which routes work at a site, tried side by side once and then remembered.

Interface:
    choose(program, connection, target, state, fresh=False) -> Choice
    probe(...), forwarding_allowed(...)                           what was found, for who wants to show it
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
import threading
from collections.abc import Callable, Mapping

from ansible_collections.hpc.jupyter.plugins.module_utils import ssh_errors
from ansible_collections.hpc.jupyter.plugins.plugin_utils import laptop, routes
from ansible_collections.hpc.jupyter.plugins.plugin_utils.ssh_command import Connection

# Seconds.
CONNECT = 5
PATIENCE = 8.0
# What the connect tool says to who reaches its probe.
GREETING = b"hpc.jupyter\n"


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


def forwarding_allowed(connection: Connection, target: routes.Target, laptop_id: str) -> Finding:
    """Forward to a socket on the login node: sshd does not tell a forbidden forward from a missing socket, so one is made."""
    with tempfile.TemporaryDirectory(prefix="jupyter-") as directory:
        near = os.path.join(directory, "probe")
        try:
            far = target.relay_socket("p" + laptop_id)
        except routes.RouteError as error:
            return Finding(None, str(error))
        argv = connection.arguments(
            "-a", "-x", "-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT}", "-o", "LogLevel=INFO",
            "-o", "ExitOnForwardFailure=yes", "-o", "ControlPath=none", "-L", f"{near}:{far}",
        )
        argv += [target.connect, target.session, "--machine", "--probe", "--socket", far]
        errors = os.path.join(directory, "errors")
        with open(errors, "wb") as stream:
            ssh = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stream)
        timer = threading.Timer(PATIENCE, ssh.kill)
        timer.start()
        try:
            # Banners of a noisy login come first.
            for line in ssh.stdout:
                if b'"listening"' in line:
                    with socket.socket(socket.AF_UNIX) as probe:
                        probe.settimeout(CONNECT)
                        probe.connect(near)
                        greeted = probe.recv(len(GREETING)) == GREETING
                    return Finding(True) if greeted else Finding(False, f"{connection.host} lets nothing be forwarded")
            with open(errors, "rb") as stream:
                reading = ssh_errors.read(stream.read())
            no_login = reading.cause in ("auth", "host-key-unknown", "host-key-changed", "unreachable")
            return Finding(False, reading.said or f"{connection.host} does not answer", "no-login" if no_login else "")
        except OSError as error:
            return Finding(False, f"{connection.host} lets nothing be forwarded ({error.strerror or error})")
        finally:
            timer.cancel()
            ssh.kill()
            ssh.communicate()
            if connection.master:
                # A master that is shared would keep the forward.
                subprocess.run(
                    connection.arguments("-O", "cancel", "-L", f"{near}:{far}"), stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False)


def probe(program: Callable[..., dict], connection: Connection, target: routes.Target, laptop_id: str) -> dict[str, Finding]:
    """Try all routes side by side.

    :param program: calls a verb of the login-node program for this session.
    """
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        # In place there is no laptop to try from: what the login node sees has to do.
        jump = None if connection.in_place else pool.submit(_jump, connection, target)
        forwarding = None if connection.in_place else pool.submit(forwarding_allowed, connection, target, laptop_id)
        # Ansible's connection is for this thread.
        seen = program("probe").get("routes", {})
        found = {
            name: Finding(finding.get("works"), str(finding.get("said") or ""), str(finding.get("how") or ""))
            for name, finding in seen.items() if name in routes.AUTO and isinstance(finding, dict)
        }
        if jump:
            found["jump"] = jump.result()
        else:
            # It takes the same way from the login node to the node as a relay, with another key.
            shut = seen.get("relay", {}).get("cause") in ("unreachable", "forbidden")
            found["jump"] = Finding(False if shut else None, found["relay"].why if shut else "the laptop was not asked")
        allowed = forwarding.result() if forwarding else Finding(None)
    if allowed.works is False:
        for name in routes.AUTO if allowed.how == "no-login" else ("relay", "reverse"):
            found[name] = Finding(False, allowed.why)
    if "administratively prohibited" in found["jump"].why:
        # To a node's port 22 or to its server's: for sshd that is the same.
        found["direct"] = Finding(False, found["jump"].why)
    return found


def choose(
    program: Callable[..., dict], connection: Connection, target: routes.Target, state: laptop.State, fresh: bool = False,
    ruled_out: Mapping[str, Finding] | None = None,
) -> Choice:
    """Return the route that `auto` means at this site.

    Route reverse may be the answer before the job was asked for its tunnel: nothing else works then. Nor is the server
    told to listen for others before route direct. Both are up to the caller.

    :param fresh: try again whatever is remembered.
    :param ruled_out: what the caller found out by itself.
    :raises NoRoute: when none can work.
    """
    known = state.site(connection.site).get("route")
    if known in routes.AUTO and not fresh:
        return Choice(known, {}, remembered=True)
    found = {**probe(program, connection, target, state.id), **(ruled_out or {})}
    for wanted in (True, None):
        for name in routes.AUTO:
            if name in found and found[name].works is wanted and _fits(name, found[name], target):
                if wanted and found[name].how != "rebind":
                    state.remember_site(connection.site, route=name, how=found[name].how)
                return Choice(name, found)
    raise no_route(target, found)


def no_route(target: routes.Target, found: dict[str, Finding]) -> NoRoute:
    """Return the error that says why each route is none, and what to ask the site for."""
    reasons = "; ".join(f"{name}: {found[name].why or 'does not fit this server'}" for name in routes.AUTO if name in found)
    return NoRoute(
        f"None of the routes leads from here to {target.node}. {reasons}. Ask the site for one of: ssh from the login node "
        "to the nodes of your own jobs; ssh forwarding on the login node; or set jupyter_route to try one all the same."
    )


def _fits(route: str, finding: Finding, target: routes.Target) -> bool:
    # A server that listens for its node only can be told to listen for others: the caller does so for route direct.
    return route != "direct" or not target.loopback or finding.how == "rebind"
