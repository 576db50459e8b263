# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slurm, natively and by its PBS commands, against what a real one said."""

import re

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils.schedulers import base, slurm, slurm_pbs
from ansible_collections.hpc.jupyter.tests.unit.plugins.module_utils.schedulers import replay

RECORDING = "slurm-22.05-forms"
ENTRIES = replay.load(RECORDING)
CLASSES = {"slurm": slurm.Slurm, "slurm_pbs": slurm_pbs.SlurmPBS}


def scheduler(dialect, scene):
    """A scheduler to which all commands of a recorded scene are answered."""
    names = sorted((name for name in ENTRIES if name.startswith("%s-%s/" % (dialect, scene))), key=lambda name: int(name.split("/")[1]))
    assert names, "no scene %s" % scene
    return CLASSES[dialect](replay.Replay(RECORDING, *names), user="carol")


def asked(dialect, scene):
    return replay.ids(replay.command_line(ENTRIES["%s-%s/1" % (dialect, scene)]))


def look(dialect, scene):
    ids = asked(dialect, scene)
    jobs = scheduler(dialect, scene).look(ids)
    return [jobs[job_id] for job_id in ids]


def submission(**more):
    resources = more.pop("resources", base.Resources())
    return base.Submission("jupyter-default", "/home/carol/job.sh", "/home/carol/server.log", resources, **more)


@pytest.fixture(autouse=True)
def home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/carol")
    monkeypatch.setenv("TZ", "UTC")


def test_many_jobs_in_one_query():
    running, successor, held, failing, good, gone = look("slurm", "look-many")
    assert (running.state, running.nodes, running.walltime, running.ends - running.started) == (base.RUNNING, ["node1", "node2"], 600, 600)
    assert (running.queue, running.cores_total, running.name) == ("batch", 2, "jupyter-full")
    assert successor.state == base.HELD and "waits for another job" in successor.reason and not successor.hopeless
    assert held.state == base.HELD and "held by its owner" in held.reason
    assert (failing.state, failing.exit_kind, failing.exit_code) == (base.FINISHED, base.FAILED, 3)
    assert (good.state, good.exit_kind, good.exit_code) == (base.FINISHED, base.CLEAN, 0)
    assert (gone.state, gone.exit_kind) == (base.FINISHED, base.EXIT_UNKNOWN)


@pytest.mark.parametrize("scene, kinds", [
    ("look-cancelled", [(base.CANCELLED, 143), (base.CANCELLED, 0), (base.CLEAN, 0)]),
    ("look-needless", [(base.CANCELLED, 0)]),
    ("look-time-limit", [(base.TIME_LIMIT, 143)]),
    ("look-node-lost", [(base.NODE_LOST, 0)]),
    ("look-unknown", [(base.EXIT_UNKNOWN, None)]),
    ("look-two-unknown", [(base.EXIT_UNKNOWN, None)] * 2),
])
def test_endings(scene, kinds):
    jobs = look("slurm", scene)
    assert [(job.exit_kind, job.exit_code) for job in jobs] == kinds
    assert all(job.over for job in jobs)


def test_a_job_that_was_cancelled_in_the_queue_never_started():
    assert [job.started is None for job in look("slurm", "look-cancelled")] == [False, True, False]


def test_hopeless_and_only_waiting():
    down, drained = look("slurm", "look-hopeless")
    assert down.hopeless and "partition is down" in down.reason and "jupyter_queue" in down.reason
    assert drained.state == base.QUEUED and not drained.hopeless and "DRAINED" in drained.reason


def test_a_successor_that_can_never_start():
    job, = look("slurm", "look-never")
    assert job.state == base.HELD and job.hopeless and "never starts it" in job.reason


def test_predicted_start():
    job, = look("slurm", "look-waiting")
    assert job.state == base.QUEUED and job.predicted_start > 1795000000 and job.started is None and job.nodes == []


@pytest.mark.parametrize("reason, hopeless", [
    ("DependencyNeverSatisfied", True), ("BadConstraints", True), ("PartitionTimeLimit", True), ("PartitionNodeLimit", True),
    ("AssocMaxWallDurationPerJobLimit", True), ("QOSMaxCpuPerJobLimit", True), ("InvalidAccount", True), ("InvalidQOS", True),
    ("ReservationDeleted", True), ("launch failed requeued held", True), ("JobHoldMaxRequeue", True),
    ("Priority", False), ("Resources", False), ("BeginTime", False), ("AssocMaxJobsLimit", False), ("QOSGrpCpuLimit", False),
    ("QOSMaxJobsPerUserLimit", False), ("AssocGrpCpuLimit", False), ("Licenses", False), ("ReqNodeNotAvail, UnavailableNodes:node2", False),
    ("SomethingNew", False),
])
def test_reasons_of_a_wait(reason, hopeless):
    line = ENTRIES["slurm-look-waiting/1"]["stdout"].replace("|Resources|", "|%s|" % reason)
    job, = slurm.parse_squeue(line)
    assert job.hopeless == hopeless and reason in job.reason


@pytest.mark.parametrize("word, state, kind", [
    ("CONFIGURING", base.QUEUED, None), ("SUSPENDED", base.HELD, None), ("COMPLETING", base.ENDING, None), ("STAGE_OUT", base.ENDING, None),
    ("SPECIAL_EXIT", base.HELD, None), ("OUT_OF_MEMORY", base.FINISHED, base.FAILED), ("PREEMPTED", base.FINISHED, base.CANCELLED),
    ("BOOT_FAIL", base.FINISHED, base.NODE_LOST), ("DEADLINE", base.FINISHED, base.TIME_LIMIT), ("NEW_STATE", base.UNKNOWN, None),
])
def test_states_by_their_words(word, state, kind):
    line = ENTRIES["slurm-look-node-lost/1"]["stdout"].replace("|NODE_FAIL|", "|%s|" % word)
    job, = slurm.parse_squeue(line)
    assert (job.state, job.exit_kind) == (state, kind)


def test_the_details_of_jobs_that_a_real_one_printed_elsewhere():
    text = replay.load("slurm-22.05")["31-native/1"]["stdout"]
    job = slurm.parse_scontrol(text[text.index("JobId=56"):].split("\n\n")[0], "56")
    assert (job.name, job.state, job.nodes, job.walltime, job.cores_total) == ("parsable", base.RUNNING, ["node2"], 300, 1)
    assert slurm.parse_scontrol(text[text.index("JobId=56"):], "5") is None


@pytest.mark.parametrize("line, expected", [
    ("7|COMPLETED|0:0|2026-11-23T01:00:00|2026-11-23T01:00:01|2026-11-23T02:00:00|batch|node[1-2]|4|jupyter-a|b", (base.CLEAN, 0)),
    ("7|CANCELLED by 20001|0:15|Unknown|None|Unknown|batch|None assigned|0|jupyter-x", (base.CANCELLED, 143)),
    ("7|NODE_FAIL|1:0|Unknown|Unknown|Unknown|batch|node1|1|jupyter-x", (base.NODE_LOST, 1)),
    ("7|TIMEOUT|0:0||||batch|node1|1|jupyter-x", (base.TIME_LIMIT, 0)),
])
def test_accounting_knows_what_the_controller_forgot(line, expected):
    """In the format of sacct(1); no recording of an accounting that is on was to be had."""
    def run(argv, stdin=None, timeout=60, env=None):
        if argv[0] == "sacct":
            return base.Completed(0, line + "\n", "")
        return base.Completed(1, "", "slurm_load_jobs error: Invalid job id specified\n")
    job = slurm.Slurm(run).look(["7"])["7"]
    assert job.over and (job.exit_kind, job.exit_code) == expected


@pytest.mark.parametrize("dialect", sorted(CLASSES))
@pytest.mark.parametrize("fault", ["down", "munge"])
def test_faults_are_unknown_and_nothing_else(dialect, fault):
    for job in look(dialect, fault + "-look"):
        assert job.state == base.UNKNOWN and job.exit_kind is None and job.reason
    with pytest.raises(base.Unreachable):
        scheduler(dialect, fault + "-submit").submit(submission())
    with pytest.raises(base.Unreachable):
        scheduler(dialect, fault + "-mine").mine()
    with pytest.raises(base.Unreachable):
        scheduler(dialect, fault + "-cancel").cancel("1")


@pytest.mark.parametrize("done", [
    base.Completed(127, "", "squeue: not found"), base.Completed(124, "", "squeue: no answer within 60 s"), base.Completed(1, "", "odd"),
    base.Completed(0, "", ""), base.Completed(0, "1|a|b\n", ""), base.Completed(0, "JobId=1 JobName=x\n   JobState=\n", ""),
    base.Completed(0, "JobId=1 JobName=x\n   JobState=WHATEVER\n", ""),
])
def test_other_failures_are_unknown_too(done):
    for job in slurm.Slurm(lambda *args, **more: done).look(["1", "2"]).values():
        assert job.state == base.UNKNOWN
    for job in slurm_pbs.SlurmPBS(lambda *args, **more: done).look(["1", "2"]).values():
        assert job.state == base.UNKNOWN


@pytest.mark.parametrize("dialect", sorted(CLASSES))
@pytest.mark.parametrize("scene, outcome", [
    ("cancel-running", "cancelled"), ("cancel-waiting", "cancelled"), ("cancel-held", "cancelled"), ("cancel-finished", "over"),
    ("cancel-unknown", "unknown")])
def test_cancel(dialect, scene, outcome):
    assert scheduler(dialect, scene).cancel(asked(dialect, scene)[0]) == outcome


def test_a_job_that_was_just_looked_at_is_cancelled_without_another_query():
    run = replay.Replay(RECORDING, "slurm-cancel-running/2")
    job_id = replay.answered_id(RECORDING, "slurm-cancel-running/2")
    assert slurm.Slurm(run).cancel(job_id, base.Job(job_id, name="x", state=base.RUNNING)) == "cancelled"


def test_the_exit_code_of_a_clean_end_needs_no_second_query():
    line = ENTRIES["slurm-look-node-lost/1"]["stdout"].replace("|NODE_FAIL|", "|COMPLETED|")
    run = replay.Replay(RECORDING, "slurm-look-node-lost/1")
    job_id = replay.answered_id(RECORDING, "slurm-look-node-lost/1")

    def ended_well(argv, **options):
        return run(argv, **options)._replace(out=line)

    job = slurm.Slurm(ended_well).look([job_id])[job_id]
    assert (job.exit_kind, job.exit_code, len(run.asked)) == (base.CLEAN, 0, 1)


def test_a_bar_in_the_name_of_a_job():
    line = ENTRIES["slurm-look-waiting/1"]["stdout"].replace("jupyter-waiting", "jupyter|x||y")
    job, = slurm.parse_squeue(line)
    assert job.name == "jupyter|x||y" and job.state == base.QUEUED


@pytest.mark.parametrize("dialect", sorted(CLASSES))
def test_cancel_of_somebody_elses_job(dialect):
    with pytest.raises(base.Refused, match="permission denied"):
        scheduler(dialect, "cancel-others").cancel(asked(dialect, "cancel-others")[0])


@pytest.mark.parametrize("dialect", sorted(CLASSES))
def test_mine_is_what_is_not_over(dialect):
    jobs = scheduler(dialect, "mine").mine()
    assert "jupyter-full" in [job.name for job in jobs] and "jupyter-good" not in [job.name for job in jobs]
    assert not any(job.over for job in jobs)


@pytest.mark.parametrize("dialect", sorted(CLASSES))
@pytest.mark.parametrize("scene, variable", [
    ("bad-queue", "jupyter_queue"), ("bad-walltime", "jupyter_walltime"), ("bad-cores", "jupyter_cores"), ("bad-nodes", "jupyter_nodes"),
    ("bad-memory", "jupyter_memory"), ("bad-gpus", "jupyter_gpus"), ("bad-option", "jupyter_batch_options"), ("bad-feature", "jupyter_batch_options"),
    ("bad-script", None)])
def test_a_refusal_has_the_schedulers_words_and_what_to_change(dialect, scene, variable):
    with pytest.raises(base.Refused) as caught:
        scheduler(dialect, "submit-" + scene).submit(submission())
    entry = ENTRIES["%s-submit-%s/1" % (dialect, scene)]
    assert caught.value.rc == entry["rc"]
    assert caught.value.message in " ".join((entry["stdout"] + entry["stderr"]).split())
    assert "The command was" not in caught.value.message and "Usage" not in caught.value.message
    assert (variable in caught.value.advice) if variable else caught.value.advice is None


def resources():
    return base.Resources.from_request({
        "nodes": 2, "cores": 4, "memory": "3G", "gpus": 1, "walltime": "90m", "queue": "short", "account": "proj1"})


def test_sbatch_spells_what_was_asked_for():
    run = replay.Replay(RECORDING, "slurm-submit-full/1")
    asking = resources()
    asking.options = ["-C 'a&b'"]
    job_id = slurm.Slurm(run, commands={"sbatch": "/opt/slurm/bin/sbatch"}).submit(
        base.Submission("jupyter-default", "/home/carol/job.sh", "/home/carol/100%/server.log", asking, mail="a@b.c", after_failure_of="12"))
    assert job_id == ENTRIES["slurm-submit-full/1"]["stdout"].strip()
    assert run.asked == [[
        "/opt/slurm/bin/sbatch", "--parsable", "-J", "jupyter-default", "-N2", "--ntasks-per-node=4", "--cpus-per-task=1", "--mem=3072M",
        "--gres=gpu:1", "-t", "01:30:00", "-p", "short", "-A", "proj1", "--no-requeue", "-D", "/home/carol", "-o",
        "/home/carol/100%%/server.log", "--open-mode=append", "--mail-type=BEGIN,END,FAIL", "--mail-user=a@b.c", "--dependency=afternotok:12",
        "--kill-on-invalid-dep=yes", "-C", "a&b", "/home/carol/job.sh"]]


def test_qsub_of_slurm_gets_one_l_and_quotes_for_its_shell():
    run = replay.Replay(RECORDING, "slurm_pbs-submit-full/1")
    job_id = slurm_pbs.SlurmPBS(run).submit(
        base.Submission("jupyter-default", "/home/carol/a b/job.sh", "/home/carol/$(id)/100%.log", resources(), after_failure_of="12"))
    assert job_id == ENTRIES["slurm_pbs-submit-full/1"]["stdout"].strip()
    assert run.asked == [[
        "qsub", "-N", "jupyter-default", "-l", "select=2:ncpus=4:mpiprocs=4:mem=3072mb,walltime=01:30:00,naccelerators=1", "-q", "short",
        "-A", "proj1", "-r", "n", "-j", "oe", "-o", "'/home/carol/$(id)/100%%.log'", "-m", "n", "-W", "depend=afternotok:12",
        "'/home/carol/a b/job.sh'"]]


@pytest.mark.parametrize("out", ["", "Submitted batch job 1 on cluster x\nhello\n", "There was an error running the Slurm sbatch command.\n"])
@pytest.mark.parametrize("dialect", sorted(CLASSES))
def test_what_is_no_id_is_no_submission(dialect, out):
    with pytest.raises(base.Refused):
        CLASSES[dialect](lambda *args, **more: base.Completed(0, out, "")).submit(submission())


@pytest.mark.parametrize("out, job_id", [("12\n", "12"), ("12;cluster\n", "12"), ("Welcome!\n12\n", "12")])
def test_the_id_is_the_last_word(out, job_id):
    assert slurm.Slurm(lambda *args, **more: base.Completed(0, out, "")).submit(submission()) == job_id


def test_by_the_pbs_commands_an_ending_is_an_ending_and_no_more():
    running, successor, held, failing, good, gone = look_pbs_many()
    assert (running.state, running.nodes, running.ends - running.started) == (base.RUNNING, ["node1", "node2"], 600)
    # They read Q, and that is all that is said.
    assert [job.state for job in (successor, held)] == [base.QUEUED] * 2
    assert [(job.state, job.exit_kind) for job in (failing, good, gone)] == [(base.FINISHED, base.EXIT_UNKNOWN)] * 3


def look_pbs_many():
    """As look, but an id that was passed over is asked about alone, as was recorded elsewhere."""
    names = ["slurm_pbs-look-many/%d" % number for number in (1, 2) if "slurm_pbs-look-many/%d" % number in ENTRIES]
    if len(names) == 1:
        names.append("slurm_pbs-look-unknown/1")
    ids = asked("slurm_pbs", "look-many")
    jobs = slurm_pbs.SlurmPBS(replay.Replay(RECORDING, *names)).look(ids)
    return [jobs[job_id] for job_id in ids]


def test_by_the_pbs_commands_a_predicted_start():
    job, = look("slurm_pbs", "look-waiting")
    assert job.state == base.QUEUED and job.predicted_start > job.submitted + 500 and job.started is None


def test_the_users_own_settings_do_not_change_what_is_asked(monkeypatch):
    seen = []

    def run(argv, stdin=None, timeout=60, env=None):
        seen.append(env)
        return base.Completed(0, "", "")
    monkeypatch.setenv("SQUEUE_PARTITION", "short")
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")
    slurm.Slurm(run).mine()
    assert seen == [{"SQUEUE_PARTITION": None, "SLURM_TIME_FORMAT": None}]


def test_a_job_inherits_nothing_of_the_login_or_of_the_job_before(monkeypatch):
    seen = []

    def run(argv, stdin=None, timeout=60, env=None):
        seen.append(env)
        return base.Completed(0, "1", "")
    for name in ("XDG_RUNTIME_DIR", "SLURM_JOB_ID", "PBS_NODEFILE", "SSH_AUTH_SOCK", "DISPLAY", "TMPDIR", "JUPYTER_TOKEN"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    slurm.Slurm(run).submit(submission())
    changes = seen[0]
    assert changes["LC_ALL"] == "de_DE.UTF-8" and "SLURM_CONF" not in changes
    for name in ("XDG_RUNTIME_DIR", "SLURM_JOB_ID", "PBS_NODEFILE", "SSH_AUTH_SOCK", "DISPLAY", "TMPDIR", "JUPYTER_TOKEN"):
        assert changes[name] is None


@pytest.mark.parametrize("option, refused", [("--clusters=other", True), ("-M other", True), ("--cluster other", True), ("--cluster-constraint=a", False)])
def test_a_job_of_another_cluster_is_refused_for_it_would_look_as_if_it_had_ended(option, refused):
    asking = resources()
    asking.options = [option]
    scheduler = slurm.Slurm(lambda *args, **more: base.Completed(0, "12\n", ""))
    if not refused:
        assert scheduler.submit(base.Submission("n", "s", "o", asking)) == "12"
        return
    for attempt in (lambda: scheduler.submit(base.Submission("n", "s", "o", asking)), lambda: scheduler.directives(asking, "n")):
        with pytest.raises(base.Refused) as told:
            attempt()
        assert "jupyter_batch_options" in told.value.advice


def test_directives_are_for_a_script_used_by_hand():
    asking = base.Resources(nodes=2, cores=2, memory=1 << 30, walltime=3600, queue="batch", options=["--constraint=a"])
    assert slurm.Slurm(None).directives(asking, "jupyter-default") == [
        "#SBATCH -J jupyter-default", "#SBATCH -N2", "#SBATCH --ntasks-per-node=2", "#SBATCH --cpus-per-task=1", "#SBATCH --mem=1024M",
        "#SBATCH -t 01:00:00", "#SBATCH -p batch", "#SBATCH --no-requeue", "#SBATCH --constraint=a"]
    # walltime on the line of select is an error in a #PBS line of Slurm's.
    lines = slurm_pbs.SlurmPBS(None).directives(asking, "jupyter-default")
    assert "#PBS -l select=2:ncpus=2:mpiprocs=2:mem=1024mb" in lines and "#PBS -l walltime=01:00:00" in lines
    assert all(re.match(r"#PBS -", line) for line in lines)


def rehearsed(said, rc):
    """What a rehearsal of a job makes of Slurm's words, and what it ran."""
    ran = []

    def run(argv, stdin=None, timeout=60, env=None):
        ran.append((argv, stdin))
        return base.Completed(rc, "", said)

    one = submission(resources=base.Resources(queue="gpu", options=["--constraint=a"]))
    return slurm.Slurm(run, user="carol").rehearse(one, "#!/bin/sh"), ran, one


def test_a_rehearsal_asks_with_the_arguments_of_the_submission(monkeypatch):
    answer, [(argv, script)], one = rehearsed("sbatch: Job 57 to start at 2026-11-23T01:34:25 using 8 processors on nodes node[1-2]", 0)
    submitted = []
    with pytest.raises(base.Refused):
        slurm.Slurm(lambda argv, **_: submitted.append(argv) or base.Completed(1, "", "no"), user="carol").submit(one)
    assert answer == "" and script == "#!/bin/sh" and argv.pop(1) == "--test-only"
    assert argv == submitted[0][:-1], "all but the script"


@pytest.mark.parametrize("said, advice", [
    ("sbatch: error: invalid partition specified: typo\nsbatch: error: Batch job submission failed: Invalid partition name specified", "jupyter_queue"),
    ("allocation failure: Requested time limit is invalid (missing or exceeds some limit)", "jupyter_walltime")])
def test_a_rehearsal_that_is_refused_is_as_a_submission_would_be(said, advice):
    with pytest.raises(base.Refused) as refused:
        rehearsed(said, 1)
    assert advice in refused.value.advice


def test_a_rehearsal_does_not_take_drained_nodes_for_a_refusal():
    # As one of these said it of a drained node, in whose queue a job waits.
    said = "allocation failure: Requested node configuration is not available"
    assert "not available" in rehearsed(said, 1)[0]
    with pytest.raises(base.Unreachable):
        rehearsed("sbatch: error: Unable to contact slurm controller (connect failure)", 1)
