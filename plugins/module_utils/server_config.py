# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The user's Jupyter configuration on the login node: password hash, certificate, start directory, settings.

``inspect`` looks, ``apply`` changes. Between the two the controller decides about password and
certificate, since the password itself and the authority's key never leave it.

A request holds:

``config_dir``, ``batch_dir``
    str, may start with ``~``.
``site_dir``
    str or None, where a system-wide installation is.
``root_dir``
    str or None; ``~`` and ``$VARIABLES`` of the login node are expanded.
``settings``
    dict of class name -> dict of trait -> value.
``pad``
    str, hexadecimal random bytes: the hashes found are returned combined with it (XOR, a one-time
    pad), so that no log of the connection can hold them. ``inspect`` only.
``password_hash``
    str or None: None leaves the passwords that are there. ``apply`` only.
``forget_logins``
    bool: remove the cookie secrets, which logs every browser out. ``apply`` only.
``certificate``
    None or a dict ``certificate`` (PEM, the chain) and ``key`` (PEM), and ``before`` and ``after``
    (str, what to show of the old and the new one). ``apply`` only.
``check``
    bool: say what would change and change nothing.
"""

import base64
import binascii
import glob
import json
import os
import re
import stat
import time

from . import failure, files, json_text, places

DEFAULT_CONFIG_DIR = "~/.jupyter"
CERTIFICATE = "hpc-jupyter.crt"
KEY = "hpc-jupyter.key"

SERVER = "jupyter_server_config.json"
NOTEBOOK = "jupyter_notebook_config.json"
# Where the three generations look for the hash: server 2, server 1, classic notebook. The first
# that is set there is the one that the others are completed with.
PASSWORDS = (
    (SERVER, ("PasswordIdentityProvider", "hashed_password")),
    (SERVER, ("ServerApp", "password")),
    (NOTEBOOK, ("NotebookApp", "password")),
)
ROOT_DIRS = ((SERVER, ("ServerApp", "root_dir")), (NOTEBOOK, ("NotebookApp", "notebook_dir")))
# Classes that only one generation knows; any other goes to both files.
SERVER_ONLY = ("ServerApp", "IdentityProvider", "PasswordIdentityProvider", "ExtensionApp", "ExtensionManager", "LabApp",
               "JupyterNotebookApp", "Authorizer", "GatewayClient")
NOTEBOOK_ONLY = ("NotebookApp",)

_SECRET = re.compile(r"password|passphrase|token|secret|credential|api_?key", re.IGNORECASE)
_HIDDEN = "(hidden)"
_OWN_PASSWORD = re.compile(
    r"^\s*c\.(?:ServerApp|NotebookApp|PasswordIdentityProvider|IdentityProvider|JupyterHub)\."
    r"(password|hashed_password|token)\s*=", re.MULTILINE)
_LARGEST = 256 * 1024


def inspect(request):
    """Say what is there and whether ``apply`` would change anything besides password and certificate.

    :returns: dict with ``config_dir``, ``passwords`` ([{file, key, sealed}]), ``certificate`` ({path,
        key_path, pem, key}), ``clock`` (epoch seconds), ``argon2`` (whether the Jupyter that setup found
        reads such hashes; None: not known) and all that ``apply`` returns.
    :raises Failure: when the user's files can't be understood or the directories can't be used.
    """
    plan = _Plan(request)
    result = plan.carry_out(check=True)
    pad = binascii.unhexlify(request.get("pad") or "")
    found = []
    for name, path in PASSWORDS:
        value = plan.documents[name].get(path)
        if isinstance(value, str) and value:
            found.append({"file": name, "key": ".".join(path), "sealed": _seal(value, pad)})
            pad = pad[len(value.encode("utf-8")):]
    result.update(
        passwords=found,
        certificate=_look_at_certificate(plan.certificate_path, plan.key_path),
        argon2=_knows_argon2(plan.site.known()),
        clock=time.time(),
    )
    return result


def apply(request):
    """Bring the configuration to what the request asks for.

    :returns: dict with ``changed``, ``diff``, ``backups``, ``files``, ``actions``, ``warnings``,
        ``config_dir``, ``root_dir``, ``certfile``, ``keyfile``.
    :raises Failure: as ``inspect``, with nothing changed; OSError when a write fails.
    """
    return _Plan(request).carry_out(check=bool(request.get("check")))


class _Document(object):
    """One JSON file of the user's, and what we want in it."""

    def __init__(self, path):
        self.path = path
        try:
            with open(path, "rb") as stream:
                data = stream.read()
            self.mode = stat.S_IMODE(os.stat(path).st_mode)
            self.exists = True
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                raise
            data, self.mode, self.exists = b"", None, False
        try:
            self.text = data.decode("utf-8")
            self.before = json_text.parse(self.text)
        except ValueError as error:
            raise failure.Failure(
                "%s: %s. Jupyter can't read this file either. Nothing was changed. Correct it or move it away, "
                "and run this again." % (path, _where(error)), "broken-json")
        self.new_text = self.text
        self.changes = []

    def get(self, path):
        """Return the value at a path as the file had it, or None."""
        try:
            return json_text.get(self.before, path)
        except KeyError:
            return None

    def put(self, path, value):
        """Ask for a value at a path."""
        try:
            old = json_text.get(self.before, path)
            if json.dumps(old, sort_keys=True) == json.dumps(value, sort_keys=True):
                return
            if value == {} and isinstance(old, dict):
                # A class named without traits asks for nothing: it must not empty the user's.
                return
        except KeyError:
            old = _ABSENT
        try:
            self.new_text = json_text.put(self.new_text, path, value)
        except ValueError as error:
            raise failure.Failure(
                "%s: %s, so %s can't be set in it. Nothing was changed. Correct the file and run this again."
                % (self.path, error, ".".join(path)), "broken-json")
        self.changes.append((path, old, value))

    @property
    def tighten(self):
        """Others can read the file, and it will hold a hash."""
        return self.exists and bool(self.mode & 0o077)

    @property
    def overwrites(self):
        """Something that was there gets another value."""
        return self.exists and any(old is not _ABSENT for _path, old, _new in self.changes)

    def diff(self):
        """Return the change as Ansible shows it: only the keys concerned, secrets hidden."""
        before, after = {}, {}
        for path, old, new in self.changes:
            secret = any(_SECRET.search(key) for key in path)
            if old is not _ABSENT:
                before[".".join(path)] = _HIDDEN if secret else _hide(old)
            after[".".join(path)] = "(hidden, new)" if secret else _hide(new)
        return files.difference(self.path, _dump(before) if before else "", _dump(after))


_ABSENT = object()


class _Plan(object):
    """What a request means on this login node; making one changes nothing."""

    def __init__(self, request):
        self.request = request
        self.warnings = []
        self.config_dir = places.expand("jupyter_config_dir", request.get("config_dir") or DEFAULT_CONFIG_DIR)
        self.certificate_path = os.path.join(self.config_dir, CERTIFICATE)
        self.key_path = os.path.join(self.config_dir, KEY)
        self.site = places.Site.of_request(request)
        self.new_config_dir = _check_dir(self.config_dir, "jupyter_config_dir")
        self.root_dir = None
        self.new_root_dir = False
        if request.get("root_dir"):
            self.root_dir = places.expand("jupyter_root_dir", request["root_dir"])
            self.new_root_dir = _check_dir(self.root_dir, "jupyter_root_dir")
        self.documents = dict(
            (name, _Document(os.path.join(self.config_dir, name))) for name in (SERVER, NOTEBOOK))
        self._want_password()
        if self.root_dir:
            for name, path in ROOT_DIRS:
                self.documents[name].put(path, self.root_dir)
        for path, value in json_text.leaves(request.get("settings") or {}):
            if path[0] not in NOTEBOOK_ONLY:
                self.documents[SERVER].put(path, value)
            if path[0] not in SERVER_ONLY:
                self.documents[NOTEBOOK].put(path, value)
        self._look_around()

    def _want_password(self):
        wanted = self.request.get("password_hash")
        there = [self.documents[name].get(path) for name, path in PASSWORDS]
        # A text without a colon is no hash: some write the password itself there, which no Jupyter accepts.
        there = [value for value in there if isinstance(value, str) and ":" in value]
        for name, path in PASSWORDS:
            if wanted:
                self.documents[name].put(path, wanted)
            elif there and not self.documents[name].get(path):
                self.documents[name].put(path, there[0])

    def _look_around(self):
        """Collect what the person should know but we leave alone."""
        elsewhere = os.environ.get("JUPYTER_CONFIG_DIR")
        if elsewhere and not self.request.get("config_dir") and os.path.realpath(elsewhere) != os.path.realpath(self.config_dir):
            self.warnings.append(
                "JUPYTER_CONFIG_DIR is %s in the login shell, so a Jupyter started by hand reads that instead of %s. "
                "Set jupyter_config_dir to it to use it here." % (elsewhere, self.config_dir))
        for path in sorted(glob.glob(os.path.join(glob.escape(self.config_dir), "jupyter_*config.py"))):
            try:
                with open(path, "rb") as stream:
                    text = stream.read(_LARGEST).decode("utf-8", "replace")
            except OSError:
                continue
            match = _OWN_PASSWORD.search(text)
            if match:
                self.warnings.append(
                    "%s line %d sets a %s of its own. The .json files win over it; remove that line to have one password only."
                    % (path, text.count("\n", 0, match.start(1)) + 1, match.group(1)))

    def carry_out(self, check):
        """Make the changes, or with ``check`` only say them."""
        actions, diff, backups, changed_files = [], [], [], []
        if self.new_config_dir:
            actions.append("Created %s." % self.config_dir)
            if not check:
                files.make_private_dir(self.config_dir)
        elif stat.S_IMODE(os.stat(self.config_dir).st_mode) & 0o022:
            # Whoever may replace a configuration file runs code as its owner.
            actions.append("Took the permission to write in %s from others." % self.config_dir)
            if not check:
                os.chmod(self.config_dir, stat.S_IMODE(os.stat(self.config_dir).st_mode) & ~0o022)
        if self.new_root_dir:
            actions.append("Created %s, where notebooks start." % self.root_dir)
            if not check:
                files.make_private_dir(self.root_dir)
        self._write_certificate(check, actions, diff, changed_files)
        for name in (SERVER, NOTEBOOK):
            document = self.documents[name]
            if document.changes:
                verb = "Changed" if document.exists else "Created"
                actions.append("%s %s: %s." % (verb, document.path, ", ".join(".".join(path) for path, _o, _n in document.changes)))
                diff.append(document.diff())
                changed_files.append(document.path)
                if not check:
                    kept = files.write_atomically(document.path, document.new_text, backup=document.overwrites)
                    if kept:
                        backups.append(kept)
                        actions.append("Kept what was there as %s." % kept)
            if document.tighten:
                actions.append("Took the permission to read %s from others." % document.path)
                if document.path not in changed_files:
                    changed_files.append(document.path)
                if not check:
                    os.chmod(document.path, document.mode & 0o700)
        self._forget_logins(check, actions)
        return {
            "changed": bool(actions),
            "actions": [files.printable(action) for action in actions],
            "backups": backups,
            "diff": diff,
            "files": changed_files,
            "warnings": [files.printable(warning) for warning in self.warnings],
            "config_dir": self.config_dir,
            "root_dir": self.root_dir or self.documents[SERVER].get(("ServerApp", "root_dir")),
            "certfile": self.certificate_path,
            "keyfile": self.key_path,
        }

    def _write_certificate(self, check, actions, diff, changed_files):
        pair = self.request.get("certificate")
        if pair:
            actions.append("Put a certificate into %s and its key into %s." % (self.certificate_path, self.key_path))
            diff.append(files.difference(self.certificate_path, pair.get("before") or "", pair.get("after") or ""))
            changed_files.extend([self.certificate_path, self.key_path])
            if not check:
                # The key first: were we interrupted between the two, the next run sees a
                # certificate that does not fit and makes a new pair.
                files.write_atomically(self.key_path, pair["key"])
                files.write_atomically(self.certificate_path, pair["certificate"])
            return
        try:
            mode = stat.S_IMODE(os.stat(self.key_path).st_mode)
        except OSError:
            return
        if mode & 0o077:
            actions.append("Took the permission to read %s from others." % self.key_path)
            changed_files.append(self.key_path)
            if not check:
                os.chmod(self.key_path, mode & 0o700)

    def _forget_logins(self, check, actions):
        if not self.request.get("forget_logins"):
            return
        # Servers up to 2.17 accept cookies from before a password change as long as this secret lives.
        removed = [path for path in self._cookie_secrets() if os.path.isfile(path)]
        for path in removed:
            if not check:
                files.remove(path)
        if removed:
            actions.append("Removed %s: browsers have to log in again." % ", ".join(removed))
        for name in self.site.session_names():
            server = files.read_json(self.site.session(name).server) or {}
            if server.get("phase") in ("starting", "ready"):
                self.warnings.append(
                    "Session '%s' runs with the password it started with. Stop and launch it to use the new one." % name)

    def _cookie_secrets(self):
        """Return the paths where a Jupyter of this user may have left a cookie secret."""
        data = os.environ.get("JUPYTER_DATA_DIR")
        if not data:
            share = os.environ.get("XDG_DATA_HOME") or files.expand("~/.local/share")
            data = os.path.join(share, "jupyter")
        runtime = set([os.environ.get("JUPYTER_RUNTIME_DIR") or os.path.join(data, "runtime"),
                       files.expand("~/.local/share/jupyter/runtime")])
        runtime.update(glob.glob(os.path.join(glob.escape(self.site.sessions), "*", "runtime")))
        paths = set(os.path.join(directory, name) for directory in runtime
                    for name in ("jupyter_cookie_secret", "notebook_cookie_secret"))
        for name, path in ((SERVER, ("ServerApp", "cookie_secret_file")), (NOTEBOOK, ("NotebookApp", "cookie_secret_file"))):
            own = self.documents[name].get(path)
            if isinstance(own, str) and os.path.isabs(own):
                paths.add(own)
        return sorted(paths)


def _look_at_certificate(certificate_path, key_path):
    """Return the certificate and whether its key is there, private and the right one; the key itself is not returned.

    ``key`` is one of good, missing, exposed (others could read it), mismatch, damaged, unchecked
    (this Python has no ssl module).
    """
    try:
        with open(certificate_path, "rb") as stream:
            pem = stream.read(_LARGEST).decode("ascii", "replace")
    except FileNotFoundError:
        pem = None
    key = "good"
    try:
        mode = stat.S_IMODE(os.stat(key_path).st_mode)
        if mode & 0o077:
            key = "exposed"
    except FileNotFoundError:
        key = "missing"
    if pem and key == "good":
        try:
            import ssl
        except ImportError:
            key = "unchecked"
        else:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            try:
                # An empty pass phrase, or a locked key would ask on a terminal that isn't there.
                context.load_cert_chain(certificate_path, key_path, password=lambda: "")
            except ssl.SSLError as error:
                key = "mismatch" if "MISMATCH" in str(error) else "damaged"
            except (ValueError, TypeError):
                key = "damaged"
    return {"path": certificate_path, "key_path": key_path, "pem": pem, "key": key}


def _knows_argon2(facts):
    """Say from setup's facts whether Jupyter there reads argon2 hashes; None when that isn't known."""
    jupyter = (facts or {}).get("jupyter")
    if not isinstance(jupyter, dict):
        return None
    if not jupyter.get("argon2-cffi"):
        return False
    if jupyter.get("jupyter_server"):
        return True
    # The classic notebook learned it in 6.1; any before has no such package at its side, but may share one.
    version = re.match(r"(\d+)\.(\d+)", str(jupyter.get("notebook") or ""))
    return bool(version) and (int(version.group(1)), int(version.group(2))) >= (6, 1)


def _check_dir(path, variable):
    """Return whether a directory has yet to be made.

    :raises Failure: when it can't be, or is something else.
    """
    if os.path.isdir(path):
        return False
    if os.path.lexists(path):
        raise failure.Failure(
            "%s is there and no directory (or a link that leads nowhere). Nothing was changed. "
            "Move it away or set %s to another path." % (path, variable), "bad-path")
    parent = os.path.dirname(path)
    while not os.path.lexists(parent):
        parent = os.path.dirname(parent)
    if not os.path.isdir(parent) or not os.access(parent, os.W_OK | os.X_OK):
        raise failure.Failure(
            "%s is missing and can't be created: you can't write in %s. Nothing was changed. "
            "Set %s to a directory of yours." % (path, parent, variable), "bad-path")
    return True


def _seal(text, pad):
    data = text.encode("utf-8")
    if len(data) > len(pad):
        return None
    return base64.b64encode(bytes(bytearray(byte ^ pad[index] for index, byte in enumerate(data)))).decode("ascii")


def _where(error):
    if isinstance(error, UnicodeDecodeError):
        return "it is not written in UTF-8 (byte %d)" % error.start
    if isinstance(error, json.JSONDecodeError):
        return "broken JSON in line %d, column %d (%s)" % (error.lineno, error.colno, error.msg)
    return str(error)


def _hide(value):
    """Return a value with whatever its keys call a secret replaced."""
    if isinstance(value, dict):
        return dict((key, _HIDDEN if _SECRET.search(key) else _hide(inner)) for key, inner in value.items())
    if isinstance(value, list):
        return [_hide(inner) for inner in value]
    return value


def _dump(value):
    return json.dumps(value, indent=2, sort_keys=True) + "\n"
