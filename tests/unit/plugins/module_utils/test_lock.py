# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a session: whose it is, and when it is nobody's any more."""

import json
import os
import socket
import subprocess
import time

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import lock
from ansible_collections.hpc.jupyter.plugins.module_utils.failure import Failure


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "lock")


def left_by(path, age=0.0, **holder):
    """A lock that somebody holds, last touched some seconds ago."""
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(holder, stream)
    then = time.time() - age
    os.utime(path, (then, then))


def test_one_holder_at_a_time_and_nothing_left_behind(path, tmp_path):
    with lock.SessionLock(path) as held:
        assert not held.taken_over
        with pytest.raises(Failure, match="changed nothing"), lock.SessionLock(path, patience=0):
            pass
    assert not list(tmp_path.iterdir())


def test_the_lock_of_a_dead_process_of_this_host_is_taken_over(path):
    child = subprocess.Popen(["true"])
    child.wait()
    left_by(path, host=socket.gethostname(), pid=child.pid, process="1")
    with lock.SessionLock(path, patience=0) as held:
        assert held.taken_over


def test_the_lock_of_another_process_that_got_the_same_number_is_taken_over(path):
    left_by(path, host=socket.gethostname(), pid=os.getpid(), process="1")
    with lock.SessionLock(path, patience=0) as held:
        assert held.taken_over


@pytest.mark.parametrize("off", [-5 * 3600, 0, 5 * 3600])
@pytest.mark.parametrize("age, free", [(1, False), (lock.FOREIGN_AGE + 1, True)])
def test_a_lock_of_another_host_counts_by_the_clock_of_the_file_system(path, monkeypatch, off, age, free):
    left_by(path, age, host="elsewhere", pid=1, process="1")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + off)
    held = lock.SessionLock(path, patience=0)
    if free:
        with held:
            assert held.taken_over
    else:
        with pytest.raises(Failure), held:
            pass


@pytest.mark.parametrize("text", ["", "not JSON", "[1]", '{"pid": "x"}'])
def test_what_is_no_lock_of_ours_blocks_nobody_for_long(path, text):
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)
    with pytest.raises(Failure), lock.SessionLock(path, patience=0):
        pass
    os.utime(path, (1, 1))
    with lock.SessionLock(path, patience=0):
        pass


def test_a_held_lock_stays_young(path, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT", 0.01)
    with lock.SessionLock(path):
        os.utime(path, (1, 1))
        deadline = time.monotonic() + 20
        while os.stat(path).st_mtime < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_who_was_thought_dead_leaves_the_lock_of_the_next_alone(path):
    with lock.SessionLock(path):
        os.unlink(path)
        left_by(path, host="elsewhere", pid=1, process="1")
    assert os.path.exists(path)


def test_a_directory_that_a_refused_launch_took_away_is_made_again(tmp_path):
    path = str(tmp_path / "session" / "lock")
    with lock.SessionLock(path, patience=0):
        assert os.path.exists(path)
    assert os.stat(tmp_path / "session").st_mode & 0o77 == 0
