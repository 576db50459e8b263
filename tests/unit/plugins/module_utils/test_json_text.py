# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import json

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import json_text


def test_every_other_byte_stays():
    text = '{\n    "MyClass" : {"ratio": 1.50e1, "name": "caf\\u00e9"},\n    "ServerApp": {\n        "open_browser":  false\n    }\n}'
    new = json_text.put(text, ("ServerApp", "root_dir"), "/home/maria")
    assert new == (
        '{\n    "MyClass" : {"ratio": 1.50e1, "name": "caf\\u00e9"},\n    "ServerApp": {\n        "open_browser":  false,\n'
        '        "root_dir": "/home/maria"\n    }\n}'
    )


def test_a_replaced_value_takes_only_its_own_place():
    text = '{"ServerApp":{"root_dir" :\n  "/old"  ,"x":1}}'
    assert json_text.put(text, ("ServerApp", "root_dir"), "/new") == '{"ServerApp":{"root_dir" :\n  "/new"  ,"x":1}}'


@pytest.mark.parametrize("text, expected", [
    ("", '{\n  "A": {\n    "b": 1\n  }\n}\n'),
    ("{}", '{\n  "A": {\n    "b": 1\n  }\n}'),
    ('{"x": 1}', '{"x": 1, "A": {"b": 1}}'),
    ('{"x": 1,"y": 2}', '{"x": 1,"y": 2,"A": {"b": 1}}'),
    ('{\n\t"x": 1\n}\n', '{\n\t"x": 1,\n\t"A": {\n\t\t"b": 1\n\t}\n}\n'),
    ('{\r\n  "x": 1\r\n}\r\n', '{\r\n  "x": 1,\r\n  "A": {\r\n    "b": 1\r\n  }\r\n}\r\n'),
    ('{\n  "A": {}\n}\n', '{\n  "A": {\n    "b": 1\n  }\n}\n'),
    ('{"A": {}}', '{"A": {"b": 1}}'),
])
def test_an_addition_follows_the_style_of_the_text(text, expected):
    assert json_text.put(text, ("A", "b"), 1) == expected


def test_the_last_of_duplicate_keys_is_the_one_that_counts():
    text = '{"A": {"b": 1}, "A": {"b": 2, "b": 3}}'
    new = json_text.put(text, ("A", "b"), 4)
    assert new == '{"A": {"b": 1}, "A": {"b": 2, "b": 4}}'


def test_something_else_in_the_way_is_refused():
    with pytest.raises(ValueError, match="ServerApp is no JSON object"):
        json_text.put('{"ServerApp": [1]}', ("ServerApp", "root_dir"), "/x")


@pytest.mark.parametrize("text", ["[1]", "null", '"x"'])
def test_what_is_no_object_is_refused(text):
    with pytest.raises(ValueError, match="no JSON object"):
        json_text.parse(text)


def test_leaves_reach_every_depth():
    value = {"A": {"b": {"c": 1, "d": {}}, "e": [{"f": 1}]}, "G": None}
    assert sorted(json_text.leaves(value)) == [(("A", "b", "c"), 1), (("A", "b", "d"), {}), (("A", "e"), [{"f": 1}]), (("G",), None)]


def test_any_text_means_the_same_plus_the_change():
    hypothesis = pytest.importorskip("hypothesis")
    st = hypothesis.strategies
    keys = st.sampled_from(["A", "b", "c\"}", "d\\", u"\u00e9\n", ""])
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=12,
    )
    styles = st.sampled_from([{}, {"indent": 2}, {"indent": "\t"}, {"separators": (",", ":")}, {"indent": 4, "ensure_ascii": False}])

    @hypothesis.given(st.dictionaries(keys, values, max_size=4), styles, st.lists(keys, min_size=1, max_size=3), values)
    @hypothesis.settings(max_examples=300, deadline=None, database=None)
    def check(document, style, path, value):
        expected = json.loads(json.dumps(document))
        inner = expected
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
            hypothesis.assume(isinstance(inner, dict))
        inner[path[-1]] = value
        new = json_text.put(json.dumps(document, **style), tuple(path), value)
        assert json.loads(new) == expected
        assert json_text.put(new, tuple(path), value) == new

    check()
