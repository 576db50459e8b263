# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections from Ansible's variables, and commands that shells hand on unchanged."""

import dataclasses
import shlex
import subprocess
import types

import pytest
from ansible_collections.hpc.jupyter.plugins.plugin_utils import ssh_command
from ansible_collections.hpc.jupyter.plugins.plugin_utils.ssh_command import (
    BadConnection,
    Connection,
    Unquotable,
    alone,
    as_posix,
    as_windows,
)
from hypothesis import given
from hypothesis import strategies as st


class Plugin:
    """What from_task asks of Ansible's connection plugin."""

    def __init__(self, transport, **options):
        self.transport = transport
        self.options = options

    def get_option(self, name):
        return self.options.get(name)


ANSIBLE = dict(
    host="login.example", remote_user="carol", port=8022, ssh_args="-C -o ControlMaster=auto -o ControlPersist=60s",
    ssh_common_args='-o ProxyJump=gate -F "/home/me/my config"', ssh_extra_args="", private_key_file="/keys/a b", ssh_executable="ssh",
)


def from_ansible(**changes):
    return Connection.from_task({}, Plugin("ansible.builtin.ssh", **dict(ANSIBLE, **changes)))


def test_the_command_is_what_ansible_itself_used_without_its_multiplexing():
    assert from_ansible().arguments("-N") == [
        "ssh", "-o", "ProxyJump=gate", "-F", "/home/me/my config", "-i", "/keys/a b", "-p", "8022", "-N", "carol@login.example"]


@pytest.mark.parametrize("spelling", [
    "-o ControlPath=/x", "-oControlPath=/x", "-o 'ControlPath /x'", "-o controlpath=/x", "-S /x", "-M", "-o ControlMaster=yes",
    "-o BatchMode=yes", "-A", "-X", "-vAo ControlPersist=yes", "-o ForwardAgent=yes",
])
def test_multiplexing_and_forwarding_of_agent_and_display_are_dropped(spelling):
    assert [word for word in Connection.from_arguments("h", None, None, spelling).arguments() if word != "-v"] == ["ssh", "h"]


def test_user_and_port_in_arguments_count_only_where_no_variable_says_more():
    assert Connection.from_arguments("h", None, None, "-l dave -p 2222").site == "dave@h:2222"
    assert Connection.from_arguments("h", "carol", 22, "-l dave -p 2222").site == "carol@h:22"


@pytest.mark.parametrize(("host", "user", "arguments"), [
    ("-oProxyCommand=evil", None, ""), ("h", "-oProxyCommand=evil", ""), ("h h", None, ""), ("h", None, "stray"),
    ("h", None, "-o"), ("h", None, "-F 'unclosed"), ("", None, ""),
])
def test_what_could_be_read_as_an_option_or_is_none_is_refused(host, user, arguments):
    with pytest.raises(BadConnection):
        Connection.from_arguments(host, user, None, arguments)


def test_in_place_the_variables_say_what_the_laptop_types():
    login = Connection.from_task(
        {"jupyter_login_host": "login.example", "jupyter_login_user": "carol", "jupyter_login_port": "8022"}, Plugin("local"))
    assert login.in_place and login.site == "carol@login.example:8022"


@pytest.mark.parametrize("kind", ["docker", "paramiko", "winrm"])
def test_other_connections_are_refused_in_words(kind):
    with pytest.raises(BadConnection, match="ansible_connection"):
        Connection.from_task({}, Plugin(kind))


def test_a_simple_jump_is_a_jump():
    plain = Connection.from_arguments("login", "carol", 2222, "-F /config -J gate")
    assert plain.second_hop("node1", "-N") == ["ssh", "-F", "/config", "-J", "gate,carol@login:2222", "-N", "carol@node1"]


def test_a_jump_with_a_key_uses_it_on_both_hops():
    argv = Connection.from_arguments("login", "carol", 2222, "-o ProxyJump=gate -o UserKnownHostsFile=/k", identity="/key").second_hop("node1")
    proxy = next(word for word in argv if word.startswith("ProxyCommand="))
    assert shlex.split(proxy.partition("=")[2]) == [
        "ssh", "-o", "ProxyJump=gate", "-o", "UserKnownHostsFile=/k", "-i", "/key", "-p", "2222", "-W", "node1:22", "carol@login"]
    rest = [word for word in argv if word != proxy]
    assert rest == ["ssh", "-o", "UserKnownHostsFile=/k", "-i", "/key", "-o", "carol@node1"]


def test_a_node_name_is_no_option():
    with pytest.raises(BadConnection):
        Connection.from_arguments("login").second_hop("-oProxyCommand=evil")


@given(st.lists(st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",))), min_size=1, max_size=5))
def test_a_posix_shell_reads_the_command_as_it_was_meant(words):
    shown = subprocess.run(["sh", "-c", f"printf '%s\\0' {as_posix(words)}"], capture_output=True, check=True).stdout
    assert shown.decode().split("\0")[:-1] == words


# -- Windows: how each shell and the C runtime read a line ------------------------------------


def runtime_arguments(line):
    """Split a command line as Microsoft's C runtime (and CommandLineToArgvW) does."""
    words, word, quoted, begun = [], "", False, False
    position = 0
    while position < len(line):
        slashes = 0
        while position < len(line) and line[position] == "\\":
            slashes, position = slashes + 1, position + 1
        character = line[position] if position < len(line) else ""
        if character == '"':
            word += "\\" * (slashes // 2)
            begun = True
            if slashes % 2:
                word += '"'
            elif quoted and line[position + 1: position + 2] == '"':
                word, position = word + '"', position + 1
            else:
                quoted = not quoted
        else:
            word += "\\" * slashes
            begun = begun or bool(slashes)
            if character and (quoted or character not in " \t"):
                word, begun = word + character, True
            elif character and begun:
                words.append(word)
                word, begun = "", False
        position += 1
    return words + [word] if begun else words


def cmd_hands_on(line):
    """Return the line that cmd.exe gives to a program; fail on what it would treat itself."""
    quoted = False
    for character in line:
        if character == '"':
            quoted = not quoted
        assert character not in "%!\r\n", "a variable or an end of line"
        assert quoted or character not in "&|<>()^", "an operator"
    assert not quoted
    return line


def powershell_hands_on(line):
    """Return the line that PowerShell builds for a native program: it parses words, expands, and quotes again.

    Windows PowerShell 5.1 puts quotes around words with white space and does not escape anything in them; that is the
    strictest of the ways in use.
    """
    words, position = [], 0
    while position < len(line):
        if line[position] == " ":
            position += 1
            continue
        word = ""
        first = line[position]
        assert first not in "@~#<>$&|;(){},'`%", f"PowerShell reads a word that begins with {first}"
        if first == '"':
            end = line.index('"', position + 1)
            word = line[position + 1: end]
            assert not set(word) & set("$`\u201c\u201d\u201e"), "an expansion"
            position = end + 1
            assert position == len(line) or line[position] == " "
        else:
            end = line.find(" ", position)
            word = line[position: end if end > 0 else len(line)]
            assert not set(word) & set("\"'`$&|;(){}<>,\u2018\u2019\u201c\u201d"), "a special character in a bare word"
            assert not (first == "-" and set(word) & set(".:")), "PowerShell splits such a parameter"
            position += len(word)
        words.append(word)
    return " ".join(f'"{word}"' if " " in word or "\t" in word or not word else word for word in words)


SAFE = st.text(st.characters(min_codepoint=32, max_codepoint=126, blacklist_characters="\"$`%!\\'"), max_size=20)


@given(st.lists(SAFE, max_size=6))
def test_powershell_and_cmd_hand_on_the_words_as_they_were_meant(words):
    line = as_windows(["ssh", *words])
    assert runtime_arguments(cmd_hands_on(line)) == ["ssh", *words]
    assert runtime_arguments(powershell_hands_on(line)) == ["ssh", *words]


@pytest.mark.parametrize("argv", [
    ["ssh", "-L", "127.0.0.1:8888:/tmp/jupyter-1-ab/default-0.sock", "carol@login", "~/.jupyter_connect", "default", "--socket", "/tmp/x"],
    ["/usr/bin/ssh", "-F", "C:\\Users\\A B\\config", "-o", "ProxyCommand=ssh -i key -W node1:22 login", "node1"],
])
def test_real_commands_survive_windows(argv):
    line = as_windows(argv)
    expected = ["ssh", *argv[1:]]
    assert runtime_arguments(cmd_hands_on(line)) == expected
    assert runtime_arguments(powershell_hands_on(line)) == expected


@pytest.mark.parametrize("word", ["$HOME", "100%", 'a"b', "a`b", "wow!", "two\nlines", "\u201cx\u201d", "ProxyCommand=ssh -i 'a b'"])
def test_what_the_two_read_differently_is_refused(word):
    with pytest.raises(Unquotable):
        as_windows(["ssh", word])


def test_login_nodes_of_one_name_behind_two_gates_are_two_sites():
    plain = Connection.from_arguments("login", "carol").site
    assert plain == "carol@login:22" == Connection.from_arguments("login", "carol", None, "-i key -C").site
    gates = {Connection.from_arguments("login", "carol", None, arguments).site
             for arguments in ("-J gate-a", "-J gate-b", "-o ProxyCommand='nc gate-c 22'", "-F config", "-o HostName=other")}
    assert len(gates | {plain}) == 6


def test_an_address_of_ipv6_stays_one_in_a_jump():
    argv = Connection.from_arguments("2001:db8::1", "carol", 2222).second_hop("node1")
    assert argv[argv.index("-J") + 1] == "carol@[2001:db8::1]:2222"


def test_a_typed_command_shares_no_connection_unless_it_is_meant_to():
    connection = Connection.from_arguments("login", "carol")
    assert alone(connection.arguments("-N"))[:3] == ["ssh", "-S", "none"]
    sharing = connection.sharing("/tmp/m").arguments("-N")
    assert alone(sharing) == sharing
    assert alone([]) == []


def test_a_control_path_with_tokens_is_what_ssh_makes_of_it(tmp_path):
    ssh = tmp_path / "ssh"
    ssh.write_text(f"""#!/bin/sh
case "$*" in
  *"-o ControlPath={tmp_path}/cm-%C"*-G*) echo "controlpath {tmp_path}/cm-resolved" ;;
  *-G*) echo "controlpath none" ;;
  *"-S {tmp_path}/cm-resolved -O check"*) exit 0 ;;
  *) exit 255 ;;
esac
""")
    ssh.chmod(0o755)
    connection = dataclasses.replace(Connection.from_arguments("login", executable=str(ssh)), masters=(f"{tmp_path}/cm-%C",))
    assert connection.live_master() is None
    (tmp_path / "cm-resolved").touch()
    assert connection.live_master() == f"{tmp_path}/cm-resolved"


def test_a_control_path_of_the_inventory_counts_with_its_tokens():
    options = {"ssh_args": "-o ControlMaster=auto -o ControlPersist=10m -o ControlPath=/tmp/cm-%C"}
    assert ssh_command._masters(types.SimpleNamespace(get_option=options.get)) == ("/tmp/cm-%C",)
