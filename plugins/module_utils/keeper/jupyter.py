# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Jupyter the job's Python has, and what that one can do."""
from __future__ import absolute_import, division, print_function

import io
import os
import re
import sys

from .endings import Failure


class Jupyter(object):
    """The Jupyter that this Python has.

    :ivar module: what ``python -m`` runs.
    :ivar flavour: "jupyter_server" or "notebook": whose settings and runtime files it knows.
    :ivar version: of that server, as text ("6.5.7"); "" where it could not be told.
    """

    def __init__(self, module, flavour, version):
        self.module = module
        self.flavour = flavour
        self.version = version

    @property
    def release(self):
        return release(self.version)

    @property
    def has_sockets(self):
        """Notebook 6.1 and jupyter_server 1.9 were the first to listen on a unix socket."""
        return self.release >= ((6, 1) if self.flavour == "notebook" else (1, 9))


def release(version):
    """The leading numbers of a version: "6.5.7rc1" -> (6, 5, 7)."""
    return tuple(int(number) for number in re.findall(r"\d+", re.match(r"[0-9.]*", version or "").group(0)))


def find_package(name, path):
    """Directory and version of a top-level package, found without importing it (an import of Jupyter takes a second).

    :returns: (directory, version) or None.
    """
    for entry in path:
        directory = os.path.join(entry, name)
        if not os.path.isfile(os.path.join(directory, "__init__.py")):
            continue
        spelling = re.compile(r"^%s-([0-9][^-]*?)(-py[0-9.]+)?\.(dist|egg)-info$" % name.replace("_", "[-_.]"), re.IGNORECASE)
        for found in sorted(os.listdir(entry), reverse=True):
            match = spelling.match(found)
            if match:
                return directory, match.group(1)
        for source in ("_version.py", "__init__.py"):
            try:
                with io.open(os.path.join(directory, source), "r", encoding="utf-8", errors="replace") as stream:
                    code = stream.read()
            except (IOError, OSError):
                continue
            match = re.search(r"^__version__\s*=\s*[\"']([^\"']+)", code, re.MULTILINE)
            if match:
                return directory, match.group(1)
            match = re.search(r"^version_info\s*=\s*\(([^)]*)\)", code, re.MULTILINE)
            if match:
                return directory, ".".join(re.findall(r"\d+", match.group(1))[:3])
        return directory, ""
    return None


def find_jupyter(interface="auto", path=None):
    """Choose what to serve: JupyterLab before Notebook 7 before the classic notebook before a bare server.

    :param interface: "auto", "lab" or "notebook".
    :raises Failure: this Python has none of it.
    """
    if path is None:
        path = [entry for entry in sys.path if entry]
    lab, notebook = find_package("jupyterlab", path), find_package("notebook", path)
    server, nbclassic = find_package("jupyter_server", path), find_package("nbclassic", path)
    choices = []
    if lab and release(lab[1]) >= (3,) and server:
        choices.append(("lab", Jupyter("jupyterlab", "jupyter_server", server[1])))
    elif lab and notebook and release(notebook[1]) < (7,):
        choices.append(("lab", Jupyter("jupyterlab", "notebook", notebook[1])))
    if notebook and release(notebook[1]) >= (7,) and server:
        choices.append(("notebook", Jupyter("notebook", "jupyter_server", server[1])))
    elif notebook and release(notebook[1]) < (7,):
        choices.append(("notebook", Jupyter("notebook", "notebook", notebook[1])))
    elif nbclassic and server:
        choices.append(("notebook", Jupyter("nbclassic", "jupyter_server", server[1])))
    if server:
        choices.append(("server", Jupyter("jupyter_server", "jupyter_server", server[1])))
    for kind, jupyter in choices:
        if interface in ("auto", kind):
            return jupyter
    if choices:
        raise Failure("jupyter-missing", "The Python of the job (%s) has %s but no \"%s\" interface. Name a module in jupyter_modules that brings "
                                         "it, or set jupyter_install: true and run setup again." % (sys.executable, choices[0][1].module, interface))
    raise Failure("jupyter-missing", "The Python of the job (%s, version %s) has no Jupyter. Name the modules that bring it in jupyter_modules, or "
                                     "set jupyter_install: true and run setup again."
                  % (sys.executable, ".".join(str(number) for number in sys.version_info[:3])))
