import numpy as np
import pytest

from glassbox.plots import LossCurve, loss_curves

STEPS = np.arange(1, 11) * 1e6


def curve(end: float) -> LossCurve:
    falling = np.linspace(9.0, end, 10)
    return LossCurve(STEPS, falling - 0.1, STEPS[1::2], falling[1::2])


def test_validation_losses_are_drawn_where_they_were_measured():
    given = curve(5.0)
    axes = loss_curves({"harmonic": given}).axes[0]
    (line,) = [line for line in axes.lines if line.get_label() == "harmonic"]
    assert np.asarray(line.get_xydata()) == pytest.approx(np.c_[given.val_tokens, given.val])


def test_last_validation_losses_stand_at_the_margin_apart_from_one_another():
    figure = loss_curves({"cross-entropy": curve(5.004), "harmonic": curve(5.001)})
    figure.canvas.draw()
    axes = figure.axes[0]
    assert sorted(text.get_text() for text in axes.texts) == ["5.001", "5.004"]
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not boxes[0].overlaps(boxes[1])


def test_heads_have_the_paper_s_colors_whatever_their_order():
    def colors(names):
        axes = loss_curves({name: curve(5.0) for name in names}).axes[0]
        return {line.get_label(): line.get_color() for line in axes.lines}

    one, other = colors(["cross-entropy", "harmonic"]), colors(["harmonic", "cross-entropy"])
    assert one["harmonic"] == other["harmonic"] != one["cross-entropy"]


def test_tokens_are_labeled_in_millions():
    axes = loss_curves({"harmonic": curve(5.0)}).axes[0]
    assert axes.xaxis.get_major_formatter()(2.5e6, None) == "2.5"


def test_curves_of_different_lengths_and_no_curve_are_refused():
    with pytest.raises(ValueError, match="losses of a"):
        loss_curves({"a": LossCurve(STEPS, STEPS[:3], STEPS, STEPS)})
    with pytest.raises(ValueError, match="no loss curve"):
        loss_curves({})
