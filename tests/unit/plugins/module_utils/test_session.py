# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a session, put together from its record, the scheduler and its job."""

import contextlib
import errno
import functools

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import files, session_verbs, stopping
from ansible_collections.hpc.jupyter.plugins.module_utils import session as sessions
from ansible_collections.hpc.jupyter.plugins.module_utils.lock import SessionLock
from ansible_collections.hpc.jupyter.plugins.module_utils.schedulers import base, openpbs
from ansible_collections.hpc.jupyter.tests.unit.plugins.module_utils.schedulers import replay
from ansible_collections.hpc.jupyter.tests.unit.plugins.module_utils.session_maker import make_session


@pytest.fixture
def make(tmp_path):
    """Return a function that makes a session from its record and its jobs."""
    return functools.partial(make_session, tmp_path)


def ended(job_id, kind, **more):
    return base.Job(job_id, name="jupyter-default", state=base.FINISHED, exit_kind=kind, **more)


def held(job_id):
    return base.Job(job_id, name="jupyter-default", state=base.HELD)


def test_a_job_that_reached_its_walltime_is_followed_by_its_successor(make):
    session = make({"job": "1", "successor": "2", "renewals_left": 1}, ended("1", base.TIME_LIMIT, started=5, ends=9), held("2"))
    job, record = session.ask(session.record())
    assert (job.id, record["job"], record["jobs"]) == ("2", "2", ["1"]) and not session.scheduler.cancelled


def test_a_job_that_was_deleted_in_the_queue_is_followed_by_none(make):
    # OpenPBS leaves the successor of such a job as it is.
    recorded = replay.load("openpbs-23.06.06")
    jobs = [openpbs.parse(recorded["depend-afternotok-qdelqueued-" + name]["stdout"]) for name in ("first", "then")]
    first, then = (job for found in jobs for job in found.values())
    session = make({"job": first.id, "successor": then.id, "renewals_left": 1}, first, then)
    job, record = session.ask(session.record())
    assert (job.id, record["job"], record["successor"]) == (first.id, first.id, None)
    assert session.scheduler.cancelled == [then.id] and record["renewals_left"] == 0


@pytest.mark.parametrize("before, now", [("torque", "slurm"), ("slurm", "openpbs"), ("openpbs", "torque")])
def test_the_job_of_a_scheduler_that_the_site_gave_up_is_over_and_nothing_is_asked_by_its_id(make, before, now, monkeypatch):
    session = make({"job": "42", "successor": "43", "renewals_left": 1, "scheduler": before}, scheduler=now)
    view = session.view()
    assert view["state"] == "failed" and before in view["reason"]
    make({"job": "42", "successor": "43", "renewals_left": 1, "scheduler": before}, scheduler=now)
    view, changed = stopping.stop(session, {})
    assert (view["state"], changed, session.record()["job"]) == ("stopped", False, None)
    assert session.scheduler.asked == []
    make({"job": "42", "scheduler": before}, scheduler=now)
    monkeypatch.setattr(sessions, "scheduler_of", lambda site, facts: session.scheduler)
    assert session_verbs.info({"batch_dir": session.site.path})["sessions"][0]["state"] == "failed"
    assert session.scheduler.asked == []


def test_slurms_two_dialects_know_the_same_jobs(make):
    session = make({"job": "42", "scheduler": "slurm_pbs"}, held("42"), scheduler="slurm")
    assert session.view()["state"] == "held"


# Record, jobs, and the state of a session in which a look finds something to note or to do.
NEWS = [
    ({"successor": "2", "renewals_left": 1}, [ended("1", base.TIME_LIMIT, started=5, ends=9), held("2")], "held"),
    ({"successor": "2", "renewals_left": 1}, [ended("1", base.CANCELLED), held("2")], "finished"),
    ({"successor": "2", "renewals_left": 1}, [base.Job("1", state=base.RUNNING), ended("2", base.CANCELLED)], "starting"),
    ({"renewals_left": 1}, [base.Job("1", state=base.RUNNING)], "starting"),
    ({}, [ended("1", base.TIME_LIMIT, started=5, ends=9)], "finished"),
]


@pytest.mark.parametrize("record, jobs, state", NEWS)
@pytest.mark.parametrize("why", ["check mode", "busy"])
def test_a_look_that_may_not_act_sees_the_same_and_leaves_all_as_it_is(make, record, jobs, state, why):
    session = make(dict(record, job="1"), *jobs)
    before = session.record()
    session.passive = why == "check mode"
    with contextlib.ExitStack() as other:
        if why == "busy":
            other.enter_context(SessionLock(session.places.lock))
        assert session.view()["state"] == state
    assert session.record() == before
    assert {one[0] for one in session.scheduler.asked} <= {"look"}


@pytest.mark.parametrize("record, jobs, state", NEWS)
@pytest.mark.parametrize("full", ["create_exclusively", "write_json"])
def test_a_full_home_keeps_nobody_from_looking(make, monkeypatch, record, jobs, state, full):
    session = make(dict(record, job="1"), *jobs)

    def no_room(*arguments, **options):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(files, full, no_room)
    assert session.view()["state"] == state
    assert "99" not in str(session.record()) and ("submit", "1") not in session.scheduler.asked, "what can't be noted is not submitted"


STARTING = {"version": 1, "id": "a" * 32, "job": "1", "node": "node1", "phase": "starting", "started": 5, "updated": 10}


@pytest.mark.parametrize("ready, server, phase", [
    # A host that shares the home may have the old file by its name for a second; the other name is new.
    ({"phase": "ready", "updated": 12}, {}, "ready"),
    ({"phase": "ready", "updated": 10}, {}, "ready"),
    (None, {}, "starting"),
    # The server starts again at another endpoint, and what it said before can't be removed.
    ({"phase": "ready", "updated": 9}, {}, "starting"),
    # A job before this one was killed.
    ({"phase": "ready", "updated": 12, "job": "0"}, {}, "starting"),
    ({"phase": "ready", "updated": 12, "started": 3}, {}, "starting"),
    ({"phase": "ready", "updated": 12}, {"phase": "stopping", "updated": 11}, "stopping"),
    ({"phase": "ready", "updated": None}, {"updated": None}, "ready"),
])
def test_a_server_that_got_ready_is_known_by_a_new_name(make, ready, server, phase):
    session = make({"job": "1"})
    files.write_json(session.places.server, dict(STARTING, **server))
    before = session.stamps()
    if ready:
        files.write_json(session.places.ready, dict(STARTING, **ready))
        assert session.stamps() != before
    assert session.server(session.record())["phase"] == phase
