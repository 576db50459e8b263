# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module's documentation is its argument spec: one source, so the two can't differ."""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Collection, Mapping

import yaml

_MODULES = pathlib.Path(__file__).resolve().parent.parent / "modules"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SAME = ("type", "required", "choices", "default", "elements", "aliases")


def specification(module: str, secret: Collection[str] = ()) -> dict:
    """Return the argument spec that a module's DOCUMENTATION describes.

    :param module: its file's name without ``.py``.
    :param secret: options whose values Ansible must never show.
    """
    tree = ast.parse((_MODULES / f"{module}.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "DOCUMENTATION":
            options = yaml.load(node.value.value, Loader=_LOADER)["options"]
            return _spec(options, secret)
    raise LookupError(f"plugins/modules/{module}.py has no DOCUMENTATION")


def place(arguments: Mapping) -> dict:
    """Return the part of a request to the login-node program that says where things lie there."""
    return {key: arguments[key] for key in ("batch_dir", "site_dir")}


def _spec(options: dict, secret: Collection[str]) -> dict:
    spec = {}
    for name, option in options.items():
        spec[name] = {key: option[key] for key in _SAME if key in option}
        # A word such as "pass" in a harmless name would make Ansible warn: say either way.
        spec[name]["no_log"] = name in secret
        if "suboptions" in option:
            spec[name]["options"] = _spec(option["suboptions"], secret)
    return spec
