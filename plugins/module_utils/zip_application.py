# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs Python sources into one file that Python runs: ``python program.pyz``, ``python keeper.pyz``.

Beside the sources lies their bytecode for one Python, for compiling takes longer than all else that a start does. Another
Python passes over it: its magic number is not the one (zipimport tries the source next).
"""

import binascii
import importlib.util
import io
import json
import sys
import zipfile
import zlib

from . import commands
from .program import HEAD, digest

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

# Runs under the Python that is compiled for, which unlike Python 3.6 can say of bytecode that it needs no comparison
# with a source's time (PEP 552).
_COMPILE = """\
import base64, importlib.util, json, marshal, sys
compiled = {}
for path, text in json.load(sys.stdin).items():
    code = marshal.dumps(compile(text, path, "exec", dont_inherit=True))
    header = importlib.util.MAGIC_NUMBER + b"\\1\\0\\0\\0" + importlib.util.source_hash(text.encode("utf-8"))
    compiled[path + "c"] = base64.b64encode(header + code).decode("ascii")
sys.stdout.write(json.dumps(compiled))
"""
OLDEST_WITH_HASHES = (3, 7)


def this_python(code, text):
    """Run code under the Python that runs this, with a text for its standard input; return what it prints (str)."""
    return commands.run([sys.executable, "-I", "-c", code], stdin=text).out


def magic():
    """Return the magic number of this Python's bytecode in hexadecimal, "" where none can be packed (str)."""
    if sys.version_info < OLDEST_WITH_HASHES:
        return ""
    return binascii.hexlify(importlib.util.MAGIC_NUMBER).decode("ascii")


def program(sources):
    """Return the Archive of program.pyz, with bytecode for this Python.

    :param sources: dict, relative path -> text of all that the collection has for a cluster.
    """
    return Archive(PROGRAM, sources, digest(sources), magic(), this_python)


def keeper(sources, for_magic="", python=None):
    """Return the Archive of keeper.pyz, of the same sources: the part for the job, in a package of its own.

    :param for_magic: str, as ``magic`` returns it under the Python of the job; "" when that is not known.
    :param python: callable(code, text) -> str, runs code under that Python as ``this_python`` does here.
    """
    ours = dict((path[len(KEEPER_SOURCES):], text) for path, text in sources.items() if path.startswith(KEEPER_SOURCES))
    return Archive(KEEPER, ours, digest(dict(ours, __main__=KEEPER[1])), for_magic, python)


class Archive(object):
    """One such file.

    :param application: (name of the package, text of ``__main__``).
    :param sources: dict, relative path -> text.
    :param version: str, the digest that tells these sources from others.
    :param for_magic: str, hexadecimal; "" for no bytecode.
    :param python: callable(code, text) -> str.
    """

    def __init__(self, application, sources, version, for_magic, python):
        self._package, self._main = application
        self._sources = sources
        self._identity = "hpc.jupyter %s %s\n" % (version, for_magic or "-")
        self._magic = for_magic
        self._python = python

    def is_intact(self, data):
        """Tell whether bytes are this archive, whole: two compilations of one source differ, so bytes are not compared."""
        if self._identity.encode("ascii") not in data[:HEAD]:
            return False
        try:
            return zipfile.ZipFile(io.BytesIO(data)).testzip() is None
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError):
            return False

    def pack(self):
        """Return the archive (bytes)."""
        entries = [("__main__.py", self._main)]
        entries += [("%s/%s" % (self._package, path), text) for path, text in sorted(self._sources.items())]
        entries += sorted(self._compiled(entries).items())
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            # A comment would be the place, and Python before 3.8 runs no archive that has one.
            for path, content in [("VERSION", self._identity)] + entries:
                entry = zipfile.ZipInfo(path, _TIME)
                entry.compress_type = zipfile.ZIP_STORED if path == "VERSION" else zipfile.ZIP_DEFLATED
                entry.external_attr = 0o600 << 16
                archive.writestr(entry, content)
        return stream.getvalue()

    def _compiled(self, entries):
        """Return bytecode by path; without any the archive works as well, and starts later."""
        if not self._magic:
            return {}
        try:
            # The program carries the keeper's sources for setup alone.
            run = dict((path, text) for path, text in entries if not path.startswith("%s/%s" % (PROGRAM[0], KEEPER_SOURCES)))
            compiled = json.loads(self._python(_COMPILE, json.dumps(run)))
            return dict((path, binascii.a2b_base64(code)) for path, code in compiled.items())
        except (ValueError, TypeError, AttributeError):
            return {}
