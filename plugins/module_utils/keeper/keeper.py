# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One session's server on this node, from its start to its end: what happens when."""
from __future__ import absolute_import, division, print_function

import errno
import json
import os
import shutil
import signal
import time
import traceback

from . import claim, endpoint
from .activity import Activity
from .allocation import job_id
from .compat import http_client, monotonic
from .control import Control
from .diagnosis import explain, told_to_end
from .endings import Ended, Failure, Refused
from .environment import environment
from .job import load
from .jupyter import find_jupyter
from .log import Log
from .node_directory import node_directory
from .notices import Notices
from .private_files import private_directory
from .processes import age, ask_command, become_subreaper, descendants
from .renewals import Renewals
from .reverse import Reverse
from .server import Server
from .settings import directories
from .signals import Signals
from .status import Status
from .text import moment, printable
from .walltime import Countdown, time_left, time_of_end

TICK = 1.0  # seconds between two looks at control.json
RECORD_TICK = 15.0  # seconds between two looks whether the session is still ours
LONGEST_PATH = "/r/kernel-01234567-89ab-cdef-0123-456789abcdef-ipc-9"  # a kernel's socket, in the node directory


class Keeper(object):
    """The process of the job.

    :param program: path of keeper.pyz, or whatever runs it.
    :param batch_dir: absolute, where the sessions are.
    :param site_dir: absolute, where site.json and program.pyz are.
    :param session: its name.
    :param launch: the mark of the launch that submitted this job; "" by hand.
    """

    def __init__(self, program, batch_dir, site_dir, session, launch):
        self.program = program
        self.launch = launch
        self.batch_dir = batch_dir
        self.site_dir = site_dir
        self.session = session
        self.directory = os.path.join(batch_dir, "sessions", session)
        self.signals = Signals()
        self.log = Log()
        self.status = Status(self.path("server.json"), session, self.log.say)
        self.server = None
        self.renewals = Renewals(batch_dir, site_dir, self.directory, session, self.log, self.signals)
        self.reverse = None
        self.notices = None
        self.node_dir = None
        self.served = False  # whether there is, or was till now, a server that answered

    def path(self, *names):
        """A path inside the session directory."""
        return os.path.join(self.directory, *names)

    # -- before the server

    def claim(self):
        """Make sure that the session is ours to serve; returns the id that a job by hand was given, or None.

        :raises Refused: it is not.
        :raises Ended: a signal came first.
        """
        if self.launch:
            return claim.launched(self.directory, self.launch, self.signals.wait)
        return claim.by_hand(self.batch_dir, self.site_dir, self.directory, self.session)

    def load(self, session_id):
        """Read site.json and job.json, and prepare what is known from them."""
        private_directory(self.directory)
        self.job, site = load(self.site_dir, self.directory, not self.launch, session_id)
        self.control = Control(self.directory, not self.launch)
        used, now = age(), time.time()
        ends, left = time_of_end(os.environ, self.job["walltime"], now, used)
        if left is None:
            qstat = (site.get("commands") or {}).get("qstat")
            left = time_left(os.environ, ask_command, used, qstat if qstat and os.path.exists(qstat) else "qstat")
            ends = None if left is None else int(now + left)
        self.countdown = Countdown(left, self.job["walltime_warnings"] or [], float(self.job["stop_grace"]))
        self.status.state.update(id=self.job["id"], job=job_id(), base_url=self.job["base_url"], ends=ends)
        self.renewals.count = self.job["renewals"]

    def prepare(self, session_id):
        """Everything up to the server's start.

        :raises Failure, OSError: there can be none.
        """
        self.load(session_id)
        self.node_dir = node_directory([os.path.realpath(path) for path in (os.path.expanduser("~"), self.batch_dir)], len(LONGEST_PATH))
        os.mkdir(os.path.join(self.node_dir, "r"), 0o700)
        self.log.open(self.path("server.log"), os.path.join(self.node_dir, "server.log"))
        self.status.publish()
        if self.job["root_dir"] and not os.path.isdir(self.job["root_dir"]):
            raise Failure("bad-option", "The directory %s (jupyter_root_dir) does not exist on this node." % self.job["root_dir"])
        jupyter = find_jupyter(self.job["interface"])
        self.job["start_dir"], self.job["root_dir"] = directories(self.job, jupyter.flavour)
        self.notices = Notices(self.session, self.job["start_dir"], self.log.say)
        self.notices.remove_old()
        if not os.environ.get("LOCAL_JOBID"):
            # There a successor would be a process below us and end with us, so the login node sees to it.
            self.renewals.adopt(self.status["job"])
        env = environment(self.job, self.path("config"), self.node_dir)
        self.server = Server(self.program, self.directory, self.node_dir, self.job, jupyter, env, self.log, self.status, self.signals)

    def start(self):
        """Start the server and say that it is ready."""
        self.server.start(lambda: self.look_at_control(stop_only=True))
        self.activity = Activity()
        self.status.publish(phase="ready")
        self.served = True
        self.log.say("ready")

    # -- while it runs

    def watch(self):
        """Run until the server ends or somebody wants it to; always raises Ended or Failure."""
        # A tenth of the limit, so that an end comes late by no more than that; a minute is soon enough for anybody.
        interval = min(60.0, max(0.5, float(self.job["idle_timeout"] or 600) / 10.0))
        next_look = monotonic() + interval
        next_record = monotonic() + RECORD_TICK
        while True:
            self.signals.wait(TICK)
            self.reap()
            if monotonic() >= next_record:
                self.look_at_record()
                next_record = monotonic() + RECORD_TICK
            if self.server.child.poll() is not None:
                self.judge_end()
            self.look_at_control()
            self.look_at_reverse()
            self.look_at_walltime()
            if monotonic() >= next_look:
                self.look_at_activity()
                self.log.bound()
                self.status.publish_again()
                next_look = monotonic() + interval

    def look_at_record(self):
        """End when the session has a later job: the scheduler had lost sight of this node, and does not always clear up once it is back."""
        if self.is_superseded():
            raise Ended("superseded", "The session goes on in another job; this one, of which the scheduler had lost sight, ends.", 1)
        self.status.insist()

    def is_superseded(self):
        """Whether the session has gone on without us; then server.json, the settings and the successor are the other job's, and left alone."""
        if self.status["id"] and claim.superseded(self.directory, self.status["id"], self.status["job"]):
            self.status.withdrawn = True
        return self.status.withdrawn

    def judge_end(self):
        """The server is gone and we did not ask: by whose will?"""
        # Nobody is to be sent there while we find out.
        self.status.publish(phase="stopping")
        # The scheduler signals every process of the job, and the server may be quicker to end than we are to hear of it.
        until = monotonic() + 1.0
        while monotonic() < until:
            self.signals.wait(until - monotonic())
        status = self.server.child.returncode
        log = self.log.text()
        if status == -signal.SIGTERM or told_to_end(log):
            raise Ended("signal", "The server was told to end from outside (SIGTERM).", 143)
        if status == 0:
            raise Ended("shutdown", "The server was shut down from the browser.", 0)
        raise Failure(*explain(log, status))

    def look_at_control(self, stop_only=False):
        """Obey control.json when it is new."""
        order = self.control.order(stop_only)
        if order is None:
            return
        if order.get("stop"):
            raise Ended("stop", "The session was stopped.", 0)
        if order.get("endpoint") or order.get("listen"):
            refusal = self.move(order)
            self.status.publish(control={"order": order, "refused": refusal})
        if "reverse" in order:
            self.hold_reverse(order["reverse"])

    def move(self, order):
        """Serve on another endpoint: the server starts again there, which its kernels would not survive.

        :returns: why not, or None.
        """
        wanted = dict((key, order[key]) for key in ("endpoint", "listen") if order.get(key))
        if all(self.job[key] == value for key, value in wanted.items()):
            return None
        try:
            kernels = self.server.ask("api/kernels")
        except (IOError, OSError, http_client.HTTPException, ValueError) as error:
            kernels = ["?"]
            self.log.say("the server did not say what runs in it: %s" % error)
        if kernels and not order.get("force"):
            return "%d kernel(s) run in the server and would be lost. Shut them down, or stop the session and launch it again." % len(kernels)
        try:
            endpoint.choose(dict(self.job, **wanted), self.server.jupyter, self.node_dir)
        except Failure as failure:
            return failure.reason
        self.job.update(wanted)
        self.log.say("moving to another endpoint: %s" % json.dumps(wanted, sort_keys=True))
        self.status.publish(phase="starting")
        self.served = False
        self.server.end(float(self.job["stop_grace"]))
        self.start()
        if self.reverse:
            self.hold_reverse(self.reverse.order)
        return None

    def hold_reverse(self, order):
        """Begin the way back to the login node, change it, or (None) give it up."""
        if self.reverse:
            self.reverse.close()
            self.reverse = None
        state = None
        if order:
            try:
                self.reverse = Reverse(order, self.status["endpoint"])
                state = self.reverse.state
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                state = {"state": "failed", "message": printable(str(error))}
        self.status.publish(reverse=state)

    def look_at_reverse(self):
        """Keep the way back alive."""
        if self.reverse and self.reverse.look():
            self.log.say("reverse: %(state)s %(message)s" % self.reverse.state)
            self.status.publish(reverse=self.reverse.state)

    def look_at_activity(self):
        """End the job when nothing has worked for ``idle_timeout``. A look that fails proves nothing."""
        timeout = float(self.job["idle_timeout"] or 0)
        if timeout <= 0:
            return
        try:
            kernels = self.server.ask("api/kernels")
            try:
                terminals = self.server.ask("api/terminals")
            except ValueError:  # terminals are switched off
                terminals = []
            idle = self.activity.look(kernels, terminals, descendants(os.getpid()), self.server.child.pid)
        except (IOError, OSError, http_client.HTTPException, ValueError, AttributeError, TypeError) as error:
            self.log.say("could not see what the server does: %s" % error)
            return
        if idle >= timeout:
            raise Ended("idle", "No kernel and no terminal did anything for %s (jupyter_idle_timeout)." % moment(timeout), 0)

    def look_at_walltime(self):
        """Warn before the end of the job, each time that was asked for, and end in good time."""
        left = self.countdown.due()
        if left is not None:
            self.warn(left)
        if self.countdown.over():
            raise Ended("walltime", "The job reached its walltime.", 143)

    def warn(self, left):
        """Say wherever the person may look that so many seconds are left."""
        ends = time.time() + left
        message = "The job of this Jupyter session (%s%s) ends at %s, in %s. %s" % (
            self.session, ", job %s" % self.status["job"] if self.status["job"] else "", time.strftime("%H:%M", time.localtime(ends)), moment(left),
            "Save your work; a new job then takes over, with new kernels." if self.renewals.follows() else
            "Save your work; its kernels end with it.")
        self.log.say(message)
        self.status.publish(warning={"ends": self.status["ends"], "message": message})
        self.notices.show(message, self.status["ends"] or ends, self.job["walltime_notice"] or [], self.server.child.pid)

    def reap(self):
        """Bury orphans that ended as our children; those that we started are left to ``poll``."""
        if not self.signals.child_ended:
            return
        self.signals.child_ended = False
        own = [child.pid for child in (self.server and self.server.child, self.renewals.adopting, self.reverse and self.reverse.child) if child]
        for process in descendants(os.getpid()):
            if process.parent == os.getpid() and process.state == "Z" and process.pid not in own:
                try:
                    os.waitpid(process.pid, os.WNOHANG)
                except OSError:
                    pass
        if self.renewals.adopting and self.renewals.adopting.poll() is not None:
            self.renewals.adopting = None

    # -- its end

    def end(self, ended):
        """The end that somebody wanted: server, successor, and what others read of it."""
        self.log.say(ended.reason)
        superseded = self.is_superseded()
        self.status.publish(phase="stopping", reason=ended.reason, cause=ended.cause)
        if ended.status == 0 and not superseded:
            self.renewals.drop()
        grace, in_order = float(self.job["stop_grace"]), True
        if ended.cause == "walltime":
            grace = self.countdown.grace
        elif ended.status != 0:
            # After the scheduler's SIGTERM a SIGKILL follows, at some sites 5 seconds later: then server.json must be done.
            grace, in_order = min(4.0, grace), False
        if self.server:
            self.server.end(grace, ask=in_order)
        self.end_orphans()
        self.status.publish(phase="ended")

    def fail(self, failure):
        """Tell the failure, with the end of the log, and end what is left of the server."""
        self.log.say("%s: %s" % (failure.cause, failure.reason))
        tail = self.log.tail()
        if not self.is_superseded() and not self.served:
            self.renewals.drop()  # it would fail in the same way
        if self.server:
            self.server.end(0)
        self.end_orphans()
        self.status.publish(phase="failed", cause=failure.cause, reason=failure.reason, log_tail=tail)

    def end_orphans(self):
        """End what the server left: kernels that compute on, programs that a terminal put into the background."""
        if self.reverse:
            self.reverse.close()
        for number, patience in ((signal.SIGTERM, 1.0), (signal.SIGKILL, 1.0)):
            until = monotonic() + patience
            orphans = descendants(os.getpid())
            for process in orphans:
                try:
                    os.kill(process.pid, number)
                except OSError:
                    pass
            while orphans and monotonic() < until:
                self.signals.child_ended = True
                self.reap()
                orphans = descendants(os.getpid())
                if orphans:
                    self.signals.pause(0.05)

    def clean_up(self):
        """Remove what only lived for this job."""
        if self.notices:
            self.notices.remove()
        for directory in (self.node_dir, None if self.status.withdrawn else self.path("config")):
            if directory:
                shutil.rmtree(directory, ignore_errors=True)

    def run(self):
        """The whole life. Returns the exit status of the job."""
        os.umask(0o077)
        self.signals.catch()
        become_subreaper()
        status = 1
        try:
            session_id = self.claim()
        except Refused as refused:
            self.log.say(refused.args[0])
            return status
        except Ended as ended:
            return ended.status
        try:
            self.prepare(session_id)
            self.start()
            self.watch()
        except Ended as ended:
            status = ended.status
            self.end(ended)
        except Failure as failure:
            self.fail(failure)
        except (IOError, OSError) as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            self.fail(Failure("disk-full" if full else "config-error",
                              ("The disk is full or your quota is used up (%s). Make room and launch again." if full else
                               "A file of the session can't be used: %s.") % printable(str(error))))
        except Exception as error:  # whatever it is, the person hears of it at once, and not after the walltime
            self.log.say(traceback.format_exc())
            self.fail(Failure("internal", "The keeper of the job broke: %s: %s. That is an error of hpc.jupyter; the session's log has more."
                              % (type(error).__name__, printable(str(error)))))
        finally:
            self.clean_up()
        return status
