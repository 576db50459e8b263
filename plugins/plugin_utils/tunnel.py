# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The laptop's one ssh that holds a session's route.

Interface:
    Tunnel(connection, session, state=None, ca=None)
        .choose_port(target, wanted=None)   (port, note): the port this session had before, if it can be had
        .open(route, target, wanted=None)   Opened; idempotent, replaces a hung one; raises TunnelError
        .found(route, target, wanted=None)  Opened if that very tunnel is open and works, else None
        .verify(target)                     http_probe.Answer through the local port
        .status()                           dict for `status`, no network
        .close()                            bool, whether there was something to close
        .open(..., keep=True)               also starts a process that opens it again (tunnel_keeper.py) until the session ends
        .emitted(argv)                      remembers the command that a person was given
A tunnel is found again by its control socket. It never asks anything: where ssh would have to, TunnelError says what to type.
Where the login asks for a one-time password and a master was opened by hand, the tunnel is a forward of that master, and
what holds it is a session on it: its process is known by its command line then.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from ansible_collections.hpc.jupyter.plugins.module_utils import http_probe, ssh_errors
from ansible_collections.hpc.jupyter.plugins.module_utils.files import printable
from ansible_collections.hpc.jupyter.plugins.plugin_utils import laptop, routes
from ansible_collections.hpc.jupyter.plugins.plugin_utils.routes import Target
from ansible_collections.hpc.jupyter.plugins.plugin_utils.ssh_command import Connection, alone, as_posix

# Seconds.
LOGIN_PATIENCE = 20.0
ANSWER_PATIENCE = 40.0
CHECK_PATIENCE = 3.0
PROBE_PATIENCE = 5.0
# A login and an answer, of whoever else is at it.
LOCK_PATIENCE = LOGIN_PATIENCE + ANSWER_PATIENCE + 2 * PROBE_PATIENCE
STEP = 0.02


class TunnelError(Exception):
    """The tunnel can't be opened.

    :param cause: ssh_errors' causes, and "over", "not-running", "node", "hung", "wrong-server", "silent", "port", "busy".
    :param message: what happened and what to type next.
    """

    def __init__(self, cause: str, message: str):
        super().__init__(message)
        self.cause = cause
        self.message = message


@dataclasses.dataclass(frozen=True)
class Opened:
    """A tunnel that was verified.

    :param changed: False if it was there already.
    :param notes: what the person should know (another port than last time, a hung tunnel replaced).
    """

    route: str
    port: int
    url: str
    command: str
    pid: int
    changed: bool
    notes: tuple[str, ...] = ()


class Tunnel:
    """The tunnel of one session at one site from this laptop.

    :param connection: how the laptop's ssh reaches the login node.
    :param session: the session's name.
    :param state: the laptop's state; the user's own by default.
    :param ca: path of the user's certificate authority, to verify a TLS endpoint with.
    """

    def __init__(self, connection: Connection, session: str, state: laptop.State | None = None, ca: str | None = None):
        self.connection = connection
        self.session = session
        self.state = state or laptop.State()
        self.ca = ca if ca and os.path.exists(ca) else None
        self.key = laptop.key(connection.site, session)
        self.queue_patience = ANSWER_PATIENCE
        self._begun: tuple[subprocess.Popen, list[str], int] | None = None

    @classmethod
    def from_state(cls, state: laptop.State, key: str) -> Tunnel:
        """Build the tunnel that a state's file describes, for its keeper.

        :raises KeyError: when that was never kept.
        """
        kept = state.load(key)["kept"]
        options = tuple((letter, value) for letter, value in kept["connection"].pop("options"))
        masters = tuple(kept["connection"].pop("masters", ()))
        return cls(Connection(options=options, masters=masters, **kept["connection"]), kept["session"], state, kept["ca"])

    def kept_target(self) -> Target:
        """Return the server that the tunnel's keeper knows of."""
        return Target(**self.state.load(self.key)["kept"]["target"])

    # -- looking ---------------------------------------------------------------------------

    def verify(self, target: Target, port: int | None = None, timeout: float = PROBE_PATIENCE) -> http_probe.Answer:
        """Ask through the local port whether it is this session's server."""
        port = port or self.state.load(self.key).get("port")
        if not port:
            return http_probe.Answer("nothing", "no tunnel was ever opened")
        return http_probe.ask(
            ("127.0.0.1", port),
            target.id,
            target.base_url,
            tls=target.kind == "tls",
            fingerprint=target.fingerprint,
            cafile=self.ca,
            timeout=timeout,
        )

    def _browser_warns(self, target: Target, port: int) -> list[str]:
        """Return what to tell of a certificate that this laptop's browsers will not trust."""
        if target.kind != "tls" or not self.ca:
            return []
        answer = http_probe.ask(("127.0.0.1", port), target.id, target.base_url, tls=True, cafile=self.ca, timeout=PROBE_PATIENCE)
        if answer.kind != "untrusted":
            return []
        return ["browsers here will warn of its certificate, which another laptop's authority signed: copy "
                f"{os.path.dirname(self.ca)} from that laptop and run 'ansible-playbook hpc.jupyter.trust', or run setup from here"]

    def _control(self, command: str, control: str, *more: str) -> bool:
        """Send a command to the tunnel's master; False for one that is gone or hangs, or refuses."""
        argv = [self.connection.executable, "-F", "none", "-S", control.replace("%", "%%"), "-O", command, *more, "--", "tunnel"]
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=CHECK_PATIENCE, check=False)
        except subprocess.TimeoutExpired:
            return False
        except OSError as error:
            raise TunnelError("no-ssh", f"{self.connection.executable} can't be run: {error.strerror}.") from error
        return done.returncode == 0

    def is_up(self) -> bool:
        """Return whether the tunnel's ssh runs and answers on its control socket (not: whether the far end does)."""
        shared = self._shared()
        if shared:
            return self._holder() is not None and self._control("check", shared["master"])
        control = self.state.socket_path(self.key)
        return os.path.exists(control) and self._control("check", control)

    def _shared(self) -> dict | None:
        """Return what is known of a forward through a master that a person opened: master, spec, pid; None if there is none."""
        return self.state.load(self.key).get("shared")

    def _holder(self) -> int | None:
        """Return the process that holds a shared tunnel open, None when it is gone."""
        shared = self._shared()
        # The number may be somebody else's by now.
        return shared["pid"] if shared and shared["master"] in _command_line(shared["pid"]) else None

    def _is_there(self) -> bool:
        return self._shared() is not None or os.path.exists(self.state.socket_path(self.key))

    def status(self) -> dict:
        """Return what is known without any network: up, port, url, route, pid."""
        known = self.state.load(self.key)
        up = self.is_up()
        return {
            "up": up,
            "port": known.get("port"),
            "url": known.get("url"),
            "route": known.get("route"),
            "pid": known.get("pid") if up else None,
            "kept": self.keeper_pid() is not None,
        }

    def choose_port(self, target: Target | None = None, wanted: int | None = None) -> tuple[int, str | None]:
        """Return the local port for this session and a note if it is not the one to be expected.

        A port that is taken because this session's own tunnel holds it, maybe in a person's terminal, stays.

        :raises TunnelError: when no port is free.
        """
        known = self.state.load(self.key).get("port")
        for port in dict.fromkeys((wanted, known)):
            if not port:
                continue
            if laptop.port_is_free(port):
                return self._remember_port(port), None
            if target is not None and self.verify(target, port, timeout=2.0).kind == "ours":
                return self._remember_port(port), None
            if self._take_back(port):
                return self._remember_port(port), None
            break
        preferred = wanted or known
        try:
            port = laptop.choose_port(preferred, self.state.ports_of_others(self.key))
        except laptop.NoPort as error:
            raise TunnelError("port", str(error)) from error
        note = f"local port {preferred} is in use by another program; this session now has {port}" if preferred else None
        return self._remember_port(port), note

    def held_port(self, target: Target) -> int | None:
        """Return the local port at which the session's server answers already, by a tunnel of ours or in a person's terminal; else None."""
        port = self.state.load(self.key).get("port")
        if not port or laptop.port_is_free(port) or self.verify(target, port, timeout=2.0).kind != "ours":
            return None
        return port

    def drop_useless(self, route: str, target: Target) -> str | None:
        """Close an open tunnel of ours that does not lead to the server: it would keep its port from the one that is to come.

        :returns: what was wrong with it; None when nothing was closed. One that is kept open is its keeper's to replace.
        """
        if self.keeper_pid() is not None:
            return None
        with self._locked():
            if not self._is_there():
                return None
            wrong = self._wrong(route, target, None, self.state.load(self.key))
            if wrong is None:
                return None
            self._close()
            return wrong or "it led elsewhere"

    def expected_port(self, wanted: int | None = None) -> int:
        """Return the local port that ``choose_port`` would most likely give, with nothing remembered."""
        return wanted or self.state.load(self.key).get("port") or laptop.FIRST_PORT

    def emitted(self, argv: list[str]) -> None:
        """Remember the forward of a command that a person was given, if it goes through a shared master."""
        if self.connection.master and "-L" in argv:
            self.state.save(self.key, dict(self.state.load(self.key), emitted=argv[argv.index("-L") + 1]))

    def _take_back(self, port: int) -> bool:
        """Free a port that a shared master still holds from a command that a person ended: only the session on it ended."""
        spec = self.state.load(self.key).get("emitted", "")
        if not self.connection.master or f":{port}:" not in spec:
            return False
        self._control("cancel", self.connection.master, "-L", spec)
        return laptop.port_is_free(port)

    def _remember_port(self, port: int) -> int:
        known = self.state.load(self.key)
        if known.get("port") != port:
            self.state.save(self.key, dict(known, port=port, site=self.connection.site, session=self.session))
        return port

    # -- opening ---------------------------------------------------------------------------

    def command(self, route: str, target: Target, port: int) -> list[str]:
        """Return the command that a person would type for this tunnel."""
        return routes.plan(route, self.connection, target, port, self.state.id)

    def open(
        self, route: str, target: Target, wanted: int | None = None, keep: bool = False, exact: bool = False
    ) -> Opened:
        """Open the tunnel and verify it, or find that it is open.

        :param wanted: the local port asked for.
        :param keep: also have it kept open until the session ends.
        :param exact: wait for the port of last time rather than take another.
        :raises TunnelError: with ssh's own last words and what to type next; nothing is left running.
        :raises routes.RouteError: when the route does not fit the endpoint.
        """
        opened = self._open(route, target, wanted, exact)
        if keep and route != "none":
            self._keep(target)
        return opened

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the tunnel's lock once the session is ready: who else opens it then is soon done.

        :raises TunnelError: when that is not so.
        """
        try:
            with self.state.locked(self.key, LOCK_PATIENCE):
                yield
        except laptop.Busy:
            keeper = self.keeper_pid()
            raise TunnelError(
                "busy",
                f"Another process of yours has been opening the tunnel to session '{self.session}' for {LOCK_PATIENCE:g} s and is not done. "
                + (f"It is the one that jupyter_tunnel: keep left (process {keeper}); {self.state.keeper_log(self.key)} tells what it does, "
                   f"'kill {keeper}' ends it. " if keeper else "")) from None

    def _open(self, route: str, target: Target, wanted: int | None, exact: bool) -> Opened:
        with self._locked():
            notes: list[str] = []
            known = self.state.load(self.key)
            if route == "none":
                return self._none(target)
            if not self.begun_port and self._is_there():
                wrong = self._wrong(route, target, wanted, known)
                if wrong is None:
                    return self._opened(dict(known, id=target.id), target, changed=False)
                if wrong:
                    notes.append(f"the tunnel that was open did not work any more ({wrong}); it was replaced")
                self._close()
            if exact and known.get("port") and not laptop.port_is_free(known["port"]):
                if self.verify(target).kind != "ours":
                    raise TunnelError("port", f"Local port {known['port']} is in use by another program.")
            if self.begun_port:
                port = self.begun_port
            else:
                port, note = self.choose_port(target, wanted)
                if note:
                    notes.append(note)
                elif not laptop.port_is_free(port):
                    return self._foreign(route, target, port)
            argv = self.command(route, target, port)
            begun = self._take_begun(argv)
            # A jump has an ssh of its own behind the shared one.
            shared = {"master": self.connection.master, "spec": argv[argv.index("-L") + 1]} if self.connection.master and route != "jump" else None
            process = begun or self._start(argv, route)
            try:
                self._await_up(process, route, target, shared)
                self._await_answer(process, route, target, port)
            except BaseException:
                if shared:
                    self._control("cancel", shared["master"], "-L", shared["spec"])
                self._kill(process.pid)
                process.wait()
                raise
            known = {
                **{name: known[name] for name in ("keep", "kept") if name in known},
                "version": 1, "site": self.connection.site, "session": self.session, "id": target.id, "port": port,
                "route": route, "pid": process.pid, "argv": argv, "started": time.time(),
                "url": routes.url(route, target, port),
                "shared": dict(shared, pid=process.pid) if shared else None,
            }
            self.state.save(self.key, known)
            return self._opened(known, target, changed=True, notes=(*notes, *self._browser_warns(target, port)))

    def found(self, route: str | None, target: Target, wanted: int | None = None, keep: bool = False) -> Opened | None:
        """Return the tunnel that is open if it is just what is asked for and the session's server answers through it at once; else None.

        :param route: None for any.
        """
        try:
            # A keeper at work on it may be waiting for a job that is queued.
            with self.state.locked(self.key, patience=0):
                known = self.state.load(self.key)
                if not self._is_there() or self._wrong(route or known.get("route"), target, wanted, known, patience=0) is not None:
                    return None
                opened = self._opened(known, target, changed=False)
        except laptop.Busy:
            return None
        if keep:
            self._keep(target)
        return opened

    def begin(self, target: Target, wanted: int | None = None) -> None:
        """Log in for a relay while the session's server still starts: the relay waits for it on the login node.

        Nothing is verified and nothing remembered; ``open`` takes it over, or ``abandon`` ends it.

        :param target: with session and relay_dir; the rest is not known yet.
        :raises TunnelError: when there is no port or no ssh.
        :raises routes.RouteError: without a relay directory.
        """
        with contextlib.suppress(laptop.Busy), self.state.locked(self.key, patience=0):
            known = wanted or self.state.load(self.key).get("port")
            # Whose a port is that is in use, and which one to take instead, needs a server to ask and somebody to tell.
            if self._begun or self._is_there() or known and not laptop.port_is_free(known):
                return
            port, _note = self.choose_port(None, wanted)
            argv = self.command("relay", target, port)
            self._begun = self._start(argv, "relay"), argv, port

    def _take_begun(self, argv: list[str]) -> subprocess.Popen | None:
        if self._begun and self._begun[1] == argv and self._begun[0].poll() is None:
            process = self._begun[0]
            self._begun = None
            return process
        self.abandon()
        return None

    @property
    def begun_port(self) -> int | None:
        """The local port of what ``begin`` started, if that still runs."""
        return self._begun[2] if self._begun and self._begun[0].poll() is None else None

    def begun_is_ready(self, patience: float) -> bool:
        """Wait until the relay that ``begin`` started is connected with the server; return False once it can't, or that takes too long.

        :param patience: seconds.
        """
        deadline = time.monotonic() + patience
        while self.begun_port and time.monotonic() < deadline:
            event = last_event(self.log()).get("event")
            if event == "ready":
                return True
            if event in ("error", "lost", "unreachable", "over", "not-running"):
                break
            time.sleep(STEP)
        return False

    def abandon(self) -> None:
        """End what ``begin`` started and nobody opened."""
        if self._begun:
            process, self._begun = self._begun[0], None
            self._kill(process.pid)
            process.wait()

    def _wrong(
        self, route: str | None, target: Target, wanted: int | None, known: dict, patience: float = 2 * PROBE_PATIENCE
    ) -> str | None:
        """Return None for an open tunnel that will do, "" for one that is not asked for any more, else what is wrong.

        :param patience: seconds for a relay that is on its way to the next node.
        """
        if not self.is_up():
            return "its ssh does not answer"
        if known.get("route") != route or not known.get("argv") or wanted and wanted != known["port"]:
            return ""
        if known["argv"] != self.command(route, target, known["port"]):
            return ""
        answer = self._settle(target, known["port"], patience)
        return None if answer.kind == "ours" else answer.detail

    def _opened(self, known: dict, target: Target, changed: bool, notes: tuple[str, ...] = ()) -> Opened:
        return Opened(
            route=known["route"], port=known["port"], url=routes.url(known["route"], target, known["port"]),
            command=as_posix(alone(known["argv"])), pid=known["pid"], changed=changed, notes=notes,
        )

    def _foreign(self, route: str, target: Target, port: int) -> Opened:
        """A tunnel that a person holds in a terminal of their own does as well."""
        argv = self.command(route, target, port)
        url = routes.url(route, target, port)
        known = self.state.load(self.key)
        self.state.save(self.key, {
            **{name: known[name] for name in ("keep", "kept") if name in known},
            "version": 1, "site": self.connection.site, "session": self.session, "id": target.id, "port": port, "route": route,
            "pid": 0, "argv": argv, "url": url, "shared": None,
        })
        return Opened(
            route=route, port=port, url=url, command=as_posix(alone(argv)), pid=0, changed=False,
            notes=("the tunnel is already open in another terminal",),
        )

    def _none(self, target: Target) -> Opened:
        url = routes.url("none", target, 0)
        routes.plan("none", self.connection, target, 0)
        answer = http_probe.ask(
            (target.address or "127.0.0.1", target.port), target.id, target.base_url, tls=True,
            fingerprint=target.fingerprint, timeout=PROBE_PATIENCE,
        )
        if answer.kind != "ours":
            raise TunnelError("unreachable", f"{url} does not answer as this session's server: {answer.detail}. "
                              "Set jupyter_route to another route than none.")
        return Opened(route="none", port=target.port, url=url, command="", pid=0, changed=False)

    def held_argv(self, argv: list[str], route: str) -> list[str]:
        """Return a person's command as the tunnel itself runs it: never asking, with a control socket, in a log's words."""
        options = ["-o", "BatchMode=yes", "-o", "ControlPersist=no", "-o", "ConnectTimeout=10", "-o", "LogLevel=INFO"]
        words = argv[1:]
        if self.connection.master and route != "jump":
            # The forward is asked of the master by itself, for only so it is told whether the port was to be had.
            at = words.index("-L")
            words = [word for word in words[:at] if word != "-N"] + words[at + 2:]
            if route != "relay":
                words.append("cat")
        else:
            options = ["-M", "-S", self.state.socket_path(self.key).replace("%", "%%"), *options]
        # ssh keeps the first value of each option: ours go first.
        held = [argv[0], *options, *words]
        if route == "relay":
            held.append("--machine")
        return held

    def _start(self, argv: list[str], route: str) -> subprocess.Popen:
        control = self.state.socket_path(self.key)
        # What is_up() did not find alive can only be in the way.
        if os.path.lexists(control):
            os.unlink(control)
        log = os.open(self.state.log_path(self.key), os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        stdin = endless_stdin(str(self.state.directory))
        try:
            return subprocess.Popen(
                self.held_argv(argv, route), stdin=stdin, stdout=log, stderr=log, start_new_session=True, cwd="/",
            )
        except OSError as error:
            raise TunnelError("no-ssh", f"{argv[0]} can't be run: {error.strerror}.") from error
        finally:
            os.close(stdin)
            os.close(log)

    def log(self) -> str:
        """Return what the tunnel's ssh said."""
        try:
            with open(self.state.log_path(self.key), "rb") as stream:
                return printable(stream.read()[-50000:], limit=50000)
        except FileNotFoundError:
            return ""

    def _await_up(self, process: subprocess.Popen, route: str, target: Target, shared: dict | None) -> None:
        """Wait until ssh is logged in, and a relay connected.

        :param shared: what to ask of a master that is shared.
        :raises TunnelError: when it ends or takes too long.
        """
        control = self.state.socket_path(self.key)
        deadline = time.monotonic() + LOGIN_PATIENCE
        while not shared and not os.path.exists(control):
            if process.poll() is not None:
                raise self._failure(process.returncode, route, target)
            if time.monotonic() > deadline:
                raise self._failure(None, route, target)
            time.sleep(STEP)
        deadline = time.monotonic() + ANSWER_PATIENCE
        while route == "relay":
            event = last_event(self.log()).get("event")
            if event == "ready":
                break
            if event in ("queued", "starting"):
                deadline = max(deadline, time.monotonic() + self.queue_patience - ANSWER_PATIENCE)
            if process.poll() is not None:
                raise self._failure(process.returncode, route, target)
            if time.monotonic() > deadline:
                raise self._failure(None, route, target)
            time.sleep(STEP)
        if shared and not self._control("forward", shared["master"], "-L", shared["spec"]):
            raise TunnelError(
                "forbidden", f"The connection that is open already ({shared['master']}) did not take the forward {shared['spec']}. "
                "Type the tunnel's command yourself.")

    def _settle(self, target: Target, port: int, patience: float) -> http_probe.Answer:
        """Verify a tunnel that is up; a relay on its way to the next node gets so many seconds."""
        deadline = time.monotonic() + patience
        while True:
            answer = self.verify(target, port)
            if answer.kind in ("ours", "untrusted", "nothing", "silent") or time.monotonic() > deadline:
                return answer
            time.sleep(12 * STEP)

    def _await_answer(self, process: subprocess.Popen, route: str, target: Target, port: int) -> None:
        """Verify what is at the other end.

        :raises TunnelError: when it is not this session's server, or nothing.
        """
        deadline = time.monotonic() + 2 * PROBE_PATIENCE
        while True:
            answer = self.verify(target, port)
            if answer.kind == "ours":
                return
            if process.poll() is not None:
                raise self._failure(process.returncode, route, target)
            reading = ssh_errors.read(self.log())
            if answer.kind in ("other", "untrusted"):
                raise TunnelError(
                    "wrong-server",
                    f"The tunnel by route {route} is up, and what answers is not the server of session '{self.session}': "
                    f"{answer.detail}. Nothing was sent to it. Run the stop playbook, then launch again.",
                )
            # sshd needs a moment for nothing: what it refuses, it refuses at once.
            if reading.cause in ("forbidden", "endpoint") and answer.kind in ("closed", "nothing"):
                raise self._failure(None, route, target)
            if time.monotonic() > deadline:
                raise TunnelError(
                    "silent",
                    f"The tunnel by route {route} is up, and the server of session '{self.session}' does not answer through "
                    f"it: {answer.detail}. {_said(reading)}Run the connect playbook again, or try another jupyter_route.",
                )
            time.sleep(5 * STEP)

    def _failure(self, code: int | None, route: str, target: Target) -> TunnelError:
        """Turn the end of an ssh, or its silence, into words."""
        log = self.log()
        reading = ssh_errors.read("\n".join(line for line in log.splitlines() if not line.startswith("{")))
        event = last_event(log)
        where = f"The tunnel to session '{self.session}' by route {route}"
        login = as_posix(self.connection.arguments())
        if event.get("event") in ("over", "not-running", "unreachable", "error"):
            cause = {"over": "over", "not-running": "not-running"}.get(event["event"], "hung" if event.get("cause") == "silent" else "node")
            return TunnelError(cause, f"{where} could not be opened: {event.get('text', '')}")
        remedies = {
            "auth": f"ssh could not log in without asking. Make '{login} true' work without a question (ssh-agent, or a master "
            "that is open already), or type the tunnel's command yourself.",
            "host-key-unknown": f"Log in once by hand and check the host key: '{login} true'.",
            "host-key-changed": "Ask the site whether the host was set up anew before you remove the old key with 'ssh-keygen -R'.",
            "forbidden": "The site forbids this forward. Set jupyter_route to another route, or to auto.",
            "bind": "The local port can't be had. Set jupyter_local_port to another one.",
            "unreachable": f"Is the network up? Try '{login} true'.",
            "no-command": f"{target.connect} is missing on the login node. Run the playbook again that put it there: setup, or site for all users.",
            "endpoint": "Either the server is not where it said it would be (the status playbook tells), or sshd forbids forwards "
            "to sockets, which it says no more clearly. Try another jupyter_route.",
        }
        said = _said(reading)
        if reading.cause == "installation":
            ours = reading.said.removeprefix("jupyter: ")
            why = ours if ours != reading.said else (
                f"what setup installed on the login node is damaged ({ours}). 'ansible-playbook hpc.jupyter.setup' puts it right.")
            return TunnelError("installation", f"{where} could not be opened: {why}")
        if reading.cause == "endpoint" and event.get("event") == "ready":
            # The relay itself has talked to the server: what fails is the login node's sshd on the way to the relay.
            reading = reading._replace(cause="forbidden")
        if reading.cause == "unknown":
            if code is None:
                return TunnelError("silent", f"{where} did not come up in time. {said}Try '{login} true'.")
            if code == 127:
                return TunnelError("no-command", f"{where} could not be opened. {said}{remedies['no-command']}")
            return TunnelError("unknown", f"{where} ended with status {code}. {said}Try '{login} true'.")
        if reading.cause == "auth" and route == "jump":
            remedies["auth"] += f" Route jump needs your key on {target.node} too; route relay does not."
        return TunnelError(reading.cause, f"{where} could not be opened. {said}{remedies[reading.cause]}")

    # -- closing ---------------------------------------------------------------------------

    def close(self) -> bool:
        """Close the tunnel; its port stays this session's.

        :returns: whether one was open.
        """
        keeper = self.keeper_pid()
        known = self.state.load(self.key)
        if known.get("keep"):
            self.state.save(self.key, dict(known, keep=False))
        if keeper is not None:
            # Before the lock: it may hold that while it opens the tunnel again.
            self._kill(keeper)
        with self.state.locked(self.key):
            was_up = self._is_there()
            self._close()
            return was_up or keeper is not None

    def _close(self) -> None:
        shared = self._shared()
        if shared:
            self._control("cancel", shared["master"], "-L", shared["spec"])
            holder = self._holder()
            if holder:
                self._kill(holder)
            self.state.save(self.key, dict(self.state.load(self.key), shared=None))
        control = self.state.socket_path(self.key)
        known = self.state.load(self.key)
        if not os.path.lexists(control):
            return
        if not self._control("exit", control):
            # It hangs or is gone. The number may be somebody else's by now: only an ssh with our control socket is ended.
            pid = known.get("pid")
            if pid and control in _command_line(pid):
                self._kill(pid)
        deadline = time.monotonic() + CHECK_PATIENCE
        while os.path.exists(control) and time.monotonic() < deadline:
            time.sleep(STEP)
        if os.path.lexists(control):
            os.unlink(control)

    @staticmethod
    def _kill(pid: int) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                return
            deadline = time.monotonic() + 2.0
            while _is_running(pid) and time.monotonic() < deadline:
                time.sleep(STEP)

    # -- keeping ---------------------------------------------------------------------------

    def _keep(self, target: Target) -> None:
        """Start the tunnel's keeper unless it runs; either way it learns of this target."""
        connection = dataclasses.asdict(self.connection)
        connection["options"] = list(self.connection.options)
        kept = {"connection": connection, "target": dataclasses.asdict(target), "session": self.session, "ca": self.ca}
        self.state.save(self.key, dict(self.state.load(self.key), keep=True, kept=kept))
        if self.keeper_pid() is not None:
            return
        log = os.open(self.state.keeper_log(self.key), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        script = str(pathlib.Path(__file__).with_name("tunnel_keeper.py"))
        try:
            subprocess.Popen(
                [sys.executable, "-I", "-B", script, str(self.state.directory), self.key],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
            )
        finally:
            os.close(log)

    def keeper_pid(self) -> int | None:
        """Return the process that keeps this tunnel, or None: it holds a lock for as long as it lives."""
        try:
            handle = os.open(self.state.keeper_path(self.key), os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return None
        except BlockingIOError:
            text = os.pread(handle, 20, 0).strip()
            return int(text) if text.isdigit() else None
        finally:
            os.close(handle)

    def ask_where(self) -> Target | None:
        """Ask the connect tool on the login node where the session's server is now; None while it has none.

        :raises TunnelError: with cause "over" when the session is over, else with what kept ssh from asking.
        """
        before = self.kept_target()
        argv = self.connection.arguments("-a", "-x", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10")
        argv += [before.connect, self.session, "--machine", "--look"]
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LOGIN_PATIENCE, check=False)
        except subprocess.TimeoutExpired as error:
            raise TunnelError("unreachable", f"{self.connection.destination} does not answer.") from error
        event = last_event(done.stdout)
        if event.get("event") == "over":
            raise TunnelError("over", str(event.get("text")))
        if event.get("event") != "view":
            reading = ssh_errors.read(done.stderr)
            raise TunnelError(reading.cause, f"{self.connection.destination} could not be asked. {_said(reading)}")
        view = event["view"]
        if view.get("state") != "ready":
            return None
        try:
            target = Target.from_answer({**view, "connect": before.connect, "reverse_socket": before.reverse_socket})
        except routes.RouteError as error:
            raise TunnelError("unknown", str(error)) from error
        known = self.state.load(self.key)
        self.state.save(self.key, {**known, "kept": {**known["kept"], "target": dataclasses.asdict(target)}})
        return target


def _said(reading: ssh_errors.Reading) -> str:
    return f"ssh said: {reading.said.rstrip('.')}. " if reading.said else ""


def last_event(log: str) -> dict:
    """Return the last event that ``~/.jupyter_connect --machine`` told, {} if none; beats are no events."""
    for line in reversed(log.splitlines()):
        if line.startswith("{"):
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and event.get("event") != "beat":
                return {str(name): printable(value) if isinstance(value, str) else value for name, value in event.items()}
    return {}


def endless_stdin(directory: str) -> int:
    """Return a descriptor that never ends and that no other process has to hold: a FIFO open both ways.

    A relay ends with its standard input, and a pipe would end with the playbook.
    """
    path = os.path.join(directory, f".stdin-{os.getpid()}-{time.monotonic_ns()}")
    os.mkfifo(path, 0o600)
    try:
        return os.open(path, os.O_RDWR)
    finally:
        os.unlink(path)


def _command_line(pid: int) -> str:
    """Return a process's command line, "" when it can't be had (ps is everywhere, /proc is not)."""
    try:
        done = subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def _is_running(pid: int) -> bool:
    """Return whether a process runs; a zombie of ours does not."""
    try:
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return False
    except ChildProcessError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
