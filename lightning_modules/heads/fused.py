"""Unembedding and loss in one, chunk by chunk, so that tokens × classes is never stored.

With 50,304 classes the logits of 4,096 tokens are 786 MiB in float32, and their gradient as much
again. Here a chunk of tokens goes through the matrix product, is reduced to its loss, and leaves
its gradients at once, while it is still there; backward only scales them. That is no more
arithmetic than usual, and less memory traffic.

Both losses have one form. Classes have weights e_i in [0, 1], relative to the most likely one; the
target's e_c stands apart from those of the others, which add up to ``others``:

    loss = log(1 + others / e_c),    d loss / d e_i = 1 / (others + e_c)  for i ≠ c,

so that neither a small loss nor the gradient near it is a difference of large numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

_Result = tuple[Tensor, Tensor, Tensor, Tensor]

# Tokens whose logits exist at a time, and rows of them that pass through the pointwise work
# together. On a CPU these rows (1.6 MB at 50,304 classes) then stay in a core's cache.
_CHUNK = {torch.float32: 256, torch.float64: 256, torch.bfloat16: 1024, torch.float16: 1024}
_ROWS = 8
_CHUNK_ON_GPU, _ROWS_ON_GPU = 4096, 1024
# Above this exponent distances that were rounded to bfloat16 say nothing (REFERENCE D.2).
_LARGEST_EXPONENT_IN_HALF_PRECISION = 100.0
# What rounding may do to a squared distance |x|² + |w|² - 2 x.w, in units of |x|². No centre but
# the target counts as nearer than this: a distance of nothing but rounding would have a gradient
# of any size.
_ROUNDING = {
    torch.float64: 2.0**-50,
    torch.float32: 2.0**-21,
    torch.float16: 2.0**-11,
    torch.bfloat16: 2.0**-8,
}


def fused_cross_entropy(
    features: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None = None,
    num_classes: int | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Mean cross-entropy of ``features @ weight.T + bias``, a scalar.

    Args:
        features: (..., E).
        weight: (C, E).
        targets: (...), class indices or ``ignore_index``.
        bias: (num_classes,).
        num_classes: Rows of ``weight`` from this one on are padding without probability.
        ignore_index: The target value that does not count.
    """
    x, targets = features.reshape(-1, features.shape[-1]), targets.reshape(-1)
    classes = weight.shape[0] if num_classes is None else num_classes
    product = _product_dtype(x)
    grads = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    return _cross_entropy(x, weight, bias, targets, classes, ignore_index, product, grads)[0]


def fused_harmonic(
    features: Tensor,
    weight: Tensor,
    targets: Tensor,
    exponent: float,
    eps: float,
    num_classes: int | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Mean harmonic loss, a scalar: p_i proportional to (|x - w_i|² + eps)^(-exponent/2).

    The target's distance is taken directly, sum (x - w_c)², and stays out of the matrix products
    (REFERENCE D.2); the others' come from |x|² + |w|² - 2 x.w, in float32 or, under autocast, from
    a product in half precision, around the mean of the features. What is nearer than rounding
    can tell counts as that far: 7e-4 of |x| in float32, and in bfloat16 a sixteenth of the
    feature's distance to the mean.

    Args:
        features: (..., E).
        weight: Class centres, (C, E).
        targets: (...), class indices or ``ignore_index``.
        exponent: n, on the distance.
        eps: Added to every squared distance.
        num_classes: Rows of ``weight`` from this one on are padding without probability.
        ignore_index: The target value that does not count.
    """
    x, targets = features.reshape(-1, features.shape[-1]), targets.reshape(-1)
    classes = weight.shape[0] if num_classes is None else num_classes
    product = _product_dtype(x)
    if exponent > _LARGEST_EXPONENT_IN_HALF_PRECISION:
        product = torch.promote_types(x.dtype, torch.float32)
    grads = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    return _harmonic(x, weight, targets, classes, exponent, eps, ignore_index, product, grads)[0]


# ---- the two losses as operators that the compiler does not look into ----------------------------
# Each returns (loss, gradient of x, of weight, of bias); the gradients are empty if not asked for.


@torch.library.custom_op("glassbox::cross_entropy", mutates_args=())
def _cross_entropy(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    classes: int,
    ignore_index: int,
    product: torch.dtype,
    with_gradients: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    with torch.autocast(x.device.type, enabled=False):
        run = _Chunks(x, weight, targets, ignore_index, product, with_gradients)
        offset = run.x.new_zeros(classes) if bias is None else bias.to(run.x.dtype)
        grad_bias = torch.zeros_like(offset) if bias is not None and with_gradients else None
        for chunk, logits in run:
            target, x_chunk = run.targets[chunk], run.x[chunk]
            own = run.weight[target]  # (T, E)
            right = (x_chunk * own).sum(dim=1) + offset[target]  # (T,), the target's logit
            others, log_e_target = torch.empty_like(right), torch.empty_like(right)
            for rows, block in run.blocks(logits):  # (R, C)
                if bias is not None:
                    block[:, :classes] += offset
                block[:, classes:] = -torch.inf
                block.scatter_(1, target[rows, None], -torch.inf)
                largest = torch.maximum(block.amax(dim=1), right[rows])
                block.sub_(largest[:, None]).exp_()
                torch.sum(block, dim=1, out=others[rows])
                torch.sub(right[rows], largest, out=log_e_target[rows])
                run.keep(logits, rows, block)
            share, pull = run.add_loss(chunk, others, log_e_target)
            if with_gradients:
                towards = run.products_of_gradients(chunk, logits, share)
                run.grad_x[chunk] = towards.addcmul_(pull[:, None], own, value=-1.0)
                run.grad_weight.index_add_(0, target, pull[:, None] * x_chunk, alpha=-1.0)
                if grad_bias is not None:
                    grad_bias += run.column_sums(logits, share)[:classes]
                    grad_bias.index_add_(0, target, pull, alpha=-1.0)
        return run.result(grad_bias)


@torch.library.custom_op("glassbox::harmonic", mutates_args=())
def _harmonic(
    x: Tensor,
    weight: Tensor,
    targets: Tensor,
    classes: int,
    exponent: float,
    eps: float,
    ignore_index: int,
    product: torch.dtype,
    with_gradients: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    half_n = 0.5 * exponent
    with torch.autocast(x.device.type, enabled=False):
        # Distances do not change with the origin. At the features' mean they lose least digits; in
        # float32, where there are enough, it would cost a copy of the weights.
        origin = x.float().mean(dim=0) if product.itemsize == 2 else x.new_zeros(x.shape[1])
        run = _Chunks(x, weight, targets, ignore_index, product, with_gradients, origin)
        parts = run.weight.split(1024)  # at once it would take as much memory as the gradient
        centers_squared = torch.cat([(part - origin).square().sum(dim=1) for part in parts])  # (C,)
        centers_squared[classes:] = torch.inf  # padding is infinitely far away
        centers_squared += eps
        column_sums = torch.zeros_like(centers_squared)
        scratch = run.x.new_empty(run.rows, weight.shape[0])
        for chunk, products in run:
            target, x_chunk = run.targets[chunk], run.x[chunk]
            x_squared = x_chunk.square().sum(dim=1)
            floor = _ROUNDING[product] * x_squared + eps
            apart = x[chunk] - run.weight[target]  # (T, E)
            own = apart.square().sum(dim=1) + eps  # (T,), the target's squared distance
            others, nearest, row_sums = (torch.empty_like(own) for _ in range(3))
            for rows, block in run.blocks(products):  # (R, C)
                torch.add(centers_squared, block, alpha=-2.0, out=block)
                block.add_(x_squared[rows, None])
                torch.maximum(block, floor[rows, None], out=block)
                block.scatter_(1, target[rows, None], torch.inf)
                least = torch.minimum(block.amin(dim=1), own[rows])
                torch.div(least[:, None], block, out=block)  # in [0, 1]; 0 for target and padding
                e = _power(block, half_n, scratch[: len(block)])
                torch.sum(e, dim=1, out=others[rows])
                nearest[rows] = least
                run.keep(products, rows, block.mul_(e))
                torch.sum(block, dim=1, out=row_sums[rows])
            log_e_target = half_n * (nearest / own).log()
            share, pull = run.add_loss(chunk, others, log_e_target)
            if with_gradients:
                # d loss / d d_i² = -n/2 e_i / (Z d_i²), and what is kept is e_i times least / d_i².
                share *= exponent / nearest
                pull *= exponent / own
                column_sums += run.column_sums(products, share)
                towards = run.products_of_gradients(chunk, products, share)
                towards.addcmul_((share * row_sums)[:, None], x_chunk, value=-1.0)
                run.grad_x[chunk] = towards.addcmul_(pull[:, None], apart)
                run.grad_weight.index_add_(0, target, pull[:, None] * apart, alpha=-1.0)
        if with_gradients:
            run.grad_weight.addcmul_(column_sums[:, None], run.weight, value=-1.0)
            run.grad_weight.addr_(column_sums, origin)
        return run.result(None)


class _Chunks:
    """What both losses share: chunks of products, blocks of their rows, sums and gradients."""

    def __init__(
        self,
        x: Tensor,
        weight: Tensor,
        targets: Tensor,
        ignore_index: int,
        product: torch.dtype,
        with_gradients: bool,
        origin: Tensor | None = None,
    ) -> None:
        dtype = torch.promote_types(x.dtype, torch.float32)
        self.x, self.weight = x.to(dtype), weight.to(dtype)  # (N, E), (C, E)
        self.weight_rounded = self.weight.to(product)
        if origin is not None and product.itemsize == 2:  # what is multiplied is relative to it
            self.x = self.x - origin
            for part, rounded in zip(
                self.weight.split(1024), self.weight_rounded.split(1024), strict=True
            ):
                rounded.copy_(part - origin)
        self.x_rounded = self.x.to(product)
        counted = targets != ignore_index
        self.targets = torch.where(counted, targets, 0)  # (N,)
        self.shares = counted.to(dtype) / counted.sum().clamp_min(1)  # (N,), of the mean
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

    def result(self, grad_bias: Tensor | None) -> _Result:
        dtype_x, dtype_weight = self.dtypes
        bias = self.x.new_empty(0) if grad_bias is None else grad_bias
        return self.loss, self.grad_x.to(dtype_x), self.grad_weight.to(dtype_weight), bias


def _at_most_one(values: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Values over their largest, rounded, and that one: shares of a mean vanish in float16."""
    size = values.abs().amax().clamp_min(torch.finfo(values.dtype).tiny)
    return (values / size).to(dtype), size


def _power(base: Tensor, exponent: float, out: Tensor) -> Tensor:
    """base ** exponent into ``out``; whole exponents by squaring: faster, and it rounds less."""
    if exponent != int(exponent) or exponent > 64:
        return torch.pow(base, exponent, out=out)
    out.copy_(base)
    for bit in bin(int(exponent))[3:]:  # after the leading 1
        out.mul_(out)
        if bit == "1":
            out.mul_(base)
    return out


def _product_dtype(x: Tensor) -> torch.dtype:
    """Precision of the matrix products: autocast's where it is on, else that of x."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


# ---- gradients -----------------------------------------------------------------------------------


def _shapes(x: Tensor, weight: Tensor, bias: Tensor | None, with_gradients: bool) -> _Result:
    empty = x.new_empty(0)
    loss = x.new_empty((), dtype=torch.promote_types(x.dtype, torch.float32))
    if not with_gradients:
        return loss, empty, empty.clone(), empty.clone()
    grad_bias = empty.clone() if bias is None else torch.empty_like(bias)
    return loss, torch.empty_like(x), torch.empty_like(weight), grad_bias


@_cross_entropy.register_fake
def _cross_entropy_shapes(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    classes: int,
    ignore_index: int,
    product: torch.dtype,
    with_gradients: bool,
) -> _Result:
    return _shapes(x, weight, bias, with_gradients)


@_harmonic.register_fake
def _harmonic_shapes(
    x: Tensor,
    weight: Tensor,
    targets: Tensor,
    classes: int,
    exponent: float,
    eps: float,
    ignore_index: int,
    product: torch.dtype,
    with_gradients: bool,
) -> _Result:
    return _shapes(x, weight, None, with_gradients)


def _save(ctx: Any, inputs: tuple[Any, ...], output: _Result) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output[1:])


def _scaled_gradients(ctx: Any, grad_loss: Tensor | None) -> list[Tensor | None]:
    """The gradients of x, weight and bias, scaled in place: a copy would double the memory."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            "the fused losses have no second derivative, since their gradients are formed in the "
            "forward pass; build the head with fused=False for create_graph=True"
        )
    if grad_loss is None:
        return [None, None, None]
    return [grad.mul_(grad_loss) if grad.numel() else None for grad in ctx.saved_tensors]


def _cross_entropy_backward(ctx: Any, grad_loss: Tensor | None, *others: Any) -> tuple[Any, ...]:
    grad_x, grad_weight, grad_bias = _scaled_gradients(ctx, grad_loss)
    return grad_x, grad_weight, grad_bias, None, None, None, None, None


def _harmonic_backward(ctx: Any, grad_loss: Tensor | None, *others: Any) -> tuple[Any, ...]:
    grad_x, grad_weight, _ = _scaled_gradients(ctx, grad_loss)
    return grad_x, grad_weight, None, None, None, None, None, None, None


_cross_entropy.register_autograd(_cross_entropy_backward, setup_context=_save)
_harmonic.register_autograd(_harmonic_backward, setup_context=_save)
