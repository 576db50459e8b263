# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor playbook: what it tells before setup, with a session, and of a site that does not let anybody in."""

from __future__ import annotations

import json

import yaml
from harness import PASSWORD


def findings(result: dict) -> dict:
    return {finding["name"]: finding for finding in result["findings"]}


def test_before_setup_it_tells_what_there_is_and_changes_nothing(account, laptop):
    before = account.shell("find ~ -type f | sort; ls /tmp")
    run = laptop.run("doctor", jupyter_modules=["no-such-module"]).succeeded()
    found = findings(run.of("doctor"))
    assert found["scheduler"]["works"] and found["log in"]["works"] and found["sockets for relays"]["works"]
    assert found["Jupyter"]["works"] is False and "no-such-module" in found["Jupyter"]["said"]
    assert found["setup"]["works"] is None and "not run yet" in found["setup"]["said"]
    assert "FAIL  Jupyter: " in run.text and "  ok  scheduler: slurm" in run.text
    assert not run.changed and account.shell("find ~ -type f | sort; ls /tmp") == before


def test_with_a_session_the_routes_are_tried_and_the_lines_for_group_vars_work(account, laptop, tmp_path):
    laptop.run("setup").succeeded()
    laptop.run("launch").succeeded()
    account.shell("echo 'export https_proxy=http://carol:hunter2@proxy:3128' >~/.bashrc")
    run = laptop.run("doctor").succeeded()
    result = run.of("doctor")
    found = findings(result)
    assert all(found[f"route {route}"]["works"] for route in ("relay", "jump", "direct")), run.text
    assert found["Jupyter"]["works"] and found["setup"]["works"]
    assert result["group_vars"] == {"jupyter_scheduler": "slurm", "jupyter_route": "relay"}
    # The report's last lines are a file of group_vars.
    assert yaml.safe_load(result["report"].partition("# What was found")[2].partition("\n")[2]) == result["group_vars"]
    laptop.run("setup", **result["group_vars"]).succeeded()
    assert laptop.run("launch", **result["group_vars"]).succeeded().of("session")["tunnel"]["route"] == "relay"
    # It can be pasted anywhere.
    everything = json.dumps(result)
    assert "https_proxy" in found["proxy variables"]["said"]
    for secret in (PASSWORD, "hunter2", "argon2", "PRIVATE KEY"):
        assert secret not in everything


def test_a_login_that_can_not_be_had_is_told_with_what_to_type(account, laptop):
    run = laptop.run("doctor", ansible_ssh_private_key_file="/dev/null", ansible_ssh_common_args=(
        f"-F {account.ssh_config} -o IdentityFile=/dev/null -o IdentitiesOnly=yes -o PubkeyAuthentication=no")).succeeded()
    result = run.of("doctor")
    assert result["reached"] is False
    said = findings(result)["log in"]["said"]
    assert "Permission denied" in said and "ControlPath=" in said and "docs/recipes.md" in said
