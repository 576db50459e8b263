# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real Jupyters of three generations, the same that stand behind the test cluster's modulefiles.

They are taken from HPC_TEST_SOFTWARE, else from the cluster's own directory, else built once below /var/tmp.
"""

import datetime
import os
import pathlib
import shutil
import sys
import tempfile

import pytest
from harness import KeptServer

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLUSTER_SOFTWARE = pathlib.Path("/opt/hpc-jupyter-cluster")
OWN_SOFTWARE = pathlib.Path("/var/tmp/hpc-jupyter-test-software")
MODULES = {"lab": "jupyterlab", "classic": "notebook-classic", "old": "python"}


def _complete(root, module):
    return sorted(path.parent / "bin" / "python" for path in root.glob(module + "-*/.complete"))


@pytest.fixture(scope="session")
def software():
    """A function from "lab", "classic" or "old" to the Python that has it."""
    roots = [pathlib.Path(os.environ["HPC_TEST_SOFTWARE"])] if os.environ.get("HPC_TEST_SOFTWARE") else [CLUSTER_SOFTWARE, OWN_SOFTWARE]

    def find(kind):
        for root in roots:
            found = _complete(root, MODULES[kind])
            if found:
                return found[-1]
        return None

    if not all(find(kind) for kind in MODULES):
        sys.path.insert(0, str(ROOT / "molecule" / "cluster"))
        from testcluster import lifecycle
        from testcluster import software as cluster_software
        if os.geteuid() == 0:
            lifecycle.equip(str(roots[0]), print)
        else:
            cluster_software.prepare(str(roots[-1]), print)

    def get(kind):
        return find(kind) or pytest.fail(f"the module {MODULES[kind]} could not be built here; why, was said when that was tried")
    return get


@pytest.fixture
def scratch():
    """The job's directory on the node's disk: short, for a socket's path must fit; nothing of it may be left."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="k-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def serve(software, tmp_path, scratch):
    """A function that makes a KeptServer of a kind (or of an interpreter's path)."""
    made = []

    def make(kind, job=None, site=None, **more):
        python = software(kind) if kind in MODULES else kind
        values = None if job is None else dict(job, **more)
        server = KeptServer(python, tmp_path / ("home%d" % len(made)), scratch, values, site)
        made.append(server)
        return server
    yield make
    for server in made:
        server.kill()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """A function that makes (certfile, keyfile), valid for so many days (negative: ended)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    def make(days=30):
        directory = tmp_path_factory.mktemp("certificate")
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.datetime.now(datetime.timezone.utc)
        certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
                       .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=60))
                       .not_valid_after(now + datetime.timedelta(days=days)).sign(key, hashes.SHA256()))
        (directory / "crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (directory / "key").write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL,
                                                          serialization.NoEncryption()))
        return {"certfile": str(directory / "crt"), "keyfile": str(directory / "key")}
    return make
