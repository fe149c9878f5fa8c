"""Content keys: one spelling per value, and every difference in value a difference in key."""

import hashlib
import json
from dataclasses import dataclass
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdbench.keys import canonical_json, content_key

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@dataclass(frozen=True)
class Point:
    x: float
    tags: tuple[str, ...] = ()


def test_the_spelling_by_hand():
    assert canonical_json({"b": 1, "a": [1.0, None, True, "é"]}) == '{"a":[1.0,null,true,"\\u00e9"],"b":1}'
    assert content_key({"b": 1}) == hashlib.sha256(b'{"b":1}').hexdigest()


def test_the_order_of_a_mapping_does_not_count_that_of_a_list_does():
    assert content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
    assert content_key([1, 2]) != content_key([2, 1])


def test_dataclasses_mappings_and_sets_are_their_plain_values():
    assert canonical_json(Point(0.5, ("u",))) == '{"tags":["u"],"x":0.5}'
    assert canonical_json(MappingProxyType({"k": Point(1.0)})) == '{"k":{"tags":[],"x":1.0}}'
    assert canonical_json(frozenset({"b", "a"})) == '["a","b"]'


def test_an_int_is_not_a_float():
    assert content_key(1) != content_key(1.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"x": [float("-inf")]}])
def test_numbers_that_are_none_are_refused(value):
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(value)


@pytest.mark.parametrize("value", [object(), {"x": b"bytes"}, Point])
def test_what_has_no_canonical_form_is_refused(value):
    with pytest.raises(TypeError, match="canonical JSON"):
        canonical_json(value)


@given(VALUES, VALUES)
def test_equal_keys_mean_equal_values(one, other):
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (content_key(one) == content_key(other)) == same
