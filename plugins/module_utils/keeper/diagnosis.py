# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a server died."""
from __future__ import absolute_import, division, print_function

import re
import signal

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


def told_to_end(log):
    """Whether a server logged that a SIGTERM reached it."""
    return _TOLD_TO_END.search(log) is not None
