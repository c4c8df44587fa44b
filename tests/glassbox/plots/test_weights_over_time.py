from itertools import pairwise

import numpy as np
import pytest

from glassbox.plots import weight_frames, weights_over_time
from glassbox.plots.training_history import as_training_history

RNG = np.random.default_rng(0)
STEPS = np.arange(0, 1001, 10)


def growing(hidden: int = 3):
    """A ring that grows from nothing over a hundred recorded steps."""
    angle = 2 * np.pi * np.arange(12) / 12
    ring = np.column_stack([np.cos(angle), np.sin(angle), *[0 * angle] * (hidden - 2)])
    return ring[None] * np.linspace(0, 1, len(STEPS))[:, None, None]


def losses(count: int = 500):
    return {"losses": 1 / (1 + np.arange(count)), "loss_steps": 2.0 * np.arange(count)}


def names(figure):
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    return [text for text in texts if text.startswith("step")]


def test_eight_of_many_recorded_steps_are_drawn_most_of_them_early():
    figure = weights_over_time(growing(), STEPS, **losses())
    shown = [int(name.removeprefix("step ").replace(",", "")) for name in names(figure)]
    assert len(shown) == 8 and shown == sorted(shown)
    assert shown[0] == 0 and shown[1] == 10 and shown[-1] == 1000
    ratios = np.array(shown[2:]) / np.array(shown[1:-1])
    assert ratios.max() < 1.5 * 100 ** (1 / 6)  # even in logarithms, as far as steps were recorded


def test_marks_lie_on_the_loss_curve_at_the_panels_steps():
    given = losses()
    figure = weights_over_time(growing(), STEPS, **given)
    (axes,) = (a for a in figure.axes if a.get_ylabel() == "loss")
    curve, marks = [line for line in axes.lines if len(line.get_xdata()) > 2]
    assert curve.get_xdata() == pytest.approx(given["loss_steps"])
    assert curve.get_ydata() == pytest.approx(given["losses"])
    shown = [int(name.removeprefix("step ").replace(",", "")) for name in names(figure)]
    assert marks.get_xdata() == pytest.approx(shown)
    by_hand = [1 / (1 + min(step, 998) / 2) for step in shown]
    assert marks.get_ydata() == pytest.approx(by_hand)
    assert axes.get_xscale() == "symlog" and axes.get_yscale() == "log"


def test_all_panels_have_one_scale_and_the_frame_of_the_last_weights():
    weights = growing()
    figure = weights_over_time(weights[..., :2], STEPS, **losses())
    panels = [a for a in figure.axes if a.get_aspect() == 1]
    assert all(axes.get_xlim() == pytest.approx((-1.16, 1.16)) for axes in panels)
    reach = [
        max(np.abs(np.asarray(c.get_offsets())).max() for c in axes.collections[-1:])
        for axes in panels
    ]
    shown = np.array([int(n.removeprefix("step ").replace(",", "")) for n in names(figure)])
    assert reach == pytest.approx(list(shown / 1000), abs=1e-9)


def test_there_is_no_mark_before_the_first_loss():
    course = as_training_history(growing()[:3], [0, 5, 9], [np.nan, 2.0, 1.0], [0, 5, 7])
    heights = course.loss_at(np.array([0.0, 5.0, 6.0, 9.0]))
    assert np.isnan(heights[0]) and heights[1:] == pytest.approx([2.0, 1.5, 1.0])


def limits_of_the_loss(values):
    loss = {"losses": values, "loss_steps": 500.0 * np.arange(len(values))}
    figure = weights_over_time(growing(), STEPS, **loss)
    (axes,) = (a for a in figure.axes if a.get_ylabel() == "loss")
    return axes.get_ylim()


def test_a_loss_that_falls_by_a_little_fills_its_axis_and_others_start_at_zero():
    low, high = limits_of_the_loss([1.0, 0.95, 0.9])
    assert low == pytest.approx(0.885) and high == pytest.approx(1.025)
    assert limits_of_the_loss([1.0, 0.6, 0.4]) == pytest.approx((0.0, 1.06))
    assert limits_of_the_loss([0.5]) == pytest.approx((0.0, 0.53))


def test_losses_that_are_not_finite_are_left_out():
    given = losses(20)
    given["losses"][3:6] = np.nan
    course = as_training_history(growing()[:2], [0, 10], given["losses"], given["loss_steps"])
    # Steps 6 to 10 are missing: on the straight line between those at 4 and 12.
    assert course.loss_at(np.array([8.0]))[0] == pytest.approx((1 / 3 + 1 / 7) / 2)
    assert np.isnan(
        as_training_history(growing()[:1], [0], [np.nan], [0]).loss_at(np.array([1.0]))
    ).all()


def test_frames_are_pictures_of_one_size_in_which_something_moves():
    frames = weight_frames(growing(2)[::25], STEPS[::25], **losses())
    assert len(frames) == 5
    assert {frame.shape for frame in frames} == {frames[0].shape} and frames[0].shape[2] == 3
    assert all(frame.dtype == np.uint8 for frame in frames)
    assert all((a != b).any() for a, b in pairwise(frames))
