# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all modules of the collection have in common."""


class ModuleDocFragment:
    """Attributes of the modules whose work an action plugin does."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and say truthfully whether something would change.
    support: full
  diff_mode:
    description: Shows what would change or has changed, without secrets.
    support: full
  action:
    description: The work is done by an action plugin on the controller and a program on the login node.
    support: full
  platform:
    description: Login nodes with a POSIX shell and Python 3.6 or newer.
    support: full
    platforms: posix
"""
