# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import json
import os
import stat

import pytest

from ansible_collections.hpc.jupyter.plugins.module_utils import keeper

MEANINGS = [
    ("ModuleNotFoundError: No module named 'jupyterlab'", 1, "jupyter-missing"),
    ("ModuleNotFoundError: No module named 'tornado'", 1, "import-error"),
    ("ImportError: libssl.so.1.1: cannot open shared object file", 1, "import-error"),
    ("traitlets.traitlets.TraitError: The 'port' trait", 1, "bad-option"),
    ("OSError: [Errno 28] No space left on device: 'x'", 1, "disk-full"),
    ("OSError: [Errno 122] Disk quota exceeded", 1, "disk-full"),
    ("OSError: [Errno 98] Address already in use", 1, "port-taken"),
    ("ERROR: the Jupyter server could not be started because no available port could be found.", 1, "port-taken"),
    ("ssl.SSLError: [SSL] PEM lib (_ssl.c:4065)", 1, "certificate"),
    ("OSError: AF_UNIX path too long", None, "socket"),
    ("slurmstepd: error: Detected 1 oom-kill event(s)", -9, "killed"),
    ("", -9, "killed"),
    ("Exception while loading config file /home/carol/.jupyter/jupyter_server_config.py", 1, "config-error"),
    ("goodbye", 3, "unknown"),
]


@pytest.mark.parametrize("log, status, cause", MEANINGS)
def test_what_a_log_means(log, status, cause):
    assert keeper.explain("[I] starting\n" + log + "\n", status)[0] == cause


def test_printable_takes_escapes_and_controls_out():
    assert keeper.printable(b"a\x1b[31mb\x1b]0;title\x07c\xc2\x9b\x00d\xff\n") == u"abcd\ufffd\n"


@pytest.mark.parametrize("counts, expected", [("2(x2),1", [2, 2, 1]), ("4", [4]), ("", []), (None, [])])
def test_spread(counts, expected):
    assert keeper.spread(counts) == expected


def answers_of(table):
    return lambda argv: table.get(argv[0])


def test_the_node_file_has_each_host_as_often_as_it_has_tasks():
    env = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_TASKS_PER_NODE": "3,1", "SLURM_JOB_CPUS_PER_NODE": "4(x2)"}
    hosts = answers_of({"scontrol": "node1\nnode2\n"})
    assert keeper.node_lines(env, 1, hosts) == ["node1"] * 3 + ["node2"]
    env["SLURM_TASKS_PER_NODE"] = "1(x2)"
    assert keeper.node_lines(env, 1, hosts) == ["node1"] * 4 + ["node2"] * 4
    assert keeper.node_lines(env, 1, answers_of({})) is None


def test_the_node_file_of_slurms_own_tool_wins(tmp_path):
    (tmp_path / "nodes").write_text("n1\nn1\nn2\n")
    env = {"SLURM_JOB_NODELIST": "n[1-2]"}
    assert keeper.node_lines(env, 1, answers_of({"generate_pbs_nodefile": "%s\n" % (tmp_path / "nodes")})) == ["n1", "n1", "n2"]


def test_ask_command():
    assert keeper.ask_command(["echo", "hello"]) == "hello\n"
    assert keeper.ask_command(["false"]) is None
    assert keeper.ask_command(["no-such-command-anywhere"]) is None


def test_the_end_of_the_job_is_a_duration_where_the_nodes_clock_is_hours_off():
    env = {"SLURM_JOB_START_TIME": "10000", "SLURM_JOB_END_TIME": "13600"}
    assert keeper.time_of_end(env, None, 10030.0) == (13600, 3570)
    assert keeper.time_of_end(env, None, 50000.0) == (13600, 3600)
    assert keeper.time_of_end({"PBS_WALLTIME": "1800"}, 60, 1000.0) == (2800, 1800.0)
    assert keeper.time_of_end({}, 60, 1000.0) == (1060, 60.0)
    assert keeper.time_of_end({}, None, 1000.0) == (None, None)


@pytest.mark.parametrize("said, seconds", [("5:00", 300), ("1:02:03", 3723), ("2-00:00:10", 172810), ("UNLIMITED", None), ("INVALID", None), ("", None)])
def test_the_time_left_of_a_job_submitted_by_hand(said, seconds):
    assert keeper.time_left({"SLURM_JOB_ID": "7"}, answers_of({"squeue": said + "\n"})) == seconds
    assert keeper.time_left({}, answers_of({})) is None


@pytest.mark.parametrize("seconds, words", [(45, "45 seconds"), (60, "1 minute"), (600, "10 minutes"), (599.6, "10 minutes"), (7200, "2 hours")])
def test_moment(seconds, words):
    assert keeper.moment(seconds) == words


def make_package(directory, name, version, info=True):
    (directory / name).mkdir(parents=True)
    (directory / name / "__init__.py").write_text("raise RuntimeError('nobody may import it')\n" if info else "__version__ = '%s'\n" % version)
    if info:
        (directory / ("%s-%s.dist-info" % (name, version))).mkdir()


@pytest.mark.parametrize("packages, module, flavour, version, sockets", [
    ({"jupyterlab": "4.6.6", "jupyter_server": "2.21.1", "notebook": "7.6"}, "jupyterlab", "jupyter_server", "2.21.1", True),
    ({"notebook": "7.6", "jupyter_server": "2.21.1"}, "notebook", "jupyter_server", "2.21.1", True),
    ({"notebook": "6.5.7", "nbclassic": "1.3", "jupyter_server": "2.21.1"}, "notebook", "notebook", "6.5.7", True),
    ({"notebook": "5.7.8"}, "notebook", "notebook", "5.7.8", False),
    ({"jupyterlab": "2.3", "notebook": "6.0.3"}, "jupyterlab", "notebook", "6.0.3", False),
    ({"nbclassic": "1.3", "jupyter_server": "1.8"}, "nbclassic", "jupyter_server", "1.8", False),
    ({"jupyter_server": "1.9.0"}, "jupyter_server", "jupyter_server", "1.9.0", True),
])
@pytest.mark.parametrize("info", [True, False])
def test_which_jupyter_is_found_without_importing_it(tmp_path, packages, module, flavour, version, sockets, info):
    for name, number in packages.items():
        make_package(tmp_path, name, number, info)
    found = keeper.find_jupyter(path=[str(tmp_path / "empty"), str(tmp_path)])
    assert (found.module, found.flavour, found.version, found.has_sockets) == (module, flavour, version, sockets)


def test_an_egg_of_python_2_tells_its_version(tmp_path):
    (tmp_path / "notebook").mkdir()
    (tmp_path / "notebook" / "__init__.py").write_text("")
    (tmp_path / "notebook-5.7.8-py2.7.egg-info").mkdir()
    assert keeper.find_package("notebook", [str(tmp_path)])[1] == "5.7.8"


def test_a_missing_jupyter_names_the_way_out(tmp_path):
    with pytest.raises(keeper.Failure) as caught:
        keeper.find_jupyter(path=[str(tmp_path)])
    assert caught.value.cause == "jupyter-missing"
    assert "jupyter_modules" in caught.value.reason and "jupyter_install: true" in caught.value.reason


def test_settings_in_the_words_of_either_generation():
    given = {"ServerApp": {"root_dir": "/a", "x": 1}, "NotebookApp.y": 2, "iopub_data_rate_limit": 3}
    assert keeper.extra_settings(given, "notebook") == {"NotebookApp": {"notebook_dir": "/a", "x": 1, "y": 2, "iopub_data_rate_limit": 3}}
    assert keeper.extra_settings({"NotebookApp": {"notebook_dir": "/a"}}, "jupyter_server") == {"ServerApp": {"root_dir": "/a"}}


def test_extra_settings_can_not_undo_what_keeps_the_server_closed():
    job = dict(keeper.DEFAULTS, root_dir="/r", settings={
        "ServerApp": {"token": "", "certfile": "/x", "tornado_settings": {"headers": {"X-Jupyter-Session": "no", "A": "b"}}, "websocket_ping_interval": 5},
        "IdentityProvider": {"token": ""}, "KernelManager": {"shutdown_wait_time": 9}})
    jupyter = keeper.Jupyter("jupyterlab", "jupyter_server", "2.21.1")
    sections = keeper.server_settings(jupyter, {"kind": "socket", "path": "/s"}, job, "secret", "the-id", "/c")["jupyter_server_config.json"]
    assert sections["PasswordIdentityProvider"]["token"] == sections["IdentityProvider"]["token"] == "secret"
    assert sections["ServerApp"]["certfile"] == "" and sections["ServerApp"]["websocket_ping_interval"] == 5
    assert sections["ServerApp"]["tornado_settings"]["headers"] == {"X-Jupyter-Session": "the-id", "A": "b"}
    assert sections["KernelManager"] == {"transport": "ipc", "shutdown_wait_time": 9}


def test_a_fresh_private_directory_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", "/tmp")
    path = keeper.node_directory([], 60)
    try:
        found = os.lstat(path)
        assert stat.S_IMODE(found.st_mode) == 0o700 and found.st_uid == os.geteuid() and path.startswith("/tmp/")
    finally:
        keeper.shutil.rmtree(path)


def test_a_directory_that_others_may_write_to_is_not_trusted(tmp_path, monkeypatch):
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    os.chmod(str(open_to_all), 0o777)
    monkeypatch.setenv("TMPDIR", str(open_to_all))
    path = keeper.node_directory([], 20)
    try:
        assert not path.startswith(str(open_to_all))
    finally:
        keeper.shutil.rmtree(path)
    assert not keeper.trustworthy(str(open_to_all))
    inside = open_to_all / "inside"
    inside.mkdir(mode=0o700)
    assert not keeper.trustworthy(str(inside)), "its owner can be changed from above"
    os.chmod(str(open_to_all), 0o1777)
    assert keeper.trustworthy(str(open_to_all)) == keeper.trustworthy(str(tmp_path))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to somebody else")
def test_a_directory_made_by_somebody_else_is_not_trusted(tmp_path):
    foreign = tmp_path / "foreign"
    foreign.mkdir(mode=0o700)
    assert keeper.trustworthy(str(foreign))
    os.chown(str(foreign), 65534, 65534)
    assert not keeper.trustworthy(str(foreign))
    (tmp_path / "link").symlink_to(foreign)
    assert not keeper.trustworthy(str(tmp_path / "link"))


def test_no_place_on_the_node_is_a_clear_failure(monkeypatch):
    monkeypatch.setattr(keeper, "trustworthy", lambda path: False)
    with pytest.raises(keeper.Failure) as caught:
        keeper.node_directory([], 20)
    assert caught.value.cause == "socket" and "TMPDIR" in caught.value.reason


def test_only_what_a_dead_keeper_left_is_swept(tmp_path):
    for name in ("jupyter-dead", "jupyter-alive", "jupyter-other"):
        (tmp_path / name).mkdir()
    (tmp_path / "jupyter-dead" / keeper.NODE_LOCK).touch()
    held = keeper.hold(str(tmp_path / "jupyter-alive"))
    keeper.sweep(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jupyter-alive", "jupyter-other"]
    os.close(held)


def kernel(state="idle", at="1"):
    return {"id": "k", "execution_state": state, "last_activity": at}


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def activity(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(keeper, "monotonic", clock)
    monkeypatch.setattr(keeper, "terminal_times", lambda number: (1, 1))
    watched = keeper.Activity()

    def after(seconds, kernels=(), terminals=(), processes=()):
        clock.now += seconds
        return watched.look(list(kernels), list(terminals), list(processes), 10)
    return after


def process(pid, parent, name, terminal=None, cpu=0.0, state="S"):
    found = keeper.Process(pid, "%d (%s) %s %d 0 0 %d 0 0 0 0 0 0 0 0 0 0" % (pid, name, state, parent, 0 if terminal is None else (136 << 8) + terminal))
    found.cpu = cpu
    return found


def test_idle_is_time_without_change(activity):
    assert activity(5, [kernel()]) == 5
    assert activity(5, [kernel()]) == 10
    assert activity(5, [kernel(at="2")]) == 0
    assert activity(5, [kernel("busy", "2")]) == 0
    assert activity(5, [kernel("idle", "2")]) == 5
    assert activity(5, []) == 0, "somebody shut a kernel down"


def test_programs_in_a_terminal_count_and_waiting_ones_do_not(activity):
    shell = process(11, 10, "bash", terminal=3)
    assert activity(5, processes=[shell]) == 5
    assert activity(5, processes=[shell, process(12, 11, "srun", terminal=3)]) == 0
    assert activity(5, processes=[shell, process(12, 11, "vim", terminal=3)]) == 5
    assert activity(5, processes=[shell, process(12, 11, "bash", terminal=3), process(13, 12, "make")]) == 0


def test_computing_counts_whoever_computes(activity):
    assert activity(5, processes=[process(12, 10, "python", cpu=50.0)]) == 5
    assert activity(5, processes=[process(12, 10, "python", cpu=50.2)]) == 10
    assert activity(5, processes=[process(12, 10, "python", cpu=52.0)]) == 0
    assert activity(5, processes=[process(10, 1, "jupyter", cpu=99.0), process(12, 10, "python", cpu=52.0)]) == 5, "the server itself does not"


def test_a_process_name_may_hold_anything():
    found = keeper.Process(7, "7 (a) b (c) R 3 0 0 34819 0 0 0 0 0 0 %d 0 0 0 0" % os.sysconf("SC_CLK_TCK"))
    assert (found.name, found.parent, found.terminal, found.cpu) == ("a) b (c", 3, 3, 1.0)


def test_shadow_kernels_keep_off_the_disk(tmp_path):
    specs = tmp_path / "data" / "kernels"
    for name, argv in (("python3", ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]), ("ir", ["R"])):
        (specs / name).mkdir(parents=True)
        (specs / name / "kernel.json").write_text(json.dumps({"argv": argv}))
    (specs / "python3" / "logo.png").touch()
    assert keeper.shadow_kernels(str(tmp_path / "shadow"), {"JUPYTER_PATH": str(tmp_path / "data")}) >= 1
    shadow = tmp_path / "shadow" / "kernels"
    assert json.loads((shadow / "python3" / "kernel.json").read_text())["argv"][-1] == "--HistoryManager.hist_file=:memory:"
    assert (shadow / "python3" / "logo.png").exists() and not (shadow / "ir").exists()


def test_write_private_replaces_whole_files_only(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    os.chmod(str(path), 0o644)
    keeper.write_private(str(path), b"new")
    assert path.read_text() == "new" and stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(TypeError):
        keeper.write_private(str(path), None)
    assert [found.name for found in tmp_path.iterdir()] == ["file"]
