# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment's lines, as the shell of a job reads them."""

import os
import subprocess

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils.failure import Failure
from ansible_collections.hpc.jupyter.plugins.module_utils.job_script import Environment

# Says where its lines got to, in the place of the programs that a site has.
SHELL = """
module() { echo "module $*"; }
conda() { [ "$1" = activate ] && echo "conda $*"; }
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    # A home whose name a shell would split.
    home = tmp_path / "the home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SCRATCH", str(home / "scratch"))
    monkeypatch.delenv("NOWHERE", raising=False)
    return home


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)


def run(lines):
    done = subprocess.run(
        ["bash", "-c", SHELL + lines + '\necho "python $JUPYTER_PYTHON"'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        universal_newlines=True, timeout=30, check=False)
    return done.stdout.splitlines()


@pytest.mark.parametrize("venv, there", [("~/.jupyter/venv", ".jupyter/venv"), ("$SCRATCH/venv", "scratch/venv"), ("venvs/one", "venvs/one")])
def test_a_virtual_environment_of_the_home_is_entered(home, venv, there):
    program(home / there / "bin/activate", "echo entered\n")
    assert run(Environment(venv=venv).setup_lines()) == ["entered", "python "]


def test_a_python_of_the_home_runs_jupyter(home):
    program(home / "own/python", "exit 0\n")
    assert run(Environment(python="~/own/python").lines()) == ["python %s/own/python" % home]


def test_a_python_may_be_a_name(home, monkeypatch):
    program(home / "bin/python3", "exit 1\n")
    program(home / "bin/python-of-jupyter", "exit 0\n")
    monkeypatch.setenv("PATH", "%s/bin:%s" % (home, os.environ["PATH"]))
    assert run(Environment(python="python-of-jupyter").lines()) == ["python python-of-jupyter"]


def test_a_python_that_was_seen_to_have_jupyter_is_not_started_to_ask(home, monkeypatch):
    program(home / "bin/python3", "echo asked >> ~/asked; exit 1\n")
    program(home / "bin/python", "echo asked >> ~/asked\n")
    monkeypatch.setenv("PATH", "%s/bin:%s" % (home, os.environ["PATH"]))
    assert run(Environment().lines("%s/bin/python3" % home)) == ["python python3"]
    assert not (home / "asked").exists()
    # On this host the modules lead elsewhere; in a container the paths are others.
    for lines in (Environment().lines("/elsewhere/python3"), Environment(container="env").lines("%s/bin/python3" % home)):
        assert run(lines) == ["python python"]
        assert (home / "asked").read_text() == 2 * "asked\n"
        (home / "asked").unlink()


def test_module_paths_and_conda_prefixes_are_those_of_the_home(home):
    environment = Environment(modules=["lab"], module_paths=["~/modules", "${SCRATCH}/modules"], conda="~/envs/lab")
    assert run(environment.setup_lines())[:4] == [
        "module use %s/modules" % home, "module use %s/scratch/modules" % home, "module load lab", "conda activate %s/envs/lab" % home]
    assert run(Environment(conda="lab").setup_lines())[0] == "conda activate lab"


@pytest.mark.parametrize("setting", [{"venv": "$NOWHERE/venv"}, {"module_paths": ["~somebody/modules"]}])
def test_a_path_that_is_nowhere_is_told_with_its_variable(home, setting):
    with pytest.raises(Failure) as told:
        Environment(**setting)
    assert "jupyter_%s is " % list(setting)[0] in told.value.message and "Nothing was changed" in told.value.message
