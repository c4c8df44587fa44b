import numpy as np
import pytest
from matplotlib.legend import Legend

from glassbox.plots import DeletionCurve, deletion_curve

RNG = np.random.default_rng(0)
PERCENT = np.arange(0, 100, 10)


def several(seeds: int = 5, draws: int = 4) -> DeletionCurve:
    return DeletionCurve(
        highest=RNG.uniform(0.4, 0.8, (seeds, 10)),
        lowest=RNG.uniform(0.4, 0.8, (seeds, 10)),
        random=RNG.uniform(0.4, 0.8, (seeds, draws, 10)),
    )


def one() -> DeletionCurve:
    highest, lowest, random = (values[0] for values in several())
    return DeletionCurve(highest, lowest, random)


def lines(figure) -> list[np.ndarray]:
    """The curves, from the last one drawn: highest, random, lowest of the last model, ..."""
    curves = [line for line in figure.axes[0].lines if len(line.get_xdata()) == len(PERCENT)]
    return [np.asarray(line.get_ydata()) for line in curves][::-1]


def bands(figure) -> list[np.ndarray]:
    """The corners of the bands, in the order of the lines."""
    return [area.get_paths()[0].vertices for area in figure.axes[0].collections][::-1]


def key(figure) -> list[str]:
    boxes = [child for child in figure.axes[0].get_children() if isinstance(child, Legend)]
    return [text.get_text() for box in boxes for text in box.get_texts()]


def test_one_seed_is_drawn_as_it_is_and_random_words_as_mean_and_range_of_the_draws():
    given = one()
    figure = deletion_curve(PERCENT, {"SAFR": given})
    highest, random, lowest = lines(figure)
    assert highest == pytest.approx(given.highest)
    assert lowest == pytest.approx(given.lowest)
    assert random == pytest.approx(given.random.mean(axis=0))
    (band,) = bands(figure)
    for column, percent in enumerate(PERCENT):
        at = band[band[:, 0] == percent][:, 1]
        draws = given.random[:, column]
        assert (at.min(), at.max()) == pytest.approx((draws.min(), draws.max()))


def test_several_seeds_are_drawn_as_median_and_quartiles():
    given = several()
    figure = deletion_curve(PERCENT, {"SAFR": given})
    expected = [given.highest, given.random.mean(axis=1), given.lowest]
    for line, band, values in zip(lines(figure), bands(figure), expected, strict=True):
        assert line == pytest.approx(np.median(values, axis=0))
        for column, percent in enumerate(PERCENT):
            at = band[band[:, 0] == percent][:, 1]
            quartiles = np.quantile(values[:, column], [0.25, 0.75])
            assert (at.min(), at.max()) == pytest.approx(tuple(quartiles))


def test_models_differ_in_color_and_orders_in_line_style():
    figure = deletion_curve(PERCENT, {"SAFR": several(), "baseline": one()})
    drawn = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 10]
    assert len({line.get_color() for line in drawn[:3]}) == 1
    assert drawn[0].get_color() != drawn[3].get_color()
    assert len({line.get_linewidth() for line in drawn}) == 3
    assert key(figure) == [
        *("SAFR", "baseline"),
        *("highest first", "random words", "lowest first"),
    ]


def test_the_legend_gives_the_srs_at_the_marked_percentage():
    highest = np.linspace(0.8, 0.35, 10)
    figure = deletion_curve(PERCENT, {"SAFR": DeletionCurve(highest)}, marked_percent=30)
    assert key(figure)[0] == "SAFR\nSRS(30 %) = 15.0 points"
    assert [30, 30] in [list(line.get_xdata()) for line in figure.axes[0].lines]
    seeds = np.stack([highest, highest[::-1], highest])
    lost = [100 * (row[0] - row[3]) for row in seeds]
    low, middle, high = np.quantile(lost, [0.25, 0.5, 0.75])
    figure = deletion_curve(PERCENT, {"SAFR": DeletionCurve(seeds)}, marked_percent=30)
    assert key(figure)[0] == f"SAFR\nSRS(30 %) = {middle:.1f} points\n({low:.1f} to {high:.1f})"


def test_percentages_that_were_not_measured_leave_a_gap():
    highest, lowest, random = (values.copy() for values in several())
    highest[:, 4] = np.nan
    random[:, 0, 5] = np.nan
    random[:, :, 6] = np.nan
    figure = deletion_curve(PERCENT, {"SAFR": DeletionCurve(highest, lowest, random)})
    figure.canvas.draw()
    drawn = lines(figure)
    assert np.isnan(drawn[0]).nonzero()[0].tolist() == [4]
    assert np.isnan(drawn[1]).nonzero()[0].tolist() == [6]
    assert drawn[1][5] == pytest.approx(np.median(random[:, 1:, 5].mean(axis=1)))


def test_a_single_percentage_can_be_drawn():
    deletion_curve([30.0], {"SAFR": DeletionCurve([0.5])}).canvas.draw()
    deletion_curve(PERCENT, {"SAFR": DeletionCurve(np.full(10, np.nan))}).canvas.draw()


@pytest.mark.parametrize("order", ["highest", "lowest", "random"])
@pytest.mark.parametrize("wrong", [np.full(9, 0.5), np.full((2, 5, 10), 72.0)])
def test_accuracies_that_do_not_fit_are_refused_by_model_and_order(order, wrong):
    with pytest.raises(ValueError, match=f"{order} of SAFR"):
        deletion_curve(PERCENT, {"SAFR": one()._replace(**{order: wrong})})


@pytest.mark.parametrize(
    ("percent", "marked", "argument"),
    [
        (10 * PERCENT, None, "percent"),
        (PERCENT, 35, "marked_percent"),
        (PERCENT + 1, 31, "marked_percent"),
    ],
)
def test_percentages_that_do_not_fit_are_refused(percent, marked, argument):
    with pytest.raises(ValueError, match=argument):
        deletion_curve(percent, {"SAFR": one()}, marked_percent=marked)
    with pytest.raises(ValueError, match="models"):
        deletion_curve(PERCENT, {})
