# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which ways lead from the login node to a session's node: tried side by side, in a few seconds.

Interface: ``probe(request) -> {"changed": False, "node": ..., "routes": {relay|direct|reverse: {"works", "how", "cause",
"said"}}}``; ``works`` is None where only a try can tell.
"""

import errno
import socket
import threading

from . import commands, connect, files, ssh_errors
from .failure import Failure
from .places import HOST_NAME, Site
from .session import LOOPBACK, Session

# Seconds: ssh's own limit for a connection, and what its start and login may take on top.
CONNECT = 5
PATIENCE = 7


def _finding(works, how=None, cause=None, said=""):
    return {"works": works, "how": how, "cause": cause, "said": files.printable(said, limit=300)}


def relay(view, facts, run=commands.run):
    """Try the second hop of a relay: this host itself, ssh, or a step of the job.

    :param view: dict, a session that is ready.
    :param facts: dict, site.json.
    :param run: commands.run, or what stands in for it.
    """
    if connect.is_here(view):
        return _finding(True, "local")
    node = view.get("node_name") or view["node"]
    wanted = facts.get("second_hop", "auto")
    options = []
    for option in ("BatchMode=yes", "ConnectTimeout=%d" % CONNECT, "ControlPath=none", "LogLevel=INFO"):
        options += ["-o", option]
    if facts.get("node_host_keys") == "accept-new":
        options += ["-o", "StrictHostKeyChecking=accept-new"]
    cause, said = None, "only a step of the job may be tried (jupyter_second_hop)"
    if wanted != "step":
        done = run(["ssh", "-a", "-x", "-T"] + options + [node, "true"], timeout=PATIENCE)
        if done.rc == 0:
            return _finding(True, "ssh")
        reading = ssh_errors.read(done.err)
        cause = "unreachable" if done.rc == commands.TIMED_OUT else reading.cause
        said = reading.said or "no answer within %d s" % PATIENCE
    if wanted != "ssh" and str(facts.get("scheduler", "")).startswith("slurm") and view.get("job"):
        srun = (facts.get("commands") or {}).get("srun") or "srun"
        step = run([srun, "--jobid=%s" % view["job"], "--overlap", "--nodelist=" + view["node"], "-N1", "-n1", "--quiet", "--immediate=5",
                    "--mem=0", "--gres=none", "true"], timeout=PATIENCE)
        if step.rc == 0:
            return _finding(True, "step", cause, said)
        said += "; and no step can be run in the job: %s" % (ssh_errors.read(step.err).said or "no answer")
    return _finding(False, None, cause, said)


def direct(view):
    """Try the node's TCP ports: its server's own if that listens for others, else whether a port refuses or swallows.

    A node that refuses a closed port at once can be reached; a filter swallows the packet. Where the filter knows single
    ports, only the route itself tells.
    """
    endpoint = view["endpoint"]
    node = view.get("node_name") or view["node"]
    listens = endpoint.get("kind") == "tls" and endpoint.get("address") not in LOOPBACK
    port = int(endpoint["port"]) if listens else 49151
    try:
        socket.create_connection((node, port), CONNECT).close()
        return _finding(True, "listens")
    except socket.timeout:
        return _finding(False, None, "unreachable", "no answer from %s port %d within %d s" % (node, port, CONNECT))
    except OSError as error:
        if error.errno == errno.ECONNREFUSED and not listens:
            return _finding(True, "rebind", None, "the server has to listen on its node's address, with TLS")
        return _finding(False, None, "unreachable", "%s port %d: %s" % (node, port, error.strerror or error))


def reverse(view):
    """Tell what the job itself found: it alone can try the way from the node to here."""
    found = view.get("reverse") or {}
    if found.get("state") == "up":
        return _finding(True, "ssh")
    return _finding(None, None, None, found.get("message") or "the job has not been asked to try")


def probe(request):
    """Verb: try the ways to a session that is ready.

    Once the relay, which is what `auto` prefers, is found to work, the others are not waited for unless all are asked for.

    :param request: dict with ``batch_dir``, ``session`` and ``all`` (bool).
    :raises Failure: when the session is not ready.
    """
    session = Session(Site.of_request(request), request["session"])
    view = session.view(asked=False)
    if view["state"] != "ready" or not HOST_NAME.match(view["node"] or ""):
        raise Failure("Session '%s' is not ready, so no way to it can be tried. Launch it first." % session.name, "not-running")
    findings = {}

    def look(name, function, *arguments):
        try:
            findings[name] = function(*arguments)
        except (OSError, ValueError) as error:
            findings[name] = _finding(False, None, "unknown", error)

    threads = []
    for name, function, arguments in (
        ("relay", relay, (view, session.facts)), ("direct", direct, (view,)), ("reverse", reverse, (view,)),
    ):
        thread = threading.Thread(target=look, args=(name, function) + arguments)
        thread.daemon = True
        thread.start()
        threads.append(thread)
    for thread in threads:
        if not request.get("all") and findings.get("relay", {}).get("works"):
            break
        thread.join(2 * PATIENCE)
    for name in ("relay", "direct", "reverse"):
        findings.setdefault(name, _finding(None, None, None, "not waited for"))
    return {"changed": False, "node": view["node"], "routes": findings}
