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

from typing import Any

import torch
from torch import Tensor

from lightning_modules.heads.fused.chunks import Chunks, Result, power

# Above this exponent distances that were rounded to bfloat16 say nothing (REFERENCE D.2).
_LARGEST_EXPONENT_IN_HALF_PRECISION = 100.0
# Smaller weights e_i count as 0. The processor would work on them at a fraction of its speed, since
# products of them are denormal, and no sum of 50,000 of them can be seen beside the largest, 1.
_LEAST, _LOG_LEAST = 1e-37, -85.0
# What rounding may do to a squared distance |x|² + |w|² - 2 x.w, in units of |x|². No center but
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
    trained = [t for t in (x, weight, bias) if t is not None and t.requires_grad]
    grads = torch.is_grad_enabled() and bool(trained)
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

    The distances to the target and to the nearest other center are taken directly, sum (x - w)²,
    and stay out of the matrix products (REFERENCE D.2); the others come from
    |x|² + |w|² - 2 x.w, in float32 or, under a bfloat16 autocast, from a product of that
    precision, around the mean of the features. A further center that is nearer than rounding can
    tell counts as that far: 7e-4 of |x| in float32, in bfloat16 a sixteenth of the feature's
    distance to the mean.

    Args:
        features: (..., E).
        weight: Class centers, (C, E).
        targets: (...), class indices or ``ignore_index``.
        exponent: n, on the distance.
        eps: Added to every squared distance.
        num_classes: Rows of ``weight`` from this one on are padding without probability.
        ignore_index: The target value that does not count.
    """
    x, targets = features.reshape(-1, features.shape[-1]), targets.reshape(-1)
    classes = weight.shape[0] if num_classes is None else num_classes
    product = _product_dtype(x)
    # Nor has float16 the range of 1/d² near a center.
    if exponent > _LARGEST_EXPONENT_IN_HALF_PRECISION or product == torch.float16:
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
        run = Chunks(x, weight, targets, ignore_index, product, with_gradients)
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
                torch.threshold_(block.sub_(largest[:, None]), _LOG_LEAST, -torch.inf).exp_()
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
        return run.result(None if bias is None else grad_bias, bias)


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
        # Distances do not change with the origin, and lose least digits around the features' mean.
        # In float32, where there are enough, that would only cost a copy of the weights.
        centerd = product.itemsize == 2
        run = Chunks(x, weight, targets, ignore_index, product, with_gradients, centerd)
        parts = run.weight.split(1024)  # at once it would take as much memory as the gradient
        centers_squared = torch.cat([(p - run.origin).square().sum(dim=1) for p in parts])  # (C,)
        centers_squared += eps
        column_sums = torch.zeros_like(centers_squared)
        scratch = run.x.new_empty(run.rows, weight.shape[0])
        for chunk, products in run:
            target, x_chunk = run.targets[chunk], run.x[chunk]
            x_squared = x_chunk.square().sum(dim=1)
            floor = _ROUNDING[product] * x_squared + eps
            apart = run.features[chunk] - run.weight[target]  # (T, E)
            own = apart.square().sum(dim=1) + eps  # (T,), the target's squared distance
            wrong, apart_wrong = torch.empty_like(target), torch.empty_like(apart)
            others, nearest, row_sums, at_wrong, e_wrong = (torch.empty_like(own) for _ in range(5))
            for rows, block in run.blocks(products):  # (R, C)
                torch.add(centers_squared, block, alpha=-2.0, out=block)
                block.add_(x_squared[rows, None])
                block[:, classes:] = torch.inf  # padding is infinitely far away
                block[:, :classes].scatter_(1, target[rows, None], torch.inf)
                # The nearest other matters most and, being near, is known least.
                said, index = block.min(dim=1)
                difference = run.features[chunk][rows] - run.weight[index]
                exact = difference.square().sum(dim=1) + eps
                exact = torch.where(said < torch.inf, exact, torch.inf)  # there may be no other
                block.scatter_(1, index[:, None], torch.inf)
                torch.maximum(block, floor[rows, None], out=block)
                least = torch.minimum(torch.minimum(block.amin(dim=1), own[rows]), exact)
                torch.div(least[:, None], block, out=block)  # in [0, 1]; 0 for what stands apart
                e = power(block, half_n, scratch[: len(block)])
                e_exact = (least / exact) ** half_n
                torch.add(e.sum(dim=1), e_exact, out=others[rows])
                nearest[rows], at_wrong[rows], e_wrong[rows] = least, exact, e_exact
                wrong[rows], apart_wrong[rows] = index, difference
                run.keep(products, rows, torch.threshold_(block.mul_(e), _LEAST, 0.0))
                torch.sum(block, dim=1, out=row_sums[rows])
            log_e_target = half_n * (nearest / own).log()
            share, pull = run.add_loss(chunk, others, log_e_target)
            if with_gradients:
                # d loss / d d_i² = -n/2 e_i / (Z d_i²), and what is kept is e_i times least / d_i².
                push = share * e_wrong * (exponent / at_wrong)
                share *= exponent / nearest
                pull *= exponent / own
                column_sums += run.column_sums(products, share)
                towards = run.products_of_gradients(chunk, products, share)
                towards.addcmul_((share * row_sums)[:, None], x_chunk, value=-1.0)
                towards.addcmul_(pull[:, None], apart)
                run.grad_x[chunk] = towards.addcmul_(push[:, None], apart_wrong, value=-1.0)
                run.grad_weight.index_add_(0, target, pull[:, None] * apart, alpha=-1.0)
                run.grad_weight.index_add_(0, wrong, push[:, None] * apart_wrong)
        if with_gradients:
            run.grad_weight.addcmul_(column_sums[:, None], run.weight, value=-1.0)
            run.grad_weight.addr_(column_sums, run.origin)
        return run.result(None, None)


def _product_dtype(x: Tensor) -> torch.dtype:
    """Precision of the matrix products: autocast's where it is on, else that of x."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


# ---- gradients -----------------------------------------------------------------------------------


def _shapes(x: Tensor, weight: Tensor, bias: Tensor | None, with_gradients: bool) -> Result:
    loss = x.new_empty((), dtype=torch.promote_types(x.dtype, torch.float32))
    if not with_gradients:
        return loss, x.new_empty(0), weight.new_empty(0), x.new_empty(0)
    grad_bias = x.new_empty(0) if bias is None else bias.new_empty(bias.shape)
    return loss, x.new_empty(x.shape), weight.new_empty(weight.shape), grad_bias


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
) -> Result:
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
) -> Result:
    return _shapes(x, weight, None, with_gradients)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Result) -> None:
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
    if getattr(ctx, "is_spent", False):
        raise RuntimeError(
            "a fused loss was differentiated a second time, and its gradients are used up by the "
            "first; build the head with fused=False for retain_graph=True"
        )
    ctx.is_spent = True
    return [grad.mul_(grad_loss) if grad.numel() else None for grad in ctx.saved_tensors]


def _cross_entropy_backward(ctx: Any, grad_loss: Tensor | None, *others: Any) -> tuple[Any, ...]:
    grad_x, grad_weight, grad_bias = _scaled_gradients(ctx, grad_loss)
    return grad_x, grad_weight, grad_bias, None, None, None, None, None


def _harmonic_backward(ctx: Any, grad_loss: Tensor | None, *others: Any) -> tuple[Any, ...]:
    grad_x, grad_weight, _ = _scaled_gradients(ctx, grad_loss)
    return grad_x, grad_weight, None, None, None, None, None, None, None


_cross_entropy.register_autograd(_cross_entropy_backward, setup_context=_save)
_harmonic.register_autograd(_harmonic_backward, setup_context=_save)
