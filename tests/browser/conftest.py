# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster and the laptop of tests/integration, for a real browser."""

from __future__ import annotations

import importlib.util
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
INTEGRATION = HERE.parent / "integration"
sys.path.insert(0, str(INTEGRATION))
# Both files are called conftest.
_spec = importlib.util.spec_from_file_location("integration_conftest", INTEGRATION / "conftest.py")
_integration = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_integration)
cluster, collections = _integration.cluster, _integration.collections


@pytest.fixture(scope="session", autouse=True)
def packages() -> None:
    """The browser, before any cluster is up."""
    subprocess.run([str(HERE.parents[1] / "tools" / "prepare"), "tests"], cwd=HERE.parents[1], check=True)
