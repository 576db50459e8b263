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

import os
import sys

from . import files
from .failure import Failure
from .places import Site
from .schedulers import base


def add_successor(session, record):
    """Submit the session's next job, held on the failure of its present one, and note it.

    :param session: session.Session, whose lock is held.
    :param record: dict, the session's record.
    :returns: dict, the record as it is now; ``renewal_problem`` says why there is no successor.
    """
    if record.get("stopped") or record.get("successor") or record.get("renewals_left", 0) <= 0:
        return record
    submission = base.Submission(
        name=session.job_name, script=session.places.script, output=session.places.log,
        resources=base.Resources(**record["resources"]), mail=record.get("mail"), after_failure_of=record["job"],
    )
    try:
        record = dict(record, successor=session.scheduler.submit(submission), renewal_problem=None)
    except (base.Refused, base.Unreachable) as error:
        record = dict(record, renewal_problem=files.printable(str(error)))
    files.write_json(session.places.record, record)
    return record


def move_on(session, record):
    """Make the successor the session's job: its predecessor has ended.

    :returns: dict, the record as it is now, with a further successor if renewals are left.
    """
    record = dict(
        record, job=record["successor"], successor=None, jobs=record.get("jobs", []) + [record["job"]],
        renewals_left=max(0, record.get("renewals_left", 0) - 1))
    files.write_json(session.places.record, record)
    return add_successor(session, record)


def main(argv):
    """Commands of program.pyz that a job's keeper calls.

    ``adopt-job NAME JOB`` at a job's start: note that this is the session's job now and see to its successor.
    ``drop-successor NAME`` before an end that somebody wanted.

    :returns: int, exit status.
    """
    from .session import Session

    session = Session(Site(os.path.dirname(os.path.abspath(sys.argv[0]))), argv[1])
    with session.locked():
        record = session.record()
        if argv[0] == "adopt-job":
            if record.get("successor") == argv[2]:
                move_on(session, record)
            elif record.get("job") == argv[2]:
                add_successor(session, record)
            return 0
        successor = record.get("successor")
        files.write_json(session.places.record, dict(record, successor=None, renewals_left=0))
        if successor:
            try:
                session.scheduler.cancel(successor)
            except (base.Refused, base.Unreachable) as error:
                # Still on record, so that stop and status know of it.
                files.write_json(session.places.record, dict(record, renewals_left=0))
                raise Failure("The successor %s could not be cancelled: %s" % (successor, error), "not-cancelled")
    return 0
