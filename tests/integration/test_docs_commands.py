# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documentation says to type is typed, as it stands there; what can't be here says so in the page itself.

A block of commands that needs more than the test cluster has carries the line `<!-- needs a site: what -->` before it.
"""

from __future__ import annotations

import json
import pathlib
import re
import shlex
import subprocess
import sys

import pytest
import yaml
from harness import PASSWORD, ROOT, Controller, copied, free_port

PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("roles/*/README.md"), *ROOT.glob("inventory/*.md")])
BIN = pathlib.Path(sys.executable).parent
FENCED = re.compile(r"^(?P<mark><!-- needs a site: .* -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)^```", re.M | re.S)
# In the order in which a person comes to type them.
ORDER = ("doctor", "setup", "launch", "status", "connect", "stop")
# What other tests type: playbook -> where.
ELSEWHERE = {"site": "tests/integration/test_site_wide.py", "trust": "tests/browser/test_browser.py"}


def blocks(page: pathlib.Path, kind: str) -> list[str]:
    """Return the code blocks of a kind that a page has, without those that need a site."""
    found = FENCED.finditer(page.read_text(encoding="utf-8"))
    return [block["text"] for block in found if block["kind"] == kind and not block["mark"]]


def playbook_commands(page: pathlib.Path) -> list[list[str]]:
    """Return the words of each ansible-playbook command of a page, in blocks and within sentences."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    lines = [line for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`(ansible-playbook [^`]*)`", text.replace("\n", " "))
    return [shlex.split(line, comments=True) for line in lines if line.startswith("ansible-playbook ")]


def variables() -> set[str]:
    """Return the names of all variables that a role's argument_specs.yml has, or a playbook asks for."""
    specifications = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in ROOT.glob("roles/*/meta/argument_specs.yml")]
    playbooks = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("playbooks/*.yml"))
    return {name for one in specifications for name in one["argument_specs"]["main"]["options"]} | set(re.findall(r"\bjupyter_\w+", playbooks))


def results() -> set[str]:
    """Return the names under which the roles leave what came of them."""
    return {name for path in ROOT.glob("roles/*/tasks/*.yml") for name in re.findall(r"register: (\w+)", path.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page):
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"`make ([a-z-]+)", text))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert not named - targets
    playbooks = {word.removeprefix("hpc.jupyter.") for words in playbook_commands(page) for word in words if word.startswith("hpc.jupyter.")}
    assert not playbooks - {path.stem for path in (ROOT / "playbooks").glob("*.yml")}
    # With a star a family of variables is meant.
    unknown = set(re.findall(r"(?<!\.)\bjupyter_[a-z_]*[a-z]\b(?!\*|_\*|/|\.json|\.py)", text)) - variables() - results()
    assert not unknown - {"jupyter_server", "jupyter_core", "jupyter_client", "jupyter_connect"}, "variables that no role has"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_yaml_of_a_page_is_a_play_or_variables_that_ansible_takes(page, installed, tmp_path):
    for number, block in enumerate(blocks(page, "yaml")):
        content = yaml.safe_load(block)
        if isinstance(content, list):
            play = tmp_path / f"{number}.yml"
            play.write_text(block)
            done = subprocess.run(
                [BIN / "ansible-playbook", "--syntax-check", play], env={"PATH": str(BIN), "ANSIBLE_COLLECTIONS_PATH": installed, "HOME": str(tmp_path)},
                capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        used = set(re.findall(r"^\s*(jupyter_\w+):", block, re.M))
        assert not used - variables()


@pytest.fixture
def desk(account, installed, tmp_path) -> Controller:
    """A directory as getting-started leaves it, and README's inventory beside; a browser that notes what it is shown."""
    fill_in = {"LOGIN_EXAMPLE_ORG": "login", "YOUR_NAME": "carol"}
    directory = copied("one-cluster", tmp_path / "one-cluster", **fill_in)
    inventory, = (block for block in blocks(ROOT / "README.md", "yaml") if "hosts:" in block)
    (directory / "cluster.yml").write_text(inventory.replace("login.cluster.example", "login"))
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/shown\n')
    browser.chmod(0o755)
    return Controller(tmp_path, installed, "hosts.yml", {
        # What the pages leave to the person: her ssh_config, her password, and what nodes of this cluster have.
        "ansible_ssh_common_args": f"-F {account.ssh_config}", "jupyter_password": PASSWORD, "jupyter_memory": "300M", "jupyter_cores": 1,
        "jupyter_local_port": free_port(),
    }, cwd=directory, environment={"BROWSER": str(browser)})


def test_every_command_of_the_pages_does_what_it_says(desk, account):
    typed: dict[str, list[list[str]]] = {name: [] for name in ORDER}
    for page in PAGES:
        for words in playbook_commands(page):
            name, = (word.removeprefix("hpc.jupyter.") for word in words if word.startswith("hpc.jupyter."))
            if name in ELSEWHERE:
                assert f'"{name}"' in (ROOT / ELSEWHERE[name]).read_text(encoding="utf-8")
            # "..." stands for what only the person knows.
            elif not any("..." in word for word in words) and words not in typed[name]:
                typed[name].append(words)
    assert all(typed.values()), "the pages name no command for a part of the main job"
    shown = desk.home / "shown"
    for name in ORDER:
        for words in typed[name]:
            arguments = words[1:]
            if "-i" not in arguments:
                arguments = ["-i", "hosts.yml", *arguments]
            done = subprocess.run(
                [*desk.argv("x.yml")[:desk.argv("x.yml").index("-i")], *arguments, *_given(desk)], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240, check=False, cwd=desk.cwd)
            assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}"
            if name == "launch":
                assert len(account.jobs()) == 1
            if "jupyter_tunnel=browser" in words:
                assert "http://127.0.0.1:" in shown.read_text()
            if name == "stop":
                assert not account.jobs()


def _given(desk: Controller) -> list[str]:
    return [word for name, value in desk.variables.items() for word in ("-e", json.dumps({name: value}))]
