# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits on the login node: for news of a session, for the end of its server or of its job."""

import time

from . import files
from .session import fingerprint, waits

# Looking at a file costs nothing; asking the scheduler does, so it is asked ever more rarely.
FILE_INTERVAL = 0.05
FIRST_ASK = 1.0
LONGEST_ASK = 30.0
LOG_PATIENCE = 5.0


def for_news(session, seen, hold, cached=None):
    """Wait until a session differs from what was seen, is decided, or the hold time is up.

    :param session: session.Session.
    :param seen: str, the fingerprint of an earlier view, or None.
    :param hold: float, seconds.
    :param cached: base.Job that was just asked for.
    :returns: dict, a view.
    """
    deadline = time.time() + hold
    shortest = interval = max(FIRST_ASK, float(session.facts.get("poll_interval") or 0))
    record = session.record()
    job = cached
    next_ask = 0 if job is None else time.time() + interval
    server_stamp = object()
    log_stamp = _log_stamp(session)
    while True:
        if time.time() >= next_ask:
            job, record = session.ask(record)
            interval = min(max(LONGEST_ASK, interval), interval * 1.5)
            next_ask = time.time() + interval
            view = session.view(record, job)
        else:
            stamp = files.stamp(session.places.server)
            if stamp == server_stamp:
                view = None
            else:
                server_stamp = stamp
                view = session.view(record, job, asked=False)
        if view is not None and (fingerprint(view) != seen or not waits(view)):
            return _with_log(session, view, record, job)
        if server_stamp is None and _log_stamp(session) != log_stamp:
            # The job has begun, or its script failed before there was a keeper to say so.
            log_stamp = _log_stamp(session)
            interval = shortest
            next_ask = min(next_ask, time.time() + shortest)
        if time.time() >= deadline:
            return view or session.view(record, job, asked=False)
        time.sleep(FILE_INTERVAL)


def _log_stamp(session):
    return files.stamp(session.places.log), files.stamp(session.places.output)


def _with_log(session, view, record, job):
    """Return the view of a job that failed with the end of its log, which a shared file system may show a moment later."""
    deadline = time.time() + LOG_PATIENCE
    while view["state"] == "failed" and not view["log_tail"] and time.time() < deadline:
        time.sleep(FILE_INTERVAL)
        view = session.view(record, job, asked=False)
    return view


def for_server_to_end(session, record, grace):
    """Wait until the server says that it has ended, at most ``grace`` seconds."""
    deadline = time.time() + grace
    while time.time() < deadline:
        if session.server(record).get("phase") in ("ended", "failed"):
            return
        time.sleep(FILE_INTERVAL)


def for_job_to_end(session, job_id, patience=30.0):
    """Wait until the scheduler knows that a job is over, at most ``patience`` seconds.

    :returns: schedulers.base.Job, as it was seen last.
    """
    deadline = time.time() + patience
    interval = 0.2
    while True:
        job = session.scheduler.look([job_id])[job_id]
        if job.state == "finished" or time.time() > deadline:
            return job
        time.sleep(interval)
        interval = min(2.0, interval * 1.5)
