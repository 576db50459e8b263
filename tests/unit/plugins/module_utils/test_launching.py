# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a launch submits."""

import json

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import launching, session_verbs
from ansible_collections.hpc.jupyter.plugins.module_utils import session as sessions
from ansible_collections.hpc.jupyter.plugins.module_utils.places import Site
from ansible_collections.hpc.jupyter.plugins.module_utils.schedulers import base
from ansible_collections.hpc.jupyter.plugins.module_utils.session import Session

FACTS = {"version": 1, "scheduler": "slurm", "commands": {}, "resources": {"cores": 2, "walltime": 7200}, "renewals": 3, "mail": "carol@example.org",
         "job": {"endpoint": "tls", "idle_timeout": 3600}}


class Scheduler(object):
    """A scheduler that takes every job."""

    script_suffix = "slurm"

    def __init__(self):
        self.submitted = []

    def submit(self, submission):
        self.submitted.append(submission)
        return str(len(self.submitted))

    def look(self, ids):
        return dict((one, base.Job(id=one, name="jupyter-default", state="queued")) for one in ids)

    def mine(self):
        return []


@pytest.fixture
def launch(tmp_path, monkeypatch):
    """Return a function that launches on a site that was set up; it returns the scheduler, the record and job.json."""
    monkeypatch.setenv("HOME", str(tmp_path))
    site = Site("~/batch")
    (tmp_path / "batch").mkdir()
    (tmp_path / "batch/jupyter.slurm").write_text("#!/bin/bash\nJUPYTER_SESSION=default\nJUPYTER_LAUNCH=\n")
    config = tmp_path / ".jupyter"
    config.mkdir()
    (config / "jupyter_server_config.json").write_text(json.dumps({"ServerApp": {"password": "argon2:x"}}))

    def launch(**request):
        (tmp_path / "batch/site.json").write_text(json.dumps(FACTS))
        session = Session(site, "default")
        session._scheduler = Scheduler()
        launching.start(session, request)
        return session.scheduler, session.record(), json.loads((tmp_path / "batch/sessions/default/job.json").read_text())

    return launch


def test_what_a_launch_does_not_say_is_as_setup_was_told(launch):
    scheduler, record, job = launch(renewals=None, mail=None)
    assert record["renewals"] == job["renewals"] == 3
    assert [one.mail for one in scheduler.submitted] == ["carol@example.org"] * 2


def test_the_scheduler_writes_to_a_file_of_its_own(launch):
    outputs = set(submission.output for submission in launch()[0].submitted)
    assert len(outputs) == 1 and not outputs.pop().endswith("server.log"), "PBS puts its file in place at the job's end, over what is there"


def test_logs_of_the_job_before_are_emptied_in_place(launch, tmp_path):
    """A node that knows a file for a second yet could neither open nor make one that was removed meanwhile."""
    launch()
    paths = [tmp_path / "batch/sessions/default" / name for name in ("server.log", "job.out")]
    for path in paths:
        path.write_text("of the job before")
    inodes = [path.stat().st_ino for path in paths]
    (tmp_path / "batch/sessions/default/record.json").unlink()
    launch()
    assert [(path.read_text(), path.stat().st_ino) for path in paths] == [("", inode) for inode in inodes]


def test_a_launch_may_ask_for_no_renewals_and_no_mail(launch):
    scheduler, record, job = launch(renewals=0, mail="", job={"idle_timeout": 0})
    assert record["renewals"] == record["renewals_left"] == job["renewals"] == job["idle_timeout"] == 0
    assert [one.mail for one in scheduler.submitted] == [None]


@pytest.mark.parametrize("rc, said, kept", [
    (124, "sbatch: no answer within 120 s", True), (1, "sbatch: error: Socket timed out on send/recv operation", True),
    (1, "sbatch: error: Unable to contact slurm controller (connect failure)", False), (127, "sbatch: No such file or directory", False)])
def test_a_submission_that_was_not_answered_is_looked_for_by_the_next_launch(launch, monkeypatch, tmp_path, rc, said, kept):
    def silent(scheduler, submission):
        raise base.Unreachable(said, rc)

    with monkeypatch.context() as patch:
        patch.setattr(Scheduler, "submit", silent)
        with pytest.raises(launching.Failure) as failure:
            launch(renewals=0)
    # It is not listed yet, and appears after a moment.
    assert ("not known" if kept else "Nothing was submitted") in failure.value.message
    assert (tmp_path / "batch/sessions/default/job.json").exists() == kept
    monkeypatch.setattr(Scheduler, "mine", lambda scheduler: [base.Job(id="7", name="jupyter-default", state="queued")])
    scheduler, record, _job = launch(renewals=0)
    assert (record["job"], len(scheduler.submitted)) == (("7", 0) if kept else ("1", 1))


@pytest.mark.parametrize("asked, site, got", [
    ({}, "auto", "auto"),
    ({}, "socket", "socket"),
    ({"endpoint": "auto"}, "socket", "auto"),
    ({"endpoint": None, "endpoint_of_route": "tls"}, "auto", "tls"),
    ({"endpoint": None, "endpoint_of_route": "tls"}, "socket", "socket"),
    ({"endpoint": "auto", "endpoint_of_route": "tls"}, "socket", "tls"),
    ({"endpoint": "socket", "endpoint_of_route": "tls"}, "tls", "socket"),
])
def test_the_endpoint_is_the_launchs_else_the_sites_else_the_routes(launch, monkeypatch, asked, site, got):
    monkeypatch.setitem(FACTS, "job", {"endpoint": site})
    assert launch(job=asked)[2]["endpoint"] == got


@pytest.mark.parametrize("asked, differs", [
    ({}, {}), ({"cores": None, "queue": "", "options": []}, {}), ({"cores": 4, "walltime": "02:00:00", "memory": "1024M"}, {}),
    ({"cores": 2, "memory": "2G"}, {"cores": [4, 2], "memory": [1 << 30, 2 << 30]}), ({"queue": "typo"}, {"queue": [None, "typo"]})])
@pytest.mark.parametrize("check", [False, True])
def test_a_launch_that_finds_a_session_tells_what_it_does_not_have(launch, tmp_path, asked, differs, check):
    launch(resources={"cores": 4, "memory": "1G"}, renewals=0)
    session = Session(Site("~/batch"), "default")
    session._scheduler = Scheduler()
    view, changed = launching.start(session, {"resources": asked, "check": check})
    assert not changed and not session.scheduler.submitted and view["differs"] == differs


TRAIT = {"ServerApp": {"terminals_enabled": False}}


@pytest.mark.parametrize("request_of_launch, differs", [
    ({"renewals": None, "mail": None, "job": {"endpoint": None, "idle_timeout": None, "root_dir": None, "settings": None}}, {}),
    ({"renewals": 1, "mail": "dave@example.org", "job": {"endpoint": "tls", "idle_timeout": 60, "root_dir": "~/data/", "settings": TRAIT}}, {}),
    ({"job": {"endpoint": "auto", "root_dir": "$HOME/data"}}, {}),
    ({"renewals": 0, "mail": ""}, {"renewals": [1, None], "mail": ["dave@example.org", None]}),
    ({"job": {"endpoint": "socket", "idle_timeout": 0, "root_dir": "/scratch", "settings": {"ServerApp": {}}}},
     {"endpoint": ["tls", "socket"], "idle_timeout": [60, 0], "root_dir": ["~/data", "/scratch"], "settings": [None, None]}),
])
def test_what_else_a_session_is_to_be_is_compared_as_well(launch, request_of_launch, differs):
    launch(renewals=1, mail="dave@example.org", job={"idle_timeout": 60, "root_dir": "~/data", "settings": TRAIT})
    session = Session(Site("~/batch"), "default")
    session._scheduler = Scheduler()
    view, changed = launching.start(session, request_of_launch)
    assert not changed and view["differs"] == differs


@pytest.mark.parametrize("listens, asked, differs", [
    (None, "socket", {}), ("socket", "socket", {}), ("socket", "auto", {}), ("tls", "socket", {"endpoint": ["tls", "socket"]})])
def test_an_endpoint_is_compared_with_where_the_server_listens(launch, monkeypatch, listens, asked, differs):
    monkeypatch.setitem(FACTS, "job", {"endpoint": "auto"})
    launch(renewals=0)
    session = Session(Site("~/batch"), "default")
    session._scheduler = Scheduler()
    view = dict(session.view(), endpoint={"kind": listens} if listens else None)
    monkeypatch.setattr(session, "view", lambda: view)
    assert launching.start(session, {"job": {"endpoint": asked}})[0]["differs"] == differs


def test_of_a_job_that_was_submitted_by_hand_it_is_not_known_what_it_has(launch):
    launch(resources={"cores": 4}, renewals=0)
    session = Session(Site("~/batch"), "default")
    session._scheduler = Scheduler()
    launching.take_by_hand(session, "7")
    assert launching.start(session, {"resources": {"cores": 16}, "renewals": 2, "job": {"idle_timeout": 1}})[0]["differs"] == {}


def test_news_of_a_session_that_waits_does_not_lose_what_it_does_not_have(launch, monkeypatch):
    launch(resources={"cores": 4}, renewals=0)
    monkeypatch.setattr(sessions, "scheduler_of", lambda *_: Scheduler())
    answer = session_verbs.launch({"batch_dir": "~/batch", "session": "default", "resources": {"cores": 2}})
    assert answer["state"] == "queued" and answer["adopted"] and answer["differs"] == {"cores": [4, 2]}


def refuse(scheduler, submission):
    raise base.Refused("invalid partition specified: typo")


def test_of_a_launch_that_was_refused_nothing_stays(launch, monkeypatch, tmp_path):
    monkeypatch.setattr(Scheduler, "submit", refuse)
    with pytest.raises(launching.Failure, match="refused"):
        launch()
    assert not list((tmp_path / "batch/sessions").iterdir())


def test_a_session_that_was_there_before_keeps_what_it_had(launch, monkeypatch):
    _scheduler, record, _job = launch(renewals=0)
    finished = base.Job("1", state=base.FINISHED, exit_kind=base.CLEAN)
    monkeypatch.setattr(Scheduler, "look", lambda scheduler, ids: dict((one, finished) for one in ids))
    monkeypatch.setattr(Scheduler, "submit", refuse)
    with pytest.raises(launching.Failure, match="refused"):
        launch()
    assert Session(Site("~/batch"), "default").record()["id"] == record["id"]


def check(monkeypatch, rehearse):
    monkeypatch.setattr(Scheduler, "rehearse", rehearse, raising=False)
    session = Session(Site("~/batch"), "default")
    session._scheduler = Scheduler()
    view, changed = launching.start(session, {"resources": {"queue": "typo"}, "check": True})
    assert changed and view["would_submit"] and not session.scheduler.submitted
    return view["rehearsal"]


def test_a_check_asks_the_scheduler_for_what_a_launch_would_submit(launch, monkeypatch, tmp_path):
    with monkeypatch.context() as patch, pytest.raises(launching.Failure):
        # It needs only to be set up.
        patch.setattr(Scheduler, "submit", refuse)
        launch()
    seen = []
    assert check(monkeypatch, lambda scheduler, submission, script: seen.append((submission, script)) or "") == ""
    [(submission, script)] = seen
    assert submission.resources.queue == "typo" and submission.mail == "carol@example.org" and "JUPYTER_SESSION=default" in script
    assert not list((tmp_path / "batch/sessions").iterdir())
    assert check(monkeypatch, lambda *_: None) is None

    def down(*_):
        raise base.Unreachable("sbatch: no answer", 124)

    assert check(monkeypatch, down) == "sbatch: no answer"
    with pytest.raises(launching.Failure, match="would refuse the job: invalid partition specified: typo. Nothing") as refused:
        check(monkeypatch, lambda scheduler, submission, script: refuse(scheduler, submission))
    assert refused.value.cause == "refused"
