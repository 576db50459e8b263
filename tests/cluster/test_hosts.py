# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hosts share and what they don't; jobs, modules and users."""

from __future__ import annotations

import pytest
from conftest import Cluster, wait_for

LISTEN = "setsid socat UNIX-LISTEN:shared.sock,fork SYSTEM:hostname </dev/null >/dev/null 2>&1 &"


def test_each_host_is_itself(shared: Cluster) -> None:
    for host in ("login", "node1", "node2"):
        assert shared.ssh(host, "hostname; hostname -f; whoami; cat /etc/hostname").stdout.split() == [
            host, "%s.%s.test" % (host, shared.name), "carol", host]
        # Its processes are its own: pid 1, and none of the machine's.
        assert shared.run_as("carol", host, "ps -p 1 -o args=").stdout.split()[1].endswith("/host-init")
    assert shared.ssh("login-dave", "whoami").stdout == "dave\n"


def test_home_is_shared_and_tmp_is_not(shared: Cluster) -> None:
    assert shared.ssh("login", "echo text > ~/file; echo text > /tmp/file").returncode == 0
    assert shared.ssh("node1", "cat ~/file").stdout == "text\n"
    assert shared.ssh("node1", "cat /tmp/file").returncode == 1
    # As on NFS, another host may remember a name for a moment: here a second.
    shared.ssh("node1", "ls; mv file moved; ssh -o BatchMode=yes node2 'mv moved again'")
    wait_for(lambda: shared.ssh("node1", "ls file moved again 2>/dev/null").stdout == "again\n", "the new name", 5)


def test_one_creator_of_a_file_wins(shared: Cluster) -> None:
    """O_EXCL holds between hosts: locks rely on it."""
    shared.ssh("login", "cat > race.sh", stdin="set -C; for i in $(seq 200); do"
               " (echo > race-$i) 2>/dev/null && echo $i >> won-$(hostname); done; echo >> won-$(hostname)")
    shared.ssh("login", "ssh -o BatchMode=yes node1 sh race.sh & sh race.sh; wait")
    won = {host: set(shared.ssh("login", "cat won-" + host).stdout.split()) for host in ("login", "node1")}
    assert won["login"].isdisjoint(won["node1"])
    assert len(won["login"] | won["node1"]) == 200


def test_a_socket_in_the_home_answers_on_its_own_host_only(shared: Cluster) -> None:
    shared.run_as("carol", "node1", LISTEN)
    ask = "socat -T2 - UNIX-CONNECT:shared.sock </dev/null"
    wait_for(lambda: shared.run_as("carol", "node1", ask).stdout == "node1\n", "an answer on its own host")
    for other in ("node2", "login"):
        assert shared.run_as("carol", other, "ls shared.sock").stdout == "shared.sock\n"
        assert "Connection refused" in shared.run_as("carol", other, ask).stderr


def test_another_user_cannot_read_a_private_home(shared: Cluster) -> None:
    assert "Permission denied" in shared.ssh("login-dave", "ls /home/carol").stderr
    assert "Permission denied" in shared.ssh("login-dave", "cat ~carol/.ssh/id_ed25519").stderr
    # Nor what the machine itself keeps: the keys of the laptop.
    assert shared.ssh("login-dave", "ls /run/hpc-jupyter-cluster").returncode == 2


@pytest.mark.parametrize("resources", ["nodes=2:ppn=1", "select=2:ncpus=1:mpiprocs=1"])
def test_a_job_of_two_nodes(shared: Cluster, resources: str) -> None:
    script = "#!/bin/sh\n#PBS -N two\nsrun hostname | sort\necho $PBS_NODEFILE\nsort $PBS_NODEFILE\n"
    shared.ssh("login", "rm -f out; cat > job.sh", stdin=script)
    submitted = shared.ssh("login", "qsub -l %s,walltime=00:02:00 -j oe -o out job.sh" % resources)
    assert submitted.returncode == 0 and submitted.stdout.strip().isdigit(), submitted.stdout + submitted.stderr
    job = submitted.stdout.strip()
    wait_for(lambda: shared.ssh("login", "squeue -h -t all -j %s -o %%T" % job).stdout == "COMPLETED\n", "job " + job)
    lines = shared.ssh("login", "cat out").stdout.split()
    assert lines[:2] == ["node1", "node2"]
    assert lines[2].startswith("/")
    assert lines[3:] == ["node1", "node2"]


def test_the_short_partition_is_short(shared: Cluster) -> None:
    refused = shared.ssh("login", "sbatch -p short -t 11 --wrap true")
    assert refused.returncode == 1 and "time limit" in refused.stderr
    assert shared.ssh("login", "sbatch --test-only -p short -t 10 --wrap true").returncode == 0


def test_a_gpu_can_be_asked_for(shared: Cluster) -> None:
    assert shared.ssh("login", "srun --gres=gpu:1 printenv CUDA_VISIBLE_DEVICES").stdout == "0\n"
    assert shared.ssh("login", "srun --gres=gpu:2 true").returncode == 1


def test_there_is_no_accounting(shared: Cluster) -> None:
    done = shared.ssh("login", "sacct")
    assert done.returncode == 1 and "accounting storage is disabled" in done.stderr


@pytest.mark.parametrize("module,command,version", [
    ("jupyterlab", "jupyter lab --version", "4."),
    ("jupyterlab", "python -c 'import numpy, matplotlib, ipyparallel, mpi4py, sys; print(sys.version)'", "3."),
    ("notebook-classic", "jupyter notebook --version", "6.5."),
    ("openmpi", "mpirun --version", "mpirun (Open MPI)"),
])
def test_modules(shared: Cluster, module: str, command: str, version: str) -> None:
    assert shared.ssh("node1", "module load " + module).returncode == 127   # a login shell alone has `module`
    shown = shared.ssh("node1", "bash -l", stdin="module load %s && %s" % (module, command))
    assert shown.stdout.startswith(version), shown.stderr
    # Nothing is compiled anew at each start: the bytecode is there.
    assert shared.ssh("node1", "bash -l", stdin="module load jupyterlab; python -v -c 'import jupyter_server' 2>&1 "
                      "| grep -c 'code object from .*/jupyter_server/.*[.]py$'").stdout.strip() == "0"


def test_mpi_over_both_nodes(shared: Cluster) -> None:
    script = ("module load jupyterlab openmpi; srun -N2 -n4 --mpi=pmix python -c "
              "'from mpi4py import MPI; print(MPI.COMM_WORLD.allreduce(1), MPI.Get_processor_name())' | sort -u")
    assert shared.ssh("login", "bash -l", stdin=script).stdout.split("\n")[:2] == ["4 node1", "4 node2"]
