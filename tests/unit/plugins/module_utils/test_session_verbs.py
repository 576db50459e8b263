# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program's verbs for sessions."""

import errno

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
