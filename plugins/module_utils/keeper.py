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
import calendar
import ctypes
import errno
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
}


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
        try:
            path = tempfile.mkdtemp(prefix="jupyter-", dir=place)
        except (IOError, OSError):
            continue
        found = os.lstat(path)
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == 0o700:
            return path
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
        headers = {"Connection": "close"}
        if known:
            headers["Authorization"] = "token " + self.token
        try:
            connection.request(method, self.base_url + path, headers=headers)
            response = connection.getresponse()
            body = response.read()
            return response.status, dict((name.lower(), value) for name, value in response.getheaders()), body
        finally:
            connection.close()

    def get(self, path, timeout=REST_TIMEOUT):
        """The JSON that our server gives us.

        :raises: as ``request``, and ValueError for anything but 200 with JSON.
        """
        status, headers, body = self.request("GET", path, timeout=timeout)
        if status != 200:
            raise ValueError("%s answers %d" % (path, status))
        return json.loads(text_of(body))


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
            section, _, trait = name.rpartition(".")
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


def server_settings(jupyter, endpoint, job, token, session_id, cookie_secret_file, users=None):
    """The settings that make this server ours, as {file name: sections}.

    They stand before the user's own through JUPYTER_CONFIG_PATH, so each setting that could break or open the
    server is spelled out, the empty ones too: a certificate, port or socket in ~/.jupyter must not leak in.

    :param users: tornado_settings of the user's own JSON files; ours would otherwise replace them whole.
    """
    app = "NotebookApp" if jupyter.flavour == "notebook" else "ServerApp"
    sections = extra_settings(job.get("settings") or {}, jupyter.flavour)
    sections["KernelManager"] = dict({"transport": "ipc"}, **sections.get("KernelManager", {}))
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
    ("bad-option", r"TraitError|Unrecognized (flag|alias)|unrecognized arguments|Invalid argument: '--",
     "Jupyter refused a setting. Look at jupyter_settings and at the files in your ~/.jupyter."),
    ("config-error", r"JSONDecodeError|Error loading config|Exception while loading config|SyntaxError|Bad config",
     "A settings file of Jupyter is damaged. Look at the files in your ~/.jupyter that the log names."),
)


def explain(log, status):
    """Why a server died, from what it printed and how it ended.

    :param status: exit status as ``subprocess`` has it (negative: the signal), or None while it lives.
    :returns: (cause, reason)
    """
    for cause, pattern, sentence in _CAUSES:
        if re.search(pattern, log, re.MULTILINE):
            return cause, sentence
    if status == -signal.SIGKILL:
        return "killed", "The server was killed, most often because the job used more memory than it asked for. Ask for more with jupyter_memory."
    if status is not None and status < 0:
        return "killed", "The server was ended by signal %d. The end of its log may tell more." % -status
    return "unknown", "The server ended by itself%s. The end of its log may tell more." % ("" if status is None else " with status %d" % status)


# --- the keeper ----------------------------------------------------------------------------------------------------

class Ended(Exception):
    """Somebody wants the job to end.

    :ivar reason: a sentence for the person.
    :ivar status: exit status of the keeper.
    """

    def __init__(self, reason, status):
        Exception.__init__(self, reason)
        self.reason = reason
        self.status = status


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
                self.job[key] = os.path.abspath(os.path.join(home, os.path.expandvars(os.path.expanduser(self.job[key]))))
        self.job["root_dir"] = self.job["root_dir"] or home
        self.state.update(id=self.job["id"], job=job_id(), base_url=self.job["base_url"])
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
        temporary = env.get("TMPDIR")
        if not temporary or not os.path.isdir(temporary) or not os.access(temporary, os.W_OK | os.X_OK):
            env["TMPDIR"] = "/tmp"
        if any(env.get(name) for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")):
            # Kernels and terminals reach this node's own services without the site's proxy.
            for name in ("no_proxy", "NO_PROXY"):
                known = [part.strip() for part in env.get(name, "").split(",") if part.strip()]
                env[name] = ",".join(known + [host for host in ("localhost", "127.0.0.1", "::1") if host not in known])
        return env

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
        files = server_settings(self.jupyter, endpoint, self.job, token, self.job["id"], self.cookie_secret(), self.users_tornado_settings(app))
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
            self.say("starting %s (%s %s) for session %s, job %s" % (self.jupyter.module, self.jupyter.flavour, self.jupyter.version, self.session,
                                                                   self.state["job"]))
            self.spawn()
            try:
                self.await_answer(endpoint)
                return
            except Failure as failure:
                self.end_child(0)
                if failure.cause != "port-taken" or attempt == 4:
                    raise
                self.say("port %s was taken; trying another" % endpoint.get("port"))

    def spawn(self):
        """Start the child: a process group of its own, its output in server.log, nothing secret in its arguments."""
        argv = [sys.executable, os.path.abspath(__file__), "--serve", self.jupyter.module]
        null = os.open(os.devnull, os.O_RDONLY)
        try:
            self.child = subprocess.Popen(argv, stdin=null, stdout=self.log_handle, stderr=self.log_handle, cwd=self.job["root_dir"],
                                          env=self.environment(), preexec_fn=os.setsid, close_fds=True)
        finally:
            os.close(null)
        self.publish(pid=self.child.pid)

    def await_answer(self, endpoint):
        """Return once the server answers as ours and refuses strangers.

        :raises Failure: it died, or did not answer within ``start_timeout``, or let a stranger in.
        """
        limit = monotonic() + float(self.job["start_timeout"])
        while True:
            if self.child.poll() is not None:
                cause, reason = explain(self.log_text(), self.child.returncode)
                raise Failure(cause, reason)
            if self.answers(endpoint):
                break
            if monotonic() > limit:
                cause, reason = explain(self.log_text(), None)
                raise Failure(cause, reason if cause != "unknown" else
                              "The server did not answer within %d seconds (start_timeout). The node or the file system may be slow, or the "
                              "end of its log may tell more." % self.job["start_timeout"])
            self.wait(ANSWER_STEP)
        # One request is not enough to judge by: some pages are meant for strangers.
        for path in ("api/contents", "api/kernels"):
            status = self.client.request("GET", path, known=False)[0]
            if status == 200:
                raise Failure("open-server", "The server would let anybody in without a password: it answered a stranger at /%s. It was stopped. Look "
                                             "at the settings in your ~/.jupyter that switch authentication off." % path)

    def answers(self, endpoint):
        """Whether something that is our server answers /api.

        :raises Failure: something else does.
        """
        if endpoint["kind"] == "socket" and not os.path.exists(endpoint["path"]):
            return False
        try:
            status, headers, dummy = self.client.request("GET", "api", known=False, timeout=5.0)
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

    def wait(self, seconds):
        """Sleep until a signal or a child's end wakes us, at most so long; raise Ended when we were told to end."""
        try:
            ready = select.select([self.wake], [], [], seconds)[0]
            if ready:
                os.read(self.wake, 512)
        except (OSError, select.error) as error:
            if error.args[0] not in (errno.EINTR, errno.EAGAIN):
                raise
        if self.terminated:
            raise Ended("The scheduler ended the job (%s): its time was up or it was cancelled." % self.terminated, 143)

    def watch(self):
        """Run until the server ends or somebody wants it to; always raises Ended or Failure."""
        while True:
            self.wait(TICK)
            if self.child.poll() is not None:
                self.judge_end()
            self.look_at_control()
            if self.unwritten:
                self.publish()

    def judge_end(self):
        """The server is gone and we did not ask: by whose will?"""
        # The scheduler signals every process of the job, and the server may be quicker to end than we are to hear of it.
        until = monotonic() + 1.0
        while monotonic() < until:
            self.wait(until - monotonic())
        status = self.child.returncode
        log = self.log_text()
        if status == -signal.SIGTERM or re.search(r"received signal (15|SIGTERM)", log[-4000:]):
            raise Ended("The server was told to end from outside (SIGTERM).", 143)
        if status == 0:
            raise Ended("The server was shut down from the browser.", 0)
        raise Failure(*explain(log, status))

    def look_at_control(self):
        """Obey control.json when it is new."""
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
        self.control_seen = signature(found)
        self.obey(order)

    def obey(self, order):
        """Do what one control.json says."""
        if order.get("stop"):
            raise Ended("The session was stopped.", 0)

    # -- its end

    def end_child(self, grace):
        """End the server: by its own request first, then by signals; ``grace`` in seconds for all of it."""
        if self.child is None:
            return
        until = monotonic() + grace
        if self.child.poll() is None and grace > 0 and self.state["phase"] == "stopping" and self.client and self.state["exit"] is None:
            try:
                self.client.request("POST", "api/shutdown", timeout=min(2.0, grace))
            except (IOError, OSError, http_client.HTTPException, ValueError):
                pass
            self.await_child(min(until, monotonic() + grace / 2.0))
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.child.poll() is not None:
                break
            try:
                os.killpg(self.child.pid, number)
            except OSError:
                pass
            self.await_child(until if number == signal.SIGTERM else monotonic() + 10.0)
        self.state["exit"] = self.child.returncode

    def await_child(self, until):
        """Wait for the child's end until that time on the monotonic clock."""
        while self.child.poll() is None and monotonic() < until:
            try:
                self.wait(min(0.2, max(0.0, until - monotonic())))
            except Ended:
                self.terminated = None  # ending already; a second signal must not break it off

    def clean_up(self):
        """Remove what only lived for this job."""
        for directory in (self.node_dir, self.path("config")):
            if directory:
                shutil.rmtree(directory, ignore_errors=True)

    def run(self):
        """The whole life. Returns the exit status of the job."""
        os.umask(0o077)
        self.catch_signals()
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
            self.jupyter = find_jupyter(self.job["interface"])
            self.start()
            self.publish(phase="ready")
            self.say("ready")
            self.watch()
        except Ended as ended:
            status = ended.status
            self.say(ended.reason)
            self.publish(phase="stopping", reason=ended.reason)
            self.end_child(float(self.job["stop_grace"]))
            self.publish(phase="ended", reason=ended.reason)
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
        self.end_child(float(self.job["stop_grace"]) if self.state["phase"] == "ready" else 0)
        if self.child is not None:
            self.state["exit"] = self.child.returncode
        self.publish(phase="failed", cause=failure.cause, reason=failure.reason, log_tail=tail)

    def catch_signals(self):
        """SIGTERM and SIGINT end the server, SIGHUP is none of our business, a child's end wakes the loop."""
        self.wake, write_end = os.pipe()
        for handle in (self.wake, write_end):
            close_on_exec(handle)
        import fcntl
        for handle in (self.wake, write_end):
            fcntl.fcntl(handle, fcntl.F_SETFL, fcntl.fcntl(handle, fcntl.F_GETFL) | os.O_NONBLOCK)
        signal.set_wakeup_fd(write_end)

        def told(number, frame):
            self.terminated = "SIGTERM" if number == signal.SIGTERM else "SIGINT"

        signal.signal(signal.SIGTERM, told)
        signal.signal(signal.SIGINT, told)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)


def close_on_exec(handle):
    """Keep a file descriptor from our children, on Python 2.7 too."""
    import fcntl
    fcntl.fcntl(handle, fcntl.F_SETFD, fcntl.fcntl(handle, fcntl.F_GETFD) | fcntl.FD_CLOEXEC)


def signature(found):
    """What tells one version of a file from the next."""
    return found.st_ino, found.st_size, found.st_mtime


def job_id():
    """The scheduler's id of this job, or None outside of one."""
    for name in ("SLURM_JOB_ID", "PBS_JOBID", "JUPYTER_LOCAL_JOB"):
        if os.environ.get(name):
            return os.environ[name]
    return None


def serve(module):
    """In the child: become the Jupyter application.

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
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def main(argv=None):
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-dir", default=os.path.dirname(os.path.abspath(__file__)))
    parser.add_argument("--session", default="default")
    parser.add_argument("--serve", metavar="MODULE", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.serve:
        serve(arguments.serve)
        return 0
    if not SESSION_NAME.match(arguments.session):
        parser.error("a session name has letters, digits, dot, dash and underscore only, at most 32")
    return Keeper(os.path.abspath(arguments.batch_dir), arguments.session).run()


if __name__ == "__main__":
    sys.exit(main())
