# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program's verbs for sessions."""

import errno
import json
import time

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import session_verbs, stopping
from ansible_collections.hpc.jupyter.plugins.module_utils.failure import Failure
from ansible_collections.hpc.jupyter.plugins.module_utils.places import Site
from ansible_collections.hpc.jupyter.plugins.module_utils.session import Session


@pytest.fixture
def sessions(tmp_path, monkeypatch):
    """Sessions by their names, of which some can't be stopped."""
    for name in ("full", "one", "stuck", "two"):
        (tmp_path / "sessions" / name).mkdir(parents=True)
    problems = {
        "stuck": Failure("Job 7 of session 'stuck' could not be cancelled.", "not-cancelled"),
        "full": OSError(errno.EACCES, "Permission denied", "record.json"),
    }

    def stop(session, request):
        if session.name in problems:
            raise problems[session.name]
        return {"session": session.name, "state": "stopped"}, session.name == "two"

    monkeypatch.setattr(stopping, "stop", stop)
    return str(tmp_path)


def test_one_session_that_cannot_be_ended_keeps_none_of_the_others(sessions):
    answer = session_verbs.stop({"batch_dir": sessions, "session": None})
    assert [view["session"] for view in answer["sessions"]] == ["one", "two"] and answer["changed"]
    assert [(one["session"], one["cause"]) for one in answer["not_stopped"]] == [("full", "permission"), ("stuck", "not-cancelled")]


def test_the_one_that_was_named_fails_as_itself(sessions):
    with pytest.raises(Failure, match="could not be cancelled"):
        session_verbs.stop({"batch_dir": sessions, "session": "stuck"})
    assert session_verbs.stop({"batch_dir": sessions, "session": "two"})["changed"]


def test_an_order_to_a_session_that_does_not_run_says_how_that_one_is_started(tmp_path):
    for name, typed in (("default", ""), ("big", " -e jupyter_session=big")):
        with pytest.raises(Failure, match="Session '%s' is not running.*'ansible-playbook hpc.jupyter.launch%s'" % (name, typed)):
            session_verbs.control({"batch_dir": str(tmp_path), "session": name, "order": {}})


def test_what_could_not_be_cancelled_is_to_be_stopped_by_its_name(tmp_path):
    failure = Session(Site(str(tmp_path)), "big").not_cancelled("Job 7", "no answer")
    assert "'ansible-playbook hpc.jupyter.stop -e jupyter_session=big' again" in failure.message


DAY = 86400


@pytest.fixture
def listed(tmp_path):
    """Return a function that makes a session of this record, and one that lists what there is: name -> (state, job, days since it ended)."""
    (tmp_path / "site.json").write_text('{"scheduler": "slurm"}')

    def make(name, **record):
        (tmp_path / "sessions" / name).mkdir(parents=True)
        if record:
            (tmp_path / "sessions" / name / "record.json").write_text(json.dumps(dict({"scheduler": "slurm", "jobs": [], "job": None}, **record)))

    def listed(*names):
        views = session_verbs.info({"batch_dir": str(tmp_path), "sessions": list(names)})["sessions"]
        return dict((view["session"], (view["state"], view["job"], view["ended"] and round((time.time() - view["ended"]) / DAY))) for view in views)

    return make, listed


def test_what_ended_is_listed_for_a_week_and_what_never_was_not_at_all(listed):
    make, listed = listed
    make("refused")
    for name, days in (("new", 1), ("old", 8)):
        ends = time.time() - days * DAY
        make("stopped-" + name, jobs=["6", "7"], ended=ends)
        make("failed-" + name, job="8", over={"id": "8", "state": "finished", "exit_kind": "failed", "ends": ends})
    assert listed() == {"stopped-new": ("stopped", "7", 1), "failed-new": ("failed", "8", 1)}
    assert listed("stopped-old", "failed-old", "refused") == {
        "stopped-old": ("stopped", "7", 8), "failed-old": ("failed", "8", 8), "refused": ("none", None, None)}


@pytest.mark.parametrize("name", ["record.json", "server.json"])
def test_a_session_whose_files_can_not_be_read_hides_none_of_the_others(listed, tmp_path, name):
    make, listed = listed
    make("bad", job="8", over={"id": "8", "state": "finished", "ends": time.time()})
    make("good", jobs=["6"], ended=time.time())
    (tmp_path / "sessions" / "bad" / name).unlink(missing_ok=True)
    (tmp_path / "sessions" / "bad" / name).mkdir()
    assert listed() == {"bad": ("unknown", None, None), "good": ("stopped", "6", 0)}
    reason = session_verbs.info({"batch_dir": str(tmp_path)})["sessions"][0]["reason"]
    assert name in reason and "run this again" in reason


def test_a_name_that_never_was_is_told_from_those_that_have_a_job(listed, tmp_path):
    make, _listed = listed
    make("big", job="8")
    make("done", job="9", over={"id": "9", "state": "finished"})
    make("ended", jobs=["7"], ended=time.time())
    batch = {"batch_dir": str(tmp_path)}
    assert session_verbs.stop(dict(batch, session="bigg"))["sessions"][0]["others"] == ["big"]
    assert session_verbs.look(dict(batch, session="bigg"))["others"] == ["big"]
    assert session_verbs.stop(dict(batch, session="ended"))["sessions"][0]["others"] == []


def test_a_submission_that_was_cut_off_is_listed_for_there_may_be_a_job(listed):
    make, listed = listed
    make("cut", submitting=True)
    assert listed() == {"cut": ("unknown", None, None)}
