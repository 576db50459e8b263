# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a session ended: from the keeper's own words, else from the log, else from the scheduler."""

import os
import re

from .files import printable

LOG_LINES = 15
# Of the scheduler's words, below those of a server: that it ended the job, and why.
_OUTPUT_LINES = 5
_TAIL_BYTES = 16384

# What the job's log says before the keeper came to be, newest wording of each tool first.
_CAUSES = (
    (re.compile(r"Unable to locate a modulefile|module\(s\) are unknown|ModuleCmd_Load\.c.*ERROR|The following module\(s\) (are|is) unknown", re.I),
     "module-missing", "A module could not be loaded on the node. Set jupyter_modules to ones that 'module avail' lists there, and run setup again."),
    (re.compile(r"hpc\.jupyter: no Jupyter", re.I),
     "jupyter-missing", "No Jupyter was found on the node after loading the modules. Name a module that brings it in jupyter_modules, "
     "or set jupyter_install: true, and run setup again."),
    (re.compile(r"No space left on device|Disk quota exceeded", re.I),
     "disk-full", "The disk or your quota is full. Free some space and launch again."),
    (re.compile(r"command not found|No such file or directory", re.I),
     "command-missing", "A command of the job script does not exist on the node. Look at the log, and at jupyter_modules and jupyter_environment."),
    (re.compile(r"\boom[-_ ]?kill|\bout of memory\b|\boom\b", re.I),
     "memory", "The job ran out of memory. Ask for more with jupyter_memory."),
)

_ENDINGS = {
    "time_limit": "The job reached its walltime. Launch again, with a longer jupyter_walltime or with jupyter_renewals if the site's limit is in the way.",
    "cancelled": "The job was cancelled. Launch again when you want it back.",
    "node_lost": "The scheduler lost the node the job ran on. Launch again.",
    "failed": "The job failed.",
    "unknown": "The job is over, and the scheduler no longer knows how it ended.",
    "clean": "The session ended by itself.",
}


def tail(path, count=LOG_LINES):
    """Return the last lines of a log, harmless to print (list of str, empty when there is none)."""
    try:
        with open(path, "rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - _TAIL_BYTES))
            data = stream.read()
    except OSError:
        return []
    return [printable(line, 400) for line in data.decode("utf-8", "backslashreplace").splitlines()[-count:]]


def _last_lines(server, places):
    """Return (path, lines) of the log that tells how a job ended."""
    if server.get("log_tail"):
        return places.log, [printable(line, 400) for line in server["log_tail"]]
    output = tail(places.output)
    if server:
        return places.log, (tail(places.log) + output[-_OUTPUT_LINES:])[-LOG_LINES:]
    # It never came as far as a server; what there is in the server's log is of a job before this one.
    return (places.output, output) if output else (places.log, tail(places.log))


def explain(record, job, server, places):
    """Return ``cause``, ``reason``, ``exit``, ``log`` and ``log_tail`` of a session that is over.

    :param job: schedulers.base.Job or None.
    :param server: dict, server.json of that job or ``{}``.
    """
    log, lines = _last_lines(server, places)
    answer = {"log": log, "log_tail": lines, "cause": server.get("cause"), "exit": server.get("exit")}
    if server.get("phase") == "failed":
        answer["reason"] = printable(server.get("reason") or "The server failed.")
        return answer
    kind = "time_limit" if server.get("cause") == "walltime" else job.exit_kind if job is not None else None
    if job is not None and answer["exit"] is None:
        answer["exit"] = job.exit_code
    said = server.get("reason") or ""
    if server.get("cause") in ("signal", "walltime") and kind in ("time_limit", "cancelled"):
        # The keeper only knows the signal that it got; the scheduler knows why. And what to do next is known here.
        said, answer["cause"] = "", kind
    reason = printable(said) or _ENDINGS.get(kind, "The session is over.")
    if kind in ("failed", "unknown") and not server:
        text = "\n".join(lines)
        for pattern, cause, remedy in _CAUSES:
            if pattern.search(text):
                answer["cause"], reason = cause, remedy
                break
        else:
            if job.reason:
                reason = "%s The scheduler says: %s." % (reason, printable(job.reason))
    answer["cause"] = answer["cause"] or kind
    answer["reason"] = reason
    return answer
