# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keeper's child: becomes the Jupyter application."""
from __future__ import absolute_import, division, print_function

import gc
import os
import runpy
import signal
import sys

from .processes import die_with_parent


# Allocations between two looks for garbage: more than a start has, and as many as are cheap in a server that runs.
_STARTING, _RUNNING = (500000, 20, 20), (50000, 20, 20)


def _collect_seldom():
    """Look for no garbage during the start: it makes objects by the hundred thousand and drops hardly any, and to look took a fifth of it."""
    try:
        gc.callbacks.append(_started)
        gc.set_threshold(*_STARTING)
    except AttributeError:  # Python 2.7
        gc.set_threshold(*_RUNNING)


def _started(phase, _info):
    """After the first look for garbage: what the start has left stays, and need not be looked through again."""
    if phase == "stop":
        gc.callbacks.remove(_started)
        gc.set_threshold(*_RUNNING)
        if hasattr(gc, "freeze"):
            gc.freeze()


def serve(program, module, config):
    """Run a Jupyter application with the settings of a directory before all others.

    A plain ``python -m`` would look for packages in the working directory first, where a user's random.py or tornado.py lies in wait.

    :param program: path of the keeper, which Python put on sys.path.
    :param module: what ``python -m`` would run.
    :param config: directory of the settings.
    """
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    die_with_parent()
    _collect_seldom()
    sys.path[:] = [entry for entry in sys.path if entry and os.path.abspath(entry) != program]
    sys.argv[:] = [module]
    try:
        from jupyter_core.application import JupyterApp
        others = JupyterApp.config_file_paths.fget
        # By itself JUPYTER_CONFIG_PATH comes after the working directory and after ~/.jupyter in versions before 4.11 and 4.7.
        JupyterApp.config_file_paths = property(lambda app: [config] + [path for path in others(app) if path != config])
    except (ImportError, AttributeError):
        pass  # whatever is wrong, the module below says it better
    runpy.run_module(module, run_name="__main__", alter_sys=True)
