# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs one command: no shell, no terminal, in English, never for longer than allowed."""

import errno
import os
import signal
import subprocess

from .schedulers.base import Completed

#: Exit statuses that a shell (127) and timeout(1) (124) would give.
NOT_FOUND, TIMED_OUT = 127, 124

# How long a killed command may keep its pipes open (a stray grandchild that left the group holds them).
_AFTER_KILL = 2


def run(argv, stdin=None, timeout=60, env=None):
    """Runs ``argv`` and waits for it.

    Args:
        argv: list of str; the first is a path or is looked up on PATH.
        stdin: text for its standard input; None is an empty one.
        timeout: seconds, after which the command and its children are killed.
        env: changes to the environment, name -> value or None to remove it. LC_ALL is C unless set here.

    Returns:
        Completed; never raises for a command that is missing, hangs or prints no UTF-8.
    """
    environment = dict(os.environ, LC_ALL="C")
    for name, value in (env or {}).items():
        if value is None:
            environment.pop(name, None)
        else:
            environment[name] = value
    try:
        process = subprocess.Popen(
            argv, env=environment, close_fds=True, start_new_session=True, cwd=_home(),
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except (OSError, ValueError) as error:
        # ValueError: a NUL byte in an argument, which no command can be given.
        missing = getattr(error, "errno", None) in (errno.ENOENT, errno.ENOTDIR)
        return Completed(NOT_FOUND if missing else 126, "", "%s: %s" % (argv[0], getattr(error, "strerror", None) or error))
    try:
        out, err = process.communicate(None if stdin is None else stdin.encode("utf-8"), timeout=timeout)
        rc = process.returncode
    except subprocess.TimeoutExpired:
        out, err = _kill(process)
        rc = TIMED_OUT
        err += ("%s: no answer within %g s" % (argv[0], timeout)).encode("utf-8")
    except BaseException:
        _kill(process)
        raise
    return Completed(rc, _text(out), _text(err))


def _home():
    """Where commands run: TORQUE loses the output of a job submitted in a directory with a space, and ours may be gone."""
    home = os.path.expanduser("~")
    return home if os.path.isdir(home) else "/"


def _kill(process):
    """Ends the command's whole process group and returns what it had printed."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except OSError:
        pass
    try:
        return process.communicate(timeout=_AFTER_KILL)
    except (subprocess.TimeoutExpired, ValueError):
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                pipe.close()
        process.wait()
        return b"", b""


def _text(data):
    return data.decode("utf-8", "backslashreplace")
