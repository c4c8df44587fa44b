"""Every study there is, what it costs, and how much of it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from glassbox.reproduction.report_manifest import Identities
from glassbox.reproduction.run_store import Store
from glassbox.reproduction.study import Study, load_studies, study_name, study_title


def print_overview(
    paths: Sequence[Path] | None,
    folder: Path,
    store: Store,
    identities_of: Callable[[Study], Identities],
) -> None:
    """Print a line a study: its title, how much of it is finished, and what it costs.

    A line at a time: to know what is finished, every point's config has to be resolved.

    Args:
        paths: The studies' files; None for all in the folder.
        folder: Where the studies are.
        store: Finished runs.
        identities_of: The points of a study.
    """
    print(f"{'study':<30}{'networks done':>20}{'minutes':>9}{'left':>7}  what it shows", flush=True)
    for path in paths or sorted(folder.rglob("*.yaml")):
        studies = load_studies(path, folder)
        # Studies of one report share runs, which are told once.
        points = {
            store.place(identity): (identity, study.seeds)
            for study in studies
            for identity in identities_of(study).values()
        }
        done = sum(len({*store.seeds_done(i)} & {*seeds}) for i, seeds in points.values())
        wanted = sum(len(seeds) for _, seeds in points.values())
        minutes = [study.minutes for study in studies]
        cost = left = "–"
        if all(minute is not None for minute in minutes):
            whole = sum(minute or 0 for minute in minutes)
            cost, left = f"{whole:.0f}", f"{whole * (1 - done / wanted):.0f}"
        title = study_title(path) or ", ".join(study.title for study in studies)
        shown = f"{study_name(path, folder):<30}{f'{done:,} of {wanted:,}':>20}"
        print(f"{shown}{cost:>9}{left:>7}  {title}", flush=True)
    print("Minutes as measured on two shared CPU cores; runs that studies share count in each.")
