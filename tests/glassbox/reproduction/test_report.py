"""Content of reports, their files, and that all are replaced together."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glassbox.plots.style import new_figure
from glassbox.reproduction.files import replacing, replacing_together, write_figure
from glassbox.reproduction.grid_point import GridPoint
from glassbox.reproduction.report import Section, write_report
from glassbox.reproduction.schema import Claim, Quick, Rule, Setting, Table
from glassbox.reproduction.study import Study

EV, EPOCH = "val/embedding/explained_variance_2", "generalization/test_epoch"
STUDY = Study(
    name="paper/figure_3a",
    title="Embeddings of all models",
    source="A paper, Figure 3",
    config=Path("somewhere/lattice.yaml"),
    seeds=[0, 1, 2],
    axes={"task": {"lattice": {}, "a|b": {}}, "model": {"old": {}, "new": {}}},
    protocols={"authors": {"data.sampling": "with_replacement"}, "careful": {}},
    settings=[
        Setting({"model": ["old"], "protocol": ["authors"]}, {"model.head.bias": True}),
        Setting({"task": ["lattice"]}, {"trainer.max_epochs": 9}),
    ],
    tables=[
        Table(
            "explained variance",
            EV,
            Rule("absolute", 0.05, 0.2),
            {"lattice": {"old": [0.455, 0.35, 0.63], "new": 1.0}, "a|b": {"old": 0.5, "new": None}},
            published_in="Figure 3(a)",
        ),
        Table(
            "first epoch above 90 %",
            EPOCH,
            Rule("ratio", 1.5, 3),
            {"lattice": {"old": 1032, "new": "never"}},
            unit="epochs",
            where={"task": ["lattice"]},
        ),
    ],
    claims=[
        Claim(
            "new is more compact",
            EV,
            greater={"model": ["new"]},
            than={"model": ["old"]},
            where={"task": ["lattice"]},
        )
    ],
    quick=Quick(2, {"trainer.max_epochs": 1400}),
)


def point(task, model, variances, epochs):
    epochs = np.array([math.nan if epoch is None else epoch for epoch in epochs], float)
    metrics = {EV: np.array(variances, float), EPOCH: epochs}
    return GridPoint({"task": task, "model": model}, range(len(variances)), metrics, {})


def results():
    return {
        "authors": [
            point("lattice", "old", [0.4, 0.45, 0.5], [900, 1100, 2000]),
            point("lattice", "new", [0.9, 0.9, 0.9], [10, None, None]),
            point("a|b", "old", [0.9, 0.9], [1, 2]),
        ],
        "careful": [point("lattice", "old", [0.9, 0.95, 0.96], [100, 110, 120])],
    }


def figure():
    drawn = new_figure(2, 1)
    drawn.add_axes((0.1, 0.2, 0.8, 0.7)).plot([0, 1], [1, 0])
    return drawn


def report_of(folder, *sections, **options):
    return write_report(folder, sections, command="lightning reproduce x", **options).read_text()


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_every_row_has_the_published_number_both_protocols_and_the_verdict(tmp_path):
    lines = report_of(tmp_path, Section(STUDY, results())).splitlines()
    assert "| lattice | old | 0.455 (0.35–0.63) | 0.45 [0.425, 0.475] | 0.95 [0.925, 0.955] | reproduced | too few seeds to tell |" in lines  # fmt: skip  # noqa: E501
    assert "| lattice | new | 1.00 | 0.90 [0.90, 0.90] | – | differs by −0.10 | – |" in lines
    # A point that has fewer seeds, one that has not been run, and a bar that ends no cell.
    assert r"| a\|b | old | 0.50 | 0.90 [0.90, 0.90] (2 seeds) | – | not reproduced | – |" in lines
    assert r"| a\|b | new | – | – | – | – | – |" in lines
    assert "| lattice | old | 1,032 | 1,100 [1,000, 1,550] | 110 [105, 115] | reproduced | too few seeds to tell |" in lines  # fmt: skip  # noqa: E501
    assert (
        "| lattice | new | never | never [never, never], 2 of 3 never | – | reproduced | – |"
        in lines
    )
    assert not any(line.startswith(r"| a\|b | old | 1") for line in lines)  # the table's `where`


def test_a_report_lists_settings_command_notes_and_tallies(tmp_path):
    text = report_of(tmp_path, Section(STUDY, results()), notes=["3 networks are not run"])
    for part in (
        "# Embeddings of all models\n\nSource: A paper, Figure 3. 3 seeds, 0 to 2.",
        "```bash\nlightning reproduce x\n```",
        "- 3 networks are not run",
        "`data.sampling: with_replacement`; `model.head.bias: true` (old).",
        "- Careful protocol: nothing more.\n- Both: `trainer.max_epochs: 9` (lattice).",
        "Published: Figure 3(a).",
        "compared: 5; reproduced: 3; differing: 1; not reproduced: 1",
        "| 1 | new is more compact | too few seeds to tell | – |",
    ):
        assert part in text
    assert "Quick" not in text


def test_a_quick_version_starts_with_a_warning_and_has_no_summary(tmp_path):
    text = report_of(tmp_path, Section(STUDY.quickened(), results()))
    assert text.split("\n\n")[1].startswith("**Quick version: 2 seeds, 1,400 epochs.")
    assert "In short" not in text


def test_a_metric_that_no_run_has_is_reported_as_likely_misspelled(tmp_path):
    table = replace(STUDY.tables[0], metric="val/explained")
    elsewhere = replace(table, where={"task": ["elsewhere"]})  # points that a part leaves out
    for tables, measured, warns in (
        ([table], results(), True),
        ([table], {}, False),
        ([elsewhere], results(), False),
    ):
        study = replace(STUDY, tables=tables, claims=[])
        text = report_of(tmp_path, Section(study, measured))
        assert ("No run has the metric `val/explained`" in text) == warns


def test_summary_has_a_line_per_row_and_protocol(tmp_path):
    report_of(tmp_path, Section(STUDY, results()))
    rows = rows_of(tmp_path / "summary.csv")
    assert len(rows) == 2 * (4 + 2)
    first, second = rows[:2]
    assert (first["task"], first["model"], first["protocol"]) == ("lattice", "old", "authors")
    assert [float(first[k]) for k in ("q25", "value", "q75")] == [0.425, 0.45, 0.475]
    assert (first["published"], first["published_low"]) == ("0.455", "0.35")
    assert (first["verdict"], second["verdict"]) == ("reproduced", "too few seeds to tell")
    never = rows[-2]
    assert (never["value"], never["published"], never["seeds_without_value"]) == (
        "never",
        "never",
        "2",
    )
    assert rows[-1]["value"] == rows[-1]["seeds"] == ""  # careful protocol, not run


def test_claims_csv_has_the_numbers_behind_claims(tmp_path):
    report_of(tmp_path, Section(STUDY, results()))
    authors, careful = rows_of(tmp_path / "claims.csv")
    assert (authors["outcome"], authors["share"]) == ("too few seeds to tell", "1")
    assert float(authors["p"]) == pytest.approx(0.1)  # 2 of 20 divisions
    assert (authors["first_value"], authors["second_q75"]) == ("0.9", "0.475")
    assert careful["outcome"] == ""


def test_several_studies_make_one_report_with_separate_files(tmp_path):
    other = replace(STUDY, name="paper/figure_3b", title="Second part")
    text = report_of(
        tmp_path,
        Section(STUDY, results(), {"figure_3a_authors": figure(), "curves": figure()}),
        Section(other, {}),
        title="Figure 3",
    )
    assert text.startswith("# Figure 3\n")
    assert text.index("# Embeddings of all models") < text.index("# Second part")
    assert "(figure_3a_authors.png)" in text and "(figure_3a_curves.png)" in text
    names = {path.name for path in tmp_path.iterdir()}
    assert {"figure_3a_seeds.csv", "figure_3b_seeds.csv", "figure_3b_summary.csv"} <= names
    assert "seeds.csv" not in names
    assert len(rows_of(tmp_path / "figure_3a_seeds.csv")) == 11
    assert rows_of(tmp_path / "figure_3b_seeds.csv") == []


def test_files_are_replaced_only_when_all_are_written(tmp_path):
    (tmp_path / "report.md").write_text("before")
    with pytest.raises(OSError, match="disk full"), replacing(tmp_path / "report.md") as partial:
        partial.write_text("half")
        raise OSError("disk full")
    with pytest.raises(OSError, match="disk full"), replacing_together(tmp_path) as scratch:
        (scratch / "report.md").write_text("after")
        (scratch / "study.json").write_text("half")
        raise OSError("disk full")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"report.md": "before"}


def test_report_and_manifest_are_replaced_together(tmp_path, monkeypatch):
    report_of(tmp_path, Section(STUDY, results()), manifest={"networks": 1})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr("glassbox.reproduction.report.json.dumps", _fail)
    with pytest.raises(OSError, match="disk full"):
        report_of(tmp_path, Section(STUDY, {}), manifest={"networks": 0})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def _fail(*arguments, **options):
    raise OSError("disk full")


def test_a_large_png_is_written_with_fewer_colors(tmp_path):
    from matplotlib.figure import Figure
    from PIL import Image

    large = Figure(figsize=(4, 4))
    large.figimage(np.random.default_rng(0).random((600, 600, 3)))
    large.savefig(tmp_path / "full.png", dpi=150)
    write_figure(tmp_path, "noise", large)
    write_figure(tmp_path, "curves", figure())

    def read(name: str) -> tuple[str, np.ndarray]:
        with Image.open(tmp_path / f"{name}.png") as image:
            return image.mode, np.asarray(image.convert("RGB")) / 255

    (mode, few), (_, full) = read("noise"), read("full")
    assert (mode, read("curves")[0]) == ("P", "RGBA")
    assert np.abs(few - full).mean() < 0.1  # of noise, the worst there is
    sizes = [(tmp_path / f"{name}.png").stat().st_size for name in ("noise", "full")]
    assert sizes[0] < sizes[1] / 2


def test_a_study_of_one_protocol_has_one_column_of_what_was_measured(tmp_path):
    alone = replace(STUDY, protocols={"careful": {}}, settings=[], one_protocol=True)
    careful = {"authors": [], "careful": results()["authors"]}
    text = report_of(tmp_path, Section(alone, careful))
    assert "| task | model | published | measured | verdict |" in text
    assert "| lattice | old | 0.455 (0.35–0.63) | 0.45 [0.425, 0.475] | reproduced |" in text
    assert "|  | claim | verdict |" in text
    assert "| 1 | new is more compact | too few seeds to tell |" in text
    assert "compared: 5; reproduced: 3; differing: 1; not reproduced: 1" in text
    assert "rotocol " not in text.split("## How to read this")[0]
    assert "Careful against" not in text
    lines = rows_of(tmp_path / "summary.csv") + rows_of(tmp_path / "claims.csv")
    assert {line["protocol"] for line in lines} == {"careful"}
    assert lines[0]["verdict"] == "reproduced"


def test_a_table_without_published_numbers_has_neither_their_column_nor_verdicts(tmp_path):
    ours = [replace(STUDY.tables[0], published=None, published_in=None)]
    alone = replace(STUDY, tables=ours, protocols={"careful": {}}, settings=[], one_protocol=True)
    text = report_of(tmp_path, Section(alone, {"authors": [], "careful": results()["authors"]}))
    assert "| task | model | measured |\n" in text
    assert "| lattice | old | 0.45 [0.425, 0.475] |\n" in text
    assert "eproduced" not in text and "ublished" not in text and "Claims: 1" in text
    both = replace(STUDY, tables=ours)
    compared = report_of(
        tmp_path, Section(both, {name: results()["authors"] for name in results()})
    )
    assert "| authors' protocol | careful protocol | careful against authors' |\n" in compared
    assert "Rows that depend on the protocol: 0 of 3." in compared
