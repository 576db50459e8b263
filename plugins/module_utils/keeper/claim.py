# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether this job may act as its session: one that a launch submitted, or by hand where no other lives."""
from __future__ import absolute_import, division, print_function

import hashlib
import os
import socket
import time

from . import login_program
from .allocation import job_id
from .compat import monotonic
from .endings import Refused
from .private_files import read_json, refresh
from .processes import run_command
from .text import printable

OCCUPIED = 3  # exit status of adopt-by-hand
PATIENCE = 30.0  # seconds for it
LATE = 10.0  # seconds by which a shared home may show a file late
CLOCKS = 600  # seconds by which two hosts' clocks may differ


def launched(directory, launch, wait):
    """Make sure that job.json is for this job.

    :param directory: that of the session.
    :param launch: the mark in the job script that the launch submitted.
    :param wait: sleeps so many seconds; what it raises goes through.
    :raises Refused: another launch, or a stop, came after that one.
    """
    limit = monotonic() + LATE
    while True:
        try:
            refresh(directory)
            values = read_json(os.path.join(directory, "job.json")) or {}
        except (ValueError, IOError, OSError):
            return  # who reads it next says what is wrong with it
        if hashlib.sha256(str(values.get("id") or "").encode("utf-8")).hexdigest()[:16] == launch:
            return
        if monotonic() > limit:
            raise Refused("The launch that submitted this job is over: a stop or another launch came after it. This job ends.")
        wait(0.5)


def by_hand(batch_dir, site_dir, directory, session):
    """Make this job, which somebody submitted by hand, the session's own.

    :param site_dir: where site.json and program.pyz are.

    :returns: the "id" that the session's record now has, or None where it could not be noted.
    :raises Refused: the session lives in another job.
    """
    job = job_id()
    server = _read(os.path.join(directory, "server.json"))
    if not server.get("job") and _lives(server):
        raise Refused(_already(session, server))
    status = None
    if job and os.path.isfile(os.path.join(site_dir, "program.pyz")):
        status, said = run_command(login_program.command(site_dir, "adopt-by-hand", session, job, "--batch-dir", batch_dir), PATIENCE)
        if status == OCCUPIED:
            raise Refused(printable(said).strip())
    if status == 0:
        record = _read(os.path.join(directory, "record.json"))
        return record.get("id") if record.get("job") == job else None
    if server.get("job") != job and _lives(server):
        raise Refused(_already(session, server))
    return None


def _read(path):
    try:
        return read_json(path) or {}
    except (ValueError, IOError, OSError):
        return {}


def _lives(server):
    """Whether the server of a server.json may still be there. (No scheduler can be asked.)"""
    if server.get("phase") not in ("starting", "ready", "stopping"):
        return False
    if server.get("node") == socket.gethostname():
        return os.path.exists("/proc/%s" % server.get("pid"))
    return not server.get("ends") or server["ends"] + CLOCKS > time.time()


def _already(session, server):
    return ("Session '%s' has a server already (%s, on %s), so this job ends. Stop that one first, or set JUPYTER_SESSION in a copy of the job "
            "script to another name. If that server is gone for sure, remove its server.json."
            % (session, "job %s" % server["job"] if server.get("job") else "no job", printable(str(server.get("node")))))


def superseded(directory, session_id, job):
    """Whether the session has gone on without this job: stopped, launched anew or renewed.

    :param session_id: the ``id`` of the launch that this job is of.
    :param job: its id at the scheduler, or None.
    """
    refresh(directory)
    try:
        record = read_json(os.path.join(directory, "record.json")) or {}
    except (ValueError, IOError, OSError):
        return False
    return bool(record.get("id")) and record["id"] != session_id or job is not None and job in (record.get("jobs") or [])
