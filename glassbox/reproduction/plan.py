"""The plan of one report: its studies, its folder, and numbers known from earlier reports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glassbox.reproduction.earlier_reports import ReportedStudy
from glassbox.reproduction.grid_labels import Labels
from glassbox.reproduction.identity import identity_hash
from glassbox.reproduction.report_manifest import Identities
from glassbox.reproduction.study import Study


@dataclass(frozen=True)
class Plan:
    """A report of one study, or of a collection."""

    name: str  # such as `harmonic_loss/figure_7`
    title: str | None  # of a collection; None where the study has its own
    folder: Path  # folder of the report
    origin: dict[str, Any]  # from :func:`glassbox.reproduction.report_manifest.report_origin`
    studies: list[Study]  # its sections, in order
    identities: dict[str, Identities]  # points by study
    # numbers of earlier reports by study, for seeds that the store lacks
    reported: dict[str, ReportedStudy]
    is_part: bool = False  # whether it covers only some points or seeds of its studies

    def hashed_points(self, study: Study) -> Iterator[tuple[Labels, str]]:
        """Every point of a study with the hash of its identity."""
        hashes = map(identity_hash, self.identities[study.name].values())
        return zip(study.points(), hashes, strict=True)

    def unreported_seeds(self, study: Study, point: str) -> list[int]:
        """Seeds of a point (by hash) that no earlier report has."""
        reported = self.reported.get(study.name, ReportedStudy()).seeds_of(point)
        return [seed for seed in study.seeds if seed not in reported]
