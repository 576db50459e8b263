# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The login-node program: one request in, one answer out.

The controller sends these sources over stdin (``plugin_utils/remote.py``); setup also installs
them as ``program.pyz``, which ``~/.jupyter_connect`` and the keeper call by command line.
"""

import importlib
import json
import os
import sys
import traceback

from . import failure

# verb -> module and function, imported only when asked for: a launch should not pay for setup.
VERBS = {
    "server_inspect": ("server_config", "inspect"),
    "server_apply": ("server_config", "apply"),
    "batch": ("batch", "apply"),
    "install": ("install", "install"),
    "launch": ("session_verbs", "launch"),
    "look": ("session_verbs", "look"),
    "info": ("session_verbs", "info"),
    "stop": ("session_verbs", "stop"),
    "control": ("session_verbs", "control"),
    "probe": ("route_probe", "probe"),
    "doctor": ("doctor", "examine"),
    "parallel": ("parallel", "apply"),
}

# What program.pyz answers to on its command line: verb -> module whose main(argv) returns an exit status.
COMMANDS = {
    "adopt-by-hand": "by_hand",
    "connect": "connect",
    "drop-successor": "renewal_commands",
    "adopt-job": "renewal_commands",
}


# The sources of this program by relative path, set by the controller's payload, or the archive that it was loaded from.
SOURCES = {}
ARCHIVE = None
# Which version an archive is can be read, as it stands, in this many of its first bytes (zip_application.py).
HEAD = 128


def sources():
    """Return the sources of this program, relative path -> text: setup installs them."""
    if SOURCES or ARCHIVE is None:
        return SOURCES
    # Setup alone pays for it.
    import zipfile

    package = __name__.rpartition(".")[0] + "/"
    with zipfile.ZipFile(ARCHIVE) as archive:
        return dict((name[len(package):], archive.read(name).decode("utf-8"))
                    for name in archive.namelist() if name.startswith(package) and name.endswith(".py"))


def digest(sources):
    """Return what tells one version of this program from another (str).

    :param sources: dict, relative path -> text.
    """
    # A launch asks for it on the laptop only.
    import hashlib

    return hashlib.sha256(json.dumps(sorted(sources.items())).encode("ascii")).hexdigest()[:16]


def load(module):
    """Import a module of this program by its short name."""
    return importlib.import_module("." + module, __name__.rpartition(".")[0])


def answer(request):
    """Carry out one request.

    :param request: dict with ``verb`` and that verb's arguments.
    :returns: dict; on failure ``{"failed": True, "msg": ..., ...}``.
    """
    os.umask(0o077)
    try:
        module, function = VERBS[request["verb"]]
        return getattr(load(module), function)(request)
    except failure.Failure as error:
        return error.as_result()
    except OSError as error:
        return failure.from_os_error(error).as_result()
    except Exception:  # the answer must reach the person, whatever broke
        lines = traceback.format_exc().strip().splitlines()
        return {
            "failed": True,
            "msg": "The login-node program broke: %s. This is a fault of the collection; its traceback is in 'traceback'."
            % lines[-1],
            "traceback": "\n".join(lines),
        }


def main(request, marker):
    """Answer the controller: print the answer as one ASCII line that starts with ``marker``.

    :param request: str, JSON.
    :param marker: str, random, so that no banner and no log line can pass for an answer.
    """
    sys.stdout.write("\n%s%s\n" % (marker, json.dumps(answer(json.loads(request)))))
    sys.stdout.flush()


def command_line(argv):
    """Run a command of ``program.pyz``.

    :param argv: list of str without the program's own name.
    :returns: int, the exit status.
    """
    os.umask(0o077)
    if not argv or argv[0] not in COMMANDS:
        sys.stderr.write("usage: program.pyz %s ...\n" % "|".join(sorted(COMMANDS)))
        return 2
    try:
        return load(COMMANDS[argv[0]]).main(argv)
    except (failure.Failure, OSError) as error:
        problem = error if isinstance(error, failure.Failure) else failure.from_os_error(error)
        sys.stderr.write(problem.message + "\n")
        return 1
