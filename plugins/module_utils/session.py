# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A session: what is known of it.

A session's state is put together from three sources that may disagree: its record (what we
did), the scheduler (what it knows of the job) and server.json (what the job says of itself).
"""

import contextlib
import os
import time

from . import commands, diagnosis, files, renewal, schedulers
from .failure import Failure, playbook, sentence
from .lock import SessionLock
from .schedulers import base

JOB_PREFIX = "jupyter-"
ALIVE = ("queued", "held", "starting", "ready", "ending", "unknown")
WAITING = ("queued", "held", "starting", "unknown")
LOOPBACK = (None, "", "127.0.0.1", "::1", "localhost")
# Beyond this the clock of the node is not that of the file system, in which the login node thinks.
CLOCK_TOLERANCE = 5.0


class Session(object):
    """One session of this user on this site.

    :param site: places.Site.
    :param name: str.
    :param passive: bool, in check mode: a look at the session does nothing of what it finds to be done.
    """

    def __init__(self, site, name, passive=False):
        self.site = site
        self.passive = passive
        self.places = site.session(name)
        self.directory = files.SharedDirectory(self.places.path)
        # When the scheduler was asked last about the session's job (epoch), and what it said.
        self.seen = (0, None)
        self.name = name
        self.job_name = JOB_PREFIX + name
        self._facts = None
        self._scheduler = None
        self._lock = None

    @property
    def facts(self):
        """What setup decided for this site (dict)."""
        if self._facts is None:
            self._facts = self.site.facts()
        return self._facts

    @property
    def known_facts(self):
        """What setup decided, {} where it has not been run: to look needs no setup."""
        if self._facts is None:
            self._facts = self.site.known()
        return self._facts or {}

    @property
    def scheduler(self):
        """The scheduler of this site."""
        if self._scheduler is None:
            self._scheduler = scheduler_of(self.site, self.facts)
        return self._scheduler

    @contextlib.contextmanager
    def locked(self, **patience):
        """Hold the session's lock; within itself it costs nothing."""
        if self._lock is not None:
            yield self._lock
            return
        with SessionLock(self.places.lock, **patience) as self._lock:
            try:
                yield self._lock
            finally:
                self._lock = None

    def is_foreign(self, record):
        """Tell whether a record's jobs are of a scheduler that this site had before; an id of it may be another job's here."""
        known, here = record.get("scheduler"), self.known_facts.get("scheduler")
        return bool(known and here) and not schedulers.same_jobs(known, here)

    def asked_for(self, record):
        """Return the ids that the scheduler must be asked for to know the session's state (list of str)."""
        return [] if record.get("over") or self.is_foreign(record) else _jobs_of(record)

    def look(self, record):
        """Ask the scheduler for a record's job and its successor.

        :returns: dict of base.Job by id; those of another scheduler are over.
        """
        wanted = self.asked_for(record)
        jobs = self.scheduler.look(wanted) if wanted else {}
        if self.is_foreign(record):
            reason = "it was a job of %s, and this site is set up for %s now" % (record["scheduler"], self.facts["scheduler"])
            jobs = dict((job, base.Job(job, state=base.FINISHED, exit_kind=base.EXIT_UNKNOWN, reason=reason)) for job in _jobs_of(record))
        return jobs

    # -- what is known ---------------------------------------------------------------------

    def record(self):
        """Return the session's record, ``{}`` when it has none."""
        self.directory.refresh()
        record = files.read_json(self.places.record)
        return record if isinstance(record, dict) else {}

    def server(self, record):
        """Return what the record's current job says of itself, ``{}`` if nothing yet."""
        self.directory.refresh()
        server = files.read_json(self.places.server) if record.get("job") else None
        if not isinstance(server, dict):
            return {}
        # A file of the job before (a renewal, or a launch after the end) says nothing of this one.
        if server.get("id") != record.get("id") or server.get("job") not in (None, record["job"]):
            return {}
        path = self.places.server
        if server.get("phase") == "starting":
            ready = files.read_json(self.places.ready)
            same = ("id", "job", "node", "started")
            if isinstance(ready, dict) and all(ready.get(key) == server.get(key) for key in same) and (
                    ready.get("updated") or 0) >= (server.get("updated") or 0):
                server, path = ready, self.places.ready
        return _by_our_clock(server, files.stamp(path))

    def stamps(self):
        """Return something that changes when the session's record or server.json does, and when a log is begun or grows.

        :returns: (stamp of the record, of server.json, of the logs).
        """
        self.directory.refresh()
        places = self.places
        server = files.stamp(places.server)
        return files.stamp(places.record), server and (server, files.stamp(places.ready)), (files.stamp(places.log), files.stamp(places.output))

    def ask(self, record, jobs=None):
        """Ask the scheduler for the record's job and follow a renewal to its successor.

        What is to be noted or done then is left to a later look where somebody is at work on the session.

        :param jobs: dict by id, when the scheduler was asked already.
        :returns: (base.Job or None, record), the record rewritten if the session moved on.
        """
        if not record.get("job"):
            return None, record
        if record.get("over"):
            # How it ended was seen once; the scheduler forgets it within minutes, and needs no asking.
            return base.Job.from_dict(record["over"]), record
        if jobs is None or self.is_foreign(record):
            jobs = self.look(record)
        job = jobs[record["job"]]
        successor = jobs.get(record.get("successor"))
        if job.state == "finished" and successor is not None and successor.state != "finished":
            if job.exit_kind == "cancelled" and job.started is None:
                # Somebody took it out of the queue, and wants no other: not every scheduler sees that by itself.
                record = self._without_successor(record, successor)
            elif job.exit_kind == "failed" and not os.path.exists(self.places.server):
                # Its script never came as far as a server, and that of the next one would not either.
                record = self._without_successor(record, successor)
            elif job.exit_kind != "clean" and not record.get("stopped"):
                record = self._move_on(record, job, successor)
                if record.get("job") == successor.id:
                    job = successor
        elif successor is not None and successor.state == "finished":
            # Cancelled behind our back, or by a stop that was cut off: whoever did that wants no other. Or it has ended, too.
            record = self._without_successor(record, successor, renewal_problem="its successor, job %s, is gone" % successor.id)
        elif not self.passive and not record.get("successor") and record.get("renewals_left") and (
                job.state == "running" or job.state in ("queued", "held") and record.get("renewing")):
            # A compute node that may not submit left this to us, or a launch was cut off in it.
            with _if_possible(), self.locked(patience=0):
                record = renewal.add_successor(self, self.record())
        if job.state == "finished" and job.id == record.get("job"):
            record = self._remember_end(record, job)
        self.seen = (time.time(), job)
        return job, record

    def _move_on(self, record, job, successor):
        if not self.passive:
            with _if_possible(), self.locked(patience=0):
                record = self.record()
                if record.get("successor") == successor.id:
                    record = renewal.move_on(self, record, job)
        if record.get("successor") == successor.id:
            # It could not be noted.
            record = renewal.moved_on(record, job)
        return record

    def _without_successor(self, record, successor, **more):
        """Note that no job follows any more, and see to it."""
        if self.passive:
            return dict(record, successor=None, renewals_left=0, **more)
        with _if_possible(), self.locked(patience=0):
            record = self.record()
            if record.get("successor") == successor.id:
                if successor.state != "finished":
                    self.cancel(successor.id, successor)
                record = dict(record, successor=None, renewals_left=0, **more)
                files.write_json(self.places.record, record)
        return record

    def _remember_end(self, record, job):
        if job.ends is None:
            job.ends = self.server(record).get("updated")
        if self.passive:
            return dict(record, over=job.as_dict())
        with _if_possible(), self.locked(patience=0):
            now = self.record()
            if now.get("job") != job.id or now.get("over"):
                return now
            record = dict(now, over=job.as_dict())
            files.write_json(self.places.record, record)
        return record

    def view(self, record=None, job=None, asked=True):
        """Return the session as the person should see it (dict, JSON-ready).

        :param job: base.Job from an earlier look; asked for when ``asked`` and None.
        """
        record = self.record() if record is None else record
        if job is None and asked:
            job, record = self.ask(record)
        server = self.server(record)
        state, reason = _state(record, job, server)
        resources = record.get("resources", {})
        started = first(server.get("started"), job and job.started)
        ends = first(server.get("ends"), job and job.state != "queued" and job.ends)
        view = {
            "session": self.name,
            "id": record.get("id"),
            "job": record.get("job"),
            "scheduler": record.get("scheduler"),
            "state": state,
            "reason": files.printable(reason),
            "hopeless": bool(job and job.hopeless),
            "predicted_start": job.predicted_start if job else None,
            "node": files.printable(first(server.get("node"), job and job.nodes and job.nodes[0]) or "") or None,
            "fqdn": files.printable(server.get("fqdn") or "") or None,
            # By what name others reach it: some sites know only the long ones.
            "node_name": files.printable(self.known_facts.get("node_names") == "fqdn" and server.get("fqdn") or "") or None,
            "nodes": [files.printable(node) for node in first(job and job.nodes, [server["node"]] if server.get("node") else [])],
            "endpoint": server.get("endpoint") if state == "ready" else None,
            "endpoint_of_site": self.known_facts.get("job", {}).get("endpoint"),
            "reverse": server.get("reverse"),
            "control": server.get("control"),
            "flavour": server.get("flavour"),
            "base_url": server.get("base_url", "/"),
            "warning": server.get("warning"),
            "queue": first(job and job.queue, resources.get("queue")),
            "submitted": record.get("submitted"),
            "started": started,
            "ends": ends,
            "time_left": int(max(0, ends - time.time())) if ends and state in ("starting", "ready", "ending") else None,
            "walltime": first(job and job.walltime, resources.get("walltime")),
            "resources": resources,
            "successor": record.get("successor"),
            "renewals_left": record.get("renewals_left", 0),
            "renewal_problem": record.get("renewal_problem"),
            "jobs": record.get("jobs", []) + ([record["job"]] if record.get("job") else []),
            "core_hours": renewal.core_hours(record, job, first(job and job.started, started)),
            "log": self.places.log,
            "batch_dir": self.site.path,
            "relay_dir": record.get("relay_dir"),
            "connect": self.known_facts.get("connect"),
            "host": os.uname()[1],
        }
        if state in ("failed", "finished"):
            view.update(diagnosis.explain(record, job, server, self.places))
        return view

    def orphan(self):
        """Return a live job of this session's name that no record knows (a submission cut in the middle)."""
        try:
            mine = self.scheduler.mine()
        except base.Unreachable as error:
            raise Failure(
                "An earlier launch of session '%s' was cut off while it submitted, and the scheduler can't be asked "
                "whether its job exists: %s. Nothing was submitted. Try again when the scheduler answers."
                % (self.name, error), "scheduler-unknown",
            )
        for job in mine:
            if job.name == self.job_name and job.state in ("queued", "held", "running"):
                return job
        return None

    def cancel(self, job, seen=None):
        """Have the scheduler end a job (str, its id) of the session.

        :param seen: base.Job, as it was looked at a moment ago.
        :raises Failure: when it can't be asked, or says no.
        """
        try:
            return self.scheduler.cancel(job, seen)
        except (base.Unreachable, base.Refused) as error:
            raise self.not_cancelled("Job %s" % job, error)

    def not_cancelled(self, what, error):
        """Return the Failure of a cancellation that did not come about."""
        return Failure(
            "%s of session '%s' could not be cancelled: %s The session is still as it was, its server may have been "
            "asked to end. Run %s again when the scheduler answers."
            % (what, self.name, sentence(error), playbook("stop", self.name)), "not-cancelled",
        )


@contextlib.contextmanager
def _if_possible():
    """What was found out is noted; in a home without room, or while somebody is at work on the session, that is left to a later look."""
    try:
        yield
    except OSError as error:
        if not files.is_full(error):
            raise
    except Failure as failure:
        if failure.cause != "locked":
            raise


def scheduler_of(site, facts):
    """Return the scheduler that setup found for this site."""
    return schedulers.get(
        facts["scheduler"], commands.run, commands=facts.get("commands") or {},
        directory=os.path.join(site.path, "local"),
    )


def _jobs_of(record):
    return [job for job in (record.get("job"), record.get("successor")) if job]


def fingerprint(view):
    """Return what a person would call the same news (str): asked with ``seen`` to wait for other news."""
    # A prediction is shown to the minute, and schedulers change it by seconds all the time.
    predicted = view.get("predicted_start") and int(view["predicted_start"]) // 60
    return "|".join([str(view.get(key)) for key in ("job", "state", "reason", "node", "id")] + [str(predicted)])


def waits(view):
    """Tell whether a view may change by itself into a better one: a renewal counts."""
    return view["state"] in WAITING or view["state"] == "ending" and bool(view["successor"])


def ends_for_good(view):
    """Tell whether a session is about to be over, with no further job to come."""
    return view["state"] == "ending" and not view["successor"]


def _state(record, job, server):
    if not record.get("job"):
        if record.get("submitting"):
            return "none", "a submission was cut off; the next launch finds out what became of it"
        return "none", ""
    phase = server.get("phase")
    if job is not None and job.state == "finished":
        clean = job.exit_kind in ("clean", "cancelled", "time_limit") or job.exit_kind == "unknown" and phase in ("stopping", "ended")
        # It ends with a bad status on its own accord, so that a successor starts.
        clean = clean or server.get("cause") == "walltime"
        if phase == "failed" or not clean:
            return "failed", server.get("reason") or job.reason
        return "finished", server.get("reason") or job.reason
    if phase == "failed":
        return "ending" if record.get("successor") else "failed", server.get("reason")
    if phase in ("stopping", "ended"):
        return "ending", server.get("reason")
    if job is not None and job.state in ("queued", "held", "ending", "unknown"):
        # The file is ahead of the scheduler in a start, and outlives a scheduler that is down.
        if phase == "ready" and job.state != "ending":
            return "ready", ""
        if phase == "starting" and job.state in ("queued", "held"):
            return "starting", ""
        return job.state, job.reason
    if phase == "ready":
        return "ready", ""
    if job is not None and job.state == "running" or phase == "starting":
        return "starting", ""
    return "queued", ""


def _by_our_clock(server, stamp):
    """Return server.json with its times by the clock that stamped the file: that of the node may be hours off."""
    try:
        off = stamp[0] - server["updated"]
    except (KeyError, TypeError):
        return server
    if abs(off) <= CLOCK_TOLERANCE:
        return server
    return dict(server, **dict((key, server[key] + off) for key in ("started", "ends", "updated") if server.get(key)))


def first(*values):
    """Return the first value that is known; the last one when none is. Of times and names: a 0 is none."""
    for value in values:
        if value:
            return value
    return values[-1]
