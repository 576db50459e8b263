# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at a login node: what of this collection works there, what does not, and what to set. Changes nothing.

Interface: ``examine(request) -> {"findings": [{"name", "works", "said", "set"}], "ready": [session names], ...}``; ``works``
is None for what is worth knowing and neither good nor bad, ``set`` holds the variables that would mend or fit it.
"""

import os
import platform
import socket
import sys

from . import commands, files, job_script, places, preflight, schedulers
from .failure import Failure
from .launching import new_relay_dir
from .schedulers import base
from .session import Session

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def _finding(name, works, said, **setting):
    return {"name": name, "works": works, "said": files.printable(said, limit=600), "set": setting}


def examine(request):
    """Verb: look.

    :param request: dict with ``batch_dir``, ``site_dir``, ``environment`` (as for the verb ``batch``), ``scheduler`` and ``relay_dir``.
    """
    site = places.Site.of_request(request)
    try:
        facts, unsafe = site.known() or {}, None
    except Failure as error:
        facts, unsafe = {}, _finding("setup", False, error.message)
    if site.shared and facts:
        # That decides; a launch takes no other.
        request = dict(request, environment=facts.get("environment"), scheduler=facts["scheduler_asked"], relay_dir=facts.get("relay_parent"))
    found = [
        _finding("login node", None, "%s, %s, Python %s (%s)" % (_system(), platform.machine(), platform.python_version(), sys.executable)),
        _scheduler(request),
        _jupyter(request),
        _home(site),
        _relay_sockets(request),
        _shell(),
        _node_ssh(),
        _proxies(),
        unsafe or _setup(site, facts),
    ]
    return {
        "changed": False,
        "findings": [finding for finding in found if finding],
        "host": socket.gethostname(),
        "relay_dir": facts.get("relay_dir") or (new_relay_dir(facts["relay_parent"]) if facts.get("relay_parent") else None),
        "connect": facts.get("connect"),
        "ready": [name for name in site.session_names() if Session(site, name).view(asked=False)["state"] == "ready"] if facts else [],
    }


def _system():
    for line in (files.read_text("/etc/os-release") or "").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"\'')
    return platform.system()


def _scheduler(request):
    modules = (request.get("environment") or {}).get("modules") or []
    try:
        name, found, evidence = schedulers.detect(commands.run, wanted=request.get("scheduler") or "auto", modules=modules)
    except base.NotFound as error:
        return _finding("scheduler", False, error)
    where = sorted(set(os.path.dirname(path) for path in found.values() if isinstance(path, str) and path.startswith("/")))
    said = "%s%s" % (evidence, " (in %s)" % ", ".join(where) if where else "")
    # One that has to be looked for in a login shell costs a second each time; named, it does not.
    return _finding("scheduler", True, "%s: %s" % (name, said), jupyter_scheduler=name)


def _jupyter(request):
    try:
        environment = job_script.Environment(**(request.get("environment") or {}))
    except Failure as error:
        return _finding("Jupyter", False, error.message)
    found = preflight.jupyter(environment)
    if not found["found"]:
        return _finding("Jupyter", False, found["message"])
    versions = ["%s %s" % (name, found[name]) for name in ("jupyter_server", "jupyterlab", "notebook", "ipyparallel") if found.get(name)]
    return _finding("Jupyter", True, "%s on Python %s" % (", ".join(versions), found["python_version"]))


def _home(site):
    parent = files.existing_parent(site.path)
    wrong = preflight.home(parent)
    if wrong:
        return _finding("room", False, wrong + ". Free some, or set jupyter_batch_dir to a directory shared with the nodes that has room.")
    status = os.statvfs(parent)
    return _finding("room", True, "%s has %d MB free" % (parent, status.f_bavail * status.f_frsize // 1048576))


def _relay_sockets(request):
    try:
        parent = places.expand("jupyter_relay_dir", request.get("relay_dir") or "/tmp")
    except Failure as error:
        return _finding("sockets for relays", False, error.message)
    if not os.access(parent, os.W_OK | os.X_OK):
        wrong = "%s can't be written" % parent
    else:
        wrong = preflight.sockets(parent)
    if wrong:
        return _finding("sockets for relays", False, wrong + ". Set jupyter_relay_dir to a directory on this host's own disk.")
    return _finding("sockets for relays", True, "%s takes them" % parent)


def _shell():
    shell = os.environ.get("SHELL") or "unknown"
    if commands.run(["bash", "-lc", "command -v module"], timeout=30).rc != 0:
        return _finding("login shell", None, "%s; no command 'module', not even in a login shell of bash" % shell)
    return _finding("login shell", None, "%s; 'module' is there in a login shell of bash" % shell)


def _node_ssh():
    directory = os.path.expanduser("~/.ssh")
    keys = [name for name in ("id_ed25519", "id_ecdsa", "id_rsa") if os.path.exists(os.path.join(directory, name))]
    known = any(os.path.exists(path) for path in ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"))
    trusted = any(os.path.exists(path) for path in ("/etc/ssh/shosts.equiv", "/etc/hosts.equiv"))
    said = "%s; %s" % (
        "a key of yours is there (%s)" % ", ".join(keys) if keys else
        "hosts may trust each other (shosts.equiv)" if trusted else "no key of yours is there",
        "the site lists its hosts' keys" if known else "the site lists no hosts' keys: a node's is unknown until you accept it once")
    return _finding("ssh to the nodes", None, said)


def _proxies():
    # Their names alone: the values may hold a password.
    names = sorted(name for name in os.environ if name.lower() in _PROXIES)
    return _finding("proxy variables", None, "%s are set; what is local goes past them" % ", ".join(names)) if names else None


def _setup(site, facts):
    if not facts and site.shared:
        return _finding("setup", False, "nothing is installed system-wide in %s: tell the site's staff, or take jupyter_site_dir out" % site.shared)
    if not facts:
        return _finding("setup", None, "not run yet for %s" % site.path)
    missing = [path for path in (site.program, site.keeper, facts.get("connect") or "") if path and not os.path.exists(path)]
    if missing:
        return _finding("setup", False, "%s missing: run setup again" % ", ".join(missing))
    return _finding("setup", True, "done for all users in %s" % site.shared if site.shared else "done in %s" % site.path)
