# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Launches a session: adopts its job, or submits one."""

import binascii
import contextlib
import hashlib
import os
import shlex
import time

from . import files, renewal, waiting
from .failure import Failure, from_os_error, sentence
from .places import expand
from .schedulers import base
from .session import ALIVE, ends_for_good


def start(session, request):
    """Adopt the session's job, or submit one.

    :param session: session.Session.
    :param request: dict; see ``session_verbs.launch``.
    :returns: (view, bool changed).
    """
    if request.get("check") and files.read_text(session.site.facts_path) is None:
        # A play that sets up and launches: its setup only said what it would do, so there is nothing to look at.
        return dict(session.view(asked=False), would_submit=True, set_up=False), True
    resources = _resources(session, request)
    view = session.view()
    if view["state"] in ALIVE and not ends_for_good(view):
        return _adopted(session, view, request, resources), False
    if request.get("check"):
        return dict(view, would_submit=True, set_up=True, resources=resources.as_dict(), rehearsal=_rehearse(session, request, resources)), True
    _require_password(session, request)
    try:
        return _start(session, request, resources)
    except OSError as error:
        job = session.record().get("job")
        raise from_os_error(error, "Job %s was submitted." % job if job else "Nothing was submitted.")


def _start(session, request, resources):
    """Submit under the lock, unless the session came alive meanwhile; see ``start``."""
    files.make_private_dir(session.site.sessions)
    files.make_private_dir(session.places.path)
    try:
        return _start_locked(session, request, resources)
    except (Failure, OSError):
        # Of a session that never was nothing stays; what another launch has put there meanwhile keeps the directory.
        with contextlib.suppress(OSError):
            os.rmdir(session.places.path)
        raise


def _start_locked(session, request, resources):
    with session.locked() as lock:
        view = session.view()
        if ends_for_good(view):
            # A stop that was cut off, or a server that ends by itself at this moment.
            waiting.for_job_to_end(session, session.seen[1])
            view = session.view()
            if ends_for_good(view):
                raise Failure(
                    "Job %s of session '%s' is still about to end. Nothing was submitted. Run launch again in a minute."
                    % (view["job"], session.name), "ending", session=view)
        if view["state"] in ALIVE:
            return _adopted(session, view, request, resources), False
        if lock.taken_over or session.record().get("submitting"):
            found = session.orphan()
            if found is not None:
                record = dict(session.record(), job=found.id, submitting=False)
                files.write_json(session.places.record, record)
                return _adopted(session, session.view(record, found), request, resources), True
        return _submit(session, request, resources), True


def _adopted(session, view, request, resources):
    if view["state"] == "unknown":
        raise Failure(
            "Session '%s' has job %s, and the scheduler can't be asked about it: %s. Nothing was submitted, for the "
            "job may well be running. Try again when the scheduler answers." % (session.name, view["job"], view["reason"] or "no answer"),
            "scheduler-unknown", session=view,
        )
    return dict(view, adopted=True, differs=_differences(session, view, request, resources))


def _differences(session, view, request, resources):
    """Return what a launch asks for and the session that is there does not have.

    :returns: dict, name -> [what the session has, what is asked for]; of settings, which may be long and private, [None, None].
    """
    record = session.record()
    if record.get("by_hand"):
        # What it was given on its command line is not known.
        return {}
    had, wanted = record.get("resources") or {}, resources.as_dict()
    found = dict((key, [had[key], wanted[key]]) for key in _asked(request) if key in had and had[key] != wanted[key])
    for key in ("renewals", "mail"):
        asked = request.get(key)
        if asked is not None and key in record and (record[key] or None) != (asked or None):
            found[key] = [record[key] or None, asked or None]
    job = files.read_json(session.places.job) or {}
    if job.get("id") == record.get("id"):
        found.update(_differences_of_job(job, request.get("job") or {}, view))
    return found


def _differences_of_job(job, asked, view):
    """Return what is asked for and job.json of the session does not say; see ``_differences``."""
    found = {}
    if asked.get("idle_timeout") is not None and int(job.get("idle_timeout") or 0) != asked["idle_timeout"]:
        found["idle_timeout"] = [int(job.get("idle_timeout") or 0), asked["idle_timeout"]]
    if asked.get("root_dir") and _absolute(job.get("root_dir") or "~") != _absolute(asked["root_dir"]):
        found["root_dir"] = [job.get("root_dir") or "~", asked["root_dir"]]
    if asked.get("settings") and asked["settings"] != job.get("settings"):
        found["settings"] = [None, None]
    # Where it listens now, for it may have been left to the server, or moved.
    kind = (view.get("endpoint") or {}).get("kind") or job.get("endpoint")
    if asked.get("endpoint") in ("socket", "tls") and kind in ("socket", "tls") and kind != asked["endpoint"]:
        found["endpoint"] = [kind, asked["endpoint"]]
    return found


def _absolute(path):
    """Return a path as the keeper takes it."""
    return os.path.abspath(os.path.join(os.path.expanduser("~"), os.path.expandvars(os.path.expanduser(path))))


def _asked(request):
    return dict((key, value) for key, value in (request.get("resources") or {}).items() if value not in (None, "", []))


def _resources(session, request):
    merged = dict(session.facts.get("resources", {}), **_asked(request))
    try:
        return base.Resources.from_request(merged)
    except base.BadRequest as error:
        raise Failure("%s Nothing was submitted." % sentence(error), "bad-resources")


def _require_password(session, request):
    config_dir = expand("jupyter_config_dir", session.facts.get("job", {}).get("config_dir") or "~/.jupyter")
    for name in ("jupyter_server_config.json", "jupyter_notebook_config.json"):
        config = files.read_json(os.path.join(config_dir, name)) or {}
        for section, key in (("PasswordIdentityProvider", "hashed_password"), ("ServerApp", "password"), ("NotebookApp", "password")):
            if (config.get(section) or {}).get(key):
                return
    raise Failure(
        "No password is set in %s, and without one nobody could log in. Nothing was submitted. "
        "Run 'ansible-playbook hpc.jupyter.setup' first." % config_dir, "no-password",
    )


def take_by_hand(session, job):
    """Make a job that somebody submitted by hand the session's own; the lock is held.

    :param job: str, its id.
    """
    before = session.record()
    # What was asked for on its command line is not known; these are the job script's own.
    resources = base.Resources.from_request(session.facts.get("resources") or {})
    for stale in (session.places.job, session.places.control):
        files.remove(stale)
    files.write_json(session.places.record, _new_record(session, before, resources, job=job, by_hand=True))


def _new_record(session, before, resources, job=None, renewals=0, mail=None, **more):
    """Return the record of a session that begins anew (dict).

    :param before: dict, the record that it replaces.
    """
    return dict({
        "version": 1,
        "session": session.name,
        "id": binascii.hexlify(os.urandom(16)).decode("ascii"),
        "scheduler": session.facts["scheduler"],
        "job": job,
        "jobs": [],
        "successor": None,
        "resources": resources.as_dict(),
        "submitted": time.time(),
        "renewals": renewals,
        "renewals_left": renewals,
        "mail": mail,
        "relay_dir": _relay_dir(session.facts, before),
    }, **more)


def _relay_dir(facts, before):
    """Return the directory for a session's relay sockets (str).

    Not guessable, so that nobody on the login node can be there first; kept, so that a laptop's command stays the same.

    :param before: dict, the session's record so far.
    """
    if facts.get("relay_dir"):
        return facts["relay_dir"]
    kept, parent = before.get("relay_dir"), facts.get("relay_parent")
    return kept if kept and parent in (None, os.path.dirname(kept)) else new_relay_dir(parent or "/tmp")


def _rehearse(session, request, resources):
    """Ask the scheduler whether it would take the job, where that can be asked.

    :returns: what ``rehearse`` of a scheduler does; what kept it from being asked.
    :raises Failure: when it would not.
    """
    _renewals, mail = _renewals_and_mail(session, request)
    try:
        return session.scheduler.rehearse(
            _submission(session, resources, mail), _session_script(_deployed_script(session), session.name, "", session.site.path))
    except base.Refused as error:
        raise _refused("would refuse", error)
    except base.Unreachable as error:
        return str(error)


def _deployed_script(session):
    deployed = "jupyter.%s" % session.scheduler.script_suffix
    script = files.read_text(os.path.join(session.site.installed, deployed))
    if script is None:
        raise Failure(
            "The job script %s is missing from %s. Nothing was submitted. Run 'ansible-playbook hpc.jupyter.%s' again."
            % (deployed, session.site.installed, "site" if session.site.shared else "setup"), "not-set-up",
        )
    return script


def _renewals_and_mail(session, request):
    # 0 and "" are what a launch may ask for instead of the site's.
    renewals, mail = (session.facts.get(key) if request.get(key) is None else request[key] for key in ("renewals", "mail"))
    return int(renewals or 0), mail or None


def _submission(session, resources, mail):
    return base.Submission(
        name=session.job_name, script=session.places.script, output=session.places.output, resources=resources, mail=mail)


def _submit(session, request, resources):
    facts = session.facts
    script = _deployed_script(session)
    before = session.record()
    renewals, mail = _renewals_and_mail(session, request)
    record = _new_record(session, before, resources, renewals=renewals, mail=mail)
    job = dict(facts.get("job", {}))
    # What a site set for everybody is each user's own path, and the node may lack the variables of the login node.
    job.update((key, expand("jupyter_config_dir", job[key])) for key in ("config_dir", "certfile", "keyfile") if job.get(key))
    job.update((key, value) for key, value in (request.get("job") or {}).items() if value is not None)
    route_needs = job.pop("endpoint_of_route", None)
    if route_needs and job.get("endpoint") in (None, "auto"):
        job["endpoint"] = route_needs
    if job.pop("browser_here", False) and facts["scheduler"] == "local" and job.get("endpoint") == "auto":
        job["endpoint"] = "tls"
    job.update(session=session.name, id=record["id"], walltime=resources.walltime, renewals=renewals)
    try:
        files.write_json(session.places.record, dict(record, submitting=True))
        files.write_json(session.places.job, job)
        for stale in (session.places.server, session.places.ready, session.places.control):
            files.remove(stale)
        for stale in (session.places.log, session.places.output):
            # Not removed: the node of the job before may know them for a second yet, and could then neither open nor make them.
            files.empty(stale)
        files.write_atomically(session.places.script, _session_script(script, session.name, record["id"], session.site.path), mode=0o700)
    except OSError:
        _forget(session, before)
        raise
    record["job"] = _hand_in(session, record, resources, before)
    try:
        files.write_json(session.places.record, record)
    except OSError as error:
        # Nobody would find it again.
        session.cancel(record["job"])
        _forget(session, before)
        raise from_os_error(error, "Job %s, which had just been submitted, was cancelled again." % record["job"])
    session.seen = (time.time(), base.Job(record["job"], name=session.job_name, state=base.QUEUED, submitted=record["submitted"]))
    view = session.view(record, asked=False)
    if renewals > 0:
        record = renewal.add_successor(session, record)
        view["successor"] = record.get("successor")
    return dict(view, state="queued", adopted=False)


def _hand_in(session, record, resources, before):
    try:
        return session.scheduler.submit(_submission(session, resources, record["mail"]))
    except base.Refused as error:
        _forget(session, before)
        raise _refused("refused", error)
    except base.Unreachable as error:
        if error.untouched:
            _forget(session, before)
            raise Failure(
                "The scheduler can't be reached: %s Nothing was submitted. Run launch again when it answers." % sentence(error),
                "scheduler-down",
            )
        try:
            orphan = session.orphan()
        except Failure:
            orphan = None
        if orphan is not None:
            return orphan.id
        # It may have taken the job before it went silent, and list it a moment later: the mark in the record makes the next launch
        # look, and the job finds what it needs.
        raise Failure(
            "The scheduler did not answer the submission: %s Whether it took the job is not known; the next launch "
            "asks before it submits. Run launch again when the scheduler answers." % sentence(error), "scheduler-down",
        )


def _refused(did, error):
    return Failure("The scheduler %s the job: %s Nothing was submitted." % (did, error.told), "refused", scheduler_rc=error.rc)


def _forget(session, before):
    """Leave the session as it was before a submission that came to nothing."""
    for path in (session.places.script, session.places.job, session.places.server, session.places.ready, session.places.control):
        files.remove(path)
    if not before:
        files.remove(session.places.record)
    elif before != session.record():
        files.write_json(session.places.record, before)


def _session_script(script, name, session_id, batch_dir):
    """Return the deployed job script for one session: its name, launch and directory in, the directives for use by hand out.

    The directives go because the same options are given on the command line, where no dialect
    reads them by other rules (Slurm's wrapper reads ``walltime=60`` in a directive as minutes).
    """
    lines = []
    for line in script.splitlines():
        if line.startswith(("#PBS ", "#SBATCH ")):
            continue
        if line.startswith("JUPYTER_SESSION="):
            line = "JUPYTER_SESSION=%s" % name
        elif line.startswith("JUPYTER_BATCH_DIR="):
            # A site's script leaves that to the job's environment, in which a variable may be missing.
            line = "JUPYTER_BATCH_DIR=%s" % shlex.quote(batch_dir)
        elif line.startswith("JUPYTER_LAUNCH="):
            # Which job.json is meant. Not the id itself: a process list shows it, and by its id a server proves itself.
            line = "JUPYTER_LAUNCH=%s" % hashlib.sha256(session_id.encode("ascii")).hexdigest()[:16]
        lines.append(line)
    return "\n".join(lines) + "\n"


def new_relay_dir(parent="/tmp"):
    """Return a name for a relay directory that nobody else of the login node can guess, and be there first."""
    return os.path.join(parent, "jupyter-%d-%s" % (os.getuid(), binascii.hexlify(os.urandom(8)).decode("ascii")))
