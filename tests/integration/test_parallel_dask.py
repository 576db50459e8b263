# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Dask recipe of docs/parallel.md, as it stands there, on a session of two nodes."""

from __future__ import annotations

import json
import re
import subprocess

from harness import PASSWORD, ROOT, free_port, typed
from kernel_client import Jupyter
from notebook_client import kernel


def recipe():
    text = (ROOT / "docs" / "parallel.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text[text.index("## Dask"):], re.DOTALL)
    assert len(blocks) == 2
    return blocks


def pip(python, *words):
    """What ``pip install`` prints."""
    done = subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *words],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_dask_recipe(account, laptop, tmp_path):
    # The module has no Dask: it goes into the home, as a user would do it, without what the module has already.
    python = account.shell("module load jupyterlab; command -v python3").strip()
    library = tmp_path / "dask"
    missing = pip(python, "--dry-run", "--report", "-", "distributed", "cryptography")
    names = ["%s==%s" % (one["metadata"]["name"], one["metadata"]["version"]) for one in json.loads(missing)["install"]]
    pip(python, "--no-deps", "--target", str(library), *names)
    archive = subprocess.run(["tar", "-C", str(library), "-c", "."], stdout=subprocess.PIPE, check=True).stdout
    subprocess.run(["ssh", "-F", account.ssh_config, "login", "mkdir dask && tar -C dask -x"], input=archive, check=True)
    laptop.run("setup", jupyter_parallel=True, jupyter_environment={"PYTHONPATH": "/home/carol/dask"}).succeeded()
    tunnel = laptop.run("launch", jupyter_nodes=2, jupyter_cores=2, jupyter_local_port=free_port()).succeeded().of("session")["tunnel"]
    with typed(tunnel, tmp_path / "ssh.log"), kernel(Jupyter(tunnel["url"], PASSWORD)) as cells:
        start, compute = recipe()
        cells.run(start)
        # The scheduler's port takes nobody without its certificates.
        address = cells.run("print(scheduler.scheduler_address)").text.strip()
        assert address.startswith("tls://")
        plain = cells.run("""
import asyncio
async def knock():
    from distributed.core import rpc
    try:
        async with rpc(scheduler.scheduler_address.replace("tls://", "tcp://"), timeout=5) as stranger:
            return await asyncio.wait_for(stranger.identity(), 8)
    except Exception as error:
        return type(error).__name__
import threading
said = []
thread = threading.Thread(target=lambda: said.append(asyncio.run(knock())))
thread.start(); thread.join()
print(said[0] if isinstance(said[0], str) else "let in")
""").text
        assert "let in" not in plain, plain
        assert cells.run(compute).text.startswith("332833500 ['node1', 'node2']")
