# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers for a scheduler's commands out of the recordings of real ones, by command line.

A command line in a form that was never recorded is an error, so that no code can rely on an
option that the real command lacks. Only values are free: ids, names, paths, sizes. Of qsub and
sbatch every option and every resource must have been recorded (or stand in a usage text that
was recorded); of the other commands the whole line.
"""

import json
import os
import pathlib
import re
import shlex

from ansible_collections.hpc.jupyter.plugins.module_utils.schedulers import base

RECORDINGS = pathlib.Path(__file__).resolve().parents[4] / "recordings"
_SUBMIT = ("qsub", "sbatch")
_PROGRAMS = _SUBMIT + ("qstat", "qdel", "qselect", "pbsnodes", "squeue", "scontrol", "scancel", "sacct")
# Options with a value, by program; the others are flags.
_VALUES = {
    "qsub": "aAbcCdDeJjKklmMNopPqrRStTuvWF",
    "sbatch": "JNtpADowdnCqcGkM",
    "qstat": "FDuWB",
    "qdel": "Wmb",
    "qselect": "uNs",
    "squeue": "tjouO",
    "sacct": "jo",
    "pbsnodes": "FsN",
}
# Used all the same. No recorded cluster of PBS had a GPU: TORQUE refused to give one (which shows that the words are
# understood), and OpenPBS, where ngpus is a resource that a site must define, was not asked. -C is a person's own option.
UNRECORDED = {
    "openpbs-23.06.06": {"-l select:ngpus"},
    "openpbs-head": {"-l select:ngpus"},
    "torque-6.1.3": {"-l nodes:gpus"},
    "slurm-22.05-forms": {"-C"},
}
# A form, and another that was recorded to print the very same: states were recorded mostly without -x,
# and state-R-x shows that -x changes nothing for a job that is known.
SAME_ANSWER = {
    "openpbs-23.06.06": {"qstat -x -f -F json ID": "qstat -f -F json ID", "qstat -x -f -F json ID ID": "qstat -f -F json ID ID"},
    "openpbs-head": {"qstat -x -f -F json ID": "qstat -f -F json ID", "qstat -x -f -F json ID ID": "qstat -f -F json ID ID"},
}
_USAGE = re.compile(r"usage:\s*(qsub.*?)(?:\n\s*\n|\Z)", re.DOTALL)
_CACHE = {}
_KNOWN = {}


class Unrecorded(AssertionError):
    """A command line that no recording knows."""


def load(name):
    """The entries of a recording: name -> dict with cmd, rc, stdout, stderr."""
    if name not in _CACHE:
        with open(str(RECORDINGS / (name + ".json")), encoding="utf-8") as stream:
            _CACHE[name] = json.load(stream)
    return _CACHE[name]


def command_line(entry):
    """argv of an entry that is one command (after a ``cd``, with its variables), or None."""
    line = entry["cmd"].split(": ", 1)[1]
    line = re.sub(r"^cd [^&;|]+&&\s*", "", line)
    if re.search(r"[;|`]|\$\(|&&|<|>|\$'", re.sub(r"'[^']*'|\"[^\"]*\"", "", line)):
        return None
    try:
        words = shlex.split(line)
    except ValueError:
        return None
    while words and re.match(r"[A-Za-z_]+=", words[0]):
        words.pop(0)
    return words if words and os.path.basename(words[0]) in _PROGRAMS else None


def _options(program, words):
    """[(option or None, value or None)] of the words after a program's name."""
    pairs, words = [], list(words)
    while words:
        word = words.pop(0)
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word.partition("=")
            pairs.append((name + equals, value if equals else None))
        elif re.match(r"-[A-Za-z]", word) and program not in ("scontrol", "scancel"):
            if word[1] in _VALUES.get(program, ""):
                pairs.append((word[:2], word[2:] or (words.pop(0) if words else "")))
            else:
                pairs.append((word, None))
        else:
            pairs.append((None, word))
    return pairs


def submit_words(argv):
    """Options and resources of a submit command, as a set of words without values."""
    program, found = os.path.basename(argv[0]), set()
    for option, value in _options(program, argv[1:]):
        if option is None:
            # The script and its arguments.
            break
        if option == "-l":
            for item in value.split(","):
                name, _equals, rest = item.partition("=")
                found.add("-l " + name)
                if name in ("select", "nodes"):
                    found.update("-l %s:%s" % (name, part.partition("=")[0]) for part in rest.split(":")[1:])
        elif option == "-W":
            found.add("-W " + ":".join(re.split(r"[=:]", value)[:2]))
        elif option in ("-j", "-r", "-m") and program == "qsub":
            found.add("%s %s" % (option, value))
        else:
            found.add(option)
    return found


def form(argv):
    """A command line without its values: ids are ID, users are USER."""
    program = os.path.basename(argv[0])
    words = [program]
    for option, value in _options(program, argv[1:]):
        if option is None:
            words.append("ID" if re.match(r"[0-9]", value) else value)
        elif value is None:
            words.append(option)
        elif (program, option) in (("squeue", "-j"), ("sacct", "-j")):
            words += [option, ",".join("ID" for _id in value.split(","))]
        elif option == "-u":
            words += [option, "USER"]
        else:
            words += [option, value]
    return " ".join(words)


class Recording:
    """What a recording knows."""

    def __init__(self, name):
        self.name = name
        self.entries = load(name)
        self.forms = set()
        self.submit_vocabulary = set(UNRECORDED.get(name, ()))
        for entry in self.entries.values():
            argv = command_line(entry)
            if argv is None:
                continue
            if os.path.basename(argv[0]) in _SUBMIT:
                if entry["rc"] == 0:
                    self.submit_vocabulary |= submit_words(argv)
            else:
                self.forms.add(form(argv))
            # The resources that the server itself lists.
            self.submit_vocabulary.update("-l select:" + name for name in re.findall(r"resources_assigned\.(\w+) = ", entry["stdout"]))
            for usage in _USAGE.findall(entry["stderr"]):
                self._learn(usage)

    def _learn(self, usage):
        """Options of a usage text: ``[-r y|n]``, ``[-m n|{abe}]``, ``[-m mail_options]``, ``[-h]``."""
        for option, values in re.findall(r"\[(-[A-Za-z])\s*([^\]]*)\]", usage):
            values = values.strip().replace("{abe}", "abe")
            if option in ("-r", "-j"):
                self.submit_vocabulary.update("%s %s" % (option, value) for value in values.split("|"))
            elif option == "-m":
                self.submit_vocabulary.update(("-m n", "-m abe"))
            else:
                self.submit_vocabulary.add(option)

    def check(self, argv):
        """Fails for a command line in a form that was never recorded."""
        if os.path.basename(argv[0]) in _SUBMIT:
            strange = submit_words(argv) - self.submit_vocabulary
            if strange:
                raise Unrecorded("%s: %s never recorded with %s: %s" % (self.name, argv[0], sorted(strange), argv))
        elif not self.known(form(argv)):
            raise Unrecorded("%s: no '%s' was ever recorded" % (self.name, form(argv)))

    def known(self, asked):
        return asked in self.forms or SAME_ANSWER.get(self.name, {}).get(asked) in self.forms


def known(name):
    """The Recording of that name, read once."""
    if name not in _KNOWN:
        _KNOWN[name] = Recording(name)
    return _KNOWN[name]


class Replay:
    """A ``run`` that gives the answers of the named entries one after the other.

    :param recording: str, name of the file.
    :param names: str, the entries. Each must be of the command that is asked for, with the same ids.
    """

    def __init__(self, recording, *names):
        self.recording = known(recording)
        self.names = list(names)
        self.asked = []

    def __call__(self, argv, stdin=None, timeout=60, env=None):
        self.recording.check(argv)
        self.asked.append(argv)
        if not self.names:
            raise AssertionError("nothing is left to answer %s" % argv)
        entry = self.recording.entries[self.names.pop(0)]
        recorded = command_line(entry)
        assert os.path.basename(recorded[0]) == os.path.basename(argv[0]), "asked %s, recorded %s" % (argv, recorded)
        if os.path.basename(argv[0]) not in _SUBMIT:
            forms = (form(argv), SAME_ANSWER.get(self.recording.name, {}).get(form(argv)))
            assert form(recorded) in forms, "asked '%s', recorded '%s'" % (form(argv), form(recorded))
            assert ids(argv) == ids(recorded), "asked of %s, recorded of %s" % (ids(argv), ids(recorded))
        return base.Completed(entry["rc"], entry["stdout"], entry["stderr"])


def ids(argv):
    """The job ids of a command line."""
    program, found = os.path.basename(argv[0]), []
    for option, value in _options(program, argv[1:]):
        if option is None and re.match(r"[0-9]", value or ""):
            found.append(value)
        elif option == "-j" and value and program in ("squeue", "sacct"):
            found += value.split(",")
    return found


def answered_id(recording, name):
    """The id that an entry of a query was asked for."""
    return ids(command_line(load(recording)[name]))[0]
