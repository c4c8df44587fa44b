"""How much of its input an autoencoder gives back, comparable across sparsities and scales."""

from torch import Tensor

from glassbox.metrics._tensors import like_input


def explained_fraction(squared_error: Tensor, second_moment: Tensor) -> Tensor:
    """R² = 1 - E[(x - x̂)²] / E[x²], the share of the input that the output explains.

    It is measured against an output of 0, not against the mean: for sparse features E[x²] is
    (1 - S)/3, for circular ones ℓ/12. An output that is the mean of the input has 3/4 (1 - S) or
    3ℓ/π² then, not 0. Both sides must be averaged, and weighted by importance, in the same way.

    Args:
        squared_error: (...) mean squared error.
        second_moment: (...) mean square of the inputs; the two broadcast.

    Returns:
        (...) at most 1: 1 for a perfect output, 0 for an output of 0, below for a worse one; nan
        or -inf where the inputs are all 0. float32, or float64 for a float64 error.

    Raises:
        ValueError: one of the two is not floating point.

    Source: ours, so that losses of one figure's sparsities or scales can be compared.
    """
    for name, value in (("squared_error", squared_error), ("second_moment", second_moment)):
        if not value.is_floating_point():
            raise ValueError(f"{name} must be floating point, got {value.dtype}.")
    share = 1 - squared_error.detach().double() / second_moment.detach().double()
    return like_input(share, squared_error)
