# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import os

from ansible_collections.hpc.jupyter.plugins.module_utils.keeper import processes


def test_ask_command():
    assert processes.ask_command(["echo", "hello"]) == "hello\n"
    assert processes.ask_command(["false"]) is None
    assert processes.ask_command(["no-such-command-anywhere"]) is None


def test_a_process_name_may_hold_anything():
    found = processes.Process(7, "7 (a) b (c) R 3 0 0 34819 0 0 0 0 0 0 %d 0 0 0 20 0 1 0 99" % os.sysconf("SC_CLK_TCK"))
    assert (found.name, found.parent, found.terminal, found.cpu, found.key) == ("a) b (c", 3, 3, 1.0, (7, "99"))
