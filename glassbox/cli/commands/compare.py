"""The command `compare`: word parallelograms of several trained models in one figure."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from callbacks.probes.checks import check_components, check_numbers
from callbacks.probes.parallelograms import (
    NOTE,
    Measured,
    measure_parallelograms,
    rank_parallelograms,
)
from callbacks.probes.titles import loss_label
from callbacks.probes.word_pairs import (
    WordPairs,
    choose_figure_task,
    encode_word_pairs,
    load_word_pairs,
)
from glassbox.metrics import (
    analogy_ranks,
    analogy_scores,
    draw_quadruples,
    draw_unrelated,
    parallelogram_scores,
)

Row = dict[str, str | int | float]


def compare(
    checkpoints: list[str],
    output: str = "runs/compare",
    words: str | None = None,
    names: list[str] | None = None,
    tokenizer: str | None = None,
    tasks: list[str] | None = None,
    components: int | None = 2,
    squared: bool = False,
    leading_space: bool = False,
    num_quadruples: int = 10000,
    num_analogies: int = 1000,
    similarity: Literal["euclidean", "cosine"] = "euclidean",
    seed: int = 0,
    figure_task: str | None = None,
    *,
    load_model: Callable[[str], Any],
    load_tokenizer: Callable[[str], Any],
    choose_tokenizer: Callable[..., Any],
) -> str:
    """Measure parallelograms and analogies of several language models on the same word pairs.

    Args:
        checkpoints: Of language models with one vocabulary, such as '[a.ckpt, b.ckpt]'.
        output: Folder for the figures and parallelograms.csv; those of an earlier comparison in
            it are replaced.
        words: Folder with a JSON file for each task, a list of {"input": ..., "output": ...}; null
            takes the built-in ones: present to past, singular to plural, country to capital.
        names: Of the models, in figures and table; null calls them by their heads, or where these
            are the same by their paths.
        tokenizer: 'gpt2' or another of tiktoken's, 'bytes', or a tokenizer file; null takes the
            one that the checkpoints name.
        tasks: Names of the files to take; null takes all.
        components: Principal components that words are projected on; null takes the whole space.
        squared: Square the loss, as the authors' code does and their equation does not.
        leading_space: Encode " word", as words within a text are, instead of "word".
        num_quadruples: Drawn for each task, with replacement, the same ones for every model.
        num_analogies: Quadruples whose analogy is looked up among all words; 0 for none.
        similarity: What close means in an analogy: euclidean distance, or cosine.
        seed: Of the quadruples.
        figure_task: Task whose parallelograms are drawn; null takes present to past, or else the
            first.
        load_model: Path to a model and the name of its tokenizer (handed by the command line).
        load_tokenizer: Name to a tokenizer (likewise).
        choose_tokenizer: The tokenizer of these models (likewise).

    Returns:
        A table, and where the figures are.

    Raises:
        ValueError: The models cannot be compared, or an option is wrong.
    """
    check_numbers("compare", seed, num_quadruples=num_quadruples, components=components)
    if not 0 <= num_analogies <= 1_000_000:
        raise ValueError(f"num_analogies is {num_analogies}; it must be from 0 (none) to 1,000,000")
    if not checkpoints:
        raise ValueError("checkpoints is empty; name one or more, such as '[a.ckpt, b.ckpt]'")
    if names is not None and len({*names}) != len(checkpoints):
        raise ValueError(
            f"names are {', '.join(names)}; give each of the {len(checkpoints)} checkpoints its own"
        )
    folder = Path(output).expanduser()
    if folder.is_file():
        raise ValueError(f"output is {output}, which is a file; name a folder")
    pairs = load_word_pairs(words, tasks)
    drawn_task = choose_figure_task(list(pairs), figure_task)
    loaded = [load_model(path) for path in checkpoints]
    names = names or _names(checkpoints, [found.model for found in loaded])
    embeddings = [found.model.embedding_matrix() for found in loaded]  # (1, V, E) each
    vocab_size = embeddings[0].shape[1]
    _check_sizes({path: e.shape[1] for path, e in zip(checkpoints, embeddings, strict=True)})
    vocabulary = choose_tokenizer(loaded, tokenizer, load_tokenizer)
    if vocabulary is None:
        raise ValueError(
            f"the checkpoints do not say which tokenizer they were trained with; name it with "
            f"--tokenizer (they have {vocab_size:,} tokens)"
        )
    encoded = encode_word_pairs(pairs, vocabulary.encode_batch, vocab_size, leading_space)
    measured: dict[str, Measured] = {}
    rows: list[Row] = []
    for name, embedding in zip(names, embeddings, strict=True):
        check_components(components, embedding.shape[-1])
        found = measure_parallelograms(
            embedding, encoded, num_quadruples, seed, components, squared
        )
        measured[name] = found
        share = float(found.space.fractions[0].sum())
        for task, of_task in encoded.items():
            scores = parallelogram_scores(found.losses[task][0], found.unrelated[task][0])
            row: Row = {"model": name, "task": task, "pairs": len(of_task.words)}
            row |= {key: float(value) for key, value in scores._asdict().items()}
            row["explained_variance"] = share
            if num_analogies:
                asked = draw_quadruples(len(of_task.words), num_analogies, seed)
                others = draw_unrelated(asked, len(of_task.words), seed)
                ranks, unrelated = (
                    analogy_ranks(embedding[0], of_task.tokens, asked, similarity, partners)
                    for partners in (None, others)
                )
                found_ranks = analogy_scores(ranks, unrelated)._asdict().items()
                row |= {f"analogy_{key}": float(value) for key, value in found_ranks}
            rows.append(row)

    folder.mkdir(parents=True, exist_ok=True)
    for stale in ("parallelogram_losses", "parallelogram_scatter", "parallelograms"):
        (folder / f"{stale}.png").unlink(missing_ok=True)
    _write(folder / "parallelograms.csv", rows)
    heading = _heading(measured, components)
    figures = _figures(measured, heading, squared)
    ranked = _ranked_figure(
        measured,
        drawn_task,
        encoded[drawn_task],
        draw_quadruples(len(encoded[drawn_task].words), num_quadruples, seed),
        vocabulary.decode,
        components,
        f"{drawn_task.replace('_', ' ')} · {heading}",
    )
    for file, figure in {**figures, **ranked}.items():
        figure.savefig(folder / f"{file}.png", dpi=150)
    return f"{_table(rows, names)}\n\nfigures and parallelograms.csv: {folder}"


def _names(checkpoints: list[str], models: list[Any]) -> list[str]:
    """The models' heads; where two have the same, what tells their paths apart."""
    heads = [loss_label(model) for model in models]
    if len(set(heads)) == len(heads):
        return heads
    parts = [[part for part in Path(path).parts if part != "/"] for path in checkpoints]
    common = set.intersection(*({*part} for part in parts)) if len(parts) > 1 else set()
    own = ["/".join(step for step in part if step not in common) for part in parts]
    names = [f"{head} {text}".strip() for head, text in zip(heads, own, strict=True)]
    if len(set(names)) < len(names):
        names = [f"{number} {name}" for number, name in enumerate(names, start=1)]
    return names


def _check_sizes(sizes: Mapping[str, int]) -> None:
    if len(set(sizes.values())) > 1:
        listing = ", ".join(f"{path}: {size:,}" for path, size in sizes.items())
        raise ValueError(
            f"the checkpoints have different vocabularies ({listing} tokens); compare models of one"
        )


def _heading(measured: Mapping[str, Measured], components: int | None) -> str:
    """What is looked at, and how much of each model's variance that is."""
    if components is None:
        return "whole space"
    shares = " and ".join(
        f"{100 * float(found.space.fractions[0].sum()):.0f} % ({name})"
        for name, found in measured.items()
    )
    what = f"{components} principal component{'s' if components > 1 else ''}"
    return f"{what} with {shares} of the variance"


def _figures(measured: Mapping[str, Measured], heading: str, squared: bool) -> dict[str, Any]:
    from glassbox.plots import parallelogram_distributions, parallelogram_scatter

    losses = {
        name: {task: values[0].numpy() for task, values in found.losses.items()}
        for name, found in measured.items()
    }
    figures = {
        "parallelogram_losses": parallelogram_distributions(losses, title=heading, squared=squared)
    }
    if len(losses) == 2:
        figures["parallelogram_scatter"] = parallelogram_scatter(
            losses, title=heading, squared=squared
        )
    return figures


def _ranked_figure(
    measured: Mapping[str, Measured],
    task: str,
    pairs: WordPairs,
    drawn: Any,
    decode: Callable[[list[int]], str],
    components: int | None,
    title: str,
) -> dict[str, Any]:
    from glassbox.plots import ranked_parallelograms

    if components is None or components < 2:
        return {}
    found = {
        name: rank_parallelograms(of_model.space, of_model.losses[task], pairs, drawn, decode)
        for name, of_model in measured.items()
    }
    shown = {name: ranked for name, ranked in found.items() if ranked is not None}
    return {"parallelograms": ranked_parallelograms(shown, title=title, note=NOTE)} if shown else {}


def _write(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _table(rows: list[Row], names: list[str]) -> str:
    """One line a task: pairs, and each model's medians, shares below 1 and ranks of analogies."""
    shown = {
        "median": "median loss",
        "below_1": "below 1",
        "relative": "to unrelated",
        "analogy_median_rank": "analogy rank",
        "analogy_relative": "to unrelated",
    }
    measures = [key for key in shown if key in rows[0]]
    # A path is told apart by its end.
    short = [name if len(name) <= 24 else f"…{name[-23:]}" for name in names]
    cell = max(9, *(len(name) + 1 for name in short))
    by_place = {(str(row["task"]), str(row["model"])): row for row in rows}
    tasks = list(dict.fromkeys(task for task, _ in by_place))
    first = max(len("task"), *map(len, tasks))
    blank = " " * (first + 7)
    heads = "".join(f"  {shown[key]:>{cell * len(names)}}" for key in measures)
    columns = "".join(f"{name:>{cell}}" for name in short)
    lines = [f"{blank}{heads}", f"{'task':<{first}}{'pairs':>7}" + f"  {columns}" * len(measures)]
    lines.append("─" * len(lines[1]))
    for task in tasks:
        cells = [
            "".join(f"{_cell(key, float(by_place[task, name][key])):>{cell}}" for name in names)
            for key in measures
        ]
        pairs = by_place[task, names[0]]["pairs"]
        lines.append(f"{task:<{first}}{pairs:>7}" + "".join(f"  {text}" for text in cells))
    if len(names) == 2:
        old, new = ([float(by_place[task, name]["median"]) for task in tasks] for name in names)
        smaller = sum(b < a for a, b in zip(old, new, strict=True))
        lines.append(f"{names[1]} has the smaller median loss in {smaller} of {len(tasks)} tasks")
    lines.append("to unrelated: over that of unrelated words of the same task; 1 sees no relation")
    return "\n".join(lines)


def _cell(measure: str, value: float) -> str:
    if math.isnan(value):
        return "none"
    if measure == "below_1":
        return f"{100 * value:.0f} %"
    return f"{value:,.0f}" if measure == "analogy_median_rank" else f"{value:.2f}"
