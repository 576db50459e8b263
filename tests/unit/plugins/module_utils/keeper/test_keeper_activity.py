# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils.keeper import activity, processes


def kernel(state="idle", at="1"):
    return {"id": "k", "execution_state": state, "last_activity": at}


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def look(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(activity, "monotonic", clock)
    monkeypatch.setattr(activity, "terminal_times", lambda number: (1, 1))
    watched = activity.Activity()

    def after(seconds, kernels=(), terminals=(), processes=()):
        clock.now += seconds
        return watched.look(list(kernels), list(terminals), list(processes), 10)
    return after


def process(pid, parent, name, terminal=None, cpu=0.0, state="S", started=1):
    number = 0 if terminal is None else (136 << 8) + terminal
    found = processes.Process(pid, "%d (%s) %s %d 0 0 %d 0 0 0 0 0 0 0 0 0 0 20 0 1 0 %d" % (pid, name, state, parent, number, started))
    found.cpu = cpu
    return found


def test_idle_is_time_without_change(look):
    assert look(5, [kernel()]) == 5
    assert look(5, [kernel()]) == 10
    assert look(5, [kernel(at="2")]) == 0
    assert look(5, [kernel("busy", "2")]) == 0
    assert look(5, [kernel("idle", "2")]) == 5
    assert look(5, []) == 0, "somebody shut a kernel down"


def test_programs_in_a_terminal_count_and_waiting_ones_do_not(look):
    shell = process(11, 10, "bash", terminal=3)
    assert look(5, processes=[shell]) == 5
    assert look(5, processes=[shell, process(12, 11, "srun", terminal=3)]) == 0
    assert look(5, processes=[shell, process(12, 11, "vim", terminal=3)]) == 5
    assert look(5, processes=[shell, process(12, 11, "bash", terminal=3), process(13, 12, "make")]) == 0


def test_computing_counts_whoever_computes(look):
    assert look(5, processes=[process(12, 10, "python", cpu=50.0)]) == 5
    assert look(5, processes=[process(12, 10, "python", cpu=50.2)]) == 10
    assert look(5, processes=[process(12, 10, "python", cpu=52.0)]) == 0
    assert look(5, processes=[process(10, 1, "jupyter", cpu=99.0), process(12, 10, "python", cpu=52.0)]) == 5, "the server itself does not"


KEEPER, SERVER = 1, 10


def test_an_empty_tmux_is_no_work_and_a_program_in_a_detached_one_is(look):
    shell = process(11, SERVER, "bash", terminal=3)
    client, server = process(12, 11, "tmux: client", terminal=3), process(13, KEEPER, "tmux: server")
    window = process(14, 13, "bash", terminal=4)
    assert look(5, processes=[shell, client, server, window]) == 5
    assert look(5, processes=[server, window, process(15, 14, "srun", terminal=4)]) == 0, "the terminal was closed"
    assert look(5, processes=[server, window]) == 5
    assert look(5, processes=[process(16, KEEPER, "SCREEN"), process(17, 16, "zsh", terminal=5), process(18, 17, "mpiexec", terminal=5)]) == 0


def test_a_program_that_outlives_its_terminal_is_work(look):
    shell = process(11, SERVER, "bash", terminal=3)
    assert look(5, processes=[shell, process(12, 11, "mpiexec", terminal=3)]) == 0
    assert look(5, processes=[process(12, KEEPER, "mpiexec")]) == 0, "nohup, and its terminal is closed"
    assert look(5, processes=[process(12, KEEPER, "mpiexec"), process(13, 12, "hydra_pmi_proxy")]) == 0
    assert look(5, processes=[process(13, KEEPER, "hydra_pmi_proxy")]) == 0
    assert look(5, processes=[process(13, KEEPER, "gpg-agent", started=2)]) == 5, "another process of the same number"


def test_what_a_kernel_leaves_behind_is_no_work_by_itself(look):
    running = process(12, SERVER, "python")
    assert look(5, processes=[running, process(13, 12, "ipcontroller")]) == 5
    assert look(5, processes=[process(13, KEEPER, "ipcontroller")]) == 10
    assert look(5, processes=[process(13, KEEPER, "ipcontroller", cpu=5.0)]) == 0, "but computing is"
