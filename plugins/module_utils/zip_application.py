# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs Python sources into one file that Python runs: ``python program.pyz``, ``python keeper.pyz``."""

import io
import zipfile

# A fixed time, so that the same sources make the same bytes: setup run twice must change nothing.
_TIME = (1980, 1, 1, 0, 0, 0)

PROGRAM = ("hpc_jupyter", """\
import sys
from hpc_jupyter.program import command_line
sys.exit(command_line(sys.argv[1:]))
""")
KEEPER = ("hpc_jupyter_keeper", """\
import sys
from hpc_jupyter_keeper.main import main
sys.exit(main(sys.argv))
""")
KEEPER_SOURCES = "keeper/"


def program(sources):
    """Return program.pyz (bytes).

    :param sources: dict, relative path -> text of all that the collection has for a cluster.
    """
    return _pack(PROGRAM, sources)


def keeper(sources):
    """Return keeper.pyz (bytes), of the same sources: the part for the job, in a package of its own."""
    return _pack(KEEPER, dict((path[len(KEEPER_SOURCES):], text) for path, text in sources.items() if path.startswith(KEEPER_SOURCES)))


def _pack(application, sources):
    package, main = application
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in [("__main__.py", main)] + [(package + "/" + path, text) for path, text in sorted(sources.items())]:
            entry = zipfile.ZipInfo(path, _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o600 << 16
            archive.writestr(entry, text)
    return stream.getvalue()
