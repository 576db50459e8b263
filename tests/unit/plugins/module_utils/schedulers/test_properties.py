# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No bytes from a scheduler crash anything, nor end a job that runs."""

import json

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils.schedulers import base, openpbs, slurm, slurm_pbs, torque
from ansible_collections.hpc.jupyter.tests.unit.plugins.module_utils.schedulers import replay
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SLOWLY = settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

SLURM_JOB = replay.answered_id("slurm-22.05-forms", "slurm-cancel-running/1")
# What a real one printed of a job that runs: (class, id, answers by command).
RUNNING = {
    "openpbs": (openpbs.OpenPBS, "232.pbs-login", {"qstat": replay.load("openpbs-23.06.06")["state-R-x"]["stdout"]}),
    "openpbs-head": (openpbs.OpenPBS, replay.answered_id("openpbs-head", "state-R-x"), {"qstat": replay.load("openpbs-head")["state-R-x"]["stdout"]}),
    "torque": (torque.Torque, "150.tq-login.torque.test", {"qstat": replay.load("torque-6.1.3")["state-R-qstat-fx"]["stdout"]}),
    "slurm": (slurm.Slurm, SLURM_JOB, {
        "squeue": replay.load("slurm-22.05-forms")["slurm-cancel-running/1"]["stdout"],
        "scontrol": "JobId=%s JobName=jupyter-full\n   JobState=RUNNING Reason=None\n   NodeList=node1\n" % SLURM_JOB, "sacct": ""}),
    "slurm_pbs": (slurm_pbs.SlurmPBS, replay.answered_id("slurm-22.05-forms", "slurm_pbs-cancel-running/1"), {
        "qstat": replay.load("slurm-22.05-forms")["slurm_pbs-cancel-running/1"]["stdout"]}),
}
# Bytes that break out of quotes, lines, tags and terminals. No letters: they could spell an ending.
GARBAGE = st.lists(st.sampled_from([
    b"\x00", b"\x01", b"\x1b[2J", b"\n", b"\r", b"\t", b'"', b"\\", b"{", b"}", b"[", b"]", b"<", b">", b"&", b"|", b",", b":", b"=", b" ",
    b"\xff", b"\xc3", b"\xe2\x80\xae", b"\xed\xa0\x80", b"9", b"-"]), min_size=1, max_size=12).map(b"".join)


def answering(answers, rc=0, err=""):
    def run(argv, stdin=None, timeout=60, env=None):
        return base.Completed(rc, answers.get(argv[0], ""), err)
    return run


def decoded(data):
    return data.decode("utf-8", "backslashreplace")


@pytest.mark.parametrize("dialect", sorted(RUNNING))
def test_the_untouched_answer_is_a_running_job(dialect):
    cls, job_id, answers = RUNNING[dialect]
    assert cls(answering(answers)).look([job_id])[job_id].state == base.RUNNING


@pytest.mark.parametrize("dialect", sorted(RUNNING))
@SLOWLY
@given(data=st.data())
def test_a_damaged_answer_does_not_end_a_job(dialect, data):
    cls, job_id, answers = RUNNING[dialect]
    damaged = {}
    for command, text in answers.items():
        raw = text.encode("utf-8")
        for _unused in range(data.draw(st.integers(0, 4))):
            place = data.draw(st.integers(0, len(raw)))
            raw = raw[:place] + data.draw(GARBAGE) + raw[place + data.draw(st.integers(0, 3)):]
        if data.draw(st.booleans()):
            raw = raw[:data.draw(st.integers(0, len(raw)))]
        damaged[command] = decoded(raw)
    job = cls(answering(damaged, rc=data.draw(st.sampled_from([0, 1, 153, 255])))).look([job_id])[job_id]
    # qstat of Slurm has no other word for an unknown id than silence and 153; then nothing at all was printed.
    if not (dialect == "slurm_pbs" and not damaged["qstat"].strip()):
        assert job.state != base.FINISHED, damaged


@pytest.mark.parametrize("dialect", sorted(RUNNING))
@SLOWLY
@given(out=st.one_of(st.text(), st.binary().map(decoded)), err=st.text(), rc=st.integers(-64, 255))
def test_any_answer_is_survived_and_is_no_ending(dialect, out, err, rc):
    cls, job_id, answers = RUNNING[dialect]
    scheduler = cls(answering(dict.fromkeys(answers, out), rc, err))
    jobs = scheduler.look([job_id, out[:20], ""])
    assert set(jobs) == {job_id, out[:20], ""}
    for job in jobs.values():
        assert job.state in base.STATES and "\x1b" not in (job.reason or "")
        if not (dialect == "slurm_pbs" and rc == 153 and not (out + err).strip()):
            assert job.state != base.FINISHED or job.id != job_id
    for call in (scheduler.mine, lambda: scheduler.cancel(job_id), lambda: scheduler.submit(
            base.Submission("n", "/s", "/o", base.Resources()))):
        try:
            call()
        except (base.Refused, base.Unreachable) as error:
            assert "\x1b" not in str(error)


@SLOWLY
@given(text=st.text(), names=st.lists(st.text(max_size=8), max_size=4))
def test_parsers_take_any_text(text, names):
    openpbs.parse(text)
    openpbs.parse('{"pbs_version":1,"Jobs":{"1.s":{"job_state":"R","comment":%s}}}' % text)
    torque.parse(text)
    torque.parse("<Job><Job_Id>1.s</Job_Id><job_state>R</job_state>%s</Job>" % text)
    slurm.parse_squeue(text)
    slurm.parse_squeue("|".join(names * 5))
    slurm.parse_scontrol("JobId=1 " + text, "1")
    slurm.parse_sacct("1|" + text, "1")
    slurm_pbs.parse("Job Id:\t1\n" + text)


VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers(), max_size=2),
                   st.dictionaries(st.text(max_size=8), st.integers(), max_size=2))


@SLOWLY
@given(attributes=st.dictionaries(st.sampled_from([
    "job_state", "Job_Name", "comment", "Resource_List", "estimated", "Exit_status", "substate", "stime", "ctime", "depend", "exec_host",
    "Hold_Types", "queue", "obittime", "history_timestamp", "Execution_Time"]), VALUES))
def test_openpbs_takes_any_value_of_any_attribute(attributes):
    jobs = openpbs.parse(json.dumps({"pbs_version": "1", "Jobs": {"1.s": attributes}}))
    assert jobs is not None and jobs["1.s"].state in base.STATES


@SLOWLY
@given(text=st.one_of(st.text(), st.from_regex(r"[a-z]{0,3}(\[[0-9,-]{0,12}\]){0,3}[a-z,]{0,4}")))
def test_host_lists_are_bounded(text):
    hosts = base.expand_hostlist(text)
    assert len(hosts) <= 20000 and all(host for host in hosts)


@SLOWLY
@given(value=st.one_of(VALUES, st.text(alphabet="0123456789:-.dhms kKMGTiB")))
@pytest.mark.parametrize("name", base.Resources.FIELDS)
def test_resources_are_read_or_refused_by_name(name, value):
    try:
        resources = base.Resources.from_request({name: value})
    except base.BadRequest as error:
        assert "jupyter_%s" % {"options": "batch_options"}.get(name, name) in str(error)
    else:
        assert base.Resources(**resources.as_dict()) == resources
        resources.arguments()


@SLOWLY
@given(seconds=st.integers(0, 10 ** 8))
def test_a_length_of_time_is_read_as_it_is_written(seconds):
    assert base.duration(base.clock(seconds)) == seconds
