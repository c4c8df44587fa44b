"""List the studies with their cost and progress."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from glassbox.reproduction.report_manifest import Identities
from glassbox.reproduction.run_store import Store
from glassbox.reproduction.study import Study, load_studies, study_name, study_title


def print_studies(
    paths: Sequence[Path],
    folder: Path,
    store: Store,
    identities_of: Callable[[Study], Identities],
) -> None:
    """Print a line per study: progress, cost and title.

    Each line is printed when it is ready, since every point's config has to be resolved. A study
    with a damaged record has the error in place of its progress.
    """
    print(f"{'study':<30}{'networks done':>20}{'minutes':>9}{'left':>7}  what it shows", flush=True)
    for path in paths:
        name = study_name(path, folder)
        try:
            line = _line(path, folder, store, identities_of)
        except ValueError as error:
            line = f"  {error}"
        print(f"{name:<30}{line}", flush=True)
    print("Minutes as measured on two shared CPU cores; shared runs count in every study.")


def _line(
    path: Path, folder: Path, store: Store, identities_of: Callable[[Study], Identities]
) -> str:
    studies = load_studies(path, folder)
    points = {  # studies of a collection share points
        store.point_dir(identity): (identity, study.seeds)
        for study in studies
        for identity in identities_of(study).values()
    }
    done = sum(len({*store.seeds_done(i)} & {*seeds}) for i, seeds in points.values())
    wanted = sum(len(seeds) for _, seeds in points.values())
    minutes = [study.minutes for study in studies if study.minutes is not None]
    cost = left = "–"
    if len(minutes) == len(studies):
        cost, left = f"{sum(minutes):.0f}", f"{sum(minutes) * (1 - done / wanted):.0f}"
    title = study_title(path) or ", ".join(study.title for study in studies)
    return f"{f'{done:,} of {wanted:,}':>20}{cost:>9}{left:>7}  {title}"
