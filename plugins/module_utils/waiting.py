# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits on the login node: for news of a session, for the end of its server or of its job."""

import time

from .schedulers import base
from .session import fingerprint, waits

# Seconds. Looking at a file costs nothing; asking the scheduler does, so it is asked ever more rarely.
FILE_INTERVAL = 0.02
# A look at files grows rarer, too: by so much each time, up to this.
SLOWER, LONGEST_FILE_INTERVAL = 1.01, 0.2
FIRST_ASK = 1.0
LONGEST_ASK = 30.0
# A keeper at work says in its file what becomes of the server; only its own sudden end is the scheduler's to tell.
LIVE_ASK = 5.0
LOG_PATIENCE = 5.0
FIRST_LOOK_AT_END = 0.3


class Pace(object):
    """When the scheduler may be asked about a session: ever more rarely, and never closer than the site wants.

    One wait is made of many calls of the program. So that they go on where the last one was, each hands back ``as_dict``.

    :param session: session.Session; what it has been told of its job in this call counts.
    :param told: dict, ``as_dict`` of the call before, or None.
    :ivar job: schedulers.base.Job as it was seen last, None before that.
    """

    def __init__(self, session, told=None):
        self.shortest = max(FIRST_ASK, float(session.facts.get("poll_interval") or 0))
        self.asked, self.job = session.seen
        self.interval = self.shortest
        if self.job is None and told:
            self.asked, self.interval, self.job = told["asked"], max(self.shortest, told["interval"]), base.Job.from_dict(told["job"])
        self.next = self.asked + self.interval
        if self.asked > time.time():
            # Another login node's clock, or one that was set.
            self.next = 0

    def submitted(self, hold):
        """The job is new: a submission is no question, so the first may come soon, within the time that is waited."""
        self.next = self.asked + min(FIRST_ASK, hold)

    def due(self, record):
        """Tell whether to ask now; a job that nothing was seen of is asked for at once."""
        return self.job is None or self.job.id != record.get("job") or time.time() >= self.next

    def note(self, job):
        """The scheduler has just been asked; it tells more news of a job that has just changed its state."""
        self.asked = time.time()
        changed = job is None or self.job is None or job.state != self.job.state
        self.interval = self.shortest if changed else min(max(LONGEST_ASK, self.shortest), self.interval * 1.5)
        self.next = self.asked + self.interval
        self.job = job

    def hasten(self):
        """Something happens to the job: ask soon."""
        self.interval = self.shortest
        self.next = min(self.next, max(time.time() + FIRST_ASK, self.asked + self.shortest))

    def slacken(self):
        """The job tells by itself how it goes."""
        self.next = max(self.next, self.asked + LIVE_ASK)

    def as_dict(self):
        """Return what the next call needs to go on (dict, JSON-ready), None if there is nothing to go on with."""
        return None if self.job is None else {"asked": self.asked, "interval": self.interval, "job": self.job.as_dict()}


def for_news(session, seen, hold, told=None, submitted=False):
    """Wait until a session differs from what was seen, is decided, or the hold time is up.

    :param session: session.Session.
    :param seen: str, the fingerprint of an earlier view, or None.
    :param hold: float, seconds.
    :param told: dict, ``asked`` of an earlier view, or None.
    :param submitted: bool, whether its job was submitted just now.
    :returns: dict, a view; its ``asked`` is for the next wait.
    """
    deadline = time.time() + hold
    pace = Pace(session, told)
    if submitted:
        pace.submitted(hold)
    recorded, _server, log_stamp = session.stamps()
    record = session.record()
    server_stamp = object()
    interval = FILE_INTERVAL
    while True:
        stamps = session.stamps()
        if stamps[0] != recorded:
            # Stopped, or renewed, by somebody else.
            recorded, record = stamps[0], session.record()
        view = None
        if pace.due(record):
            job, record = session.ask(record)
            pace.note(job)
            view = session.view(record, job, asked=False)
        elif stamps[1] != server_stamp:
            server_stamp = stamps[1]
            view = session.view(record, pace.job, asked=False)
            if view["state"] == "starting" and server_stamp is not None:
                pace.slacken()
                session.directory.interval = session.directory.SOON
        if view is not None and (fingerprint(view) != seen or not waits(view)):
            return dict(_with_log(session, view, record, pace.job), asked=pace.as_dict())
        if stamps[1] is None and stamps[2] != log_stamp:
            # The job has begun, or its script failed before there was a keeper to say so.
            log_stamp = stamps[2]
            pace.hasten()
        if time.time() >= deadline:
            return dict(view or session.view(record, pace.job, asked=False), asked=pace.as_dict())
        time.sleep(interval)
        interval = min(LONGEST_FILE_INTERVAL, interval * SLOWER)


def _with_log(session, view, record, job):
    """Return the view of a job that failed with the end of its log, which a shared file system may show a moment later."""
    deadline = time.time() + LOG_PATIENCE
    while view["state"] == "failed" and not view["log_tail"] and time.time() < deadline:
        time.sleep(FILE_INTERVAL)
        view = session.view(record, job, asked=False)
    return view


def for_server_to_end(session, record, grace):
    """Wait until the server says that it has ended, at most ``grace`` seconds.

    :returns: bool, whether it did.
    """
    deadline = time.time() + grace
    while time.time() < deadline:
        if session.server(record).get("phase") in ("ended", "failed"):
            return True
        time.sleep(FILE_INTERVAL)
    return False


def for_job_to_end(session, job, patience=30.0):
    """Wait until the scheduler knows that a job is over, at most ``patience`` seconds, or until the first answer after that.

    :param job: schedulers.base.Job, as it was seen last.
    :returns: schedulers.base.Job, as it is seen now.
    """
    deadline = time.time() + patience
    interval = FIRST_LOOK_AT_END
    while job.state != "finished" and time.time() < deadline:
        # Not at once: nothing ends within no time, and each look is a question to the scheduler.
        time.sleep(interval)
        interval = max(min(2.0, interval * 1.5), float(session.facts.get("poll_interval") or 0))
        job = session.scheduler.look([job.id])[job.id]
    return job
