# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Jupyter server: started, proven to be ours and closed to strangers, asked, ended."""
from __future__ import absolute_import, division, print_function

import binascii
import os
import signal
import subprocess
import sys

from . import endpoint, settings
from .client import Client
from .compat import http_client, monotonic, ssl, text_of
from .diagnosis import explain, told_to_end
from .endings import Failure
from .private_files import private_directory, write_json

ANSWER_STEP = 0.02  # seconds between two looks whether it answers yet
ORDER_STEP = 1.0  # seconds between two looks for an order while it starts
ATTEMPTS = 5  # to start it, each on a port of its own


class Server(object):
    """One session's server.

    :param program: path of the keeper, which is also its child's program.
    :param directory: that of the session.
    :param node_dir: the job's directory on the node's disk.
    :param job: dict of job.json.
    :param jupyter: what to serve.
    :param env: its environment.
    :ivar child: its process; None before the first start.
    """

    def __init__(self, program, directory, node_dir, job, jupyter, env, log, status, signals):
        self.program = program
        self.directory = directory
        self.config = os.path.join(directory, "config")
        self.node_dir = node_dir
        self.job = job
        self.jupyter = jupyter
        self.env = env
        self.log = log
        self.status = status
        self.signals = signals
        self.child = None
        self.client = None

    # -- its start

    def start(self, look_for_orders):
        """Start Jupyter and wait until it answers; a lost race for the port is run again.

        :param look_for_orders: called now and then meanwhile; it may raise Ended.
        :raises Failure: with the cause.
        """
        for attempt in range(ATTEMPTS):
            place, certificate = endpoint.choose(self.job, self.jupyter, self.node_dir)
            self._write_config(place, certificate)
            self.status.publish(phase="starting", endpoint=place, flavour=self.jupyter.flavour, version_jupyter=self.jupyter.version)
            self.log.mark()
            self.log.say("starting %s (%s %s) for session %s, job %s" % (
                self.jupyter.module, self.jupyter.flavour, self.jupyter.version, self.status["session"], self.status["job"]))
            self._spawn()
            try:
                self._await_answer(place, look_for_orders)
                return
            except Failure as failure:
                self.end(0)
                if failure.cause != "port-taken" or attempt == ATTEMPTS - 1:
                    raise
                self.log.say("port %s was taken; trying another" % place.get("port"))

    def _write_config(self, place, certificate):
        """Write the session's settings, with a new token, and make the client that knows it."""
        token = text_of(binascii.hexlify(os.urandom(24)))
        users = settings.user_config_dir(self.job)
        files = settings.server_settings(
            self.jupyter, place, self.job, token, self.job["id"], settings.cookie_secret(self.directory, self.job["id"], users),
            certificate, settings.users_tornado_settings(users, settings.application(self.jupyter.flavour)), settings.shimmed_words(users))
        private_directory(self.config)
        for name, sections in files.items():
            write_json(os.path.join(self.config, name), sections)
        self.client = Client(place, token, self.job["base_url"])

    def _spawn(self):
        """Start the child: a process group of its own, its output in server.log, nothing secret in its arguments."""
        argv = [sys.executable, self.program, "--serve", self.jupyter.module, self.config]
        null = os.open(os.devnull, os.O_RDONLY)
        try:
            self.child = subprocess.Popen(argv, stdin=null, stdout=self.log.handle, stderr=self.log.handle, cwd=self.job["start_dir"],
                                          env=self.env, preexec_fn=os.setsid, close_fds=True)
        finally:
            os.close(null)
        self.status.publish(pid=self.child.pid)

    def _await_answer(self, place, look_for_orders):
        """Return once the server answers as ours and refuses strangers.

        :raises Failure: it died, or did not answer within ``start_timeout``, or let a stranger in.
        """
        limit = monotonic() + float(self.job["start_timeout"])
        next_look = monotonic()
        while True:
            if self.child.poll() is not None:
                raise Failure(*explain(self.log.text(), self.child.returncode))
            if self._answers(place) and self._refuses_strangers():
                return
            if monotonic() >= next_look:
                look_for_orders()
                next_look = monotonic() + ORDER_STEP
            if monotonic() > limit:
                cause, reason = explain(self.log.text(), None)
                raise Failure(cause, reason if cause != "unknown" else
                              "The server did not answer within %d seconds (start_timeout). The node or the file system may be slow, or the "
                              "end of its log may tell more." % self.job["start_timeout"])
            self.signals.wait(ANSWER_STEP)

    def _refuses_strangers(self):
        """Whether the server keeps its doors shut; False while it does not say.

        :raises Failure: it lets anybody in.
        """
        # One request is not enough to judge by: some pages are meant for strangers.
        for path in ("api/contents", "api/kernels"):
            try:
                status = self._stranger(path)[0]
            except (IOError, OSError, http_client.HTTPException):
                return False  # busy with its first steps: it loads its extensions, or looks through a slow file system
            if status == 200:
                raise Failure("open-server", "The server would let anybody in without a password: it answered a stranger at /%s. It was stopped. Look "
                                             "at the settings in your ~/.jupyter that switch authentication off." % path)
        return True

    def _stranger(self, path):
        """What the server answers to somebody without token."""
        return self.signals.break_off(self.client.request, "GET", path, known=False)

    def _answers(self, place):
        """Whether something that is our server answers /api.

        :raises Failure: something else does.
        """
        if place["kind"] == "socket" and not os.path.exists(place["path"]):
            return False
        try:
            status, headers, dummy = self._stranger("api")
        except (IOError, OSError, http_client.HTTPException) as error:
            if ssl is not None and isinstance(error, ssl.SSLError) and "another certificate" in str(error):
                raise Failure("port-taken", "Somebody else's server answers on the port that was chosen. Launch again.")
            return False
        if status == 200 and headers.get("x-jupyter-session") == self.job["id"]:
            return True
        if status >= 500:
            return False
        if status == 200:
            raise Failure("port-taken" if place["kind"] == "tls" else "config-error",
                          "A server answers, but not as this session (it lacks our header). A jupyter_server_config.* in %s may replace "
                          "tornado_settings: move it to ~/.jupyter." % self.job["start_dir"])
        return False

    # -- while it runs

    def ask(self, path):
        """JSON of our own server.

        :raises Ended: a signal broke it off.
        :raises OSError, http_client.HTTPException, ValueError: no answer, or another one.
        """
        return self.signals.break_off(self.client.get, path)

    # -- its end

    def end(self, grace, ask=True):
        """End the server: by its own request first (``ask``), then by signals; ``grace`` in seconds for all of it."""
        if self.child is None:
            return
        until = monotonic() + grace
        if self.child.poll() is None and grace > 0 and ask:
            try:
                self.client.request("POST", "api/shutdown", timeout=min(2.0, grace))
                self.signals.await_child(until - grace / 3.0, self.child)
            except (IOError, OSError, http_client.HTTPException, ValueError):
                pass
        heard = False
        if self.signals.terminated and grace > 0:
            # Most schedulers signal all processes of the job. A second SIGTERM would hit a server in the middle of its own end.
            self.signals.await_child(min(until, monotonic() + 0.3), self.child)
            heard = told_to_end(self.log.text())
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.child.poll() is not None:
                break
            if heard and number == signal.SIGTERM:
                self.signals.await_child(until, self.child)
                continue
            try:
                os.killpg(self.child.pid, number)
            except OSError:
                pass
            self.signals.await_child(until if number == signal.SIGTERM else monotonic() + 10.0, self.child)
        self.status.state["exit"] = self.child.returncode
