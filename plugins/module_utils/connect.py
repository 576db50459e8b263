# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``~/.jupyter_connect``: holds the second hop on the login node for as long as the laptop's ssh lives.

    program.pyz connect [NAME] [--socket PATH] [--start] [--wait] [--machine] [--batch-dir DIR] [--site-dir DIR]

It makes the unix socket PATH, to which the laptop's ``ssh -L PORT:PATH login`` leads, and connects it with the server of
the session, on whatever node that runs now: after a renewal the socket is connected with the next node.
It ends when its standard input does, which is when the laptop's ssh does, and leaves nothing behind.

Exit status: 0 the laptop went away, or another relay took over the socket; 2 wrong usage; 3 the session is over; 4 the session
is not running; 5 the node can't be reached; 6 the socket can't be made.
With ``--machine`` each line on standard output is a JSON object: {"event": "queued|starting|ready|lost|moved|over|
not-running|unreachable|replaced|error|beat|view|listening", "text": ..., of "ready" also "node", "hop", "id", of "view" the
"view"}.
"""

import argparse
import errno
import fcntl
import json
import os
import re
import select
import shlex
import signal
import socket
import stat
import sys
import time

from . import files, http_probe, launching, second_hop, session as sessions, ssh_errors
from .failure import Failure, from_os_error, playbook
from .places import LONGEST_SOCKET, Site

LAPTOP_GONE, SESSION_OVER, NOT_RUNNING, UNREACHABLE, NO_SOCKET = 0, 3, 4, 5, 6

# Seconds. Looking at a file is cheap, on NFS too, at this pace; asking the scheduler is not.
TICK = 0.2
TICK_STARTING = 0.02
LOOK_WAITING = 1.0
LOOK_CONNECTED = 3.0
# A job that is killed can't say so in its file, and the ssh to its node may live on: the server itself is asked.
LOOK_SERVER = 10.0
ASK_FIRST = 5.0
ASK_LONGEST = 60.0
# How long a hop may take until the server answers through it.
HOP_PATIENCE = 25.0
RETRY_LONGEST = 30.0
# A laptop that vanished (asleep, another network) is noticed when what we write is not acknowledged.
BEAT = 60.0
PROBE_PATIENCE = 10.0
PROBE_GREETING = b"hpc.jupyter\n"

_WAITING = ("queued", "held", "starting", "ending", "unknown")
_OVER = ("finished", "failed", "stopped", "none")


def make_relay_dir(path):
    """Make the directory of a relay socket, or make sure that it is ours alone.

    Others of the login node can write to its parent: what they may have put there first is refused, never followed.

    :raises Failure: when it is a link, somebody else's, or open to others.
    """
    try:
        os.mkdir(path, files.PRIVATE_DIR)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise Failure(
                "The relay's directory %s can't be made: %s. Set jupyter_relay_dir to another directory on the login node's own "
                "disk and run setup (where the site's staff installed this for all users, it is theirs to set)."
                % (path, error.strerror), "relay-dir",
            )
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise Failure(
            "%s is not a directory of yours: somebody else was there first (user id %d). Nothing was connected. Tell the "
            "site's staff; then set jupyter_relay_dir to another directory and run setup." % (path, status.st_uid), "relay-dir",
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise Failure("%s is open to others. Run 'chmod 700 %s' if that is what you want." % (path, path), "relay-dir")


def _inode(path):
    """Return a path's inode number (int), None when nothing is there."""
    try:
        return os.lstat(path).st_ino
    except OSError:
        return None


class Progress(object):
    """Says what happens, once each, to a person or to a program.

    :param stream: where to write; errors of writing mean that the laptop is gone.
    :param machine: bool, JSON lines.
    """

    def __init__(self, stream, machine):
        self.stream = stream
        self.machine = machine
        self.last = None
        self.written = time.time()

    def say(self, event, text, **more):
        """Write an event unless it is what was said last.

        :raises OSError: when nobody reads any more.
        """
        if (event, text) == self.last:
            return
        self.last = (event, text)
        # JSON in ASCII has no control characters left.
        self._write(json.dumps(dict(more, event=event, text=text)) if self.machine else "jupyter: " + files.printable(text))

    def beat(self):
        """Write a sign of life, if a program reads; people don't need it."""
        if self.machine and time.time() - self.written >= BEAT:
            self._write('{"event": "beat"}')

    def _write(self, line):
        self.written = time.time()
        self.stream.write(line + "\n")
        self.stream.flush()


class Ended(Exception):
    """The relay is over, with this exit status.

    :ivar by: the number of the signal that ended it, or None.
    """

    def __init__(self, status, by=None):
        super(Ended, self).__init__(status)
        self.status = status
        self.by = by


class Relay(object):
    """One relay: a socket here, connected with the session's server.

    :param session: session.Session.
    :param path: str, the socket.
    :param progress: Progress.
    :param stdin: int, the descriptor whose end is ours.
    :param wait: bool, also wait for a session that is not running yet.
    """

    def __init__(self, session, path, progress, stdin=0, wait=False):
        self.session = session
        self.path = path
        self.progress = progress
        self.stdin = stdin
        self.wait = wait
        self.hop = None
        self.lock = None
        self.connected_once = False
        self._early = None
        self._asked = 0.0
        self._ask_interval = ASK_FIRST

    # -- standard input ---------------------------------------------------------------------

    def pause(self, seconds):
        """Wait, but end at once when standard input does.

        :raises Ended: then.
        """
        deadline = time.time() + seconds
        while True:
            left = deadline - time.time()
            readable = select.select([self.stdin], [], [], max(0.0, min(left, 1.0)))[0]
            if readable and not self._read():
                raise Ended(LAPTOP_GONE)
            if left <= 0:
                return

    def _read(self):
        try:
            return os.read(self.stdin, 4096)
        except OSError as error:
            # A terminal whose other side is gone says EIO.
            if error.errno == errno.EIO:
                return b""
            raise

    # -- the socket -------------------------------------------------------------------------

    def claim(self):
        """Take over the socket's path from an earlier relay of the same laptop that did not notice its end.

        :raises Failure: when the path can't be used.
        """
        if len(os.fsencode(self.path)) > LONGEST_SOCKET:
            raise Failure("%s is too long for a socket: %d characters at most. Use a shorter --socket."
                          % (self.path, LONGEST_SOCKET), "relay-dir")
        make_relay_dir(os.path.dirname(self.path))
        told = set()
        for attempt in range(50):
            holder = self._take_lock()
            if holder is None:
                break
            # Whoever holds the lock is the process that wrote its number there.
            if holder.isdigit() and (holder not in told or attempt == 30):
                told.add(holder)
                try:
                    os.kill(int(holder), signal.SIGTERM if attempt < 30 else signal.SIGKILL)
                except OSError:
                    pass
            self.pause(0.1)
        else:
            raise Failure("Another relay holds %s and does not end." % self.path, "relay-busy")
        os.ftruncate(self.lock, 0)
        os.pwrite(self.lock, b"%d\n" % os.getpid(), 0)

    def _take_lock(self):
        """Lock the path; return what its holder wrote (bytes) where another relay has it, else None."""
        # O_NOFOLLOW costs nothing, though nobody else can write to the directory.
        lock = os.open(self.path + ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, files.PRIVATE_FILE)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who had it takes the file away at the end: a lock on what is gone keeps nobody out.
            if _inode(self.path + ".lock") == os.fstat(lock).st_ino:
                self.lock = lock
                return None
            holder = b""
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES, errno.EINTR):
                os.close(lock)
                raise
            holder = os.pread(lock, 20, 0).strip()
        os.close(lock)
        return holder

    def release(self):
        """Stop the hop, and take socket and lock away."""
        self.drop()
        if self.lock is not None:
            files.remove(self.path + ".lock")
            os.close(self.lock)
            self.lock = None

    # -- the second hop ---------------------------------------------------------------------

    def drop(self):
        """End the hop, if there is one."""
        if self.hop is not None:
            self.hop.stop()
            self.hop = None

    def hops(self, view):
        """Return the hops to try for a server, the likeliest first."""
        endpoint = view["endpoint"]
        if is_here(view):
            return [second_hop.LocalHop(endpoint, self.path)]
        facts = self.session.facts
        node = view.get("node_name") or view["node"]
        found = [second_hop.SshHop(node, endpoint, self.path, host_keys=facts.get("node_host_keys", "strict"))]
        if str(facts.get("scheduler", "")).startswith("slurm") and view.get("job"):
            found.append(second_hop.StepHop(view["job"], view["node"], endpoint, self.path, facts, self.session.site.program))
        wanted = facts.get("second_hop", "auto")
        return found if wanted == "auto" else [hop for hop in found if hop.name == wanted]

    def connect(self, view):
        """Connect the socket with the server.

        :returns: None when it is up, else (cause, what to tell).
        """
        trouble = ("unknown", "jupyter_second_hop leaves no way to the node")
        try:
            hops = self.hops(view)
        except second_hop.HopError as error:
            return "unknown", str(error)
        for hop in hops:
            try:
                if not self._is_logged_in(hop):
                    self.drop()
                    self.hop = hop
                    hop.start()
                problem = self._await_answer(view, self.hop)
            except OSError as error:
                problem = ("unknown", "%s: %s" % (hop.name, error.strerror or error))
            except BaseException:
                self.drop()
                raise
            if problem is None:
                return None
            self.drop()
            # What the first, usual way said is what helps; a fallback's trouble comes behind it.
            trouble = problem if trouble[0] == "unknown" else trouble
            if problem[0] not in ("auth", "host-key-unknown", "forbidden", "unreachable", "unknown"):
                break
        return trouble

    def log_in_early(self, view):
        """Log in to the node while the server starts there: its endpoint is told before it answers, and both take their time."""
        server = self.session.server(self.session.record())
        if not server.get("endpoint") or is_here(view):
            return
        try:
            hop = next(iter(self.hops(dict(view, endpoint=server["endpoint"]))), None)
            if hop is None or hop.name != second_hop.SshHop.name or hop.argv == self._early:
                return
            self.drop()
            # Once: a node that refuses must not be asked all the time.
            self._early = hop.argv
            hop.start()
            self.hop = hop
        except (OSError, second_hop.HopError):
            # What is wrong shows again, and is told, when the server is ready.
            pass

    def _is_logged_in(self, hop):
        """Tell whether this very way was opened early and still stands."""
        argv = getattr(hop, "argv", None)
        return self.hop is not None and argv is not None and getattr(self.hop, "argv", None) == argv and self.hop.alive()

    def question(self, view, timeout=5.0):
        """Ask through the socket whether it is the session's server (http_probe.Answer)."""
        endpoint = view["endpoint"]
        return http_probe.ask(
            self.path, view["id"], view.get("base_url") or "/", tls=endpoint.get("kind") == "tls",
            fingerprint=endpoint.get("fingerprint"), timeout=timeout,
        )

    def _await_answer(self, view, hop):
        deadline = time.time() + HOP_PATIENCE
        answer = None
        while time.time() < deadline:
            if os.path.exists(self.path):
                answer = self.question(view)
                if answer.kind == "ours":
                    return None
                if answer.kind in ("other", "untrusted"):
                    return "wrong-server", "what answers on %s is not this session's server: %s" % (view["node"], answer.detail)
                reading = ssh_errors.read(hop.said())
                if reading.cause == "forbidden":
                    return "forbidden", "%s lets you in and forbids forwarding (%s)" % (view["node"], reading.said)
            if not hop.alive():
                return explain(hop, view["node"])
            self.pause(TICK_STARTING)
        if answer is not None and answer.kind == "silent":
            return "silent", "the server on %s takes connections and gave no answer for %d s" % (view["node"], HOP_PATIENCE)
        return "unknown", "no answer from the server on %s within %d s%s" % (
            view["node"], HOP_PATIENCE, ": " + answer.detail if answer else "")

    # -- the life of it ---------------------------------------------------------------------

    def look(self, ask=False):
        """Return the session as it is now; the scheduler is asked only when told so, and not too often."""
        now = time.time()
        shortest = float(self.session.known_facts.get("poll_interval") or 0)
        if ask and now >= self._asked + max(shortest, self._ask_interval):
            self._ask_interval = min(ASK_LONGEST, self._ask_interval * 1.5)
            self._asked = now
            return self.session.view()
        return self.session.view(asked=False)

    def run(self):
        """Relay until the laptop, or the session, is gone.

        :returns: int, the exit status.
        """
        try:
            try:
                self.claim()
            except OSError as error:
                raise Failure("The relay's socket %s can't be made: %s. Free some space there, or set jupyter_relay_dir to another directory on "
                              "the login node's own disk and run setup." % (self.path, error.strerror or error), "relay-dir")
            return self._follow_on()
        except Ended as ended:
            if ended.by == signal.SIGTERM:
                self.progress.say("replaced", "another tunnel took over %s, or somebody ended this one." % self.path)
            return ended.status
        except Failure as error:
            self.progress.say("error", error.message, cause=error.cause)
            return NO_SOCKET
        finally:
            self.release()

    def _follow_on(self):
        """Follow the session, over moments in which a shared home can't be read, too."""
        while True:
            try:
                return self._follow()
            except ConnectionError:
                raise
            except OSError as error:
                self.drop()
                if not self.connected_once:
                    raise from_os_error(error, "Nothing was connected.")
                self.progress.say("lost", "the session's files can't be read (%s); trying again" % (error.strerror or error))
                self.pause(ASK_FIRST)

    def _follow(self):
        seen_job = False
        view = self.session.view()
        self._asked = time.time()
        while True:
            state = view["state"]
            directory = self.session.directory
            directory.interval = directory.SOON if state == "starting" else directory.INTERVAL
            seen_job = seen_job or state not in _OVER
            if state in _OVER:
                status = self._not_there(view, seen_job)
                if status is not None:
                    return status
            elif state == "ready":
                status, view = self._serve(view)
                if status is not None:
                    return status
                if view is not None:
                    continue
            else:
                if state == "starting":
                    self.log_in_early(view)
                else:
                    self.drop()
                self.progress.say(state if state in ("queued", "starting") else "queued", waiting_text(view))
            self.progress.beat()
            self._await_server()
            view = self.look(ask=True)

    def _await_server(self):
        """Wait for the next look, or less if the session's server has something to say: that file costs nothing to watch."""
        before = self._server_stamp()
        deadline = time.time() + LOOK_WAITING
        while time.time() < deadline and self._server_stamp() == before:
            self.pause(TICK_STARTING)

    def _server_stamp(self):
        return self.session.stamps()[1]

    def _not_there(self, view, seen_job):
        name = self.session.name
        if seen_job:
            # Files alone can't tell an end from the moment between two jobs.
            if self.session.view()["state"] not in _OVER:
                return None
            self.progress.say("over", "session '%s' is over%s." % (name, ": " + view["reason"] if view["reason"] else ""))
            return SESSION_OVER
        if self.wait:
            self.progress.say("queued", "session '%s' is not running; waiting for it." % name)
            return None
        self.progress.say(
            "not-running",
            "session '%s' is not running. Start it with %s on the laptop, or by adding --start to this command."
            % (name, playbook("launch", name)),
        )
        return NOT_RUNNING

    def _serve(self, view):
        """Hold the hop to one server until that server, or the way to it, is gone.

        :returns: (exit status or None to go on, a fresh view of what to go on with or None to look again).
        """
        delay = 1.0
        while True:
            problem = self.connect(view)
            if problem is None:
                break
            cause, text = problem
            fresh = self.session.view()
            if not same_server(view, fresh):
                return None, fresh
            self.progress.say("lost" if self.connected_once else "error", text, cause=cause)
            if not self.connected_once and (cause not in ("unreachable", "unknown", "endpoint") or delay > 4.0):
                wrong = text if cause == "silent" else "the way from here to there does not work"
                self.progress.say("unreachable", "session '%s' runs on %s, and %s. %s"
                                  % (self.session.name, view["node"], wrong, remedy(cause, view["node"])), cause=cause)
                return UNREACHABLE, None
            self.pause(delay)
            delay = min(RETRY_LONGEST, delay * 2)
        self.progress.say(
            "ready", "%s to %s%s" % ("moved" if self.connected_once else "connected", view["node"], ends_text(view)),
            node=view["node"], hop=self.hop.name, id=view["id"],
        )
        self.connected_once = True
        self._ask_interval = ASK_FIRST
        next_look = time.time() + LOOK_CONNECTED
        next_question = time.time() + LOOK_SERVER
        fresh = None
        while True:
            self.pause(TICK)
            self.progress.beat()
            now = time.time()
            if not self.hop.alive():
                self.progress.say("lost", "the connection to %s is gone; trying again" % view["node"])
                break
            if now >= next_look:
                next_look = now + LOOK_CONNECTED
                if not same_server(view, self.session.view(asked=False)):
                    break
            if now >= next_question:
                next_question = now + LOOK_SERVER
                # "silent" may be a server that computes; only one that is gone, or another one, is a reason to act.
                if self.question(view, timeout=3.0).kind in ("closed", "nothing", "other", "untrusted"):
                    fresh = self.session.view()
                    self.progress.say("lost", "the server on %s does not answer any more" % view["node"])
                    break
        self.drop()
        return None, fresh


def same_server(one, other):
    """Return whether two views speak of the same running server."""
    return other["state"] == "ready" and all(one[key] == other[key] for key in ("id", "job", "node", "endpoint"))


def is_here(view):
    """Return whether a server runs on this very host."""
    here = {socket.gethostname(), socket.getfqdn(), os.uname()[1]}
    return view.get("node") in here or bool(view.get("fqdn")) and view["fqdn"] in here


def explain(hop, node):
    """Return (cause, text) for a hop that ended before the server answered."""
    said = hop.said()
    reading = ssh_errors.read(said)
    texts = {
        "auth": "%s does not let you in by ssh without a password",
        "host-key-unknown": "the host key of %s is not known here",
        "host-key-changed": "the host key of %s is another than the one that is known here",
        "forbidden": "%s forbids forwarding",
        "unreachable": "%s can't be reached from here",
        "bind": "the socket for %s can't be made",
    }
    text = texts.get(reading.cause, "the connection to %s ended") % node
    return reading.cause, "%s (%s)" % (text, reading.said) if reading.said else text


def remedy(cause, node):
    """Return what to do about a node that can't be reached from the login node."""
    return {
        "auth": "Make a key for it here, once: 'ssh-keygen -t ed25519 -N \"\"' and "
                "'cat ~/.ssh/id_ed25519.pub >> ~/.ssh/authorized_keys'; or set jupyter_route to jump.",
        "host-key-unknown": "Log in once by hand here and check the key: 'ssh %s'. Or set jupyter_node_host_keys to "
                            "accept-new." % node,
        "host-key-changed": "Ask the site whether the node was set up anew; then 'ssh-keygen -R %s' here." % node,
        "forbidden": "Set jupyter_route to another one than relay.",
        "wrong-server": "Stop the session and launch it again.",
        "silent": "It hangs, as on a file system that does not answer, or is very busy. What it goes on with, a later attempt will find.",
    }.get(cause, "Try 'ssh %s' here; if the site does not allow that, set jupyter_route to another one than relay." % node)


def waiting_text(view):
    """Return what a session waits for, in words."""
    if view["state"] == "starting":
        return "job %s runs on %s; its server is starting." % (view["job"], view["node"] or "a node")
    if view["state"] == "ending":
        return "job %s is ending." % view["job"]
    if view["state"] == "unknown":
        return "the scheduler does not say how job %s is: %s" % (view["job"], view["reason"] or "no answer")
    text = "job %s is queued" % view["job"]
    if view["reason"]:
        text += ": %s" % view["reason"]
    if view["predicted_start"]:
        text += "; it should start at %s" % time.strftime("%H:%M on %d %b", time.localtime(view["predicted_start"]))
    return text + "."


def ends_text(view):
    """Return when a server ends, in words, or nothing."""
    if not view.get("ends"):
        return "."
    return "; it ends at %s." % time.strftime("%H:%M on %d %b", time.localtime(view["ends"]))


def _parser():
    parser = argparse.ArgumentParser(
        prog="~/.jupyter_connect", description="Holds the way from this login node to a running session.",
        epilog="It is meant to be run by the laptop's ssh, and ends with it.",
    )
    parser.add_argument("session", nargs="?", default="default", help="name of the session (default: %(default)s)")
    parser.add_argument("--socket", help="the socket to make here, as in the laptop's ssh -L")
    parser.add_argument("--start", action="store_true", help="start the session if it is not running")
    parser.add_argument("--wait", action="store_true", help="wait for a session that is not running yet")
    parser.add_argument("--look", action="store_true", help="say how the session is, and end")
    parser.add_argument("--probe", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--machine", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--batch-dir", help=argparse.SUPPRESS)
    parser.add_argument("--site-dir", help=argparse.SUPPRESS)
    return parser


def laptop_command(session, path, extra=()):
    """Return the command to type on the laptop: what setup recorded, for only the laptop knows how it reaches this host.

    :param session: session.Session.
    :param path: str, the relay's socket, where nothing was recorded.
    :param extra: further words for the connect tool, likewise.
    :returns: (str, str, the port in it).
    """
    import getpass

    recorded = files.printable(session.known_facts.get("connect_hint") or "").strip().splitlines()
    command = recorded[0] if recorded else ""
    if command and session.name != "default":
        # It is recorded for that one.
        named = command.replace("/default-manual.sock", "/%s-manual.sock" % session.name).replace(" default --", " %s --" % session.name)
        command = named if named != command else ""
    # In an installation for all users each has sockets elsewhere.
    command = command.replace("/RELAY_DIR/", os.path.dirname(path) + "/")
    if not command:
        tool = shlex.quote(session.known_facts["connect"]) if session.site.shared else "'~/.jupyter_connect'"
        command = " ".join(
            ["ssh", "-L", "127.0.0.1:8888:%s" % path, "%s@%s" % (getpass.getuser(), socket.getfqdn()), tool, session.name]
            + list(extra) + ["--socket", path]
        )
    port = re.search(r"127\.0\.0\.1:([0-9]+):", command)
    return command, port.group(1) if port else "8888"


def main(argv):
    """Run the command line.

    :param argv: list of str; the first is the verb ``connect``.
    :returns: int, the exit status.
    """
    options = _parser().parse_args(argv[1:])
    progress = Progress(sys.stdout, options.machine)
    try:
        session = sessions.Session(Site(options.batch_dir, options.site_dir), options.session)
        if options.look:
            return _look(session, progress)
        path = options.socket or default_socket(session)
        if options.probe:
            return _probe(path, progress)
        if not options.socket and not options.machine:
            _show(session, path, options)
            if sys.stdin.isatty():
                return 0
        if options.start:
            started = _start(session, options, progress)
            if started is not None:
                return started
        # Ctrl-C in a terminal, and the SIGTERM of a newer relay or of the site: end in order.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, _end)
        return Relay(session, path, progress, wait=options.wait).run()
    except Ended as ended:
        return ended.status
    except Failure as error:
        progress.say("error", error.message, cause=error.cause)
        return NOT_RUNNING
    except ConnectionError:
        _drop_stdout()
        return LAPTOP_GONE
    except OSError as error:
        problem = from_os_error(error, "Nothing was connected.")
        progress.say("error", problem.message, cause=problem.cause)
        return NOT_RUNNING


def _end(number, _frame):
    raise Ended(LAPTOP_GONE, by=number)


def _drop_stdout():
    """Let the interpreter end without a second complaint about a reader who is gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def default_socket(session):
    """Return the relay socket of a laptop that gave none.

    :raises Failure: when the session was never launched.
    """
    facts = session.known_facts
    directory = session.record().get("relay_dir") or facts.get("relay_dir")
    if not directory and facts.get("relay_parent"):
        # What it leads to is not known yet, so any name does that nobody else can guess.
        directory = launching.new_relay_dir(facts["relay_parent"])
    if not directory:
        raise Failure("Session '%s' was never launched, so it has no place for a relay. Give --socket." % session.name, "not-running")
    return os.path.join(directory, session.name + "-manual.sock")


def _show(session, path, options):
    """Say how the session is, and what to type on the laptop."""
    view = session.view()
    command, port = laptop_command(session, path, ["--start"] if options.start or view["state"] in _OVER else [])
    sys.stdout.write(
        "Session '%s' is %s%s.\nType this on the laptop, and leave it running:\n\n    %s\n\nThen open %s://127.0.0.1:%s%s there.\n"
        % (session.name, "not running" if view["state"] in _OVER else view["state"], " on " + view["node"] if view["node"] else "",
           command, "https" if (view["endpoint"] or {}).get("kind") == "tls" else "http", port, view["base_url"] or "/")
    )
    sys.stdout.flush()


def _look(session, progress):
    """Tell how the session is, once."""
    view = session.view()
    if view["state"] in _OVER:
        progress.say("over", "session '%s' is over%s." % (session.name, ": " + view["reason"] if view["reason"] else ""))
        return SESSION_OVER
    text = "session '%s' is ready on %s%s" % (session.name, view["node"], ends_text(view)) if view["state"] == "ready" else waiting_text(view)
    progress.say("view", text, view=view)
    return 0


def _probe(path, progress):
    """Listen at a socket and greet one caller: sshd does not tell a forbidden forward from a missing socket.

    :returns: int, 0 after the greeting or the end of standard input.
    """
    make_relay_dir(os.path.dirname(path))
    listener = second_hop.listen(path)
    try:
        progress.say("listening", "a socket is there")
        readable = select.select([listener, 0], [], [], PROBE_PATIENCE)[0]
        if listener in readable:
            connection = listener.accept()[0]
            connection.sendall(PROBE_GREETING)
            connection.close()
    finally:
        listener.close()
        files.remove(path)
    return 0


def _start(session, options, progress):
    """Start the session; return an exit status when it can't be."""

    def show(view):
        if view["state"] in ("queued", "held", "starting"):
            progress.say("queued", waiting_text(view))

    view, _changed = launching.start(session, {})
    show(view)
    return None
