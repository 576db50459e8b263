# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

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
