"""Tokens × classes a chunk at a time: the bookkeeping of the fused losses (``heads/fused.py``)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

# Loss, gradient of the features, of the weight, of the bias.
Result = tuple[Tensor, Tensor, Tensor, Tensor]

# Tokens whose logits exist at a time, and rows of them that pass through the pointwise work
# together. On a CPU these rows (1.6 MB at 50,304 classes) then stay in a core's cache.
_CHUNK = {torch.float32: 256, torch.float64: 256, torch.bfloat16: 1024, torch.float16: 1024}
_ROWS = 8
_CHUNK_ON_GPU, _ROWS_ON_GPU = 4096, 1024


class Chunks:
    """What both losses share: chunks of products, blocks of their rows, sums and gradients.

    Args:
        x: Features (N, E).
        weight: (C, E).
        targets: (N,), class indices or ``ignore_index``.
        ignore_index: Tokens with this target neither count nor matter, whatever their features.
        product: Precision of the matrix products.
        with_gradients: Whether gradients will be added up.
        centerd: Take features and weights relative to the features' mean where they are multiplied.
    """

    def __init__(
        self,
        x: Tensor,
        weight: Tensor,
        targets: Tensor,
        ignore_index: int,
        product: torch.dtype,
        with_gradients: bool,
        centerd: bool = False,
    ) -> None:
        dtype = torch.promote_types(x.dtype, torch.float32)
        counted = targets != ignore_index
        self.targets = torch.where(counted, targets, 0)  # (N,)
        self.shares = counted.to(dtype) / counted.sum().clamp_min(1)  # (N,), of the mean
        self.features = x.to(dtype).masked_fill(~counted[:, None], 0.0)  # (N, E)
        self.weight = weight.to(dtype)  # (C, E)
        self.weight_rounded = self.weight.to(product)
        self.x, self.origin = self.features, self.features.new_zeros(x.shape[1])
        if centerd:
            self.origin = self.shares @ self.features  # mean of what counts; 0 if nothing does
            self.x = self.features - self.origin
            rounded_parts = self.weight_rounded.split(1024)
            for part, rounded in zip(self.weight.split(1024), rounded_parts, strict=True):
                rounded.copy_(part - self.origin)
        self.x_rounded = self.x.to(product)
        on_cpu = x.device.type == "cpu"
        self.size = _CHUNK[product] if on_cpu else _CHUNK_ON_GPU
        self.rows = _ROWS if on_cpu else _ROWS_ON_GPU
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
        """A few rows at a time, in full precision, to be worked on in place."""
        for start in range(0, len(products), self.rows):
            rows = slice(start, min(start + self.rows, len(products)))
            part = products[rows]
            exact = part.dtype == self.scratch.dtype
            yield rows, part if exact else self.scratch[: len(part)].copy_(part)

    def keep(self, products: Tensor, rows: slice, block: Tensor) -> None:
        """Put worked rows back, for the products of gradients; ``block`` is rounded as they are."""
        if block.dtype != products.dtype:
            products[rows] = block
            block.copy_(products[rows])

    def add_loss(self, chunk: slice, others: Tensor, log_e_target: Tensor) -> tuple[Tensor, Tensor]:
        """Add up log(1 + others/e_c); returns each token's 1/Z and others/Z, in shares of the mean.

        Z = others + e_c is at least 1, since the most likely class has e = 1.
        """
        total = others + log_e_target.exp()
        losses = torch.where(log_e_target == 0, others.log1p(), total.log() - log_e_target)
        self.loss += (losses * self.shares[chunk]).sum()
        share = self.shares[chunk] / total
        return share, share * others

    def products_of_gradients(self, chunk: slice, kept: Tensor, share: Tensor) -> Tensor:
        """Add the others' pull on the weights, and return theirs on x: share · kept @ weight."""
        scaled = self.x[chunk] * share[:, None]
        if kept.dtype == self.grad_weight.dtype:
            self.grad_weight.addmm_(kept.mT, scaled)
        else:
            rounded, size = _at_most_one(scaled, kept.dtype)
            self.grad_weight.addcmul_((kept.mT @ rounded).to(size.dtype), size)
        return (kept @ self.weight_rounded).to(self.x.dtype).mul_(share[:, None])  # (T, E)

    def column_sums(self, kept: Tensor, share: Tensor) -> Tensor:
        """share @ kept, (C,)."""
        rounded, size = _at_most_one(share, kept.dtype)
        return (rounded @ kept).to(size.dtype) * size

    def result(self, grad_bias: Tensor | None, bias: Tensor | None) -> Result:
        """What the operator returns; gradients in the precision of what they belong to."""
        dtype_x, dtype_weight = self.dtypes
        grads = self.grad_x.to(dtype_x), self.grad_weight.to(dtype_weight)
        if bias is None or grad_bias is None:
            return self.loss, *grads, self.x.new_empty(0, dtype=dtype_x)
        return self.loss, *grads, grad_bias.to(bias.dtype)


def _at_most_one(values: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Values over their largest, rounded, and that one: shares of a mean vanish in float16."""
    size = values.abs().amax().clamp_min(torch.finfo(values.dtype).tiny)
    return (values / size).to(dtype), size


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
