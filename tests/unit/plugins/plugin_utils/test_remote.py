# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The payload: each verb's part of the program is complete, and an answer can't be forged."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.hpc.jupyter.plugins.action import batch, doctor, parallel, server, session, session_info
from ansible_collections.hpc.jupyter.plugins.module_utils import zip_application
from ansible_collections.hpc.jupyter.plugins.module_utils.program import VERBS, digest
from ansible_collections.hpc.jupyter.plugins.plugin_utils import remote
from ansible_collections.hpc.jupyter.plugins.plugin_utils.ssh_command import Connection

try:
    from ansible.template import trust_as_template
except ImportError:  # before ansible-core 2.19 every string is one

    def trust_as_template(text):
        return text


MARKER = "hpc.jupyter:0123456789abcdef:"


def run(verb: str, python: str = "python3", **request: object) -> dict:
    payload = remote.payload(dict(request, verb=verb), MARKER)
    done = subprocess.run([python, "-I", "-"], input=payload, capture_output=True, check=False)
    lines = [line for line in done.stdout.decode().splitlines() if line.startswith(MARKER)]
    assert len(lines) == 1, done
    return json.loads(lines[0][len(MARKER):])


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_a_verb_has_all_that_it_imports(verb, tmp_path):
    every, chosen = remote.program_sources(), remote.sources_for(verb)
    assert f"{VERBS[verb][0]}.py" in chosen
    # An import that the closure missed would only show when its branch is taken: import every chosen file alone.
    for name, text in chosen.items():
        path = tmp_path / "hpc_jupyter" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    modules = [name[:-3].replace("/", ".").removesuffix(".__init__") for name in chosen if name != "__init__.py"]
    script = "import importlib\n" + "".join(f"importlib.import_module('hpc_jupyter.{module}')\n" for module in modules)
    subprocess.run(["python3", "-c", script], cwd=tmp_path, check=True)
    assert set(chosen) <= set(every)
    # On a disk a directory without it would do as a package; in memory it does not.
    packages = {str(parent / "__init__.py") for name in chosen for parent in pathlib.PurePosixPath(name).parents}
    assert packages <= set(chosen)


def test_a_launch_carries_no_job_side_and_no_setup():
    chosen = remote.sources_for("launch")
    assert not {"server_config.py", "connect.py"} & set(chosen)
    assert not [name for name in chosen if name.startswith("keeper/")]


def test_an_answer_comes_back_from_a_real_python():
    answer = run("look", batch_dir="/nonexistent", session="x/../y")
    assert answer["failed"] and answer["cause"] == "bad-name"


def test_an_old_python_says_so_instead_of_breaking(monkeypatch):
    monkeypatch.setattr(remote, "OLDEST_PYTHON", (4, 0))
    assert "old_python" in run("look")


def test_what_setup_left_there_is_called_and_nothing_sent(tmp_path):
    archive = zip_application.program(remote.program_sources()).pack()
    (tmp_path / "program.pyz").write_bytes(archive)
    request = {"verb": "look", "batch_dir": str(tmp_path), "session": "x/../y", "odd": "\u00e4 '\" \\ {}"}
    script = remote.call_of_the_installed(request, MARKER)
    assert len(script) < 2000

    def answer():
        done = subprocess.run([sys.executable, "-I", "-"], input=script, capture_output=True, check=True)
        return json.loads(done.stdout.decode().strip()[len(MARKER):])

    assert answer()["cause"] == "bad-name"
    sources = remote.program_sources()
    for other in (zip_application.program({**sources, "text.py": "# of another version\n"}).pack(), archive[:200], b""):
        (tmp_path / "program.pyz").write_bytes(other)
        assert answer() == {"not_installed": True}
    (tmp_path / "program.pyz").unlink()
    assert answer() == {"not_installed": True}


@pytest.mark.parametrize("part, mode, runs", [("program.pyz", 0o644, True), ("program.pyz", 0o664, False), (".", 0o757, False)])
def test_what_is_installed_for_all_is_run_unless_others_could_have_changed_it(tmp_path, part, mode, runs):
    site = tmp_path / "site"
    site.mkdir(mode=0o755)
    (site / "program.pyz").write_bytes(zip_application.program(remote.program_sources()).pack())
    (site / part).chmod(mode)
    script = remote.call_of_the_installed({"verb": "look", "batch_dir": str(tmp_path), "site_dir": str(site), "session": "x/../y"}, MARKER)
    done = subprocess.run([sys.executable, "-I", "-"], input=script, capture_output=True, check=True)
    assert ("not_installed" in json.loads(done.stdout.decode().strip()[len(MARKER):])) is not runs


def test_the_program_is_sent_where_it_is_not_installed(in_place, tmp_path):
    action, variables = in_place(session)
    sent = []

    def run(_command, data):
        sent.append(len(data))
        done = subprocess.run([sys.executable, "-I", "-"], input=data, capture_output=True, check=False)
        return {"stdout": done.stdout.decode(), "stderr": done.stderr.decode(), "rc": done.returncode}

    action._quietly = run
    for _time in range(2):
        with pytest.raises(remote.ProgramFailed, match="no name for a session"):
            action.program("look", {"batch_dir": str(tmp_path), "session": "../y"}, variables)
    assert sent[0] < 2000 < 20000 < sent[1] == sent[2], "asked for once, and then sent each time"


def test_a_login_node_that_never_has_the_program_is_not_asked_for_ever(in_place):
    action, variables = in_place(session)
    asked = []

    def run(command, _data):
        asked.append(command)
        marker = command.rpartition("echo ")[2].removesuffix("none")
        return {"stdout": f'{marker}{{"not_installed": true}}\n', "stderr": "", "rc": 0}

    action._quietly = run
    with pytest.raises(remote.ProgramFailed, match="ran no answer out of our program"):
        action.program("look", {"session": "default"}, variables)
    assert len(asked) == 4


def test_setup_finds_the_sources_in_the_archive_that_it_was_called_from(tmp_path):
    (tmp_path / "program.pyz").write_bytes(zip_application.program(remote.program_sources()).pack())
    script = f"import sys; sys.path.insert(0, {str(tmp_path / 'program.pyz')!r})\n" \
        f"from hpc_jupyter import program; program.ARCHIVE = sys.path[0]; print(program.digest(program.sources()))"
    found = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True).stdout
    assert found.strip() == digest(remote.program_sources())


@pytest.fixture
def called(monkeypatch):
    """Return a function that calls the program as an action does, with or without become, and returns its answer."""
    monkeypatch.setattr(remote.ProgramAction, "_call", lambda *_: {"state": "none"})

    def called(module, become_user):
        become = None if become_user is None else MagicMock(get_option=lambda name, **_: {"become_user": become_user}[name])
        connection = MagicMock(become=become, get_option={"remote_user": "carol"}.__getitem__)
        return module.ActionModule(MagicMock(), connection, MagicMock(), MagicMock(), MagicMock(), MagicMock()).program("look", {}, {})

    return called


@pytest.mark.parametrize("module", [session, doctor])
def test_a_session_is_of_the_user_who_logs_in(called, module):
    with pytest.raises(remote.ProgramFailed, match=r"become root on the login node, and a session belongs to carol .* ansible_become=false"):
        called(module, "root")
    assert called(module, None) == called(module, "carol") == {"state": "none"}


@pytest.mark.parametrize("module", [batch, server, parallel, session_info])
def test_a_site_may_set_up_accounts_of_others(called, module):
    assert called(module, "dave") == {"state": "none"}


@pytest.fixture
def in_place():
    """Return a function that makes an action of a play on the login node itself, with these variables."""

    def in_place(module, args=None, **variables):
        written = {name: trust_as_template(value) if isinstance(value, str) else value for name, value in variables.items()}
        task = MagicMock(args=args or {}, async_val=0, check_mode=False, diff=False)
        connection = MagicMock(become=None, transport="local")
        made = module.ActionModule(task, connection, MagicMock(), DataLoader(), Templar(DataLoader(), variables=written), MagicMock())
        made._display = MagicMock()
        return made, dict(written, inventory_hostname="here")

    return in_place


def test_variables_of_the_laptops_way_in_are_templated(in_place):
    action, variables = in_place(
        session, centre="example.org", port=2222, jupyter_login_host="login.{{ centre }}", jupyter_login_port="{{ port }}",
        jupyter_login_ssh_args="-J gate.{{ centre }}", jupyter_login_user="carol")
    login = Connection.from_task(action.login_variables(variables), action._connection)
    assert login.arguments() == ["ssh", "-J", "gate.example.org", "-p", "2222", "carol@login.example.org"]


def test_a_port_that_is_none_is_a_sentence(in_place, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for module in (session, session_info):
        action, variables = in_place(module, jupyter_login_port="twenty-two")
        answer = action.run(task_vars=variables)
        assert answer["failed"] and "jupyter_login_port is 'twenty-two'" in answer["msg"]


def test_the_command_that_setup_shows_has_the_port_asked_for(in_place):
    action, variables = in_place(batch, {"local_port": 9123}, jupyter_login_host="login.{{ centre }}", centre="example.org")
    asked = {}
    action.program = lambda verb, request, task_vars: asked.update(request) or {"changed": False}
    action.run(task_vars=variables)
    assert "-L 127.0.0.1:9123:" in asked["connect_hint"] and "@login.example.org '~/.jupyter_connect'" in asked["connect_hint"]
    assert "http://127.0.0.1:9123/" in asked["connect_hint"]


@pytest.mark.parametrize("diff", [True, False])
def test_differences_are_shown_to_who_asks_for_them(in_place, diff):
    action, variables = in_place(parallel)
    action._task.diff = diff
    action.program = lambda *_: {"changed": True, "diff": [{"before": "", "after": "x"}]}
    assert ("diff" in action.run(task_vars=variables)) == diff


@pytest.mark.parametrize("module", [batch, parallel, session, session_info])
def test_each_action_says_in_words_why_the_login_node_did_not_do_it(in_place, module, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for error, cause in ((remote.ProgramFailed({"failed": True, "cause": "disk-full", "msg": "Full."}), "disk-full"),
                         (AnsibleConnectionFailure("Connection refused"), "unreachable")):
        action, variables = in_place(module)
        action.program = MagicMock(side_effect=error)
        answer = action.run(task_vars=variables)
        assert answer["failed"] and answer["cause"] == cause and answer["msg"]


def test_an_inventory_that_was_not_edited_is_told_from_a_network_that_is_down():
    def said(host):
        error = AnsibleConnectionFailure(f"Failed to connect to the host via ssh: ssh: Could not resolve hostname {host}: Name or service not known")
        return remote.reach_failure(error, host)["msg"]

    # Those of the inventory's examples and of the README.
    for host in ("login.example.org", "login.cluster.example"):
        assert "put your login node's own" in said(host) and "Correct the name" not in said(host)
    assert "Correct the name" in said("logni.site.org") and "put your" not in said("logni.site.org")
