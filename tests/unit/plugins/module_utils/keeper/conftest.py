# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import pathlib
import shutil
import tempfile

import pytest
from ansible_collections.hpc.jupyter.tests.unit.plugins.module_utils.keeper.keeper_job import PYTHONS, Job


@pytest.fixture
def job(tmp_path):
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="k-", dir="/tmp"))
    made = Job(tmp_path, scratch)
    yield made
    made.end()
    shutil.rmtree(str(scratch))


@pytest.fixture(params=sorted(PYTHONS, key=lambda version: [int(part) for part in version.split(".")]))
def python(request):
    return PYTHONS[request.param]
