# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import json
import shutil
import subprocess
from unittest.mock import MagicMock

import pytest
from ansible_collections.hpc.jupyter.plugins.action import trust
from ansible_collections.hpc.jupyter.plugins.plugin_utils import certificate

pytestmark = pytest.mark.skipif(not shutil.which("certutil"), reason="certutil (libnss3-tools) is not installed")


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)

    def run(check=False, transport="local", **arguments):
        task = MagicMock(args=arguments, async_val=0, check_mode=check, diff=True)
        action = trust.ActionModule(task, MagicMock(transport=transport), MagicMock(), MagicMock(), MagicMock(), MagicMock())

        def command(line, executable):
            done = subprocess.run([executable, "-c", line], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
            return {"rc": done.returncode, "stdout": done.stdout, "stderr": done.stderr}

        action._low_level_execute_command = command
        action._display = MagicMock()
        result = action.run(task_vars={})
        run.shown = [call.args[0] for call in action._display.display.call_args_list]
        json.dumps(result)
        return result

    return run


@pytest.fixture
def profile(tmp_path):
    path = tmp_path / ".mozilla" / "firefox" / "x.default"
    path.mkdir(parents=True)
    subprocess.run(["certutil", "-N", "-d", f"sql:{path}", "--empty-password"], check=True)
    return path


def listed(profile):
    return "Jupyter of" in subprocess.run(["certutil", "-L", "-d", f"sql:{profile}"], capture_output=True, text=True, check=False).stdout


def test_there_and_back_each_once(run, profile):
    assert run(check=True, stores=["firefox"])["changed"] and not listed(profile)
    first = run(stores=["firefox"])
    assert first["changed"] and listed(profile)
    assert first["stores"] == [{"kind": "firefox", "path": str(profile), "state": "trusted", "changed": True}]
    assert first["diff"][0]["before"] != first["diff"][0]["after"]
    assert run(stores=["firefox"])["changed"] is False
    assert run(check=True, stores=["firefox"], state="absent")["changed"] and listed(profile)
    assert run(stores=["firefox"], state="absent")["changed"] and not listed(profile)
    assert run(stores=["firefox"], state="absent")["changed"] is False


def test_it_is_said_which_browser_is_changed_and_which_is_not_there(run, profile, monkeypatch):
    monkeypatch.setattr(trust.trust, "_CHROMIUM_COMMANDS", ())

    def said(**arguments):
        run(**arguments)
        return run.shown

    store = f"Firefox ({profile}): "
    assert said(check=True) == [store + "would trust the authority.", "Chromium: none found."]
    assert said() == [store + "trusts the authority now. Restart the browser if it is running.", "Chromium: none found."]
    assert said(stores=["firefox"]) == [store + "trusts the authority already."]
    assert said(check=True, state="absent")[0] == store + "would trust the authority no more."
    assert said(state="absent")[0] == store + "trusts the authority no more. Restart the browser if it is running."
    assert said(state="absent")[0] == store + "does not trust the authority, as before."
    (profile / "cert9.db").write_text("nonsense")
    assert said()[0] == store + "could not be read or changed, as the warning says."


def test_the_authority_is_the_one_that_setup_uses(run, profile, tmp_path):
    run(stores=["firefox"])
    assert certificate.Authority.open().created is False
    assert run(stores=["firefox"], ca_dir="~/elsewhere")["ca_certificate"] == str(tmp_path / "elsewhere" / "ca.crt")


def test_check_mode_makes_no_authority(run, profile, tmp_path):
    run(check=True, stores=["firefox"])
    assert not (tmp_path / ".local").exists()


def test_one_bad_store_does_not_stop_the_others(run, profile, tmp_path):
    bad = tmp_path / ".mozilla" / "firefox" / "a.broken"
    bad.mkdir()
    (bad / "cert9.db").write_text("nonsense")
    result = run(stores=["firefox"])
    assert not result.get("failed") and listed(profile)
    assert [one["state"] for one in result["stores"]] == ["failed", "trusted"]
    assert str(bad) in result["warnings"][0]
    shutil.rmtree(profile)
    assert run(stores=["firefox"])["cause"] == "store"


def test_nothing_to_trust_it_is_told(run, tmp_path):
    result = run(stores=["firefox"])
    assert result["failed"] and f"Import {tmp_path}/.local/share/hpc.jupyter/ca.crt by hand" in result["msg"]


def test_without_an_authority_there_is_nothing_to_take_away(run, profile):
    result = run(state="absent", stores=["firefox"])
    assert result["changed"] is False and result["warnings"]


def test_only_on_this_computer(run):
    assert run(transport="ssh")["cause"] == "not-local"


def test_auto_is_not_lost_beside_another_store(run, profile, tmp_path, monkeypatch):
    monkeypatch.setenv("CA", str(tmp_path / "authority"))
    chromium = tmp_path / ".pki" / "nssdb"
    chromium.mkdir(parents=True)
    subprocess.run(["certutil", "-N", "-d", f"sql:{chromium}", "--empty-password"], check=True)
    assert {one["kind"] for one in run(check=True, stores=["auto", "firefox"], ca_dir="$CA")["stores"]} == {"chromium", "firefox"}


def test_the_directory_of_the_authority_may_be_named_with_a_tilde_and_variables(run, profile, tmp_path, monkeypatch):
    monkeypatch.setenv("SITE", "example.org")
    assert run(stores=["firefox"], ca_dir="~/ca-$SITE")["ca_certificate"] == str(tmp_path / "ca-example.org" / "ca.crt")
