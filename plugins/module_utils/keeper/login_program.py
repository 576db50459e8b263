# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a job runs the login-node program."""
from __future__ import absolute_import, division, print_function

import os
import sys

from .private_files import read_json


def command(site_dir, *words):
    """Return the command (list of str) that runs program.pyz with these words.

    By the Python that setup found on the login node, with the libraries it had there, and isolated: what a job's modules put
    into PYTHONPATH is for another one.

    :param site_dir: where program.pyz and site.json are.
    """
    python = os.path.join(site_dir, "python")
    if not os.access(python, os.X_OK):
        try:
            python = (read_json(os.path.join(site_dir, "site.json")) or {}).get("python") or sys.executable
        except (ValueError, IOError, OSError):
            python = sys.executable
    return [python, "-I", os.path.join(site_dir, "program.pyz")] + list(words)
