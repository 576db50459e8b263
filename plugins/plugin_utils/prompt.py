# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking a person on the terminal, which all hosts of a run share."""

from __future__ import annotations

import contextlib
import fcntl
import pathlib
from collections.abc import Iterator

from ansible import constants


@contextlib.contextmanager
def alone(directory: str | None = None) -> Iterator[None]:
    """Keep the other hosts of this run from asking until all of one host's questions are answered.

    Ansible asks one question at a time, in the order in which its processes, one for each host, send them.

    :param directory: one that all processes of this run know and no other run; that of Ansible for temporary files if not given.
    """
    path = pathlib.Path(directory or constants.DEFAULT_LOCAL_TMP) / "hpc.jupyter-prompt"
    with open(path, "ab") as stream:
        # Given back with the file, also where the process is killed.
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
