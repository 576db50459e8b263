# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions: submit or adopt, look, wait, stop.

A session's state is put together from three sources that may disagree: its record (what we
did), the scheduler (what it knows of the job) and server.json (what the job says of itself).
"""

import binascii
import contextlib
import hashlib
import os
import time

from . import commands, diagnosis, files, renewal, schedulers
from .failure import Failure, from_os_error, sentence
from .lock import FOREIGN_AGE, SessionLock
from .places import Site
from .schedulers import base

JOB_PREFIX = "jupyter-"
ALIVE = ("queued", "held", "starting", "ready", "ending", "unknown")
WAITING = ("queued", "held", "starting", "unknown")
LOOPBACK = (None, "", "127.0.0.1", "::1", "localhost")
# Beyond this the clock of the node is not that of the file system, in which the login node thinks.
CLOCK_TOLERANCE = 5.0
# Looking at a file costs nothing; asking the scheduler does, so it is asked ever more rarely.
FILE_INTERVAL = 0.05
FIRST_ASK = 1.0
LONGEST_ASK = 30.0
LOG_PATIENCE = 5.0


class Session(object):
    """One session of this user on this site.

    :param site: places.Site.
    :param name: str.
    """

    def __init__(self, site, name):
        self.site = site
        self.places = site.session(name)
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
            found = files.read_json(self.site.facts_path)
            self._facts = found if isinstance(found, dict) else None
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

    # -- what is known ---------------------------------------------------------------------

    def record(self):
        """Return the session's record, ``{}`` when it has none."""
        record = files.read_json(self.places.record)
        return record if isinstance(record, dict) else {}

    def server(self, record):
        """Return what the record's current job says of itself, ``{}`` if nothing yet."""
        server = files.read_json(self.places.server)
        if not isinstance(server, dict) or not record.get("job"):
            return {}
        # A file of the job before (a renewal, or a launch after the end) says nothing of this one.
        if server.get("id") != record.get("id") or server.get("job") not in (None, record["job"]):
            return {}
        return _by_our_clock(server, files.stamp(self.places.server))

    def ask(self, record, jobs=None):
        """Ask the scheduler for the record's job and follow a renewal to its successor.

        :param jobs: dict by id, when the scheduler was asked already.
        :returns: (base.Job or None, record), the record rewritten if the session moved on.
        """
        if not record.get("job"):
            return None, record
        if record.get("over"):
            # How it ended was seen once; the scheduler forgets it within minutes, and needs no asking.
            return base.Job.from_dict(record["over"]), record
        if jobs is None:
            jobs = self.scheduler.look(asked_for(record))
        job = jobs[record["job"]]
        successor = jobs.get(record.get("successor"))
        if job.state == "finished" and successor is not None and successor.state != "finished":
            if job.exit_kind == "failed" and not os.path.exists(self.places.server):
                # Its script never came as far as a server, and that of the next one would not either.
                record = self._drop_successor(successor)
            elif job.exit_kind != "clean" and not record.get("stopped"):
                with self.locked():
                    record = self.record()
                    if record.get("successor") == successor.id:
                        record = renewal.move_on(self, record, job)
                if record.get("job") == successor.id:
                    job = successor
        elif successor is not None and successor.state == "finished" and job.state != "finished":
            # Cancelled behind our back, or by a stop that was cut off: whoever did that wants no other.
            with self.locked():
                record = self.record()
                if record.get("successor") == successor.id:
                    record = dict(record, successor=None, renewals_left=0, renewal_problem="its successor, job %s, is gone" % successor.id)
                    files.write_json(self.places.record, record)
        elif not record.get("successor") and record.get("renewals_left") and (
                job.state == "running" or job.state in ("queued", "held") and record.get("renewing")):
            # A compute node that may not submit left this to us, or a launch was cut off in it.
            with self.locked():
                record = renewal.add_successor(self, self.record())
        if job.state == "finished" and job.id == record.get("job"):
            record = self._remember_end(record, job)
        return job, record

    def _drop_successor(self, successor):
        with self.locked():
            record = self.record()
            if record.get("successor") == successor.id:
                self._cancel(successor.id)
                record = dict(record, successor=None, renewals_left=0)
                files.write_json(self.places.record, record)
            return record

    def _remember_end(self, record, job):
        if job.ends is None:
            job.ends = self.server(record).get("updated")
        try:
            # Only a convenience: who is at work on the session, or a home without room, must not keep a look waiting.
            with self.locked(patience=0):
                now = self.record()
                if now.get("job") != job.id or now.get("over"):
                    return now
                record = dict(now, over=job.as_dict())
                files.write_json(self.places.record, record)
        except Failure:
            pass
        except OSError as error:
            if not files.is_full(error):
                raise
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
        started = _first(server.get("started"), job and job.started)
        ends = _first(server.get("ends"), job and job.state != "queued" and job.ends)
        view = {
            "session": self.name,
            "id": record.get("id"),
            "job": record.get("job"),
            "scheduler": record.get("scheduler"),
            "state": state,
            "reason": files.printable(reason),
            "hopeless": bool(job and job.hopeless),
            "predicted_start": job.predicted_start if job else None,
            "node": files.printable(_first(server.get("node"), job and job.nodes and job.nodes[0]) or "") or None,
            "fqdn": files.printable(server.get("fqdn") or "") or None,
            # By what name others reach it: some sites know only the long ones.
            "node_name": files.printable(self.known_facts.get("node_names") == "fqdn" and server.get("fqdn") or "") or None,
            "nodes": [files.printable(node) for node in (job.nodes if job else [])],
            "endpoint": server.get("endpoint") if state == "ready" else None,
            "reverse": server.get("reverse"),
            "control": server.get("control"),
            "flavour": server.get("flavour"),
            "base_url": server.get("base_url", "/"),
            "warning": server.get("warning"),
            "queue": job.queue if job else None,
            "submitted": record.get("submitted"),
            "started": started,
            "ends": ends,
            "time_left": int(max(0, ends - time.time())) if ends and state in ("starting", "ready", "ending") else None,
            "walltime": _first(job and job.walltime, resources.get("walltime")),
            "resources": resources,
            "successor": record.get("successor"),
            "renewals_left": record.get("renewals_left", 0),
            "renewal_problem": record.get("renewal_problem"),
            "jobs": record.get("jobs", []) + ([record["job"]] if record.get("job") else []),
            "core_hours": renewal.core_hours(record, job, _first(job and job.started, started)),
            "log": self.places.log,
            "batch_dir": self.site.path,
            "relay_dir": record.get("relay_dir"),
            "connect": self.known_facts.get("connect"),
            "host": os.uname()[1],
        }
        if state in ("failed", "finished"):
            view.update(diagnosis.explain(record, job, server, self.places))
        return view

    # -- what is done ----------------------------------------------------------------------

    def start(self, request):
        """Adopt the session's job, or submit one.

        :param request: dict; see ``launch``.
        :returns: (view, bool changed).
        """
        if request.get("check") and files.read_text(self.site.facts_path) is None:
            # A play that sets up and launches: its setup only said what it would do, so there is nothing to look at.
            return dict(self.view(asked=False), would_submit=True, set_up=False), True
        resources = self._resources(request)
        view = self.view()
        if view["state"] in ALIVE and not _ends_for_good(view):
            return self._adopted(view), False
        if request.get("check"):
            return dict(view, would_submit=True, set_up=True, resources=resources.as_dict()), True
        self._require_password(request)
        try:
            return self._start(request, resources)
        except OSError as error:
            job = self.record().get("job")
            raise from_os_error(error, "Job %s was submitted." % job if job else "Nothing was submitted.")

    def _start(self, request, resources):
        """Submit under the lock, unless the session came alive meanwhile; see ``start``."""
        files.make_private_dir(self.site.sessions)
        files.make_private_dir(self.places.path)
        with self.locked() as lock:
            view = self.view()
            if _ends_for_good(view):
                # A stop that was cut off, or a server that ends by itself at this moment.
                self._await_over(view["job"])
                view = self.view()
                if _ends_for_good(view):
                    raise Failure(
                        "Job %s of session '%s' is still about to end. Nothing was submitted. Run launch again in a minute."
                        % (view["job"], self.name), "ending", session=view)
            if view["state"] in ALIVE:
                return self._adopted(view), False
            if lock.taken_over or self._cut_off():
                found = self._orphan()
                if found is not None:
                    record = dict(self.record(), job=found.id, submitting=False)
                    files.write_json(self.places.record, record)
                    return self._adopted(self.view(record, found)), True
            return self._submit(request, resources), True

    def _adopted(self, view):
        if view["state"] == "unknown":
            raise Failure(
                "Session '%s' has job %s, and the scheduler can't be asked about it: %s. Nothing was submitted, for the "
                "job may well be running. Try again when the scheduler answers; 'ansible-playbook hpc.jupyter.stop' "
                "gives the session up." % (self.name, view["job"], view["reason"] or "no answer"),
                "scheduler-unknown", session=view,
            )
        return dict(view, adopted=True)

    def _cut_off(self):
        return bool(self.record().get("submitting"))

    def _orphan(self):
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

    def _resources(self, request):
        merged = dict(self.facts.get("resources", {}))
        merged.update((key, value) for key, value in (request.get("resources") or {}).items() if value not in (None, "", []))
        try:
            return base.Resources.from_request(merged)
        except base.BadRequest as error:
            raise Failure("%s Nothing was submitted." % sentence(error), "bad-resources")

    def _require_password(self, request):
        config_dir = self.facts.get("job", {}).get("config_dir") or os.path.expanduser("~/.jupyter")
        for name in ("jupyter_server_config.json", "jupyter_notebook_config.json"):
            config = files.read_json(os.path.join(config_dir, name)) or {}
            for section, key in (("PasswordIdentityProvider", "hashed_password"), ("ServerApp", "password"), ("NotebookApp", "password")):
                if (config.get(section) or {}).get(key):
                    return
        raise Failure(
            "No password is set in %s, and without one nobody could log in. Nothing was submitted. "
            "Run 'ansible-playbook hpc.jupyter.setup' first." % config_dir, "no-password",
        )

    def take_by_hand(self, job):
        """Make a job that somebody submitted by hand the session's own; the lock is held.

        :param job: str, its id.
        """
        before = self.record()
        # What was asked for on its command line is not known; these are the job script's own.
        resources = base.Resources.from_request(self.facts.get("resources") or {})
        for stale in (self.places.job, self.places.control):
            files.remove(stale)
        files.write_json(self.places.record, self._new_record(before, resources, job=job, by_hand=True))

    def _new_record(self, before, resources, job=None, renewals=0, mail=None, **more):
        """Return the record of a session that begins anew (dict).

        :param before: dict, the record that it replaces.
        """
        return dict({
            "version": 1,
            "session": self.name,
            "id": binascii.hexlify(os.urandom(16)).decode("ascii"),
            "scheduler": self.facts["scheduler"],
            "job": job,
            "jobs": [],
            "successor": None,
            "resources": resources.as_dict(),
            "submitted": time.time(),
            "renewals": renewals,
            "renewals_left": renewals,
            "mail": mail,
            # Not guessable, so that nobody on the login node can be there first; kept, so that a laptop's command stays the same.
            "relay_dir": self.facts.get("relay_dir") or before.get("relay_dir") or new_relay_dir(),
        }, **more)

    def _submit(self, request, resources):
        facts = self.facts
        deployed = "jupyter.%s" % self.scheduler.script_suffix
        script = files.read_text(os.path.join(self.site.path, deployed))
        if script is None:
            raise Failure(
                "The job script %s is missing from %s. Nothing was submitted. Run 'ansible-playbook hpc.jupyter.setup' again."
                % (deployed, self.site.path), "not-set-up",
            )
        before = self.record()
        renewals = int(_first(request.get("renewals"), facts.get("renewals"), 0))
        record = self._new_record(before, resources, renewals=renewals, mail=_first(request.get("mail"), facts.get("mail")))
        job = dict(facts.get("job", {}))
        job.update((key, value) for key, value in (request.get("job") or {}).items() if value is not None)
        if job.pop("browser_here", False) and facts["scheduler"] == "local" and job.get("endpoint") == "auto":
            job["endpoint"] = "tls"
        job.update(session=self.name, id=record["id"], walltime=resources.walltime, renewals=renewals)
        try:
            files.write_json(self.places.record, dict(record, submitting=True))
            files.write_json(self.places.job, job)
            for stale in (self.places.server, self.places.control, self.places.log):
                files.remove(stale)
            files.write_atomically(self.places.script, _session_script(script, self.name, record["id"]), mode=0o700)
        except OSError:
            self._forget(before)
            raise
        record["job"] = self._hand_in(record, resources, before)
        try:
            files.write_json(self.places.record, record)
        except OSError as error:
            # Nobody would find it again.
            self._cancel(record["job"])
            self._forget(before)
            raise from_os_error(error, "Job %s, which had just been submitted, was cancelled again." % record["job"])
        view = self.view(record, asked=False)
        if renewals > 0:
            record = renewal.add_successor(self, record)
            view["successor"] = record.get("successor")
        return dict(view, state="queued", adopted=False)

    def _hand_in(self, record, resources, before):
        submission = base.Submission(
            name=self.job_name, script=self.places.script, output=self.places.log,
            resources=resources, mail=record["mail"],
        )
        try:
            return self.scheduler.submit(submission)
        except base.Refused as error:
            self._forget(before)
            raise Failure(
                "The scheduler refused the job: %s %s Nothing was submitted." % (sentence(error.message), sentence(error.advice or "")),
                "refused", scheduler_rc=error.rc,
            )
        except base.Unreachable as error:
            if error.untouched:
                self._forget(before)
                raise Failure(
                    "The scheduler can't be reached: %s Nothing was submitted. Run launch again when it answers." % sentence(error),
                    "scheduler-down",
                )
            try:
                orphan = self._orphan()
            except Failure:
                # It may have taken the job before it went silent: the mark in the record makes the next launch look.
                raise Failure(
                    "The scheduler did not answer the submission: %s Whether it took the job is not known; the next launch "
                    "asks before it submits. Run launch again when the scheduler answers." % sentence(error), "scheduler-down",
                )
            if orphan is not None:
                return orphan.id
            self._forget(before)
            raise Failure(
                "The scheduler can't be reached: %s Nothing was submitted. Run launch again when it answers." % sentence(error),
                "scheduler-down",
            )

    def _forget(self, before):
        """Leave the session as it was before a submission that came to nothing."""
        for path in (self.places.script, self.places.job, self.places.server, self.places.control):
            files.remove(path)
        if not before:
            files.remove(self.places.record)
        elif before != self.record():
            files.write_json(self.places.record, before)

    def wait(self, seen, hold, cached=None):
        """Wait until the session differs from what was seen, is decided, or the hold time is up.

        :param seen: str, the fingerprint of an earlier view, or None.
        :param hold: float, seconds.
        :param cached: base.Job that was just asked for.
        :returns: dict, a view.
        """
        deadline = time.time() + hold
        shortest = interval = max(FIRST_ASK, float(self.facts.get("poll_interval") or 0))
        record = self.record()
        job = cached
        next_ask = 0 if job is None else time.time() + interval
        server_stamp = object()
        log_stamp = files.stamp(self.places.log)
        while True:
            if time.time() >= next_ask:
                job, record = self.ask(record)
                interval = min(max(LONGEST_ASK, interval), interval * 1.5)
                next_ask = time.time() + interval
                view = self.view(record, job)
            else:
                stamp = files.stamp(self.places.server)
                if stamp == server_stamp:
                    view = None
                else:
                    server_stamp = stamp
                    view = self.view(record, job, asked=False)
            if view is not None and (fingerprint(view) != seen or not _waits(view)):
                return self._with_log(view, record, job)
            if server_stamp is None and files.stamp(self.places.log) != log_stamp:
                # The job has begun, or its script failed before there was a keeper to say so.
                log_stamp = files.stamp(self.places.log)
                interval = shortest
                next_ask = min(next_ask, time.time() + shortest)
            if time.time() >= deadline:
                return view or self.view(record, job, asked=False)
            time.sleep(FILE_INTERVAL)

    def _with_log(self, view, record, job):
        """Return the view of a job that failed with the end of its log, which a shared file system may show a moment later."""
        deadline = time.time() + LOG_PATIENCE
        while view["state"] == "failed" and not view["log_tail"] and time.time() < deadline:
            time.sleep(FILE_INTERVAL)
            view = self.view(record, job, asked=False)
        return view

    def stop(self, request):
        """End the session: server first, then job, successor before both.

        :param request: dict; ``grace`` seconds for the server to end by itself.
        :returns: (view, bool changed).
        """
        record = self.record()
        if not record.get("job") and not record.get("submitting"):
            return self.view(record, asked=False), False
        if request.get("check"):
            view = self.view()
            return view, view["state"] in ALIVE
        with contextlib.ExitStack() as stack:
            taken_over = False
            try:
                taken_over = stack.enter_context(self.locked()).taken_over
            except OSError as error:
                # In a home without room nobody else gets the lock either, nor submits; and jobs can be ended all the same.
                if not files.is_full(error):
                    raise
            return self._stop(request, taken_over)

    def _stop(self, request, taken_over):
        record = self.record()
        if (taken_over or record.get("submitting")) and not record.get("job"):
            found = self._orphan()
            record = dict(record, job=found.id if found else None, submitting=False)
        if not record.get("job"):
            self._note(self.places.record, dict(record, submitting=False))
            return self.view(asked=False), False
        job, record = self._without_successor(record)
        changed = job.state != "finished"
        if job.state in ("running", "unknown") and self.server(record).get("phase") in ("ready", "starting"):
            if self._note(self.places.control, {"stop": True}):
                self._await_end(record, float(request.get("grace", 20)))
        if changed:
            self._cancel(record["job"])
            job = self._await_over(record["job"])
        # First of all room, where there was none.
        for path in (self.places.control, self.places.job, self.places.script, self.places.server):
            files.remove(path)
        spent = renewal.core_hours(record, job, job.started)
        final = dict(record, job=None, over=None, jobs=record.get("jobs", []) + [record["job"]], ended=time.time(), core_hours=spent)
        if not self._note(self.places.record, final):
            files.remove(self.places.record)
        with contextlib.suppress(OSError):
            files.sweep(self.places.path, FOREIGN_AGE)
        return dict(self.view(final, asked=False), job=record["job"], state="stopped"), changed

    def _without_successor(self, record):
        """Take a session's renewals away, first of all: every way its job can end but a clean one would start the next.

        :returns: (base.Job, record) of the job that the session has now: the successor when that has taken over already.
        """
        try:
            orphan = renewal.orphan(self, record)
        except base.Unreachable as error:
            raise self._not_cancelled("The successor of job %s" % record["job"], error)
        if orphan is not None:
            record = dict(record, successor=orphan.id)
        jobs = self.scheduler.look(asked_for(record))
        job, successor = jobs.get(record["job"]), jobs.get(record.get("successor"))
        if job is None:
            job = base.Job.from_dict(record["over"])
        record = dict(record, stopped=True, renewing=False, renewals_left=0)
        if successor is not None and job.state == "finished" and successor.state != "finished":
            record = dict(record, job=successor.id, successor=None, jobs=record.get("jobs", []) + [job.id],
                          core_hours=renewal.core_hours(record, job, job.started))
            job = successor
        elif successor is not None:
            self._cancel(successor.id)
            record = dict(record, successor=None)
        self._note(self.places.record, record)
        return job, record

    @staticmethod
    def _note(path, value):
        """Write a file of the session; return False where there is no room for it."""
        try:
            files.write_json(path, value)
        except OSError as error:
            if not files.is_full(error):
                raise
            return False
        return True

    def _cancel(self, job):
        try:
            return self.scheduler.cancel(job)
        except (base.Unreachable, base.Refused) as error:
            raise self._not_cancelled("Job %s" % job, error)

    def _not_cancelled(self, what, error):
        return Failure(
            "%s of session '%s' could not be cancelled: %s The session is still as it was, its server may have been "
            "asked to end. Run 'ansible-playbook hpc.jupyter.stop' again when the scheduler answers."
            % (what, self.name, sentence(error)), "not-cancelled",
        )

    def _await_end(self, record, grace):
        deadline = time.time() + grace
        while time.time() < deadline:
            if self.server(record).get("phase") in ("ended", "failed"):
                return
            time.sleep(FILE_INTERVAL)

    def _await_over(self, job_id, patience=30.0):
        deadline = time.time() + patience
        interval = 0.2
        while True:
            job = self.scheduler.look([job_id])[job_id]
            if job.state == "finished" or time.time() > deadline:
                return job
            time.sleep(interval)
            interval = min(2.0, interval * 1.5)


def scheduler_of(site, facts):
    """Return the scheduler that setup found for this site."""
    return schedulers.get(
        facts["scheduler"], commands.run, commands=facts.get("commands") or {},
        directory=os.path.join(site.path, "local"),
    )


def asked_for(record):
    """Return the ids that the scheduler must be asked for to know a session's state (list of str)."""
    if record.get("over"):
        return []
    return [job for job in (record.get("job"), record.get("successor")) if job]


def fingerprint(view):
    """Return what a person would call the same news (str): asked with ``seen`` to wait for other news."""
    # A prediction is shown to the minute, and schedulers change it by seconds all the time.
    predicted = view.get("predicted_start") and int(view["predicted_start"]) // 60
    return "|".join([str(view.get(key)) for key in ("job", "state", "reason", "node", "id")] + [str(predicted)])


def _state(record, job, server):
    if not record.get("job"):
        if record.get("submitting"):
            return "none", "a submission was cut off; the next launch finds out what became of it"
        return "none", ""
    phase = server.get("phase")
    if job is not None and job.state == "finished":
        clean = job.exit_kind in ("clean", "cancelled", "time_limit") or job.exit_kind == "unknown" and phase in ("stopping", "ended")
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
        return job.state, job.reason
    if phase == "ready":
        return "ready", ""
    if job is not None and job.state == "running" or phase == "starting":
        return "starting", ""
    return "queued", ""


def _waits(view):
    """Tell whether a view may change by itself into a better one: a renewal counts."""
    return view["state"] in WAITING or view["state"] == "ending" and bool(view["successor"])


def _ends_for_good(view):
    return view["state"] == "ending" and not view["successor"]


def _by_our_clock(server, stamp):
    """Return server.json with its times by the clock that stamped the file: that of the node may be hours off."""
    try:
        off = stamp[0] - server["updated"]
    except (KeyError, TypeError):
        return server
    if abs(off) <= CLOCK_TOLERANCE:
        return server
    return dict(server, **dict((key, server[key] + off) for key in ("started", "ends", "updated") if server.get(key)))


def _session_script(script, name, session_id):
    """Return the deployed job script for one session: its name and launch in, the directives for use by hand out.

    The directives go because the same options are given on the command line, where no dialect
    reads them by other rules (Slurm's wrapper reads ``walltime=60`` in a directive as minutes).
    """
    lines = []
    for line in script.splitlines():
        if line.startswith(("#PBS ", "#SBATCH ")):
            continue
        if line.startswith("JUPYTER_SESSION="):
            line = "JUPYTER_SESSION=%s" % name
        elif line.startswith("JUPYTER_LAUNCH="):
            # Which job.json is meant. Not the id itself: a process list shows it, and by its id a server proves itself.
            line = "JUPYTER_LAUNCH=%s" % hashlib.sha256(session_id.encode("ascii")).hexdigest()[:16]
        lines.append(line)
    return "\n".join(lines) + "\n"


def _first(*values):
    for value in values:
        if value not in (None, "", False):
            return value
    return values[-1]


# -- verbs of the program ------------------------------------------------------------------


def launch(request):
    """Verb: adopt or submit, then wait for the first news.

    :param request: dict with ``batch_dir``, ``session``, and optionally ``resources``, ``job``
        (overrides of job.json), ``renewals``, ``mail``, ``check``, ``hold`` (seconds).
    :returns: dict, a view with ``changed`` and ``fingerprint``.
    """
    session = Session(Site(request.get("batch_dir")), request["session"])
    view, changed = session.start(request)
    if _waits(view) and not request.get("check"):
        adopted = view.get("adopted")
        view = dict(session.wait(fingerprint(view), request.get("hold", 0)), adopted=adopted)
    return dict(view, changed=changed, fingerprint=fingerprint(view), outdated=_is_outdated(session, request),
                config_dir=session.facts.get("job", {}).get("config_dir"))


def _is_outdated(session, request):
    """Tell whether setup put another version of this program here than the one that asks."""
    facts = files.read_json(session.site.facts_path) or {}
    return bool(facts and request.get("program") and facts.get("program") != request["program"])


def look(request):
    """Verb: wait for news of a session that was launched (``seen``, ``hold``), submit nothing."""
    session = Session(Site(request.get("batch_dir")), request["session"])
    view = session.wait(request.get("seen"), request.get("hold", 0))
    return dict(view, fingerprint=fingerprint(view))


def info(request):
    """Verb: all sessions of the user (or those named), with one query to the scheduler."""
    site = Site(request.get("batch_dir"))
    names = request.get("sessions") or site.session_names()
    if not names and not os.path.exists(site.facts_path):
        return {"sessions": [], "set_up": False}
    sessions = [Session(site, name) for name in names]
    records = [session.record() for session in sessions]
    wanted = [job for record in records for job in asked_for(record)]
    jobs = sessions[0].scheduler.look(wanted) if wanted else {}
    views = []
    for session, record in zip(sessions, records):
        job, record = session.ask(record, jobs)
        views.append(session.view(record, job, asked=False))
    return {"sessions": views, "set_up": True}


def stop(request):
    """Verb: end a session, or all (``session`` None)."""
    site = Site(request.get("batch_dir"))
    names = [request["session"]] if request.get("session") else site.session_names()
    views, any_changed = [], False
    for name in names:
        view, changed = Session(site, name).stop(request)
        views.append(view)
        any_changed = any_changed or changed
    return {"sessions": views, "changed": any_changed}


def new_relay_dir(parent="/tmp"):
    """Return a name for a relay directory that nobody else of the login node can guess, and be there first."""
    return os.path.join(parent, "jupyter-%d-%s" % (os.getuid(), binascii.hexlify(os.urandom(8)).decode("ascii")))


def control(request):
    """Verb: leave an order for the running keeper, and see it done.

    :param request: dict with ``batch_dir``, ``session``, ``order`` ({"endpoint", "listen"} to move to another endpoint,
        {"reverse": {"host", "socket"}} for a tunnel back to here) and ``hold`` (seconds to wait at most).
    :returns: dict, a view with ``done`` and, where the keeper says why not, ``refused``.
    """
    session = Session(Site(request.get("batch_dir")), request["session"])
    if not session.record().get("job"):
        raise Failure("Session '%s' is not running; nothing was asked of it. Start it with "
                      "'ansible-playbook hpc.jupyter.launch'." % session.name, "not-running")
    # What was refused to the same order earlier is no answer to this one.
    order = dict(request["order"], asked=binascii.hexlify(os.urandom(4)).decode("ascii"))
    before = files.read_json(session.places.control) or {}
    # A reverse tunnel is held for as long as the session lives, whatever else is asked of it later.
    files.write_json(session.places.control, dict({"reverse": before["reverse"]} if before.get("reverse") else {}, **order))
    deadline = time.time() + request.get("hold", 0)
    while True:
        view = session.view(asked=False)
        done, refused = _obeyed(view, order)
        if done or refused or view["state"] not in ALIVE or time.time() >= deadline:
            return dict(view, changed=True, done=done, refused=files.printable(refused) or None)
        time.sleep(FILE_INTERVAL)


def _obeyed(view, order):
    """Return (whether an order was carried out, why not or "") as far as a view tells."""
    if "reverse" in order:
        state = view["reverse"] or {}
        if state.get("socket") != order["reverse"]["socket"]:
            return False, ""
        return state.get("state") == "up", state.get("message") or ""
    told = view["control"] or {}
    if all((told.get("order") or {}).get(key) == value for key, value in order.items()) and told.get("refused"):
        return False, told["refused"]
    endpoint = view["endpoint"]
    if endpoint is None or (told.get("order") or {}).get("asked") != order["asked"]:
        return False, ""
    return (endpoint.get("address") in LOOPBACK) == (order["listen"] == "loopback"), ""


def start_and_wait(batch_dir, name, progress, patience=None):
    """Start a session from the login node itself and wait until it is ready (``--start``).

    :param progress: callable that takes each new view.
    :param patience: float or None, seconds to wait at most.
    :returns: dict, the last view.
    """
    session = Session(Site(batch_dir), name)
    view, _changed = session.start({})
    deadline = None if patience is None else time.time() + patience
    while True:
        progress(view)
        if not _waits(view) or view["hopeless"]:
            return view
        if deadline is not None and time.time() > deadline:
            return view
        view = session.wait(fingerprint(view), 30.0)
