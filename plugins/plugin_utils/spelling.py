# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables that are most likely meant to be ours but are spelt otherwise, which Ansible lets pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ansible_collections.hpc.jupyter.plugins.plugin_utils.variable_names import VARIABLE_NAMES

# From jupyter_core for jupyter_cores down to what has one letter in eight otherwise; a site's own variables may begin with jupyter_, too.
_ALIKE = 0.85


def misspelt(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the names that are nearly one of ours, each with that one."""
    for name in names:
        if name.startswith("jupyter_") and name not in VARIABLE_NAMES:
            # Only where there is something to compare, for it takes a while to import.
            import difflib

            for nearest in difflib.get_close_matches(name, VARIABLE_NAMES, 1, _ALIKE):
                yield name, nearest
