# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploys what ipyparallel needs to compute on all nodes: two IPython profiles, their launchers, an example notebook."""

import hashlib
import json
import os
import re
import shlex
import stat

from . import files
from .failure import Failure
from .job_script import Environment
from .places import Site, expand
from .schedulers import base

MARK = "hpc.jupyter"
PROFILE_NAME = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,31}\Z")
#: Appended to the profile's name for engines in a batch job of their own.
JOB_SUFFIX = "-job"
#: Seconds that a start waits for engines: within a session they come at once, a job may queue for days.
ALLOCATION_PATIENCE, JOB_PATIENCE = 180, 7 * 86400

_HEAD = """\
# Written by hpc.jupyter.setup, which replaces it when its settings change. Settings of your own go into %s
# beside it, in the same form (c = get_config(); ...).
"""
_TAIL = """\
import os as _os
if _os.path.exists(_os.path.join(%(directory)r, %(own)r)):
    load_subconfig(%(own)r, path=%(directory)r)
"""
_CLUSTER = """\
import sys as _sys
if %(program)r not in _sys.path:
    _sys.path.append(%(program)r)
import hpc_jupyter_engines as _engines
c = get_config()
# Engines on other nodes must reach the controller; it talks only to who has its key (ipcontroller_config.py).
c.Cluster.controller_ip = "*"
# The key is read from a file that only the user can read, never handed to the scheduler in an environment.
c.Cluster.send_engines_connection_env = False
c.Cluster.controller_launcher_class = "hpc_jupyter_engines.Controller"
c.Cluster.engine_launcher_class = "hpc_jupyter_engines.%(launcher)s"
c.Cluster.engine_timeout = %(patience)d
c.Cluster.n = %(count)s
"""
_CONTROLLER = """\
import zmq as _zmq
c = get_config()
# Who does not hold the controller's key (a file 0600) gets no further than its port, and can't read along.
c.IPController.enable_curve = bool(_zmq.has("curve"))
"""
_ENGINE = """\
c = get_config()
# Large allocations register slowly; and engines whose notebook was killed must not hold their job for long.
c.IPEngine.timeout = 60
c.IPEngine.max_heartbeat_misses = 20
"""


def apply(request):
    """Verb: write what differs.

    :param request: dict:
        ``batch_dir``, ``site_dir``, ``ipython_dir``, ``profile`` (str), ``environment`` (dict, see job_script.Environment; that of sessions when
        empty),
        ``mpi`` (auto, required, none), ``starter`` (auto, srun, mpiexec), ``starter_options`` (list of str),
        ``resources`` (dict; what is not given is as for sessions), ``engines`` (str, source of the launchers),
        ``notebook`` (str, source of the example, or None), ``notebook_path`` (str), ``check`` (bool).
    :returns: dict: ``changed``, ``diff``, ``profile``, ``profile_job``, ``profile_dirs``, ``notebook``, ``warnings``.
    :raises Failure: with nothing changed.
    """
    site = Site.of_request(request)
    facts = site.facts()
    profile = request.get("profile") or "jupyter"
    if not PROFILE_NAME.match(profile):
        raise Failure("jupyter_parallel_profile: %r is no name for an IPython profile: 1 to 32 letters, digits, '.', '_' or '-'. "
                      "Nothing was changed." % (profile,), "bad-name")
    ipython = expand("jupyter_parallel_ipython_dir", request.get("ipython_dir") or "~/.ipython")
    warnings = _lacking(facts, request.get("mpi") or "auto")
    resources = _resources(facts, request.get("resources") or {})
    environment = Environment(**(request.get("environment") or facts.get("environment") or {}))
    program = os.path.join(site.path, "parallel")
    settings = {
        "version": 1,
        "scheduler": facts["scheduler"],
        "commands": facts.get("commands") or {},
        "resources": resources,
        "program": site.program,
        "mpi": request.get("mpi") or "auto",
        "starter": request.get("starter") or "auto",
        "starter_options": list(request.get("starter_options") or []),
        # No shell reads it there.
        "container": [os.path.expandvars(os.path.expanduser(word)) for word in shlex.split(environment.container or "")],
        "poll_interval": facts.get("poll_interval") or 0,
    }
    wanted = [
        (os.path.join(program, "hpc_jupyter_engines.py"), request["engines"]),
        (os.path.join(program, "settings.json"), json.dumps(settings, indent=2, sort_keys=True) + "\n"),
        (os.path.join(program, "environment.sh"), environment.setup_lines() or "# nothing to load\n"),
    ]
    directories = []
    for name, launcher, patience, count in (
            (profile, "AllocationEngines", ALLOCATION_PATIENCE, "len(_engines.slots())"),
            (profile + JOB_SUFFIX, "JobEngines", JOB_PATIENCE, "%d" % (resources["nodes"] * resources["cores"]))):
        directory = os.path.join(ipython, "profile_" + name)
        directories.append(directory)
        wanted += profile_files(directory, program, launcher, patience, count)
    notebook, notebook_state = _notebook(request, os.path.join(program, "notebook.sha256"), wanted, warnings)
    changed, diff = _write([program] + directories, wanted, request.get("check"))
    return {
        "changed": changed,
        "diff": diff,
        "profile": profile,
        "profile_job": profile + JOB_SUFFIX,
        "profile_dirs": directories,
        "notebook": notebook,
        "notebook_kept": notebook_state,
        "warnings": [files.printable(warning) for warning in warnings],
    }


def profile_files(directory, program, launcher, patience, count):
    """The configuration of one IPython profile as [(path, text)].

    :param launcher: str, class in hpc_jupyter_engines.
    :param patience: int, seconds that a start waits for the engines.
    :param count: str, Python expression for the number of engines.
    """
    found = []
    for name, body in (
            ("ipcluster", _CLUSTER % {"program": program, "launcher": launcher, "patience": patience, "count": count}),
            ("ipcontroller", _CONTROLLER), ("ipengine", _ENGINE)):
        own = "%s_config_own.py" % name
        found.append((os.path.join(directory, "%s_config.py" % name),
                      _HEAD % own + body + _TAIL % {"own": own, "directory": directory}))
    return found


def _lacking(facts, mpi):
    """What preflight found missing, in words (it is None where only the nodes have Jupyter)."""
    found = facts.get("jupyter")
    if not found:
        return []
    if not found.get("ipyparallel"):
        raise Failure(
            "The Python that runs Jupyter here (%s) has no ipyparallel. Nothing was changed. Name a module that brings it in "
            "jupyter_modules, set jupyter_install: true, or set jupyter_parallel: false." % found.get("python"), "ipyparallel-missing")
    release = [int(part) for part in re.findall(r"\d+", found["ipyparallel"])[:1]]
    if release and release[0] < 8:
        raise Failure("ipyparallel %s is too old (8.0 or newer is needed). Nothing was changed. Name another module in jupyter_modules."
                      % found["ipyparallel"], "ipyparallel-old")
    if not found.get("mpi4py") and mpi != "none":
        message = ("The Python that runs Jupyter here (%s) has no mpi4py: engines start on all nodes, but without MPI between them. "
                   "Name a module that brings it in jupyter_modules, or install it: "
                   "MPICC=mpicc pip install --no-binary=mpi4py mpi4py." % found.get("python"))
        if mpi == "required":
            raise Failure(message + " Nothing was changed, for jupyter_parallel_mpi is 'required'.", "mpi4py-missing")
        return [message]
    return []


def _resources(facts, given):
    """What a job of engines asks for: as a session, where not told otherwise."""
    merged = dict(facts.get("resources") or {})
    merged.update((key, value) for key, value in given.items() if value not in (None, "", [], 0, "0"))
    try:
        return base.Resources.from_request(merged).as_dict()
    except base.BadRequest as error:
        raise Failure("%s (for the engines: jupyter_parallel_...) Nothing was changed." % error, "bad-resources")


def _notebook(request, memory, wanted, warnings):
    """Add the example to what is to be written, unless the user has made it something else.

    :returns: (path or None, whether a changed one was kept).
    """
    text = request.get("notebook")
    if not text:
        return None, False
    path = expand("jupyter_parallel_notebook", request.get("notebook_path") or "~/parallel.ipynb")
    before = files.read_text(path)
    ours = files.read_text(memory, "").strip()
    if before is not None and before != text and _digest(before) != ours:
        warnings.append("%s is yours or was changed (a run in the browser changes it, too), so it was left as it is. Rename it and run "
                        "setup again for a fresh copy." % path)
        return path, True
    wanted.append((path, text))
    wanted.append((memory, _digest(text) + "\n"))
    return path, False


def _digest(text):
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def _write(directories, wanted, check):
    """Write the files that differ; return (whether any did, their differences)."""
    different = []
    for path, text in wanted:
        before = files.read_text(path)
        if before != text:
            different.append((path, before, text))
    missing = [path for path in directories if not os.path.isdir(path) or stat.S_IMODE(os.stat(path).st_mode) & 0o077]
    if not check:
        for directory in directories:
            files.make_private_dir(directory)
            if os.path.basename(directory).startswith("profile_"):
                # Keys and connection files go there: made now, so that they are private whatever umask the notebook has.
                for part in ("security", "log", "pid", "startup"):
                    files.make_private_dir(os.path.join(directory, part))
        for path, before, text in different:
            if not os.path.isdir(os.path.dirname(path)):
                files.make_private_dir(os.path.dirname(path))
            # A configuration that the user wrote by hand is kept.
            files.write_atomically(path, text, backup=before is not None and MARK not in before)
    return bool(different or missing), [files.difference(path, before, text) for path, before, text in different]
