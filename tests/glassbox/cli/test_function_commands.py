"""Options of the subcommands that are functions: positional arguments and switches."""

from __future__ import annotations

import pytest

from glassbox.cli.error_messages import UsageError
from glassbox.cli.function_commands import function_settings
from glassbox.cli.main import main
from glassbox.cli.subcommands import FUNCTIONS


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("reproduce --jobs 2 some/figure_2", {"study": "some/figure_2", "jobs": 2}),
        ("reproduce harmonic_loss/figure_2 --quick", {"quick": True, "list": False}),
        ("reproduce --quick harmonic_loss/figure_2", {"study": "harmonic_loss/figure_2"}),
        ("reproduce --no_quick --study a", {"quick": False, "study": "a"}),
        ("reproduce --list", {"list": True, "study": ""}),
        ("compare a.ckpt b.ckpt --squared", {"checkpoints": ["a.ckpt", "b.ckpt"], "squared": True}),
        ("compare --seed 3 a.ckpt b.ckpt", {"checkpoints": ["a.ckpt", "b.ckpt"], "seed": 3}),
        ("compare --checkpoints [a,b]", {"checkpoints": ["a", "b"], "squared": False}),
        ("sample a.ckpt --prompt b", {"checkpoint": "a.ckpt", "prompt": "b", "top_k": 200}),
        ("sample --checkpoint a.ckpt --top_k null", {"checkpoint": "a.ckpt", "top_k": None}),
        ("export a.ckpt --output b", {"checkpoint": "a.ckpt", "output": "b", "tokenizer": None}),
    ],
)  # fmt: skip
def test_the_first_option_may_be_positional_and_switches_stand_alone(typed, expected):
    settings = function_settings(typed.split())
    assert {name: settings[name] for name in expected} == expected


@pytest.mark.parametrize("typed", ["sample", "compare --seed 3", "export --output b"])
def test_a_required_first_option_may_not_be_missing(typed):
    with pytest.raises(UsageError, match="checkpoint"):
        function_settings(typed.split())


@pytest.mark.parametrize("command", FUNCTIONS)
def test_help_describes_every_option(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    options = capsys.readouterr().out.split("\n  --")[1:]
    assert len(options) > 2
    for option in options:
        assert len(option.partition("(type:")[0].split()) > 3, f"{option} describes nothing"
