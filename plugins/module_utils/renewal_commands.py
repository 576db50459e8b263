# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job's keeper has ``program.pyz`` do about renewals."""

from . import files, renewal
from .failure import Failure
from .places import Site
from .schedulers import base
from .session import Session


def main(argv):
    """Commands of program.pyz that a job's keeper calls.

    ``adopt-job NAME JOB`` at a job's start: note that this is the session's job now and see to its successor.
    ``drop-successor NAME`` before an end that somebody wanted.
    Both end in ``--batch-dir DIR`` where the program lies elsewhere.

    :returns: int, exit status.
    """
    site, argv = Site.of_command(argv)
    session = Session(site, argv[1])
    if session.record().get("stopped"):
        # The stop that waits for this job to end has seen to it, and holds the lock meanwhile.
        return 0
    with session.locked():
        record = session.record()
        if argv[0] == "adopt-job":
            if record.get("successor") == argv[2]:
                renewal.move_on(session, record)
            elif record.get("job") == argv[2]:
                renewal.add_successor(session, record)
            return 0
        try:
            successor = record.get("successor") or getattr(renewal.orphan(session, record), "id", None)
        except base.Unreachable as error:
            raise Failure("Whether there is a successor is not known: %s" % error, "not-cancelled")
        files.write_json(session.places.record, dict(record, successor=None, renewing=False, renewals_left=0))
        if successor:
            try:
                session.scheduler.cancel(successor)
            except (base.Refused, base.Unreachable) as error:
                # Still on record, so that stop and status know of it.
                files.write_json(session.places.record, dict(record, renewals_left=0))
                raise Failure("The successor %s could not be cancelled: %s" % (successor, error), "not-cancelled")
    return 0
