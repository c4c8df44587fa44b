"""Whether the networks of one report were trained by different versions, or on different data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

# Of the packages whose versions a run keeps, those that compute its numbers; and a checksum of the
# data, of data modules that read some.
_COMPARED = ("torch", "lightning", "glassbox", "data")


def mixed_versions(networks: Iterable[Mapping[str, str]]) -> str | None:
    """A line that says which versions there are, and how many networks each has trained.

    Args:
        networks: Of every network the version of each package by its name; one that is not there
            is called unknown.

    Returns:
        The line, most networks first; None where all are the same.
    """
    found = Counter(
        tuple(versions.get(package, "unknown") for package in _COMPARED) for versions in networks
    )
    if len(found) < 2:
        return None
    told = [i for i in range(len(_COMPARED)) if len({versions[i] for versions in found}) > 1]
    parts = [
        f"{count:,} network{'s' if count != 1 else ''} with "
        + " and ".join(f"{_COMPARED[i]} {versions[i]}" for i in told)
        for versions, count in sorted(found.items(), key=lambda item: (-item[1], item[0]))
    ]
    if told == [_COMPARED.index("data")]:
        return f"Trained on different data, which do not belong together: {', '.join(parts)}."
    return f"Trained with different versions, which may change last digits: {', '.join(parts)}."
