# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of keeper.pyz."""
from __future__ import absolute_import, division, print_function

import os
import re

SESSION_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")


def main(argv):
    """Entry point.

    :param argv: all words, the program's own path first.
    :returns: the exit status.
    """
    program = os.path.abspath(argv[0])
    if argv[1:2] == ["--serve"]:  # our own child, which needs nothing of what follows
        from .serve import serve
        serve(program, *argv[2:])
        return 0
    import argparse

    from .keeper import Keeper
    parser = argparse.ArgumentParser(description="Starts Jupyter on the node of a job and watches over it.")
    parser.add_argument("--batch-dir", default=os.path.dirname(program))
    parser.add_argument("--site-dir", help="where site.json and program.pyz are, if not in the batch directory")
    parser.add_argument("--session", default="default")
    parser.add_argument("--launch", default="", help="which job.json is meant; without it the job was submitted by hand and takes none")
    arguments = parser.parse_args(argv[1:])
    if not SESSION_NAME.match(arguments.session):
        parser.error("a session name has letters, digits, dot, dash and underscore only, at most 32")
    batch_dir = os.path.abspath(arguments.batch_dir)
    site_dir = os.path.abspath(arguments.site_dir) if arguments.site_dir else batch_dir
    return Keeper(program, batch_dir, site_dir, arguments.session, arguments.launch).run()
