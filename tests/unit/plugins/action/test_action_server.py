# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import json
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsiblePromptInterrupt, AnsiblePromptNoninteractive
from ansible_collections.hpc.jupyter.plugins.action import server
from ansible_collections.hpc.jupyter.plugins.module_utils import failure, server_config
from ansible_collections.hpc.jupyter.plugins.plugin_utils import certificate, password
from ansible_collections.hpc.jupyter.plugins.plugin_utils.remote import ProgramFailed

ROOT = Path(__file__).resolve().parents[4]
SECRET = "correct horse battery"


class Login:
    """A login node in this process: the program's own functions on a home of the test's."""

    def __init__(self, home):
        self.home = home
        self.calls = []

    def program(self, verb, request, task_vars):
        self.calls.append((verb, request))
        json.dumps(request)
        try:
            return getattr(server_config, verb.partition("_")[2])(json.loads(json.dumps(request)))
        except failure.Failure as error:
            raise ProgramFailed(error.as_result()) from None

    def document(self, name):
        return json.loads((self.home / ".jupyter" / f"jupyter_{name}_config.json").read_text())

    @property
    def hashes(self):
        return {
            self.document("server")["PasswordIdentityProvider"]["hashed_password"],
            self.document("server")["ServerApp"]["password"],
            self.document("notebook")["NotebookApp"]["password"],
        }


@pytest.fixture
def login(tmp_path, monkeypatch):
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "laptop"))
    (tmp_path / "home").mkdir()
    return Login(tmp_path / "home")


@pytest.fixture
def setup(login):
    def run(check=False, diff=True, typed=None, **arguments):
        login.calls.clear()
        task = MagicMock(args=arguments, async_val=0, check_mode=check, diff=diff)
        action = server.ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
        action.program = login.program
        action._display = MagicMock()
        action._display.prompt_until.side_effect = typed or AnsiblePromptNoninteractive("no terminal")
        result = action.run(task_vars={"inventory_hostname": "login1"})
        text = json.dumps(result)
        assert SECRET not in text and "PRIVATE" not in text
        assert not re.search(r"argon2:\$\w+\$v=|sha1:[0-9a-f]+:", text)
        return result

    return run


def tree(path):
    return {str(one): one.read_bytes() for one in path.rglob("*") if one.is_file()}


def test_first_run_sets_everything_and_the_second_looks_once(setup, login):
    first = setup(password=SECRET, root_dir="~/work")
    assert first["changed"] and (first["password"], first["certificate"]) == ("set", "issued")
    (hashed,) = login.hashes
    assert password.algorithm_of(hashed) == "argon2" and password.verify(SECRET, hashed)
    assert Path(first["ca_certificate"]).is_file()
    before = tree(login.home)
    second = setup(password=SECRET, root_dir="~/work")
    assert [verb for verb, _request in login.calls] == ["server_inspect"]
    assert (second["changed"], second["password"], second["certificate"]) == (False, "kept", "kept")
    assert second["certificate_expires"] == first["certificate_expires"]
    assert second["files"] == second["actions"] == second["diff"] == []
    assert tree(login.home) == before


def test_neither_password_nor_its_hash_goes_to_the_login_node_in_clear(setup, login):
    setup(password=SECRET)
    assert SECRET not in json.dumps(login.calls)


def test_check_mode_tells_what_a_run_would_do(setup, login, tmp_path):
    said = setup(check=True, password=SECRET, root_dir="~/work")
    assert tree(tmp_path) == {}
    done = setup(password=SECRET, root_dir="~/work")
    for key in ("changed", "password", "certificate", "files", "actions"):
        assert said[key] == done[key], key
    assert [one["before_header"] for one in said["diff"]] == [one["before_header"] for one in done["diff"]]
    assert setup(check=True, password=SECRET, root_dir="~/work")["changed"] is False


def test_a_changed_password_logs_every_browser_out(setup, login):
    setup(password=SECRET)
    secret = login.home / ".local" / "share" / "jupyter" / "runtime" / "jupyter_cookie_secret"
    secret.parent.mkdir(parents=True)
    secret.write_text("x")
    assert setup(password=SECRET)["changed"] is False and secret.exists()
    result = setup(password=SECRET + "2")
    assert result["password"] == "changed" and not secret.exists()
    (hashed,) = login.hashes
    assert password.verify(SECRET + "2", hashed)


def test_a_ready_hash_is_taken_as_it_is(setup, login):
    hashed = password.hash_password(SECRET, "sha1")
    assert setup(password_hash=hashed)["password"] == "set"
    assert login.hashes == {hashed}
    assert setup(password_hash=hashed)["changed"] is False
    assert setup()["password"] == "kept"


def test_without_knowledge_of_jupyter_a_hash_that_verifies_is_kept(setup, login):
    hashed = password.hash_password(SECRET, "sha1")
    setup(password_hash=hashed)
    assert setup(password=SECRET)["changed"] is False
    assert setup(password=SECRET, password_algorithm="argon2")["password"] == "rehashed"


def found(login, **versions):
    (login.home / ".jupyter" / "batch").mkdir(parents=True, exist_ok=True)
    (login.home / ".jupyter" / "batch" / "site.json").write_text(json.dumps({"jupyter": versions}))


def test_a_jupyter_without_argon2_gets_sha1(setup, login):
    found(login, notebook="5.7.8")
    setup(password=SECRET)
    (hashed,) = login.hashes
    assert password.algorithm_of(hashed) == "sha1" and password.verify(SECRET, hashed)
    found(login, jupyter_server="2.21.0", **{"argon2-cffi": "25.1"})
    assert setup(password=SECRET)["password"] == "rehashed"
    (hashed,) = login.hashes
    assert password.algorithm_of(hashed) == "argon2"
    found(login, notebook="5.7.8")
    assert "set jupyter_password" in setup()["msg"].lower()
    assert "sha1" in setup(password_hash=hashed)["msg"]
    assert setup(password=SECRET)["password"] == "rehashed"


def test_one_of_several_passwords_that_fits_wins(setup, login):
    setup(password=SECRET)
    (hashed,) = login.hashes
    path = login.home / ".jupyter" / "jupyter_notebook_config.json"
    path.write_text(json.dumps({"NotebookApp": {"password": password.hash_password("another one", "sha1")}}))
    result = setup(password=SECRET)
    assert result["password"] == "changed" and login.hashes == {hashed}
    assert len(result["backups"]) == 1


@pytest.mark.parametrize("arguments, words", [
    ({"password": ""}, "empty"),
    ({"password": None}, "empty"),
    ({"password": "line\n"}, "line break"),
    ({"password": {"inner": SECRET}}, "no text"),
    ({"password_hash": [SECRET]}, "no text"),
    ({"password": True}, "no text"),
    ({"password_hash": ""}, "empty"),
    ({"password_hash": "opensesame"}, "none that Jupyter reads"),
    ({"password": SECRET, "settings": {"ServerApp": {"port": 1}}}, "its own endpoint"),
    ({"password": SECRET, "settings": {"NotebookApp": {"certfile": "x"}}}, "its own endpoint"),
    ({"password": SECRET, "settings": {"PasswordIdentityProvider": {"hashed_password": "x"}}}, "jupyter_password_hash"),
    ({"password": SECRET, "settings": {"ServerApp": 1}}, "without a dict of its settings"),
    ({"password": SECRET, "certificate_days": 20}, "jupyter_certificate_renew_days"),
    ({}, "ansible-vault"),
])
def test_what_can_not_be_is_refused_and_changes_nothing(setup, login, arguments, words):
    result = setup(**arguments)
    assert result["failed"] and words in result["msg"] and "Nothing was changed" in result["msg"]
    assert "opensesame" not in result["msg"]
    assert tree(login.home) == {}


def test_a_broken_file_of_the_users_is_told(setup, login):
    (login.home / ".jupyter").mkdir()
    (login.home / ".jupyter" / "jupyter_server_config.json").write_text('{"a": }')
    before = tree(login.home)
    assert "line 1, column 7" in setup(password=SECRET)["msg"]
    assert tree(login.home) == before


def test_a_password_is_asked_for_only_when_none_is_set(setup, login):
    result = setup(typed=[b"", b"first try", b"second try", SECRET.encode(), SECRET.encode()])
    assert result["password"] == "set"
    (hashed,) = login.hashes
    assert password.verify(SECRET, hashed)
    assert setup(typed=[AssertionError("asked again")])["password"] == "kept"


def test_a_setup_without_any_password_is_told_at_its_start(setup, login):
    refused = setup(password_only=True)
    assert refused["failed"] and refused["cause"] == "no-password" and refused["msg"].endswith("Nothing was changed on login1.")
    # Where something came before, only this step can be spoken of.
    assert setup()["msg"].endswith("Nothing was changed on login1 by this step.")
    assert setup(password_only=True, password="")["cause"] == "password"
    assert setup(password_only=True, typed=[b""]) == {"changed": False}
    assert setup(password_only=True, check=True) == {"changed": False}
    assert tree(login.home) == {}


def test_a_password_that_is_known_costs_no_call_at_the_start(setup, login):
    assert setup(password_only=True, password=SECRET) == {"changed": False} and login.calls == []
    setup(password=SECRET)
    assert setup(password_only=True) == {"changed": False} and [verb for verb, _request in login.calls] == ["server_inspect"]


def test_nobody_asks_in_check_mode(setup, login):
    result = setup(check=True, typed=[AssertionError("asked")])
    assert result["password"] == "set" and "asked for" in result["warnings"][0]


def test_asking_ends(setup, login):
    assert "3 attempts" in setup(typed=[b"a1", b"a2"] * 9)["msg"]
    assert "Interrupted" in setup(typed=AnsiblePromptInterrupt("ctrl-c"))["msg"]
    assert tree(login.home) == {}


@pytest.mark.parametrize("damage, reason", [
    (lambda crt, key, ca: crt.unlink(), "missing"),
    (lambda crt, key, ca: crt.write_text("x"), "damaged"),
    (lambda crt, key, ca: key.unlink(), "key"),
    (lambda crt, key, ca: key.write_text(certificate.Authority.open(ca).issue().key), "key"),
    (lambda crt, key, ca: key.chmod(0o644), "exposed"),
    (lambda crt, key, ca: crt.write_text(certificate.Authority.open(ca.parent / "another").issue().certificate), "issuer"),
])
def test_a_bad_certificate_is_replaced_by_one_that_fits(setup, login, tmp_path, damage, reason):
    setup(password=SECRET)
    crt, key = login.home / ".jupyter" / "hpc-jupyter.crt", login.home / ".jupyter" / "hpc-jupyter.key"
    damage(crt, key, tmp_path / "laptop" / "hpc.jupyter")
    if reason == "issuer":
        # A pair that fits, of somebody else.
        other = certificate.Authority.open(tmp_path / "laptop" / "another").issue()
        crt.write_text(other.certificate)
        key.write_text(other.key)
    result = setup(password=SECRET)
    assert result["certificate_reason"] == certificate.REASONS[reason]
    assert result["password"] == "kept" and result["files"] == [str(crt), str(key)]
    assert key.stat().st_mode & 0o777 == 0o600
    authority = certificate.Authority.open(tmp_path / "laptop" / "hpc.jupyter")
    state = server_config.inspect({"pad": ""})["certificate"]
    assert certificate.needs_renewal(state["pem"], authority, state["key"]) is None
    assert setup(password=SECRET)["changed"] is False


def test_a_certificate_near_its_end_is_renewed(setup, login):
    setup(password=SECRET, certificate_days=40)
    assert setup(password=SECRET)["certificate"] == "kept"
    assert setup(password=SECRET, certificate_renew_days=45)["certificate"] == "renewed"


def test_another_place_for_the_authority(setup, login, tmp_path):
    result = setup(password=SECRET, ca_dir=str(tmp_path / "site-ca"))
    assert result["ca_certificate"] == str(tmp_path / "site-ca" / "ca.crt")
    assert not (tmp_path / "laptop").exists()


def test_an_authority_that_can_not_be_used_stops_before_any_change(setup, login, tmp_path):
    (tmp_path / "file").write_text("x")
    result = setup(password=SECRET, ca_dir=str(tmp_path / "file"))
    assert "jupyter_ca_dir" in result["msg"] and tree(login.home) == {}


def test_a_clock_that_is_off_is_told(setup, login, monkeypatch):
    monkeypatch.setattr(server_config, "time", MagicMock(**{"time.return_value": time.time() - 7200}))
    assert "120 minutes behind the one here" in setup(password=SECRET)["warnings"][0]


# The rest runs Ansible itself.

@pytest.fixture
def play(tmp_path):
    collections = tmp_path / "collections" / "ansible_collections" / "hpc"
    collections.mkdir(parents=True)
    (collections / "jupyter").symlink_to(ROOT)
    home = tmp_path / "home"
    home.mkdir()
    playbook = tmp_path / "play.yml"
    playbook.write_text(
        "- hosts: localhost\n  connection: local\n  gather_facts: false\n  roles: [hpc.jupyter.server]\n"
        "  tasks:\n    - ansible.builtin.debug: {var: jupyter_server}\n")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "JUPYTER_", "XDG_"))},
        "HOME": str(home), "ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "collections"), "ANSIBLE_HOME": str(tmp_path / "ansible"),
        "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "0",
    }
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", str(playbook)]
    return command, environment, home


def test_nothing_secret_shows_at_the_highest_verbosity(play, tmp_path):
    command, environment, home = play
    (tmp_path / "vars.yml").write_text(json.dumps({"jupyter_password": SECRET}))
    seen = ""
    for arguments in (["--diff"], ["--diff"], ["--diff", "-e", "jupyter_password_algorithm=sha1"]):
        done = subprocess.run(
            [*command, "-vvvvv", "-e", f"@{tmp_path}/vars.yml", *arguments], env={**environment, "ANSIBLE_DEBUG": "1"},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:]
        seen += done.stdout
        for path in (home / ".jupyter").glob("*.json"):
            for hashed in re.findall(r"(?:argon2:|sha1:)[^\"]+", path.read_text()):
                assert hashed not in seen
    assert "(hidden, new)" in seen
    assert '"password": "rehashed"' in seen
    assert SECRET not in seen and "PRIVATE KEY" not in seen
    for path in home.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes()


def test_a_vaulted_password_serves_and_a_wrong_kind_of_one_does_not_show(play, tmp_path):
    command, environment, home = play
    (tmp_path / "key").write_text("vault key")
    vault = ["--vault-password-file", str(tmp_path / "key")]
    vaulted = subprocess.run(
        [str(Path(command[0]).with_name("ansible-vault")), "encrypt_string", *vault, "--stdin-name", "jupyter_password"],
        env=environment, input=SECRET, stdout=subprocess.PIPE, text=True, check=True).stdout
    for variables, works in ((vaulted, True), (json.dumps({"jupyter_password": {"inner": SECRET}}), False)):
        (tmp_path / "vars.yml").write_text(variables)
        done = subprocess.run([*command, *vault, "-vvv", "-e", f"@{tmp_path}/vars.yml"], env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        assert (done.returncode == 0) is works, done.stdout[-3000:]
        assert SECRET not in done.stdout
    hashed = json.loads((home / ".jupyter" / "jupyter_server_config.json").read_text())["ServerApp"]["password"]
    assert password.verify(SECRET, hashed)


def typed_at_the_terminal(command, environment, line):
    """Run a command on a terminal of its own and type a line at each question; return the exit status and what was shown."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(command[0], command, environment)
    seen, deadline = b"", time.monotonic() + 120
    while True:
        assert time.monotonic() < deadline, seen.decode()
        if select.select([terminal], [], [], 0.5)[0]:
            try:
                piece = os.read(terminal, 4096)
            except OSError:
                break
            if not piece:
                break
            seen += piece
        # Between switching the echo off and reading, Ansible throws away what was typed too early, so a quiet half second
        # with the prompt still there means: type (again). By then every host that would ask has asked, too.
        elif b"(not shown):" in seen and not termios.tcgetattr(terminal)[3] & termios.ECHO:
            os.write(terminal, line)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(terminal)
    return status, seen


def test_a_first_setup_with_nobody_to_ask_deploys_nothing(play):
    command, environment, home = play
    command[-1:] = ["-e", "jupyter_hosts=localhost jupyter_preflight=false jupyter_scheduler=local", "-c", "local", "hpc.jupyter.setup"]
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 2 and "Nothing was changed on localhost." in done.stdout, done.stdout
    assert not (home / ".jupyter").exists() and not (home / ".jupyter_connect").exists()
    status, seen = typed_at_the_terminal(command, environment, b"correct horse\r")
    assert status == 0 and (home / ".jupyter_connect").exists(), seen.decode()
    assert seen.count(b"you will be asked for one") == seen.count(b"Choose a password") == 1, seen.decode()


def test_the_terminal_is_asked_twice_and_shows_nothing(play):
    command, environment, home = play
    status, seen = typed_at_the_terminal(command, environment, b"correct horse\r")
    assert status == 0, seen.decode()
    assert seen.count(b"(not shown):") == seen.count(b"The same again, for ") == 1
    assert b"horse" not in seen
    hashed = json.loads((home / ".jupyter" / "jupyter_server_config.json").read_text())["ServerApp"]["password"]
    assert password.verify("correct horse", hashed)


def test_a_terminal_that_is_closed_at_the_question_leaves_no_process(play):
    command, environment, _home = play
    # The end of this pipe that is written to stays open in every process of the run, and only there.
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(command[0], command, environment)
    os.close(writing)
    seen, deadline = b"", time.monotonic() + 120
    while b"(not shown):" not in seen or termios.tcgetattr(terminal)[3] & termios.ECHO:
        assert time.monotonic() < deadline, seen.decode()
        if select.select([terminal], [], [], 0.1)[0]:
            seen += os.read(terminal, 4096)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0
    assert select.select([reading], [], [], 30)[0], "a process of the run is still there"
    assert os.read(reading, 1) == b""
    os.close(reading)


def test_one_host_after_the_other_asks(play, tmp_path):
    command, environment, _home = play
    playbook = Path(command[-1])
    playbook.write_text(playbook.read_text().replace("hosts: localhost", "hosts: all"))
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(json.dumps({"all": {
        "hosts": {name: {"jupyter_config_dir": str(tmp_path / name)} for name in ("carol", "dave", "erin")},
        "vars": {"ansible_python_interpreter": sys.executable}}}))
    command[command.index("-i") + 1] = str(inventory)
    status, seen = typed_at_the_terminal(command, environment, b"correct horse\r")
    assert status == 0, seen.decode()
    prompts = re.findall(rb"Choose a password for Jupyter on (\w+)|The same again, for (\w+)", seen)
    hosts = [(chosen or again).decode() for chosen, again in prompts]
    assert len(hosts) == 6 and sorted(hosts[::2]) == ["carol", "dave", "erin"] and hosts[::2] == hosts[1::2], seen.decode()


def test_the_directory_of_the_authority_may_be_named_with_a_tilde_and_variables(setup, tmp_path, monkeypatch):
    monkeypatch.setenv("SITE", "example.org")
    assert setup(password=SECRET, ca_dir="~/ca-$SITE")["ca_certificate"] == str(tmp_path / "home" / "ca-example.org" / "ca.crt")
