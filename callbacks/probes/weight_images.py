"""WeightImages: weights on pixels as pictures, and whether they look like the mean images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from torch import Tensor

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

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN_UNITS = 10  # as many as there are classes to show under a head on the pixels


class WeightImages(Probe):
    """The weights of the layer on the pixels, as in Figure 5 of the harmonic-loss paper.

    ``near_zero`` is the share of weights with |w| < 0.01, ``near_zero_border`` that of the pixels
    near the edge (where black is 0: data scaled to 'unit'). Where the head sits on the pixels
    (``Identity``), each row of its weight is an image for a class: ``cosine`` and ``correlation``
    tell how like it is to the mean of its class, averaged over classes, ``class_mean_match`` for which
    share of the classes no other mean is as near, and ``class_mean_match_correlation`` the same by correlation,
    whatever the scale. Behind a hidden layer (``VectorMLP``) the images are those of hidden units,
    which belong to no class: the shares are those of all, and the figure shows the ten that are
    used most. How much a unit is used is the norm of its weights on the pixels times that of the
    head's weights on it, these relative to their mean over classes, which moves all classes alike.

    ``arrays`` keep the shown ``weight_images`` (S, 10, pixels), ``class_means`` (S, 10, pixels),
    ``image_shape`` (S, 2) and, of a hidden layer, ``image_units`` (S, 10). Figures show the first
    seed.

    Args:
        border: Pixels nearer than this to an edge are peripheral; digits were scaled into the inner
            20 × 20 of MNIST's 28 × 28, which leaves 4.
        every_n_epochs: Measure after every so many epochs, and after the last.
        figures_every_n_epochs: Draw after every so many epochs, and after the last; null draws
            after the last only.

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
        datamodule = getattr(trainer, "datamodule", None)
        if not (hasattr(datamodule, "image_shape") and hasattr(datamodule, "class_means")):
            raise ValueError(
                f"WeightImages needs data of images, and {type(datamodule).__name__} has none; "
                f"remove the probe from trainer.callbacks, or use MNIST"
            )
        member: Any = pl_module.member(0) if hasattr(pl_module, "member") else None  # type: ignore[operator]
        network = getattr(member, "network", None)
        if not hasattr(network, "pixel_weights"):
            whose = type(pl_module if network is None else network).__name__
            raise ValueError(
                f"WeightImages shows the weights on pixels, which {whose} does not give; remove "
                f"the probe from trainer.callbacks, or use a Classifier with Identity or VectorMLP"
            )

    # ---- measuring -------------------------------------------------------------------------------

    def measure(self, trainer: L.Trainer, module: L.LightningModule) -> Mapping[str, Tensor]:
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        head: Tensor = module.class_centers()  # type: ignore[operator]  # (S, C, features)
        if self._means is None:
            self._means = datamodule.class_means().to(head.device)
        means: Tensor = self._means  # (C, P)
        rows, columns = datamodule.image_shape
        hidden = self._hidden_weights(module, len(head))
        weights = head if hidden is None else hidden  # (S, C or H, P)
        found = {
            "near_zero_border": near_zero_fraction(
                weights, border_pixels(rows, columns, self.border)
            ),
            "near_zero": near_zero_fraction(weights),
        }
        self.arrays = {
            "class_means": means.expand(len(head), -1, -1),
            "image_shape": torch.tensor([rows, columns]).expand(len(head), -1),
        }
        shown = ["near_zero_border"]
        if hidden is None:
            found |= {
                "cosine": mean_cosines(weights, means).nanmean(dim=-1),
                "correlation": mean_correlations(weights, means).nanmean(dim=-1),
                "class_mean_match": own_mean_fraction(weights, means),
                "class_mean_match_correlation": own_mean_fraction(weights, means, scale_free=True),
            }
            shown += ["correlation", "class_mean_match"]
            self.arrays["weight_images"] = weights
        else:
            units = _most_used(hidden, head)  # (S, 10)
            columns = units.unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
            self.arrays |= {"weight_images": hidden.gather(1, columns), "image_units": units}
        self.summary_metrics = [f"val/{self.name}/{key}" for key in shown]
        return found

    def _hidden_weights(self, module: Any, num_members: int) -> Tensor | None:
        """The first layer's weights (S, H, P); None where the head reads the pixels."""
        weights = [module.member(index).network.pixel_weights() for index in range(num_members)]
        return None if weights[0] is None else torch.stack(weights).detach()

    # ---- figures ---------------------------------------------------------------------------------

    def figures(self, trainer: L.Trainer, module: L.LightningModule) -> Mapping[str, Figure]:
        from glassbox.plots import weight_images

        arrays = {name: values[0].cpu().numpy() for name, values in self.arrays.items()}
        units = arrays.get("image_units")
        member: Any = module.member(0)  # type: ignore[operator]
        seed = getattr(module, "seeds", [0])[0]
        rows, columns = arrays["image_shape"].tolist()
        what = "weights on the pixels"
        if units is not None:
            what = f"first layer, the {len(units)} hidden units that are used most"
        figure = weight_images(
            arrays["weight_images"],
            (rows, columns),
            means=arrays["class_means"] if units is None else None,
            captions=None if units is None else [f"unit {unit}" for unit in units.tolist()],
            title=f"{loss_label(member)}: {what}, seed {seed}{progress_text(trainer)}",
        )
        return {self.name: figure}


def _most_used(hidden: Tensor, head: Tensor) -> Tensor:
    """Numbers of the hidden units that are used most, (S, at most 10), the first one most.

    Args:
        hidden: (S, H, P) weights on the pixels.
        head: (S, C, H) weights on the units.
    """
    spread = (head - head.mean(dim=1, keepdim=True)).norm(dim=1)  # (S, H)
    used = hidden.norm(dim=-1) * spread
    return used.topk(min(_SHOWN_UNITS, used.shape[-1]), dim=-1).indices
