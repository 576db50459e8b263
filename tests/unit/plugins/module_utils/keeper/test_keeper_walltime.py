# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils.keeper import walltime


def test_the_end_of_the_job_is_a_duration_where_the_nodes_clock_is_hours_off():
    env = {"SLURM_JOB_START_TIME": "10000", "SLURM_JOB_END_TIME": "13600"}
    assert walltime.time_of_end(env, None, 10030.0) == (13600, 3570)
    assert walltime.time_of_end(env, None, 10030.0, 2.0) == (13600, 3570), "a prolog took 28 seconds"
    # The clock of the node is hours ahead, minutes ahead, or behind: the end is told by that clock.
    assert walltime.time_of_end(env, None, 50000.0, 1.0) == (53599, 3599)
    assert walltime.time_of_end(env, None, 10240.0, 1.0) == (13839, 3599)
    assert walltime.time_of_end(env, None, 9000.0, 1.0) == (12599, 3599)
    assert walltime.time_of_end({"PBS_WALLTIME": "1800"}, 60, 1000.0) == (2800, 1800.0)
    assert walltime.time_of_end({}, 60, 1000.0) == (1060, 60.0)
    assert walltime.time_of_end({}, 60, 1000.0, 20.0) == (1040, 40.0), "what the job script took is gone"
    assert walltime.time_of_end({}, None, 1000.0) == (None, None)


@pytest.mark.parametrize("said, seconds", [("5:00", 300), ("1:02:03", 3723), ("2-00:00:10", 172810), ("UNLIMITED", None), ("INVALID", None), ("", None)])
def test_the_time_left_of_a_job_submitted_by_hand(said, seconds):
    assert walltime.time_left({"SLURM_JOB_ID": "7"}, lambda argv: said + "\n" if argv[0] == "squeue" else None) == seconds
    assert walltime.time_left({}, lambda argv: None) is None


QSTAT = """Job Id: 132.pbs-login
    Job_Name = jupyter-default
    resources_used.walltime = 00:00:07
    job_state = R
    Resource_List.ncpus = 1
    Resource_List.select = 1:ncpus=1
    Resource_List.walltime = 01:00:00
    stime = Mon Nov 23 01:20:01 2026
"""


@pytest.mark.parametrize("said, seconds", [(QSTAT, 3540), (QSTAT.replace("Resource_List.walltime", "x"), None), ("", None), (None, None)])
def test_openpbs_tells_the_walltime_of_a_queue_to_qstat_only(said, seconds):
    asked = []

    def ask(argv):
        asked.append(argv)
        return said

    assert walltime.time_left({"PBS_JOBID": "132.pbs-login"}, ask, 60.0, "/opt/pbs/bin/qstat") == seconds
    assert asked == [["/opt/pbs/bin/qstat", "-f", "132.pbs-login"]]


@pytest.mark.parametrize("left, grace, margin", [(7200, 10, 20), (7200, 30, 40), (100, 10, 10), (20, 10, 2)])
def test_the_end_comes_a_little_before_the_schedulers(monkeypatch, left, grace, margin):
    now = [1000.0]
    monkeypatch.setattr(walltime, "monotonic", lambda: now[0])
    countdown = walltime.Countdown(left, [600], grace)
    now[0] += left - margin - 1
    assert not countdown.over()
    now[0] += 1
    assert countdown.over() and countdown.grace < margin
    assert not walltime.Countdown(None, [600]).over()
