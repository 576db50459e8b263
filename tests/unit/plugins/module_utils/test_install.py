# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An installation that outlives who asked for it, seen from any login node."""

import json
import os
import stat
import subprocess
import time

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import install
from ansible_collections.hpc.jupyter.plugins.module_utils.failure import Failure

# A Python whose pip waits until the test lets it go, and writes down that it was asked.
PYTHON = """\
#!/bin/sh
case "$*" in
  *"-m venv"*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" && : > "$4/pyvenv.cfg" && echo made >> '{home}/made' ;;
  *"-m pip"*) echo Collecting; read answer < '{home}/go'; exit "$answer" ;;
esac
"""


class Home(object):
    """An account, and the installations in it."""

    def __init__(self, path):
        self.path = path
        os.mkfifo(str(path / "go"))
        python = path / "python"
        python.write_text(PYTHON.format(home=path))
        python.chmod(0o755)

    def install(self, **request):
        return install.install(dict(
            {"directory": "~/.jupyter/venv", "python": "~/python", "requirements": ["jupyterlab"], "hold": 0}, **request))

    def let_go(self, status=0):
        """Let pip end, and wait until its installation has."""
        (self.path / "go").write_text("%d\n" % status)
        wait(self.file("status").exists)
        pid = json.loads(self.file("pid").read_text())["pid"]
        os.waitpid(pid, 0)

    def file(self, name):
        return self.path / ".jupyter/batch" / ("install." + name)

    def begun(self):
        """How many installations were begun."""
        return len((self.path / "made").read_text().splitlines())

    def elsewhere(self):
        """Have the installation look as if another login node were at it."""
        known = json.loads(self.file("pid").read_text())
        self.file("pid").write_text(json.dumps(dict(known, host="another-login")))


def wait(condition):
    deadline = time.time() + 20
    while not condition():
        assert time.time() < deadline
        time.sleep(0.01)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(install, "FOREIGN_POLL", 0.01)
    made = Home(tmp_path)
    yield made
    if made.file("pid").exists():
        pid = json.loads(made.file("pid").read_text())["pid"]
        subprocess.run(["kill", "--", "-%d" % pid], stderr=subprocess.DEVNULL, check=False)


@pytest.mark.parametrize("request_of, mode", [({}, 0o700), ({"scope": "site", "site_dir": "{}/site", "directory": "{}/site/venv"}, 0o755)], ids=["own", "all"])
def test_what_is_installed_for_all_can_be_read_by_all(home, monkeypatch, request_of, mode):
    monkeypatch.setattr(install.site_wide, "for_everybody", lambda path, what: None)
    request = dict((key, value.format(home.path)) for key, value in request_of.items())
    made = install.Site(None, request.get("site_dir")).installed
    old = os.umask(0o077)
    try:
        wait(lambda: home.install(python=str(home.path / "python"), **request)["progress"] == "Collecting")
        (home.path / "go").write_text("0\n")
        wait(lambda: os.path.exists(os.path.join(made, "install.status")))
        assert home.install(python=str(home.path / "python"), started=True, **request)["state"] == "done"
    finally:
        os.umask(old)
    directory = request.get("directory") or str(home.path / ".jupyter/venv")
    assert [stat.S_IMODE(os.stat(path).st_mode) for path in (directory, os.path.join(directory, "bin"))] == [mode, mode]
    assert stat.S_IMODE(os.stat(os.path.join(directory, "hpc.jupyter.json")).st_mode) == mode & 0o666
    assert home.install(python=str(home.path / "python"), **request)["state"] == "present"


def running(home, **request):
    """Ask until pip is at work."""
    wait(lambda: home.install(**request)["progress"] == "Collecting")


def test_it_is_installed_once(home):
    running(home)
    home.let_go()
    assert home.install(started=True)["state"] == "done"
    assert home.install() == {"changed": False, "state": "present", "directory": str(home.path / ".jupyter/venv")}
    assert home.begun() == 1 and [path.name for path in (home.path / ".jupyter/batch").iterdir()] == ["install.log"]


def test_one_that_was_interrupted_while_it_ran_is_waited_for(home):
    running(home)
    assert home.install()["state"] == "running"
    home.let_go()
    assert home.install()["state"] == "done" and home.begun() == 1


def test_one_that_ended_after_its_controller_had_gone_counts(home):
    running(home)
    home.let_go()
    assert home.install()["state"] == "done" and home.begun() == 1


def test_one_that_failed_begins_anew(home):
    running(home)
    home.let_go(1)
    with pytest.raises(Failure, match="pip's last words: Collecting"):
        home.install(started=True)
    running(home)
    assert home.begun() == 2


def test_another_login_node_waits_for_it(home):
    # A site's name for its login nodes may lead to another one at each question.
    running(home)
    home.elsewhere()
    assert home.install()["state"] == home.install(started=True)["state"] == "running"
    home.let_go()
    assert home.install(started=True)["state"] == "done" and home.begun() == 1


def test_one_of_a_login_node_that_is_gone_begins_anew(home):
    running(home)
    home.elsewhere()
    subprocess.run(["kill", "--", "-%d" % json.loads(home.file("pid").read_text())["pid"]], check=True)
    long_ago = time.time() - 3600
    os.utime(str(home.file("beat")), (long_ago, long_ago))
    running(home)
    assert home.begun() == 2


@pytest.mark.parametrize("other", [{"requirements": ["notebook"]}, {"directory": "~/elsewhere"}])
def test_the_end_of_one_is_not_taken_for_that_of_another(home, other):
    running(home)
    with pytest.raises(Failure, match="Another setup is installing"):
        home.install(**other)
    home.let_go()
    running(home, **other)
    assert home.begun() == 2
