#!/usr/bin/python
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the module session; plugins/action/session.py does the work."""

DOCUMENTATION = r"""
module: session
short_description: Start, reach and end a Jupyter server on a compute node
version_added: 1.0.0
description:
  - With O(state=launched) a job is submitted that runs the session's Jupyter server, or the job that the session
    already has is adopted. The module waits until the server answers, telling what it waits for, and gives the one
    ssh command that tunnels from the laptop to it.
  - Running it again changes nothing and gives the same command.
  - Where just that session is asked for again, and its own server answers through the tunnel that this computer holds open, the
    login node is not asked; the result is what it said then, with the time that is left.
  - The account must have been set up with the roles P(hpc.jupyter.server#role) and P(hpc.jupyter.batch#role).
  - In a play on the login node itself (C(ansible_connection=local)), the variables C(jupyter_login_host),
    C(jupyter_login_user), C(jupyter_login_port) and C(jupyter_login_ssh_args) say how the laptop reaches it.
options:
  name:
    description: The session's name, 1 to 32 letters, digits, C(.), C(_) or C(-).
    type: str
    default: default
  state:
    description:
      - V(launched) submits or adopts, and waits.
      - V(connected) submits nothing; it fails when the session is not running.
      - V(stopped) asks the server to end, cancels its job and its successor, and closes the tunnel.
    type: str
    choices: [launched, connected, stopped]
    default: launched
  all:
    description: With O(state=stopped), end all sessions of the user.
    type: bool
    default: false
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
  nodes:
    description: Number of nodes.
    type: int
  cores:
    description: Cores per node.
    type: int
  memory:
    description: Memory per node, such as V(4G).
    type: str
  gpus:
    description: GPUs per node.
    type: int
  walltime:
    description: How long the job may run, such as V(04:00:00), V(90m) or a number of seconds.
    type: str
  queue:
    description: Queue or partition.
    type: str
  account:
    description: Account or project to charge.
    type: str
  options:
    description: Further options of the submit command, each as it would be typed.
    type: list
    elements: str
    default: []
  endpoint:
    description:
      - Where the server listens, V(socket) being a unix socket and V(tls) a port with TLS. What setup was told when not given.
    type: str
    choices: [auto, socket, tls]
  root_dir:
    description:
      - Directory that the file browser starts in, for this session. When not given, that of the user's own Jupyter settings,
        which M(hpc.jupyter.server) writes; else the home.
    type: str
  idle_timeout:
    description: Seconds without a working kernel or terminal after which the session ends itself; V(0) for never.
    type: int
  settings:
    description: Further Jupyter settings of this session, by class and trait.
    type: dict
    default: {}
  renewals:
    description: How many times the session goes on in a further job when its walltime is up.
    type: int
  mail:
    description: Address that the scheduler writes to when a job of the session starts or ends.
    type: str
  wait_timeout:
    description: Seconds to wait for the server; the job stays queued when they are over. V(0) does not wait at all.
    type: int
    default: 3600
  hold:
    description: Seconds that one question to the login node may take to come back with news.
    type: int
    default: 25
  grace:
    description: With O(state=stopped), seconds for the server to save and end by itself.
    type: int
    default: 20
  route:
    description: How the laptop reaches the server; V(auto) finds what the site permits and remembers it.
    type: str
    choices: [auto, relay, jump, direct, reverse, none]
    default: auto
  tunnel:
    description:
      - V(emit) prints the command, and says so where this laptop has the tunnel open already. V(open) runs it in the
        background and checks what answers, V(browser) opens the browser as well, and V(keep) also opens it again by itself
        until the session ends.
    type: str
    choices: [emit, open, browser, keep]
    default: emit
  local_port:
    description: Port on the laptop. Each session keeps the one that it had first.
    type: int
  notify:
    description: Whether to show a desktop notification when a session that had to wait is ready.
    type: bool
    default: true
  ca_dir:
    description: Directory on the controller with the certificate authority of P(hpc.jupyter.server#module).
    type: path
extends_documentation_fragment: [hpc.jupyter.attributes]
seealso:
  - module: hpc.jupyter.session_info
author: hpc.jupyter contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Launch a session of two nodes for four hours
  hpc.jupyter.session:
    nodes: 2
    cores: 4
    walltime: "04:00:00"
  register: launched

- name: Show the command for the laptop
  ansible.builtin.debug:
    var: launched.tunnel.command

- name: End the session
  hpc.jupyter.session:
    state: stopped
"""

RETURN = r"""
session:
  description: The session's name.
  returned: success
  type: str
  sample: default
state:
  description: One of none, queued, held, starting, ready, ending, finished, failed, stopped, unknown.
  returned: success
  type: str
  sample: ready
reason:
  description: Why it is in that state, in words.
  returned: success
  type: str
  sample: "Resources"
job:
  description: The scheduler's id of the job.
  returned: success
  type: str
  sample: "42"
scheduler:
  description: The scheduler's dialect.
  returned: success
  type: str
  sample: slurm
node:
  description: The node that the server runs on.
  returned: when the job runs
  type: str
  sample: node1
endpoint:
  description: Where the server listens on its node.
  returned: when the server is ready
  type: dict
  sample: {"kind": "socket", "path": "/tmp/jupyter-k3v9/jupyter.sock"}
time_left:
  description: Seconds until the walltime is up.
  returned: when the job runs
  type: int
  sample: 14388
predicted_start:
  description: When the scheduler expects to start the job, in seconds since the epoch.
  returned: when it says so
  type: float
log:
  description: The server's log on the login node.
  returned: success
  type: str
  sample: /home/carol/.jupyter/batch/sessions/default/server.log
tunnel:
  description: How to reach the server from the laptop; each is V(null) while the server is not ready, as in check mode.
  returned: with O(state=launched) and O(state=connected)
  type: dict
  contains:
    route:
      description: The route.
      type: str
      sample: relay
    command:
      description: The one command to type on the laptop, for a POSIX shell. Empty for route V(none). With O(tunnel=emit)
        and a tunnel that is open here already, one for another laptop.
      type: str
    command_windows:
      description: The same for PowerShell and cmd.exe; V(null) where it can't be written for them.
      type: str
    url:
      description: The address for the browser.
      type: str
      sample: http://127.0.0.1:8888/
    port:
      description: The local port.
      type: int
      sample: 8888
    open:
      description: Whether the tunnel was opened and the session's own server answers through it.
      type: bool
    notes:
      description: What else to know, such as another port than the last time.
      type: list
      elements: str
sessions:
  description: With O(state=stopped), each session that was ended.
  returned: O(state=stopped)
  type: list
  elements: dict
not_stopped:
  description: With O(all), each session that could not be ended (C(session), C(msg), C(cause)).
  returned: failure, with O(state=stopped) and O(all)
  type: list
  elements: dict
log_tail:
  description: The last lines of the log.
  returned: when the session failed
  type: list
  elements: str
cause:
  description: One word for programs.
  returned: failure
  type: str
  sample: refused
"""
