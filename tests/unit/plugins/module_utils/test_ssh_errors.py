# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ssh's last words, as OpenSSH 7.4 to 9 writes them."""

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils.ssh_errors import read


@pytest.mark.parametrize(("cause", "said"), [
    ("auth", "carol@login: Permission denied (publickey,keyboard-interactive)."),
    ("auth", "Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures"),
    ("host-key-unknown", "No ED25519 host key is known for login and you have requested strict checking.\nHost key verification failed."),
    ("host-key-changed", "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nHost key verification failed."),
    ("unreachable", "ssh: Could not resolve hostname nologin: Name or service not known"),
    ("unreachable", "ssh: connect to host login port 22: Connection refused"),
    ("unreachable", "ssh: connect to host login port 22: No route to host"),
    ("unreachable", "kex_exchange_identification: Connection closed by remote host"),
    ("unreachable", "Timeout, server login not responding."),
    ("bind", "bind [127.0.0.1]:8888: Address already in use\nchannel_setup_fwd_listener_tcpip: cannot listen to port: 8888\n"
             "Could not request local forwarding."),
    ("forbidden", "channel 2: open failed: administratively prohibited: open failed"),
    ("forbidden", "channel 0: open failed: administratively prohibited: open failed\nstdio forwarding failed"),
    ("unreachable", "channel 0: open failed: connect failed: Connection refused\nstdio forwarding failed"),
    ("endpoint", "channel 2: open failed: connect failed: open failed"),
    ("endpoint", "channel 2: open failed: connect failed: Connection refused"),
    ("no-command", "bash: line 1: /home/carol/.jupyter_connect: No such file or directory"),
    ("no-command", "fish: Unknown command: /home/carol/.jupyter_connect"),
    ("installation", "jupyter: /home/carol/.jupyter/batch/program.pyz is damaged. Run 'ansible-playbook hpc.jupyter.setup' again."),
    ("installation", "jupyter: /home/carol/.jupyter/batch/program.pyz is missing. Run 'ansible-playbook hpc.jupyter.setup' again."),
    ("installation", "jupyter: no Python 3.6 or newer was found on login; setup used /usr/bin/python3."),
    # As Python 3.6 and 3.13 end over a zip that is damaged in the middle, and 3.9 over one whose beginning is lost.
    ("installation", "  File \"<frozen importlib._bootstrap_external>\", line 544, in spec_from_file_location\n"
                     "zlib.error: Error -3 while decompressing data: invalid code lengths set"),
    ("installation", "  File \"<frozen zipimport>\", line 652, in _get_data\nzlib.error: Error -5 while decompressing data: incomplete or truncated stream"),
    ("installation", "    raise error(format(e)) from e\nImportError: bad local file header: '/home/carol/.jupyter/batch/program.pyz'"),
    ("unknown", "something else"),
])
def test_the_cause_is_found_among_banners(cause, said):
    banner = "*** Welcome. Permission is granted to staff (only). ***\n"
    reading = read(banner + said + "\n")
    assert reading.cause == cause
    assert reading.said in said.splitlines()


def test_silence_and_escapes_are_harmless():
    assert read("") == ("unknown", "")
    assert read(b"\x1b]0;title\x07Permission denied (publickey).\xff").said == "Permission denied (publickey).\\xff"
