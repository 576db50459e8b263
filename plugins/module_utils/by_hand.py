# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job that somebody submitted by hand becomes its session's job, if the session has none that lives.

So status, connect and stop know of it as of any other.
"""

import sys

from . import files, launching
from .places import Site
from .session import ALIVE, Session

OCCUPIED = 3
# A keeper that said its last word still removes what it made.
_LAST_STEPS = 30.0  # seconds


def main(argv):
    """``adopt-by-hand NAME JOB [--batch-dir DIR]``, called by the keeper of such a job at its start.

    :returns: int, exit status: OCCUPIED, with a sentence on standard output, when the session has another job.
    """
    site, argv = Site.of_command(argv)
    session = Session(site, argv[1])
    files.make_private_dir(session.site.sessions)
    files.make_private_dir(session.places.path)
    with session.locked():
        reason = occupied(session, argv[2])
        if reason:
            sys.stdout.write(reason + "\n")
            return OCCUPIED
        launching.take_by_hand(session, argv[2])
    return 0


def occupied(session, job):
    """Return why a job must not act as this session (str), or None.

    :param session: session.Session, whose lock is held.
    :param job: str, the id of the job that asks.
    """
    view = session.view()
    record = session.record()
    if record.get("job") not in (None, job) and view["state"] in ALIVE and not _gone(session, record):
        where = "%s%s" % (view["state"], " on %s" % view["node"] if view["node"] else "")
        return _sentence(session, record["job"], where)
    server = files.read_json(session.places.server)
    other = server.get("job") if isinstance(server, dict) and server.get("phase") in ("starting", "ready", "stopping") else None
    # One that no record knows: its node could not run this program.
    if other not in (None, job, record.get("job")) and session.scheduler.look([other])[other].state != "finished":
        return _sentence(session, other, "%s on %s" % (server["phase"], files.printable(server.get("node"))))
    return None


def _gone(session, record):
    """Whether the session's own job has said that it ended, and had the time for its last steps."""
    age = files.age(session.places.server)
    return session.server(record).get("phase") in ("ended", "failed") and age is not None and age > _LAST_STEPS


def _sentence(session, job, where):
    return (
        "Session '%s' has a job already, %s (%s), so this one ends. Use that one, or stop it first with 'ansible-playbook "
        "hpc.jupyter.stop', or set JUPYTER_SESSION in a copy of the job script to another name." % (session.name, job, where))
