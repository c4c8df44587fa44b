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
    found = [line for line in figure.axes[0].lines if len(line.get_xdata()) == len(PERCENT)]
    return [np.asarray(line.get_ydata()) for line in found][::-1]


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
    assert "random words: mean and range of 4 draws" in figure.texts[0].get_text()


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
    assert "median and quartiles of 5 seeds" in figure.texts[0].get_text()


def test_models_are_told_apart_by_color_and_orders_by_line():
    figure = deletion_curve(PERCENT, {"SAFR": several(), "baseline": one()})
    drawn = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 10]
    assert len({line.get_color() for line in drawn[:3]}) == 1
    assert drawn[0].get_color() != drawn[3].get_color()
    dashes = [str(line._unscaled_dash_pattern) for line in drawn]
    assert len(set(dashes[:3])) == 3 and dashes[:3] == dashes[3:]
    assert key(figure) == [
        *("SAFR", "baseline"),
        *("highest first", "random words", "lowest first"),
    ]


def test_orders_that_were_not_measured_stand_neither_in_the_plot_nor_in_the_key():
    figure = deletion_curve(PERCENT, {"SAFR": DeletionCurve(one().highest)}, score="attention")
    assert len(lines(figure)) == 1
    assert key(figure) == ["SAFR", "highest first"]
    assert figure.axes[0].get_xlabel().endswith("ordered by attention")


def test_the_marked_share_tells_the_srs_in_percent_points():
    highest = np.linspace(0.8, 0.35, 10)
    figure = deletion_curve(PERCENT, {"SAFR": DeletionCurve(highest)}, marked_percent=30)
    assert key(figure)[0] == "SAFR\nSRS(30 %) = 15.0 points"
    assert [30, 30] in [list(line.get_xdata()) for line in figure.axes[0].lines]
    seeds = np.stack([highest, highest[::-1], highest])
    lost = [100 * (row[0] - row[3]) for row in seeds]
    low, middle, high = np.quantile(lost, [0.25, 0.5, 0.75])
    figure = deletion_curve(PERCENT, {"SAFR": DeletionCurve(seeds)}, marked_percent=30)
    assert key(figure)[0] == f"SAFR\nSRS(30 %) = {middle:.1f} points\n({low:.1f} to {high:.1f})"


def test_the_majority_class_is_a_line_that_the_axis_holds():
    axes = deletion_curve(PERCENT, {"SAFR": one()}, majority=0.2).axes[0]
    assert [0.2, 0.2] in [list(line.get_ydata()) for line in axes.lines]
    assert axes.get_ylim()[0] < 0.2
    assert "majority class 20.0 %" in [text.get_text() for text in axes.texts]


def test_shares_that_were_not_measured_leave_a_gap():
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


@pytest.mark.parametrize("names", [["SAFR"], ["SAFR $x_1$ \\", "日" * 50, *"abcdef"]])
def test_the_key_lies_inside_the_figure(names):
    figure = deletion_curve(
        PERCENT,
        {name: several() for name in names},
        majority=0.5,
        marked_percent=30,
        title="a long title " * 12,
    )
    figure.canvas.draw()
    width, height = figure.canvas.get_width_height()
    legends = [item for item in figure.axes[0].get_children() if isinstance(item, Legend)]
    for item in [*figure.texts, *legends]:
        box = item.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, item
    assert not legends[0].get_window_extent().overlaps(legends[1].get_window_extent())


def test_a_single_share_can_be_drawn():
    deletion_curve([30.0], {"SAFR": DeletionCurve([0.5])}).canvas.draw()
    deletion_curve(PERCENT, {"SAFR": DeletionCurve(np.full(10, np.nan))}).canvas.draw()


def test_curves_that_do_not_fit_are_refused():
    curve = one()
    with pytest.raises(ValueError, match="no deletion curve"):
        deletion_curve(PERCENT, {})
    with pytest.raises(ValueError, match="highest of SAFR has shape"):
        deletion_curve(PERCENT, {"SAFR": DeletionCurve([0.5])})
    with pytest.raises(ValueError, match="lowest of SAFR has shape"):
        deletion_curve(PERCENT, {"SAFR": curve._replace(lowest=np.full((2, 10), 0.5))})
    with pytest.raises(ValueError, match="random of SAFR has shape"):
        deletion_curve(PERCENT, {"SAFR": curve._replace(random=np.full(10, 0.5))})
    with pytest.raises(ValueError, match="accuracies outside of 0 to 1"):
        deletion_curve(PERCENT, {"SAFR": DeletionCurve(np.full(10, 72.0))})
    with pytest.raises(ValueError, match="increasing"):
        deletion_curve(PERCENT[::-1], {"SAFR": curve})
    with pytest.raises(ValueError, match="from 0 to 900"):
        deletion_curve(10 * PERCENT, {"SAFR": curve})
    with pytest.raises(ValueError, match="majority is 50"):
        deletion_curve(PERCENT, {"SAFR": curve}, majority=50)
    with pytest.raises(ValueError, match="marked_percent is 35"):
        deletion_curve(PERCENT, {"SAFR": curve}, marked_percent=35)
    with pytest.raises(ValueError, match="has to begin with 0"):
        deletion_curve(PERCENT + 1, {"SAFR": curve}, marked_percent=31)
