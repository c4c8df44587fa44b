"""Chunks of tokens × classes: the bookkeeping that the fused losses share."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

# Loss, gradient of the features, of the weight, of the bias.
Result = tuple[Tensor, Tensor, Tensor, Tensor]

# Tokens whose logits exist at a time, and rows of them that pass through the pointwise work
# together. On a CPU these rows (1.6 MB at 50,304 classes) then stay in a core's cache.
CHUNK_ON_CPU = {torch.float32: 256, torch.float64: 256, torch.bfloat16: 1024, torch.float16: 1024}
ROWS_ON_CPU = 8
CHUNK_ON_GPU, ROWS_ON_GPU = 4096, 1024


class Chunks:
    """Iterates over chunks of ``features @ weight.T`` and accumulates the loss and its gradients.

    Shapes: x (N, E), weight (C, E), targets (N,). A chunk has T tokens, a block R rows. Tokens
    whose target is ``ignore_index`` are left out; their features may be non-finite. ``product`` is
    the precision of the matrix products. ``centered`` subtracts the features' mean from features
    and weights before them.
    """

    def __init__(
        self,
        x: Tensor,
        weight: Tensor,
        targets: Tensor,
        ignore_index: int,
        product: torch.dtype,
        with_gradients: bool,
        centered: bool = False,
    ) -> None:
        dtype = torch.promote_types(x.dtype, torch.float32)
        valid = targets != ignore_index
        self.targets = torch.where(valid, targets, 0)  # (N,)
        self.token_weights = valid.to(dtype) / valid.sum().clamp_min(1)  # (N,), in the mean
        self.features = x.to(dtype).masked_fill(~valid[:, None], 0.0)  # (N, E)
        self.weight = weight.to(dtype)  # (C, E)
        self.weight_rounded = self.weight.to(product)
        self.x, self.origin = self.features, self.features.new_zeros(x.shape[1])
        if centered:
            self.origin = self.token_weights @ self.features  # (E,); 0 without a valid token
            self.x = self.features - self.origin
            rounded_parts = self.weight_rounded.split(1024)
            for part, rounded in zip(self.weight.split(1024), rounded_parts, strict=True):
                rounded.copy_(part - self.origin)
        self.x_rounded = self.x.to(product)
        on_cpu = x.device.type == "cpu"
        self.size = CHUNK_ON_CPU[product] if on_cpu else CHUNK_ON_GPU
        self.rows = ROWS_ON_CPU if on_cpu else ROWS_ON_GPU
        self.loss = self.x.new_zeros(())
        self.dtypes = (x.dtype, weight.dtype)
        shapes = (self.x.shape, self.weight.shape) if with_gradients else ((0,), (0,))
        self.grad_x, self.grad_weight = map(self.x.new_zeros, shapes)
        self.scratch = self.x.new_empty(self.rows, weight.shape[0])

    def __iter__(self) -> Iterator[tuple[slice, Tensor]]:
        """A slice of tokens and their products with every class, (T, C); the memory is reused."""
        buffer = self.x_rounded.new_empty(min(self.size, len(self.x)), len(self.weight))
        for start in range(0, len(self.x), self.size):
            chunk = slice(start, min(start + self.size, len(self.x)))
            products = buffer[: chunk.stop - start]
            torch.mm(self.x_rounded[chunk], self.weight_rounded.mT, out=products)
            yield chunk, products

    def blocks(self, products: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """A few rows (R, C) at a time, in full precision, to be processed in place."""
        for start in range(0, len(products), self.rows):
            rows = slice(start, min(start + self.rows, len(products)))
            part = products[rows]
            exact = part.dtype == self.scratch.dtype
            yield rows, part if exact else self.scratch[: len(part)].copy_(part)

    def write_back(self, products: Tensor, rows: slice, block: Tensor) -> None:
        """Write a processed block into ``products`` for the gradients; ``block`` is rounded too."""
        if block.dtype != products.dtype:
            products[rows] = block
            block.copy_(products[rows])

    def add_loss(self, chunk: slice, others: Tensor, log_e_target: Tensor) -> tuple[Tensor, Tensor]:
        """Add the tokens' log(1 + others/e_c) to the loss.

        Returns 1/Z and others/Z of each token, (T,), times its weight in the mean. Z = others + e_c
        is at least 1, since the most likely class has e = 1.
        """
        total = others + log_e_target.exp()
        losses = torch.where(log_e_target == 0, others.log1p(), total.log() - log_e_target)
        self.loss += (losses * self.token_weights[chunk]).sum()
        scale = self.token_weights[chunk] / total
        return scale, scale * others

    def add_gradients(self, chunk: slice, values: Tensor, scale: Tensor) -> Tensor:
        """Gradients of Σ_ti scale_t · values_ti · (x_t · w_i), with values (T, C) and scale (T,).

        Returns the features' (T, E) and adds the weight's to ``grad_weight``.
        """
        scaled = self.x[chunk] * scale[:, None]
        if values.dtype == self.grad_weight.dtype:
            self.grad_weight.addmm_(values.mT, scaled)
        else:
            rounded, largest = scale_to_unit(scaled, values.dtype)
            self.grad_weight.addcmul_((values.mT @ rounded).to(largest.dtype), largest)
        return (values @ self.weight_rounded).to(self.x.dtype).mul_(scale[:, None])

    def column_sums(self, values: Tensor, scale: Tensor) -> Tensor:
        """scale @ values, (C,)."""
        rounded, largest = scale_to_unit(scale, values.dtype)
        return (rounded @ values).to(largest.dtype) * largest

    def result(self, grad_bias: Tensor | None, bias: Tensor | None) -> Result:
        """Loss and gradients, each gradient in the precision of its tensor."""
        dtype_x, dtype_weight = self.dtypes
        grads = self.grad_x.to(dtype_x), self.grad_weight.to(dtype_weight)
        if bias is None or grad_bias is None:
            return self.loss, *grads, self.x.new_empty(0, dtype=dtype_x)
        return self.loss, *grads, grad_bias.to(bias.dtype)


def scale_to_unit(values: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Values divided by the largest magnitude, in ``dtype``, and that magnitude.

    A token's weight in a mean over thousands would vanish in float16.
    """
    largest = values.abs().amax().clamp_min(torch.finfo(values.dtype).tiny)
    return (values / largest).to(dtype), largest


def power(base: Tensor, exponent: float, out: Tensor) -> Tensor:
    """base ** exponent into ``out``; whole exponents by squaring: faster, and it rounds less."""
    if exponent != int(exponent) or exponent > 64:
        return torch.pow(base, exponent, out=out)
    out.copy_(base)
    for bit in bin(int(exponent))[3:]:  # after the leading 1
        out.mul_(out)
        if bit == "1":
            out.mul_(base)
    return out
