# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a job learns that its session has gone on without it."""


import json

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils.keeper.claim import superseded


@pytest.mark.parametrize("record, answer", [
    ({"id": "a", "job": "1", "jobs": []}, False),
    ({"id": "a", "job": None, "jobs": [], "submitting": True}, False),  # its launch is still at work
    ({"id": "a", "job": "2", "jobs": ["1"]}, True),  # renewed
    ({"id": "a", "job": None, "jobs": ["1"]}, True),  # stopped
    ({"id": "b", "job": "2", "jobs": []}, True),  # launched anew
    ("damaged", False),
    (None, False),
])
def test_a_job_knows_when_its_session_went_on_without_it(tmp_path, record, answer):
    if record is not None:
        (tmp_path / "record.json").write_text(record if isinstance(record, str) else json.dumps(record), encoding="utf-8")
    assert superseded(str(tmp_path), "a", "1") is answer
