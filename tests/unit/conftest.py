# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let plain pytest import the collection by its full name from a checkout of any name.

`ansible-test units` brings a loader of its own for `ansible_collections`; there this file does nothing. It runs on
Python 3.6 too, without Ansible, for the tests of the login-node program.
"""

import importlib.util
import pathlib
import sys
import types

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def _register_collection():
    if "ansible_collections.hpc.jupyter" in sys.modules:
        return
    try:
        if importlib.util.find_spec("ansible_collections.hpc.jupyter") is not None:
            return
    except (ImportError, ValueError):
        pass
    parent = None
    for name, path in (
        ("ansible_collections", []),
        ("ansible_collections.hpc", []),
        ("ansible_collections.hpc.jupyter", [str(_ROOT)]),
    ):
        package = sys.modules.get(name)
        if package is None:
            package = types.ModuleType(name)
            package.__path__ = path
            sys.modules[name] = package
        if parent is not None:
            setattr(parent, name.rpartition(".")[2], package)
        parent = package


_register_collection()

try:
    import hypothesis
except ImportError:  # where it can't be installed the tests that need it say so
    pass
else:
    # How long a machine takes is nothing that a test looks at.
    hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
    hypothesis.settings.load_profile("untimed")
