# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends a session: its server first, then its job, the successor before both."""

import contextlib
import time

from . import files, renewal, waiting
from .lock import FOREIGN_AGE
from .schedulers import base
from .session import ALIVE


# Seconds that a job may take after its server's last word.
LAST_STEPS = 5.0


def stop(session, request):
    """End a session.

    :param session: session.Session.
    :param request: dict; ``grace`` seconds for the server to end by itself.
    :returns: (view, bool changed).
    """
    record = session.record()
    if not record.get("job") and not record.get("submitting"):
        return session.view(record, asked=False), False
    if request.get("check"):
        view = session.view()
        return view, view["state"] in ALIVE
    with contextlib.ExitStack() as stack:
        taken_over = False
        try:
            taken_over = stack.enter_context(session.locked()).taken_over
        except OSError as error:
            # In a home without room nobody else gets the lock either, nor submits; and jobs can be ended all the same.
            if not files.is_full(error):
                raise
        return _stop(session, request, taken_over)


def _stop(session, request, taken_over):
    record = session.record()
    if (taken_over or record.get("submitting")) and not record.get("job"):
        found = session.orphan()
        record = dict(record, job=found.id if found else None, submitting=False)
    if not record.get("job"):
        _note(session.places.record, dict(record, submitting=False))
        return session.view(asked=False), False
    job, record = _without_successor(session, record)
    changed = job.state != "finished"
    if job.state in ("running", "unknown") and session.server(record).get("phase") in ("ready", "starting"):
        obeyed = _note(session.places.control, {"stop": True}) and waiting.for_server_to_end(session, record, float(request.get("grace", 20)))
        if obeyed and job.state == "running":
            # The job ends by itself now: a cancellation would mostly come too late, and be one more command.
            job = waiting.for_job_to_end(session, job, LAST_STEPS)
    if job.state != "finished":
        session.cancel(record["job"], job)
        job = waiting.for_job_to_end(session, job)
    # First of all room, where there was none.
    for path in (session.places.control, session.places.job, session.places.script, session.places.server, session.places.ready):
        files.remove(path)
    spent = renewal.core_hours(record, job, job.started)
    final = dict(record, job=None, over=None, jobs=record.get("jobs", []) + [record["job"]], ended=time.time(), core_hours=spent)
    if not _note(session.places.record, final):
        files.remove(session.places.record)
    with contextlib.suppress(OSError):
        files.sweep(session.places.path, FOREIGN_AGE)
    return dict(session.view(final, asked=False), job=record["job"], state="stopped"), changed


def _without_successor(session, record):
    """Take a session's renewals away, first of all: every way its job can end but a clean one would start the next.

    :returns: (base.Job, record) of the job that the session has now: the successor when that has taken over already.
    """
    try:
        orphan = renewal.orphan(session, record)
    except base.Unreachable as error:
        raise session.not_cancelled("The successor of job %s" % record["job"], error)
    if orphan is not None:
        record = dict(record, successor=orphan.id)
    jobs = session.look(record)
    job, successor = jobs.get(record["job"]), jobs.get(record.get("successor"))
    if job is None:
        job = base.Job.from_dict(record["over"])
    record = dict(record, stopped=True, renewing=False, renewals_left=0)
    if successor is not None and job.state == "finished" and successor.state != "finished":
        record = dict(record, job=successor.id, successor=None, jobs=record.get("jobs", []) + [job.id],
                      core_hours=renewal.core_hours(record, job, job.started))
        job = successor
    elif successor is not None:
        if successor.state != "finished":
            session.cancel(successor.id, successor)
        record = dict(record, successor=None)
    _note(session.places.record, record)
    return job, record


def _note(path, value):
    """Write a file of the session; return False where there is no room for it."""
    try:
        files.write_json(path, value)
    except OSError as error:
        if not files.is_full(error):
            raise
        return False
    return True
