"""Versions are packed from one spelling each, and order as they are packed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attest.versions import VersionForm


@pytest.mark.parametrize(
    ("form", "text", "number"),
    [
        (VersionForm.THREE_PARTS, "550.90.07", 550 << 40 | 90 << 20 | 7),
        (VersionForm.THREE_BYTES, "1.55.29", 0x01371D),
        (VersionForm.FIVE_BYTES, "96.00.9F.00.01", 0x96009F0001),
    ],
)
def test_packing(form, text, number):
    assert form.example == text
    assert form.pack(text) == number


@pytest.mark.parametrize("form", VersionForm)
@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text + ".1",
        lambda text: text + "\n",
        lambda text: " " + text,
        lambda text: "v" + text,
        lambda text: "-" + text,
        lambda text: text.partition(".")[0],
        lambda text: text.replace(".", "..", 1),
        lambda text: text.replace("0", "\uff10", 1).replace("1", "\uff11", 1),
        lambda text: text.replace("9F", "9f") if "9F" in text else text + "f",
    ],
)
def test_no_other_spelling(form, change):
    assert form.pack(change(form.example)) is None


def test_parts_that_do_not_fit():
    assert VersionForm.THREE_BYTES.pack("1.55.255") is not None
    assert VersionForm.THREE_BYTES.pack("1.55.256") is None
    assert VersionForm.THREE_PARTS.pack("999999.0.0") is not None


PARTS = st.tuples(*[st.integers(0, 255)] * 3)


@given(PARTS, PARTS)
def test_order(left, right):
    for form in (VersionForm.THREE_PARTS, VersionForm.THREE_BYTES):
        numbers = [form.pack(".".join(str(part) for part in parts)) for parts in (left, right)]
        assert (numbers[0] < numbers[1]) is (left < right)


def test_a_driver_version_of_two_parts_orders_as_if_a_third_were_zero():
    assert VersionForm.THREE_PARTS.pack("590.12") == VersionForm.THREE_PARTS.pack("590.12.0")
    assert VersionForm.THREE_BYTES.pack("1.55") is None
    assert VersionForm.FIVE_BYTES.pack("96.00.9F.00") is None
