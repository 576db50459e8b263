# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process of the job: starts Jupyter on the node, proves that it answers, watches over it and ends it cleanly.

    python keeper.pyz --batch-dir DIR [--site-dir SITE] --session NAME [--launch MARK]

It runs under whatever Python runs Jupyter there, so it needs nothing but the standard library of Python 2.7 or 3.6
and later, and shares no code with the login-node program. It talks to the rest of the product through the files of
DIR/sessions/NAME only:

    job.json       read by a job that a launch submitted: how to serve (endpoint, root_dir, idle_timeout, walltime, ...); SITE/site.json
                   "job" has the defaults (SITE is DIR unless it was installed for all users)
    control.json   read while running: {"stop": true} and the like
    server.json    written: phase, endpoint, cause of a failure; always a whole file, never half of one
    server.ready.json  the same once more, while the server is ready
    server.log     appended: what Jupyter and the keeper print
    job.out        the scheduler's, with what the job script prints; the keeper's words go there while server.log is not open
    config/        written, removed at the end: the settings of this one server, with its token

Exit status: 0 after an end that somebody wanted (stop, idle, Shut Down in the browser), 143 when the walltime is about to be up or the
scheduler sent SIGTERM, 1 when the server failed. A successor held on `afternotok` therefore starts after the last two only.
"""
