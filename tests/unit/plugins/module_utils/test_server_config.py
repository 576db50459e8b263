# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import base64
import json
import os
import stat
import subprocess

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import server_config
from ansible_collections.hpc.jupyter.plugins.module_utils.failure import Failure

HASH = "sha1:0011:" + "a" * 40
OTHER = "sha1:0022:" + "b" * 40
PAD = "5a" * 4096


@pytest.fixture
def home(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def jupyter(home):
    directory = home / ".jupyter"
    directory.mkdir(mode=0o700)
    return directory


def mode(path):
    return stat.S_IMODE(os.stat(str(path)).st_mode)


def load(path):
    return json.loads(path.read_text())


def snapshot(directory):
    return dict(
        (str(path), (os.lstat(str(path)).st_mode, os.lstat(str(path)).st_mtime_ns, path.read_bytes() if path.is_file() else None))
        for path in directory.rglob("*"))


def test_a_fresh_home_gets_every_generation_of_the_names(home):
    answer = server_config.apply({"password_hash": HASH, "root_dir": "~/work"})
    assert answer["changed"]
    directory = home / ".jupyter"
    assert load(directory / "jupyter_server_config.json") == {
        "PasswordIdentityProvider": {"hashed_password": HASH},
        "ServerApp": {"password": HASH, "root_dir": str(home / "work")},
    }
    assert load(directory / "jupyter_notebook_config.json") == {
        "NotebookApp": {"password": HASH, "notebook_dir": str(home / "work")},
    }
    assert mode(directory) == mode(home / "work") == 0o700
    assert mode(directory / "jupyter_server_config.json") == mode(directory / "jupyter_notebook_config.json") == 0o600
    assert answer["backups"] == []


def test_the_second_time_nothing_is_touched(home):
    request = {"password_hash": HASH, "root_dir": "~/work", "settings": {"LabApp": {"news_url": None}}}
    server_config.apply(request)
    before = snapshot(home)
    answer = server_config.apply(request)
    assert not answer["changed"] and not answer["diff"] and not answer["actions"] and not answer["files"]
    assert snapshot(home) == before


def test_check_says_the_same_and_does_nothing(home):
    request = {"password_hash": HASH, "root_dir": "~/work", "settings": {"ServerApp": {"x": 1}},
               "certificate": {"certificate": "c", "key": "k", "before": "", "after": "new\n"}}
    said = server_config.apply(dict(request, check=True))
    assert snapshot(home) == {}
    assert server_config.apply(request) == said


def test_the_users_own_bytes_survive(jupyter):
    theirs = '{\n\t"ServerApp":   {"open_browser": false , "ratio": 1.50e1},\n\t"Mine": {"n": "caf\\u00e9"}}\n'
    path = jupyter / "jupyter_server_config.json"
    path.write_text(theirs)
    server_config.apply({"password_hash": HASH})
    now = path.read_text()
    for piece in ('"ServerApp":   {"open_browser": false , "ratio": 1.50e1', '"Mine": {"n": "caf\\u00e9"}'):
        assert piece in now
    assert load(path)["ServerApp"]["password"] == HASH


def test_a_value_of_theirs_is_kept_in_a_backup_that_others_cannot_read(jupyter):
    path = jupyter / "jupyter_server_config.json"
    theirs = json.dumps({"ServerApp": {"password": OTHER, "root_dir": "/theirs"}})
    path.write_text(theirs)
    path.chmod(0o644)
    answer = server_config.apply({"password_hash": HASH})
    assert len(answer["backups"]) == 1
    with open(answer["backups"][0]) as stream:
        assert stream.read() == theirs
    assert mode(answer["backups"][0]) == 0o600
    assert mode(path) == 0o600


def test_an_addition_needs_no_backup(jupyter):
    (jupyter / "jupyter_server_config.json").write_text('{"ServerApp": {"open_browser": false}}')
    assert server_config.apply({"password_hash": HASH})["backups"] == []


def test_modes_are_tightened_and_never_loosened(jupyter):
    server_config.apply({"password_hash": HASH})
    notebook, server = jupyter / "jupyter_notebook_config.json", jupyter / "jupyter_server_config.json"
    notebook.chmod(0o644)
    server.chmod(0o400)
    jupyter.chmod(0o775)
    answer = server_config.apply({"password_hash": OTHER})
    assert mode(notebook) == 0o600
    assert mode(server) & 0o077 == 0
    assert mode(jupyter) == 0o755
    assert answer["changed"]


def test_a_dotfile_managers_link_stays_one(jupyter, home):
    (home / "dotfiles").mkdir()
    real = home / "dotfiles" / "server.json"
    real.write_text("{}")
    link = jupyter / "jupyter_server_config.json"
    link.symlink_to(real)
    server_config.apply({"password_hash": HASH})
    assert link.is_symlink()
    assert load(real)["ServerApp"]["password"] == HASH


@pytest.mark.parametrize("text, words", [
    ('{\n  "ServerApp": {,}\n}', "line 2, column 17"),
    ("[]", "no JSON object"),
    (b"\xff{}", "not written in UTF-8"),
    ('{"ServerApp": 3}', "ServerApp is no JSON object"),
])
def test_a_file_that_is_no_configuration_is_refused_untouched(home, jupyter, text, words):
    path = jupyter / "jupyter_server_config.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = snapshot(home)
    for function in (server_config.inspect, server_config.apply):
        with pytest.raises(Failure) as caught:
            function({"password_hash": HASH, "root_dir": "~/new", "pad": PAD})
        assert str(path) in caught.value.message and words in caught.value.message
    assert snapshot(home) == before


def test_an_empty_file_is_an_empty_object(jupyter):
    (jupyter / "jupyter_server_config.json").write_text("")
    server_config.apply({"password_hash": HASH})
    assert load(jupyter / "jupyter_server_config.json")["ServerApp"] == {"password": HASH}


def test_settings_go_where_their_class_is_known(jupyter):
    (jupyter / "jupyter_server_config.json").write_text(json.dumps({"ServerApp": {"tornado_settings": {"theirs": 1}, "x": 1}}))
    server_config.apply({"settings": {
        "ServerApp": {"tornado_settings": {"ours": 2}}, "NotebookApp": {"y": 1}, "KernelManager": {"transport": "ipc"}, "Empty": {}}})
    assert load(jupyter / "jupyter_server_config.json") == {
        "ServerApp": {"tornado_settings": {"theirs": 1, "ours": 2}, "x": 1}, "KernelManager": {"transport": "ipc"}, "Empty": {}}
    assert load(jupyter / "jupyter_notebook_config.json") == {
        "NotebookApp": {"y": 1}, "KernelManager": {"transport": "ipc"}, "Empty": {}}


def test_a_class_without_settings_empties_nothing(jupyter):
    (jupyter / "jupyter_server_config.json").write_text('{"ServerApp": {"x": 1}}')
    server_config.apply({"settings": {"ServerApp": {}}})
    assert load(jupyter / "jupyter_server_config.json") == {"ServerApp": {"x": 1}}


def test_a_password_set_by_hand_reaches_the_other_generations(jupyter):
    (jupyter / "jupyter_notebook_config.json").write_text(json.dumps({"NotebookApp": {"password": OTHER}}))
    server_config.apply({})
    assert load(jupyter / "jupyter_server_config.json")["PasswordIdentityProvider"] == {"hashed_password": OTHER}


def test_a_plain_text_in_the_place_of_a_hash_is_not_spread(jupyter):
    (jupyter / "jupyter_notebook_config.json").write_text('{"NotebookApp": {"password": "opensesame"}}')
    server_config.apply({})
    assert os.listdir(str(jupyter)) == ["jupyter_notebook_config.json"]


def test_inspect_returns_hashes_only_under_the_pad(jupyter):
    server_config.apply({"password_hash": HASH})
    (jupyter / "jupyter_notebook_config.json").write_text(json.dumps({"NotebookApp": {"password": OTHER}}))
    pad = os.urandom(4096)
    answer = server_config.inspect({"pad": base64.b16encode(pad).decode()})
    text = json.dumps(answer)
    assert HASH not in text and OTHER not in text
    found = []
    for one in answer["passwords"]:
        sealed = base64.b64decode(one["sealed"])
        found.append(bytes(bytearray(byte ^ pad[index] for index, byte in enumerate(sealed))).decode())
        pad = pad[len(sealed):]
    assert found == [HASH, HASH, OTHER]


def test_what_is_longer_than_the_pad_is_not_sent(jupyter):
    (jupyter / "jupyter_server_config.json").write_text(json.dumps({"ServerApp": {"password": "a:b:" + "c" * 5000}}))
    assert [one["sealed"] for one in server_config.inspect({"pad": PAD})["passwords"]] == [None]


def test_no_secret_shows_in_what_is_returned(jupyter):
    (jupyter / "jupyter_server_config.json").write_text(json.dumps({
        "ServerApp": {"password": OTHER, "root_dir": "/old"}, "Mine": {"api_token": "topsecret", "about": {"x": 1}}}))
    answer = server_config.apply({
        "password_hash": HASH, "root_dir": "~/new", "settings": {"Mine": {"api_token": "newsecret", "about": [{"password": "inlist"}]}}})
    text = json.dumps(answer)
    for secret in (HASH, OTHER, "topsecret", "newsecret", "inlist"):
        assert secret not in text
    assert "/old" in answer["diff"][0]["before"] and str(answer["root_dir"]) in answer["diff"][0]["after"]
    assert answer["diff"][0]["before"] != answer["diff"][0]["after"]


def test_a_new_password_takes_the_cookie_secrets_with_it(home, jupyter, monkeypatch):
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(home / "elsewhere"))
    session = jupyter / "batch" / "sessions" / "default" / "runtime"
    default = home / ".local" / "share" / "jupyter" / "runtime"
    secrets = [home / "elsewhere" / "jupyter_cookie_secret", default / "notebook_cookie_secret",
               session / "jupyter_cookie_secret", home / "own_secret"]
    for path in secrets:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    (session / "kernel-1.json").write_text("x")
    (session.parent / "server.json").write_text('{"phase": "ready"}')
    (jupyter / "jupyter_server_config.json").write_text(json.dumps({"ServerApp": {"cookie_secret_file": str(home / "own_secret")}}))
    server_config.apply({"password_hash": HASH})
    assert all(path.exists() for path in secrets)
    server_config.apply({"password_hash": OTHER, "forget_logins": True, "check": True})
    assert all(path.exists() for path in secrets)
    answer = server_config.apply({"password_hash": OTHER, "forget_logins": True})
    assert not any(path.exists() for path in secrets)
    assert (session / "kernel-1.json").exists()
    assert any("Session 'default'" in warning for warning in answer["warnings"])


def test_a_password_in_a_py_file_is_pointed_at(jupyter):
    (jupyter / "jupyter_server_config.py").write_text("# c.ServerApp.password = 'no'\nx = 1\nc.ServerApp.password = 'sha1:x:y'\n")
    warnings = server_config.inspect({"pad": PAD})["warnings"]
    assert len(warnings) == 1 and "jupyter_server_config.py line 3 sets a password" in warnings[0]
    assert "sha1" not in warnings[0]


def test_another_config_dir_in_the_login_shell_is_pointed_at(home, monkeypatch):
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", "/site/config")
    assert "/site/config" in server_config.inspect({"pad": PAD})["warnings"][0]
    assert server_config.inspect({"pad": PAD, "config_dir": "~/other"})["warnings"] == []


def test_root_dir_may_name_a_variable_of_the_login_node(home, monkeypatch):
    monkeypatch.setenv("SCRATCH", str(home / "scratch"))
    assert server_config.apply({"root_dir": "$SCRATCH/nb"})["root_dir"] == str(home / "scratch" / "nb")
    with pytest.raises(Failure, match="NOSUCH is not set there"):
        server_config.apply({"root_dir": "$NOSUCH/nb"})


def test_a_root_dir_that_can_not_be_is_refused_before_anything_changes(home, monkeypatch):
    (home / "file").write_text("x")
    # Root may write anywhere, and tests may run as root.
    monkeypatch.setattr(os, "access", lambda path, how: path != "/")
    for path in ("~/file", "~/file/below", "/not-there/x", "~someone/x"):
        with pytest.raises(Failure) as caught:
            server_config.apply({"password_hash": HASH, "root_dir": path})
        assert "jupyter_root_dir" in caught.value.message
    assert not (home / ".jupyter").exists()


def test_config_dir_moves_everything(home):
    answer = server_config.apply({"password_hash": HASH, "config_dir": "~/site/jupyter",
                                  "certificate": {"certificate": "c", "key": "k"}})
    assert sorted(os.listdir(str(home / "site" / "jupyter"))) == [
        "hpc-jupyter.crt", "hpc-jupyter.key", "jupyter_notebook_config.json", "jupyter_server_config.json"]
    assert not (home / ".jupyter").exists()
    assert answer["certfile"] == str(home / "site" / "jupyter" / "hpc-jupyter.crt")


@pytest.mark.parametrize("facts, expected", [
    (None, None),
    ({"jupyter": None}, None),
    ({"jupyter": {"notebook": "5.7.8", "argon2-cffi": None, "jupyter_server": None}}, False),
    ({"jupyter": {"notebook": "5.7.8", "argon2-cffi": "21.1", "jupyter_server": None}}, False),
    ({"jupyter": {"notebook": "6.5.7", "argon2-cffi": "21.1", "jupyter_server": None}}, True),
    ({"jupyter": {"notebook": None, "argon2-cffi": "25.1", "jupyter_server": "2.21.0"}}, True),
])
def test_what_setup_found_tells_whether_argon2_will_do(jupyter, facts, expected):
    (jupyter / "batch").mkdir()
    if facts is not None:
        (jupyter / "batch" / "site.json").write_text(json.dumps(facts))
    assert server_config.inspect({"pad": PAD})["argon2"] is expected


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Two self-signed certificates with their keys, one key locked by a pass phrase."""
    directory = tmp_path_factory.mktemp("pairs")
    made = []
    for number in "12":
        certificate, key = directory / (number + ".crt"), directory / (number + ".key")
        subprocess.check_call(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate)],
            stderr=subprocess.DEVNULL)
        made.append((certificate.read_text(), key.read_text()))
    subprocess.check_call(["openssl", "rsa", "-aes128", "-passout", "pass:word", "-in", str(directory / "1.key"), "-out", str(directory / "locked")],
                          stderr=subprocess.DEVNULL)
    return made + [(made[0][0], (directory / "locked").read_text())]


def test_a_pair_is_written_for_its_owner_only(home, pairs):
    certificate, key = pairs[0]
    server_config.apply({"certificate": {"certificate": certificate, "key": key, "before": "", "after": "x\n"}})
    found = server_config.inspect({"pad": PAD})["certificate"]
    assert found["key"] == "good" and found["pem"] == certificate
    assert mode(home / ".jupyter" / "hpc-jupyter.key") == 0o600
    assert key not in json.dumps(server_config.inspect({"pad": PAD}))


@pytest.mark.parametrize("damage, expected", [
    (lambda pairs, crt, key: key.unlink(), "missing"),
    (lambda pairs, crt, key: key.write_text(pairs[1][1]), "mismatch"),
    (lambda pairs, crt, key: key.write_text("nonsense"), "damaged"),
    (lambda pairs, crt, key: key.write_text(""), "damaged"),
    (lambda pairs, crt, key: key.write_text(pairs[2][1]), "damaged"),
    (lambda pairs, crt, key: crt.write_text("nonsense"), "damaged"),
    (lambda pairs, crt, key: key.chmod(0o640), "exposed"),
])
def test_a_bad_pair_is_told(jupyter, pairs, damage, expected):
    server_config.apply({"certificate": {"certificate": pairs[0][0], "key": pairs[0][1]}})
    damage(pairs, jupyter / "hpc-jupyter.crt", jupyter / "hpc-jupyter.key")
    assert server_config.inspect({"pad": PAD})["certificate"]["key"] == expected


def test_a_missing_certificate_is_none(home):
    assert server_config.inspect({"pad": PAD})["certificate"]["pem"] is None
