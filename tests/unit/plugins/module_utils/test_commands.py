# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import os
import sys
import time

from ansible_collections.hpc.jupyter.plugins.module_utils import commands


def python(code, **more):
    return commands.run([sys.executable, "-c", code], **more)


def test_output_status_and_input():
    code = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read() + b'!'); sys.stderr.write('e'); sys.exit(3)"
    done = python(code, stdin=u"gr\u00fcn")
    assert (done.rc, done.out, done.err) == (3, u"gr\u00fcn!", "e")


def test_input_is_empty_by_default():
    assert python("import sys; print(len(sys.stdin.read()))").out == "0\n"


def test_bytes_that_are_no_text():
    assert python("import os; os.write(1, b'a\\xffb')").out == "a\\xffb"


def test_a_missing_program():
    done = commands.run(["/nonexistent/qsub", "-x"])
    assert done.rc == 127 and "/nonexistent/qsub" in done.err
    assert commands.run(["no-such-program-here"]).rc == 127


def test_a_program_that_may_not_run(tmp_path):
    (tmp_path / "plain").write_text("")
    assert commands.run([str(tmp_path / "plain")]).rc == 126
    assert commands.run([sys.executable, "a\0b"]).rc == 126


def test_in_english_and_with_changes(monkeypatch):
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("GONE", "1")
    code = "import os; print([os.environ.get(n) for n in ('LC_ALL', 'GONE', 'NEW')])"
    assert python(code, env={"GONE": None, "NEW": "2"}).out.strip() == "['C', None, '2']"
    assert python(code, env={"LC_ALL": "de_DE.UTF-8"}).out.strip() == "['de_DE.UTF-8', '1', None]"
    assert python(code, env={"LC_ALL": None}).out.strip() == "[None, '1', None]"


def test_in_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert python("import os; print(os.getcwd())").out.strip() == os.path.realpath(str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "gone"))
    assert python("import os; print(os.getcwd())").out.strip() == "/"


def test_no_shell_reads_the_arguments():
    assert commands.run(["echo", "$HOME", ";", "id"]).out == "$HOME ; id\n"


def test_what_takes_too_long_is_killed_with_its_children(tmp_path):
    mark = tmp_path / "pids"
    code = ("import os, subprocess, sys, time\n"
            "child = subprocess.Popen(['sleep', '600'])\n"
            "open(%r, 'w').write('%%d %%d' %% (os.getpid(), child.pid))\n"
            "print('so far', flush=True); time.sleep(600)" % str(mark))
    begin = time.time()
    done = python(code, timeout=2)
    assert done.rc == 124 and "no answer within 2 s" in done.err and time.time() - begin < 60
    for pid in mark.read_text().split():
        # The signal has been sent; the kernel takes its time.
        while _runs(int(pid)):
            assert time.time() - begin < 60
            time.sleep(0.01)


def test_a_child_that_left_the_group_does_not_hold_us_for_ever():
    begin = time.time()
    done = python("import subprocess, time; subprocess.Popen(['sleep', '20'], start_new_session=True); time.sleep(600)", timeout=1)
    assert done.rc == 124 and time.time() - begin < 15


def _runs(pid):
    try:
        with open("/proc/%d/stat" % pid) as stream:
            return stream.read().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IOError):
        return False
