# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process of the job: starts Jupyter on the node, proves that it answers, watches over it and ends it cleanly.

    python keeper.py --batch-dir DIR --session NAME

It runs under whatever Python runs Jupyter there, so this one file needs nothing but the standard library of Python 2.7
or 3.6 and later. It talks to the rest of the product through the files of DIR/sessions/NAME only:

    job.json       read: how to serve (endpoint, root_dir, idle_timeout, walltime, ...); DIR/site.json "job" has the defaults
    control.json   read while running: {"stop": true} and the like
    server.json    written: phase, endpoint, cause of a failure; always a whole file, never half of one
    server.log     appended: what Jupyter and the keeper print
    config/        written, removed at the end: the settings of this one server, with its token

Exit status: 0 after an end that somebody wanted (stop, idle, Shut Down in the browser), 143 when the scheduler sent SIGTERM, 1 when the
server failed. A successor held on `afternotok` therefore starts after the last two only.
"""
from __future__ import absolute_import, division, print_function

import argparse
import binascii
import ctypes
import errno
import fcntl
import glob
import hashlib
import io
import json
import os
import random
import re
import runpy
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time

try:
    import ssl
except ImportError:  # a Python built without OpenSSL can still serve a socket
    ssl = None

try:
    import http.client as http_client
except ImportError:
    import httplib as http_client

__metaclass__ = type

SESSION_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")
SOCKET_PATH_LIMIT = 107  # bytes; sockaddr_un has 108 with the closing zero
NODE_LOCK = ".hpc-jupyter-lock"  # its holder is the keeper to whom a node directory belongs
ANSWER_STEP = 0.05  # seconds between two looks whether the server answers yet
TICK = 1.0  # seconds between two looks at control.json
REST_TIMEOUT = 10.0  # seconds for one request to the server
LOG_TAIL_LINES = 15
LOG_LIMIT = 8 * 1024 * 1024  # bytes of server.log; beyond it only the newest part stays
LOG_KEEP = 512 * 1024
# Suites that exist in TLS 1.2 and later only: with them no peer can bring a server down to an older version, on any
# Python and OpenSSL. (TLS 1.3 has its own suites, which this list does not touch.)
TLS_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aNULL:!eNULL"

DEFAULTS = {
    "endpoint": "auto",
    "listen": "loopback",
    "certfile": None,
    "keyfile": None,
    "idle_timeout": 0,
    "walltime": None,
    "root_dir": None,
    "settings": {},
    "config_dir": None,
    "base_url": "/",
    "interface": "auto",
    "port_range": None,
    "start_timeout": 120,
    "stop_grace": 10,
    "renewals": 0,
    "walltime_warnings": [600, 120],
    "walltime_notice": ["file", "terminal"],
    "ipython_history": "auto",
    "cores": 1,
}

# Programs that wait in a terminal for somebody to type: they are no work, however long they have been open.
WAITING_PROGRAMS = frozenset("""bash sh dash zsh fish ksh csh tcsh vi vim vim.basic vim.tiny nvim view nano pico emacs emacs-nox joe mcedit mc less more most
    man pager top htop atop watch tmux screen ssh-agent""".split())
# Of one core: what the processes of a session use together while they only sit there (heartbeats, polling) stays far below.
WORKING_SHARE = 0.1


class Failure(Exception):
    """The server can't be had.

    :ivar cause: one machine word, the ``cause`` of server.json.
    :ivar reason: a sentence for the person, with the remedy.
    """

    def __init__(self, cause, reason):
        Exception.__init__(self, reason)
        self.cause = cause
        self.reason = reason


# --- small things -------------------------------------------------------------------------------------------------

def monotonic():
    """Seconds on a clock that nobody sets. Python 2.7 has it only as the fifth value of ``os.times``."""
    try:
        return time.monotonic()
    except AttributeError:
        return os.times()[4]


def text_of(data):
    """Bytes as text; what is not UTF-8 becomes the replacement character."""
    if isinstance(data, bytes):
        return data.decode("utf-8", "replace")
    return data


_ESCAPES = re.compile(u"\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)?|[@-Z\\\\-_])")
_CONTROLS = re.compile(u"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text):
    """Text that can't move a terminal's cursor, colour it or turn its lines around."""
    return _CONTROLS.sub(u"", _ESCAPES.sub(u"", text_of(text)))


def write_private(path, data):
    """Write bytes so that a reader sees the old file or the new one, and nobody else sees either (0600).

    :raises OSError: home full, unwritable, gone.
    """
    directory = os.path.dirname(path)
    handle, name = tempfile.mkstemp(prefix=".%s." % os.path.basename(path), dir=directory)
    try:
        try:
            view = memoryview(data)
            while len(view):
                view = view[os.write(handle, view):]
        finally:
            os.close(handle)
        os.rename(name, path)
    except BaseException:
        try:
            os.unlink(name)
        except OSError:
            pass
        raise


def write_json(path, value):
    """``write_private`` of a JSON document."""
    text = json.dumps(value, indent=1, sort_keys=True)
    write_private(path, text.encode("utf-8") + b"\n")


def read_json(path):
    """The JSON object of a file, or None where there is no such file.

    :raises ValueError: the file is no JSON object.
    """
    try:
        with io.open(path, "r", encoding="utf-8") as stream:
            value = json.load(stream)
    except (IOError, OSError) as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    if not isinstance(value, dict):
        raise ValueError("%s holds no JSON object" % path)
    return value


def private_directory(path):
    """Make a directory 0700 (parents included), or take the mode of an existing one down to it.

    :raises Failure: the path is a symbolic link, no directory, or somebody else's.
    """
    try:
        os.makedirs(path, 0o700)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise Failure("config-error", "%s is not a directory of yours. Move it away and launch again." % path)
    if stat.S_IMODE(found.st_mode) & 0o077:
        os.chmod(path, 0o700)


def trustworthy(directory):
    """Whether nobody but us (and root) can replace an entry of ours in this directory or in one above it."""
    path = os.path.realpath(directory)
    while True:
        try:
            found = os.lstat(path)
        except OSError:
            return False
        if found.st_uid not in (0, os.geteuid()):
            return False
        if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
            return False
        above = os.path.dirname(path)
        if above == path:
            return True
        path = above


_NETWORK_FILESYSTEMS = ("nfs", "lustre", "gpfs", "beegfs", "ceph", "cifs", "smb", "afs", "panfs", "gluster", "orangefs", "pvfs", "weka", "fuse",
                        "9p", "vast")


def filesystem_of(path):
    """The type of the filesystem that holds a path ("nfs4", "xfs", ...), or "" where the system doesn't say."""
    path = os.path.realpath(path)
    best, kind = "", ""
    try:
        with io.open("/proc/self/mounts", "r", encoding="utf-8", errors="replace") as stream:
            for line in stream:
                fields = line.split(" ")
                if len(fields) < 3:
                    continue
                mount = fields[1].replace("\\040", " ")
                if (path == mount or path.startswith(mount.rstrip("/") + "/")) and len(mount) >= len(best):
                    best, kind = mount, fields[2]
    except (IOError, OSError):
        pass
    return kind


def on_network(path):
    """Whether a path is on a filesystem that other hosts share."""
    return filesystem_of(path).startswith(_NETWORK_FILESYSTEMS)


def hold(directory):
    """Lock a node directory for as long as this process lives; returns the descriptor, or None when another one holds it."""
    handle = os.open(os.path.join(directory, NODE_LOCK), os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    close_on_exec(handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (IOError, OSError):
        os.close(handle)
        return None
    return handle


def sweep(place):
    """Remove the node directories of our earlier keepers that were killed."""
    for path in glob.glob(os.path.join(place, "jupyter-*")):
        try:
            found = os.lstat(path)
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or not os.path.isfile(os.path.join(path, NODE_LOCK)):
                continue
            handle = hold(path)
            if handle is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(handle)
        except (IOError, OSError):
            pass


def node_directory(home, room):
    """A fresh directory 0700 of ours on the node's own disk, for the socket and Jupyter's runtime files.

    :param home: directories in which it must not lie: they are shared with other nodes.
    :param room: bytes that the longest path inside it takes beyond its own.
    :raises Failure: no place on this node will do.
    """
    tried = []
    candidates = [os.environ.get(name) for name in ("TMPDIR", "SLURM_TMPDIR", "JOBSCRATCH")] + ["/tmp", "/var/tmp", "/dev/shm"]
    for candidate in candidates:
        if not candidate or candidate in tried:
            continue
        tried.append(candidate)
        place = os.path.realpath(candidate)
        if len(os.fsencode(place) if hasattr(os, "fsencode") else place) + len("/jupyter-12345678") + room > SOCKET_PATH_LIMIT:
            continue
        if any(place == above or place.startswith(above + "/") for above in home) or on_network(place):
            continue
        if not trustworthy(place):
            continue
        sweep(place)
        try:
            path = tempfile.mkdtemp(prefix="jupyter-", dir=place)
            found = os.lstat(path)
            ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == 0o700
            if ours and hold(path) is not None:
                return path
        except (IOError, OSError):
            continue
    raise Failure("socket", "No directory on this node can hold the server's socket safely (tried %s): each is missing, full, shared with other "
                            "hosts, open to other users or its path too long. Set TMPDIR in the job to a directory of your own on the node's "
                            "disk." % ", ".join(tried))


# --- which Jupyter -------------------------------------------------------------------------------------------------

class Jupyter:
    """The Jupyter that this Python has.

    :ivar module: what ``python -m`` runs.
    :ivar flavour: "jupyter_server" or "notebook": whose settings and runtime files it knows.
    :ivar version: of that server, as text ("6.5.7"); "" where it could not be told.
    """

    def __init__(self, module, flavour, version):
        self.module = module
        self.flavour = flavour
        self.version = version

    @property
    def release(self):
        return release(self.version)

    @property
    def has_sockets(self):
        """Notebook 6.1 and jupyter_server 1.9 were the first to listen on a unix socket."""
        return self.release >= ((6, 1) if self.flavour == "notebook" else (1, 9))


def release(version):
    """The leading numbers of a version: "6.5.7rc1" -> (6, 5, 7)."""
    return tuple(int(number) for number in re.findall(r"\d+", re.match(r"[0-9.]*", version or "").group(0)))


def find_package(name, path):
    """Directory and version of a top-level package, found without importing it (an import of Jupyter takes a second).

    :returns: (directory, version) or None.
    """
    for entry in path:
        directory = os.path.join(entry, name)
        if not os.path.isfile(os.path.join(directory, "__init__.py")):
            continue
        spelling = re.compile(r"^%s-([0-9][^-]*?)(-py[0-9.]+)?\.(dist|egg)-info$" % name.replace("_", "[-_.]"), re.IGNORECASE)
        for found in sorted(os.listdir(entry), reverse=True):
            match = spelling.match(found)
            if match:
                return directory, match.group(1)
        for source in ("_version.py", "__init__.py"):
            try:
                with io.open(os.path.join(directory, source), "r", encoding="utf-8", errors="replace") as stream:
                    code = stream.read()
            except (IOError, OSError):
                continue
            match = re.search(r"^__version__\s*=\s*[\"']([^\"']+)", code, re.MULTILINE)
            if match:
                return directory, match.group(1)
            match = re.search(r"^version_info\s*=\s*\(([^)]*)\)", code, re.MULTILINE)
            if match:
                return directory, ".".join(re.findall(r"\d+", match.group(1))[:3])
        return directory, ""
    return None


def find_jupyter(interface="auto", path=None):
    """Choose what to serve: JupyterLab before Notebook 7 before the classic notebook before a bare server.

    :param interface: "auto", "lab" or "notebook".
    :raises Failure: this Python has none of it.
    """
    if path is None:
        own = os.path.dirname(os.path.abspath(__file__))
        path = [entry for entry in sys.path if entry and os.path.abspath(entry) != own]
    lab, notebook = find_package("jupyterlab", path), find_package("notebook", path)
    server, nbclassic = find_package("jupyter_server", path), find_package("nbclassic", path)
    choices = []
    if lab and release(lab[1]) >= (3,) and server:
        choices.append(("lab", Jupyter("jupyterlab", "jupyter_server", server[1])))
    elif lab and notebook and release(notebook[1]) < (7,):
        choices.append(("lab", Jupyter("jupyterlab", "notebook", notebook[1])))
    if notebook and release(notebook[1]) >= (7,) and server:
        choices.append(("notebook", Jupyter("notebook", "jupyter_server", server[1])))
    elif notebook and release(notebook[1]) < (7,):
        choices.append(("notebook", Jupyter("notebook", "notebook", notebook[1])))
    elif nbclassic and server:
        choices.append(("notebook", Jupyter("nbclassic", "jupyter_server", server[1])))
    if server:
        choices.append(("server", Jupyter("jupyter_server", "jupyter_server", server[1])))
    for kind, jupyter in choices:
        if interface in ("auto", kind):
            return jupyter
    if choices:
        raise Failure("jupyter-missing", "The Python of the job (%s) has %s but no \"%s\" interface. Name a module in jupyter_modules that brings "
                                         "it, or set jupyter_install: true and run setup again." % (sys.executable, choices[0][1].module, interface))
    raise Failure("jupyter-missing", "The Python of the job (%s, version %s) has no Jupyter. Name the modules that bring it in jupyter_modules, or "
                                     "set jupyter_install: true and run setup again."
                  % (sys.executable, ".".join(str(number) for number in sys.version_info[:3])))


# --- certificates and endpoints ------------------------------------------------------------------------------------

def check_certificate(certfile, keyfile):
    """Prove that a server can use this certificate now; return the SHA-256 of its leaf (DER) as hex digits.

    :raises Failure: missing, unreadable, damaged, not matching, protected by a passphrase, or expired.
    """
    remedy = " Run setup again: it makes a new one."
    if ssl is None:
        raise Failure("certificate", "The Python of the job (%s) was built without ssl, so it can't serve TLS. Name another in jupyter_modules, or "
                                     "set jupyter_install: true." % sys.executable)
    if not certfile:
        raise Failure("certificate", "This server needs a certificate (it can't or must not use a unix socket), and none is set." + remedy)
    for path in (certfile, keyfile or certfile):
        try:
            with io.open(path, "rb"):
                pass
        except (IOError, OSError) as error:
            raise Failure("certificate", "The certificate file %s can't be read: %s.%s" % (path, os.strerror(error.errno), remedy))
    try:
        context = ssl.SSLContext(getattr(ssl, "PROTOCOL_TLS_SERVER", ssl.PROTOCOL_SSLv23))
        # An empty passphrase, for OpenSSL would otherwise ask a terminal that a job doesn't have.
        context.load_cert_chain(certfile, keyfile or None, password=lambda: b"")
    except (ssl.SSLError, ValueError, IOError, OSError) as error:
        raise Failure("certificate", "The certificate %s and its key can't be used together: %s.%s" % (certfile, printable(str(error)), remedy))
    with io.open(certfile, "r", encoding="ascii", errors="replace") as stream:
        pem = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", stream.read(), re.DOTALL).group(0)
    try:
        ends = ssl.cert_time_to_seconds(ssl._ssl._test_decode_cert(certfile)["notAfter"])
    except (AttributeError, KeyError, ValueError, ssl.SSLError):  # not public, so it may go: then nobody looks at the date here
        ends = None
    if ends is not None and ends < time.time():
        raise Failure("certificate", "The certificate %s ended on %s.%s" % (certfile, time.strftime("%Y-%m-%d", time.gmtime(ends)), remedy))
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def node_address():
    """An address of this node that other hosts of the cluster reach.

    :raises Failure: it has none but the loopback.
    """
    found = []
    for name in (socket.getfqdn(), socket.gethostname()):
        try:
            found.extend(entry[4][0] for entry in socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM))
        except (socket.error, UnicodeError):
            pass
    for variable in ("SLURM_SUBMIT_HOST", "PBS_O_HOST", "SLURM_LAUNCH_NODE_IPADDR"):
        probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:  # connecting a datagram socket sends nothing, but the kernel picks the address that it would send from
            probe.connect((os.environ.get(variable) or "", 9))
            found.append(probe.getsockname()[0])
        except (socket.error, UnicodeError):
            pass
        finally:
            probe.close()
    for address in found:
        if address.startswith("127.") or address == "0.0.0.0":
            continue
        probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            probe.bind((address, 0))
        except socket.error:
            continue
        finally:
            probe.close()
        return address
    raise Failure("socket", "This node (%s) has no address that other hosts reach, so the route \"direct\" is not possible here. Set "
                            "jupyter_route to jump or relay." % socket.gethostname())


def free_port(address, port_range=None):
    """A TCP port that was free a moment ago.

    :param port_range: [first, last] where a firewall lets only those through.
    :raises Failure: all of the range are taken.
    """
    if port_range:
        ports = list(range(int(port_range[0]), int(port_range[1]) + 1))
        random.shuffle(ports)
    else:
        ports = [0]
    for port in ports:
        probe = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        try:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
            return probe.getsockname()[1]
        except socket.error:
            continue
        finally:
            probe.close()
    raise Failure("port-taken", "Every port that may be used on %s is taken (%s)." % (address, port_range))


class Connection(http_client.HTTPConnection):
    """HTTP to an endpoint: over its socket, or over TLS to a server that holds exactly our certificate."""

    def __init__(self, endpoint, timeout):
        http_client.HTTPConnection.__init__(self, "localhost", timeout=timeout)
        self.endpoint = endpoint

    def connect(self):
        if self.endpoint["kind"] == "socket":
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(self.endpoint["path"])
            return
        plain = socket.create_connection((self.endpoint["address"], self.endpoint["port"]), self.timeout)
        try:
            context = ssl.SSLContext(getattr(ssl, "PROTOCOL_TLS_CLIENT", ssl.PROTOCOL_SSLv23))
            context.check_hostname = False  # the fingerprint below is stricter than any name
            context.verify_mode = ssl.CERT_NONE
            self.sock = context.wrap_socket(plain)
            shown = hashlib.sha256(self.sock.getpeercert(True)).hexdigest()
        except BaseException:
            plain.close()
            raise
        if shown != self.endpoint["fingerprint"]:
            self.sock.close()
            raise ssl.SSLError("another certificate than ours")

    def leave(self):
        """Close with a goodbye: old servers log each TLS connection that ends without one."""
        if self.sock is not None and self.endpoint["kind"] == "tls":
            try:
                self.sock.settimeout(0.5)
                self.sock.unwrap()
            except (IOError, OSError, ValueError):
                pass
        self.close()


class Client:
    """Asks our own server. It proves who we are with the token, which no log nor argument ever holds."""

    def __init__(self, endpoint, token, base_url):
        self.endpoint = endpoint
        self.token = token
        self.base_url = base_url

    def request(self, method, path, known=True, timeout=REST_TIMEOUT):
        """One request.

        :param known: with our token; else as a stranger.
        :returns: (status, headers with lower-case names, body bytes).
        :raises OSError, http_client.HTTPException, ssl.SSLError: no answer.
        """
        connection = Connection(self.endpoint, timeout)
        headers = {}
        if known:
            headers["Authorization"] = "token " + self.token
        try:
            connection.request(method, self.base_url + path, headers=headers)
            response = connection.getresponse()
            body = response.read()
            return response.status, dict((name.lower(), value) for name, value in response.getheaders()), body
        finally:
            connection.leave()

    def get(self, path, timeout=REST_TIMEOUT):
        """The JSON that our server gives us.

        :raises: as ``request``, and ValueError for anything but 200 with JSON.
        """
        status, headers, body = self.request("GET", path, timeout=timeout)
        if status != 200:
            raise ValueError("%s answers %d" % (path, status))
        return json.loads(text_of(body))


# --- processes -----------------------------------------------------------------------------------------------------

class Process:
    """What /proc/PID/stat says of one process.

    :ivar terminal: number N of its /dev/pts/N, or None.
    :ivar cpu: seconds of processor time that it and its waited-for children used.
    """

    def __init__(self, pid, line):
        # The name stands in parentheses and may itself hold parentheses and blanks.
        opening, closing = line.index("("), line.rindex(")")
        fields = line[closing + 2:].split()
        self.pid = pid
        self.name = line[opening + 1:closing]
        self.state = fields[0]
        self.parent = int(fields[1])
        number = int(fields[4])
        major, minor = (number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xfff00)
        self.terminal = minor + 256 * (major - 136) if 136 <= major <= 143 else None
        self.cpu = sum(int(value) for value in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def descendants(root):
    """All processes below a pid, as a list of Process; empty where the system has no /proc."""
    children = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else []:
        if not name.isdigit():
            continue
        try:
            with io.open("/proc/%s/stat" % name, "r", encoding="utf-8", errors="replace") as stream:
                process = Process(int(name), stream.read())
        except (IOError, OSError, ValueError, IndexError):  # it ended meanwhile
            continue
        children.setdefault(process.parent, []).append(process)
    found, front = [], [root]
    while front:
        below = children.get(front.pop(), [])
        found.extend(below)
        front.extend(process.pid for process in below)
    return found


def become_subreaper():
    """Inherit the orphans of the job's processes (Linux), so that none is left when the job ends."""
    try:
        ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    except (OSError, AttributeError):
        pass


# --- the allocation ------------------------------------------------------------------------------------------------

def spread(counts):
    """Slurm's "2(x2),1" as [2, 2, 1]."""
    found = []
    for part in (counts or "").split(","):
        match = re.match(r"^(\d+)(?:\(x(\d+)\))?$", part.strip())
        if match:
            found.extend([int(match.group(1))] * int(match.group(2) or 1))
    return found


def node_lines(env, cores, ask):
    """The lines of a PBS node file: each host as often as it has tasks, or cores where the job has one task a node.

    :param ask: runs a command, returns its output or None.
    :returns: list of host names, or None where nothing is known of an allocation.
    """
    if env.get("SLURM_JOB_NODELIST"):
        made = ask(["generate_pbs_nodefile"])
        if made and os.path.isfile(made.strip()):
            with io.open(made.strip(), "r", encoding="utf-8") as stream:
                return stream.read().split()
        hosts = (ask(["scontrol", "show", "hostnames", env["SLURM_JOB_NODELIST"]]) or "").split()
        counts = spread(env.get("SLURM_TASKS_PER_NODE"))
        if not any(count > 1 for count in counts):
            counts = spread(env.get("SLURM_JOB_CPUS_PER_NODE"))
        if not hosts:
            return None
        counts += [1] * (len(hosts) - len(counts))
        return [host for host, count in zip(hosts, counts) for dummy in range(count)]
    if env.get("JUPYTER_LOCAL_JOB"):
        return [socket.gethostname()] * max(1, int(cores or 1))
    return None


def ask_command(argv):
    """Output of a short command, or None when it is missing, fails or takes 10 seconds."""
    try:
        with io.open(os.devnull, "r+b") as null:
            child = subprocess.Popen(argv, stdin=null, stdout=subprocess.PIPE, stderr=null)
        limit = monotonic() + 10.0
        output = b""
        while select.select([child.stdout], [], [], max(0.0, limit - monotonic()))[0]:
            part = os.read(child.stdout.fileno(), 65536)
            if not part:
                return text_of(output) if child.wait() == 0 else None
            output += part
        child.kill()
        child.wait()
    except (IOError, OSError, select.error):
        pass
    return None


def time_left(env, ask):
    """Seconds that Slurm says are left, for a job whose walltime nobody told us (submitted by hand); None where it doesn't say."""
    said = (ask(["squeue", "-h", "-j", env["SLURM_JOB_ID"], "-o", "%L"]) or "").strip() if env.get("SLURM_JOB_ID") else ""
    match = re.match(r"^(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)$", said)
    if not match:
        return None
    days, hours, minutes, seconds = [int(number or 0) for number in match.groups()]
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def time_of_end(env, walltime, now):
    """When the job must end.

    The scheduler's clock and the node's may differ, so its two times count as a duration, and as a date only for others to read.

    :param walltime: seconds of job.json, or None.
    :returns: (epoch for people or None, seconds from now or None)
    """
    try:
        start, end = int(env["SLURM_JOB_START_TIME"]), int(env["SLURM_JOB_END_TIME"])
        if end > start and end < 0xffffffff:  # an unlimited partition says a date beyond that
            used = now - start
            return end, end - start - (used if 0 <= used < 600 else 0)
    except (KeyError, ValueError):
        pass
    try:
        walltime = float(env["PBS_WALLTIME"])
    except (KeyError, ValueError):
        pass
    if not walltime:
        return None, None
    return int(now + float(walltime)), float(walltime)


def moment(seconds):
    """Seconds as people say them: "2 hours", "10 minutes", "45 seconds"."""
    for size, name in ((3600, "hour"), (60, "minute")):
        if seconds >= size - size // 60:
            number = int(round(seconds / size))
            return "%d %s%s" % (number, name, "" if number == 1 else "s")
    return "%d seconds" % max(0, int(seconds))


# --- the way back to the login node --------------------------------------------------------------------------------

def quoted(text):
    """A word for a shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def in_sh(script):
    """A command for sshd, which hands it to whatever shell the user has, csh included."""
    return "exec /bin/sh -c " + quoted(script)


class Reverse:
    """Holds ``ssh -R`` from the node to a socket on the login node, and starts it again when it ends.

    :param order: {"host", "socket", "options"} of control.json; options are further arguments for ssh.
    :param endpoint: the server's endpoint.
    """

    READY = b"jupyter-reverse-up"

    def __init__(self, order, endpoint):
        self.host = str(order["host"])
        self.socket = str(order["socket"])
        self.options = [str(option) for option in order.get("options") or []]
        if self.host.startswith("-") or not self.socket.startswith("/"):
            raise ValueError("the reverse route needs a host and an absolute path")
        self.target = endpoint["path"] if endpoint["kind"] == "socket" else "%s:%d" % (endpoint["address"], endpoint["port"])
        self.child = None
        self.output = b""
        self.up_since = None
        self.pause = 1.0
        self.next_try = 0.0
        self.state = {"state": "connecting", "host": self.host, "socket": self.socket, "message": None}

    def argv(self):
        """The command. A remote `cat` that ends with our standard input keeps nothing alive on the login node when we are gone."""
        script = ("n=0; until test -S %s; do n=$((n+1)); test $n -lt 50 || exit 1; sleep 0.2; done; echo %s; exec cat >/dev/null"
                  % (quoted(self.socket), self.READY.decode("ascii")))
        return ["ssh", "-T"] + self.common() + ["-o", "ExitOnForwardFailure=yes", "-o", "StreamLocalBindMask=0177",
                                                "-R", self.socket + ":" + self.target, "--", self.host, in_sh(script)]

    def common(self):
        """Options of both commands: never ask, never lend the agent, notice a dead network."""
        options = ["-o", "BatchMode=yes", "-o", "ForwardAgent=no", "-o", "ForwardX11=no", "-o", "ControlMaster=no", "-o", "ControlPath=none",
                   "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3", "-o", "ConnectTimeout=20"]
        return self.options + options

    def prepare_argv(self):
        """Make the socket's directory ours alone, and take away the socket of an earlier connection: sshd won't replace it."""
        # Others of the login node may have been there first: in a directory of theirs they could put their own socket for ours.
        script = ("umask 077; d=%s; mkdir -p -m 700 \"$d\" && test -d \"$d\" && test ! -L \"$d\" && test -O \"$d\" && "
                  "case $(ls -ld \"$d\") in drwx------*) exec rm -f %s;; esac; echo \"$d is not a directory of yours alone\"; exit 1"
                  % (quoted(os.path.dirname(self.socket)), quoted(self.socket)))
        return ["ssh", "-T"] + self.common() + ["--", self.host, in_sh(script)]

    def begin(self, argv):
        self.output = b""
        self.child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, close_fds=True,
                                      preexec_fn=os.setsid)

    def look(self):
        """Do what there is to do now; True when the state to publish has changed."""
        before = dict(self.state)
        if self.child is None:
            if monotonic() >= self.next_try:
                self.preparing = True
                self.attempt(self.prepare_argv())
        else:
            while select.select([self.child.stdout], [], [], 0)[0]:
                part = os.read(self.child.stdout.fileno(), 4096)
                if not part:
                    break
                self.output = (self.output + part)[-4096:]
            if self.child.poll() is None:
                if self.up_since is None and not self.preparing and self.READY in self.output:
                    self.up_since = monotonic()
                    self.state.update(state="up", message=None)
            elif self.preparing and self.child.returncode == 0:
                self.preparing = False
                self.close()
                self.attempt(self.argv())
            else:
                self.failed()
        return self.state != before

    def attempt(self, argv):
        try:
            self.begin(argv)
        except OSError as error:
            self.output = str(error).encode("utf-8")
            self.failed()

    def failed(self):
        if self.up_since is not None and monotonic() - self.up_since > 60:
            self.pause = 1.0
        said = [line for line in printable(self.output).splitlines() if line.strip() and self.READY.decode("ascii") not in line]
        self.state.update(state="retrying", message="%s (trying again in %s)" % (said[-1] if said else "ssh to %s ended" % self.host, moment(self.pause)))
        self.next_try = monotonic() + self.pause
        self.pause = min(60.0, self.pause * 2)
        self.close()

    def close(self):
        """End ssh."""
        if self.child is not None:
            if self.child.poll() is None:
                try:
                    os.killpg(self.child.pid, signal.SIGTERM)
                except OSError:
                    pass
                self.child.wait()
            self.child.stdin.close()
            self.child.stdout.close()
        self.child = None
        self.up_since = None


# --- settings of the server ----------------------------------------------------------------------------------------

def user_config_dir(job):
    """Where the user's own Jupyter settings are: ``config_dir`` of the job, else what Jupyter itself would take."""
    return job.get("config_dir") or os.environ.get("JUPYTER_CONFIG_DIR") or os.path.join(os.path.expanduser("~"), ".jupyter")


def extra_settings(settings, flavour):
    """The settings of job.json as sections: {"ServerApp": {...}}.

    They may be nested or dotted ("ServerApp.websocket_ping_interval"), and in the words of either generation.
    """
    sections = {}
    for name, value in settings.items():
        if isinstance(value, dict) and "." not in name:
            sections.setdefault(name, {}).update(value)
        else:
            section, _dot, trait = name.rpartition(".")
            sections.setdefault(section or ("NotebookApp" if flavour == "notebook" else "ServerApp"), {})[trait] = value
    ours, theirs = ("NotebookApp", "ServerApp") if flavour == "notebook" else ("ServerApp", "NotebookApp")
    if theirs in sections:
        translated = sections.pop(theirs)
        for old, new in ((("root_dir", "notebook_dir"), ("jpserver_extensions", "nbserver_extensions")) if flavour == "notebook"
                         else (("notebook_dir", "root_dir"), ("nbserver_extensions", "jpserver_extensions"))):
            if old in translated:
                translated[new] = translated.pop(old)
        merged = dict(translated)
        merged.update(sections.get(ours, {}))
        sections[ours] = merged
    return sections


def shadow_kernels(directory, env):
    """Copies of the IPython kernels' specs, with the history in memory, so that they need no SQLite in the home.

    :param directory: made for them; it is to stand first in JUPYTER_PATH.
    :returns: how many there are.
    """
    data = [part for part in env.get("JUPYTER_PATH", "").split(os.pathsep) if part]
    data.append(env.get("JUPYTER_DATA_DIR") or os.path.join(env.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local", "share"),
                                                            "jupyter"))
    data.extend([os.path.join(sys.prefix, "share", "jupyter"), "/usr/local/share/jupyter", "/usr/share/jupyter"])
    done = set()
    for path in data:
        for spec in sorted(glob.glob(os.path.join(path, "kernels", "*", "kernel.json"))):
            name = os.path.basename(os.path.dirname(spec)).lower()
            if name in done:
                continue
            done.add(name)
            try:
                kernel = read_json(spec)
                if not any(str(part).startswith("ipykernel") for part in kernel["argv"]):
                    continue
                kernel["argv"] = kernel["argv"] + ["--HistoryManager.hist_file=:memory:"]
            except (ValueError, KeyError, TypeError, IOError, OSError):
                continue
            shadow = os.path.join(directory, "kernels", name)
            os.makedirs(shadow, 0o700)
            for other in os.listdir(os.path.dirname(spec)):  # logos
                if other != "kernel.json":
                    os.symlink(os.path.join(os.path.dirname(spec), other), os.path.join(shadow, other))
            write_json(os.path.join(shadow, "kernel.json"), kernel)
    return len(os.listdir(os.path.join(directory, "kernels"))) if os.path.isdir(directory) else 0


def server_settings(jupyter, endpoint, job, token, session_id, cookie_secret_file, users=None, shimmed=()):
    """The settings that make this server ours, as {file name: sections}.

    They stand before the user's own (see ``serve``), so each setting that could break or open the
    server is spelled out, the empty ones too: a certificate, port or socket in ~/.jupyter must not leak in.

    :param users: tornado_settings of the user's own JSON files; ours would otherwise replace them whole.
    :param shimmed: the words of the user's jupyter_notebook_config files.
    """
    app = "NotebookApp" if jupyter.flavour == "notebook" else "ServerApp"
    sections = extra_settings(job.get("settings") or {}, jupyter.flavour)
    sections["KernelManager"] = dict({"transport": "ipc"}, **sections.get("KernelManager", {}))
    sections["NotebookNotary"] = dict({"db_file": ":memory:"}, **sections.get("NotebookNotary", {}))
    tornado = dict(users or {})
    tornado.update(sections.get(app, {}).get("tornado_settings") or {})
    tornado["headers"] = dict(tornado.get("headers") or {}, **{"X-Jupyter-Session": session_id})
    ours = {
        "token": token,
        "tornado_settings": tornado,
        "cookie_secret_file": cookie_secret_file,
        "base_url": job["base_url"],
        "open_browser": False,
        "file_to_run": "",
        "port_retries": 0,
        "client_ca": "",
        "custom_display_url": "",
        "allow_remote_access": False,
        "allow_root": os.geteuid() == 0,
        "disable_check_xsrf": False,
        "shutdown_no_activity_timeout": 0,
        "root_dir" if app == "ServerApp" else "notebook_dir": job["root_dir"],
    }
    if endpoint["kind"] == "socket":
        # The port must be the default one: any other next to a socket makes the server give up.
        ours.update({"sock": endpoint["path"], "sock_mode": "0600", "ip": "localhost", "port": 8888, "certfile": "", "keyfile": "", "ssl_options": {}})
    else:
        ours.update({"ip": endpoint["address"], "port": endpoint["port"], "certfile": job["certfile"], "keyfile": job.get("keyfile") or "",
                     "ssl_options": {"ssl_version": int(getattr(ssl, "PROTOCOL_TLS_SERVER", ssl.PROTOCOL_SSLv23)), "ciphers": TLS_CIPHERS}})
        if jupyter.has_sockets:
            ours["sock"] = ""
    if app == "ServerApp" and jupyter.release >= (2,):
        ours.pop("token")
        ours.setdefault("identity_provider_class", "jupyter_server.auth.identity.PasswordIdentityProvider")
        for provider in ("IdentityProvider", "PasswordIdentityProvider"):
            sections[provider] = dict(sections.get(provider, {}), token=token)
    sections[app] = dict(sections.get(app, {}), **ours)
    # A jupyter_server 2 with the notebook shim passes the NotebookApp settings of an old file on, over all others.
    echoed = dict((trait, value) for trait, value in ours.items() if trait in shimmed)
    if app == "ServerApp" and echoed:
        sections["NotebookApp"] = echoed
    return {"jupyter_server_config.json": sections, "jupyter_notebook_config.json": sections}


# --- why it failed -------------------------------------------------------------------------------------------------

# The first that matches the newest part of the log wins. Jupyter's wording changes between versions, so these only choose the words of
# an explanation; whether the server lives is never read from its log.
_CAUSES = (
    ("disk-full", r"No space left on device|Disk quota exceeded|Errno 28\b|Errno 122\b",
     "The disk is full or your quota is used up. Make room in your home (and in TMPDIR on the node) and launch again."),
    ("certificate", r"SSLError|\[SSL\b|PEM lib|certificate verify failed|key values mismatch",
     "The server could not use its certificate. Run setup again: it makes a new one."),
    ("port-taken", r"Address already in use|no available port could be found|port \d+ is already in use|Permission to listen on port",
     "The port that was free a moment ago was taken by somebody else. Launch again."),
    ("socket", r"AF_UNIX path too long|socket .* is already in use|Permission to listen on sock",
     "The server could not make its socket. Set jupyter_endpoint: tls, or TMPDIR in the job to a directory on the node's disk."),
    ("killed", r"oom-kill|Out of memory|MemoryError|Cannot allocate memory|Killed",
     "The server ran out of memory. Ask for more with jupyter_memory."),
    ("jupyter-missing", r"No module named '?\"?(jupyterlab|notebook|jupyter_server|nbclassic)'?\"?\s*$",
     "Jupyter is incomplete in the Python of the job. Name the modules that bring it in jupyter_modules, or set jupyter_install: true and run "
     "setup again."),
    ("import-error", r"ImportError|ModuleNotFoundError|undefined symbol|cannot open shared object file|GLIBC",
     "A package or library that Jupyter needs can't be loaded. Check jupyter_modules (do they fit together?), or let setup install its own "
     "with jupyter_install: true."),
    ("bad-option", r"TraitError|trait of an? \w+ instance must|Unrecognized (flag|alias)|unrecognized arguments|Invalid argument: '--",
     "Jupyter refused a setting. Look at jupyter_settings and at the files in your ~/.jupyter."),
    ("bad-option", r"Bad config encountered", "Jupyter refused a setting. Look at jupyter_settings and at the files in your ~/.jupyter."),
    ("config-error", r"JSONDecodeError|Error loading config|Exception while loading config|SyntaxError",
     "A settings file of Jupyter is damaged. Look at the files in your ~/.jupyter that the log names."),
)


_TOLD_TO_END = re.compile(r"received signal (15|SIGTERM)")


def explain(log, status):
    """Why a server died, from what it printed and how it ended.

    :param status: exit status as ``subprocess`` has it (negative: the signal), or None while it lives.
    :returns: (cause, reason)
    """
    for cause, pattern, sentence in _CAUSES:
        found = re.search(pattern, log, re.MULTILINE)
        if found:
            # Its own line may be far from the last ones: some versions print all of their help behind it.
            line = re.search(r"[^\n]*\Z", log[:found.start()]).group(0) + re.match(r"[^\n]*", log[found.start():]).group(0)
            return cause, "%s The log says: %s" % (sentence, line.strip()[:300])
    if status == -signal.SIGKILL:
        return "killed", "The server was killed, most often because the job used more memory than it asked for. Ask for more with jupyter_memory."
    if status is not None and status < 0:
        return "killed", "The server was ended by signal %d. The end of its log may tell more." % -status
    return "unknown", "The server ended by itself%s. The end of its log may tell more." % ("" if status is None else " with status %d" % status)


# --- the keeper ----------------------------------------------------------------------------------------------------

class Ended(Exception):
    """Somebody wants the job to end.

    :ivar cause: "stop", "idle", "shutdown" or "signal".
    :ivar reason: a sentence for the person.
    :ivar status: exit status of the keeper.
    """

    def __init__(self, cause, reason, status):
        Exception.__init__(self, reason)
        self.cause = cause
        self.reason = reason
        self.status = status


class Activity:
    """Tells how long a server has been idle, from kernels and terminals and never from an open tab.

    What counts is that something *changed* between two looks, so no clock is ever compared with another.
    """

    def __init__(self):
        self.last = monotonic()
        self.seen = None
        self.cpu = None
        self.looked = None

    def look(self, kernels, terminals, processes, server_pid):
        """Take one look.

        :param kernels: the answer of /api/kernels.
        :param terminals: the answer of /api/terminals ([] where there are none).
        :param processes: the descendants of the keeper.
        :returns: seconds since something last happened.
        """
        now = monotonic()
        shells = dict((process.pid, process) for process in processes if process.parent == server_pid and process.terminal is not None)
        seen = [sorted((str(kernel.get("id")), str(kernel.get("last_activity"))) for kernel in kernels),
                sorted((str(terminal.get("name")), str(terminal.get("last_activity"))) for terminal in terminals),
                sorted((pid, terminal_times(shell.terminal)) for pid, shell in shells.items())]
        cpu = sum(process.cpu for process in processes if process.pid != server_pid)
        working = any(kernel.get("execution_state") == "busy" for kernel in kernels)
        # Whatever runs in a terminal is work (an srun uses no processor here while its tasks compute elsewhere), an editor left open is not.
        parents = dict((process.pid, process.parent) for process in processes)
        for process in processes:
            if process.name in WAITING_PROGRAMS or process.state == "Z":
                continue
            above = process.parent
            while above in parents and above not in shells:
                above = parents[above]
            working = working or above in shells
        if self.looked is not None and cpu - self.cpu > WORKING_SHARE * (now - self.looked):
            working = True  # a thread or child of a kernel that calls itself idle
        if working or (self.seen is not None and seen != self.seen):
            self.last = now
        self.seen, self.cpu, self.looked = seen, cpu, now
        return now - self.last


def terminal_times(number):
    """When somebody last typed into a terminal and when it last printed."""
    try:
        found = os.stat("/dev/pts/%d" % number)
        return int(found.st_atime), int(found.st_mtime)
    except OSError:
        return None


class Keeper:
    """One session's server on this node, from its start to its end."""

    def __init__(self, batch_dir, session):
        self.batch_dir = batch_dir
        self.session = session
        self.directory = os.path.join(batch_dir, "sessions", session)
        self.child = None
        self.client = None
        self.node_dir = None
        self.terminated = None  # name of the signal that asked us to end
        self.log_start = 0
        self.log_handle = None
        self.unwritten = False
        self.heard = False  # a child ended since we last looked for orphans
        self.asking = False  # in a request that a signal may break off
        self.adopting = None
        self.reverse = None
        self.notices = []
        self.warned = None
        self.state = {"version": 1, "session": session, "id": None, "job": None, "node": socket.gethostname(), "fqdn": socket.getfqdn(),
                      "phase": "starting", "endpoint": None, "flavour": None, "version_jupyter": None, "base_url": "/", "pid": None,
                      "started": int(time.time()), "ends": None, "reason": None, "cause": None, "exit": None, "updated": None}

    # -- what others see

    def path(self, *names):
        """A path inside the session directory."""
        return os.path.join(self.directory, *names)

    def say(self, message):
        """A line of our own in server.log."""
        line = u"[%s keeper] %s\n" % (time.strftime("%Y-%m-%d %H:%M:%S"), printable(message))
        try:
            os.write(1 if self.log_handle is None else self.log_handle, line.encode("utf-8"))
        except OSError:
            pass

    def publish(self, **changes):
        """Change server.json. A home that is full must not end the server, so a failure is kept in mind and tried again."""
        self.state.update(changes)
        self.state["updated"] = int(time.time())
        try:
            write_json(self.path("server.json"), self.state)
            self.unwritten = False
        except (IOError, OSError) as error:
            if not self.unwritten:
                # The scheduler's own output file is the last place left where somebody could look.
                self.say("server.json can't be written: %s" % error)
                last_resort = json.dumps(dict(self.state, error="server.json can't be written: %s" % error), sort_keys=True)
                try:
                    os.write(1, last_resort.encode("utf-8") + b"\n")
                except OSError:
                    pass
            self.unwritten = True

    def log_text(self, limit=16384):
        """The end of what this job wrote to server.log."""
        try:
            with io.open(self.log_path, "rb") as stream:
                stream.seek(0, os.SEEK_END)
                stream.seek(max(self.log_start if self.log_start <= stream.tell() else 0, stream.tell() - limit))
                return printable(stream.read().decode("utf-8", "replace"))
        except (IOError, OSError):
            return u""

    def log_tail(self):
        """The last lines that Jupyter printed; our own are told in ``reason``."""
        lines = [line.rstrip()[:500] for line in self.log_text().splitlines() if line.strip() and " keeper] " not in line[:40]]
        return lines[-LOG_TAIL_LINES:]

    # -- before the server

    def load(self):
        """Read site.json and job.json, and prepare the session directory."""
        private_directory(self.directory)
        self.job = dict(DEFAULTS)
        site = {}
        for name, path in (("site.json", os.path.join(self.batch_dir, "site.json")), ("job.json", self.path("job.json"))):
            try:
                found = read_json(path)
            except ValueError as error:
                raise Failure("config-error", "%s is damaged (%s). Run setup again." % (path, printable(str(error))))
            if found is None:
                continue
            if name == "site.json":
                site, found = found, found.get("job") or {}
            self.job.update((key, value) for key, value in found.items() if value is not None)
        self.site = site
        self.by_hand = not os.path.exists(self.path("job.json"))
        if self.by_hand or not self.job.get("id"):
            self.job["id"] = text_of(binascii.hexlify(os.urandom(16)))
        base_url = "/" + str(self.job["base_url"]).strip("/") + "/"
        self.job["base_url"] = "/" if base_url == "//" else base_url
        home = os.path.expanduser("~")
        for key in ("root_dir", "certfile", "keyfile", "config_dir"):
            if self.job[key]:
                if not isinstance(self.job[key], str):  # Python 2.7 reads text that its paths can't always be joined with
                    self.job[key] = self.job[key].encode("utf-8")
                self.job[key] = os.path.abspath(os.path.join(home, os.path.expandvars(os.path.expanduser(self.job[key]))))
        self.job["root_dir"] = self.job["root_dir"] or home
        self.state.update(id=self.job["id"], job=job_id(), base_url=self.job["base_url"])
        self.state["ends"], left = time_of_end(os.environ, self.job["walltime"] or time_left(os.environ, ask_command), time.time())
        self.ends = None if left is None else monotonic() + left
        self.warnings = []
        if left:
            # A short job is warned in its last fifth, not from its first minute on.
            self.warnings = sorted((min(float(early), left / 5.0) for early in self.job["walltime_warnings"] or []), reverse=True)
        self.forget_old_control()

    def forget_old_control(self):
        """An order that is older than job.json was meant for an earlier job of this name."""
        self.control_seen = None
        try:
            control = os.stat(self.path("control.json"))
        except OSError:
            return
        try:
            stale = control.st_mtime <= os.stat(self.path("job.json")).st_mtime
        except OSError:
            stale = True
        if stale:
            self.control_seen = signature(control)

    def open_log(self):
        """Send our own output and that of Jupyter to server.log, or to the node's disk when the home won't take it."""
        self.log_path = self.path("server.log")
        try:
            handle = os.open(self.log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.fchmod(handle, 0o600)
        except OSError as error:
            self.log_path = os.path.join(self.node_dir, "server.log")
            handle = os.open(self.log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(1, ("server.log can't be written (%s); it is %s on this node\n" % (error, self.log_path)).encode("utf-8"))
        self.log_handle = handle
        self.bound_log()
        self.log_start = os.fstat(handle).st_size

    def bound_log(self):
        """Keep only the newest part of a log that grew beyond its limit. (Jupyter appends, so it goes on behind it.)"""
        try:
            size = os.fstat(self.log_handle).st_size
            if size <= LOG_LIMIT:
                return
            with io.open(self.log_path, "rb") as stream:
                stream.seek(size - LOG_KEEP)
                newest = stream.read()
            os.ftruncate(self.log_handle, 0)
            os.write(self.log_handle, newest[newest.find(b"\n") + 1:])
            self.log_start = 0
        except (IOError, OSError):
            pass

    def environment(self):
        """The job's environment, evened out for Jupyter, its kernels and its terminals."""
        env = dict(os.environ)
        for name in list(env):
            # The first names another host's or an already gone directory; the others would change the server behind our settings.
            if name in ("XDG_RUNTIME_DIR", "JUPYTER_TOKEN", "JUPYTER_TOKEN_FILE", "JUPYTER_PORT", "JUPYTER_PORT_RETRIES",
                        "JUPYTER_SERVER_ALLOW_UNAUTHENTICATED_ACCESS", "JUPYTER_ALLOW_INSECURE_WRITES") or name.startswith("JUPYTERHUB_"):
                del env[name]
        env["JUPYTER_RUNTIME_DIR"] = os.path.join(self.node_dir, "r")
        env["JUPYTER_CONFIG_PATH"] = os.pathsep.join([self.path("config")] + [part for part in [env.get("JUPYTER_CONFIG_PATH")] if part])
        if self.job["config_dir"]:
            env["JUPYTER_CONFIG_DIR"] = self.job["config_dir"]
        if self.history_in_memory():
            specs = os.path.join(self.node_dir, "share")
            if shadow_kernels(specs, env):
                env["JUPYTER_PATH"] = os.pathsep.join([specs] + [part for part in [env.get("JUPYTER_PATH")] if part])
        if not env.get("PBS_NODEFILE"):
            lines = node_lines(env, self.job["cores"], ask_command)
            if lines:
                env["PBS_NODEFILE"] = os.path.join(self.node_dir, "nodes")
                write_private(env["PBS_NODEFILE"], "".join(line + "\n" for line in lines).encode("utf-8"))
        temporary = env.get("TMPDIR")
        if not temporary or not os.path.isdir(temporary) or not os.access(temporary, os.W_OK | os.X_OK):
            env["TMPDIR"] = "/tmp"
        if any(env.get(name) for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")):
            # Kernels and terminals reach this node's own services without the site's proxy.
            for name in ("no_proxy", "NO_PROXY"):
                known = [part.strip() for part in env.get(name, "").split(",") if part.strip()]
                env[name] = ",".join(known + [host for host in ("localhost", "127.0.0.1", "::1") if host not in known])
        return env

    def history_in_memory(self):
        """Whether kernels must keep off IPython's history in the home: SQLite hangs or locks on network file systems."""
        wanted = self.job["ipython_history"]
        if wanted == "auto":
            return on_network(os.environ.get("IPYTHONDIR") or os.path.expanduser("~"))
        return wanted == "memory"

    def cookie_secret(self):
        """A file with the secret of the login cookies: kept over renewals of one launch, new when any Jupyter settings changed.

        Servers before 2.18 would take a cookie from before a change of the password.
        """
        digest = hashlib.sha256(self.job["id"].encode("utf-8"))
        for path in sorted(glob.glob(os.path.join(user_config_dir(self.job), "jupyter_*config.*"))):
            try:
                with io.open(path, "rb") as stream:
                    digest.update(stream.read())
            except (IOError, OSError):
                pass
        path, stamp = self.path("cookie_secret"), self.path("cookie_stamp")
        try:
            with io.open(stamp, "rb") as stream:
                same = stream.read() == digest.hexdigest().encode("ascii")
        except (IOError, OSError):
            same = False
        if not same or not os.path.isfile(path):
            write_private(path, binascii.b2a_base64(os.urandom(32)))
            write_private(stamp, digest.hexdigest().encode("ascii"))
        return path

    def users_tornado_settings(self, app):
        """tornado_settings in the user's own JSON files, least important first."""
        found = {}
        for name in ("jupyter_notebook_config.json", "jupyter_server_config.json"):
            try:
                value = (read_json(os.path.join(user_config_dir(self.job), name)) or {}).get(app, {}).get("tornado_settings")
            except (ValueError, IOError, OSError, AttributeError):
                continue
            if isinstance(value, dict):
                found.update(value)
        return found

    def shimmed_words(self):
        """Every word of the settings that the user has for a classic notebook."""
        words = set()
        for path in (os.path.join(user_config_dir(self.job), "jupyter_notebook_config" + kind) for kind in (".py", ".json")):
            try:
                with io.open(path, "r", encoding="utf-8", errors="replace") as stream:
                    words.update(re.findall(r"\w+", stream.read()))
            except (IOError, OSError):
                pass
        return words

    def choose_endpoint(self):
        """Where the server is to listen on this node.

        :raises Failure: the endpoint that was asked for can't be had.
        """
        wanted = self.job["endpoint"]
        if wanted == "auto":
            wanted = "socket" if self.jupyter.has_sockets and self.job["listen"] == "loopback" else "tls"
        if wanted == "socket":
            if not self.jupyter.has_sockets:
                raise Failure("socket", "%s %s can't listen on a unix socket. Set jupyter_endpoint: auto or tls." %
                              (self.jupyter.flavour, self.jupyter.version))
            return {"kind": "socket", "path": os.path.join(self.node_dir, "s")}
        if wanted != "tls":
            raise Failure("bad-option", "jupyter_endpoint must be auto, socket or tls, not \"%s\"." % printable(str(wanted)))
        fingerprint = check_certificate(self.job["certfile"], self.job["keyfile"])
        listen = self.job["listen"]
        address = {"loopback": "127.0.0.1", "node": None}.get(listen, listen) or node_address()
        return {"kind": "tls", "address": address, "port": free_port(address, self.job["port_range"]), "fingerprint": fingerprint}

    def write_config(self, endpoint):
        """Write the session's settings, with a new token, and make the client that knows it."""
        token = text_of(binascii.hexlify(os.urandom(24)))
        app = "NotebookApp" if self.jupyter.flavour == "notebook" else "ServerApp"
        files = server_settings(self.jupyter, endpoint, self.job, token, self.job["id"], self.cookie_secret(),
                                self.users_tornado_settings(app), self.shimmed_words())
        private_directory(self.path("config"))
        for name, sections in files.items():
            write_json(self.path("config", name), sections)
        self.client = Client(endpoint, token, self.job["base_url"])

    # -- the server

    def start(self):
        """Start Jupyter and wait until it answers, or raise Failure with the cause; a lost race for the port is run again."""
        for attempt in range(5):
            endpoint = self.choose_endpoint()
            self.write_config(endpoint)
            self.publish(phase="starting", endpoint=endpoint, flavour=self.jupyter.flavour, version_jupyter=self.jupyter.version)
            self.log_start = os.fstat(self.log_handle).st_size
            self.say("starting %s (%s %s) for session %s, job %s" % (
                self.jupyter.module, self.jupyter.flavour, self.jupyter.version, self.session, self.state["job"]))
            self.spawn()
            try:
                self.await_answer(endpoint)
                self.activity = Activity()
                self.publish(phase="ready")
                self.say("ready")
                return
            except Failure as failure:
                self.end_child(0)
                if failure.cause != "port-taken" or attempt == 4:
                    raise
                self.say("port %s was taken; trying another" % endpoint.get("port"))

    def spawn(self):
        """Start the child: a process group of its own, its output in server.log, nothing secret in its arguments."""
        argv = [sys.executable, os.path.abspath(__file__), "--serve", self.jupyter.module, self.path("config")]
        null = os.open(os.devnull, os.O_RDONLY)
        try:
            self.child = subprocess.Popen(argv, stdin=null, stdout=self.log_handle, stderr=self.log_handle, cwd=self.job["root_dir"],
                                          env=self.env, preexec_fn=os.setsid, close_fds=True)
        finally:
            os.close(null)
        self.publish(pid=self.child.pid)

    def await_answer(self, endpoint):
        """Return once the server answers as ours and refuses strangers.

        :raises Failure: it died, or did not answer within ``start_timeout``, or let a stranger in.
        """
        limit = monotonic() + float(self.job["start_timeout"])
        next_look = monotonic()
        while True:
            if self.child.poll() is not None:
                cause, reason = explain(self.log_text(), self.child.returncode)
                raise Failure(cause, reason)
            if self.answers(endpoint):
                break
            if monotonic() >= next_look:
                self.look_at_control(stop_only=True)
                next_look = monotonic() + TICK
            if monotonic() > limit:
                cause, reason = explain(self.log_text(), None)
                raise Failure(cause, reason if cause != "unknown" else
                              "The server did not answer within %d seconds (start_timeout). The node or the file system may be slow, or the "
                              "end of its log may tell more." % self.job["start_timeout"])
            self.wait(ANSWER_STEP)
        # One request is not enough to judge by: some pages are meant for strangers.
        for path in ("api/contents", "api/kernels"):
            status = self.stranger(path)[0]
            if status == 200:
                raise Failure("open-server", "The server would let anybody in without a password: it answered a stranger at /%s. It was stopped. Look "
                                             "at the settings in your ~/.jupyter that switch authentication off." % path)

    def stranger(self, path):
        """What the server answers to somebody without token; a signal to end breaks it off."""
        self.asking = True
        try:
            return self.client.request("GET", path, known=False)
        finally:
            self.asking = False

    def answers(self, endpoint):
        """Whether something that is our server answers /api.

        :raises Failure: something else does.
        """
        if endpoint["kind"] == "socket" and not os.path.exists(endpoint["path"]):
            return False
        try:
            status, headers, dummy = self.stranger("api")
        except (IOError, OSError, http_client.HTTPException) as error:
            if ssl is not None and isinstance(error, ssl.SSLError) and "another certificate" in str(error):
                raise Failure("port-taken", "Somebody else's server answers on the port that was chosen. Launch again.")
            return False
        if status == 200 and headers.get("x-jupyter-session") == self.job["id"]:
            return True
        if status >= 500:
            return False
        if status == 200:
            raise Failure("port-taken" if endpoint["kind"] == "tls" else "config-error",
                          "A server answers, but not as this session (it lacks our header). A jupyter_server_config.* in %s may replace "
                          "tornado_settings: move it to ~/.jupyter." % self.job["root_dir"])
        return False

    # -- while it runs

    def told_to_end(self):
        return Ended("signal", "The scheduler ended the job (%s): its time was up or it was cancelled." % self.terminated, 143)

    def wait(self, seconds):
        """``pause``, but raise Ended when we were told to end."""
        self.pause(seconds)
        if self.terminated:
            raise self.told_to_end()

    def pause(self, seconds):
        """Sleep until a signal or a child's end wakes us, at most so long."""
        try:
            ready = select.select([self.wake], [], [], seconds)[0]
            if ready:
                os.read(self.wake, 512)
        except (OSError, select.error) as error:
            if error.args[0] not in (errno.EINTR, errno.EAGAIN):
                raise

    def watch(self):
        """Run until the server ends or somebody wants it to; always raises Ended or Failure."""
        # A tenth of the limit, so that an end comes late by no more than that; a minute is soon enough for anybody.
        interval = min(60.0, max(0.5, float(self.job["idle_timeout"] or 600) / 10.0))
        next_look = monotonic() + interval
        while True:
            self.wait(TICK)
            self.reap()
            if self.child.poll() is not None:
                self.judge_end()
            self.look_at_control()
            self.look_at_reverse()
            self.look_at_walltime()
            if monotonic() >= next_look:
                self.look_at_activity()
                self.bound_log()
                if self.unwritten:
                    self.publish()
                next_look = monotonic() + interval

    def judge_end(self):
        """The server is gone and we did not ask: by whose will?"""
        # The scheduler signals every process of the job, and the server may be quicker to end than we are to hear of it.
        until = monotonic() + 1.0
        while monotonic() < until:
            self.wait(until - monotonic())
        status = self.child.returncode
        log = self.log_text()
        if status == -signal.SIGTERM or _TOLD_TO_END.search(log):
            raise Ended("signal", "The server was told to end from outside (SIGTERM).", 143)
        if status == 0:
            raise Ended("shutdown", "The server was shut down from the browser.", 0)
        raise Failure(*explain(log, status))

    def look_at_control(self, stop_only=False):
        """Obey control.json when it is new; with ``stop_only`` leave any other order for when the server is up."""
        try:
            found = os.stat(self.path("control.json"))
        except OSError:
            return
        if signature(found) == self.control_seen:
            return
        try:
            order = read_json(self.path("control.json")) or {}
        except (ValueError, IOError, OSError):
            return  # half a file of somebody who writes it in place: the next look sees it whole
        if stop_only and not order.get("stop"):
            return
        self.control_seen = signature(found)
        self.obey(order)

    def obey(self, order):
        """Do what one control.json says."""
        if order.get("stop"):
            raise Ended("stop", "The session was stopped.", 0)
        if order.get("endpoint") or order.get("listen"):
            refusal = self.move(order)
            self.publish(control={"order": order, "refused": refusal})
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
            kernels = self.ask("api/kernels")
        except (IOError, OSError, http_client.HTTPException, ValueError) as error:
            kernels = ["?"]
            self.say("the server did not say what runs in it: %s" % error)
        if kernels and not order.get("force"):
            return "%d kernel(s) run in the server and would be lost. Shut them down, or stop the session and launch it again." % len(kernels)
        before = dict(self.job)
        self.job.update(wanted)
        try:
            self.choose_endpoint()
        except Failure as failure:
            self.job = before
            return failure.reason
        self.say("moving to another endpoint: %s" % json.dumps(wanted, sort_keys=True))
        self.publish(phase="starting")
        self.end_child(float(self.job["stop_grace"]))
        self.start()
        if self.reverse:
            self.hold_reverse({"host": self.reverse.host, "socket": self.reverse.socket, "options": self.reverse.options})
        return None

    def hold_reverse(self, order):
        """Begin the way back to the login node, change it, or (None) give it up."""
        if self.reverse:
            self.reverse.close()
            self.reverse = None
        state = None
        if order:
            try:
                self.reverse = Reverse(order, self.state["endpoint"])
                state = self.reverse.state
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                state = {"state": "failed", "message": printable(str(error))}
        self.publish(reverse=state)

    def look_at_reverse(self):
        """Keep the way back alive."""
        if self.reverse and self.reverse.look():
            self.say("reverse: %(state)s %(message)s" % self.reverse.state)
            self.publish(reverse=self.reverse.state)

    def ask(self, path):
        """JSON of our own server; a signal to end breaks it off."""
        self.asking = True
        try:
            return self.client.get(path)
        finally:
            self.asking = False

    def look_at_activity(self):
        """End the job when nothing has worked for ``idle_timeout``. A look that fails proves nothing."""
        timeout = float(self.job["idle_timeout"] or 0)
        if timeout <= 0:
            return
        try:
            kernels = self.ask("api/kernels")
            try:
                terminals = self.ask("api/terminals")
            except ValueError:  # terminals are switched off
                terminals = []
            idle = self.activity.look(kernels, terminals, descendants(os.getpid()), self.child.pid)
        except (IOError, OSError, http_client.HTTPException, ValueError, AttributeError, TypeError) as error:
            self.say("could not see what the server does: %s" % error)
            return
        if idle >= timeout:
            raise Ended("idle", "No kernel and no terminal did anything for %s (jupyter_idle_timeout)." % moment(timeout), 0)

    def look_at_walltime(self):
        """Warn before the end of the job, each time that was asked for."""
        left = None if self.ends is None else self.ends - monotonic()
        if not self.warnings or left is None or left > self.warnings[0]:
            return
        while self.warnings and left <= self.warnings[0]:
            self.warnings.pop(0)
        self.warn(max(0.0, left))

    def warn(self, left):
        """Tell that the job ends: in server.json, the log, every terminal of the session and a file that JupyterLab's file browser shows."""
        ends = time.time() + left
        message = "The job of this Jupyter session (%s%s) ends at %s, in %s. %s" % (
            self.session, ", job %s" % self.state["job"] if self.state["job"] else "", time.strftime("%H:%M", time.localtime(ends)), moment(left),
            "Save your work; a new job then takes over, with new kernels." if self.renewals() else "Save your work; its kernels end with it.")
        self.say(message)
        self.publish(warning={"ends": self.state["ends"], "message": message})
        ways = self.job["walltime_notice"] or []
        if "terminal" in ways:
            for process in descendants(self.child.pid):
                if process.parent == self.child.pid and process.terminal is not None:
                    tell_terminal("/dev/pts/%d" % process.terminal, message)
        if "file" in ways:
            path = os.path.join(self.job["root_dir"], "JUPYTER-ENDS-AT-%s.txt" % time.strftime("%H-%M", time.localtime(self.state["ends"] or ends)))
            if path in self.notices:
                return
            try:
                # O_EXCL: a file of that name that is not ours stays as it is.
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                os.write(handle, ("%s\n\nThis file goes away with the job.\n%s\n" % (message, self.notice_mark())).encode("utf-8"))
                os.close(handle)
                self.notices.append(path)
            except OSError as error:
                self.say("the notice %s can't be written: %s" % (path, error))

    def notice_mark(self):
        """The last line of our notices: by it the next job of the session knows what a killed one left."""
        return "(hpc.jupyter session %s)" % self.session

    def remove_notices(self, old=False):
        """Remove our notices; with ``old`` those that an earlier, killed job of this session left."""
        paths = self.notices
        if old:
            paths = glob.glob(os.path.join(self.job["root_dir"], "JUPYTER-ENDS-AT-??-??.txt"))
        for path in paths:
            try:
                with io.open(path, "r", encoding="utf-8", errors="replace") as stream:
                    ours = stream.read(4096).rstrip().endswith(self.notice_mark())
                if ours:
                    os.unlink(path)
            except (IOError, OSError):
                pass

    # -- renewals

    def renewals(self):
        """Whether jobs of this session have successors."""
        try:
            record = read_json(self.path("record.json")) or {}
        except (ValueError, IOError, OSError):
            record = {}
        return bool(self.job["renewals"] or record.get("renewals") or record.get("successor"))

    def program(self, *words):
        """Start the login-node program of the batch directory with these words.

        :raises OSError: it can't be started.
        """
        with io.open(os.devnull, "rb") as null:
            return subprocess.Popen([self.site.get("python") or sys.executable, os.path.join(self.batch_dir, "program.pyz")] + list(words), stdin=null,
                                    stdout=self.log_handle, stderr=self.log_handle, close_fds=True, preexec_fn=os.setsid)

    def adopt_job(self):
        """Let the program note that this job runs now, and submit the next successor. Nobody waits for it."""
        if self.state["job"] and self.renewals():
            try:
                self.adopting = self.program("adopt-job", self.session, self.state["job"])
            except OSError as error:
                self.say("the successor can't be seen to: %s" % error)

    def drop_successor(self):
        """Before an end that somebody wanted: the successor must not start. Best effort, 20 seconds at most."""
        if not self.renewals():
            return
        try:
            child = self.program("drop-successor", self.session)
        except OSError as error:
            self.say("the successor can't be removed: %s" % error)
            return
        self.await_child(monotonic() + 20.0, child)
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            self.say("removing the successor took longer than 20 seconds")

    # -- its end

    def end(self, ended):
        """The end that somebody wanted: server, successor, and what others read of it."""
        self.say(ended.reason)
        self.publish(phase="stopping", reason=ended.reason, cause=ended.cause)
        if ended.status == 0:
            self.drop_successor()
        # After the scheduler's SIGTERM a SIGKILL follows, at some sites 5 seconds later: then server.json must be done.
        self.end_child(float(self.job["stop_grace"]) if ended.status == 0 else min(4.0, float(self.job["stop_grace"])), ask=ended.status == 0)
        self.end_orphans()
        self.publish(phase="ended")

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
                self.heard = True
                self.reap()
                orphans = descendants(os.getpid())
                if orphans:
                    self.pause(0.05)

    def reap(self):
        """Bury orphans that ended as our children; those that we started are left to ``poll``."""
        if not self.heard:
            return
        self.heard = False
        own = [child.pid for child in (self.child, self.adopting, self.reverse and self.reverse.child) if child]
        for process in descendants(os.getpid()):
            if process.parent == os.getpid() and process.state == "Z" and process.pid not in own:
                try:
                    os.waitpid(process.pid, os.WNOHANG)
                except OSError:
                    pass
        if self.adopting and self.adopting.poll() is not None:
            self.adopting = None

    def end_child(self, grace, ask=True):
        """End the server: by its own request first (``ask``), then by signals; ``grace`` in seconds for all of it."""
        if self.child is None:
            return
        until = monotonic() + grace
        if self.child.poll() is None and grace > 0 and ask:
            try:
                self.client.request("POST", "api/shutdown", timeout=min(2.0, grace))
                self.await_child(until - grace / 3.0, self.child)
            except (IOError, OSError, http_client.HTTPException, ValueError):
                pass
        heard = False
        if self.terminated and grace > 0:
            # Most schedulers signal all processes of the job. A second SIGTERM would hit a server in the middle of its own end.
            self.await_child(min(until, monotonic() + 0.3), self.child)
            heard = _TOLD_TO_END.search(self.log_text()) is not None
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.child.poll() is not None:
                break
            if heard and number == signal.SIGTERM:
                self.await_child(until, self.child)
                continue
            try:
                os.killpg(self.child.pid, number)
            except OSError:
                pass
            self.await_child(until if number == signal.SIGTERM else monotonic() + 10.0, self.child)
        self.state["exit"] = self.child.returncode

    def await_child(self, until, child):
        """Wait for a child's end until that time on the monotonic clock; no signal breaks it off."""
        while child.poll() is None and monotonic() < until:
            self.pause(min(0.2, max(0.0, until - monotonic())))

    def clean_up(self):
        """Remove what only lived for this job."""
        self.remove_notices()
        for directory in (self.node_dir, self.path("config")):
            if directory:
                shutil.rmtree(directory, ignore_errors=True)

    def run(self):
        """The whole life. Returns the exit status of the job."""
        os.umask(0o077)
        self.catch_signals()
        become_subreaper()
        status = 1
        try:
            self.load()
            self.node_dir = node_directory([os.path.realpath(path) for path in (os.path.expanduser("~"), self.batch_dir)],
                                           len("/r/kernel-01234567-89ab-cdef-0123-456789abcdef-ipc-9"))
            os.mkdir(os.path.join(self.node_dir, "r"), 0o700)
            self.open_log()
            self.publish()
            if not os.path.isdir(self.job["root_dir"]):
                raise Failure("bad-option", "The directory %s (jupyter_root_dir) does not exist on this node." % self.job["root_dir"])
            self.remove_notices(old=True)
            self.jupyter = find_jupyter(self.job["interface"])
            self.adopt_job()
            self.env = self.environment()
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
        finally:
            self.clean_up()
        return status

    def fail(self, failure):
        """Tell the failure, with the end of the log, and end what is left of the server."""
        self.say("%s: %s" % (failure.cause, failure.reason))
        tail = self.log_tail() if self.log_handle is not None else []
        if self.state["phase"] != "ready":
            self.drop_successor()  # it would fail in the same way
        self.end_child(0)
        self.end_orphans()
        self.publish(phase="failed", cause=failure.cause, reason=failure.reason, log_tail=tail)

    def catch_signals(self):
        """SIGTERM and SIGINT end the server, SIGHUP is none of our business, a child's end wakes the loop."""
        self.wake, write_end = os.pipe()
        for handle in (self.wake, write_end):
            close_on_exec(handle)
        for handle in (self.wake, write_end):
            fcntl.fcntl(handle, fcntl.F_SETFL, fcntl.fcntl(handle, fcntl.F_GETFL) | os.O_NONBLOCK)
        signal.set_wakeup_fd(write_end)

        def told(number, frame):
            self.terminated = "SIGTERM" if number == signal.SIGTERM else "SIGINT"
            if self.asking:
                self.asking = False
                raise self.told_to_end()

        def heard(number, frame):
            self.heard = True

        signal.signal(signal.SIGTERM, told)
        signal.signal(signal.SIGINT, told)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, heard)


def close_on_exec(handle):
    """Keep a file descriptor from our children, on Python 2.7 too."""
    fcntl.fcntl(handle, fcntl.F_SETFD, fcntl.fcntl(handle, fcntl.F_GETFD) | fcntl.FD_CLOEXEC)


def tell_terminal(path, message):
    """Print a line on somebody's terminal, without ever waiting for it."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            os.write(handle, ("\r\n\a*** %s ***\r\n" % message).encode("utf-8"))
        finally:
            os.close(handle)
    except OSError:
        pass


def signature(found):
    """What tells one version of a file from the next."""
    return found.st_ino, found.st_size, found.st_mtime


def job_id():
    """The scheduler's id of this job, or None outside of one."""
    for name in ("SLURM_JOB_ID", "PBS_JOBID", "JUPYTER_LOCAL_JOB"):
        if os.environ.get(name):
            return os.environ[name]
    return None


def serve(module, config):
    """In the child: become the Jupyter application, with the settings of a directory before all others.

    A plain ``python -m`` would look for packages in the working directory first, where a user's random.py or tornado.py lies in wait.
    """
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: a server whose keeper was killed must not stay behind
    except (OSError, AttributeError):
        pass
    own = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if entry and os.path.abspath(entry) != own]
    sys.argv[:] = [module]
    try:
        from jupyter_core.application import JupyterApp
        others = JupyterApp.config_file_paths.fget
        # By itself JUPYTER_CONFIG_PATH comes after the working directory and after ~/.jupyter in versions before 4.11 and 4.7.
        JupyterApp.config_file_paths = property(lambda app: [config] + [path for path in others(app) if path != config])
    except (ImportError, AttributeError):
        pass  # whatever is wrong, the module below says it better
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def main(argv=None):
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-dir", default=os.path.dirname(os.path.abspath(__file__)))
    parser.add_argument("--session", default="default")
    parser.add_argument("--serve", nargs=2, metavar=("MODULE", "CONFIG"), help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.serve:
        serve(*arguments.serve)
        return 0
    if not SESSION_NAME.match(arguments.session):
        parser.error("a session name has letters, digits, dot, dash and underscore only, at most 32")
    return Keeper(os.path.abspath(arguments.batch_dir), arguments.session).run()


if __name__ == "__main__":
    sys.exit(main())
