import numpy as np
import pytest
import torch

from glassbox.metrics import phase_diagram
from glassbox.plots import phase_diagram_plot

ACTIVITY = np.geomspace(0.01, 1, 7)
IMPORTANCE = np.geomspace(0.1, 10, 5)


def closed_form():
    p, r = torch.tensor(ACTIVITY), torch.tensor(IMPORTANCE)[:, None]
    theory = phase_diagram(p, r)
    return theory.losses.numpy(), theory.phase.numpy()


def cells(axes):
    (mesh,) = (c for c in axes.collections if hasattr(c, "get_coordinates"))
    return mesh


def draw(trained, losses, **options):
    return phase_diagram_plot(trained, losses, importance=IMPORTANCE, activity=ACTIVITY, **options)


def test_trained_and_expected_phases_are_drawn_side_by_side():
    losses, phase = closed_form()
    trained = phase.copy()
    trained[0, 0] = 0 if phase[0, 0] else 1
    left, right = draw(trained, losses).axes
    assert np.asarray(cells(left).get_array()).reshape(5, 7).tolist() == trained.tolist()
    assert np.asarray(cells(right).get_array()).reshape(5, 7).tolist() == phase.tolist()


def test_cells_in_another_phase_are_crossed():
    losses, phase = closed_form()
    trained = phase.copy()
    trained[1, 2] = -1
    trained[4, 0] = (phase[4, 0] + 1) % 3
    figure = draw(trained, losses, title="Two features")
    (crosses,) = (line for line in figure.axes[0].lines if line.get_marker() == "x")
    places = {(round(x, 6), round(y, 6)) for x, y in crosses.get_xydata()}
    assert places == {
        (round(ACTIVITY[2], 6), round(IMPORTANCE[1], 6)),
        (round(ACTIVITY[0], 6), round(IMPORTANCE[4], 6)),
    }
    assert not list(draw(phase, losses).axes[0].lines)


def test_cells_lie_around_their_values_also_on_logarithmic_axes():
    losses, phase = closed_form()
    axes = draw(phase, losses).axes[0]
    corners = np.asarray(cells(axes).get_coordinates())
    assert corners[0, 1:-1, 0] == pytest.approx(np.sqrt(ACTIVITY[1:] * ACTIVITY[:-1]))
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    small = phase_diagram_plot([[0, 1]], np.ones((1, 2, 3)), importance=[1.0], activity=[0.0, 0.5])
    assert small.axes[0].get_xscale() == "linear"
    edges = np.asarray(cells(small.axes[0]).get_coordinates())[0, :, 0]
    assert edges == pytest.approx([-0.25, 0.25, 0.75])


def test_boundaries_of_the_closed_form_are_drawn_into_both_panels():
    losses = np.ones((2, 2, 3))
    losses[0, :, 0] = losses[1, 0, 1] = losses[1, 1, 2] = 0.5  # three phases: 0 0 / 1 2
    figure = phase_diagram_plot(
        np.zeros((2, 2), int), losses, importance=[1, 2], activity=[0.2, 0.4]
    )
    for axes in figure.axes:
        (lines,) = (c for c in axes.collections if hasattr(c, "get_segments"))
        assert len(lines.get_segments()) == 3
