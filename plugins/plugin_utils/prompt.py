# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking a person on the terminal, which all hosts of a run share."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import threading
from collections.abc import Iterator

from ansible import constants

_GLANCE = 1.0  # seconds


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Keep the other hosts of this run from asking until all of one host's questions are answered.

    Ansible asks one question at a time, in the order in which its processes, one for each host, send them.
    """
    # All processes of this run know this directory, and no other run does.
    path = pathlib.Path(constants.DEFAULT_LOCAL_TMP) / "hpc.jupyter-prompt"
    with _ending_with_the_run(), open(path, "ab") as stream:
        # Given back with the file, also where the process is killed.
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _ending_with_the_run() -> Iterator[None]:
    """End this process when Ansible's first one is gone, as when its terminal is closed: the answer would be waited for without end."""
    run = os.getppid()
    answered = threading.Event()

    def watch():
        while not answered.wait(_GLANCE):
            if os.getppid() != run:
                os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        answered.set()
