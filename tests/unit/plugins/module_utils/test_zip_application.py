# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What setup packs for the login node and for the job."""

import io
import pathlib
import zipfile

from ansible_collections.hpc.jupyter.plugins.module_utils import batch, places, zip_application

MODULES = pathlib.Path(zip_application.__file__).parent


def sources():
    return {path.relative_to(MODULES).as_posix(): path.read_text(encoding="utf-8") for path in MODULES.rglob("*.py")}


def names(archive):
    return zipfile.ZipFile(io.BytesIO(archive)).namelist()


def test_the_same_sources_make_the_same_bytes():
    backwards = dict(reversed(sorted(sources().items())))
    assert zip_application.keeper(sources()) == zip_application.keeper(backwards)
    assert zip_application.program(sources()) == zip_application.program(backwards)


def test_the_job_gets_the_keeper_and_nothing_else():
    found = names(zip_application.keeper(sources()))
    assert "__main__.py" in found and "hpc_jupyter_keeper/keeper.py" in found
    assert len(found) == 1 + len(list((MODULES / "keeper").glob("*.py")))


def test_the_keeper_of_an_earlier_setup_stays_for_the_jobs_that_name_it(tmp_path):
    site = places.Site(str(tmp_path))
    old, script = tmp_path / "keeper.py", tmp_path / "sessions" / "a" / "job.sh"
    assert not batch._forget_old_keeper(site, check=False)
    old.touch()
    script.parent.mkdir(parents=True)
    script.write_text('exec python "$JUPYTER_BATCH_DIR/keeper.py" --session a\n')
    assert not batch._forget_old_keeper(site, check=False) and old.exists()
    script.write_text('exec python "$JUPYTER_BATCH_DIR/keeper.pyz" --session a\n')
    assert batch._forget_old_keeper(site, check=True) and old.exists()
    assert batch._forget_old_keeper(site, check=False) and not old.exists()
