"""One report that is to be made: of which studies, where, and what is known of it already."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glassbox.reproduction.earlier_reports import ReportedStudy
from glassbox.reproduction.report_manifest import Identities
from glassbox.reproduction.run_store import identity_hash
from glassbox.reproduction.study import Labels, Study


@dataclass(frozen=True)
class Plan:
    """A report of one study, or of several that belong together.

    Attributes:
        name: Such as ``harmonic_loss/figure_7``.
        title: Of a collection; None where the study has its own.
        folder: Where the report goes.
        origin: Which study it is, of :func:`glassbox.reproduction.report_manifest.report_origin`.
        studies: Its sections, in this order.
        identities: Points by study.
        reported: By study what earlier reports tell, for seeds that the store lacks.
        is_part: Whether only some of its points or seeds are asked for.
    """

    name: str
    title: str | None
    folder: Path
    origin: dict[str, Any]
    studies: list[Study]
    identities: dict[str, Identities]
    reported: dict[str, ReportedStudy]
    is_part: bool = False

    def named_points(self, study: Study) -> Iterator[tuple[Labels, str]]:
        """Every point of a study with its hash."""
        names = map(identity_hash, self.identities[study.name].values())
        return zip(study.points(), names, strict=True)

    def seeds_left(self, study: Study, point: str) -> list[int]:
        """The seeds of a point that no report tells of, by its hash."""
        known = self.reported[study.name].seeds_of(point) if study.name in self.reported else []
        return [seed for seed in study.seeds if seed not in known]
