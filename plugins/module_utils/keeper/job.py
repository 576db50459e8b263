# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How to serve: job.json over the defaults of site.json over our own."""
from __future__ import absolute_import, division, print_function

import binascii
import os

from .compat import native, text_of
from .endings import Failure
from .private_files import read_json
from .text import printable

DEFAULTS = {
    "endpoint": "auto",
    "listen": "loopback",
    "certfile": None,
    "keyfile": None,
    "idle_timeout": 0,
    "walltime": None,
    "root_dir": None,
    "settings": {},
    "config_dir": None,
    "base_url": "/",
    "interface": "auto",
    "port_range": None,
    "start_timeout": 120,
    "stop_grace": 10,
    "renewals": 0,
    "walltime_warnings": [600, 120],
    "walltime_notice": ["file", "terminal"],
    "ipython_history": "auto",
    "cores": None,
}


def load(site_dir, directory, by_hand, session_id):
    """Read what the session is to be.

    :param site_dir: that of site.json.
    :param directory: that of the session.
    :param by_hand: whether no launch submitted this job, so that job.json is none of its own.
    :param session_id: the "id" that such a job was given, or None.
    :returns: (job, site): the values of DEFAULTS and an "id", paths made absolute; and site.json ({} where there is none).
    :raises Failure: a file is damaged.
    """
    site = _read(os.path.join(site_dir, "site.json"))
    job = dict(DEFAULTS)
    for values in (site.get("job") or {}, {"id": session_id} if by_hand else _read(os.path.join(directory, "job.json"))):
        job.update((key, value) for key, value in values.items() if value is not None)
    # One that was submitted by hand may have no identity yet.
    job["id"] = job.get("id") or text_of(binascii.hexlify(os.urandom(16)))
    base_url = "/" + str(job["base_url"]).strip("/") + "/"
    job["base_url"] = "/" if base_url == "//" else base_url
    home = os.path.expanduser("~")
    for key in ("root_dir", "certfile", "keyfile", "config_dir"):
        if job[key]:
            job[key] = os.path.abspath(os.path.join(home, os.path.expandvars(os.path.expanduser(native(job[key])))))
    return job, site


def _read(path):
    try:
        return read_json(path) or {}
    except ValueError as error:
        raise Failure("config-error", "%s is damaged (%s). Run setup again." % (path, printable(str(error))))
