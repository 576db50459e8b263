# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploys what a session needs on the login node: job script, keeper, program and connect tool."""

import json
import os
import re
import shlex
import stat
import sys

from . import commands, files, preflight, program, schedulers, site_wide, zip_application
from .connect_launcher import render as render_launcher
from .failure import Failure, sentence
from .job_script import Environment, render
from .launching import new_relay_dir
from .places import DEFAULT_BATCH_DIR, LONGEST_SOCKET, Site, expand
from .schedulers import base


def apply(request):
    """Verb: look at the site, then write what differs.

    :param request: dict:
        ``batch_dir``, ``site_dir``, ``scope`` (user or site: whether to install for all users, into ``site_dir``; for a user with a
        ``site_dir`` nothing is written), ``connect_path`` (str), ``scheduler`` (a name or ``auto``),
        ``environment`` (dict, see job_script.Environment), ``resources`` and ``job`` (dicts of defaults),
        ``renewals``, ``mail``, ``poll_interval``, ``connect_hint`` (str, the command for the laptop, with /RELAY_DIR for
        the relay directory), ``relay_dir`` (str, where that is made), ``node_host_keys``, ``second_hop``, ``node_names``,
        ``preflight`` (bool), ``check`` (bool).
    :returns: dict: ``changed``, ``diff``, ``scheduler``, ``jupyter`` (versions), ``script``, ``batch_dir``, ``connect``, ``warnings``.
    :raises Failure: with nothing changed, when a session could not work.
    """
    for_all = request.get("scope") == "site"
    site = site_wide.site_for_all(request) if for_all else Site.of_request(request)
    if site.shared and not for_all:
        _require_room(request, site)
        return site_wide.use(request, site)
    relay_dir = _relay_dir(request, site)
    resources = _resources(request.get("resources"))
    name, found, evidence = _scheduler(request, site)
    scheduler = schedulers.get(name, commands.run, commands=found)
    environment = Environment(**(request.get("environment") or {}))
    _require_room(request, site)
    jupyter = _preflight(request, environment)
    if for_all:
        _for_everybody(found, jupyter)
    magic = (jupyter or {}).pop("magic", "")
    sources = program.sources()
    script_path = site_wide.script_path(site, name)
    hint = request.get("connect_hint") or ""
    if for_all:
        batch_dir, connect_path = request.get("batch_dir") or DEFAULT_BATCH_DIR, os.path.join(site.installed, "jupyter_connect")
        launcher = {"batch_dir": site_wide.in_shell(batch_dir), "site_dir": site.installed, "name": connect_path, "hint": ""}
    else:
        batch_dir, connect_path = site.path, expand("jupyter_connect_path", request.get("connect_path") or "~/.jupyter_connect")
        hint = hint.replace("/RELAY_DIR/", relay_dir + "/")
        launcher = {"batch_dir": batch_dir, "hint": hint}
    facts = {
        "version": 1,
        "scheduler": name,
        "scheduler_asked": request.get("scheduler") or "auto",
        "commands": found,
        "python": sys.executable,
        "resources": resources.as_dict(),
        "job": _job(request),
        "renewals": request.get("renewals") or 0,
        "mail": request.get("mail"),
        "poll_interval": request.get("poll_interval"),
        "jupyter": jupyter,
        # For what is set up later on the same terms: engines.
        "environment": request.get("environment") or {},
        "connect": connect_path,
        "connect_hint": hint,
        "node_host_keys": request.get("node_host_keys") or "strict",
        "second_hop": request.get("second_hop") or "auto",
        "node_names": request.get("node_names") or "short",
        "program": program.digest(sources),
    }
    if for_all:
        # A directory for sockets is each user's own, and not to be guessed by others.
        facts.update(scope="site", batch_dir=batch_dir, relay_parent=os.path.dirname(relay_dir))
    else:
        facts.update(relay_dir=relay_dir)
    script = render(
        _directives(scheduler, resources), environment, site_wide.in_shell(batch_dir) if for_all else shlex.quote(batch_dir),
        "%s %s" % ({"slurm": "sbatch", "local": "bash"}.get(name, "qsub"), script_path), (jupyter or {}).get("python"),
        **({"site_dir": shlex.quote(site.installed), "written_by": "site"} if for_all else {}))
    to_read, to_run = (files.PUBLIC_FILE, files.PUBLIC_DIR) if for_all else (files.PRIVATE_FILE, files.PRIVATE_DIR)
    wanted = [
        (site.program, zip_application.program(sources), to_read),
        (site.keeper, zip_application.keeper(
            sources, magic, lambda code, text: preflight.job_python(environment, code, text)), to_read),
        (script_path, script.encode("utf-8"), to_run),
        (connect_path, render_launcher(python=sys.executable, program=site.program, **launcher).encode("utf-8"), to_run),
        (site.python, _python_wrapper(for_all).encode("utf-8"), to_run),
        (site.facts_path, (json.dumps(facts, indent=2, sort_keys=True) + "\n").encode("utf-8"), to_read),
    ]
    # About one that is as it was, setup asked when it was new.
    warnings = [] if for_all or files.read_text(script_path) == script else _rehearsed(scheduler, resources, script)
    changed, diff = _write(wanted, (lambda: _directories(site, for_all, connect_path)) if not request.get("check") else None)
    if not for_all and _forget_old_keeper(site, request.get("check")):
        changed, diff = True, diff + [_difference(site.old_keeper, b"(an earlier version)\n", b"")]
    return {
        "changed": changed,
        "diff": diff,
        "scheduler": name,
        "scheduler_evidence": files.printable(evidence),
        "commands": found,
        "jupyter": jupyter,
        "script": script_path,
        "batch_dir": batch_dir,
        "site_dir": site.shared,
        "connect": connect_path,
        "warnings": warnings,
    }


def _rehearsed(scheduler, resources, script):
    """Return what is to be told of a job as it is set up here (list of str): that a launch would be refused."""
    try:
        scheduler.rehearse(base.Submission("jupyter-default", os.devnull, os.devnull, resources), script)
    except base.Refused as error:
        return ["A launch as it is set up here would be refused: %s (A launch can also say otherwise, with -e.)" % error.told]
    except base.Unreachable:
        pass
    return []


def _relay_dir(request, site):
    """Return the directory for relay sockets (str): that of an earlier setup, unless it is to be elsewhere now.

    :raises Failure: for a place whose sockets ssh could not be told, or would not make.
    """
    parent = expand("jupyter_relay_dir", request.get("relay_dir") or "/tmp")
    made = str((files.read_json(site.facts_path) or {}).get("relay_dir") or "")
    if os.path.dirname(made) != parent:
        made = new_relay_dir(parent)
    # The longest name of a socket there: a session's, and a laptop's.
    if not re.match(r"\A/[A-Za-z0-9/._+-]+\Z", made) or len(made) + len("/%s-%s.sock" % (32 * "s", 8 * "l")) > LONGEST_SOCKET:
        raise Failure(
            "jupyter_relay_dir %s can't hold the sockets of relays: it may have %d letters, digits, '/', '.', '_', '+' and '-' at most. "
            "Nothing was changed." % (parent, LONGEST_SOCKET - len(os.path.basename(made)) - 47), "relay-dir")
    if not os.path.isdir(parent) or not os.access(parent, os.W_OK | os.X_OK):
        raise Failure("jupyter_relay_dir %s is no directory of the login node that you may write to. Nothing was changed." % parent, "relay-dir")
    wrong = preflight.sockets(parent)
    if wrong:
        raise Failure("%s. Nothing was changed. Set jupyter_relay_dir to a directory on the login node's own disk, such as /tmp." % wrong, "relay-dir")
    return made


def _resources(given):
    try:
        return base.Resources.from_request(given or {})
    except base.BadRequest as error:
        raise Failure("%s Nothing was changed." % sentence(error), "bad-resources")


def _directives(scheduler, resources):
    try:
        return scheduler.directives(resources, "jupyter-default")
    except base.Refused as error:
        raise Failure("%s Nothing was changed." % error.told, "bad-resources")


def _job(request):
    """Return what every session's keeper is told: the certificate where role server puts it, and a user's own paths made absolute."""
    job = dict(request.get("job") or {})
    job["config_dir"] = job.get("config_dir") or "~/.jupyter"
    if request.get("scope") != "site":
        job["config_dir"] = expand("jupyter_config_dir", job["config_dir"])
    job["certfile"] = os.path.join(job["config_dir"], "hpc-jupyter.crt")
    job["keyfile"] = os.path.join(job["config_dir"], "hpc-jupyter.key")
    return job


def _scheduler(request, site):
    """Return the scheduler's name, its commands' paths, and how it was told.

    What an earlier setup found is kept while its commands are there: finding them may need a login shell.
    """
    asked = request.get("scheduler") or "auto"
    before = files.read_json(site.facts_path) or {}
    kept = before.get("commands") or {}
    if before.get("scheduler_asked") == asked and kept and all(
            os.access(path, os.X_OK) for path in kept.values() if isinstance(path, str)):
        return before["scheduler"], kept, "as found before"
    modules = (request.get("environment") or {}).get("modules") or []
    try:
        return schedulers.detect(commands.run, wanted=asked, modules=modules)
    except base.NotFound as error:
        raise Failure(
            "%s Nothing was changed." % sentence(error), "no-scheduler")


def _require_room(request, site):
    if request.get("check"):
        return
    for_all = request.get("scope") == "site"
    wrong = preflight.home(files.existing_parent(site.installed if for_all else site.path))
    if wrong:
        raise Failure("%s. Nothing was changed. Free some space%s and run %s again, or set %s to a directory that has room." % (
            wrong, "" if for_all else " (for example 'du -xsh ~/* ~/.cache' shows where it went)", "this" if for_all else "setup",
            "jupyter_site_dir" if for_all else "jupyter_batch_dir"), "disk-full")


def _for_everybody(found, jupyter):
    """Refuse an installation for all users with programs that only who installs it can run."""
    site_wide.for_everybody(sys.executable, "The Python that runs hpc.jupyter on the login node (jupyter_login_python)")
    if (jupyter or {}).get("python"):
        site_wide.for_everybody(jupyter["python"], "The Python that runs Jupyter")
    for path in found.values():
        if isinstance(path, str) and path.startswith("/"):
            site_wide.for_everybody(path, "A command of the scheduler")


def _preflight(request, environment):
    if not request.get("preflight", True):
        return None
    found = preflight.jupyter(environment, for_all=request.get("scope") == "site")
    if found["found"]:
        return dict((key, value) for key, value in found.items() if key != "found")
    raise Failure(
        "%s Nothing was changed. (Where only the compute nodes have it, set jupyter_preflight: false.)" % found["message"],
        found["cause"])


def _python_wrapper(for_all):
    """Return a script that starts the Python which runs this, with the libraries it was started with."""
    if for_all:
        for path in os.environ.get("LD_LIBRARY_PATH", "").split(":"):
            if path.startswith("/"):
                site_wide.for_everybody(path, "LD_LIBRARY_PATH of the Python on the login node")
    lines = ["#!/bin/sh", "# The Python that hpc.jupyter runs its own program with on this login node."]
    if os.environ.get("LD_LIBRARY_PATH"):
        lines.append("LD_LIBRARY_PATH=%s; export LD_LIBRARY_PATH" % shlex.quote(os.environ["LD_LIBRARY_PATH"]))
    return "\n".join(lines + ['exec %s "$@"' % shlex.quote(sys.executable), ""])


def _directories(site, for_all, connect_path):
    if for_all:
        files.make_public_dir(site.installed)
    else:
        files.make_private_dir(site.path)
        files.make_private_dir(site.sessions)
        files.make_dirs(os.path.dirname(connect_path), files.PRIVATE_DIR)


def _write(wanted, make_directories):
    """Write the files that differ; return whether any did, and what a person should see of it.

    :param make_directories: callable, None to write nothing.
    """
    different = []
    for path, data, mode in wanted:
        archive = data if isinstance(data, zip_application.Archive) else None
        try:
            with open(path, "rb") as stream:
                before = stream.read()
            same = archive.is_intact(before) if archive else before == data
            same = same and stat.S_IMODE(os.stat(path).st_mode) == mode
        except OSError:
            before, same = None, False
        if not same:
            # To compile takes a moment, which a look need not.
            different.append((path, before, data if not archive else archive.pack() if make_directories else b"", mode))
    if different and make_directories:
        make_directories()
        for path, before, data, mode in different:
            # One of the same name that the user wrote by hand is kept.
            ours = before is None or b"hpc.jupyter" in before or b"hpc_jupyter" in before or b'"scheduler_asked"' in before
            # With its mode at once: others may be reading it.
            files.write_atomically(path, data, mode=mode, backup=not ours)
            os.chmod(os.path.realpath(path), mode)
    return bool(different), [_difference(path, before, data) for path, before, data, _mode in different]


def _forget_old_keeper(site, check):
    """Remove the keeper of an earlier setup, a single file, once no job script that was submitted names it.

    :returns: bool, whether there was one to remove.
    """
    if not os.path.isfile(site.old_keeper):
        return False
    for name in site.session_names():
        if "/%s\"" % os.path.basename(site.old_keeper) in (files.read_text(site.session(name).script) or ""):
            return False
    if not check:
        files.remove(site.old_keeper)
    return True


def _difference(path, before, after):
    if path.endswith(".pyz"):
        # A zip archive says nothing to a reader.
        before, after = before and b"(another version)\n", b"(this version)\n"
    return files.difference(path, before, after)
