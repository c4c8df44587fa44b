"""Parts of a report as Markdown: tables of verdicts, claims, and how to read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from glassbox.reproduction.claims import NOT_RUN, JudgedClaim, finding_text, in_order
from glassbox.reproduction.format import number_text, statistic_text
from glassbox.reproduction.grid_labels import PROTOCOLS, matches
from glassbox.reproduction.schema import Claim, Table
from glassbox.reproduction.verdicts import (
    DEPENDS,
    DIFFERS,
    NOT_REPRODUCED,
    NOTHING,
    REPRODUCED,
    TOO_FEW,
    WITHIN_QUARTILES,
    Published,
    Row,
    agreement_text,
    rule_text,
)

if TYPE_CHECKING:
    from glassbox.reproduction.study import Study

HOW_TO_READ = """\
Cells are medians over seeds with [first quartile, third quartile], or counts of seeds. Seeds that
never reach the threshold count as +∞, so a quartile or the median may be "never". Where a table
says so, they are left out and counted.
"""

HOW_VERDICTS = """\
**Verdict**: the authors' protocol against the published number, by the rule above the table (the
careful protocol where the table says so, or where there is no other).
"Within quartiles": the number would differ by the rule, but the published number lies between our
quartiles. Counts among different numbers of seeds are compared as fractions. A difference is ours
minus theirs, a factor ours over theirs.
"""

HOW_PROTOCOLS = """\
**Careful against authors'**: whether both protocols agree by the same rule. Where they do not, an
exact rank-sum test compares their seeds: "depends on the protocol" (p below 0.05) or "not clearly
apart".
"""

HOW_CLAIMS = """\
**Claims** compare two groups of seeds. P is the probability that a seed of the first is beyond one
of the second (0.5: no difference; ties count half), p the p-value of an exact rank-sum test. A
claim "holds" where p is below 0.05 and P above 0.5; "the reverse holds" where P is below 0.5;
otherwise there is "no difference seen", which is enough for a claim that says so. "Too few seeds to
tell": groups of these sizes cannot differ significantly (such as three seeds against four), or more
seeds are left out than count. "Never reached by either": an epoch that no seed of the two groups
has. Of many such tests one in twenty is significant by chance. A claim about a number holds where
enough of the seeds are beyond it, and is "just missed" where up to 3 of 20 are lacking.
"""


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; bars and line breaks within cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def study_table(table: Table, rows: Sequence[Row], study: Study) -> str:
    """One table of the study: heading, rule, rows, and how many are reproduced.

    Without published numbers there is neither their column nor a verdict.
    """
    unit = f" ({table.unit})" if table.unit else ""
    name = table.name
    known = any(row.published is not None for row in rows)
    rules = [rule_text(table)] if known else []
    if not known and any(row.protocols != NOTHING for row in rows):
        rules = [agreement_text(table)]
    parts = [f"## {name[:1].upper()}{name[1:]}{unit}", " ".join([_what(table), *rules])]
    if known and table.reference_protocol == "careful" and not study.one_protocol:
        parts.append("Verdicts of this table are the careful protocol's.")
    if table.published_in:
        parts.append(f"Published: {table.published_in.rstrip('.')}.")
    epochs = table.counts_epochs
    num_seeds = len(study.seeds)
    header = [*study.axes, *["published"] * known, *_protocols(study), *["verdict"] * known]
    cells = [
        [
            *row.labels.values(),
            *[published_text(table, row.published)] * known,
            *([] if study.one_protocol else [statistic_text(row.authors, epochs, num_seeds)]),
            statistic_text(row.careful, epochs, num_seeds),
            *[row.verdict] * known,
            *([] if study.one_protocol else [row.protocols]),
        ]
        for row in rows
    ]
    header += [] if study.one_protocol else ["careful against authors'"]
    parts.append(markdown_table(header, cells))
    return "\n\n".join([*parts, *filter(None, [tally(rows)])])


def tally(rows: Sequence[Row]) -> str:
    """Number of rows with each verdict, in words; empty if there is nothing to compare."""
    counts = Counter(row.outcome for row in rows)
    compared = len(rows) - counts[NOTHING]
    near = counts[REPRODUCED] + counts[WITHIN_QUARTILES]
    within = f" ({counts[WITHIN_QUARTILES]} within quartiles)" * bool(counts[WITHIN_QUARTILES])
    sentences = []
    if any(row.published is not None for row in rows):
        sentences.append(
            f"Published numbers compared: {compared}; reproduced: {near}{within}; "
            f"differing: {counts[DIFFERS]}; not reproduced: {counts[NOT_REPRODUCED]}"
            f"{f'; too few seeds to tell: {counts[TOO_FEW]}' if counts[TOO_FEW] else ''}."
        )
    missing = sum(row.lacks_run for row in rows)
    if missing:
        sentences.append(f"Published but not run under the protocol that is judged: {missing}.")
    depending = sum(row.protocols == DEPENDS for row in rows)
    both = sum(row.protocols != NOTHING for row in rows)
    if both:
        sentences.append(f"Rows that depend on the protocol: {depending} of {both}.")
    return " ".join(sentences)


def published_text(table: Table, published: Published | None) -> str:
    """A published number with its quartiles: 0.455 (0.35–0.63), or 14 of 20."""
    if published is None:
        return NOTHING
    if table.counts_seeds:
        return f"{published.value:g} of {table.published_seeds}"
    epochs = table.counts_epochs
    text = number_text(published.value, epochs)
    if published.low is not None and published.high is not None:
        low, high = number_text(published.low, epochs), number_text(published.high, epochs)
        text += f" ({low}–{high})"
    return text


def claims_tables(judged: Sequence[JudgedClaim], study: Study) -> str:
    """All claims in one table, then the numbers behind each."""
    num_seeds, both = len(study.seeds), not study.one_protocol
    names = PROTOCOLS if both else ()  # with one protocol, the verdict is enough
    summary = [
        [
            str(index),
            result.claim.statement,
            *(_held(result, name) for name in names),
            result.verdict,
        ]
        for index, result in enumerate(judged, start=1)
    ]
    header = ["", "claim", *(_protocols(study) if both else []), "verdict"]
    parts = ["## Claims", markdown_table(header, summary)]
    for index, result in enumerate(judged, start=1):
        claim = result.claim
        parts.append(f"**{index}. {claim.statement.rstrip('.')}.** {_compared(claim)}.")
        numbers = [
            [
                *case.labels.values(),
                *([finding_text(case.authors, claim, num_seeds)] if both else []),
                finding_text(case.careful, claim, num_seeds),
                *([case.verdict] if both else []),
            ]
            for case in result.cases
        ]
        axes = list(result.cases[0].labels) if result.cases else []
        header = [*axes, *_protocols(study), *(["verdict"] if both else [])]
        parts.append(markdown_table(header, numbers))
    return "\n\n".join(parts)


def _protocols(study: Study) -> list[str]:
    """Headings of the columns of measured numbers."""
    return ["measured"] if study.one_protocol else ["authors' protocol", "careful protocol"]


def claims_tally(judged: Sequence[JudgedClaim]) -> str:
    """Number of cases of all claims with each verdict, in words."""
    cases = [case.verdict for result in judged for case in result.cases]
    counts = "; ".join(f"{verdict}: {count}" for verdict, count in in_order(Counter(cases)))
    return f"Claims: {len(judged)}, in {len(cases)} cases; {counts}."


def protocols_text(study: Study) -> str:
    """List of the config keys that the grid's values and the protocols set."""
    lines = []
    for axis, values in study.axes.items():
        changed = [f"{value} ({_keys(keys)})" for value, keys in values.items() if keys]
        plain = [value for value, keys in values.items() if not keys]
        as_base = [f"{', '.join(plain)} (as in the base configuration)"] if plain else []
        lines.append(f"- {axis[:1].upper()}{axis[1:]}: {'; '.join([*changed, *as_base])}.")
    for protocol, name in (("authors", "Authors' protocol"), ("careful", "Careful protocol")):
        if protocol not in study.protocols:  # left out by `only`
            continue
        keys = study.protocols[protocol]
        own = ([_keys(keys)] if keys else []) + _settings(study, protocol)
        if not study.one_protocol:
            lines.append(f"- {name}: {'; '.join(own) or 'nothing more'}.")
        elif own:
            lines.append(f"- {'; '.join(own)}.")
    both = _settings(study, None)
    if study.is_quick and study.quick.set:
        both.append(f"{_keys(study.quick.set)} (quick version, in place of the same key elsewhere)")
    if both:
        lines.append(f"- {'' if study.one_protocol else 'Both: '}{'; '.join(both)}.")
    return "\n".join(lines or ["- nothing."])


def _settings(study: Study, protocol: str | None) -> list[str]:
    """Settings of one protocol (None: of both) that apply to a point of the study."""
    lines = []
    for setting in study.settings:
        if set(setting.set) == {"data.data_dir"}:  # a path of the reader's machine
            continue
        when = dict(setting.when)
        applies = any(matches(point, when) for point in study.points())
        protocols = when.pop("protocol", [*PROTOCOLS])
        owner = None if len(protocols) == len(PROTOCOLS) else protocols[0]
        if owner == protocol and applies:
            lines.append(f"{_keys(setting.set)}{f' ({_labels(when)})' if when else ''}")
    return lines


def _what(table: Table) -> str:
    metric = f"`{table.metric}`"
    return {
        "median": f"Median of {metric} over seeds [quartiles].",
        "median_reached": f"Median of {metric} over the seeds that reach it [quartiles].",
        "count_reached": f"Seeds that have a value of {metric} at all.",
        "count_above": f"Seeds with {metric} at or above {table.threshold or 0:g}.",
        "count_named": f"Seeds whose {metric} begins with {table.starts_with!r}.",
    }[table.statistic]


def _held(result: JudgedClaim, protocol: str) -> str:
    holds, cases = result.count(protocol)
    if len(result.cases) == 1:
        finding = result.cases[0].finding(protocol)
        return NOT_RUN if finding is None else finding.outcome
    return f"holds for {holds} of {cases}" if cases else NOT_RUN


def _compared(claim: Claim) -> str:
    relation = f"{claim.side} than or no different from" if claim.or_equal else f"{claim.side} than"
    what = f"`{claim.metric}` of {_labels(claim.group)} {relation}"
    if claim.given_metric is not None:
        what = f"Among seeds with a value of `{claim.given_metric}`, the others left out: {what}"
    if isinstance(claim.than, dict):
        return f"{what} of {_labels(claim.than)}"
    number = number_text(float(claim.than), claim.counts_epochs)
    return f"{what} {number}, in at least {100 * claim.required_fraction:g} % of the seeds"


def _labels(chosen: Mapping[str, Sequence[str]]) -> str:
    words = []
    for axis, values in chosen.items():
        text = " or ".join(values)
        words.append(f"{axis} {text}" if text[:1].isdigit() else text)  # a bare 4 means nothing
    return ", ".join(words) or "all"


def _keys(keys: Mapping[str, object]) -> str:
    return ", ".join(f"`{key}: {_yaml(value)}`" for key, value in keys.items())


def _yaml(value: object) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
