# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The job's own directory on the node's disk, for what must not lie in a home that other nodes share."""
from __future__ import absolute_import, division, print_function

import fcntl
import glob
import os
import shutil
import stat
import tempfile

from .compat import close_on_exec
from .endings import Failure
from .filesystems import on_network

SOCKET_PATH_LIMIT = 107  # bytes; sockaddr_un has 108 with the closing zero

NODE_LOCK = ".hpc-jupyter-lock"  # its holder is the keeper to whom a node directory belongs


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


def hold(directory):
    """Lock a node directory for as long as this process lives; returns the descriptor, or None when another one holds it."""
    handle = os.open(os.path.join(directory, NODE_LOCK), os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    close_on_exec(handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (IOError, OSError):
        os.close(handle)
        return None
    return handle


def sweep(place):
    """Remove the node directories of our earlier keepers that were killed."""
    for path in glob.glob(os.path.join(place, "jupyter-*")):
        try:
            found = os.lstat(path)
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or not os.path.isfile(os.path.join(path, NODE_LOCK)):
                continue
            handle = hold(path)
            if handle is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(handle)
        except (IOError, OSError):
            pass


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
        sweep(place)
        try:
            path = tempfile.mkdtemp(prefix="jupyter-", dir=place)
            found = os.lstat(path)
            ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == 0o700
            if ours and hold(path) is not None:
                return path
        except (IOError, OSError):
            continue
    raise Failure("socket", "No directory on this node can hold the server's socket safely (tried %s): each is missing, full, shared with other "
                            "hosts, open to other users or its path too long. Set TMPDIR in the job to a directory of your own on the node's "
                            "disk." % ", ".join(tried))
