# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The schedulers, by name. A further one is one file here and one line in ``_CLASSES``.

Each file is imported when its scheduler is asked for: a launch waits for the program to start.
"""

import importlib

from . import base

# name -> (file, class), in the order in which detect prefers them.
_CLASSES = {
    "slurm": ("slurm", "Slurm"),
    "openpbs": ("openpbs", "OpenPBS"),
    "torque": ("torque", "Torque"),
    "slurm_pbs": ("slurm_pbs", "SlurmPBS"),
    "local": ("local", "Local"),
}
NAMES = tuple(_CLASSES)


def _class(name):
    module, cls = _CLASSES[name]
    return getattr(importlib.import_module("." + module, __name__), cls)


def get(name, run, commands=None, directory=None, user=None):
    """Return the scheduler of that name.

    :param name: str, one of NAMES.
    :param run: see base.Scheduler, as the rest.
    :raises base.NotFound: there is none of that name.
    """
    if name in _CLASSES:
        return _class(name)(run, commands=commands, directory=directory, user=user)
    raise base.NotFound("jupyter_scheduler: '%s' is none of auto, %s." % (base.words(str(name)), ", ".join(NAMES)))


def same_jobs(one, other):
    """Whether two of NAMES are dialects of one scheduler, with the same ids for the same jobs."""
    return one.split("_")[0] == other.split("_")[0]


def detect(run, wanted="auto", modules=()):
    """Find out which scheduler this host has, by what its commands say of themselves.

    :param run: see base.Scheduler.
    :param wanted: str, ``auto`` or one of NAMES, to look for that one alone.
    :param modules: list of str, environment modules that bring the commands on this site.
    :returns: (name, commands, evidence): str, dict to keep and give to ``get``, str in words. The dict has the absolute
        paths by command name, and ``environment`` (dict) where the commands need variables that only a login shell sets.
    :raises base.NotFound: with where it was looked for.
    """
    if wanted != "auto" and wanted not in NAMES:
        get(wanted, run)
    # Setup alone looks for schedulers.
    from . import _locate

    finder = _locate.Finder(run, modules)
    tried = {}
    for source in finder.SOURCES:
        finder.source = source
        for name in NAMES:
            # A notebook on a cluster's login node by mistake is against the rules of most sites: local is never guessed.
            if wanted != name and (wanted != "auto" or name == "local"):
                continue
            found = _class(name).detect(finder)
            if found.commands is not None:
                return name, found.commands, found.evidence
            if name not in tried or not found.evidence.startswith(name + ": no "):
                tried[name] = found.evidence
    raise base.NotFound(
        "No scheduler was found (%s). Looked in %s. Set jupyter_modules where a module brings its commands, use a login node, or set "
        "'jupyter_scheduler: local' if this host has no batch system and may run notebooks." % ("; ".join(tried.values()), finder.places()))
