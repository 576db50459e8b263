# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which scheduler a host has, told by what its commands say and never by what they are called."""

import os
import shutil

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import commands, schedulers
from ansible_collections.hpc.jupyter.plugins.module_utils.schedulers import _locate, base
from ansible_collections.hpc.jupyter.tests.unit.plugins.module_utils.schedulers import replay

# Before any test changes it.
SHELLS = os.environ.get("PATH", "/bin:/usr/bin")
PBS = ("qsub", "qstat", "qdel", "qselect")
SLURM = ("sbatch", "squeue", "scontrol", "scancel")
SAYS = {
    "openpbs": replay.load("openpbs-23.06.06")["version-qstat"],
    "openpbs-head": replay.load("openpbs-head")["version-qstat"],
    "torque": replay.load("torque-6.1.3")["version-qstat"],
    "slurm_pbs": replay.load("slurm-22.05-forms")["slurm_pbs-version/1"],
    "slurm": replay.load("slurm-22.05-forms")["slurm-version/1"],
}


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host without any scheduler, whose login shell is sh and whose home is ours."""
    for name in ("PBS_EXEC", "PBS_CONF_FILE", "SLURM_CONF", "ENV", "BASH_ENV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(_locate, "_USUAL", ())
    monkeypatch.setattr(_locate, "_shell", lambda: "/bin/sh")
    monkeypatch.setenv("PBS_CONF_FILE", str(tmp_path / "pbs.conf"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/nonexistent")
    (tmp_path / ".profile").write_text("PATH=/nonexistent; export PATH\n")
    return tmp_path


def install(directory, names, entry, condition=""):
    """Commands that say what a real one said to --version."""
    directory.mkdir(parents=True, exist_ok=True)
    for stream in ("stdout", "stderr"):
        (directory / stream).write_text(entry[stream])
    for name in names:
        path = directory / name
        path.write_text("#!/bin/sh\n%s\n/bin/cat '%s/stdout'\n/bin/cat '%s/stderr' >&2\nexit %d\n" % (condition, directory, directory, entry["rc"]))
        path.chmod(0o755)


@pytest.mark.parametrize("dialect, names", [("openpbs", PBS), ("openpbs-head", PBS), ("torque", PBS), ("slurm_pbs", PBS), ("slurm", SLURM)])
def test_by_their_words(host, monkeypatch, dialect, names):
    install(host / "bin", names, SAYS[dialect])
    monkeypatch.setenv("PATH", str(host / "bin"))
    name, found, evidence = schedulers.detect(commands.run)
    assert name == dialect.replace("-head", "")
    assert found["qsub" if names is PBS else "sbatch"] == str(host / "bin" / names[0])
    assert "environment" not in found and "says" in evidence


def test_slurm_is_preferred_to_its_own_pbs_commands(host, monkeypatch):
    install(host / "pbs", PBS, SAYS["slurm_pbs"])
    install(host / "bin", SLURM, SAYS["slurm"])
    monkeypatch.setenv("PATH", "%s:%s" % (host / "pbs", host / "bin"))
    assert schedulers.detect(commands.run)[0] == "slurm"
    assert schedulers.detect(commands.run, wanted="slurm_pbs")[0] == "slurm_pbs"


def test_pbs_conf_says_where(host):
    install(host / "opt" / "pbs" / "bin", PBS, SAYS["openpbs"])
    (host / "pbs.conf").write_text("PBS_SERVER=head\nPBS_EXEC=%s/opt/pbs\n" % host)
    name, found, _evidence = schedulers.detect(commands.run)
    assert (name, found["qstat"]) == ("openpbs", str(host / "opt/pbs/bin/qstat"))


PROFILES = {
    "quiet": "PATH=%s/site/bin:$PATH; export PATH",
    "greeting": "echo 'Welcome to the cluster!'; printf 'no newline'; PATH=%s/site/bin:$PATH; export PATH",
    "complaining": "echo oops >&2; false; PATH=%s/site/bin:$PATH; export PATH",
}


@pytest.mark.parametrize("profile", sorted(PROFILES))
@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "zsh", "ksh"])
def test_the_login_shell_knows_where(host, monkeypatch, profile, shell):
    path = shutil.which(shell, path=SHELLS)
    if not path:
        pytest.skip("no %s here" % shell)
    monkeypatch.setattr(_locate, "_shell", lambda: path)
    install(host / "site" / "bin", PBS, SAYS["torque"])
    (host / (".zprofile" if shell == "zsh" else ".profile")).write_text("PATH=/bin:/usr/bin\n%s\n" % (PROFILES[profile] % host))
    name, found, _evidence = schedulers.detect(commands.run)
    assert (name, found["qsub"]) == ("torque", str(host / "site/bin/qsub"))


@pytest.mark.parametrize("shell", ["csh", "tcsh", "fish"])
def test_other_login_shells_know_too(host, monkeypatch, shell):
    path = shutil.which(shell, path=SHELLS)
    if not path:
        pytest.skip("no %s here" % shell)
    monkeypatch.setattr(_locate, "_shell", lambda: path)
    install(host / "site" / "bin", PBS, SAYS["torque"])
    (host / ".login").write_text("echo hello\nsetenv PATH %s/site/bin:/bin:/usr/bin\n" % host)
    (host / ".config" / "fish").mkdir(parents=True)
    (host / ".config" / "fish" / "config.fish").write_text("set -gx PATH %s/site/bin /bin /usr/bin\n" % host)
    assert schedulers.detect(commands.run)[0] == "torque"


def test_a_module_brings_the_commands(host):
    install(host / "site" / "bin", SLURM, SAYS["slurm"])
    (host / ".profile").write_text(
        "PATH=/bin:/usr/bin; export PATH\nmodule() { [ \"$1 $2 $3\" = 'load tools slurm/22.05' ] && PATH=%s/site/bin:$PATH; }\n" % host)
    with pytest.raises(base.NotFound):
        schedulers.detect(commands.run)
    assert schedulers.detect(commands.run, modules=["tools", "slurm/22.05"])[1]["sbatch"] == str(host / "site/bin/sbatch")


def test_what_a_command_needs_of_the_login_shell_is_kept(host, monkeypatch):
    install(host / "bin", SLURM, SAYS["slurm"], condition='[ -n "$SLURM_CONF" ] || { echo "fatal: Could not establish a configuration source" >&2; exit 1; }')
    monkeypatch.setenv("PATH", str(host / "bin"))
    (host / ".profile").write_text("PATH=/bin:/usr/bin\nSLURM_CONF=/site/slurm.conf; NOISE=1; export SLURM_CONF NOISE PATH\n")
    name, found, _evidence = schedulers.detect(commands.run)
    assert name == "slurm" and found["environment"] == {"SLURM_CONF": "/site/slurm.conf"}


def test_a_shell_is_not_asked_where_path_is_enough(host, monkeypatch):
    install(host / "bin", PBS, SAYS["openpbs"])
    monkeypatch.setenv("PATH", str(host / "bin"))
    monkeypatch.setattr(_locate, "_shell", lambda: pytest.fail("asked"))
    assert schedulers.detect(commands.run)[0] == "openpbs"


def test_a_package_that_nobody_configured_does_not_hide_the_sites_own(host, monkeypatch):
    broken = {"rc": 1, "stdout": "", "stderr": "fatal: Could not establish a configuration source\n"}
    install(host / "usr" / "bin", PBS + SLURM, broken)
    install(host / "site" / "bin", PBS, SAYS["openpbs"])
    monkeypatch.setenv("PATH", str(host / "usr" / "bin"))
    (host / ".profile").write_text("PATH=%s/site/bin:$PATH; export PATH\n" % host)
    name, found, _evidence = schedulers.detect(commands.run)
    assert (name, found["qstat"]) == ("openpbs", str(host / "site/bin/qstat"))


def test_a_shell_is_asked_once(host):
    calls = []

    def run(argv, **more):
        calls.append(argv)
        return base.Completed(1, "", "")
    with pytest.raises(base.NotFound):
        schedulers.detect(run)
    # Twice for the one question: once as sh takes it, once as csh does.
    assert len([argv for argv in calls if argv[0] == "/bin/sh"]) == 2


@pytest.mark.parametrize("entry", [
    {"rc": 0, "stdout": "SGE 8.1.9\nusage: qstat [options]\n", "stderr": ""}, {"rc": 1, "stdout": "", "stderr": "error: unknown option \"--version\""},
    {"rc": 0, "stdout": "", "stderr": ""}])
def test_others_of_that_name_are_not_taken(host, monkeypatch, entry):
    install(host / "bin", PBS + SLURM, entry)
    monkeypatch.setenv("PATH", str(host / "bin"))
    with pytest.raises(base.NotFound) as caught:
        schedulers.detect(commands.run)
    assert str(host / "bin") in str(caught.value) and "jupyter_scheduler: local" in str(caught.value)


def test_local_is_taken_only_when_it_is_asked_for(host):
    with pytest.raises(base.NotFound, match="jupyter_modules"):
        schedulers.detect(commands.run)
    assert schedulers.detect(commands.run, wanted="local")[:2] == ("local", {})


def test_wanted_is_checked(host):
    with pytest.raises(base.NotFound, match="none of auto"):
        schedulers.detect(commands.run, wanted="lsf")
    with pytest.raises(base.NotFound, match="openpbs: no qsub"):
        schedulers.detect(commands.run, wanted="openpbs")


def test_a_directory_or_a_plain_file_is_no_command(host, monkeypatch):
    (host / "bin" / "qsub").mkdir(parents=True)
    (host / "bin" / "qstat").write_text("")
    monkeypatch.setenv("PATH", str(host / "bin"))
    assert _locate.Finder(commands.run).find_all(PBS) == {}
    assert os.path.isdir(str(host / "bin" / "qsub"))
