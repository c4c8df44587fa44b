"""WeightImages: weights on pixels as pictures, and whether they look like the mean images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lightning as L
import torch
from torch import Tensor

from callbacks.probes.checks import datamodule_of, incompatible
from callbacks.probes.probe import Probe
from callbacks.probes.titles import loss_label
from callbacks.trainer_state import progress_text
from glassbox.metrics import (
    border_pixels,
    mean_correlations,
    mean_cosines,
    near_zero_fraction,
    own_mean_fraction,
)
from glassbox.protocols import HasImages, HasMembers, HasPixelWeights

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUM_UNITS = 10  # hidden units in the figure: as many as there are classes of digits


class WeightImages(Probe[HasMembers]):
    """The weights of the layer that reads the pixels, as in Figure 5 of the harmonic-loss paper.

    - ``near_zero``: fraction of weights with |w| < 0.01; ``near_zero_border`` the same for pixels
      near the edge, where black is 0 if data are scaled to 'unit'.
    - Where the head reads the pixels (``Identity``), each row of its weight is an image of a class.
      ``cosine`` and ``correlation``: similarity to the mean image of its class, averaged over
      classes. ``class_mean_match``: fraction of classes whose weight is closest to its own mean;
      ``class_mean_match_correlation`` the same by correlation, which ignores the scale.
    - Behind a hidden layer (``VectorMLP``) the images are of hidden units, which belong to no
      class. ``near_zero`` covers all units; the figure shows the ten most used. The use of a unit
      is the norm of its weights on the pixels, times the norm of the head's weights on it relative
      to their mean over classes (which shifts all logits alike).

    ``arrays``: the shown ``weight_images`` (S, 10, pixels), ``class_means`` (S, 10, pixels),
    ``image_shape`` (S, 2) and, of a hidden layer, ``image_units`` (S, 10). Figures show the first
    seed.

    Args:
        border: Pixels closer than this to an edge are peripheral. MNIST's digits fill the inner
            20 × 20 of 28 × 28 pixels, which leaves 4.
        every_n_epochs: Measure every n epochs, and after the last.
        figures_every_n_epochs: Draw every n epochs, and after the last; null draws after the last
            only.

    Raises:
        ValueError: A number is below 1.
    """

    name = "weight_images"

    def __init__(
        self,
        border: int = 4,
        every_n_epochs: int = 1,
        figures_every_n_epochs: int | None = None,
    ) -> None:
        super().__init__(every_n_epochs, figures_every_n_epochs)
        if border < 1:
            raise ValueError(f"WeightImages: border is {border}; it must be at least 1")
        self.border = border
        self._means: Tensor | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        self._means = None
        images_of(trainer, self)
        network: object = pl_module
        if isinstance(pl_module, HasMembers):
            network = pl_module.member(0).network
        if not isinstance(network, HasPixelWeights):
            example = "a Classifier with Identity or VectorMLP"
            raise incompatible(self, "a network with pixel_weights", network, example)

    # ---- measuring -------------------------------------------------------------------------------

    def measure(self, trainer: L.Trainer, module: HasMembers) -> dict[str, Tensor]:
        data = images_of(trainer, self)
        head = module.class_centers()  # (S, C, features)
        if self._means is None:
            self._means = data.class_means().to(head.device)
        means = self._means  # (C, P)
        rows, columns = data.image_shape
        hidden = hidden_weights(module)
        weights = head if hidden is None else hidden  # (S, C or H, P)
        border = border_pixels(rows, columns, self.border)
        values = {
            "near_zero_border": near_zero_fraction(weights, border),
            "near_zero": near_zero_fraction(weights),
        }
        self.arrays = {
            "class_means": means.expand(len(head), -1, -1),
            "image_shape": torch.tensor([rows, columns]).expand(len(head), -1),
        }
        shown = ["near_zero_border"]
        if hidden is None:
            values |= {
                "cosine": mean_cosines(weights, means).nanmean(dim=-1),
                "correlation": mean_correlations(weights, means).nanmean(dim=-1),
                "class_mean_match": own_mean_fraction(weights, means),
                "class_mean_match_correlation": own_mean_fraction(weights, means, scale_free=True),
            }
            shown += ["correlation", "class_mean_match"]
            self.arrays["weight_images"] = weights
        else:
            units = most_used_units(hidden, head)  # (S, 10)
            index = units.unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
            self.arrays |= {"weight_images": hidden.gather(1, index), "image_units": units}
        self.summary_metrics = [f"val/{self.name}/{key}" for key in shown]
        return values

    # ---- figures ---------------------------------------------------------------------------------

    def figures(self, trainer: L.Trainer, module: HasMembers) -> dict[str, Figure]:
        from glassbox.plots import weight_images

        arrays = {name: values[0].cpu().numpy() for name, values in self.arrays.items()}
        units = arrays.get("image_units")
        rows, columns = arrays["image_shape"].tolist()
        what = "weights on the pixels"
        if units is not None:
            what = f"first layer, the {len(units)} hidden units that are used most"
        head = loss_label(module.member(0))
        figure = weight_images(
            arrays["weight_images"],
            (rows, columns),
            means=arrays["class_means"] if units is None else None,
            captions=None if units is None else [f"unit {unit}" for unit in units.tolist()],
            title=f"{head}: {what}, seed {module.seeds[0]}{progress_text(trainer)}",
        )
        return {self.name: figure}


def images_of(trainer: L.Trainer, owner: object) -> HasImages:
    """The run's data module of images.

    Raises:
        ValueError: It is none.
    """
    data = datamodule_of(trainer)
    if not isinstance(data, HasImages):
        raise incompatible(owner, "a data module of images", data, "MNIST")
    return data


def hidden_weights(module: HasMembers) -> Tensor | None:
    """The first layer's weights (S, H, P); None if the head reads the pixels."""
    weights = []
    for index in range(len(module.seeds)):
        network = module.member(index).network
        assert isinstance(network, HasPixelWeights)
        member_weights = network.pixel_weights()
        if member_weights is None:
            return None
        weights.append(member_weights)
    return torch.stack(weights).detach()


def most_used_units(hidden: Tensor, head: Tensor) -> Tensor:
    """Numbers of the ten most used hidden units, (S, at most 10), in descending order of use.

    Args:
        hidden: (S, H, P) weights on the pixels.
        head: (S, C, H) weights on the units.
    """
    influence = (head - head.mean(dim=1, keepdim=True)).norm(dim=1)  # (S, H)
    use = hidden.norm(dim=-1) * influence
    return use.topk(min(NUM_UNITS, use.shape[-1]), dim=-1).indices
