"""Checks of option values."""

import pytest

from datamodules.common.options import check_at_least, choose, one_line


@pytest.mark.parametrize("value", [0, -3, 1.5, True, "2"])
def test_numbers_below_the_minimum_and_other_types_are_errors(value):
    with pytest.raises(ValueError, match="size"):
        check_at_least(1, other=1, size=value)


def test_valid_numbers_and_none_pass():
    check_at_least(2, size=2, other=None)


def test_choose_suggests_the_most_similar_choice():
    choose("points", "two", ["two", "five"])
    with pytest.raises(ValueError, match=r"points.*did you mean 'five'"):
        choose("points", "fife", ["two", "five"])


def test_errors_are_quoted_on_one_line():
    assert one_line(ValueError("first\n  second.")) == "first second"
