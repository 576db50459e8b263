# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No batch system: a job is a detached process of this host, behind the same interface.

Every job has a supervisor, a fork of the program that submitted it, which
outlives the login. It starts the script, ends it at its walltime, and writes
the job's state file, the one source of what is known. The id names host,
supervisor and the supervisor's start time, so that neither another host of a
shared home nor a process that reuses the pid can be mistaken for the job.
"""

import errno
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from .. import files, processes
from . import base

#: Seconds between the polite end (SIGTERM) and the end (SIGKILL).
GRACE = 10
# How often a supervisor looks for the end of the job that it follows.
_FOLLOW_INTERVAL = 1
# State files of finished jobs are kept this long.
_KEEP = 14 * 86400
_ID = re.compile(r"local-([A-Za-z0-9._-]+)-(\d+)-(\d+)\Z")
_VERSION = 1


class Local(base.Scheduler):
    """Detached processes on this host.

    ``directory`` takes a state file per job. Queue, account and free options
    mean nothing here and are refused; memory, gpus and mail are ignored, as
    nothing limits, hands out or reports them on a host without a scheduler.
    """

    name = "local"
    script_suffix = "sh"
    commands_needed = ()

    @classmethod
    def detect(cls, finder):
        return base.Detected({}, "no batch system: jobs are detached processes of %s" % _host())

    def rehearse(self, submission, script):
        self._check_resources(submission.resources)
        return ""

    def submit(self, submission):
        self._check_resources(submission.resources)
        if not os.path.isfile(submission.script):
            raise base.Refused("no script %s" % submission.script)
        if submission.after_failure_of:
            self._check_parent(submission.after_failure_of)
        try:
            files.make_private_dir(self._directory())
        except OSError as error:
            raise base.Refused("%s: %s" % (self._directory(), error.strerror or error), "Set jupyter_batch_dir to a directory of yours.")
        self._prune()
        return self._spawn(submission)

    @staticmethod
    def _check_resources(resources):
        for field, advice in (("queue", "jupyter_queue"), ("account", "jupyter_account"), ("options", "jupyter_batch_options")):
            if getattr(resources, field):
                raise base.Refused("the local scheduler has no %s" % field, "Unset %s, or choose another jupyter_scheduler." % advice)
        if resources.nodes != 1:
            raise base.Refused("the local scheduler has one node, this host", "Set jupyter_nodes to 1.")

    def directives(self, resources, name):
        return []

    def look(self, ids):
        return dict((job_id, self._look(job_id)) for job_id in ids)

    def mine(self):
        try:
            names = os.listdir(self._directory())
        except OSError as error:
            if error.errno == errno.ENOENT:
                return []
            raise base.Unreachable("%s: %s" % (self._directory(), error.strerror))
        ids = sorted(name[:-len(".json")] for name in names if name.endswith(".json") and _ID.match(name[:-len(".json")]))
        return [job for job in (self._look(job_id) for job_id in ids) if not job.over]

    def cancel(self, job_id, seen=None):
        if not _ID.match(job_id):
            return "unknown"
        state = self._read(job_id)
        if state is None:
            return "unknown"
        job = self._look(job_id)
        if job.over:
            return "over"
        if job.state == base.UNKNOWN:
            raise base.Unreachable(job.reason)
        if processes.alive(state["pid"], state["start"]):
            os.kill(state["pid"], signal.SIGTERM)
        else:
            # Its supervisor was killed; the job itself is left.
            self._end_orphan(state)
        return "cancelled"

    def _directory(self):
        if not self.directory:
            raise base.Unreachable("the local scheduler was given no directory for its files")
        return self.directory

    def _path(self, job_id):
        return os.path.join(self._directory(), job_id + ".json")

    def _read(self, job_id):
        """The state file of a job, or None."""
        try:
            with open(self._path(job_id), "rb") as stream:
                state = json.loads(stream.read().decode("utf-8"))
        except (OSError, ValueError):
            return None
        return state if _sane(state, job_id) else None

    def _look(self, job_id):
        match = _ID.match(job_id)
        if not match:
            return base.foreign(job_id, "the local scheduler")
        try:
            state = self._read(job_id)
        except base.Unreachable as error:
            return base.unknown(job_id, str(error))
        if state is None:
            if match.group(1) != _host():
                return base.unknown(job_id, "it belongs to %s, and nothing is known of it here" % match.group(1))
            if processes.alive(int(match.group(2)), int(match.group(3))):
                return base.unknown(job_id, "its state file cannot be read")
            return base.forgotten(job_id, "this host")
        if state["state"] == base.FINISHED:
            return _job(state)
        if state["host"] != _host():
            return base.unknown(job_id, "it is a process of %s; ask there" % state["host"])
        if _boot() != state["boot"]:
            return _job(dict(state, state=base.FINISHED, exit_kind=base.NODE_LOST, reason="%s was rebooted" % state["host"]))
        if processes.alive(state["pid"], state["start"]):
            return _job(state)
        # Its last words may have been written between the two looks.
        state = self._read(job_id) or state
        if state["state"] == base.FINISHED:
            return _job(state)
        if state["job_pid"] and processes.alive(state["job_pid"], state["job_start"]):
            return _job(dict(state, state=base.RUNNING, reason="its supervisor was killed; nothing ends it at its walltime"))
        return _job(dict(state, state=base.FINISHED, exit_kind=base.EXIT_UNKNOWN, reason="its supervisor was killed"))

    def _check_parent(self, parent):
        job = self._look(parent)
        if job.state == base.UNKNOWN:
            raise base.Refused("cannot follow %s: %s" % (parent, job.reason))
        if job.name is None:
            raise base.Refused("cannot follow %s, which is not known" % parent)

    def _end_orphan(self, state):
        for number in (signal.SIGTERM, signal.SIGKILL):
            _signal_group(state["job_pid"], number)
            deadline = time.time() + GRACE
            while time.time() < deadline and processes.alive(state["job_pid"], state["job_start"]):
                time.sleep(0.05)
        _write(self._path(state["id"]), dict(
            state, state=base.FINISHED, exit_kind=base.CANCELLED, exit_code=None, ended=time.time(), reason="cancelled"))

    def _prune(self):
        directory = self._directory()
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            try:
                if name.endswith(".json") and os.stat(path).st_mtime < time.time() - _KEEP and self._look(name[:-len(".json")]).over:
                    os.unlink(path)
            except OSError:
                pass

    def _spawn(self, submission):
        receiver, sender = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            # Nothing of this branch may return into the program that submits.
            try:
                os.setsid()
                if os.fork() == 0:
                    _Supervisor(self, submission, sender).main()
            finally:
                os._exit(0)
        os.close(sender)
        os.waitpid(child, 0)
        with os.fdopen(receiver, "rb") as stream:
            said = stream.read().decode("utf-8", "replace")
        if _ID.match(said):
            return said
        raise base.Refused("the job could not be started: %s" % (base.words(said) or "its supervisor died"))


class _Supervisor:
    """The process that a job is known by. Runs in a session of its own, with nothing of the login open."""

    def __init__(self, scheduler, submission, sender):
        self.scheduler = scheduler
        self.submission = submission
        self.sender = sender
        self.cancelled = False
        self.state = None
        self.path = None
        self.scratch = None
        self.wakeup = None

    def main(self):
        try:
            self._prepare()
        except BaseException as error:
            os.write(self.sender, str(error).encode("utf-8", "replace")[:1000] or b"?")
            os._exit(1)
        os.write(self.sender, self.state["id"].encode("ascii"))
        os.close(self.sender)
        try:
            self._supervise()
        except BaseException as error:
            self._finish(base.EXIT_UNKNOWN, None, "its supervisor broke: %s" % error)
        finally:
            if self.scratch:
                shutil.rmtree(self.scratch, ignore_errors=True)
        os._exit(0)

    def _prepare(self):
        os.umask(0o077)
        os.chdir(os.path.expanduser("~"))
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        # Also what the login left open, such as the connection's pipes: ssh waits for them.
        for descriptor in _open_descriptors():
            if descriptor > 2 and descriptor != self.sender:
                try:
                    os.close(descriptor)
                except OSError:
                    pass
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        receiver, sender = os.pipe()
        for descriptor in (receiver, sender):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(sender)
        self.wakeup = receiver
        signal.signal(signal.SIGTERM, self._cancel)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        _adopt_orphans()
        pid, submission = os.getpid(), self.submission
        start = processes.start_time(pid)
        job_id = "local-%s-%d-%d" % (_host(), pid, start)
        self.path = self.scheduler._path(job_id)
        self.state = {
            "version": _VERSION, "id": job_id, "name": submission.name, "host": _host(), "boot": _boot(), "pid": pid, "start": start,
            "job_pid": None, "job_start": None, "state": base.HELD if submission.after_failure_of else base.QUEUED,
            "reason": "it waits for the end of %s" % submission.after_failure_of if submission.after_failure_of else None,
            "submitted": time.time(), "started": None, "ended": None, "walltime": submission.resources.walltime,
            "exit_kind": None, "exit_code": None, "cores": submission.resources.cores, "after": submission.after_failure_of,
        }
        # The file that a person reads when nothing else is left must be writable before the job is accepted.
        self.output = os.open(os.path.expanduser(submission.output), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        _write(self.path, self.state)

    def _cancel(self, number, frame):
        self.cancelled = True

    def _supervise(self):
        if self.state["after"] and not self._follow():
            return
        process = self._start()
        if process is None:
            return
        deadline = self.state["started"] + self.state["walltime"] if self.state["walltime"] else None
        kind, kill_at = None, None
        status = self._reap(process.pid)
        while status is None:
            now = time.time()
            if kind is None and self.cancelled:
                kind = base.CANCELLED
            elif kind is None and deadline is not None and now >= deadline:
                kind = base.TIME_LIMIT
            if kind is not None and kill_at is None:
                self._update(state=base.ENDING, reason="it is being cancelled" if kind == base.CANCELLED else "its walltime is up")
                _signal_group(process.pid, signal.SIGTERM)
                kill_at = now + GRACE
            elif kill_at is not None and now >= kill_at:
                _signal_group(process.pid, signal.SIGKILL)
                kill_at = now + GRACE
            self._wait(min(moment for moment in (deadline if kind is None else None, kill_at, now + 60) if moment is not None) - now)
            status = self._reap(process.pid)
        self._end_descendants(process.pid)
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
        if kind is None:
            kind = base.CLEAN if code == 0 else base.FAILED
        self._finish(kind, code, {base.CANCELLED: "cancelled", base.TIME_LIMIT: "its walltime was up"}.get(kind))

    def _follow(self):
        """Waits for the end of the job before; returns whether this one is to run."""
        while True:
            if self.cancelled:
                self._finish(base.CANCELLED, None, "cancelled before it began")
                return False
            job = self.scheduler._look(self.state["after"])
            if job.over and (job.exit_kind == base.CLEAN or job.started is None):
                self._finish(base.CANCELLED, None, "not needed: %s %s" % (
                    self.state["after"], "ended well" if job.exit_kind == base.CLEAN else "never ran"))
                return False
            if job.over:
                return True
            self._wait(_FOLLOW_INTERVAL)

    def _start(self):
        submission = self.submission
        self.scratch = tempfile.mkdtemp(prefix="jupyter-job-")
        nodefile = os.path.join(self.scratch, "nodefile")
        with open(nodefile, "w") as stream:
            stream.write("%s\n" % self.state["host"] * self.state["cores"])
        environment = dict(os.environ)
        for name, value in base.submit_environment().items():
            if value is None:
                environment.pop(name, None)
            else:
                environment[name] = value
        scratch = os.path.join(self.scratch, "tmp")
        os.mkdir(scratch, 0o700)
        environment.update(LOCAL_JOBID=self.state["id"], LOCAL_JOBNAME=submission.name, LOCAL_NODEFILE=nodefile, TMPDIR=scratch)
        try:
            process = subprocess.Popen(
                _interpreter(submission.script) + [submission.script], env=environment, start_new_session=True, close_fds=True,
                stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.output, preexec_fn=_default_signals)
        except (OSError, ValueError) as error:
            message = "%s cannot be run: %s" % (submission.script, error)
            os.write(self.output, (message + "\n").encode("utf-8", "replace"))
            self._update(started=time.time())
            self._finish(base.FAILED, 127, message)
            return None
        self._update(state=base.RUNNING, reason=None, started=time.time(), job_pid=process.pid, job_start=processes.start_time(process.pid))
        return process

    def _wait(self, seconds):
        """Sleeps until a signal comes or the time is up."""
        select.select([self.wakeup], [], [], max(0.0, seconds))
        try:
            while os.read(self.wakeup, 512):
                pass
        except BlockingIOError:
            pass

    def _reap(self, main):
        """Collects ended children; returns the status of ``main`` when it is among them, else None.

        Others are the job's orphans, which would stay zombies for as long as the job runs.
        """
        found = None
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return found
            if pid == 0:
                return found
            if pid == main:
                found = status

    def _end_descendants(self, group):
        """Ends what the job left behind, as a batch system does. Kernels have sessions of their own.

        A successor that the job submitted is not its child in that sense: supervisors are spared.
        """
        _signal_group(group, signal.SIGKILL)
        deadline = time.time() + GRACE
        while time.time() < deadline:
            children = [pid for pid in _children(os.getpid()) if not self._supervises(pid)]
            if not children:
                return
            for pid in children:
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
            self._wait(0.05)
            self._reap(None)

    def _supervises(self, pid):
        return os.path.exists(self.scheduler._path("local-%s-%d-%d" % (self.state["host"], pid, processes.start_time(pid))))

    def _update(self, **changes):
        self.state.update(changes)
        try:
            _write(self.path, self.state)
        except OSError:
            # A full disk must not end the job; the processes still tell what runs.
            pass

    def _finish(self, kind, code, reason):
        self._update(state=base.FINISHED, exit_kind=kind, exit_code=code, reason=reason, ended=time.time())


def _job(state):
    started, finished = state["started"], state["state"] == base.FINISHED
    ends = state["ended"] if finished else (started + state["walltime"] if started and state["walltime"] else None)
    return base.Job(
        state["id"], name=state["name"], state=state["state"], reason=state["reason"], nodes=[state["host"]] if started else [],
        submitted=_second(state["submitted"]), started=_second(started), ends=_second(ends), walltime=state["walltime"],
        exit_kind=state["exit_kind"] if finished else None, exit_code=state["exit_code"] if finished else None,
        cores_total=state["cores"])


def _second(moment):
    return None if moment is None else int(moment)


_NUMBER, _TEXT, _NONE = (int, float), (str,), (type(None),)
_SHAPE = {
    "id": _TEXT, "name": _TEXT + _NONE, "host": _TEXT, "boot": _TEXT, "pid": (int,), "start": (int,), "job_pid": (int,) + _NONE,
    "job_start": (int,) + _NONE, "state": _TEXT, "reason": _TEXT + _NONE, "submitted": _NUMBER, "started": _NUMBER + _NONE,
    "ended": _NUMBER + _NONE, "walltime": (int,) + _NONE, "exit_kind": _TEXT + _NONE, "exit_code": (int,) + _NONE, "cores": (int,),
}


def _sane(state, job_id):
    """Whether this is a state file of ours, of this job."""
    if not isinstance(state, dict) or state.get("id") != job_id or state.get("state") not in base.STATES:
        return False
    return all(name in state and isinstance(state[name], kinds) and not isinstance(state[name], bool)
               for name, kinds in _SHAPE.items()) and state["pid"] > 1 and (state["job_pid"] is None or state["job_pid"] > 1)


def _write(path, state):
    files.write_json(path, state)


def _host():
    return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()) or "localhost"


def _boot():
    """Something that changes when this host boots."""
    text = files.read_text("/proc/sys/kernel/random/boot_id")
    if text is None:
        text = processes.output(["sysctl", "-n", "kern.boottime"])
    return text.strip()


def _signal_group(pid, number):
    try:
        os.killpg(pid, number)
    except OSError:
        pass


def _open_descriptors():
    for directory in ("/proc/self/fd", "/dev/fd"):
        try:
            return [int(name) for name in os.listdir(directory)]
        except (OSError, ValueError):
            continue
    return list(range(3, 256))


def _adopt_orphans():
    """Makes children of the job that outlive it children of this process, where the system can."""
    try:
        import ctypes
        ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    except Exception:  # no Linux, or no ctypes: then only the job's own process group is ended
        pass


def _children(parent):
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
    return [pid for pid in pids for status in (processes.stat(pid),) if status and status[1] == parent]


def _default_signals():
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)


def _interpreter(script):
    """The interpreter of a script's first line; the script need not be executable."""
    with open(script, "rb") as stream:
        first = stream.readline(4096).decode("utf-8", "surrogateescape").strip()
    if not first.startswith("#!"):
        return ["/bin/sh"]
    words = first[2:].strip().split(None, 1)
    return words or ["/bin/sh"]
