# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the keeper's child does before it becomes Jupyter."""

import subprocess
import sys

from ansible_collections.hpc.jupyter.plugins.module_utils import keeper

# In a process of its own: it is about all of its memory.
CODE = """
import gc, sys
sys.path.insert(0, sys.argv[1])
from keeper import serve
before = gc.get_stats()[0]["collections"]
serve._collect_seldom()
kept = [[] for _ in range(200000)]
assert gc.get_stats()[0]["collections"] == before, "a start's objects were looked through"
more = [[] for _ in range(400000)]
assert gc.get_stats()[0]["collections"] > before, "garbage is never looked for"
assert gc.get_threshold()[0] == 50000 and serve._started not in gc.callbacks
assert gc.get_freeze_count() > 200000
"""


def test_a_start_is_not_held_up_by_a_search_for_garbage_and_a_server_that_runs_searches():
    subprocess.run([sys.executable, "-c", CODE, keeper.__path__[0].rpartition("/")[0]], check=True)
