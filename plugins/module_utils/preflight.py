# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What would fail later, told at setup: modules, Jupyter, space in the home."""

import binascii
import contextlib
import json
import os
import socket
import tempfile

from . import commands, files
from .job_script import MODULE_FAILED, NO_JUPYTER

# A notebook's checkpoints, kernels' connection files and a log fit in this; less is as good as full.
NEEDED_BYTES = 20 * 1024 * 1024
# Loading modules from a cold parallel file system can take a minute.
TIMEOUT = 180

# Runs under whatever Python runs Jupyter, 2.7 included: versions without importing Jupyter itself.
_VERSIONS = r'''
import json, sys
found = {"python": sys.executable, "python_version": "%d.%d.%d" % sys.version_info[:3]}
names = ("jupyter_server", "notebook", "jupyterlab", "ipyparallel", "argon2-cffi", "mpi4py")
try:
    from importlib.metadata import version
except ImportError:
    from pkg_resources import get_distribution
    version = lambda name: get_distribution(name).version
for name in names:
    try:
        found[name] = str(version(name))
    except Exception:
        found[name] = None
found["magic"] = ""
if sys.version_info >= (3, 7):
    import binascii, importlib.util
    found["magic"] = binascii.hexlify(importlib.util.MAGIC_NUMBER).decode("ascii")
'''


def jupyter(environment, for_all=False):
    """Find Jupyter on this host the way the job will on its node.

    :param environment: job_script.Environment.
    :param for_all: bool, look past what only this user has installed.
    :returns: dict: ``found`` (bool), ``cause`` and ``message`` when not, else ``python``, ``python_version`` and
        the versions of jupyter_server, notebook, jupyterlab, ipyparallel, argon2-cffi, mpi4py (None: not installed);
        ``magic``: that of its bytecode in hexadecimal, "" where zip_application.py can't use it.
    """
    answer, done = _ask(environment, _VERSIONS + "sys.stdout.write(json.dumps(found))\n", "", {"PYTHONNOUSERSITE": "1"} if for_all else {})
    if answer:
        return dict(json.loads(answer), found=True)
    said = files.printable("\n".join((done.out + "\n" + done.err).strip().splitlines()[-6:]))
    if done.rc == MODULE_FAILED:
        return {"found": False, "cause": "module-missing", "message": (
            "The modules could not be loaded on the login node: %s. 'module avail' there lists what can be set in jupyter_modules." % said)}
    if done.rc == NO_JUPYTER:
        return {"found": False, "cause": "jupyter-missing", "message": (
            "No Jupyter was found on the login node after loading %s. Name a module that brings it in jupyter_modules, "
            "or set jupyter_install: true to have one installed into your home."
            % (", ".join(environment.modules) or "no modules"))}
    return {"found": False, "cause": "environment", "message": (
        "The environment that the job needs can't be set up on the login node (exit status %d): %s" % (done.rc, said or "no message"))}


def job_python(environment, code, text):
    """Run code under the Python that the job will have, as far as this host can tell.

    :param environment: job_script.Environment.
    :param code: str, that prints one line.
    :param text: str, its standard input.
    :returns: str, what it printed; "" when it could not be run.
    """
    return _ask(environment, code, text)[0]


def _ask(environment, code, text, variables=()):
    """Return (what code printed under the job's Python, schedulers.base.Completed): modules and start-up files print, too."""
    marker = "hpc.jupyter:%s:" % binascii.hexlify(os.urandom(8)).decode("ascii")
    container = environment.container + " " if environment.container else ""
    # Nothing of the environment's own lines may read what is meant for Python.
    script = "exec 3<&0 </dev/null\n%s\n%s\"$JUPYTER_PYTHON\" -c \"$HPC_JUPYTER_CODE\" <&3\n" % (environment.lines(), container)
    code = "import sys\nsys.stdout.write(%r)\n%s\nsys.stdout.write('\\n')\n" % (str("\n" + marker), code)
    done = commands.run(["bash", "-c", script], stdin=text, timeout=TIMEOUT, env=dict(variables, HPC_JUPYTER_CODE=code))
    answers = [line[len(marker):] for line in done.out.splitlines() if line.startswith(marker)]
    return (answers[0] if answers and done.rc == 0 else ""), done


def sockets(path):
    """Look whether a unix socket can be made in a directory: some shared file systems refuse them.

    :param path: str, an existing directory that can be written.
    :returns: str or None, what is wrong.
    """
    directory = tempfile.mkdtemp(prefix="jupyter-", dir=path)
    try:
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
            probe.bind(os.path.join(directory, "s"))
    except OSError as error:
        return "%s holds no sockets: %s" % (path, error.strerror or error)
    finally:
        files.remove(os.path.join(directory, "s"))
        os.rmdir(directory)
    return None


def home(path):
    """Look whether a directory can be written and has space.

    :param path: str, an existing directory.
    :returns: str or None, what is wrong.
    """
    try:
        # A name that nobody can have taken before: others may be able to write to this directory, too.
        with tempfile.NamedTemporaryFile(prefix=".hpc.jupyter-", dir=path) as stream:
            stream.write(b"\0" * 65536)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        return "%s can't be written: %s" % (path, error.strerror)
    status = os.statvfs(path)
    free = status.f_bavail * status.f_frsize
    if free < NEEDED_BYTES:
        return "%s has only %d MB left" % (path, free // 1048576)
    return None
