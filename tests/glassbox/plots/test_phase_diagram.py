import numpy as np
import pytest
import torch

from glassbox.metrics import phase_diagram
from glassbox.metrics.two_features import PHASES as METRIC_PHASES
from glassbox.plots import phase_diagram_plot
from glassbox.plots.phase_diagram import COLORS, PHASES, agreement

ACTIVITY = np.geomspace(0.01, 1, 7)
IMPORTANCE = np.geomspace(0.1, 10, 5)


def closed_form():
    p, r = torch.tensor(ACTIVITY), torch.tensor(IMPORTANCE)[:, None]
    found = phase_diagram(p, r)
    return found.losses.numpy(), found.phase.numpy()


def cells(axes):
    (mesh,) = (c for c in axes.collections if hasattr(c, "get_coordinates"))
    return mesh


def draw(trained, losses, **options):
    return phase_diagram_plot(trained, losses, importance=IMPORTANCE, activity=ACTIVITY, **options)


def heading(figure):
    return " ".join(text.get_text() for text in figure.texts)


def test_names_of_phases_are_those_of_the_metric():
    assert PHASES == METRIC_PHASES and len(COLORS) == len(PHASES)


def test_trained_and_expected_phases_stand_side_by_side():
    losses, phase = closed_form()
    trained = phase.copy()
    trained[0, 0] = 0 if phase[0, 0] else 1
    left, right = draw(trained, losses).axes
    assert np.asarray(cells(left).get_array()).reshape(5, 7).tolist() == trained.tolist()
    assert np.asarray(cells(right).get_array()).reshape(5, 7).tolist() == phase.tolist()


def test_the_share_of_agreeing_cells_is_in_the_title_and_others_are_crossed():
    losses, phase = closed_form()
    trained = phase.copy()
    trained[1, 2] = -1
    trained[4, 0] = (phase[4, 0] + 1) % 3
    figure = draw(trained, losses, title="Two features")
    assert "Two features: 94.3 % of 35 cells agree" in heading(figure)
    (crosses,) = (line for line in figure.axes[0].lines if line.get_marker() == "x")
    places = {(round(x, 6), round(y, 6)) for x, y in crosses.get_xydata()}
    assert places == {
        (round(ACTIVITY[2], 6), round(IMPORTANCE[1], 6)),
        (round(ACTIVITY[0], 6), round(IMPORTANCE[4], 6)),
    }
    assert "none of these" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert "100.0 %" in heading(draw(phase, losses))
    assert not list(draw(phase, losses).axes[0].lines)


def test_where_two_ways_are_equally_good_either_agrees():
    losses = np.array([[[0.2, 0.2, 0.3], [0.1, 0.2, 0.3]]])
    assert agreement(np.array([[1, 1]]), losses).tolist() == [[True, False]]
    assert agreement(np.array([[-1, 0]]), losses).tolist() == [[False, True]]


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


def test_what_does_not_fit_is_refused():
    losses, phase = closed_form()
    with pytest.raises(ValueError, match="trained must hold phases 0, 1 and 2, or -1"):
        draw(phase + 5, losses)
    with pytest.raises(ValueError, match="losses has shape"):
        draw(phase, losses[:, :-1])
    with pytest.raises(ValueError, match="activity must be finite and rise"):
        phase_diagram_plot(phase, losses, importance=IMPORTANCE, activity=ACTIVITY[::-1])
