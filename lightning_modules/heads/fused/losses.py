"""Unembedding and loss in one, chunk by chunk, so that tokens × classes is never stored.

With 50,304 classes the logits of 4,096 tokens are 786 MiB in float32, and their gradient as much
again. Here a chunk of tokens passes through the matrix product, is reduced to its loss, and adds
its gradients while its logits exist; backward only scales them. The arithmetic is the same as
usual, the memory traffic less.

Both losses have one form. Classes have weights e_i in [0, 1], relative to the most likely one; with
e_c of the target and ``others`` = Σ_{i≠c} e_i

    loss = log(1 + others / e_c),    d loss / d log e_i = e_i / (others + e_c)  for i ≠ c,

so that neither a small loss nor its gradient is a difference of large numbers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_modules.heads.fused.chunks import Chunks, Result, power

# A distance that is rounded to bfloat16 has a relative error of 2^-9, its power n/2 times more: at
# this exponent a tenth of the probability.
_MAX_EXPONENT_IN_HALF_PRECISION = 100.0
# Smaller weights e_i count as 0: products of them are denormal numbers, on which a processor is
# slow, and a sum of 50,000 of them does not change the largest, 1.
_SMALLEST, _LOG_SMALLEST = 1e-37, -85.0
# Rounding error of a squared distance |x|² + |w|² - 2 x·w, in units of |x|². No center but the
# target counts as nearer than this: the gradient of a distance that is all rounding has no bound.
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

    Shapes: features (..., E), weight (C, E), targets (...), bias (num_classes,). Targets equal to
    ``ignore_index`` are left out. Rows of ``weight`` from ``num_classes`` on are padding and get no
    probability.
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

    The distances to the target and to the nearest other center are exact, Σ (x - w)². The others
    are |x|² + |w|² - 2 x·w, with a product in float32 or, under a bfloat16 autocast, in bfloat16
    around the mean of the features. They count as at least the rounding error: 7e-4 of |x| in
    float32, in bfloat16 a sixteenth of the feature's distance to the mean. That floor is too low
    for TF32 products (``torch.set_float32_matmul_precision("high")``): their error is 2^-11 |x|².

    Shapes and the other arguments are those of :func:`fused_cross_entropy`.
    """
    x, targets = features.reshape(-1, features.shape[-1]), targets.reshape(-1)
    classes = weight.shape[0] if num_classes is None else num_classes
    product = _product_dtype(x)
    # float16 also lacks the range for 1/d² near a center.
    if exponent > _MAX_EXPONENT_IN_HALF_PRECISION or product == torch.float16:
        product = torch.promote_types(x.dtype, torch.float32)
    grads = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    return _harmonic(x, weight, targets, classes, exponent, eps, ignore_index, product, grads)[0]


# ---- the two losses as custom operators, opaque to the compiler ----------------------------------
# Each returns (loss, gradient of x, of weight, of bias); empty gradients if not ``with_gradients``.


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
            target_weight = run.weight[target]  # (T, E)
            target_logit = (x_chunk * target_weight).sum(dim=1) + offset[target]  # (T,)
            others, log_e_target = torch.empty_like(target_logit), torch.empty_like(target_logit)
            for rows, block in run.blocks(logits):  # (R, C)
                if bias is not None:
                    block[:, :classes] += offset
                block[:, classes:] = -torch.inf
                block.scatter_(1, target[rows, None], -torch.inf)
                largest = torch.maximum(block.amax(dim=1), target_logit[rows])
                torch.threshold_(block.sub_(largest[:, None]), _LOG_SMALLEST, -torch.inf).exp_()
                torch.sum(block, dim=1, out=others[rows])
                torch.sub(target_logit[rows], largest, out=log_e_target[rows])
                run.write_back(logits, rows, block)
            scale, target_scale = run.add_loss(chunk, others, log_e_target)
            if with_gradients:
                # d loss / d logit_i = scale e_i for the others, -target_scale for the target.
                grad_x = run.add_gradients(chunk, logits, scale)
                run.grad_x[chunk] = grad_x.addcmul_(
                    target_scale[:, None], target_weight, value=-1.0
                )
                run.grad_weight.index_add_(0, target, target_scale[:, None] * x_chunk, alpha=-1.0)
                if grad_bias is not None:
                    grad_bias += run.column_sums(logits, scale)[:classes]
                    grad_bias.index_add_(0, target, target_scale, alpha=-1.0)
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
        # Distances do not depend on the origin, and lose the fewest digits around the features'
        # mean. float32 has enough of them, and centering would cost a copy of the weights.
        centered = product.itemsize == 2
        run = Chunks(x, weight, targets, ignore_index, product, with_gradients, centered)
        parts = run.weight.split(1024)  # at once it would take as much memory as the gradient
        centers_squared = torch.cat([(p - run.origin).square().sum(dim=1) for p in parts])  # (C,)
        centers_squared += eps
        column_sums = torch.zeros_like(centers_squared)
        scratch = run.x.new_empty(run.rows, weight.shape[0])
        for chunk, products in run:
            target, x_chunk = run.targets[chunk], run.x[chunk]
            x_squared = x_chunk.square().sum(dim=1)
            floor = _ROUNDING[product] * x_squared + eps
            target_diff = run.features[chunk] - run.weight[target]  # (T, E)
            target_d2 = target_diff.square().sum(dim=1) + eps  # (T,)
            nearest, nearest_diff = torch.empty_like(target), torch.empty_like(target_diff)
            others, smallest_d2, row_sums, nearest_d2, nearest_e = (
                torch.empty_like(target_d2) for _ in range(5)
            )
            for rows, block in run.blocks(products):  # (R, C)
                torch.add(centers_squared, block, alpha=-2.0, out=block)
                block.add_(x_squared[rows, None])
                block[:, classes:] = torch.inf  # padding is infinitely far away
                block[:, :classes].scatter_(1, target[rows, None], torch.inf)
                # The nearest other center matters most, and its approximation is the worst.
                approx_d2, index = block.min(dim=1)
                diff = run.features[chunk][rows] - run.weight[index]
                exact_d2 = diff.square().sum(dim=1) + eps
                exact_d2 = torch.where(approx_d2 < torch.inf, exact_d2, torch.inf)  # none: inf
                block.scatter_(1, index[:, None], torch.inf)
                torch.maximum(block, floor[rows, None], out=block)
                smallest = torch.minimum(block.amin(dim=1), target_d2[rows])
                smallest = torch.minimum(smallest, exact_d2)
                torch.div(smallest[:, None], block, out=block)  # in [0, 1]; 0 where d² is inf
                e = power(block, half_n, scratch[: len(block)])
                exact_e = (smallest / exact_d2) ** half_n
                torch.add(e.sum(dim=1), exact_e, out=others[rows])
                smallest_d2[rows], nearest_d2[rows], nearest_e[rows] = smallest, exact_d2, exact_e
                nearest[rows], nearest_diff[rows] = index, diff
                run.write_back(products, rows, torch.threshold_(block.mul_(e), _SMALLEST, 0.0))
                torch.sum(block, dim=1, out=row_sums[rows])
            log_e_target = half_n * (smallest_d2 / target_d2).log()
            scale, target_scale = run.add_loss(chunk, others, log_e_target)
            if with_gradients:
                # d loss / d d_i² = -n/2 e_i / (Z d_i²); ``products`` holds e_i smallest_d2 / d_i².
                nearest_scale = scale * nearest_e * (exponent / nearest_d2)
                scale *= exponent / smallest_d2
                target_scale *= exponent / target_d2
                column_sums += run.column_sums(products, scale)
                grad_x = run.add_gradients(chunk, products, scale)
                grad_x.addcmul_((scale * row_sums)[:, None], x_chunk, value=-1.0)
                grad_x.addcmul_(target_scale[:, None], target_diff)
                grad_x.addcmul_(nearest_scale[:, None], nearest_diff, value=-1.0)
                run.grad_x[chunk] = grad_x
                of_target = target_scale[:, None] * target_diff
                run.grad_weight.index_add_(0, target, of_target, alpha=-1.0)
                run.grad_weight.index_add_(0, nearest, nearest_scale[:, None] * nearest_diff)
        if with_gradients:
            run.grad_weight.addcmul_(column_sums[:, None], run.weight, value=-1.0)
            run.grad_weight.addr_(column_sums, run.origin)
        return run.result(None, None)


def _product_dtype(x: Tensor) -> torch.dtype:
    """Precision of the matrix products: autocast's if enabled, else that of x."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


# ---- shapes for the compiler, and gradients -----------------------------------------------------


def _shapes(x: Tensor, weight: Tensor, bias: Tensor | None, with_gradients: bool) -> Result:
    loss = x.new_empty((), dtype=torch.promote_types(x.dtype, torch.float32))
    if not with_gradients:
        return loss, x.new_empty(0), weight.new_empty(0), x.new_empty(0)
    grad_bias = x.new_empty(0) if bias is None else bias.new_empty(bias.shape)
    return loss, x.new_empty(x.shape), weight.new_empty(weight.shape), grad_bias


_cross_entropy.register_fake(lambda x, weight, bias, *rest: _shapes(x, weight, bias, rest[-1]))
_harmonic.register_fake(lambda x, weight, *rest: _shapes(x, weight, None, rest[-1]))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Result) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output[1:])


def _scaled_gradients(ctx: Any, grad_loss: Tensor | None) -> list[Tensor | None]:
    """Scale the gradients of x, weight and bias in place, which saves a copy."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            "fused losses have no second derivative (their gradients are computed in the forward "
            "pass); set the head's fused to false for create_graph=True"
        )
    if grad_loss is None:
        return [None, None, None]
    if getattr(ctx, "is_spent", False):
        raise RuntimeError(
            "a fused loss was differentiated twice, but its gradients are kept for one backward "
            "pass; set the head's fused to false for retain_graph=True"
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
