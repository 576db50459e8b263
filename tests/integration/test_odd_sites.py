# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What login nodes are like that are not like the others: each ends with a cell on a node, or with a word on what to set."""

from __future__ import annotations

import pathlib
import re
import shlex
from collections.abc import Iterator

import pytest
from harness import PASSWORD, Cluster, Controller, free_port
from test_routes_shapes import cell, launched, started

HOSTS = ("login", "node1", "node2")


@pytest.fixture(scope="module")
def site(cluster: Cluster) -> Iterator[Cluster]:
    """A cluster that these tests may bend; the default one is there before, for it builds the software."""
    made = started("rq", "jump-only", 240)
    yield made
    made.verb("down")


@pytest.fixture
def person(site: Cluster, collections: str, tmp_path: pathlib.Path) -> Iterator[Controller]:
    yield Controller(tmp_path, collections, site.inventory, {
        "jupyter_modules": ["jupyterlab"], "jupyter_password": PASSWORD, "jupyter_walltime": "00:10:00", "jupyter_local_port": free_port()})
    site.clear()


@pytest.fixture
def bent(site: Cluster) -> Iterator:
    """Return a function that changes a host as root and takes what puts it back."""
    back = []

    def bend(change: str, undo: str, hosts: tuple[str, ...] = ("login",)) -> None:
        for host in hosts:
            back.append((host, undo))
            site.shell(change, "root", host)

    yield bend
    for host, undo in reversed(back):
        site.shell(undo, "root", host)


NOISE = {
    "bash": ("/home/carol/.bashrc", "echo 'Welcome, carol: 3 messages'; echo 'quota: 12 %' >&2; export http_proxy=http://127.0.0.1:9"),
    "tcsh": ("/home/carol/.tcshrc", "echo 'Welcome, carol: 3 messages'\nsetenv http_proxy http://127.0.0.1:9\nset noclobber\n"
                                    "alias rm 'rm -i'\nalias cat 'cat -n'"),
    "fish": ("/home/carol/.config/fish/config.fish", "echo 'Welcome, carol: 3 messages'\nset -x http_proxy http://127.0.0.1:9"),
}


@pytest.mark.parametrize("shell", NOISE)
def test_any_login_shell_with_a_banner_and_chatter_and_a_proxy(site, person, bent, tmp_path, shell):
    bent(f"sed -i '/^carol:/s|:[^:]*$|:/usr/bin/{shell}|' /etc/passwd", "sed -i '/^carol:/s|:[^:]*$|:/bin/bash|' /etc/passwd", HOSTS)
    bent("printf '%s\\n' 'ALL USE IS MONITORED {\"event\": \"ready\"}' >/etc/issue.net; "
         "echo 'Banner /etc/issue.net' >>/etc/ssh/sshd_config; pkill -HUP -o sshd",
         "sed -i /Banner/d /etc/ssh/sshd_config; pkill -HUP -o sshd", HOSTS)
    file, text = NOISE[shell]
    bent(f"mkdir -p $(dirname {file}); printf '%s\\n' {shlex.quote(text)} >{file}; chown -R carol: /home/carol", f"rm -f {file}")
    person.run("setup").succeeded()
    assert not person.run("setup").succeeded().changed
    result = launched(person)
    assert result["tunnel"]["route"] == "relay"
    assert cell(person, result["tunnel"], tmp_path) == result["node"]


def test_a_home_that_the_nodes_do_not_share(site, person, bent, tmp_path):
    # What is shared is elsewhere; each node has a home of its own, with nothing in it but what ssh needs.
    site.shell("mkdir -p /home/project/carol && chown carol: /home/project/carol && chmod 700 /home/project/carol", "root")
    bent("mount --bind /home /srv", "umount /srv", HOSTS)
    bent("mount -t tmpfs -o mode=755 tmpfs /home && mkdir -m 700 /home/carol && cp -a /srv/carol/.ssh /home/carol/ && chown -R carol: /home/carol",
         "umount -l /home", ("node1", "node2"))
    long = "/tmp/" + 9 * "deep-dir/"
    person.variables.update(
        jupyter_batch_dir="/srv/project/carol/batch", jupyter_config_dir="/srv/project/carol/jupyter",
        # And a node directory whose sockets would be too long, and the site's proxy.
        jupyter_job_commands=[f"mkdir -p {long}{'x' * 40}"],
        jupyter_environment={"TMPDIR": f"{long}{'x' * 40}", "http_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"})
    person.run("setup").succeeded()
    result = launched(person)
    assert result["batch_dir"] == "/srv/project/carol/batch"
    code = ("import os, socket, urllib.request as u; s = socket.create_server(('127.0.0.1', 0)); "
            "print(socket.gethostname(), u.proxy_bypass('localhost') and u.proxy_bypass('127.0.0.1'))")
    assert cell(person, result["tunnel"], tmp_path, code) == f"{result['node']} True"
    # A file system that refuses sockets is asked for none.
    for host in HOSTS:
        assert site.shell("find /srv/project /home/carol -xdev -type s", "root", host) == ""
    person.run("stop").succeeded()


def test_a_login_name_that_lands_on_another_host_each_time(site, person, tmp_path):
    # node1 plays the second login host: the home is shared, /tmp is not.
    person.run("setup", jupyter_batch_options=["--nodelist=node2"]).succeeded()
    first = launched(person)
    assert cell(person, first["tunnel"], tmp_path) == "node2"
    command, replaced = re.subn(r"carol@\S+", "carol@node1", first["tunnel"]["command"])
    other = dict(first["tunnel"], command=command)
    assert replaced == 1
    assert cell(person, other, tmp_path) == "node2"
    assert site.shell("ls /tmp | grep -c jupyter-20001- || true", "root", "node1").strip() == "1"


def test_no_module_command_on_the_login_node(site, person, bent, tmp_path):
    bent("mount -t tmpfs tmpfs /usr/share/modules; mv /etc/profile.d/modules.sh /etc/profile.d/modules.off",
         "umount /usr/share/modules; mv /etc/profile.d/modules.off /etc/profile.d/modules.sh")
    refused = person.run("setup").failed()
    assert "no module command on login" in refused.message and "jupyter_preflight: false" in refused.message
    person.run("setup", jupyter_preflight=False).succeeded()
    result = launched(person)
    assert cell(person, result["tunnel"], tmp_path) == result["node"]


def test_no_python_on_the_login_node_until_a_module_is_loaded(site, person, bent, tmp_path):
    site.shell("""mkdir -p ~/site/modules ~/site/bin && cp /usr/bin/python3.11 ~/site/bin/python3 && printf '%s\\n' '#%Module' \
'prepend-path PATH /home/carol/site/bin' >~/site/modules/sitepython""")
    bent("echo /home/carol/site/modules >>/etc/environment-modules/modulespath", "sed -i '\\|/site/|d' /etc/environment-modules/modulespath", HOSTS)
    # A device that nobody may run stands where the Python was.
    bent("mount --bind /dev/null /usr/bin/python3.11", "umount /usr/bin/python3.11")
    assert site.shell("python3 -c '' 2>/dev/null || echo none").strip() == "none"
    refused = person.run("setup").failed()
    assert "No Python 3.6 or newer was found" in refused.message and "jupyter_modules" in refused.message
    # The modules' own Jupyter is on the nodes only, for its Python is the one that is hidden here.
    person.variables.update(jupyter_modules=["sitepython", "jupyterlab"], jupyter_preflight=False)
    person.run("setup").succeeded()
    result = launched(person)
    assert result["tunnel"]["route"] == "relay"
    assert cell(person, result["tunnel"], tmp_path) == result["node"]


@pytest.mark.parametrize("directory, said", [
    ("/tmp/" + 60 * "d", "may have"), ("/nowhere", "no directory of the login node"), ("/etc", "no directory of the login node"),
    ("/tmp/a b", "may have"),
])
def test_a_relay_directory_that_can_hold_no_socket_is_said_at_setup(person, site, directory, said):
    refused = person.run("setup", jupyter_relay_dir=directory).failed()
    assert "jupyter_relay_dir" in refused.message and said in refused.message and "Nothing was changed" in refused.message
    assert site.shell("ls ~/.jupyter 2>/dev/null || true") == ""


def test_a_relay_directory_of_the_person_s_choice_is_used_and_kept(site, person, tmp_path):
    person.run("setup", jupyter_relay_dir="/var/tmp").succeeded()
    assert not person.run("setup", jupyter_relay_dir="/var/tmp").succeeded().changed
    result = launched(person)
    assert "/var/tmp/jupyter-20001-" in result["tunnel"]["command"]
    assert cell(person, result["tunnel"], tmp_path) == result["node"]
    site.shell("rm -rf /var/tmp/jupyter-20001-*")
