"""The epoch from which an accuracy curve stays above a threshold."""

import torch
from torch import Tensor


def first_sustained_epoch(accuracy: Tensor, threshold: float = 0.9, patience: int = 20) -> Tensor:
    """First epoch from which the accuracy stays above the threshold for ``patience`` epochs.

    Args:
        accuracy: (..., epochs), one value per epoch.
        threshold: The accuracy must be strictly greater; compared in the dtype of ``accuracy``, so
            a float32 0.9 is not above 0.9.
        patience: Number of consecutive epochs, the first one included; at least 1.

    Returns:
        (...) float32: the 0-based epoch i such that all of i..i+patience-1 are above the threshold;
        nan if there is none, such as for curves shorter than ``patience``. A nan accuracy is not
        above the threshold. The difference between test and train is the grokking delay.

    Raises:
        ValueError: ``patience`` is below 1 or ``accuracy`` has no dimension.

    Source: harmonic-loss paper, Figure 3(c), with the authors' 0.9 and 20 epochs. They drop runs
    without such an epoch from the figure; here they are nan.
    """
    if patience < 1:
        raise ValueError(f"patience must be at least 1, got {patience}.")
    if accuracy.dim() < 1:
        raise ValueError("accuracy must have a dimension of epochs, got a single number.")
    if accuracy.shape[-1] < patience:
        return torch.full(accuracy.shape[:-1], torch.nan, device=accuracy.device)
    above = (accuracy.detach() > threshold).long()
    so_far = torch.nn.functional.pad(above.cumsum(dim=-1), (1, 0))
    # Entry i counts the epochs above the threshold among i..i+patience-1.
    window = so_far[..., patience:] - so_far[..., : so_far.shape[-1] - patience]
    starts = (window == patience).long()
    first = starts.argmax(dim=-1).float()
    return first.where(starts.any(dim=-1), torch.nan)
