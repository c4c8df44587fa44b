"""Seeds of the run and its members, and the check of a checkpoint's data."""

import pytest
from lightning.pytorch.trainer.states import TrainerFn

from datamodules.common.run import check_resume_data, member_seeds, run_seed
from tests.helpers.loaders import trainer


def test_seeds_are_the_data_module_s_then_the_model_s_then_the_default():
    assert member_seeds([4, 8], None) == member_seeds([4, 8], trainer()) == [4, 8]
    assert member_seeds(None, trainer([3])) == member_seeds([3], trainer([3])) == [3]
    assert member_seeds(None, None) == [0] and member_seeds(None, trainer(), [1, 2]) == [1, 2]


@pytest.mark.parametrize("seeds", [[4, 9], [8, 4], [4]])
def test_seeds_that_differ_from_the_model_s_are_an_error(seeds):
    with pytest.raises(ValueError, match=r"data\.seeds"):
        member_seeds(seeds, trainer([4, 8]))


def test_run_seed_is_the_own_one_or_seed_everything_s(monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    assert (run_seed(None), run_seed(3), run_seed(0)) == (7, 3, 0)


def test_resuming_with_other_data_is_an_error_and_evaluating_is_not():
    saved = {"batch_size": 8}
    with pytest.raises(ValueError, match=r"batch_size=8.*4"):
        check_resume_data(trainer(), saved, {"batch_size": 4})
    check_resume_data(trainer(), saved, {"batch_size": 8, "added_later": 1})
    check_resume_data(trainer(fn=TrainerFn.VALIDATING), saved, {"batch_size": 4})
    check_resume_data(None, saved, {"batch_size": 4})
