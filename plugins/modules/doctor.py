#!/usr/bin/python
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the module doctor; plugins/action/doctor.py does the work."""

DOCUMENTATION = r"""
module: doctor
short_description: Look at a site, and tell what works there and what to set
version_added: 1.0.0
description:
  - Looks from the laptop and on the login node at what this collection needs, which is ssh, the scheduler, Jupyter,
    room in the home, and the ways to a compute node. The ways are tried with a session that is ready, if there is one.
  - Changes nothing, and its report holds no secrets, so that it can be pasted into a support ticket.
options:
  batch_dir:
    description: Directory on the login node that M(hpc.jupyter.batch) wrote, or will.
    type: str
    default: ~/.jupyter/batch
  site_dir:
    description:
      - Prefix of an installation for all users, as for P(hpc.jupyter.batch#module).
    type: str
    default: ""
  relay_dir:
    description: Directory of the login node for the sockets of relays.
    type: str
    default: /tmp
  scheduler:
    description: The batch system's dialect, as for M(hpc.jupyter.batch).
    type: str
    choices: [auto, openpbs, torque, slurm, slurm_pbs, local]
    default: auto
  environment:
    description: What makes Jupyter available, as for M(hpc.jupyter.batch).
    type: dict
    default: {}
extends_documentation_fragment: [hpc.jupyter.attributes]
author: hpc.jupyter contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Look at a site whose modules bring Jupyter
  hpc.jupyter.doctor:
    environment:
      modules: [jupyterlab]
"""

RETURN = r"""
report:
  description: Everything in lines of text; its last ones can be pasted into group_vars.
  returned: success
  type: str
findings:
  description: What was looked at.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: What it is about.
      type: str
      sample: scheduler
    works:
      description: Whether it works; V(null) for what is worth knowing and neither good nor bad.
      type: bool
    said:
      description: What was seen, or what to do.
      type: str
    set:
      description: Variables that say to the roles what was found.
      type: dict
      sample: {"jupyter_scheduler": "slurm"}
group_vars:
  description: The variables of all findings.
  returned: success
  type: dict
  sample: {"jupyter_scheduler": "slurm", "jupyter_route": "relay"}
reached:
  description: Whether the login node could be logged in to at all.
  returned: success
  type: bool
"""
