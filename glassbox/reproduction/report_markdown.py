"""The parts of a study's report as Markdown: tables of verdicts, claims, and how to read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from glassbox.reproduction.claims import NOT_RUN, JudgedClaim, finding_text, in_order
from glassbox.reproduction.format import number_text, statistic_text
from glassbox.reproduction.seed_statistics import counts_seeds, is_epoch
from glassbox.reproduction.study import PROTOCOLS, matches
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
    published_seeds,
    rule_text,
)

if TYPE_CHECKING:
    from glassbox.reproduction.study import Study

HOW_TO_READ = """\
Cells are medians over seeds with [first quartile, third quartile], or counts of seeds. A seed that
never gets there counts as later than any number, so that a quartile, or the median itself, may be
"never"; where the table says that it is of the seeds that get there, it is left out and counted.
"""

HOW_VERDICTS = """\
**Verdict**: the authors' protocol against the published number, by the rule above the table (the
careful one where the table says so, or where there is no other).
"Within quartiles" is one that would differ by it, but the published number lies between our
quartiles. Counts among different numbers of seeds are compared as shares. A difference is ours
minus theirs, a factor ours over theirs.
"""

HOW_PROTOCOLS = """\
**Careful against authors'**: whether both protocols give the same by the same rule. Where they do
not, exchanging seeds between them at random tells whether chance could bring the difference about:
"depends on the protocol" (p below 0.05: the published number is one of its protocol), or "not
clearly apart".
"""

HOW_CLAIMS = """\
**Claims** compare two groups of seeds. P is the probability that a seed of the first is beyond one
of the second (0.5: no difference; ties count half), p how often exchanging the seeds sets the
groups as far apart, over all ways of exchanging them. A claim "holds" where p is below 0.05 and P
above 0.5; "the reverse holds" where P is below; else there is "no difference seen", which is enough
for a claim that says so. "Too few seeds to tell": no two groups of these sizes could be clearly
apart (such as three seeds against four), or more seeds are left out than count. "Never reached by
either": of an epoch that no seed of the two groups has. Of many such tests one in twenty is clear
by chance. A claim about a number holds where enough of the seeds are
beyond it, and is "just missed" where up to 3 of 20 are lacking.
"""


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; bars and line breaks within cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def study_table(table: Mapping[str, Any], rows: Sequence[Row], study: Study) -> str:
    """One table of the study: heading, its rule, its rows, and how many are reproduced.

    Where nothing is published there are neither its column nor verdicts.
    """
    unit = f" ({table['unit']})" if table.get("unit") else ""
    name = str(table["name"])
    known = any(row.published is not None for row in rows)
    rules = [rule_text(table)] if known else []
    if not known and any(row.protocols != NOTHING for row in rows):
        rules = [agreement_text(table)]
    parts = [f"## {name[:1].upper()}{name[1:]}{unit}", " ".join([_what(table), *rules])]
    if known and table.get("judged") == "careful" and not study.one_protocol:
        parts.append("Verdicts of this table are the careful protocol's.")
    if table.get("published_in"):
        parts.append(f"Published: {str(table['published_in']).rstrip('.')}.")
    epochs = is_epoch(table["metric"], table.get("unit"))
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
    """How many rows have which verdict, in a few words; none where there is nothing to compare."""
    counts = Counter(row.outcome for row in rows)
    compared = len(rows) - counts[NOTHING]
    near = counts[REPRODUCED] + counts[WITHIN_QUARTILES]
    within = f" ({counts[WITHIN_QUARTILES]} within quartiles)" * bool(counts[WITHIN_QUARTILES])
    told = []
    if any(row.published is not None for row in rows):
        told.append(
            f"Published numbers compared: {compared}; reproduced: {near}{within}; "
            f"differing: {counts[DIFFERS]}; not reproduced: {counts[NOT_REPRODUCED]}"
            f"{f'; too few seeds to tell: {counts[TOO_FEW]}' if counts[TOO_FEW] else ''}."
        )
    missing = sum(row.lacks_run for row in rows)
    if missing:
        told.append(f"Published but not run under the protocol that is judged: {missing}.")
    depending = sum(row.protocols == DEPENDS for row in rows)
    both = sum(row.protocols != NOTHING for row in rows)
    if both:
        told.append(f"Rows that depend on the protocol: {depending} of {both}.")
    return " ".join(told)


def published_text(table: Mapping[str, Any], published: Published | None) -> str:
    """A published number with its spread: 0.455 (0.35–0.63), or 14 of 20."""
    if published is None:
        return NOTHING
    if counts_seeds(table):
        return f"{published.value:g} of {published_seeds(table)}"
    epochs = is_epoch(table["metric"], table.get("unit"))
    text = number_text(published.value, epochs)
    if published.low is not None and published.high is not None:
        low, high = number_text(published.low, epochs), number_text(published.high, epochs)
        text += f" ({low}–{high})"
    return text


def claims_tables(judged: Sequence[JudgedClaim], study: Study) -> str:
    """All claims in one table, then for each the numbers behind it."""
    num_seeds, both = len(study.seeds), not study.one_protocol
    names = ["authors", "careful"] if both else []  # of one protocol the verdict says it all
    summary = [
        [
            str(index),
            str(result.claim["says"]),
            *(_held(result, name) for name in names),
            result.verdict,
        ]
        for index, result in enumerate(judged, start=1)
    ]
    header = ["", "claim", *(_protocols(study) if both else []), "verdict"]
    parts = ["## Claims", markdown_table(header, summary)]
    for index, result in enumerate(judged, start=1):
        claim = result.claim
        parts.append(f"**{index}. {str(claim['says']).rstrip('.')}.** {_compared(claim)}.")
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
    """Headings of the columns of what was measured."""
    return ["measured"] if study.one_protocol else ["authors' protocol", "careful protocol"]


def claims_tally(judged: Sequence[JudgedClaim]) -> str:
    """The verdicts of all cases of all claims in a few words."""
    cases = [case.verdict for result in judged for case in result.cases]
    told = "; ".join(f"{verdict}: {count}" for verdict, count in in_order(Counter(cases)))
    return f"Claims: {len(judged)}, in {len(cases)} cases; {told}."


def protocols_text(study: Study) -> str:
    """What the grid's values and the protocols set on top of the base configuration, as a list."""
    lines = []
    for axis, values in study.axes.items():
        told = [f"{value} ({_keys(keys)})" for value, keys in values.items() if keys]
        plain = [value for value, keys in values.items() if not keys]
        as_base = [f"{', '.join(plain)} (as in the base configuration)"] if plain else []
        lines.append(f"- {axis[:1].upper()}{axis[1:]}: {'; '.join([*told, *as_base])}.")
    for protocol, name in (("authors", "Authors' protocol"), ("careful", "Careful protocol")):
        if protocol not in study.protocols:  # left out by `only`
            continue
        keys = study.protocols[protocol]
        told = ([_keys(keys)] if keys else []) + _settings(study, protocol)
        if not study.one_protocol:
            lines.append(f"- {name}: {'; '.join(told) or 'nothing more'}.")
        elif told:
            lines.append(f"- {'; '.join(told)}.")
    both = _settings(study, None)
    if study.is_quick and (changed := study.quick.get("set")):
        both.append(f"{_keys(changed)} (quick version, in place of the same key elsewhere)")
    if both:
        lines.append(f"- {'' if study.one_protocol else 'Both: '}{'; '.join(both)}.")
    return "\n".join(lines or ["- nothing."])


def _settings(study: Study, protocol: str | None) -> list[str]:
    """Further keys of a protocol (None: of both), where the study has points for them."""
    told = []
    for setting in study.settings:
        if set(setting["set"]) == {"data.data_dir"}:  # a place on somebody's machine
            continue
        when = dict(setting["when"])
        used = any(matches(point, when) for point in study.points())
        of = when.pop("protocol", None)
        of = None if isinstance(of, list) and len(of) == len(PROTOCOLS) else of
        if (of if isinstance(of, str) or of is None else of[0]) == protocol and used:
            told.append(f"{_keys(setting['set'])}{f' ({_labels(when)})' if when else ''}")
    return told


def _what(table: Mapping[str, Any]) -> str:
    metric, statistic = f"`{table['metric']}`", table.get("statistic", "median")
    if statistic == "count_reached":
        return f"Seeds that have a value of {metric} at all."
    if statistic == "count_above":
        return f"Seeds with {metric} at or above {table['threshold']:g}."
    if statistic == "count_named":
        return f"Seeds whose {metric} begins with {table['starts_with']!r}."
    if statistic == "median_reached":
        return f"Median of {metric} over the seeds that get there [quartiles]."
    return f"Median of {metric} over seeds [quartiles]."


def _held(result: JudgedClaim, protocol: str) -> str:
    holds, cases = result.count(protocol)
    if len(result.cases) == 1:
        finding = getattr(result.cases[0], protocol)
        return NOT_RUN if finding is None else finding.outcome
    return f"holds for {holds} of {cases}" if cases else NOT_RUN


def _compared(claim: Mapping[str, Any]) -> str:
    side = "greater" if "greater" in claim else "less"
    than = claim["than"]
    what = f"`{claim['metric']}` of {_labels(claim[side])} {side} than"
    if claim.get("or_equal"):
        what = what.replace(f"{side} than", f"{side} than or no different from")
    if "among" in claim:
        what = f"Among seeds with a value of `{claim['among']}`, the others left out: {what}"
    if isinstance(than, Mapping):
        return f"{what} of {_labels(than)}"
    number = number_text(float(than), is_epoch(claim["metric"], claim.get("unit")))
    return f"{what} {number}, in at least {100 * claim.get('share', 0.75):g} % of the seeds"


def _labels(chosen: Mapping[str, Any]) -> str:
    words = []
    for axis, value in chosen.items():
        several = value if isinstance(value, list | tuple) else [value]
        text = " or ".join(map(str, several))
        words.append(f"{axis} {text}" if text[:1].isdigit() else text)  # 4 alone tells nothing
    return ", ".join(words) or "all"


def _keys(keys: Mapping[str, Any]) -> str:
    return ", ".join(f"`{key}: {_yaml(value)}`" for key, value in keys.items())


def _yaml(value: Any) -> str:
    return (
        str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
    )


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
