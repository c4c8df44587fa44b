"""`lightning compare`: word parallelograms of several trained models in one figure."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from torch import Tensor

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
from glassbox.cli.checkpoints import choose_tokenizer, load_language_model
from glassbox.metrics import (
    AnalogyScores,
    ParallelogramScores,
    analogy_ranks,
    analogy_scores,
    draw_quadruples,
    draw_unrelated,
    parallelogram_scores,
)
from lightning_modules.language_model import LanguageModel

Row = dict[str, str | int | float]

_FIGURES = ("parallelogram_losses", "parallelogram_scatter", "parallelograms")
# Columns of the table by the measure they show.
_COLUMNS = {
    "median": "median loss",
    "below_1": "below 1",
    "relative": "to unrelated",
    "analogy_median_rank": "analogy rank",
    "analogy_relative": "to unrelated",
}
_MAX_NAME = 24  # characters of a model's name in the table


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
) -> str:
    """Measure parallelograms and analogies of several language models on the same word pairs.

    Args:
        checkpoints: Checkpoints of language models with one vocabulary, such as '[a.ckpt, b.ckpt]'.
        output: Folder for the figures and parallelograms.csv; those of an earlier comparison are
            replaced.
        words: Folder with a JSON file for each task, a list of {"input": ..., "output": ...}; null
            takes the built-in ones: present to past, singular to plural, country to capital.
        names: Names of the models in figures and table; null takes their heads, with their paths
            if two heads are the same.
        tokenizer: 'gpt2' or another of tiktoken's, 'bytes', or a tokenizer file; null takes the
            one that the checkpoints name.
        tasks: Names of the files to take; null takes all.
        components: Principal components that words are projected on; null takes the whole space.
        squared: Square the loss, as the authors' code does (their equation does not).
        leading_space: Encode " word", as words within a text are, instead of "word".
        num_quadruples: Quadruples drawn for each task, with replacement; the same for every model.
        num_analogies: Quadruples whose analogy is looked up among all words; 0 for none.
        similarity: Similarity of words in an analogy: euclidean distance, or cosine.
        seed: Random seed of the quadruples.
        figure_task: Task whose parallelograms are drawn; null takes present to past, or else the
            first.

    Returns:
        A table, and where the figures are.

    Raises:
        ValueError: The models are not comparable, or an option is out of range.
    """
    check_numbers("compare", seed, num_quadruples=num_quadruples, components=components)
    if not 0 <= num_analogies <= 1_000_000:
        raise ValueError(f"num_analogies is {num_analogies}; it must be from 0 (none) to 1,000,000")
    if not checkpoints:
        raise ValueError("checkpoints is empty; name one or more, such as '[a.ckpt, b.ckpt]'")
    if names is not None and len({*names}) != len(checkpoints):
        raise ValueError(f"names is {names}; give {len(checkpoints)} different ones")
    folder = Path(output).expanduser()
    if folder.is_file():
        raise ValueError(f"output is {output}, which is a file; name a folder")
    pairs = load_word_pairs(words, tasks)
    figure_task = choose_figure_task(list(pairs), figure_task)
    loaded = [load_language_model(path) for path in checkpoints]
    names = names or _names(checkpoints, [one.model for one in loaded])
    embeddings = [one.model.embedding_matrix() for one in loaded]  # (1, V, E) each
    vocab_size = embeddings[0].shape[1]
    sizes = {path: e.shape[1] for path, e in zip(checkpoints, embeddings, strict=True)}
    if len(set(sizes.values())) > 1:
        listing = ", ".join(f"{path}: {size:,}" for path, size in sizes.items())
        raise ValueError(f"checkpoints must have one vocabulary, but their sizes are {listing}")
    vocabulary = choose_tokenizer(loaded, tokenizer)
    if vocabulary is None:
        raise ValueError(
            f"the checkpoints do not name their tokenizer; name it with --tokenizer (they have "
            f"{vocab_size:,} tokens)"
        )

    def encode(texts: list[str]) -> list[list[int]]:
        return [ids.tolist() for ids in vocabulary.encode_batch(texts)]

    encoded = encode_word_pairs(pairs, encode, vocab_size, leading_space)
    measured: dict[str, Measured] = {}
    rows: list[Row] = []
    for name, embedding in zip(names, embeddings, strict=True):
        check_components(components, embedding.shape[-1])
        measured[name] = measure_parallelograms(
            embedding, encoded, num_quadruples, seed, components, squared
        )
        for task, task_pairs in encoded.items():
            row: Row = {"model": name, "task": task, "pairs": len(task_pairs.words)}
            losses, unrelated = measured[name].losses[task][0], measured[name].unrelated[task][0]
            row |= _floats(parallelogram_scores(losses, unrelated))
            row["explained_variance"] = float(measured[name].space.fractions[0].sum())
            if num_analogies:
                row |= _analogy_values(embedding[0], task_pairs, num_analogies, seed, similarity)
            rows.append(row)

    from glassbox.plots import (
        parallelogram_distributions,
        parallelogram_scatter,
        ranked_parallelograms,
    )

    folder.mkdir(parents=True, exist_ok=True)
    for stale in _FIGURES:
        (folder / f"{stale}.png").unlink(missing_ok=True)
    with (folder / "parallelograms.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    title = _title(measured, components)
    losses_by_model = {
        name: {task: values[0].numpy() for task, values in model.losses.items()}
        for name, model in measured.items()
    }
    draw = {"parallelogram_losses": parallelogram_distributions}
    if len(names) == 2:
        draw["parallelogram_scatter"] = parallelogram_scatter
    figures = {
        name: function(losses_by_model, title=title, squared=squared)
        for name, function in draw.items()
    }
    if components is not None and components >= 2:
        drawn = draw_quadruples(len(encoded[figure_task].words), num_quadruples, seed)
        chosen = (encoded[figure_task], drawn, vocabulary.decode)
        ranked = {
            name: rank_parallelograms(model.space, model.losses[figure_task], *chosen)
            for name, model in measured.items()
        }
        if shown := {name: one for name, one in ranked.items() if one is not None}:
            task_title = f"{figure_task.replace('_', ' ')} · {title}"
            figures["parallelograms"] = ranked_parallelograms(shown, title=task_title, note=NOTE)
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=150)
    return f"{_table(rows, names)}\n\nfigures and parallelograms.csv: {folder}"


def _names(checkpoints: list[str], models: list[LanguageModel]) -> list[str]:
    """The models' heads; with what differs in their paths if two are the same."""
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


def _analogy_values(
    embedding: Tensor,
    pairs: WordPairs,
    num_analogies: int,
    seed: int,
    similarity: Literal["euclidean", "cosine"],
) -> Row:
    quadruples = draw_quadruples(len(pairs.words), num_analogies, seed)
    unrelated = draw_unrelated(quadruples, len(pairs.words), seed)
    ranks, unrelated_ranks = (
        analogy_ranks(embedding, pairs.tokens, quadruples, similarity, partners)
        for partners in (None, unrelated)
    )
    return _floats(analogy_scores(ranks, unrelated_ranks), "analogy_")


def _floats(scores: ParallelogramScores | AnalogyScores, prefix: str = "") -> Row:
    return {f"{prefix}{key}": float(value) for key, value in scores._asdict().items()}


def _title(measured: Mapping[str, Measured], components: int | None) -> str:
    """The space of the figure, and each model's fraction of variance in it."""
    if components is None:
        return "whole space"
    fractions = " and ".join(
        f"{100 * float(model.space.fractions[0].sum()):.0f} % ({name})"
        for name, model in measured.items()
    )
    plural = "s" if components > 1 else ""
    return f"{components} principal component{plural} with {fractions} of the variance"


def _table(rows: list[Row], names: list[str]) -> str:
    """One line per task: pairs, and for each measure a column per model."""
    measures = [key for key in _COLUMNS if key in rows[0]]
    # Paths differ at their ends.
    short = [name if len(name) <= _MAX_NAME else f"…{name[1 - _MAX_NAME :]}" for name in names]
    width = max(9, *(len(name) + 1 for name in short))
    by_task: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_task.setdefault(str(row["task"]), {})[str(row["model"])] = row
    first = max(len("task"), *map(len, by_task))

    def line(task: str, pairs: object, groups: Iterable[Iterable[str]], size: int) -> str:
        cells = ("".join(f"{cell:>{size}}" for cell in group) for group in groups)
        return "  ".join([f"{task:<{first}}{pairs:>7}", *cells])

    lines = [
        line("", "", ([_COLUMNS[key]] for key in measures), width * len(names)),
        line("task", "pairs", [short] * len(measures), width),
    ]
    lines.append("─" * len(lines[1]))
    for task, models in by_task.items():
        groups = ([_cell(key, float(models[name][key])) for name in names] for key in measures)
        lines.append(line(task, models[names[0]]["pairs"], groups, width))
    if len(names) == 2:
        one, two = names
        smaller = sum(float(m[two]["median"]) < float(m[one]["median"]) for m in by_task.values())
        lines.append(f"{two} has the smaller median loss in {smaller} of {len(by_task)} tasks")
    lines.append('"to unrelated": ratio to unrelated words of the same task (1 = no relation)')
    return "\n".join(lines)


def _cell(measure: str, value: float) -> str:
    if math.isnan(value):
        return "none"
    if measure == "below_1":
        return f"{100 * value:.0f} %"
    return f"{value:,.0f}" if measure == "analogy_median_rank" else f"{value:.2f}"
