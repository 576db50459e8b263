#!/usr/bin/python
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the module trust; plugins/action/trust.py does the work."""

DOCUMENTATION = r"""
module: trust
short_description: Let the browsers on this computer trust your certificate authority
version_added: 1.0.0
description:
  - Imports the certificate authority that M(hpc.jupyter.server) made into the browsers and, when asked, the system of the
    computer that Ansible runs on, so that a session's address opens without a warning.
  - An authority that could vouch for more than V(localhost), V(127.0.0.1) and V(::1) is refused.
  - A store that cannot be changed is told as a warning; the task fails when none could.
options:
  state:
    description: Whether the authority is trusted.
    type: str
    choices: [present, absent]
    default: present
  stores:
    description:
      - The kinds of stores to change.
      - V(auto) stands for those of the user that are found; V(system) concerns all users of this computer and takes
        C(become).
    type: list
    elements: str
    choices: [auto, chromium, firefox, macos, windows, system]
    default: [auto]
  ca_dir:
    description:
      - Directory of the certificate authority.
      - The default is C(hpc.jupyter) in E(XDG_DATA_HOME) or C(~/.local/share).
    type: path
notes:
  - Only for C(connection=local).
  - macOS and Windows ask for a confirmation in a window of their own.
attributes:
  check_mode:
    description: Can run in check mode and say truthfully whether something would change.
    support: full
  diff_mode:
    description: Shows which stores would change or have changed.
    support: full
  action:
    description: The work is done by an action plugin on the controller.
    support: full
  platform:
    description: Linux, macOS, and Windows from inside WSL.
    support: full
    platforms: posix
seealso:
  - module: hpc.jupyter.server
author: hpc.jupyter contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Trust the authority in your browsers
  hpc.jupyter.trust:

- name: Trust it in the whole system, too
  hpc.jupyter.trust:
    stores: [system]
  become: true

- name: Trust it no more
  hpc.jupyter.trust:
    state: absent
"""

RETURN = r"""
ca_certificate:
  description: The certificate of the authority.
  returned: success
  type: str
  sample: /home/maria/.local/share/hpc.jupyter/ca.crt
stores:
  description: The stores that were found.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: One of V(chromium), V(firefox), V(macos), V(windows), V(system).
      type: str
      returned: always
    path:
      description: Where it is.
      type: str
      returned: always
    state:
      description: One of V(trusted), V(not trusted), V(failed).
      type: str
      returned: always
    changed:
      description: Whether it has changed.
      type: bool
      returned: always
  sample:
    - kind: chromium
      path: /home/maria/.pki/nssdb
      state: trusted
      changed: true
actions:
  description: What was done, in sentences.
  returned: success
  type: list
  elements: str
  sample: []
cause:
  description: A short word for what went wrong.
  returned: failure
  type: str
  sample: no-store
"""
