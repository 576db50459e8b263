# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import json

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils.keeper import settings
from ansible_collections.hpc.jupyter.plugins.module_utils.keeper.job import DEFAULTS
from ansible_collections.hpc.jupyter.plugins.module_utils.keeper.jupyter import Jupyter


def test_settings_in_the_words_of_either_generation():
    given = {"ServerApp": {"root_dir": "/a", "x": 1}, "NotebookApp.y": 2, "iopub_data_rate_limit": 3}
    assert settings.extra_settings(given, "notebook") == {"NotebookApp": {"notebook_dir": "/a", "x": 1, "y": 2, "iopub_data_rate_limit": 3}}
    assert settings.extra_settings({"NotebookApp": {"notebook_dir": "/a"}}, "jupyter_server") == {"ServerApp": {"root_dir": "/a"}}


def test_extra_settings_can_not_undo_what_keeps_the_server_closed():
    job = dict(DEFAULTS, root_dir="/r", settings={
        "ServerApp": {"token": "", "certfile": "/x", "tornado_settings": {"headers": {"X-Jupyter-Session": "no", "A": "b"}}, "websocket_ping_interval": 5},
        "IdentityProvider": {"token": ""}, "KernelManager": {"shutdown_wait_time": 9}})
    jupyter = Jupyter("jupyterlab", "jupyter_server", "2.21.1")
    sections = settings.server_settings(jupyter, {"kind": "socket", "path": "/s"}, job, "secret", "the-id", "/c")["jupyter_server_config.json"]
    assert sections["PasswordIdentityProvider"]["token"] == sections["IdentityProvider"]["token"] == "secret"
    assert sections["ServerApp"]["certfile"] == "" and sections["ServerApp"]["websocket_ping_interval"] == 5
    assert sections["ServerApp"]["tornado_settings"]["headers"] == {"X-Jupyter-Session": "the-id", "A": "b"}
    assert sections["KernelManager"] == {"transport": "ipc", "shutdown_wait_time": 9}


@pytest.mark.parametrize("own, started, told", [
    (None, "", None), ("mine", "mine", None), ("gone", "", ""), ("mine\u00e9", "mine\u00e9", None), (5, "", ""), (["mine"], "", ""), ({"a": 1}, "", "")])
@pytest.mark.parametrize("flavour, name, section, trait", [
    ("jupyter_server", "jupyter_server_config.json", "ServerApp", "root_dir"),
    ("notebook", "jupyter_notebook_config.json", "NotebookApp", "notebook_dir")])
def test_a_root_dir_of_the_user_that_no_server_could_start_in_is_passed_over(tmp_path, monkeypatch, own, started, told, flavour, name, section, trait):
    monkeypatch.setenv("HOME", str(tmp_path))
    for directory in ("mine", "mine\u00e9"):
        (tmp_path / directory).mkdir()
    value = str(tmp_path / own) if isinstance(own, str) else own
    (tmp_path / name).write_text(json.dumps({section: {trait: value}}))
    found = settings.directories(dict(DEFAULTS, config_dir=str(tmp_path)), flavour)
    assert found == (str(tmp_path / started), told if told is None else str(tmp_path / told))
