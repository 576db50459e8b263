# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenPBS, against what two versions of a real one said."""

import json

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils.schedulers import base, openpbs
from ansible_collections.hpc.jupyter.tests.unit.plugins.module_utils.schedulers import replay

RECORDINGS = ("openpbs-23.06.06", "openpbs-head")


def scheduler(recording, *names):
    return openpbs.OpenPBS(replay.Replay(recording, *names), user="alice")


def look(recording, name):
    job_id = replay.answered_id(recording, name)
    return scheduler(recording, name).look([job_id])[job_id]


def submission(**more):
    resources = more.pop("resources", base.Resources())
    return base.Submission(more.pop("name", "jupyter-default"), "/home/alice/job.sh", "/home/alice/server.log", resources, **more)


@pytest.mark.parametrize("recording", RECORDINGS)
@pytest.mark.parametrize("name, state, hopeless, words", [
    ("state-Q", base.QUEUED, True, "Queue not started"),
    ("state-Q-full", base.QUEUED, False, "Not enough free nodes"),
    ("state-Q-never", base.QUEUED, True, "Can Never Run: Insufficient amount of resource: ncpus"),
    ("state-W", base.QUEUED, False, "start time has not come"),
    ("state-H", base.HELD, False, "held by its owner"),
    ("depend-held", base.HELD, False, "waits for another job to end (afternotok:"),
    ("state-S", base.HELD, False, "suspended"),
    ("state-R-x", base.RUNNING, False, None),
    ("state-R-rerun", base.RUNNING, False, None),
    ("state-E", base.ENDING, False, None),
    ("state-after-qdel", base.RUNNING, False, None),
    ("nodedown-qstat", base.RUNNING, False, None),
    ("finish-force", base.RUNNING, False, None),
])
def test_states(recording, name, state, hopeless, words):
    job = look(recording, name)
    assert (job.state, job.hopeless, job.exit_kind) == (state, hopeless, None)
    assert words is None or words in job.reason


@pytest.mark.parametrize("recording", RECORDINGS)
@pytest.mark.parametrize("name, kind, code", [
    ("finish-exit0", base.CLEAN, 0),
    ("finish-exit3", base.FAILED, 3),
    ("finish-exit255", base.FAILED, 255),
    ("finish-badcmd", base.FAILED, 127),
    ("finish-bad-interp", base.FAILED, 127),
    ("finish-kill9", base.FAILED, 137),
    ("finish-kill15", base.FAILED, 143),
    ("finish-walltime", base.TIME_LIMIT, None),
    ("finish-walltime-notrap", base.TIME_LIMIT, None),
    ("finish-trap", base.CANCELLED, 143),
    ("state-deleted-running-x", base.CANCELLED, 143),
    ("state-deleted-queued-x", base.CANCELLED, None),
    ("depend-afternotok-qdelforce-first", base.CANCELLED, 137),
    ("depend-afternotok-ok-then", base.CANCELLED, None),
    ("depend-unknown-afternotok-qstat-x", base.CANCELLED, None),
    ("nodedown-end", base.CANCELLED, None),
    ("restart-ended-while-down-end", base.FAILED, 4),
    ("down-restarted-end", base.FAILED, 4),
])
def test_endings(recording, name, kind, code):
    job = look(recording, name)
    assert (job.state, job.exit_kind, job.exit_code, job.hopeless) == (base.FINISHED, kind, code, False)
    assert job.ends and job.ends >= job.submitted


def test_a_running_job_in_full(monkeypatch):
    job = look("openpbs-23.06.06", "state-R-x")
    assert job == base.Job(
        job.id, name="stater", state=base.RUNNING, nodes=["pbs-cn1"], queue="batch", submitted=1795398897, started=1795398897,
        ends=1795398897 + 3600, walltime=3600, cores_total=1)


# The two versions refuse different ones of them.
ODD_NAMES = [(recording, "name-%s-qstat" % name) for recording in RECORDINGS
             for name in ("nan", "plus", "dot", "exp", "digits_only", "quote", "backslash", "true", "null")
             if replay.load(recording).get("name-%s-qstat" % name, {"stdout": ""})["stdout"].strip()]


@pytest.mark.parametrize("recording, name", ODD_NAMES)
def test_every_name_that_qsub_takes_is_read_though_the_json_is_not_valid(recording, name):
    assert look(recording, name).state == base.HELD


@pytest.mark.parametrize("recording, name", [
    (recording, name) for recording in RECORDINGS for name in sorted(replay.load(recording))
    if name.endswith("-qstat") and name.startswith(("var-", "json-")) and replay.command_line(replay.load(recording)[name])
    and replay.load(recording)[name]["rc"] == 0 and "json" in replay.load(recording)[name]["cmd"]])
def test_every_variable_and_argument_of_a_job_is_survived(recording, name):
    assert look(recording, name).state != base.UNKNOWN


def test_one_query_for_many_jobs():
    run = replay.Replay("openpbs-23.06.06", "depend-chain-end")
    ids = replay.ids(replay.command_line(replay.load("openpbs-23.06.06")["depend-chain-end"]))
    jobs = openpbs.OpenPBS(run).look(ids)
    assert len(run.asked) == 1 and sorted(jobs) == sorted(ids)
    assert all(job.over for job in jobs.values())


def test_an_unknown_id_does_not_hide_the_known_one():
    ids = replay.ids(replay.command_line(replay.load("openpbs-23.06.06")["qstat-mixed-known-unknown"]))
    jobs = scheduler("openpbs-23.06.06", "qstat-mixed-known-unknown").look(ids)
    assert jobs[ids[0]].state == base.RUNNING
    assert (jobs["99999"].state, jobs["99999"].exit_kind) == (base.FINISHED, base.EXIT_UNKNOWN)


def test_one_job_that_cannot_be_read_does_not_hide_the_others():
    def run(argv, stdin=None, timeout=60, env=None):
        entry = replay.load("openpbs-23.06.06")["state-R-x"]
        if argv[-1] == "1.pbs-login":
            return base.Completed(0, "{ nonsense", "")
        return base.Completed(0, entry["stdout"], "")
    jobs = openpbs.OpenPBS(run).look(["232.pbs-login", "1.pbs-login"])
    assert jobs["232.pbs-login"].state == base.RUNNING
    assert jobs["1.pbs-login"].state == base.UNKNOWN


@pytest.mark.parametrize("recording", RECORDINGS)
@pytest.mark.parametrize("name, state", [
    ("qstat-unknown-x", base.FINISHED),
    ("state-purged", base.FINISHED),
])
def test_the_server_knows_that_it_knows_nothing(recording, name, state):
    job = look(recording, name)
    assert (job.state, job.exit_kind) == (state, base.EXIT_UNKNOWN)


@pytest.mark.parametrize("recording", RECORDINGS)
@pytest.mark.parametrize("name", ["down-qstat"])
def test_a_query_that_fails_is_unknown(recording, name):
    job = look(recording, name)
    assert job.state == base.UNKNOWN and "cannot connect to server" in job.reason


@pytest.mark.parametrize("done", [
    base.Completed(127, "", "qstat: No such file or directory"), base.Completed(124, "", "qstat: no answer within 60 s"),
    base.Completed(0, "", ""), base.Completed(0, "{}", ""), base.Completed(0, '{"pbs_version":"1","Jobs":[]}', ""),
    base.Completed(0, '{"pbs_version":"1","Jobs":{"1.s":{}}}', ""), base.Completed(0, '{"pbs_version":"1","Jobs":{"1.s":null}}', ""),
    base.Completed(153, '{"pbs_version":"1"}', "qstat: Unknown Job Id 12.s"), base.Completed(153, "", "qstat: Unknown Job Id 1.s"),
    base.Completed(0, '{"pbs_version":"1","Jobs":{"1.s":{"job_state":"M"}}}', ""), base.Completed(1, "[" * 100000, ""),
])
def test_other_failures_are_unknown_too(done):
    assert openpbs.OpenPBS(lambda *args, **more: done).look(["1.s"])["1.s"].state == base.UNKNOWN


def test_without_a_history_it_is_asked_without_x():
    recording = replay.load("openpbs-23.06.06")
    job_id = replay.answered_id("openpbs-23.06.06", "nohistory-qstat-x")
    run = replay.Replay("openpbs-23.06.06", "nohistory-qstat-x", "nohistory-qstat")
    job = openpbs.OpenPBS(run).look([job_id])[job_id]
    assert recording["nohistory-qstat-x"]["rc"] == 0
    assert (job.state, job.exit_kind) == (base.FINISHED, base.EXIT_UNKNOWN)
    assert [("-x" in argv) for argv in run.asked] == [True, False]


def test_submit_spells_what_was_asked_for():
    resources = base.Resources.from_request({
        "nodes": 2, "cores": 4, "memory": "3G", "gpus": 1, "walltime": "90m", "queue": "short", "account": "proj1", "options": ["-P 'my project'"]})
    run = replay.Replay("openpbs-23.06.06", "qsub-file")
    job_id = openpbs.OpenPBS(run, commands={"qsub": "/opt/pbs/bin/qsub"}).submit(
        submission(resources=resources, mail="a@b.c", after_failure_of="12.pbs-login"))
    assert job_id == replay.load("openpbs-23.06.06")["qsub-file"]["stdout"].strip()
    assert run.asked == [[
        "/opt/pbs/bin/qsub", "-N", "jupyter-default", "-l", "select=2:ncpus=4:mpiprocs=4:mem=3072mb:ngpus=1", "-l", "place=scatter",
        "-l", "walltime=01:30:00", "-q", "short", "-A", "proj1", "-r", "n", "-j", "oe", "-o", "/home/alice/server.log", "-m", "abe",
        "-M", "a@b.c", "-W", "depend=afternotok:12.pbs-login", "-P", "my project", "/home/alice/job.sh"]]


def test_the_first_job_of_a_server_is_number_0():
    def run(*_args, **_more):
        return base.Completed(0, "0.pbs-login\n", "")

    assert openpbs.OpenPBS(run).submit(submission()) == "0.pbs-login"


@pytest.mark.parametrize("name, variable", [
    ("qsub-bad-queue", "jupyter_queue"), ("qsub-bad-queue-disabled", "jupyter_queue"), ("qsub-bad-walltime-max", "jupyter_walltime"),
    ("qsub-bad-walltime-word", "jupyter_walltime"), ("qsub-bad-select-syntax", "jupyter_cores"), ("qsub-bad-resource", "jupyter_batch_options"),
    ("qsub-bad-select-resource", "jupyter_batch_options"), ("qsub-bad-mix", "jupyter_batch_options"), ("qsub-bad-attr", "jupyter_batch_options"),
    ("qsub-bad-option", "jupyter_batch_options"), ("qsub-bad-depend-syntax", "jupyter_batch_options"), ("qsub-bad-u", "jupyter_account"),
    ("qsub-bad-wgroup", "jupyter_account"), ("qsub-bad-mem-bad", "jupyter_memory"), ("qsub-bad-missing", None), ("qsub-bad-unreadable", None),
    ("qsub-z", None),
])
@pytest.mark.parametrize("recording", RECORDINGS)
def test_a_refusal_has_the_schedulers_words_and_what_to_change(recording, name, variable):
    with pytest.raises(base.Refused) as caught:
        scheduler(recording, name).submit(submission())
    entry = replay.load(recording)[name]
    assert caught.value.rc == entry["rc"]
    first = " ".join(entry["stderr"].split("usage:")[0].split())
    assert first in caught.value.message and "usage" not in caught.value.message
    assert (variable in caught.value.advice) if variable else caught.value.advice is None


@pytest.mark.parametrize("recording", RECORDINGS)
@pytest.mark.parametrize("name", ["down-qsub", "noserver-sub", "qsub-bad-queue-server"])
def test_no_server_is_no_refusal(recording, name):
    with pytest.raises(base.Unreachable):
        scheduler(recording, name).submit(submission())


@pytest.mark.parametrize("recording", RECORDINGS)
@pytest.mark.parametrize("names, outcome", [
    (["qdel-running"], "cancelled"), (["qdel-queued"], "cancelled"), (["qdel-finished"], "over"), (["qdel-unknown"], "unknown"),
    (["state-E-qdel"], "over"), (["nodedown-qdel", "nodedown-qdel-force"], "cancelled"),
])
def test_cancel(recording, names, outcome):
    assert scheduler(recording, *names).cancel(replay.answered_id(recording, names[0])) == outcome


@pytest.mark.parametrize("recording", RECORDINGS)
def test_cancel_of_somebody_elses_job(recording):
    with pytest.raises(base.Refused, match="Unauthorized Request"):
        scheduler(recording, "qdel-others").cancel(replay.answered_id(recording, "qdel-others"))


@pytest.mark.parametrize("recording", RECORDINGS)
def test_cancel_without_a_server(recording):
    with pytest.raises(base.Unreachable):
        scheduler(recording, "down-qdel").cancel(replay.answered_id(recording, "down-qdel"))


def test_mine_leaves_arrays_out():
    def run(argv, stdin=None, timeout=60, env=None):
        replay.known("openpbs-23.06.06").check(argv)
        if argv[0] == "qselect":
            return base.Completed(0, replay.load("openpbs-23.06.06")["qselect"]["stdout"], "")
        assert not any("[" in word for word in argv)
        return base.Completed(0, json.dumps({"pbs_version": "1", "Jobs": {argv[-1]: {"Job_Name": "jupyter-x", "job_state": "R"}}}), "")
    names = [job.name for job in openpbs.OpenPBS(run, user="alice").mine() if job.state == base.RUNNING]
    assert names == ["jupyter-x"]


def test_nobody_has_jobs():
    assert openpbs.OpenPBS(replay.Replay("openpbs-23.06.06", "qselect-none"), user="bob").mine() == []


def test_directives_are_for_a_script_used_by_hand():
    lines = openpbs.OpenPBS(None).directives(base.Resources(cores=2, walltime=3600, queue="batch", options=["-W umask=077"]), "jupyter-default")
    assert lines == ["#PBS -N jupyter-default", "#PBS -l select=1:ncpus=2:mpiprocs=2", "#PBS -l walltime=01:00:00", "#PBS -q batch",
                     "#PBS -r n", "#PBS -j oe", "#PBS -m n", "#PBS -W umask=077"]
