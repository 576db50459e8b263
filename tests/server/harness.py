# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A keeper that runs as it does in a job, and a browser's way to its server."""

import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
import urllib.parse
import uuid

import websocket

MODULES = pathlib.Path(__file__).resolve().parents[2] / "plugins" / "module_utils"
sys.path.insert(0, str(MODULES.parent))

from module_utils import zip_application  # noqa: E402

PASSWORD = "correct horse battery"


def wait_for(look, what, patience=60.0):
    """Return the first true value of ``look()``; fail loudly when there is none in time."""
    limit = time.monotonic() + patience
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < limit, "waited %d s for %s" % (patience, what)
        time.sleep(0.02)


def keeper_application():
    """keeper.pyz, as setup makes it."""
    return zip_application.keeper({
        path.relative_to(MODULES).as_posix(): path.read_text(encoding="utf-8") for path in MODULES.glob("keeper/*.py")}).pack()


def sha1_hash(password):
    """The form of a password hash that every generation of the notebook knows."""
    salt = "0123456789ab"
    return "sha1:%s:%s" % (salt, hashlib.sha1((password + salt).encode()).hexdigest())


class KeptServer:
    """One session in a home of its own, its keeper running under a given Python.

    :param python: interpreter of the job.
    :param home: an empty directory.
    :param scratch: the job's TMPDIR.
    :param job: values of job.json; None for a job submitted by hand.
    """

    def __init__(self, python, home, scratch, job, site=None):
        self.python = str(python)
        self.home = pathlib.Path(home)
        self.scratch = pathlib.Path(scratch)
        self.config = self.home / ".jupyter"
        self.batch = self.config / "batch"
        self.directory = self.batch / "sessions" / "test"
        self.root = self.home / "notebooks"
        self.id = uuid.uuid4().hex
        self.process = None
        self.environment = {}
        self.root.mkdir(parents=True)
        self.directory.mkdir(parents=True, mode=0o700)
        (self.batch / "keeper.pyz").write_bytes(keeper_application())
        if site is not None:
            (self.batch / "site.json").write_text(json.dumps(site))
        self.launch = ""
        if job is not None:
            self.launch = hashlib.sha256(self.id.encode()).hexdigest()[:16]
            values = {"session": "test", "id": self.id, "root_dir": "~/notebooks"}
            values.update(job)
            (self.directory / "job.json").write_text(json.dumps(values))

    def start(self, **environment):
        """Start the keeper; it has its own process group, as a job has."""
        env = {"PATH": os.environ["PATH"], "HOME": str(self.home), "TMPDIR": str(self.scratch), "LANG": "C.UTF-8"}
        env.update(self.environment)
        env.update(environment)
        self.process = subprocess.Popen(
            [self.python, str(self.batch / "keeper.pyz"), "--batch-dir", str(self.batch), "--session", "test", "--launch", self.launch],
            env={key: value for key, value in env.items() if value is not None},
            stdin=subprocess.DEVNULL, stdout=open(self.home / "job.out", "ab"), stderr=subprocess.STDOUT, start_new_session=True)
        return self

    def state(self):
        """server.json, or {} while there is none."""
        try:
            return json.loads((self.directory / "server.json").read_text())
        except FileNotFoundError:
            return {}

    def log(self):
        """All that server.log and the job's own output hold."""
        return "".join(path.read_text(errors="replace") for path in (self.directory / "server.log", self.home / "job.out") if path.exists())

    def await_phase(self, *phases, patience=60.0):
        """Wait until server.json says one of these phases; returns it."""
        def look():
            found = self.state()
            if found.get("phase") in phases:
                return found
            assert found.get("phase") != "failed" and self.process.poll() is None, self.log() + json.dumps(found, indent=1)
            return None
        return wait_for(look, "phase " + " or ".join(phases), patience)

    def await_ready(self, **environment):
        self.start(**environment)
        return self.await_phase("ready")

    def await_exit(self, patience=60.0):
        """Wait for the keeper's end; returns its exit status."""
        return self.process.wait(patience)

    def control(self, order):
        """Leave an order for the keeper, as the login-node program does."""
        path = self.directory / "control.json"
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(order))
        # A file system with coarse times must not make the order look older than the job it is for.
        later = os.stat(self.directory / "job.json").st_mtime + 1
        os.utime(fresh, (later, later))
        fresh.rename(path)

    def kill(self):
        """End what is left of it; for the end of a test."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def token(self):
        """The keeper's token, from the only file that has it."""
        sections = json.loads((self.directory / "config" / "jupyter_server_config.json").read_text())
        for section in ("PasswordIdentityProvider", "ServerApp", "NotebookApp"):
            if sections.get(section, {}).get("token"):
                return sections[section]["token"]
        raise AssertionError("no token")

    def connect(self):
        """A connected stream to the endpoint, TLS done and the certificate checked."""
        endpoint = self.state()["endpoint"]
        if endpoint["kind"] == "socket":
            stream = socket.socket(socket.AF_UNIX)
            stream.settimeout(20)
            stream.connect(endpoint["path"])
            return stream
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        stream = context.wrap_socket(socket.create_connection((endpoint["address"], endpoint["port"]), 20))
        assert hashlib.sha256(stream.getpeercert(True)).hexdigest() == endpoint["fingerprint"]
        return stream

    def request(self, method, path, body=None, headers=None, token=True):
        """One request; returns (status, headers, body bytes)."""
        connection = http.client.HTTPConnection("127.0.0.1", timeout=20)
        connection.sock = self.connect()
        headers = dict(headers or {})
        if token:
            headers["Authorization"] = "token " + self.token()
        try:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            with contextlib.suppress(OSError, AttributeError):
                connection.sock.unwrap()  # the goodbye of TLS; old servers complain without
            connection.close()

    def json(self, method, path, body=None):
        """One request with our token that must succeed; returns its JSON (or None)."""
        status, _headers, data = self.request(method, path, None if body is None else json.dumps(body),
                                              {"Content-Type": "application/json"})
        assert status < 300, (status, data)
        return json.loads(data) if data else None

    def cookies_of_login(self, password):
        """Log in as a browser does; returns the Cookie header, or None when the password was refused."""
        jar = {}

        def exchange(method, **more):
            headers = dict(more.pop("headers", {}), Cookie="; ".join("%s=%s" % item for item in jar.items()))
            status, got, data = self.request(method, "/login", headers=headers, token=False, **more)
            for line in got.get_all("Set-Cookie") or []:
                name, _equals, value = line.partition(";")[0].partition("=")
                jar[name.strip()] = value.strip()
            return status, data
        exchange("GET")
        form = urllib.parse.urlencode({"password": password, "_xsrf": jar["_xsrf"]})
        status, _data = exchange("POST", body=form, headers={"Content-Type": "application/x-www-form-urlencoded"})
        return "; ".join("%s=%s" % item for item in jar.items()) if status == 302 else None

    @contextlib.contextmanager
    def channels(self, kernel):
        """The websocket of a kernel."""
        connection = websocket.create_connection(
            "ws://127.0.0.1/api/kernels/%s/channels" % kernel, socket=self.connect(), timeout=60,
            header=["Authorization: token " + self.token()], suppress_origin=True)
        try:
            yield connection
        finally:
            connection.close()

    def send(self, connection, code):
        """Ask the kernel behind a websocket to run code; returns the message id."""
        return self.ask_kernel(connection, "execute_request", {
            "code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False, "stop_on_error": True})

    def ask_kernel(self, connection, kind, content):
        """Send one message to the kernel's shell; returns its id."""
        number = uuid.uuid4().hex
        connection.send(json.dumps({
            "header": {"msg_id": number, "username": "test", "session": uuid.uuid4().hex, "msg_type": kind, "version": "5.2"},
            "parent_header": {}, "metadata": {}, "channel": "shell", "buffers": [], "content": content}))
        return number

    def await_output_channel(self, connection):
        """Old servers subscribe to a kernel's output without waiting for it: ask until something comes that way."""
        connection.settimeout(1)
        while True:
            self.ask_kernel(connection, "kernel_info_request", {})
            with contextlib.suppress(websocket.WebSocketTimeoutException):
                while json.loads(connection.recv())["channel"] != "iopub":
                    pass
                connection.settimeout(60)
                return

    def run(self, code, kernel=None):
        """Run code in a (new) kernel; returns what it printed."""
        kernel = kernel or self.json("POST", "/api/kernels", {})["id"]
        with self.channels(kernel) as connection:
            self.await_output_channel(connection)
            number, printed = self.send(connection, code), []
            while True:
                message = json.loads(connection.recv())
                if message["parent_header"].get("msg_id") != number:
                    continue
                if message["msg_type"] == "stream":
                    printed.append(message["content"]["text"])
                assert message["msg_type"] != "error", message["content"]
                if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                    return "".join(printed)

    def kernel_state(self, kernel):
        """What the server says of a kernel: "idle", "busy", ..."""
        return self.json("GET", "/api/kernels/" + kernel)["execution_state"]

    def processes(self):
        """Living processes of this session: {pid: (argv, environment)}; found by the home in their environment."""
        found = {}
        for directory in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                environment = (directory / "environ").read_bytes()
                argv = (directory / "cmdline").read_bytes()
            except OSError:
                continue
            if b"HOME=" + str(self.home).encode() + b"\0" in environment and argv:
                found[int(directory.name)] = (argv, environment)
        return found

    def modes(self):
        """Every file and directory that it made outside of what the test made: {path: mode}."""
        given = {self.directory / "job.json", self.directory / "control.json"}
        tops = [self.directory] + list(self.scratch.glob("jupyter-*"))
        paths = set(tops)
        for top in tops:
            paths.update(top.rglob("*"))
        return {path: stat.S_IMODE(os.lstat(path).st_mode) for path in paths - given if not path.is_symlink()}


def hashed_in_config(server, words):
    """Give the user's own configuration a password."""
    digest = sha1_hash(PASSWORD)
    settings = {"lab": {"PasswordIdentityProvider": {"hashed_password": digest}}, "classic": {"NotebookApp": {"password": digest}},
                "old": {"NotebookApp": {"password": digest}}}[words]
    name = "jupyter_server_config.json" if words == "lab" else "jupyter_notebook_config.json"
    (server.config / name).write_text(json.dumps(settings))
