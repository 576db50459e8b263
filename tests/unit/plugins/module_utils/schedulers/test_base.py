# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import schedulers
from ansible_collections.hpc.jupyter.plugins.module_utils.schedulers import base


@pytest.mark.parametrize("name, job_id", [
    ("slurm", "12.tq-login"), ("slurm", "local-here-1-2"), ("slurm_pbs", "12.pbs-login"), ("openpbs", "local-here-1-2"), ("torque", "12[]"),
    ("local", "12")])
def test_the_job_of_another_scheduler_is_over(name, job_id, tmp_path):
    """A site that moved on: nothing must be asked, or cancelled, by that id, and nobody must wait for that job."""
    scheduler = schedulers.get(name, None, directory=str(tmp_path))
    assert scheduler.look([job_id])[job_id].over
    assert scheduler.cancel(job_id) == "unknown"


@pytest.mark.parametrize("rc, message, untouched", [
    (127, "sbatch: No such file or directory", True), (124, "qsub: no answer within 120 s", False),
    (1, "sbatch: error: Unable to contact slurm controller (connect failure)", True)])
def test_whether_a_submission_may_have_got_there(rc, message, untouched):
    assert base.Unreachable(message, rc).untouched is untouched


@pytest.mark.parametrize("text, seconds", [
    ("90", 90), (5400, 5400), (90.0, 90), ("01:30:00", 5400), ("30:00", 1800), ("1:02:03:04", 93784), ("1-12:00:00", 129600), ("2-0", 172800),
    ("1-00:30", 88200), ("90m", 5400), ("8h", 28800), ("1h30m", 5400), ("1d 2h", 93600), ("24:00:00", 86400), ("100:00:00", 360000)])
def test_walltime(text, seconds):
    assert base.parse_walltime(text) == seconds


@pytest.mark.parametrize("text", ["0", "-5", "abc", "1:2:3:4:5", "1-1:2:3:4", "1.5", "1.5h", True, "90 minutes", [], "00:00:00"])
def test_bad_walltime(text):
    with pytest.raises(base.BadRequest, match="jupyter_walltime"):
        base.parse_walltime(text)


@pytest.mark.parametrize("text, size", [
    ("4G", 4 << 30), ("4gb", 4 << 30), ("4GiB", 4 << 30), ("512 M", 512 << 20), ("1.5g", 3 << 29), (2 << 30, 2 << 30), ("2T", 2 << 40),
    (None, None), ("", None)])
def test_memory(text, size):
    assert base.parse_memory(text) == size


@pytest.mark.parametrize("text", ["4", 16, "4 gigs", "-1G", "G", True, "4G5", "0G"])
def test_bad_memory(text):
    with pytest.raises(base.BadRequest, match="jupyter_memory"):
        base.parse_memory(text)


@pytest.mark.parametrize("request_, variable", [
    ({"nodes": 0}, "jupyter_nodes"), ({"cores": "four"}, "jupyter_cores"), ({"gpus": -1}, "jupyter_gpus"), ({"nodes": True}, "jupyter_nodes"),
    ({"queue": "a b"}, "jupyter_queue"), ({"queue": "-x"}, "jupyter_queue"), ({"account": "$(id)"}, "jupyter_account"),
    ({"options": ["--x='"]}, "jupyter_batch_options")])
def test_bad_requests_name_their_variable(request_, variable):
    with pytest.raises(base.BadRequest, match=variable):
        base.Resources.from_request(request_)


def test_nothing_asked_for_is_one_core_of_one_node():
    assert base.Resources.from_request({}).as_dict() == {
        "nodes": 1, "cores": 1, "memory": None, "gpus": 0, "walltime": None, "queue": None, "account": None, "options": []}
    assert base.Resources.from_request(None) == base.Resources()


def test_options_are_split_as_a_shell_would():
    assert base.Resources.from_request({"options": ["-C 'a b'", "--exclusive"]}).arguments() == ["-C", "a b", "--exclusive"]
    assert base.Resources.from_request({"options": "--exclusive"}).options == ["--exclusive"]


def test_what_was_read_is_read_again():
    resources = base.Resources.from_request({"memory": "4G", "walltime": "1h", "options": ["-x"], "queue": "q@server"})
    assert base.Resources.from_request(resources.as_dict()) == resources


@pytest.mark.parametrize("text, hosts", [
    ("node1", ["node1"]), ("node[1-3]", ["node1", "node2", "node3"]), ("n[01-02,10],gpu3", ["n01", "n02", "n10", "gpu3"]),
    ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]), ("n[1-2]-ib", ["n1-ib", "n2-ib"]), ("", []), ("(null)", []), ("None assigned", []),
    ("n[3-1]", []), ("n[", []), ("n]1[", []), ("n[1-2],x[5-4],o", ["n1", "n2", "o"]), ("a,,b", ["a", "b"])])
def test_host_lists(text, hosts):
    assert base.expand_hostlist(text) == hosts


@pytest.mark.parametrize("text, most", [
    ("n[1-999999999]", 20000), (",".join(["n[1-99999]"] * 9), 20000), ("n[1-99999]x[1-99999]y[1-99999]", 20000),
    ("n[1-99999]x[1-99999]!", 0), ("n[1-99999]x[1-99999]y[3-1]", 0)])
def test_a_host_list_can_fill_neither_the_memory_nor_the_day(text, most):
    assert len(base.expand_hostlist(text)) == most


def test_a_job_survives_its_file():
    job = base.Job("1", name="n", state=base.RUNNING, nodes=["a"], ends=5)
    assert base.Job.from_dict(job.as_dict()) == job


def test_refused_says_both():
    assert str(base.Refused("Unknown queue", "Set jupyter_queue.", 170)) == "Unknown queue\nSet jupyter_queue."


def test_names():
    assert schedulers.NAMES == ("slurm", "openpbs", "torque", "slurm_pbs", "local")
    for name in schedulers.NAMES:
        assert schedulers.get(name, None).name == name
    with pytest.raises(base.NotFound, match="auto, slurm, openpbs, torque, slurm_pbs, local"):
        schedulers.get("sge", None)


def test_the_settings_that_the_commands_need_are_there_for_every_command():
    seen = []

    def run(argv, stdin=None, timeout=60, env=None):
        seen.append((argv[0], env))
        return base.Completed(0, "1", "")
    scheduler = schedulers.get("slurm", run, commands={"sbatch": "/o/sbatch", "environment": {"SLURM_CONF": "/o/slurm.conf"}})
    scheduler.submit(base.Submission("n", "/s", "/o", base.Resources()))
    assert seen[0][0] == "/o/sbatch" and seen[0][1]["SLURM_CONF"] == "/o/slurm.conf"
