#!/usr/bin/python
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the module session_info; plugins/action/session_info.py does the work."""

DOCUMENTATION = r"""
module: session_info
short_description: List the Jupyter sessions of the user
version_added: 1.0.0
description:
  - Lists every session with its job, node, time left, what it waits for, whether this laptop's tunnel is up, and the
    core-hours that its job has used so far.
  - A session that ended is listed for a week, and after that when it is asked for by its name.
  - The scheduler is asked once, however many sessions there are.
options:
  names:
    description: Sessions to list; all that are there or ended within a week when empty.
    type: list
    elements: str
    default: []
  batch_dir:
    description: Directory on the login node that P(hpc.jupyter.batch#module) wrote.
    type: str
    default: ~/.jupyter/batch
  site_dir:
    description:
      - Prefix of an installation for all users, as for P(hpc.jupyter.batch#module); O(batch_dir) holds the sessions
        alone then.
    type: str
    default: ""
  table:
    description: Whether to show the sessions as a table as well.
    type: bool
    default: false
extends_documentation_fragment: [hpc.jupyter.attributes]
seealso:
  - module: hpc.jupyter.session
author: hpc.jupyter contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: List all sessions
  hpc.jupyter.session_info:
  register: found

- name: Show the nodes that sessions run on
  ansible.builtin.debug:
    msg: "{{ found.sessions | selectattr('state', 'eq', 'ready') | map(attribute='node') }}"
"""

RETURN = r"""
sessions:
  description: The sessions, by name.
  returned: success
  type: list
  elements: dict
  contains:
    session:
      description: The session's name.
      type: str
      sample: default
    state:
      description: One of none, queued, held, starting, ready, ending, finished, failed, stopped, unknown.
      type: str
      sample: ready
    reason:
      description: What it waits for, or why it ended.
      type: str
      sample: Priority
    job:
      description: The scheduler's id of its job.
      type: str
      sample: "42"
    node:
      description: The node that its server runs on.
      type: str
      sample: node1
    time_left:
      description: Seconds until its walltime is up.
      type: int
      sample: 7100
    predicted_start:
      description: When the scheduler expects it to start, in seconds since the epoch.
      type: float
    ended:
      description: When it ended, in seconds since the epoch; V(null) while it has not.
      type: float
    core_hours:
      description: Core-hours of its job so far.
      type: float
      sample: 1.25
    renewals_left:
      description: How many further jobs it may go on in.
      type: int
      sample: 0
    log:
      description: The server's log on the login node.
      type: str
      sample: /home/carol/.jupyter/batch/sessions/default/server.log
    tunnel:
      description: This laptop's tunnel.
      type: dict
      sample: {"up": true, "url": "http://127.0.0.1:8888/", "port": 8888, "route": "relay"}
table:
  description: The same as lines of text.
  returned: success
  type: list
  elements: str
"""
