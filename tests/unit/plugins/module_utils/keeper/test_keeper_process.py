# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keeper as a process, under every Python at hand from 2.7 on, with a stand-in for Jupyter that behaves in all bad ways."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import zip_application
from ansible_collections.hpc.jupyter.plugins.module_utils.keeper import log as keeper_log
from ansible_collections.hpc.jupyter.tests.unit.plugins.module_utils.keeper.keeper_job import mark, sources, wait_for


def test_the_whole_life(job, python):
    state = job.start(python).await_phase("ready")
    assert state["endpoint"]["kind"] == "socket" and state["version_jupyter"] == "2.99.0" and state["id"] == "f" * 32
    config = json.loads((job.directory / "config" / "jupyter_server_config.json").read_text())
    told = job.directory / "server.ready.json"
    wait_for(told.exists, "the name that is new to other hosts")
    assert json.loads(told.read_text()) == state
    job.control({"stop": True})
    assert job.process.wait() == 0
    state = job.state()
    assert (state["phase"], state["cause"], state["exit"]) == ("ended", "stop", 0)
    assert list(job.scratch.iterdir()) == [] and not (job.directory / "config").exists() and not told.exists()
    assert config["ServerApp"]["tornado_settings"]["headers"] == {"X-Jupyter-Session": "f" * 32}
    assert config["PasswordIdentityProvider"]["token"] not in job.log()


@pytest.mark.parametrize("behaviour, cause", [
    ("die 1 OSError: [Errno 28] No space left on device", "disk-full"),
    ("die 1 ImportError: libhdf5.so: undefined symbol", "import-error"),
    ("die 1 \x1b[31mtraitlets.TraitError: bad\x1b[0m", "bad-option"),
    ("die 7 what now", "unknown"),
    ("open", "open-server"),
    ("stranger", "config-error"),
])
def test_a_server_that_dies_or_misbehaves_is_told_within_seconds(job, python, behaviour, cause):
    before = time.monotonic()
    assert job.start(python, behaviour).process.wait(30) == 1
    assert time.monotonic() - before < 15
    state = job.state()
    assert (state["phase"], state["cause"]) == ("failed", cause)
    if behaviour.startswith("die"):
        assert state["log_tail"] and "\x1b" not in "".join(state["log_tail"])
        assert state["exit"] == int(behaviour.split(" ")[1])


def test_one_that_never_listens_is_given_up(job, python):
    assert job.start(python, "deaf", {"start_timeout": 1}).process.wait(30) == 1
    state = job.state()
    assert (state["phase"], state["cause"]) == ("failed", "unknown") and "start_timeout" in state["reason"]


def test_one_that_is_busy_after_its_first_answer_is_waited_for(job, python):
    assert job.start(python, "slow").await_phase("ready")["cause"] is None


def test_an_error_of_the_keeper_is_told_as_one(job, python):
    archive = job.batch / "keeper.pyz"
    broken = {name: text.replace("def find_jupyter(", "def find_jupyter(*_ignored):\n    return {}['no such key']\n\n\ndef _find_jupyter(")
              for name, text in sources().items()}
    archive.write_bytes(zip_application.keeper(broken).pack())
    assert job.start(python).process.wait(30) == 1
    state = job.state()
    assert (state["phase"], state["cause"]) == ("failed", "internal") and "no such key" in state["reason"]
    assert "Traceback" in job.log()


def test_stop_while_it_starts(job):
    job.start(behaviour="deaf").await_phase("starting")
    job.control({"stop": True})
    assert job.process.wait(30) == 0
    assert job.state()["phase"] == "ended"


def test_sigterm_ends_a_stubborn_server_in_time(job, python):
    job.start(python, "stubborn", {"stop_grace": 1}).await_phase("ready")
    before = time.monotonic()
    job.process.send_signal(signal.SIGHUP)
    job.process.terminate()
    assert job.process.wait(30) == 143
    assert time.monotonic() - before < 5
    assert (job.state()["phase"], job.state()["exit"]) == ("ended", -9)


def test_no_jupyter(job, python, tmp_path):
    shutil.rmtree(str(job.site))
    assert job.start(python).process.wait(30) == 1
    assert job.state()["cause"] == "jupyter-missing"


def test_by_hand_it_makes_its_own_session_and_identity(job, python):
    os.rmdir(str(job.directory))
    old = os.umask(0)
    try:
        state = job.start(python, job=None).await_phase("ready")
    finally:
        os.umask(old)
    assert len(state["id"]) == 32
    for path in [job.directory] + list(job.directory.rglob("*")) + list(job.scratch.rglob("*")):
        assert os.lstat(str(path)).st_mode & 0o077 == 0, path


def test_an_order_for_an_earlier_job_is_not_obeyed(job):
    path = job.write("control.json", {"stop": True})
    os.utime(str(path), (1, 1))
    job.start().await_phase("ready")
    job.control({"reverse": None})  # proof that it looked again
    wait_for(lambda: "reverse" in job.state(), "the order")
    assert job.state()["phase"] == "ready"


@pytest.mark.parametrize("job_json", ["{", "[]"])
def test_a_damaged_job_file(job, job_json):
    (job.directory / "job.json").write_text(job_json)
    assert job.start(job=None, launch=mark("f" * 32)).process.wait(30) == 1
    assert job.state()["cause"] == "config-error" and "job.json" in job.state()["reason"]


def test_every_allowed_port_is_taken(job, tmp_path):
    subprocess.check_call(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                           "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "crt"),
                           "-days", "2", "-subj", "/CN=localhost"], stderr=subprocess.DEVNULL)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        job.start(job={"endpoint": "tls", "certfile": str(tmp_path / "crt"), "keyfile": str(tmp_path / "key"), "port_range": [port, port]})
        assert job.process.wait(30) == 1
    assert job.state()["cause"] == "port-taken"


def test_certificates_that_can_not_be_used(job, tmp_path, python):
    def fails_with(words, certfile, keyfile):
        assert job.start(python, job={"endpoint": "tls", "certfile": certfile, "keyfile": keyfile}).process.wait(30) == 1
        assert job.state()["cause"] == "certificate" and words in job.state()["reason"], job.state()["reason"]

    for name in ("one", "two"):
        subprocess.check_call(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                               "-keyout", str(tmp_path / (name + ".key")),
                               "-out", str(tmp_path / name), "-days", "2", "-subj", "/CN=localhost"], stderr=subprocess.DEVNULL)
    (tmp_path / "damaged").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    fails_with("none is set", None, None)
    fails_with("can't be read", str(tmp_path / "missing"), str(tmp_path / "one.key"))
    fails_with("can't be used together", str(tmp_path / "one"), str(tmp_path / "two.key"))
    fails_with("can't be used together", str(tmp_path / "damaged"), str(tmp_path / "one.key"))


def test_an_ended_certificate(job, tmp_path):
    x509 = pytest.importorskip("cryptography.x509")
    import datetime

    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "localhost")])
    certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
                   .not_valid_before(datetime.datetime(2020, 1, 1)).not_valid_after(datetime.datetime(2020, 3, 1)).sign(key, hashes.SHA256()))
    (tmp_path / "crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "key").write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    assert job.start(job={"endpoint": "tls", "certfile": str(tmp_path / "crt"), "keyfile": str(tmp_path / "key")}).process.wait(30) == 1
    assert job.state()["cause"] == "certificate" and "2020-03-01" in job.state()["reason"]


def test_a_home_that_takes_no_files_does_not_end_the_server(job):
    job.start(job={"idle_timeout": 11, "walltime": 12}).await_phase("ready")
    away = job.directory.with_name("away")
    job.directory.rename(away)
    # The warning before the end is what it wants to write; the scheduler's own file gets it instead.
    wait_for(lambda: "can't be written" in (job.home / "job.out").read_text(), "the last resort")
    assert job.process.poll() is None
    away.rename(job.directory)
    wait_for(lambda: job.state().get("warning") or job.process.poll() is not None, "server.json")
    assert job.state()["warning"]["message"]


def test_the_end_of_the_job_is_announced_and_the_notice_goes_with_it(job, python):
    notebooks = job.home / "notebooks"
    notebooks.mkdir()
    stale = notebooks / "JUPYTER-ENDS-AT-00-00.txt"
    stale.write_text("x\n(hpc.jupyter session s)\n")
    foreign = notebooks / "JUPYTER-ENDS-AT-00-01.txt"
    foreign.write_text("a user's own\n")
    # Warned of in its last fifth, over in its last tenth: two seconds for a look.
    job.start(python, job={"walltime": 20, "walltime_warnings": [600], "root_dir": "~/notebooks"}).await_phase("ready")
    assert not stale.exists()
    assert job.state()["ends"]
    wait_for(lambda: job.state().get("warning"), "the warning")
    wait_for(lambda: len(list(notebooks.iterdir())) == 2, "the notice")
    job.end()
    assert list(notebooks.iterdir()) == [foreign]


def test_renewals_are_seen_to(job, python):
    program = "import sys, os\nopen(os.path.join(os.path.dirname(sys.argv[0]), 'calls'), 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
    (job.batch / "program.pyz").write_text("import sys\nassert sys.flags.isolated\n" + program)
    # What setup found on the login node, whatever Python the job's Jupyter has.
    (job.batch / "python").write_text('#!/bin/sh\nexec %s "$@"\n' % sys.executable)
    (job.batch / "python").chmod(0o700)
    job.write("record.json", {"renewals": 2})
    calls = job.batch / "calls"
    job.start(python, SLURM_JOB_ID="42").await_phase("ready")
    wait_for(calls.exists, "the adoption")
    job.control({"stop": True})
    assert job.process.wait() == 0
    assert calls.read_text() == "adopt-job s 42 --batch-dir {0}\ndrop-successor s --batch-dir {0}\n".format(job.batch)
    calls.unlink()
    job.start(python, SLURM_JOB_ID="43")
    wait_for(calls.exists, "the adoption")
    job.await_phase("ready")
    assert job.end() == 143
    assert "drop-successor" not in calls.read_text(), "the scheduler's SIGTERM must let the successor start"
    calls.unlink()
    assert job.start(python, LOCAL_JOBID="local-here-1-2").await_phase("ready")["job"] == "local-here-1-2"
    assert not calls.exists(), "a process below this job would end with it"


def test_at_its_walltime_the_job_ends_by_itself_and_its_successor_starts(job):
    job.write("record.json", {"id": "f" * 32, "job": "42", "jobs": [], "renewals": 2, "successor": "43"})
    calls = job.batch / "calls"
    (job.batch / "program.pyz").write_text("import sys\nopen(%r, 'a').write(sys.argv[1] + '\\n')\n" % str(calls))
    begun = time.monotonic()
    job.start(job={"walltime": 15}, SLURM_JOB_ID="42").await_phase("ready")
    assert job.process.wait(30) == 143
    assert 10 < time.monotonic() - begun < 15, "before the scheduler's own end"
    assert (job.state()["phase"], job.state()["cause"]) == ("ended", "walltime")
    assert "a new job then takes over" in job.state()["warning"]["message"]
    assert "drop-successor" not in calls.read_text() and not (job.directory / "config").exists()


def test_the_last_job_of_a_chain_announces_no_other(job):
    job.write("record.json", {"id": "f" * 32, "job": "42", "jobs": ["41"], "renewals": 1, "successor": None})
    job.start(job={"walltime": 12, "renewals": 1}, SLURM_JOB_ID="42").await_phase("ready")
    wait_for(lambda: job.state().get("warning"), "the warning")
    assert "its kernels end with it" in job.state()["warning"]["message"]


@pytest.mark.parametrize("behaviour", ["good", "die 1 on the way"])
def test_the_last_words_of_a_lost_job_are_not_said_over_its_successor(job, behaviour):
    """A node that was cut off is back: the scheduler ends its job, and the session runs in another by now."""
    calls = job.batch / "calls"
    (job.batch / "program.pyz").write_text("import sys\nopen(%r, 'a').write(sys.argv[1] + '\\n')\n" % str(calls))
    job.write("record.json", {"id": "f" * 32, "job": "43", "jobs": ["42"], "renewals": 2, "successor": "44"})
    main = job.site / "jupyter_server" / "__main__.py"
    proceed = job.home / "proceed"
    main.write_text("import os, time\nwhile not os.path.exists(%r): time.sleep(0.01)\n" % str(proceed) + main.read_text())
    job.start(behaviour=behaviour, SLURM_JOB_ID="42")
    wait_for(lambda: job.state().get("pid"), "the server's process")
    other = job.write("server.json", {"id": "f" * 32, "job": "43", "phase": "ready"})
    proceed.touch()
    if behaviour == "good":
        # Before its next look at the record, which comes every 15 seconds.
        job.process.terminate()
    assert job.process.wait(30) != 0
    assert json.loads(other.read_text())["job"] == "43" and job.state()["phase"] == "ready"
    assert (job.directory / "config").exists(), "they are the other server's"
    assert "drop-successor" not in (calls.read_text() if calls.exists() else "")


def test_a_job_says_again_what_another_wrote_over(job):
    job.write("record.json", {"id": "f" * 32, "job": "43", "jobs": ["42"]})
    job.start(SLURM_JOB_ID="43").await_phase("ready")
    job.write("server.json", {"id": "f" * 32, "job": "42", "phase": "ended"})
    wait_for(lambda: job.state()["job"] == "43", "its own words", 20)
    assert job.state()["phase"] == "ready"


def test_a_server_that_died_is_no_longer_said_to_be_ready_and_its_successor_stays(job):
    calls = job.batch / "calls"
    (job.batch / "program.pyz").write_text("import sys\nopen(%r, 'a').write(sys.argv[1] + '\\n')\n" % str(calls))
    job.write("record.json", {"id": "f" * 32, "job": "42", "jobs": [], "renewals": 2, "successor": "43"})
    state = job.start(SLURM_JOB_ID="42").await_phase("ready")
    os.kill(state["pid"], signal.SIGKILL)
    killed = time.monotonic()
    wait_for(lambda: job.state()["phase"] != "ready", "its death")
    assert time.monotonic() - killed < 0.8, "the keeper takes a second to learn by whose will it was"
    assert job.process.wait(30) == 1
    assert (job.state()["phase"], job.state()["cause"]) == ("failed", "killed")
    assert "drop-successor" not in calls.read_text()


def test_orphans_of_the_server_end_with_the_job(job, python):
    main = job.site / "jupyter_server" / "__main__.py"
    main.write_text("import subprocess\nsubprocess.Popen('setsid sleep 4242 & echo', shell=True)\n" + main.read_text())
    job.start(python).await_phase("ready")

    def sleeping():
        found = []
        for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
            try:
                if ("HOME=%s\0" % job.home).encode() in path.read_bytes() and b"4242" in path.with_name("cmdline").read_bytes():
                    found.append(path)
            except OSError:
                pass
        return found
    wait_for(sleeping, "the orphan")
    job.control({"stop": True})
    job.process.wait()
    assert not sleeping()


SSH = """#!/bin/sh
# The last argument is the remote command; -R names the socket that the forward would make.
for word; do case $last in -R) forward=$word;; esac; last=$word; done
echo "$*" >> "$SSH_LOG"
test -e "$SSH_BROKEN" && { echo "ssh: connect to host login port 22: No route to host" >&2; exit 255; }
if test -n "$forward"; then
  python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "${forward%%:*}"
fi
eval "$last"
"""


def test_the_way_back_to_the_login_node_is_held(job, python, tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(SSH)
    os.chmod(str(programs / "ssh"), 0o755)
    target = job.scratch / "login" / "it's.sock"
    broken = tmp_path / "broken"
    broken.touch()
    job.start(python, PATH="%s:%s" % (programs, os.environ["PATH"]), SSH_LOG=str(tmp_path / "ssh.log"), SSH_BROKEN=str(broken)).await_phase("ready")
    job.control({"reverse": {"host": "login", "socket": str(target), "options": ["-p", "8022"]}})
    found = wait_for(lambda: job.state().get("reverse", {}).get("state") == "retrying" and job.state()["reverse"], "the failure")
    assert "No route to host" in found["message"]
    broken.unlink()
    wait_for(lambda: job.state()["reverse"]["state"] == "up", "the way back")
    assert target.is_socket() and target.parent.stat().st_mode & 0o077 == 0
    line = (tmp_path / "ssh.log").read_text().splitlines()[-1]
    for word in ("BatchMode=yes", "ForwardAgent=no", "ExitOnForwardFailure=yes", "-p 8022", "-R %s:%s" % (target, job.state()["endpoint"]["path"])):
        assert word in line
    job.control({"stop": True})
    assert job.process.wait() == 0


def test_the_log_stays_within_bounds(job):
    log = job.directory / "server.log"
    log.write_bytes(b"old line\n" * (keeper_log.LIMIT // 9 + 1))
    job.start().await_phase("ready")
    assert log.stat().st_size < keeper_log.KEEP + 10000
    assert log.read_text().startswith("old line\n") and "keeper] starting" in log.read_text()


def test_a_bad_session_name(job):
    for name in ("../x", "a b", "", "a'b", "x" * 33):
        assert subprocess.call([sys.executable, str(job.batch / "keeper.pyz"), "--batch-dir", str(job.batch), "--session", name],
                               stderr=subprocess.DEVNULL) == 2
