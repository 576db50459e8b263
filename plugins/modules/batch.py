#!/usr/bin/python
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the module batch; plugins/action/batch.py does the work."""

DOCUMENTATION = r"""
module: batch
short_description: Deploy the job script, its keeper and the connect tool on a login node
version_added: 1.0.0
description:
  - Finds out which scheduler the login node has and whether its modules bring a Jupyter, and then writes what a
    session needs, which is the job script, the keeper that the job runs, the program behind it, and
    C(~/.jupyter_connect).
  - Changes nothing when a session could not work, and says what to set.
  - Nothing is installed outside the home, and no privilege is needed.
  - With O(scope=site) staff install it once for all users, below a prefix that everybody can read.
options:
  batch_dir:
    description:
      - Directory on the login node, shared with the compute nodes.
      - With O(site_dir) it holds the user's sessions alone, and is the same pattern for all users. It starts with C(~/) or has
        a variable in it that differs between users, such as C($SCRATCH).
    type: str
    default: ~/.jupyter/batch
  site_dir:
    description:
      - Prefix of an installation for all users, shared with the compute nodes, such as V(/opt/hpc-jupyter).
      - With O(scope=site) it is written there, the connect tool as C(jupyter_connect).
      - With O(scope=user) nothing is written. It is seen that the installation is there and that its owner alone can change it,
        and what is asked for and differs from it is refused.
      - When empty, each user has an installation of their own.
    type: str
    default: ""
  scope:
    description:
      - Whom it is for. V(site) writes what all users of the site read, and is for staff, who run it as the owner of
        O(site_dir), such as root.
      - Everything in it is public, O(environment) included. What belongs to who runs it is refused.
    type: str
    choices: [user, site]
    default: user
  connect_path:
    description: Where the connect tool goes. Nowhere else than below O(site_dir) where that is set.
    type: str
    default: ~/.jupyter_connect
  connect_hint:
    description:
      - The command for the laptop that the connect tool shows in its first lines and when it is run in a terminal.
        Made from the connection's own variables when empty.
    type: str
    default: ""
  local_port:
    description: Port on the laptop in that command; 8888 when not given.
    type: int
  relay_dir:
    description:
      - Directory of the login node in which a private one is made for the sockets of relays. It is to be on the login
        node's own disk.
    type: str
    default: /tmp
  second_hop:
    description:
      - How a relay goes on from the login node to the session's node. V(auto) tries ssh, and then a step of the job where
        the scheduler is Slurm.
    type: str
    choices: [auto, ssh, step]
    default: auto
  node_names:
    description: Whether the compute nodes are reached by their short names or by those with a domain.
    type: str
    choices: [short, fqdn]
    default: short
  node_host_keys:
    description:
      - What a relay does with the host key of a node that was never seen before. V(strict) refuses it and says what to
        do, V(accept-new) takes it. A key that changed is refused either way.
    type: str
    choices: [strict, accept-new]
    default: strict
  scheduler:
    description:
      - The batch system's dialect.
      - With V(auto) the commands are asked what they are; V(local) is for a host without a batch system, and
        V(slurm_pbs) for the C(qsub) and C(qstat) that come with Slurm.
    type: str
    choices: [auto, openpbs, torque, slurm, slurm_pbs, local]
    default: auto
  environment:
    description: What makes Jupyter available on a node.
    type: dict
    default: {}
    suboptions:
      modules:
        description: Environment modules to load, in order.
        type: list
        elements: str
        default: []
      module_paths:
        description: Directories for C(module use), before the modules are loaded.
        type: list
        elements: str
        default: []
      venv:
        description: A Python virtual environment to activate.
        type: str
      conda:
        description: Name or prefix of a conda environment to activate.
        type: str
      container:
        description: A command that runs in a container what follows it, such as C(apptainer exec jupyter.sif).
        type: str
      python:
        description: The Python that runs Jupyter, where the first of C(python3) and C(python) that has a Jupyter is not the right one.
        type: str
      variables:
        description: Environment variables to export. No place for secrets, for the job script holds them; with O(scope=site) everybody
          reads it.
        type: dict
        default: {}
      commands:
        description: Shell lines to run after the modules are loaded.
        type: list
        elements: str
        default: []
  resources:
    description:
      - What a session gets when a launch does not say otherwise, per node.
      - Keys are C(nodes), C(cores), C(memory), C(gpus), C(walltime), C(queue), C(account) and C(options).
    type: dict
    default: {}
  job:
    description: What the keeper is told of every session (endpoint, idle time, directories, certificate, Jupyter settings).
    type: dict
    default: {}
  renewals:
    description: How many times a session that reaches its walltime goes on in a further job.
    type: int
    default: 0
  mail:
    description: Address that the scheduler writes to when a job starts and ends.
    type: str
  poll_interval:
    description: Seconds between two questions to the scheduler, at the least.
    type: int
    default: 0
  preflight:
    description: Whether to load the modules and look for Jupyter on the login node before anything is written.
    type: bool
    default: true
  install:
    description: Make a virtual environment with Jupyter in the home, where no module brings it.
    type: dict
    default: {}
    suboptions:
      enabled:
        description: Whether to make it.
        type: bool
        default: false
      directory:
        description: Where it goes; on a file system that the compute nodes share.
        type: str
        default: ~/.jupyter/venv
      python:
        description: The Python that it is made with; the newest that is found when not given.
        type: str
      requirements:
        description: Packages with versions, as in a requirements file. The collection's own pinned set when empty.
        type: list
        elements: str
        default: []
      index_url:
        description: Package index for C(pip), where the site has one of its own.
        type: str
extends_documentation_fragment: [hpc.jupyter.attributes]
author: hpc.jupyter contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Install it once for all users
  hpc.jupyter.batch:
    scope: site
    site_dir: /opt/hpc-jupyter
    environment:
      modules: [jupyterlab]
  become: true

- name: Deploy what sessions need on a login node with modules
  hpc.jupyter.batch:
    scheduler: auto
    environment:
      modules: [jupyterlab]
    resources:
      cores: 4
      memory: 8G
      walltime: "04:00:00"
"""

RETURN = r"""
scheduler:
  description: The dialect that was found or set.
  returned: success
  type: str
  sample: slurm
scheduler_evidence:
  description: How it was told.
  returned: success
  type: str
  sample: "sbatch --version says: slurm-wlm 22.05.8"
commands:
  description: The scheduler's commands and where they are.
  returned: success
  type: dict
  sample: {"sbatch": "/usr/bin/sbatch"}
jupyter:
  description: The Python that runs Jupyter on this site, and the versions that it has.
  returned: success, and V(null) where O(preflight=false)
  type: dict
  sample: {"python": "/opt/jupyter/bin/python3", "jupyter_server": "2.21.0"}
script:
  description: The job script, ready for use by hand.
  returned: success
  type: str
  sample: /home/carol/.jupyter/batch/jupyter.slurm
batch_dir:
  description: The batch directory, absolute. With O(scope=site), as it was given.
  returned: success
  type: str
  sample: /home/carol/.jupyter/batch
site_dir:
  description: The prefix of the installation for all users, V(null) where the user has one of their own.
  returned: success
  type: str
  sample: /opt/hpc-jupyter
connect:
  description: The connect tool.
  returned: success
  type: str
  sample: /home/carol/.jupyter_connect
warnings:
  description: Why the scheduler would refuse a session as it is set up; asked where it can be, and where the job script is new.
  returned: success, with O(scope=user) and without O(site_dir)
  type: list
  elements: str
  sample: []
cause:
  description: One word for programs, on failure.
  returned: failure
  type: str
  sample: jupyter-missing
"""
