# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renewal: a session that reaches its walltime goes on in a further job.

The successor waits in the queue, held until its predecessor ends badly (``afternotok``), and a
walltime is such an end in every scheduler. So are a cancellation and a failure; that is why a stop,
an idle end and a failed start remove the successor first.

One successor at a time: the next is submitted when that one has started, by the job itself where the
site lets compute nodes submit, else by whatever next looks at the session on the login node.
"""

import time

from . import files
from .schedulers import base


def add_successor(session, record):
    """Submit the session's next job, held on the failure of its present one, and note it.

    :param session: session.Session, whose lock is held.
    :param record: dict, the session's record.
    :returns: dict, the record as it is now; ``renewal_problem`` says why there is no successor.
    """
    if record.get("stopped") or record.get("successor") or record.get("renewals_left", 0) <= 0:
        return record
    try:
        found = orphan(session, record)
    except base.Unreachable as error:
        record = dict(record, renewal_problem=files.printable(str(error)))
        files.write_json(session.places.record, record)
        return record
    if found is not None:
        record = dict(record, successor=found.id, renewing=False, renewal_problem=None)
        files.write_json(session.places.record, record)
        return record
    # A kill between the submission and the note of it must not leave a job that nobody knows.
    record = dict(record, renewing=True)
    files.write_json(session.places.record, record)
    submission = base.Submission(
        name=session.job_name, script=session.places.script, output=session.places.output,
        resources=base.Resources(**record["resources"]), mail=record.get("mail"), after_failure_of=record["job"],
    )
    try:
        record = dict(record, successor=session.scheduler.submit(submission), renewing=False, renewal_problem=None)
    except (base.Refused, base.Unreachable) as error:
        # Of a submission that was not answered nobody knows what became; the mark stays, and the next look asks.
        unsure = isinstance(error, base.Unreachable) and not error.untouched
        record = dict(record, renewing=unsure, renewal_problem=files.printable(str(error)))
    files.write_json(session.places.record, record)
    return record


def orphan(session, record):
    """Return a successor that was submitted and not noted, for its submitter was killed; None if there is none.

    :returns: schedulers.base.Job or None.
    :raises base.Unreachable: when the scheduler can't be asked.
    """
    if not record.get("renewing"):
        return None
    known = [record.get("job")] + record.get("jobs", [])
    for job in session.scheduler.mine():
        if job.name == session.job_name and job.id not in known and job.state in ("queued", "held", "running"):
            return job
    return None


def move_on(session, record, ended=None):
    """Make the successor the session's job: its predecessor has ended.

    :param ended: schedulers.base.Job, the predecessor; asked for when not given.
    :returns: dict, the record as it is now, with a further successor if renewals are left.
    """
    if ended is None:
        ended = session.scheduler.look([record["job"]])[record["job"]]
    record = moved_on(record, ended)
    files.write_json(session.places.record, record)
    return add_successor(session, record)


def moved_on(record, ended):
    """Return a record as it is once its successor is the session's job (dict).

    :param ended: schedulers.base.Job, the predecessor.
    """
    return dict(
        record, job=record["successor"], successor=None, jobs=record.get("jobs", []) + [record["job"]],
        renewals_left=max(0, record.get("renewals_left", 0) - 1), core_hours=core_hours(record, ended, ended.started))


def core_hours(record, job, started):
    """Return what a session has spent so far, over all of its jobs (float), None before its first job has started.

    :param job: schedulers.base.Job, the present one, or None.
    :param started: seconds since the epoch, or None.
    """
    spent = record.get("core_hours")
    if not started or job is None:
        return spent
    resources = record.get("resources", {})
    cores = job.cores_total or (resources.get("nodes") or 1) * (resources.get("cores") or 1)
    end = job.ends if job.state == "finished" and job.ends else time.time()
    return round((spent or 0.0) + max(0.0, end - started) / 3600.0 * cores, 3)
