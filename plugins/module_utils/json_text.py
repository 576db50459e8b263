# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change values inside a JSON text and leave every other byte of it as its owner wrote it.

Parsing and writing back would lose the order of duplicate keys, the spelling of numbers and
escapes, the indentation: a person who keeps the file under version control would see it all.
"""

import json

_DECODER = json.JSONDecoder()
_BLANK = " \t\r\n"


def parse(text):
    """Return the object that a JSON text holds; an empty text is an empty object.

    :raises ValueError: json's own (with ``lineno``) for broken JSON, a plain one when it is no object.
    """
    if not text.strip():
        return {}
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("it holds no JSON object ({...}) but %s" % type(value).__name__)
    return value


def get(value, path):
    """Return what lies at a path of keys.

    :raises KeyError: when nothing does.
    """
    for key in path:
        if not isinstance(value, dict):
            raise KeyError(key)
        value = value[key]
    return value


def leaves(value, path=()):
    """Yield (path, value) of everything in nested dicts that is no dict with content."""
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from leaves(inner, path + (key,))
        else:
            yield path + (key,), inner


def put(text, path, value):
    """Return the text with ``value`` at a path of keys; what is missing on the way is added.

    :param text: str, JSON that ``parse`` accepts.
    :param path: tuple of str, not empty.
    :param value: anything json can write.
    :raises ValueError: when something on the way is no object.
    """
    if not text.strip():
        text = "{}\n"
    unit = _unit(text)
    start = _skip(text, 0)
    for depth in range(len(path)):
        if text[start] != "{":
            raise ValueError("%s is no JSON object" % ".".join(path[:depth]))
        members, end = _members(text, start)
        # Of duplicate keys every reader takes the last one.
        member = next((one for one in reversed(members) if one[0] == path[depth]), None)
        if member is None:
            for key in reversed(path[depth + 1:]):
                value = {key: value}
            return _insert(text, start, end, members, path[depth], value, unit)
        start = member[2]
    return text[:start] + _spell(value, unit, _indentation(text, member[1])) + text[member[3]:]


def _skip(text, position):
    while position < len(text) and text[position] in _BLANK:
        position += 1
    return position


def _members(text, start):
    """Return [(key, start of the key, start of the value, end of the value)] and where the brace closes."""
    found = []
    position = _skip(text, start + 1)
    while text[position] != "}":
        key_start = position
        key, position = _DECODER.raw_decode(text, position)
        value_start = _skip(text, _skip(text, position) + 1)
        _value, value_end = _DECODER.raw_decode(text, value_start)
        found.append((key, key_start, value_start, value_end))
        position = _skip(text, value_end)
        if text[position] == ",":
            position = _skip(text, position + 1)
    return found, position


def _indentation(text, position):
    """Return the blanks that begin the line of a position, or None when something else stands before it."""
    before = text[:position].rpartition("\n")
    return before[2] if before[1] and not before[2].strip(_BLANK) else None


def _unit(text):
    """Return one step of the text's indentation, or None for a text of a single line."""
    start = _skip(text, 0)
    members = _members(text, start)[0]
    if not members:
        return "  "
    return _indentation(text, members[0][1])


def _spell(value, unit, indentation):
    """Write a value as it stands behind its key, whose line begins with ``indentation``."""
    if unit is None or indentation is None:
        return json.dumps(value)
    return json.dumps(value, indent=unit).replace("\n", "\n" + indentation)


def _insert(text, start, end, members, key, value, unit):
    newline = "\r\n" if "\r\n" in text else "\n"
    if members:
        last = members[-1]
        before = len(text[: last[1]].rstrip(_BLANK))
        gap = text[before: last[1]]
        if "\n" not in gap and len(members) == 1:
            gap = " "
        entry = "%s: %s" % (json.dumps(key), _spell(value, unit, _indentation(text, last[1])))
        return text[: last[3]] + "," + gap + entry.replace("\n", newline) + text[last[3]:]
    if unit is None:
        return "%s{%s: %s}%s" % (text[:start], json.dumps(key), json.dumps(value), text[end + 1:])
    # An empty object takes the indentation of the line that it opens on.
    line = text[:start].rpartition("\n")[2]
    outer = line[: len(line) - len(line.lstrip(" \t"))]
    entry = "{\n%s%s: %s\n%s}" % (outer + unit, json.dumps(key), _spell(value, unit, outer + unit), outer)
    return text[:start] + entry.replace("\n", newline) + text[end + 1:]
