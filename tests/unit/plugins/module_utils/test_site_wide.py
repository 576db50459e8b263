# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One installation for all users: what may get into it, who may change it, and what a user takes from it."""

import json
import os
import shlex
import stat
import subprocess
import zipfile

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import (
    batch,
    connect,
    doctor,
    launching,
    parallel,
    places,
    program,
    session,
    session_verbs,
    site_wide,
)
from ansible_collections.hpc.jupyter.plugins.module_utils.failure import Failure

STAFF = {"scope": "site", "scheduler": "slurm", "preflight": False, "environment": {"modules": ["jupyterlab"], "variables": {"OMP_NUM_THREADS": 1}}}


@pytest.fixture
def prefix(tmp_path, monkeypatch):
    """An empty prefix of a site whose users' home is beside it."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    monkeypatch.setattr(batch.schedulers, "detect", lambda run, **asked: ("slurm", {"sbatch": "/usr/bin/sbatch"}, "it says so"))
    monkeypatch.setattr(program, "SOURCES", {"__init__.py": "", "program.py": "HEAD = 128\n", "keeper/__init__.py": ""})
    # The directories of tests are closed to others, and so may the Python be that runs them.
    monkeypatch.setattr(site_wide, "for_everybody", lambda path, what: None)
    return tmp_path / "opt" / "hpc-jupyter"


def apply(prefix, **request):
    old = os.umask(0o077)  # as the program has it
    try:
        return batch.apply(dict({"site_dir": str(prefix)}, **request))
    finally:
        os.umask(old)


@pytest.fixture
def installed(prefix):
    assert apply(prefix, **STAFF)["changed"]
    return prefix


def session_of(prefix, **more):
    return session.Session(places.Site(None, str(prefix)), "default")


# -- what staff write ------------------------------------------------------------------------


def test_everybody_can_read_it_and_a_second_run_changes_nothing(installed, tmp_path):
    modes = dict((path.name, stat.S_IMODE(path.stat().st_mode)) for path in [installed, installed.parent] + list(installed.iterdir()))
    assert modes == {
        "opt": 0o755, "hpc-jupyter": 0o755, "site.json": 0o644, "program.pyz": 0o644, "keeper.pyz": 0o644, "jupyter.slurm": 0o755,
        "jupyter_connect": 0o755, "python": 0o755}
    assert not apply(installed, **STAFF)["changed"]
    assert not list((tmp_path / "home").iterdir()), "nothing of it is in the home of who installs it"
    (installed / "site.json").chmod(0o600)
    assert apply(installed, **STAFF)["changed"] and stat.S_IMODE((installed / "site.json").stat().st_mode) == 0o644


def test_nothing_of_who_installs_it_gets_in(installed, tmp_path):
    facts = json.loads((installed / "site.json").read_text())
    assert (facts["batch_dir"], facts["job"]["config_dir"], facts["job"]["keyfile"]) == ("~/.jupyter/batch", "~/.jupyter", "~/.jupyter/hpc-jupyter.key")
    assert facts["relay_parent"] == "/tmp" and "relay_dir" not in facts and facts["connect"] == "%s/jupyter_connect" % installed
    for path in installed.iterdir():
        assert str(tmp_path / "home") not in path.read_bytes().decode("latin-1").replace(str(installed), "")


@pytest.mark.parametrize("asked, cause", [
    ({"environment": {"venv": "~/venv"}}, "personal-path"), ({"environment": {"module_paths": ["/apps/modules", "$HOME/modules"]}}, "personal-path"),
    ({"environment": {"conda": "~/envs/lab"}}, "personal-path"), ({"environment": {"python": "bin/python"}}, "personal-path"),
    ({"environment": {"container": "apptainer exec ~/lab.sif"}}, "personal-path"),
    ({"install": {"enabled": True, "directory": "~/.jupyter/venv"}}, "personal-path"),
    ({"install": {"enabled": True, "directory": "/apps/venv", "python": "~/python"}}, "personal-path"),
    ({"batch_dir": "/scratch/jupyter"}, "bad-path"), ({"batch_dir": "~/$(id)"}, "bad-path"), ({"batch_dir": "~/a b"}, "bad-path"),
    ({"batch_dir": "batch"}, "bad-path"), ({"job": {"config_dir": "/etc/jupyter"}}, "bad-path"), ({"relay_dir": "~/tmp"}, "relay-dir"),
    ({"site_dir": ""}, "bad-path"), ({"site_dir": "~/prefix"}, "bad-path"), ({"site_dir": "/opt/it's"}, "bad-path"), ({"site_dir": "/"}, "bad-path"),
])
def test_what_would_be_another_for_each_user_or_the_same_is_refused(prefix, asked, cause):
    with pytest.raises(Failure) as told:
        apply(prefix, **dict(STAFF, **asked))
    assert told.value.cause == cause and "Nothing was changed" in told.value.message
    assert not prefix.parent.exists()


def test_where_to_install_jupyter_for_all_is_told(prefix):
    asked = dict(STAFF)
    asked.update(environment={"venv": "~/.jupyter/venv"}, install={"enabled": True, "directory": "~/.jupyter/venv"})
    with pytest.raises(Failure, match="jupyter_install_dir is '~/.jupyter/venv'.* Set it to %s/venv" % prefix):
        apply(prefix, **asked)


def test_what_is_closed_to_others_is_told_with_the_directory_that_is(tmp_path):
    (tmp_path / "closed" / "bin").mkdir(parents=True)
    (tmp_path / "open").symlink_to(tmp_path / "closed" / "bin")
    (tmp_path / "closed").chmod(0o700)
    for path in ("closed/bin", "open", "closed/bin/none-here"):
        with pytest.raises(Failure, match="jupyter_venv: nobody but its owner"):
            site_wide.for_everybody(str(tmp_path / path), "jupyter_venv")
    site_wide.for_everybody("/usr/bin/env", "")
    site_wide.for_everybody("/of/the/nodes", "")


def test_libraries_that_others_can_not_read_are_not_named(prefix, monkeypatch):
    asked = []
    monkeypatch.setattr(site_wide, "for_everybody", lambda path, what: asked.append(path))
    monkeypatch.setenv("LD_LIBRARY_PATH", "/apps/python/lib:")
    apply(prefix, **STAFF)
    assert "/apps/python/lib" in asked and "/usr/bin/sbatch" in asked


@pytest.mark.parametrize("path, unset, meant", [
    ("~/.jupyter/batch", None, "/home/carol/.jupyter/batch"), ("$SCRATCH/jupyter", "SCRATCH", "/scratch/carol/jupyter"),
    ("/work/${USER}/.x", "USER", "/work/carol/.x"), ("/work/p-$USER", "USER", "/work/p-carol")])
def test_a_path_of_each_users_own_is_what_the_job_makes_of_it(path, unset, meant):
    word = site_wide.in_shell(site_wide.own_path("jupyter_batch_dir", path))
    env = {"HOME": "/home/carol", "SCRATCH": "/scratch/carol", "USER": "carol"}
    assert subprocess.check_output(["bash", "-c", "d=%s; echo \"$d\"" % word], env=env).decode() == meant + "\n"
    if unset:
        done = subprocess.run(["sh", "-c", "d=%s; echo went on" % word], env=dict((key, env[key]) for key in env if key != unset),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        assert done.returncode and unset.encode() in done.stdout and b"went on" not in done.stdout


def test_who_installs_it_owns_it(prefix, monkeypatch, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    prefix.parent.mkdir()
    prefix.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Failure, match="is a link or belongs to somebody else"):
        apply(prefix, **STAFF)
    assert not list((tmp_path / "elsewhere").iterdir())


# -- what a user takes -----------------------------------------------------------------------


def test_a_user_is_told_what_is_there_and_writes_nothing(installed, tmp_path):
    answer = apply(installed, scheduler="auto", environment={"modules": ["jupyterlab"], "venv": None, "commands": []},
                   poll_interval=0, second_hop="auto", node_names="short", node_host_keys="strict", relay_dir="/tmp/")
    assert not answer["changed"]
    assert (answer["script"], answer["connect"]) == ("%s/jupyter.slurm" % installed, "%s/jupyter_connect" % installed)
    assert answer["batch_dir"] == "%s/home/.jupyter/batch" % tmp_path and answer["site_dir"] == str(installed)
    assert not list((tmp_path / "home").iterdir())


@pytest.mark.parametrize("asked, says", [
    ({"environment": {"modules": ["another"], "python": "python3.11"}}, "jupyter_modules, jupyter_python"), ({"scheduler": "torque"}, "jupyter_scheduler"),
    ({"environment": {"venv": "~/venv"}, "install": {"enabled": True}}, "jupyter_install:"),
    ({"batch_dir": "$SCRATCH/batch"}, r"jupyter_batch_dir is '\$SCRATCH/batch', .* it is '~/.jupyter/batch'"),
    ({"job": {"config_dir": "~/mine"}}, "jupyter_config_dir"),
    ({"poll_interval": 60, "second_hop": "auto", "node_names": "fqdn", "relay_dir": "/var/tmp"},
     "^jupyter_node_names, jupyter_poll_interval, jupyter_relay_dir: ")])
def test_what_would_have_no_effect_is_refused(installed, asked, says):
    with pytest.raises(Failure, match=says) as told:
        apply(installed, **asked)
    assert told.value.cause == "site-differs"


def test_a_pattern_is_the_same_however_it_is_spelt(prefix, tmp_path):
    apply(prefix, **dict(STAFF, batch_dir="$SCRATCH/batch", job={"config_dir": "${SCRATCH}/config"}))
    answer = apply(prefix, batch_dir="${SCRATCH}/batch/", job={"config_dir": "%s/scratch/config" % tmp_path})
    assert answer["batch_dir"] == "%s/scratch/batch" % tmp_path
    assert 'JUPYTER_BATCH_DIR="${SCRATCH:?}/batch"' in (prefix / "jupyter.slurm").read_text()


def test_where_nothing_is_installed_is_told(prefix):
    with pytest.raises(Failure, match="nothing is installed system-wide .* hpc.jupyter.site") as told:
        apply(prefix)
    assert told.value.cause == "not-set-up"
    apply(prefix, **STAFF)
    (prefix / "jupyter.slurm").unlink()
    with pytest.raises(Failure, match="jupyter.slurm is missing"):
        apply(prefix)


@pytest.mark.parametrize("path, mode", [(".", 0o777), (".", 0o775), ("program.pyz", 0o664), ("site.json", 0o646), ("..", 0o777)])
def test_what_others_could_have_changed_is_not_used(installed, path, mode):
    before = stat.S_IMODE((installed / path).stat().st_mode)
    (installed / path).chmod(mode)
    try:
        for use in (lambda: apply(installed), lambda: apply(installed, **STAFF), session_of(installed).view,
                    lambda: session_verbs.launch({"site_dir": str(installed), "session": "default"})):
            with pytest.raises(Failure) as told:
                use()
            assert told.value.cause == "site-not-safe"
        found, = [one for one in doctor.examine({"site_dir": str(installed)})["findings"] if one["name"] == "setup"]
        assert found["works"] is False and "runs code in the jobs of all" in found["said"]
    finally:
        (installed / path).chmod(before)
    # Everybody's own files are safe in a directory such as /tmp.
    installed.parent.chmod(0o1777)
    apply(installed)


def test_sockets_of_relays_are_each_sessions_own(installed):
    facts = session_of(installed).facts
    made = launching._relay_dir(facts, {})
    assert made.startswith("/tmp/jupyter-%d-" % os.getuid()) and launching._relay_dir(facts, {"relay_dir": made}) == made
    assert launching._relay_dir(dict(facts, relay_parent="/run"), {"relay_dir": made}).startswith("/run/jupyter-")
    assert connect.default_socket(session_of(installed)) != connect.default_socket(session_of(installed))


def test_the_connect_tool_is_called_as_it_is_there(installed, tmp_path):
    command, _port = connect.laptop_command(session_of(installed), "/tmp/x/s.sock")
    assert " %s/jupyter_connect default --socket /tmp/x/s.sock" % installed in command
    hint = "ssh -L 127.0.0.1:8000:/RELAY_DIR/default-manual.sock login.example.org /x default --start --socket /RELAY_DIR/default-manual.sock"
    apply(installed, **dict(STAFF, connect_hint=hint))
    assert connect.laptop_command(session_of(installed), "/tmp/x/default-manual.sock") == (hint.replace("/RELAY_DIR/", "/tmp/x/"), "8000")
    with zipfile.ZipFile(str(installed / "program.pyz"), "w") as archive:
        archive.writestr("__main__.py", "import sys; print(sys.argv[1:])")
    said = subprocess.check_output([str(installed / "jupyter_connect"), "--look"], env=dict(os.environ, HOME="/home/dave"))
    assert said.decode().strip() == "['connect', '--batch-dir', '/home/dave/.jupyter/batch', '--site-dir', %r, '--look']" % str(installed)


def test_the_job_of_a_launch_has_the_users_own_directory(installed, tmp_path):
    text = launching._session_script((installed / "jupyter.slurm").read_text(), "default", "a" * 32, "/home/it's/batch")
    assigned = [line for line in text.splitlines() if line.startswith(("JUPYTER_BATCH_DIR=", "JUPYTER_SITE_DIR="))]
    assert assigned == ["JUPYTER_BATCH_DIR=%s" % shlex.quote("/home/it's/batch"), "JUPYTER_SITE_DIR=%s" % installed]


def test_engines_are_started_with_the_sites_program(installed, tmp_path):
    facts = json.loads((installed / "site.json").read_text())
    (installed / "site.json").write_text(json.dumps(dict(facts, jupyter={"python": "/x", "ipyparallel": "9.0", "mpi4py": "4"})))
    parallel.apply({"site_dir": str(installed), "engines": "", "notebook": None})
    own = tmp_path / "home/.jupyter/batch/parallel"
    assert json.loads((own / "settings.json").read_text())["program"] == "%s/program.pyz" % installed
    assert "module load jupyterlab" in (own / "environment.sh").read_text()


@pytest.mark.parametrize("words, batch_dir, shared", [
    (["adopt-job", "s", "42"], "/opt/x", None), (["adopt-job", "s", "42", "--batch-dir", "/opt/x"], "/opt/x", None),
    (["adopt-job", "s", "42", "--batch-dir", "/home/dave/batch"], "/home/dave/batch", "/opt/x")])
def test_a_job_says_whose_sessions_it_means(monkeypatch, words, batch_dir, shared):
    monkeypatch.setattr("sys.argv", ["/opt/x/program.pyz"] + words)
    site, left = places.Site.of_command(words)
    assert (site.path, site.shared, left) == (batch_dir, shared, ["adopt-job", "s", "42"])
