"""A report names the versions of its networks if they differ."""

import pytest

from glassbox.reproduction.build_report import mixed_versions

NOW = {"glassbox": "0.1.0", "torch": "2.13.0", "lightning": "2.6.6", "numpy": "2.0"}
BEFORE = {**NOW, "torch": "2.12.1"}


def test_equal_versions_and_other_packages_need_no_remark():
    assert mixed_versions([]) is None
    assert mixed_versions([NOW, {**NOW, "torchmetrics": "1", "numpy": "1.26"}]) is None


@pytest.mark.parametrize(
    ("networks", "counts"),
    [
        ([BEFORE, NOW, NOW], "2 networks with torch 2.13.0, 1 network with torch 2.12.1."),
        (
            [NOW, {**BEFORE, "lightning": "2.5"}, {**BEFORE, "lightning": "2.5"}],
            "2 networks with torch 2.12.1 and lightning 2.5, "
            "1 network with torch 2.13.0 and lightning 2.6.6.",
        ),
        (
            [NOW] * 1200 + [{**NOW, "glassbox": "0.2"}],
            "1,200 networks with glassbox 0.1.0, 1 network with glassbox 0.2.",
        ),
        (
            [NOW, NOW, {"torch": "2.13.0", "lightning": "2.6.6"}],
            "2 networks with glassbox 0.1.0, 1 network with glassbox unknown.",
        ),
    ],
)
def test_networks_are_counted_by_differing_versions(networks, counts):
    line = mixed_versions(networks)
    assert line is not None and line.endswith(f": {counts}") and "\n" not in line
    assert mixed_versions(reversed(networks)) == line
