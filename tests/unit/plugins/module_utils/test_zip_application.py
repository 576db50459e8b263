# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What setup packs for the login node and for the job."""

import base64
import io
import json
import pathlib
import subprocess
import sys
import zipfile

from ansible_collections.hpc.jupyter.plugins.module_utils import batch, places, zip_application

MODULES = pathlib.Path(zip_application.__file__).parent


def sources():
    return {path.relative_to(MODULES).as_posix(): path.read_text(encoding="utf-8") for path in MODULES.rglob("*.py")}


def names(archive):
    return zipfile.ZipFile(io.BytesIO(archive)).namelist()


def compiled(interpreter):
    """Return (the magic number that another Python says, a way to run code under it)."""

    def run(code, text):
        return subprocess.run([interpreter, "-c", code], input=text, stdout=subprocess.PIPE, universal_newlines=True, check=True).stdout

    magic = "import sys, importlib.util as i\nif sys.version_info > (3, 7): print(''.join('%02x' % byte for byte in i.MAGIC_NUMBER))"
    return run(magic, "").strip(), run


def test_the_same_sources_make_the_same_archive():
    backwards = dict(reversed(sorted(sources().items())))
    assert zip_application.keeper(sources()).pack() == zip_application.keeper(backwards).pack()
    assert zip_application.program(sources()).is_intact(zip_application.program(backwards).pack())


def test_another_version_or_python_or_a_damaged_file_is_not_the_same():
    archive, run = zip_application.keeper(sources()), zip_application.this_python
    packed = archive.pack()
    assert archive.is_intact(packed)
    changed = dict(sources(), **{"keeper/text.py": "# another one\n"})
    assert not zip_application.keeper(changed).is_intact(packed)
    assert not zip_application.keeper(sources(), "a70d0d0a", run).is_intact(packed)
    middle = len(packed) // 2
    assert not archive.is_intact(packed[:middle]) and not archive.is_intact(b"")
    assert not archive.is_intact(packed[:middle] + b"\0\0\0\0" + packed[middle + 4:])
    # A change to the login node's side alone leaves the file of the running jobs as it is.
    assert zip_application.keeper(dict(sources(), **{"session.py": "# another one\n"})).is_intact(packed)


def test_the_job_gets_the_keeper_and_nothing_else():
    found = names(zip_application.keeper(sources()).pack())
    assert "__main__.py" in found and "hpc_jupyter_keeper/keeper.py" in found
    assert len(found) == 2 + len(list((MODULES / "keeper").glob("*.py")))


def test_it_runs_with_its_bytecode_and_from_source_under_another_python(tmp_path):
    magic, run = compiled(sys.executable)
    archives = {"ours": zip_application.keeper(sources(), magic, run), "none": zip_application.keeper(sources()),
                # What another Python compiled: this one has to pass over it.
                "foreign": zip_application.keeper(sources(), "ffff0d0a", lambda code, text: json.dumps(
                    dict((path + "c", base64.b64encode(b"\xff\xff\r\n" + b"\0" * 12).decode("ascii")) for path in json.loads(text)))),
                "broken": zip_application.keeper(sources(), magic, lambda code, text: "module: command not found")}
    for name, archive in archives.items():
        path = tmp_path / (name + ".pyz")
        path.write_bytes(archive.pack())
        assert ".pyc" in "".join(names(path.read_bytes())) or name in ("none", "broken") or not magic
        said = subprocess.run([sys.executable, str(path), "--help"], stdout=subprocess.PIPE, universal_newlines=True, check=True)
        assert "--session" in said.stdout
        where = "import sys; sys.path.insert(0, %r); from hpc_jupyter_keeper import text; print(text.__file__)" % str(path)
        found = subprocess.run([sys.executable, "-c", where], stdout=subprocess.PIPE, universal_newlines=True, check=True).stdout
        from_bytecode = found.strip().endswith(".pyc")
        assert from_bytecode == (name == "ours" and bool(magic)), name


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
