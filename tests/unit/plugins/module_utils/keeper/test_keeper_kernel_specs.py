# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import json

from ansible_collections.hpc.jupyter.plugins.module_utils.keeper import kernel_specs


def test_shadow_kernels_keep_off_the_disk(tmp_path):
    specs = tmp_path / "data" / "kernels"
    for name, argv in (("python3", ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]), ("ir", ["R"])):
        (specs / name).mkdir(parents=True)
        (specs / name / "kernel.json").write_text(json.dumps({"argv": argv}))
    (specs / "python3" / "logo.png").touch()
    assert kernel_specs.shadow_kernels(str(tmp_path / "shadow"), {"JUPYTER_PATH": str(tmp_path / "data")}) >= 1
    shadow = tmp_path / "shadow" / "kernels"
    assert json.loads((shadow / "python3" / "kernel.json").read_text())["argv"][-1] == "--HistoryManager.hist_file=:memory:"
    assert (shadow / "python3" / "logo.png").exists() and not (shadow / "ir").exists()
