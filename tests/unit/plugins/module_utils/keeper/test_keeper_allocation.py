# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import socket

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils.keeper import allocation


@pytest.mark.parametrize("counts, expected", [("2(x2),1", [2, 2, 1]), ("4", [4]), ("", []), (None, [])])
def test_spread(counts, expected):
    assert allocation.spread(counts) == expected


def answers_of(table):
    return lambda argv: table.get(argv[0])


def test_the_node_file_has_each_host_as_often_as_it_has_tasks():
    env = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_TASKS_PER_NODE": "3,1", "SLURM_JOB_CPUS_PER_NODE": "4(x2)"}
    hosts = answers_of({"scontrol": "node1\nnode2\n"})
    assert allocation.node_lines(env, 1, hosts) == ["node1"] * 3 + ["node2"]
    env["SLURM_TASKS_PER_NODE"] = "1(x2)"
    assert allocation.node_lines(env, 1, hosts) == ["node1"] * 4 + ["node2"] * 4
    assert allocation.node_lines(env, 1, answers_of({})) is None


def test_a_local_job_has_the_cores_that_it_was_given():
    assert allocation.node_lines({"LOCAL_JOBID": "local-node-1-2"}, "3", answers_of({})) == [socket.gethostname()] * 3
    assert allocation.node_lines({"LOCAL_JOBID": "local-node-1-2"}, None, answers_of({})) is None


@pytest.mark.parametrize("name", ["SLURM_JOB_ID", "PBS_JOBID", "LOCAL_JOBID"])
def test_the_job_is_known_by_its_schedulers_name(monkeypatch, name):
    for other in ("SLURM_JOB_ID", "PBS_JOBID", "LOCAL_JOBID"):
        monkeypatch.delenv(other, raising=False)
    assert allocation.job_id() is None
    monkeypatch.setenv(name, "7")
    assert allocation.job_id() == "7"


def test_the_node_file_of_slurms_own_tool_wins(tmp_path):
    (tmp_path / "nodes").write_text("n1\nn1\nn2\n")
    env = {"SLURM_JOB_NODELIST": "n[1-2]"}
    assert allocation.node_lines(env, 1, answers_of({"generate_pbs_nodefile": "%s\n" % (tmp_path / "nodes")})) == ["n1", "n1", "n2"]
