# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends the login-node program over Ansible's own connection and reads its answer.

A request goes over stdin: nothing of it shows in a process list, no file is left behind, and it runs on login nodes whose
Python is too old for Ansible's module wrapper. The program goes with it where setup has not left this very version there.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import pathlib
import re
import secrets
import shlex
import zlib
from collections.abc import Callable

from ansible import constants as C
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.hpc.jupyter.plugins.module_utils.failure import sentence
from ansible_collections.hpc.jupyter.plugins.module_utils.files import printable
from ansible_collections.hpc.jupyter.plugins.module_utils.places import DEFAULT_BATCH_DIR
from ansible_collections.hpc.jupyter.plugins.module_utils.program import HEAD, VERBS, digest
from ansible_collections.hpc.jupyter.plugins.plugin_utils.spelling import misspelt
from ansible_collections.hpc.jupyter.plugins.plugin_utils.ssh_command import (
    LOGIN_VARIABLES,
    BadConnection,
    Connection,
    as_posix,
)

PACKAGE = "hpc_jupyter"
SOURCES = pathlib.Path(__file__).resolve().parent.parent / "module_utils"
OLDEST_PYTHON = (3, 6)

# Run on any Python 3, and refuse an old one in words.
_REFUSAL = """\
import sys
MARKER = {marker!r}
if sys.version_info < {oldest!r}:
    sys.stdout.write("\\n" + MARKER + '{{"old_python": "%d.%d"}}\\n' % sys.version_info[:2])
    sys.exit(0)
"""
# The program that setup left there, where that is this very version: compiled already, and nothing to be sent. One that others than its
# owner could have changed is not run; the one that is sent then says why.
_INSTALLED = _REFUSAL + """\
import os
path = os.path.join(os.path.expanduser("~"), os.path.expandvars(os.path.expanduser({directory!r})), "program.pyz")
program = None
try:
    with open(path, "rb") as stream:
        modes = os.fstat(stream.fileno()).st_mode | os.stat(os.path.dirname(path)).st_mode
        if not modes & 0o022 and {digest!r} in stream.read({head}):
            sys.path.insert(0, path)
            from {package} import program
except Exception:
    pass
if program is None:
    sys.stdout.write("\\n" + MARKER + '{{"not_installed": true}}\\n')
    sys.exit(0)
program.ARCHIVE = path
program.main({request!r}, MARKER)
"""
# The program sent along: its sources become importable from memory.
_SENT = _REFUSAL + """\
import base64, json, zlib
import importlib.abc, importlib.util
class Memory(importlib.abc.Loader, importlib.abc.MetaPathFinder):
    def __init__(self, sources):
        self.sources = sources
    def path(self, name):
        stem = "/".join(name.split(".")[1:])
        for path in ((stem + "/__init__.py").lstrip("/"), stem + ".py"):
            if path in self.sources:
                return path
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {package!r} and self.path(name):
            package = self.path(name).endswith("__init__.py")
            return importlib.util.spec_from_loader(name, self, is_package=package)
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        path = self.path(module.__name__)
        exec(compile(self.sources[path], {package!r} + "/" + path, "exec"), module.__dict__)
DATA = json.loads(zlib.decompress(base64.b64decode({data!r})).decode("utf-8"))
sys.meta_path.insert(0, Memory(DATA["sources"]))
from {package} import program
program.SOURCES = DATA["sources"]
program.main(DATA["request"], MARKER)
"""


@functools.lru_cache(maxsize=1)
def program_sources() -> dict[str, str]:
    """Return the login-node program: relative path -> source text."""
    sources = {"__init__.py": ""}
    for path in sorted(SOURCES.rglob("*.py")):
        sources[path.relative_to(SOURCES).as_posix()] = path.read_text(encoding="utf-8")
    return sources


@functools.lru_cache(maxsize=1)
def program_digest() -> str:
    """Return what tells this version of the login-node program from another: each call is addressed to it."""
    return digest(program_sources())


@functools.lru_cache(maxsize=None)
def sources_for(verb: str) -> dict[str, str]:
    """Return the part of the program that one verb imports: a third of it, and so a third of the bytes on a slow line.

    The verb ``batch`` gets all of it, for that is what it installs.
    """
    every = program_sources()
    if verb == "batch":
        return every
    wanted = ["program.py", f"{VERBS[verb][0]}.py"]
    chosen = {"__init__.py": ""}
    while wanted:
        path = wanted.pop()
        if path not in chosen:
            chosen[path] = every[path]
            # A module of a package needs the package itself, whether or not somebody names it.
            packages = [str(parent / "__init__.py") for parent in pathlib.PurePosixPath(path).parents]
            wanted += _imports(path, every) + [package for package in packages if package in every]
            if path == "schedulers/__init__.py":
                # Which one it imports, only the login node knows.
                wanted += [other for other in every if other.startswith("schedulers/")]
    return chosen


# `from . import a, b`, `from .a import x` and `from ..a.b import (x,\n y)`: all that the program has of its own.
_IMPORT = re.compile(r"^[ \t]*from (\.+)([\w.]*) import (?:\(([^)]*)\)|([^\n#]*))", re.M)


def _imports(path: str, every: dict[str, str]) -> list[str]:
    """Return the files that one source file imports from the program itself."""
    found = []
    for dots, module, several, line in _IMPORT.findall(every[path]):
        package = pathlib.PurePosixPath(path).parents[len(dots) - 1]
        base = package.joinpath(*filter(None, module.split(".")))
        names = [name.split()[0] for name in (several or line).split(",") if name.strip()]
        for stem in (base, *(base / name for name in names)):
            found += [name for name in (f"{stem}.py", str(stem / "__init__.py")) if name in every]
    return found


def payload(request: dict, marker: str) -> bytes:
    """Return the Python source that carries the program and one request."""
    data = json.dumps({"sources": sources_for(request["verb"]), "request": json.dumps(request)})
    return _SENT.format(
        marker=marker,
        oldest=OLDEST_PYTHON,
        package=PACKAGE,
        data=base64.b64encode(zlib.compress(data.encode("utf-8"), 6)),
    ).encode("ascii")


def call_of_the_installed(request: dict, marker: str) -> bytes:
    """Return the Python source that hands one request to the program that is installed there, or answers that it is missing."""
    return _INSTALLED.format(
        marker=marker,
        oldest=OLDEST_PYTHON,
        package=PACKAGE,
        directory=request.get("site_dir") or request.get("batch_dir") or DEFAULT_BATCH_DIR,
        digest=program_digest().encode("ascii"),
        head=HEAD,
        request=json.dumps(request),
    ).encode("ascii", "backslashreplace")


# The quick way asks nothing: one exec. Only when that fails are the other places looked at.
_QUICK = 'for p in {candidates}; do p=$(command -v "$p" 2>/dev/null) && exec "$p" -I -; done; echo {marker}none'
_SEARCH = r"""
try() {{ command -v "$1" >/dev/null 2>&1 || return 1
  v=$("$1" -I -c 'import sys; sys.stdout.write("%d.%d %s" % (sys.version_info[0], sys.version_info[1], sys.executable))' </dev/null 2>/dev/null) || return 1
  case "$v" in 3.[6-9]" "*|3.[1-9][0-9]" "*) echo "{marker}${{v#* }}"; exit 0;; esac; seen="$seen $1 ($v)"; }}
look() {{ for p in {candidates} python3.14 python3.13 python3.12 python3.11 python3.10 python3.9 python3.8 python3.7 python3.6 python3 python \
  /usr/libexec/platform-python /usr/bin/python3 /usr/local/bin/python3 /opt/rh/rh-python3*/root/usr/bin/python3; do try "$p"; done; }}
look
command -v module >/dev/null 2>&1 || for f in /etc/profile.d/modules.sh /etc/profile.d/lmod.sh /etc/profile.d/z00_lmod.sh "$MODULESHOME/init/sh" \
  /usr/share/modules/init/sh /usr/share/lmod/lmod/init/sh; do [ -r "$f" ] && . "$f" >/dev/null 2>&1 && break; done
for m in {modules}; do module load "$m" >/dev/null 2>&1; done
look
echo "{marker}none$seen"
"""


class ProgramAction(ActionBase):
    """An action plugin that talks with the login-node program."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True

    _python: str | None = None
    _send_program = False
    _site_dir: str | None = None
    #: Whether it concerns tunnels, which log in without any become: then that would mix two accounts up.
    _for_who_logs_in = False
    #: Whether it may wait with the person, who is to be told of a slip before that.
    _takes_long = False

    def run(self, tmp=None, task_vars=None):
        """Begin a task."""
        for name, nearest in misspelt(task_vars or ()):
            text = f"The variable {name} is none of this collection's and has no effect on it. Was {nearest} meant?"
            if self._takes_long:
                # Newer cores keep a warning back until the task has ended.
                self._display.display(f"[WARNING]: {text}", color=C.COLOR_WARN)
            else:
                # Ansible shows the same warning once, however many hosts and tasks there are.
                self._display.warning(text)
        return super().run(tmp, task_vars)

    def program(self, verb: str, request: dict, task_vars: dict) -> dict:
        """Run one verb of the login-node program and return its answer.

        :raises ProgramFailed: with the program's own answer, when it says that it failed.
        :raises AnsibleConnectionFailure: when the login node can't be reached.
        """
        if self._for_who_logs_in:
            self._refuse_another_user()
        self._site_dir = request.get("site_dir")
        try:
            answer = self._call(dict(request, verb=verb), task_vars)
        except AnsibleConnectionFailure as error:
            hint = self._how_to_log_in(sentence(error), task_vars)
            if hint:
                raise AnsibleConnectionFailure(f"{sentence(error)} {hint}") from None
            raise
        if answer.get("failed"):
            raise ProgramFailed(answer)
        return answer

    def answered(self, work: Callable[[], dict], task_vars: dict) -> dict:
        """Return the result of an action's work; where the login node failed or could not be reached, that in words."""
        try:
            result = work()
        except ProgramFailed as error:
            return error.answer
        except AnsibleConnectionFailure as error:
            return reach_failure(error, task_vars["inventory_hostname"])
        if not self._task.diff:
            result.pop("diff", None)
        return result

    def login_variables(self, task_vars: dict) -> dict:
        """Return the variables that ``Connection.from_task`` reads, templated: from the inventory they come as they are written there."""
        names = [name for name in LOGIN_VARIABLES if task_vars.get(name) is not None]
        return {"inventory_hostname": task_vars.get("inventory_hostname"), **{name: self._templar.template(task_vars[name]) for name in names}}

    def another_user(self) -> str | None:
        """Return whom Ansible becomes on the login node, None where it stays who logged in."""
        if self._connection.become is None:
            return None
        other = self.get_become_option("become_user")
        # Ansible changes to nobody who is that already.
        return other if other != self._get_remote_user() else None

    def _refuse_another_user(self) -> None:
        other, own = self.another_user(), self._get_remote_user()
        if other is None:
            return
        raise ProgramFailed({
            "failed": True,
            "cause": "become",
            "msg": (
                f"Ansible is told to become {other} on the login node, and a session belongs to {own or 'the user'} who logs in: its job would "
                f"run as {other}, and no tunnel would reach it. Nothing was changed. Take 'become' out of the inventory, ansible.cfg and the "
                "play, or add '-e ansible_become=false'."
            ),
        })

    def _call(self, request: dict, task_vars: dict) -> dict:
        asked_again = False
        # One for each of: not installed, broken off, another Python to be found, and the answer.
        for _attempt in range(4):
            marker = f"hpc.jupyter:{secrets.token_hex(8)}:"
            command = _QUICK.format(
                candidates=" ".join(self._candidates(task_vars)), marker=marker
            )
            result = self._quietly(command, (payload if self._send_program else call_of_the_installed)(request, marker))
            answer = _after_marker(result["stdout"], marker)
            if answer and answer.startswith("{"):
                answer = json.loads(answer)
                if "not_installed" in answer:
                    # Not set up yet, or by another version of this collection.
                    self._send_program = True
                    continue
                if "old_python" not in answer:
                    return answer
            elif answer is None and not asked_again and result["rc"] in (0, 255):
                # A connection that broke in the middle: the program is idempotent, so ask again.
                asked_again = True
                continue
            if self._python:
                break
            self._python = self._search_python(task_vars)
        raise ProgramFailed({
            "failed": True,
            "cause": "no-answer",
            "msg": (
                "The login node ran no answer out of our program (exit status %s). It said: %s"
                % (result["rc"], printable(_last_lines(result["stdout"] + "\n" + result["stderr"])) or "nothing")
            ),
        })

    def _how_to_log_in(self, said: str, task_vars: dict) -> str | None:
        """Return what to type where the login asks something that Ansible can't answer, a one-time password most likely."""
        if not re.search(r"Permission denied|Too many authentication failures", said):
            return None
        try:
            connection = Connection.from_task(self.login_variables(task_vars), self._connection)
        except BadConnection:
            return None
        if connection.in_place or not connection.masters:
            return None
        return (
            "Ansible can't answer what this login asks. If that is a one-time password, open one connection by hand that all of "
            f"it shares, and run this again while that is open:\n    {as_posix(connection.opening(connection.masters[0]))}\n"
            "Where the site does not let connections be shared, run the playbooks on the login node itself (docs/recipes.md)."
        )

    def _candidates(self, task_vars: dict) -> list[str]:
        """Return shell words for the Pythons to try, best first."""
        if self._python:
            return [shlex.quote(self._python)]
        words = []
        for name in ("jupyter_login_python", "ansible_python_interpreter"):
            value = task_vars.get(name)
            value = self._templar.template(value) if value else None
            if value and not str(value).startswith("auto"):
                words.append(shlex.quote(str(value)))
        installed = shlex.quote(f"{self._site_dir}/python") if self._site_dir else '"$HOME/.jupyter/batch/python"'
        return [*words, "python3", installed, "/usr/libexec/platform-python"]

    def _search_python(self, task_vars: dict) -> str:
        """Look for a Python in every usual place, after the site's modules if need be."""
        marker = f"hpc.jupyter:{secrets.token_hex(8)}:"
        modules = self._templar.template(task_vars.get("jupyter_modules") or [])
        # As Ansible makes a list of it where it is an option.
        modules = modules.split(",") if isinstance(modules, str) else modules
        script = _SEARCH.format(
            marker=marker,
            candidates=" ".join(self._candidates(task_vars)),
            modules=" ".join(shlex.quote(str(module)) for module in modules),
        )
        found = ""
        # A login shell knows the PATH and the module command that a plain `ssh host command` lacks.
        for shell in ("sh", "bash -l"):
            result = self._quietly(f"{shell} -c {shlex.quote(script)}", None)
            found = _after_marker(result["stdout"], marker) or "none"
            if not found.startswith("none"):
                return found
        raise ProgramFailed({
            "failed": True,
            "cause": "no-python",
            "msg": (
                "No Python 3.6 or newer was found on the login node%s. Nothing was changed there. "
                "Set jupyter_login_python to the path of one, or jupyter_modules to the module that brings one "
                "('module avail python' on the login node lists them)."
                % (" (seen:%s)" % printable(found[4:]) if found[4:].strip() else "")
            ),
        })

    def _quietly(self, command: str, data: bytes | None) -> dict:
        """Run a command with its output kept out of ``-vvv``, for it may hold a password's hash."""
        context = self._connection._play_context  # the flag that connection plugins look at
        before = getattr(context, "no_log", False)
        context.no_log = True
        try:
            with _noticing_a_dead_network(self._connection):
                return self._low_level_execute_command(command, in_data=data)
        finally:
            context.no_log = before


@contextlib.contextmanager
def _noticing_a_dead_network(connection):
    """Have ssh end within a minute when nothing comes back: by itself it waits a quarter of an hour on a connection that it shares.

    What the person's own arguments say of this comes first and counts.
    """
    if connection.transport != "ssh":
        yield
        return
    before = connection.get_option("ssh_extra_args")
    connection.set_option("ssh_extra_args", f"{before or ''} -o ServerAliveInterval=15 -o ServerAliveCountMax=3".strip())
    try:
        yield
    finally:
        connection.set_option("ssh_extra_args", before)


class ProgramFailed(AnsibleError):
    """The login-node program said that it failed; ``answer`` holds what it said."""

    def __init__(self, answer: dict):
        super().__init__(str(answer.get("msg")))
        self.answer = answer


# What ssh says when it never got as far as running anything.
_NEVER_IN = re.compile(
    r"connection refused|could not resolve|no route to host|network is unreachable|connection timed out|permission denied"
    r"|host key verification failed|too many authentication failures|no matching |kex_exchange|banner exchange", re.I)


def reach_failure(error: AnsibleConnectionFailure, host: str) -> dict:
    """Turn a failed connection into a result that says what was left in which state and what to type next."""
    said = sentence(error)
    if _NEVER_IN.search(said):
        left = f"Nothing was changed on {host}. Make a plain ssh to it work, then run this again."
        if re.search(r"could not resolve", said, re.I):
            left = f"Nothing was changed on {host}. Correct the name in the inventory (ansible_host, or the host's own), then run this again."
        if re.search(r"\.example(\.(org|com|net))?\b", said, re.I):
            left = "It is the name that an inventory has before it is edited: put your login node's own in its place, and whatever else is in capitals."
    else:
        left = f"The connection to {host} broke, and how far this step had come is not known. Run it again: nothing is done twice."
    return {"failed": True, "unreachable": True, "cause": "unreachable", "msg": f"{said} {left}"}


def _after_marker(text: str, marker: str) -> str | None:
    for line in text.splitlines():
        if line.startswith(marker):
            return line[len(marker):].strip()
    return None


def _last_lines(text: str, count: int = 5) -> str:
    return "\n".join([line for line in text.splitlines() if line.strip()][-count:])
