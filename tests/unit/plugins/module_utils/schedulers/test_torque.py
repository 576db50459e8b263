# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TORQUE, against what a real one said."""

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils.schedulers import base, torque
from ansible_collections.hpc.jupyter.tests.unit.plugins.module_utils.schedulers import replay

RECORDING = "torque-6.1.3"
ENTRIES = replay.load(RECORDING)


def scheduler(*names):
    return torque.Torque(replay.Replay(RECORDING, *names), user="erin")


def look(name):
    job_id = replay.answered_id(RECORDING, name)
    return scheduler(name).look([job_id])[job_id]


def submission(**more):
    resources = more.pop("resources", base.Resources())
    return base.Submission("jupyter-default", "/home/erin/job.sh", "/home/erin/server.log", resources, **more)


@pytest.mark.parametrize("name, state, words", [
    ("state-Q-qstat-fx", base.QUEUED, None),
    ("state-Q-full-qstat-fx", base.QUEUED, "Not enough of the right type of nodes"),
    ("state-W-qstat-fx", base.QUEUED, "start time has not come"),
    ("nosched-qstat-fx", base.QUEUED, None),
    ("state-H-qstat-fx", base.HELD, "held by its owner"),
    ("depend-afternotok-waiting-qstat-fx", base.HELD, "waits for another job to end (afternotok:"),
    ("depend-afternotok-done0-child-qstat-fx", base.HELD, "waits for another job"),
    ("state-R-qstat-fx", base.RUNNING, None),
    ("state-R-after-qdel-qstat-fx", base.RUNNING, None),
    ("state-R-in-epilogue-qstat-fx", base.RUNNING, None),
    ("down-restarted-fx", base.RUNNING, None),
    ("nodedown-later", base.RUNNING, None),
])
def test_states(name, state, words):
    job = look(name)
    assert (job.state, job.exit_kind) == (state, None)
    assert job.reason is None if words is None else words in job.reason


@pytest.mark.parametrize("name, kind, code", [
    ("state-C-exit0-qstat-fx", base.CLEAN, 0),
    ("state-C-exit3-qstat-fx", base.FAILED, 3),
    ("state-C-exit255-qstat-fx", base.FAILED, 255),
    ("state-C-notfound-qstat-fx", base.FAILED, 127),
    ("state-C-badshebang-qstat-fx", base.FAILED, 127),
    ("state-C-selfkill-qstat-fx", base.FAILED, 137),
    ("state-C-qsig-qstat-fx", base.FAILED, 138),
    ("state-C-walltime-qstat-fx", base.TIME_LIMIT, None),
    ("state-C-walltime-notrap-qstat-fx", base.TIME_LIMIT, None),
    ("state-C-qdel-running-qstat-fx", base.CANCELLED, 143),
    ("state-C-qdel-queued-qstat-fx", base.CANCELLED, None),
    ("state-C-qdel-held-qstat-fx", base.CANCELLED, None),
    ("depend-afternotok-exit0-child-qstat-fx", base.CANCELLED, None),
    ("depend-afternotok-walltime-child-qstat-fx", base.CLEAN, 0),
])
def test_endings(name, kind, code):
    job = look(name)
    assert (job.state, job.exit_kind, job.exit_code) == (base.FINISHED, kind, code)
    assert job.ends


def test_a_running_job_in_full():
    job = look("state-R-qstat-fx")
    assert job == base.Job(
        "150.tq-login.torque.test", name="stater", state=base.RUNNING, nodes=["tq-cn2", "tq-cn1"], queue="batch", submitted=1795399575,
        started=1795399576, ends=1795399876, walltime=300, cores_total=4)


@pytest.mark.parametrize("name", sorted(
    name for name in ENTRIES if name.startswith(("xml-", "name-", "v-")) and name.endswith("-fx")
    and ENTRIES[name]["rc"] == 0 and replay.command_line(ENTRIES[name])))
def test_control_and_latin_1_bytes_and_brackets_are_survived(name):
    assert look(name).state != base.UNKNOWN


def test_two_documents_in_one():
    argv = replay.command_line(ENTRIES["state-R-two"])
    jobs = torque.Torque(replay.Replay(RECORDING, "state-R-two")).look(replay.ids(argv))
    assert [job.state for job in jobs.values()] == [base.RUNNING]


@pytest.mark.parametrize("name", ["state-R-two-one-unknown", "state-R-two-one-unknown-first"])
def test_an_unknown_id_does_not_hide_the_known_one(name):
    ids = replay.ids(replay.command_line(ENTRIES[name]))
    jobs = scheduler(name).look(ids)
    assert jobs["150.tq-login.torque.test"].state == base.RUNNING
    assert (jobs["99999"].state, jobs["99999"].exit_kind) == (base.FINISHED, base.EXIT_UNKNOWN)


@pytest.mark.parametrize("name", ["unknown-qstat-fx", "state-gone-qstat-fx"])
def test_the_server_knows_that_it_knows_nothing(name):
    job = look(name)
    assert (job.state, job.exit_kind) == (base.FINISHED, base.EXIT_UNKNOWN)


def test_a_query_that_fails_is_unknown():
    job = look("down-qstat-fx")
    assert job.state == base.UNKNOWN and "Unable to communicate" in job.reason
    entry = ENTRIES["noauthd-qstat-fx"]

    def run(*_args, **_more):
        return base.Completed(entry["rc"], entry["stdout"], entry["stderr"])

    job = torque.Torque(run).look(["1.s"])["1.s"]
    assert job.state == base.UNKNOWN and "trqauthd" in job.reason


@pytest.mark.parametrize("done", [
    base.Completed(127, "", "qstat: No such file or directory"), base.Completed(124, "", "qstat: no answer within 60 s"),
    base.Completed(0, "", ""), base.Completed(0, "<Data></Data>", ""), base.Completed(0, "<Job><Job_Id>1.s</Job_Id>", ""),
    base.Completed(0, "<Job><Job_Id>1.s</Job_Id><job_state>C</Job>", ""), base.Completed(0, "<Job><Job_Id>1.s</Job_Id></Job>", ""),
    base.Completed(0, "", "qstat: Unknown Job Id Error 1.s"), base.Completed(153, "", "qstat: Unknown Job Id Error 12.s"),
])
def test_other_failures_are_unknown_too(done):
    assert torque.Torque(lambda *args, **more: done).look(["1.s"])["1.s"].state == base.UNKNOWN


def test_submit_spells_what_was_asked_for():
    resources = base.Resources.from_request({
        "nodes": 2, "cores": 4, "memory": "3G", "gpus": 1, "walltime": "90m", "queue": "short", "account": "proj1", "options": ["-p 5"]})
    run = replay.Replay(RECORDING, "qsub-file")
    job_id = torque.Torque(run).submit(submission(resources=resources, mail="a@b.c", after_failure_of="12.tq-login.torque.test"))
    assert job_id == ENTRIES["qsub-file"]["stdout"].strip()
    # mem is for the whole job; select= is nowhere, for it would be accepted and mean nothing.
    assert run.asked == [[
        "qsub", "-N", "jupyter-default", "-l", "nodes=2:ppn=4:gpus=1,walltime=01:30:00,mem=6144mb", "-q", "short", "-A", "proj1",
        "-r", "n", "-j", "oe", "-o", "/home/erin/server.log", "-m", "abe", "-M", "a@b.c", "-W", "depend=afternotok:12.tq-login.torque.test",
        "-p", "5", "/home/erin/job.sh"]]


@pytest.mark.parametrize("name, variable", [
    ("qsub-bad-queue", "jupyter_queue"), ("qsub-bad-queue-disabled", "jupyter_queue"), ("qsub-bad-walltime-max", "jupyter_walltime"),
    ("qsub-bad-walltime-word", "jupyter_walltime"), ("qsub-bad-nodes-many", "jupyter_nodes"), ("qsub-bad-ppn-many", "jupyter_cores"),
    ("qsub-bad-gpus", "jupyter_gpus"), ("qsub-bad-mem-bad", "jupyter_memory"), ("qsub-bad-resource", "jupyter_batch_options"),
    ("qsub-bad-attr", "jupyter_batch_options"), ("qsub-bad-option", "jupyter_batch_options"), ("qsub-bad-depend-unknown", "job to follow"),
    ("qsub-bad-missing", None), ("qsub-bad-directory", None),
])
def test_a_refusal_has_the_schedulers_words_and_what_to_change(name, variable):
    with pytest.raises(base.Refused) as caught:
        scheduler(name).submit(submission())
    assert caught.value.rc == ENTRIES[name]["rc"]
    assert caught.value.message in " ".join(ENTRIES[name]["stderr"].split())
    assert "usage" not in caught.value.message
    assert (variable in caught.value.advice) if variable else caught.value.advice is None


@pytest.mark.parametrize("name", ["down-qsub", "noauthd-qsub"])
def test_no_server_is_no_refusal(name):
    with pytest.raises(base.Unreachable):
        scheduler(name).submit(submission())


@pytest.mark.parametrize("name, outcome", [
    ("qdel-running", "cancelled"), ("qdel-queued", "cancelled"), ("qdel-held", "cancelled"), ("qdel-completed", "over"), ("qdel-unknown", "unknown"),
])
def test_cancel(name, outcome):
    assert scheduler(name).cancel(replay.answered_id(RECORDING, name)) == outcome


@pytest.mark.parametrize("name, error", [
    ("qdel-frank", base.Refused), ("nodedown-qdel", base.Unreachable), ("down-qdel", base.Unreachable), ("noauthd-qdel", base.Unreachable)])
def test_cancel_that_fails(name, error):
    with pytest.raises(error):
        scheduler(name).cancel(replay.answered_id(RECORDING, name))


def test_mine():
    def run(argv, stdin=None, timeout=60, env=None):
        replay.known(RECORDING).check(argv)
        name = "qselect" if argv[0] == "qselect" else "state-R-two"
        return base.Completed(0, "150.tq-login.torque.test\n31[0].tq-login.torque.test\n" if name == "qselect" else ENTRIES[name]["stdout"], "")
    assert [job.name for job in torque.Torque(run, user="erin").mine()] == ["stater"]


def test_mine_without_a_server():
    with pytest.raises(base.Unreachable):
        scheduler("down-qselect").mine()
