# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils.keeper import walltime


def test_the_end_of_the_job_is_a_duration_where_the_nodes_clock_is_hours_off():
    env = {"SLURM_JOB_START_TIME": "10000", "SLURM_JOB_END_TIME": "13600"}
    assert walltime.time_of_end(env, None, 10030.0) == (13600, 3570)
    assert walltime.time_of_end(env, None, 50000.0) == (13600, 3600)
    assert walltime.time_of_end({"PBS_WALLTIME": "1800"}, 60, 1000.0) == (2800, 1800.0)
    assert walltime.time_of_end({}, 60, 1000.0) == (1060, 60.0)
    assert walltime.time_of_end({}, None, 1000.0) == (None, None)


@pytest.mark.parametrize("said, seconds", [("5:00", 300), ("1:02:03", 3723), ("2-00:00:10", 172810), ("UNLIMITED", None), ("INVALID", None), ("", None)])
def test_the_time_left_of_a_job_submitted_by_hand(said, seconds):
    assert walltime.time_left({"SLURM_JOB_ID": "7"}, lambda argv: said + "\n" if argv[0] == "squeue" else None) == seconds
    assert walltime.time_left({}, lambda argv: None) is None
