#!/usr/bin/python
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the module parallel; plugins/action/parallel.py does the work."""

DOCUMENTATION = r"""
module: parallel
short_description: Let notebooks compute on all nodes of a job with ipyparallel and MPI
version_added: 1.0.0
description:
  - Writes two IPython profiles. With the first, a notebook starts engines on the nodes of its own session; with the
    second, whose name ends in C(-job), it starts them as a batch job of their own, of any size.
  - Both start engines with the session's modules and PATH, by C(srun) or C(mpiexec), and their controller talks only to
    who holds its key, over encrypted connections.
  - Needs what M(hpc.jupyter.batch) deployed, and an ipyparallel 8 or newer in the Python that runs Jupyter.
options:
  batch_dir:
    description: Directory on the login node, as for M(hpc.jupyter.batch).
    type: str
    default: ~/.jupyter/batch
  site_dir:
    description:
      - Prefix of an installation for all users, as for P(hpc.jupyter.batch#module).
    type: str
    default: ""
  ipython_dir:
    description: The user's IPython directory, where C(IPYTHONDIR) of the session names another than the usual one.
    type: str
    default: ~/.ipython
  profile:
    description: Name of the profile.
    type: str
    default: jupyter
  environment:
    description:
      - What makes Jupyter available on a node, as for M(hpc.jupyter.batch); engines in a job of their own need it.
      - What that module was told when not given.
    type: dict
    default: {}
  mpi:
    description:
      - Whether the engines are one MPI world.
      - With V(auto) they are where the Python of the engines has mpi4py. V(required) makes a missing mpi4py an error, and
        V(none) starts engines without MPI.
    type: str
    choices: [auto, required, none]
    default: auto
  starter:
    description: What starts the engines on the nodes; V(auto) tries what the session has, and remembers it for the job.
    type: str
    choices: [auto, srun, mpiexec]
    default: auto
  starter_options:
    description: Further options of C(srun) or C(mpiexec), such as C(--mpi=pmix).
    type: list
    elements: str
    default: []
  resources:
    description:
      - What a job of engines asks for where the notebook does not say otherwise; what is empty is as for sessions.
      - Keys are C(nodes), C(cores), C(memory), C(gpus), C(walltime), C(queue), C(account) and C(options).
    type: dict
    default: {}
  example:
    description: Whether to put the example notebook into the user's directory.
    type: bool
    default: true
  notebook_path:
    description: Where it goes. One that the user has changed is never replaced.
    type: str
    default: ~/parallel.ipynb
extends_documentation_fragment: [hpc.jupyter.attributes]
author: hpc.jupyter contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Let notebooks compute on all nodes
  hpc.jupyter.parallel:
    resources:
      queue: large
      nodes: 8
      cores: 32
      walltime: "01:00:00"
"""

RETURN = r"""
profile:
  description: The profile for engines in the session's own job.
  returned: success
  type: str
  sample: jupyter
profile_job:
  description: The profile for engines in a job of their own.
  returned: success
  type: str
  sample: jupyter-job
profile_dirs:
  description: Their directories.
  returned: success
  type: list
  elements: str
  sample: [/home/carol/.ipython/profile_jupyter, /home/carol/.ipython/profile_jupyter-job]
notebook:
  description: The example notebook.
  returned: success
  type: str
  sample: /home/carol/parallel.ipynb
notebook_kept:
  description: Whether a notebook of that name was left as the user has it.
  returned: success
  type: bool
  sample: false
warnings:
  description: What may go wrong later.
  returned: success
  type: list
  elements: str
  sample: []
cause:
  description: One word for programs, on failure.
  returned: failure
  type: str
  sample: ipyparallel-missing
"""
