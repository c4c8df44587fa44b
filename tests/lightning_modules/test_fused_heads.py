"""The fused losses against float64 that forms every difference and every class's own term.

The reference never subtracts large numbers either: loss = log(1 + sum over the others of e_i/e_c),
with all differences x - w formed one by one, and its gradients are autograd's.
"""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_modules.heads import CrossEntropyHead, HarmonicHead, chunks, fused
from lightning_modules.heads.fused import fused_cross_entropy, fused_harmonic

WIDTH, CLASSES, TOKENS = 24, 90, 11
EPS = 1e-10
FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]

each_head = pytest.mark.parametrize("cls", [CrossEntropyHead, HarmonicHead])
each_loss = pytest.mark.parametrize("name", ["cross_entropy", "harmonic"])


# ---- helpers -------------------------------------------------------------------------------------


@pytest.fixture
def small_chunks(monkeypatch):
    """Several chunks of tokens, several blocks of rows in each, and neither comes out even."""
    monkeypatch.setattr(chunks, "_CHUNK", dict.fromkeys(FLOATS, 5))
    monkeypatch.setattr(chunks, "_ROWS", 2)


def others_only(values, targets, fill):
    """``values`` (N, C) with each row's target replaced."""
    is_target = torch.arange(values.shape[1]) == targets[:, None]
    return torch.where(is_target, torch.tensor(fill, dtype=values.dtype), values)


def exact_cross_entropy(x, weight, targets, bias=None):
    """(N,) losses: log(1 + sum over the others of exp(logit_i - logit_c))."""
    logits = x @ weight.T
    if bias is not None:
        logits = logits + bias
    own = logits.gather(1, targets[:, None])
    odds = others_only(logits - own, targets, -math.inf).logsumexp(dim=1)
    return torch.logaddexp(torch.zeros_like(odds), odds)


def exact_harmonic(x, weight, targets, exponent, eps=EPS):
    """(N,) losses: log(1 + sum over the others of (d_c²/d_i²)^(n/2)), of differences formed."""
    squared = (x[:, None] - weight).square().sum(dim=-1) + eps  # (N, C)
    own = squared.gather(1, targets[:, None])
    odds = (own / others_only(squared, targets, 1.0)).pow(exponent / 2)
    return others_only(odds, targets, 0.0).sum(dim=1).log1p()


def reference(losses, x, weight, targets, *rest):
    """Mean loss and the gradients of every tensor with one, by autograd in float64."""
    leaves = [x, weight, *(value for value in rest if isinstance(value, torch.Tensor))]
    leaves = [leaf.detach().double().requires_grad_(True) for leaf in leaves]
    rest = [leaves[2] if isinstance(value, torch.Tensor) else value for value in rest]
    loss = losses(leaves[0], leaves[1], targets, *rest).mean()
    return [loss.detach(), *torch.autograd.grad(loss, leaves)]


def evaluate(loss_of, *leaves):
    """Loss and the gradients of fresh copies of ``leaves``."""
    leaves = [leaf.detach().clone().requires_grad_(True) for leaf in leaves]
    loss = loss_of(*leaves)
    return [loss.detach(), *torch.autograd.grad(loss, leaves)]


def relative_error(got, expected):
    return ((got.double() - expected).norm() / expected.norm()).item()


def assert_close(got, expected, tolerance):
    for value, exact in zip(got, expected, strict=True):
        assert relative_error(value, exact) <= tolerance


def cloud(width=WIDTH, classes=CLASSES, tokens=TOKENS, seed=3):
    """Features (N, E) and weights (C, E) of norm about 1, and targets (N,)."""
    rng = torch.Generator().manual_seed(seed)
    weight = torch.randn(classes, width, generator=rng) / math.sqrt(width)
    x = torch.randn(tokens, width, generator=rng) / math.sqrt(width)
    return x, weight, torch.randint(classes, (tokens,), generator=rng)


def near(weight, centers, distance, seed=4):
    """Features at a distance from given centres (N,)."""
    rng = torch.Generator().manual_seed(seed)
    away = torch.randn(len(centers), weight.shape[1], generator=rng)
    return weight[centers] + distance * F.normalize(away, dim=-1)


def bias_of(classes=CLASSES):
    return torch.randn(classes, generator=torch.Generator().manual_seed(5))


def loss_by_name(name, targets, exponent=4.0, **options):
    """A fused loss as a function of features and weight."""
    if name == "cross_entropy":
        return lambda x, weight: fused_cross_entropy(x, weight, targets, **options)
    return lambda x, weight: fused_harmonic(x, weight, targets, exponent, EPS, **options)


def exact_by_name(name, x, weight, targets, exponent=4.0):
    if name == "cross_entropy":
        return reference(exact_cross_entropy, x, weight, targets)
    return reference(exact_harmonic, x, weight, targets, exponent)


# ---- against float64 -----------------------------------------------------------------------------


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_cross_entropy_and_its_gradients_keep_float32_precision(with_bias, scale, small_chunks):
    x, weight, targets = cloud()
    biases = [bias_of()] if with_bias else []
    got = evaluate(
        lambda x, w, *b: fused_cross_entropy(x, w, targets, *b), scale * x, weight, *biases
    )
    expected = reference(exact_cross_entropy, scale * x, weight, targets, *biases)
    assert_close(got, expected, 1e-6)


@pytest.mark.parametrize("exponent", [1, 2, 28, 27.7])
@pytest.mark.parametrize("distance", [1, 0.3, 0.1, 1e-2, 1e-3, 0])
def test_harmonic_loss_and_gradients_keep_float32_precision_near_the_own_centre(
    exponent, distance, small_chunks
):
    _, weight, targets = cloud(width=256, classes=300)
    x = near(weight, targets, distance)
    got = evaluate(loss_by_name("harmonic", targets, exponent), x, weight)
    expected = reference(exact_harmonic, x, weight, targets, exponent)
    if expected[0] < 1e-36:  # float32 has no such numbers
        assert 0 <= got[0] < 1e-36
        assert all(gradient.abs().max() < 1e-30 for gradient in got[1:])
        return
    # The power multiplies the rounding of a distance, some 1e-7, by n/2. Far out a sum over many
    # classes evens that out; with a large exponent, near the centre, one class has it all.
    tolerance = max(5e-7, exponent * (5e-8 if distance == 1 else 1.5e-7))
    assert_close(got, expected, tolerance)


@pytest.mark.parametrize("exponent", [1, 28, 768])
def test_harmonic_loss_of_features_among_the_centres_keeps_float32_precision(exponent):
    x, weight, targets = cloud()
    got = evaluate(loss_by_name("harmonic", targets, exponent), x, weight)
    assert_close(got, reference(exact_harmonic, x, weight, targets, exponent), exponent * 1e-6)


@each_loss
@pytest.mark.parametrize("exponent", [1, 28, 27.7])
def test_float64_stays_float64(name, exponent, small_chunks):
    x, weight, targets = cloud()
    x[:4] = near(weight, targets[:4], 1e-2)
    got = evaluate(loss_by_name(name, targets, exponent), x.double(), weight.double())
    assert {value.dtype for value in got} == {torch.float64}
    assert_close(got, exact_by_name(name, x.double(), weight.double(), targets, exponent), 1e-13)


@each_loss
def test_gradients_are_those_of_finite_differences(name, small_chunks):
    x, weight, targets = cloud(width=3, classes=6, tokens=7)
    targets[2] = -100
    loss_of = loss_by_name(name, targets)
    leaves = [value.double() for value in (x, weight)]
    # Not gradcheck, which goes backward twice: the gradients are scaled in place.
    for leaf, gradient in zip(leaves, evaluate(loss_of, *leaves)[1:], strict=True):
        differences = torch.empty_like(leaf)
        for i in range(leaf.numel()):
            losses = []
            for step in (1e-6, -2e-6):
                leaf.view(-1)[i] += step
                losses.append(loss_of(*leaves))
            leaf.view(-1)[i] += 1e-6
            differences.view(-1)[i] = (losses[0] - losses[1]) / 2e-6
        torch.testing.assert_close(gradient, differences, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("exponent", [1, 28, 768])
def test_on_its_own_centre_the_harmonic_loss_is_finite_and_pulls_nowhere(exponent):
    _, weight, targets = cloud()
    x = weight[targets]
    loss, of_x, of_weight = evaluate(loss_by_name("harmonic", targets, exponent), x, weight)
    assert 0 <= loss < 0.01
    assert of_x.isfinite().all() and of_weight.isfinite().all()
    # What is left is the push of the other centres.
    assert of_x.abs().max() < 0.01


@pytest.mark.parametrize("exponent", [1, 28, 768])
@pytest.mark.parametrize("distance", [0.0, 1e-6, 1e-3])
def test_on_or_next_to_a_wrong_centre_everything_is_finite(exponent, distance):
    _, weight, targets = cloud()
    x = near(weight, (targets + 1) % CLASSES, distance)
    loss, of_x, of_weight = evaluate(loss_by_name("harmonic", targets, exponent), x, weight)
    assert loss.isfinite() and loss > 1
    assert of_x.isfinite().all() and of_weight.isfinite().all()


@pytest.mark.parametrize("exponent", [1, 28])
@pytest.mark.parametrize("distance", [1e-2, 1e-3, 1e-4, 0.0])
def test_near_a_wrong_centre_loss_and_gradients_keep_float32_precision(exponent, distance):
    # As HarmonicHead promises, and as its unfused loss does.
    _, weight, targets = cloud()
    x = near(weight, (targets + 1) % CLASSES, distance)
    got = evaluate(loss_by_name("harmonic", targets, exponent), x, weight)
    assert_close(got, reference(exact_harmonic, x, weight, targets, exponent), 1e-3)


@pytest.mark.parametrize("exponent", [1, 28])
@pytest.mark.parametrize("distance", [0.05, 1e-2, 1e-3])
def test_near_a_wrong_centre_half_precision_is_no_steeper_than_the_exact_gradient(
    exponent, distance
):
    _, weight, targets = cloud()
    x = near(weight, (targets + 1) % CLASSES, distance)
    with torch.autocast("cpu", torch.bfloat16):
        got = evaluate(loss_by_name("harmonic", targets, exponent), x, weight)
    expected = reference(exact_harmonic, x, weight, targets, exponent)
    assert got[1].norm() < 3 * expected[1].norm()


@each_loss
def test_the_loss_of_a_target_without_probability_is_its_log_and_pulls_with_full_force(name):
    # Both losses are about 2e4 and exp(-2e4) is 0 in any precision.
    if name == "cross_entropy":
        x, weight = torch.tensor([[1.0]]), torch.tensor([[1e4], [-1e4], [9999.0]])
        loss, of_x, of_weight = evaluate(loss_by_name(name, torch.tensor([1])), x, weight)
        share = 1 / (1 + math.exp(-1))  # of class 0; class 2 has the rest
        assert loss.item() == pytest.approx(2e4 - math.log(share), rel=1e-6)
        expected = torch.tensor([[share], [-1.0], [1 - share]])
        torch.testing.assert_close(of_weight, expected)
        assert of_x.item() == pytest.approx(2e4 - (1 - share), rel=1e-6)
        return
    x, weight = torch.tensor([[0.0]]), torch.tensor([[1.0], [-1024.0], [-1024.0]])
    exponent = 2884.0
    loss, of_x, of_weight = evaluate(loss_by_name(name, torch.tensor([1]), exponent), x, weight)
    assert loss.item() == pytest.approx(exponent * math.log(1024), rel=1e-6)
    assert of_x.item() == pytest.approx(exponent * (1 + 1 / 1024), rel=1e-6)
    expected = torch.tensor([[-exponent], [-exponent / 1024], [0.0]])
    torch.testing.assert_close(of_weight, expected, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_certain_target_at_extreme_logits_has_loss_and_gradients_of_zero(sign):
    x, weight = torch.tensor([[1e2], [-1e2]]), sign * torch.tensor([[1e2], [-1e2], [0.0]])
    targets = torch.tensor([0, 1] if sign == 1 else [1, 0])
    for value in evaluate(loss_by_name("cross_entropy", targets), x, weight):
        assert (value == 0).all()


def test_a_cross_entropy_far_below_one_keeps_its_digits():
    # 1 - p is 4e-9 here: log-sum-exp over all classes would say 0.
    x, weight = torch.tensor([[1.0]]), torch.tensor([[20.0], [0.0], [-1.0], [0.5]])
    targets = torch.tensor([0])
    got = evaluate(loss_by_name("cross_entropy", targets), x, weight)
    assert 1e-9 < got[0] < 1e-8
    assert_close(got, reference(exact_cross_entropy, x, weight, targets), 1e-6)


# ---- half precision ------------------------------------------------------------------------------


@pytest.mark.parametrize("with_bias", [False, True])
def test_cross_entropy_under_bfloat16_autocast_is_good_to_the_rounding_of_its_logits(
    with_bias, small_chunks
):
    x, weight, targets = cloud()
    x = 4 * x
    biases = [bias_of()] if with_bias else []
    with torch.autocast("cpu", torch.bfloat16):
        got = evaluate(lambda x, w, *b: fused_cross_entropy(x, w, targets, *b), x, weight, *biases)
    assert {value.dtype for value in got} == {torch.float32}
    # Logits of about 1, three times rounded to 2^-9, shift a log-probability by no more.
    expected = reference(exact_cross_entropy, x, weight, targets, *biases)
    assert abs(got[0] - expected[0]) < 3 * 2**-9
    assert_close(got[1:], expected[1:], 6 * 2**-9)


@pytest.mark.parametrize(
    ("exponent", "distance"),
    [(1, 1), (1, 0.3), (1, 0.1), (1, 1e-2), (2, 1), (2, 1e-2), (28, 1), (28, 0.3), (28, 0.1)],
)
def test_harmonic_under_bfloat16_autocast_is_good_to_the_rounding_of_others_distances(
    exponent, distance, small_chunks
):
    _, weight, targets = cloud()
    x = near(weight, targets, distance)
    with torch.autocast("cpu", torch.bfloat16):
        got = evaluate(loss_by_name("harmonic", targets, exponent), x, weight)
    assert {value.dtype for value in got} == {torch.float32}
    expected = reference(exact_harmonic, x, weight, targets, exponent)
    # The others lie about 1 away, so that d² is wrong by some 2^-8, and its power n/2 times more.
    assert_close(got, expected, max(exponent, 2) * 2**-9)


def test_with_a_large_exponent_bfloat16_distances_are_not_used():
    x, weight, targets = cloud()
    got, at_the_limit = [], []
    for exponent, results in ((101.0, got), (100.0, at_the_limit)):
        for enabled in (False, True):
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                results.append(evaluate(loss_by_name("harmonic", targets, exponent), x, weight))
    assert all(torch.equal(a, b) for a, b in zip(*got, strict=True))
    assert not torch.equal(at_the_limit[0][1], at_the_limit[1][1])


@each_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_inputs_give_a_float32_loss_and_gradients_of_their_own_type(name, dtype):
    x, weight, targets = cloud()
    x, weight = x.to(dtype), weight.to(dtype)
    got = evaluate(loss_by_name(name, targets), x, weight)
    assert [value.dtype for value in got] == [torch.float32, dtype, dtype]
    expected = exact_by_name(name, x, weight, targets)  # of the rounded inputs
    assert_close(got, expected, 2e-2 if dtype == torch.bfloat16 else 2e-3)


@pytest.mark.parametrize("distance", [1.0, 0.3])
def test_float16_autocast_is_good_to_the_rounding_of_distances(distance, small_chunks):
    x, weight, targets = cloud()
    with torch.autocast("cpu", torch.float16):
        got = evaluate(loss_by_name("cross_entropy", targets), x, weight)
    assert_close(got, reference(exact_cross_entropy, x, weight, targets), 1e-3)
    x = near(weight, targets, distance)
    with torch.autocast("cpu", torch.float16):
        got = evaluate(loss_by_name("harmonic", targets, 2.0), x, weight)
    assert_close(got, reference(exact_harmonic, x, weight, targets, 2.0), 1e-3)


def many_tokens(name, dtype, with_bias=False):
    """Gradients of weight, and bias, of 40,000 tokens that give 2,000 classes even shares.

    One token's share of one class's gradient is then 1e-8, less than float16 has.
    """
    x, weight, targets = cloud(width=2, classes=2000, tokens=40_000)
    x = 1e-3 * x + 1.0
    weight = 1e-3 * weight + (2.0 if name == "harmonic" else 0.0)
    biases = [torch.zeros(2000)] if with_bias else []
    options = {"bias": biases[0]} if with_bias else {}

    def loss(weight, *bias):
        if with_bias:
            options["bias"] = bias[0]
        return loss_by_name(name, targets, exponent=1.0, **options)(x, weight)

    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        return evaluate(loss, weight, *biases)[1:]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "with_bias"),
    [("cross_entropy", False), ("cross_entropy", True), ("harmonic", False)],
)
def test_shares_of_many_tokens_do_not_vanish_in_float16(name, with_bias):
    expected = many_tokens(name, torch.float32, with_bias)
    got = many_tokens(name, torch.float16, with_bias)
    for value, exact in zip(got, expected, strict=True):
        assert relative_error(value, exact.double()) < 0.02


@pytest.mark.parametrize("distance", [1e-3, 0.0])
def test_near_the_own_centre_float16_gradients_are_finite(distance):
    _, weight, targets = cloud()
    x = near(weight, targets, distance)
    with torch.autocast("cpu", torch.float16):
        got = evaluate(loss_by_name("harmonic", targets, 2.0), x, weight)
    assert all(value.isfinite().all() for value in got)


# ---- chunks and blocks ---------------------------------------------------------------------------


@each_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_results_do_not_depend_on_chunks_and_blocks(name, dtype, monkeypatch):
    x, weight, targets = cloud()
    targets[4] = -100
    options = {"bias": bias_of()} if name == "cross_entropy" else {}
    results = []
    for chunk, rows in [(256, 8), (1, 1), (3, 2), (5, 7), (11, 3), (10, 10)]:
        monkeypatch.setattr(chunks, "_CHUNK", dict.fromkeys(FLOATS, chunk))
        monkeypatch.setattr(chunks, "_ROWS", rows)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            results.append(evaluate(loss_by_name(name, targets, **options), x, weight))
    # In bfloat16 each chunk's product is rounded before it is added up.
    tolerance = 1e-6 if dtype == torch.float32 else 2**-8
    for got in results[1:]:
        assert_close(got, [value.double() for value in results[0]], tolerance)


class Allocations(TorchDispatchMode):
    """The most bytes of tensors alive at once that were made inside, those of fused ops too."""

    def __init__(self):
        super().__init__()
        self.storages = torch.utils.weak.WeakIdKeyDictionary()
        self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "glassbox":
            # Its inside, with this mode on.
            operators = {"cross_entropy": fused._cross_entropy, "harmonic": fused._harmonic}
            with self:
                return operators[func._opname]._init_fn(*args, **(kwargs or {}))
        result = func(*args, **(kwargs or {}))
        for value in torch.utils._pytree.tree_leaves(result):
            if isinstance(value, torch.Tensor):
                self.storages[value.untyped_storage()] = None
        self.peak = max(self.peak, sum(storage.nbytes() for storage in self.storages))
        return result


@each_loss
def test_memory_does_not_grow_by_the_number_of_classes_per_token(name, small_chunks):
    width, classes = 4, 300
    peaks = {}
    for tokens in (20, 120):
        x, weight, targets = cloud(width, classes, tokens)
        x.requires_grad_(True)
        weight.requires_grad_(True)
        with Allocations() as allocations:
            loss_by_name(name, targets)(x, weight)
        peaks[tokens] = allocations.peak
    logits = 4 * 5 * classes  # of one chunk
    assert logits < peaks[20]
    # Per token its gradient, its share of the mean, its target and a few numbers; no 300 logits.
    growth = (peaks[120] - peaks[20]) / 100
    assert 4 * width <= growth <= 4 * (2 * width + 10)


@each_loss
def test_without_gradients_the_loss_is_the_same_and_no_gradient_is_formed(name, monkeypatch):
    x, weight, targets = cloud()
    loss_of = loss_by_name(name, targets)
    operator = getattr(fused, f"_{name}")
    outputs = []

    def spy(*args):
        outputs.append(operator(*args))
        return outputs[-1]

    monkeypatch.setattr(fused, f"_{name}", spy)
    expected = evaluate(loss_of, x, weight)[0]
    assert [value.numel() for value in outputs[0][1:3]] == [x.numel(), weight.numel()]
    frozen = loss_of(x, weight)  # nothing asks for a gradient
    with torch.no_grad():
        unrecorded = loss_of(x.clone().requires_grad_(True), weight.clone().requires_grad_(True))
    with torch.inference_mode():
        inferred = loss_of(x, weight)
    for loss, output in zip((frozen, unrecorded, inferred), outputs[1:], strict=True):
        assert not loss.requires_grad
        assert loss == expected
        assert [value.numel() for value in output[1:]] == [0, 0, 0]


@each_loss
def test_inputs_are_left_as_they_were(name, small_chunks):
    x, weight, targets = cloud()
    targets[3] = -100
    bias = bias_of()
    before = [value.clone() for value in (x, weight, targets, bias)]
    options = {"bias": bias} if name == "cross_entropy" else {}
    loss_by_name(name, targets, num_classes=CLASSES, **options)(x.requires_grad_(True), weight)
    for value, old in zip((x, weight, targets, bias), before, strict=True):
        assert torch.equal(value, old)


# ---- what does not count -------------------------------------------------------------------------


@each_loss
@pytest.mark.parametrize("ignore_index", [-100, -1, 3])
def test_ignored_tokens_change_neither_loss_nor_gradients(name, ignore_index, small_chunks):
    x, weight, targets = cloud()
    targets[targets == ignore_index] = 7
    kept = torch.ones(TOKENS, dtype=torch.bool)
    kept[[0, 4, 5, 6, 7, 10]] = False
    masked = torch.where(kept, targets, ignore_index)
    got = evaluate(loss_by_name(name, masked, ignore_index=ignore_index), x, weight)
    expected = exact_by_name(name, x[kept], weight, targets[kept])
    assert (got[1][~kept] == 0).all()
    assert_close([got[0], got[1][kept], got[2]], expected, 1e-6)


@each_loss
@pytest.mark.parametrize("tokens", [1, TOKENS])
def test_with_nothing_to_count_loss_and_gradients_are_zero(name, tokens, small_chunks):
    x, weight, _ = cloud()
    targets = torch.full((tokens,), -100)
    for value in evaluate(loss_by_name(name, targets), x[:tokens], weight):
        assert (value == 0).all()


@pytest.mark.parametrize(
    ("name", "half"),
    [
        ("cross_entropy", False),
        ("cross_entropy", True),
        ("harmonic", False),
        pytest.param(
            "harmonic",
            True,
        ),
    ],
)
def test_no_tokens_at_all_have_a_loss_of_zero(name, half):
    x, weight, targets = cloud()
    weight.requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        loss = loss_by_name(name, targets[:0])(x[:0], weight)
    loss.backward()
    assert loss == 0 and (weight.grad == 0).all()


@pytest.mark.parametrize(
    "name",
    [
        "cross_entropy",
        pytest.param(
            "harmonic",
        ),
    ],
)
def test_ignored_features_do_not_cost_the_others_digits_in_half_precision(name):
    # As they would in a mean over all of them.
    x, weight, targets = cloud()
    targets[2] = -100
    results = []
    for value in (0.0, 1e4):
        x[2] = value
        with torch.autocast("cpu", torch.bfloat16):
            results.append(evaluate(loss_by_name(name, targets), x, weight))
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected)


@each_loss
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_ignored_features_may_be_anything(name, value):
    x, weight, targets = cloud()
    targets[2] = -100
    changed = x.clone()
    changed[2] = value
    assert loss_by_name(name, targets)(changed, weight).isfinite()


def padded(weight, kind, x, targets):
    """``weight`` with three more rows."""
    rows = {
        "zero": torch.zeros(3, weight.shape[1]),
        "features": x[:3],
        "target": weight[targets[:3]],
        "large": torch.full((3, weight.shape[1]), 1e10),
        "huge": torch.full((3, weight.shape[1]), -1e30),
        "overflowing": torch.full((3, weight.shape[1]), 3e38),
    }[kind]
    return torch.cat([weight, rows])


each_padding = pytest.mark.parametrize("kind", ["zero", "features", "target", "large", "huge"])


@each_loss
@each_padding
@pytest.mark.parametrize("half", [False, True])
def test_padding_has_no_probability_and_no_gradient_whatever_it_holds(
    name, kind, half, small_chunks
):
    x, weight, targets = cloud()
    biases = {"bias": bias_of()} if name == "cross_entropy" else {}
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        expected = evaluate(loss_by_name(name, targets, **biases), x, weight)
        got = evaluate(
            loss_by_name(name, targets, num_classes=CLASSES, **biases),
            x,
            padded(weight, kind, x, targets),
        )
    assert (got[2][CLASSES:] == 0).all()
    unpadded = [got[0], got[1], got[2][:CLASSES]]
    assert_close(unpadded, [value.double() for value in expected], 1e-2 if half else 1e-6)


@pytest.mark.parametrize("half", [None, torch.bfloat16, torch.float16], ids=str)
def test_padding_may_overflow(half):
    x, weight, targets = cloud()
    weight = padded(weight, "overflowing", x, targets)
    with torch.autocast("cpu", half or torch.bfloat16, enabled=half is not None):
        got = evaluate(loss_by_name("harmonic", targets, num_classes=CLASSES), x, weight)
    assert all(value.isfinite().all() for value in got)


def test_the_gradient_of_the_bias_has_no_padding():
    x, weight, targets = cloud()
    got = evaluate(
        lambda x, w, b: fused_cross_entropy(x, w, targets, b, CLASSES),
        x,
        padded(weight, "large", x, targets),
        bias_of(),
    )
    assert got[3].shape == (CLASSES,)
    assert_close([got[3]], reference(exact_cross_entropy, x, weight, targets, bias_of())[3:], 1e-6)


@pytest.mark.parametrize(
    "name",
    [
        "cross_entropy",
        pytest.param(
            "harmonic",
        ),
    ],
)
def test_a_target_in_the_padding_is_refused(name):
    x, weight, targets = cloud()
    targets[1] = CLASSES - 1
    with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
        loss_by_name(name, targets, num_classes=CLASSES - 1)(x, weight)


@each_loss
@pytest.mark.parametrize("target", [-1, CLASSES])
def test_a_target_that_is_no_class_is_refused(name, target):
    x, weight, targets = cloud()
    targets[1] = target
    with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
        loss_by_name(name, targets)(x, weight)


# ---- autograd ------------------------------------------------------------------------------------


@each_loss
@pytest.mark.parametrize("factor", [0.25, -3.0, 0.0])
def test_a_scaled_loss_has_scaled_gradients(name, factor):
    x, weight, targets = cloud()
    once = evaluate(loss_by_name(name, targets), x, weight)
    scaled = evaluate(lambda *leaves: factor * loss_by_name(name, targets)(*leaves), x, weight)
    for got, expected in zip(scaled, once, strict=True):
        torch.testing.assert_close(got, factor * expected)


@each_loss
def test_gradients_of_micro_batches_add_up_to_those_of_the_batch(name):
    x, weight, targets = cloud(tokens=12)
    whole = evaluate(loss_by_name(name, targets), x, weight)
    accumulated = [value.clone().requires_grad_(True) for value in (x, weight)]
    for part, share in ((slice(0, 8), 8 / 12), (slice(8, 12), 4 / 12)):
        loss = loss_by_name(name, targets[part])(accumulated[0][part], accumulated[1])
        (share * loss).backward()
    for leaf, expected in zip(accumulated, whole[1:], strict=True):
        torch.testing.assert_close(leaf.grad, expected, rtol=1e-5, atol=1e-8)


@each_loss
def test_the_gradient_goes_on_into_what_made_the_features(name):
    # Through a product on either side of the loss, as in a network.
    x, weight, targets = cloud()
    mixing = torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(6)) / 5
    leaf = mixing.clone().requires_grad_(True)
    (2 * loss_by_name(name, targets)(x @ leaf, weight)).backward()
    expected = exact_by_name(name, (x.double() @ mixing.double()), weight, targets)[1]
    assert relative_error(leaf.grad, 2 * x.double().T @ expected) < 1e-5


@each_loss
@pytest.mark.parametrize("trained", ["x", "weight"])
def test_one_of_features_and_weight_may_be_frozen(name, trained):
    x, weight, targets = cloud()
    leaves = {"x": x.clone(), "weight": weight.clone()}
    leaves[trained].requires_grad_(True)
    loss_by_name(name, targets)(**leaves).backward()
    frozen = leaves["weight" if trained == "x" else "x"]
    assert frozen.grad is None
    expected = evaluate(loss_by_name(name, targets), x, weight)
    assert torch.equal(leaves[trained].grad, expected[1 if trained == "x" else 2])


def test_the_bias_alone_may_be_trained():
    x, weight, targets = cloud()
    bias = bias_of().requires_grad_(True)
    fused_cross_entropy(x, weight, targets, bias).backward()
    assert_close([bias.grad], reference(exact_cross_entropy, x, weight, targets, bias)[3:], 1e-6)


@each_loss
def test_a_second_derivative_is_refused_with_advice(name):
    x, weight, targets = cloud()
    x.requires_grad_(True)
    with pytest.raises(RuntimeError, match=r"no second derivative.*fused=False"):
        torch.autograd.grad(loss_by_name(name, targets)(x, weight), x, create_graph=True)


@each_loss
def test_a_second_backward_is_refused(name):
    x, weight, targets = cloud()
    loss = loss_by_name(name, targets)(x.requires_grad_(True), weight)
    loss.backward()
    with pytest.raises(RuntimeError, match=r"second time|once"):
        loss.backward()


@each_loss
def test_a_second_backward_of_a_retained_graph_is_right_or_refused(name):
    x, weight, targets = cloud()
    x.requires_grad_(True)
    loss = 0.5 * loss_by_name(name, targets)(x, weight)
    (first,) = torch.autograd.grad(loss, x, retain_graph=True)
    kept = first.clone()
    try:
        (second,) = torch.autograd.grad(loss, x, retain_graph=True)
    except RuntimeError:
        second = kept
    assert torch.equal(second, kept)
    assert torch.equal(first, kept)


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (2, 1, 3)], ids=str)
@each_loss
def test_any_leading_dimensions_do(name, shape):
    x, weight, targets = cloud(tokens=math.prod(shape))
    flat = evaluate(loss_by_name(name, targets), x, weight)
    got = evaluate(loss_by_name(name, targets.view(shape)), x.view(*shape, WIDTH), weight)
    assert got[1].shape == (*shape, WIDTH)
    assert torch.equal(got[0], flat[0]) and torch.equal(got[1].view_as(x), flat[1])


@each_loss
def test_features_and_weight_need_not_be_contiguous(name, small_chunks):
    x, weight, targets = cloud()
    expected = evaluate(loss_by_name(name, targets), x, weight)
    leaves = [value.T.contiguous().T.requires_grad_(True) for value in (x, weight)]
    assert not leaves[0].is_contiguous()
    loss = loss_by_name(name, targets)(*leaves)
    got = [loss.detach(), *torch.autograd.grad(loss, leaves)]
    assert_close(got, [value.double() for value in expected], 1e-6)


# ---- as an operator, and under the compiler ------------------------------------------------------


def operator_call(name, dtype=torch.float32, with_bias=False, with_gradients=True, strided=False):
    """The operator behind a loss and arguments for it."""
    x, weight, targets = cloud(width=4, classes=7, tokens=5)
    if strided:
        x = x.T.contiguous().T
    x, weight = (value.to(dtype).requires_grad_(with_gradients) for value in (x, weight))
    if name == "harmonic":
        rest = (targets, 7, 2.0, EPS, -100, dtype, with_gradients)
        return fused._harmonic, (x, weight, *rest)
    bias = bias_of(7).to(dtype).requires_grad_(with_gradients) if with_bias else None
    return fused._cross_entropy, (x, weight, bias, targets, 7, -100, dtype, with_gradients)


@pytest.mark.parametrize(
    "call",
    [
        {"name": "cross_entropy"},
        {"name": "cross_entropy", "with_bias": True},
        {"name": "cross_entropy", "with_gradients": False},
        {"name": "harmonic"},
        {"name": "harmonic", "with_gradients": False},
        {"name": "cross_entropy", "dtype": torch.bfloat16},
        {"name": "harmonic", "dtype": torch.bfloat16},
        {"name": "cross_entropy", "strided": True},
        {"name": "harmonic", "strided": True},
    ],
    ids=lambda call: "-".join(f"{value}" for value in call.values()),
)
def test_what_the_compiler_is_told_of_shapes_strides_and_types_is_true(call):
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    operator, arguments = operator_call(**call)
    torch.library.opcheck(operator, arguments, test_utils=tests)


def check_compiled(head, backend, half=False, **options):
    """That ``head.loss`` compiles as one graph and agrees with eager, gradients included."""
    x, _, targets = cloud(head.in_features, head.num_classes)
    targets[3] = -100
    torch._dynamo.reset()
    compiled = torch.compile(head.loss, fullgraph=True, backend=backend, **options)
    results = []
    for loss_of in (head.loss, compiled):
        leaf = x.clone().requires_grad_(True)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = loss_of(leaf, targets)
        results.append(
            [loss.detach(), *torch.autograd.grad(0.5 * loss, (leaf, *head.parameters()))]
        )
    for got, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-7)


def fused_heads():
    return [
        pytest.param(partial(cls, WIDTH, CLASSES, fused=True, **options), id=cls.__name__)
        for cls, options in ((CrossEntropyHead, {"bias": True}), (HarmonicHead, {}))
    ]


@pytest.mark.parametrize("build", fused_heads())
def test_a_compiled_head_still_never_forms_the_logits(build):
    graphs = []

    def backend(graph, _):
        graphs.append(str(graph.code))
        return graph

    x, _, targets = cloud()
    torch._dynamo.reset()
    torch.compile(build().loss, fullgraph=True, backend=backend)(x, targets)
    assert "glassbox" in graphs[0]


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("build", fused_heads())
def test_a_captured_head_agrees_with_eager(build, half):
    check_compiled(build(), "aot_eager", half)


@pytest.mark.slow
# torch 2.13's own compiler still imports code that it deprecates.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("build", fused_heads())
def test_a_head_compiled_to_machine_code_agrees_with_eager(build, dynamic):
    check_compiled(build(), "inductor", dynamic=dynamic)


@each_loss
def test_a_captured_loss_agrees_with_eager(name):
    x, weight, targets = cloud()
    torch._dynamo.reset()
    loss_of = loss_by_name(name, targets)
    compiled = torch.compile(loss_of, fullgraph=True, backend="aot_eager")
    for got, expected in zip(
        evaluate(compiled, x, weight), evaluate(loss_of, x, weight), strict=True
    ):
        assert torch.equal(got, expected)


# ---- the heads -----------------------------------------------------------------------------------


def two_heads(cls, num_padding=0, **options):
    """The same head unfused and fused, tied to one embedding where there is padding."""
    heads = [cls(WIDTH, CLASSES, fused=fused, **options) for fused in (False, True)]
    heads[1].load_state_dict(heads[0].state_dict())
    if num_padding:
        _, weight, _ = cloud(classes=CLASSES + num_padding, seed=8)
        for head in heads:
            head.tie(torch.nn.Parameter(weight.clone()), num_padding)
    return heads


@pytest.mark.parametrize("num_padding", [0, 6])
@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (CrossEntropyHead, {}),
        (CrossEntropyHead, {"bias": True}),
        (HarmonicHead, {}),
        (HarmonicHead, {"exponent": 28, "eps": 1e-4}),
    ],
)
def test_fused_and_unfused_heads_agree(cls, options, num_padding, small_chunks):
    torch.manual_seed(0)
    x, _, targets = cloud()
    targets[5] = -100
    results = []
    for head in two_heads(cls, num_padding, **options):
        leaf = x.clone().requires_grad_(True)
        loss = head.loss(leaf.view(1, TOKENS, WIDTH), targets.view(1, TOKENS))
        results.append([loss, *torch.autograd.grad(loss, (leaf, *head.parameters())), head(x)])
    tolerance = 1e-6 if options.get("exponent", 1) < 28 else 1e-5
    assert_close(results[1], [value.double() for value in results[0]], tolerance)
    assert len(results[0]) == 4 + (options == {"bias": True})


@each_head
def test_the_loss_is_fused_above_4096_classes_unless_told_otherwise(cls):
    assert not cls(1, 4096).uses_fused_loss()
    assert cls(1, 4097).uses_fused_loss()
    assert cls(1, 2, fused=True).uses_fused_loss()
    assert not cls(1, 4097, fused=False).uses_fused_loss()


@each_head
def test_the_loss_goes_the_way_that_is_asked_for(cls, monkeypatch):
    called = []
    module = __import__(cls.__module__, fromlist=["_"])
    name = "fused_harmonic" if cls is HarmonicHead else "fused_cross_entropy"
    original = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args: called.append(1) or original(*args))
    x, _, targets = cloud()
    cls(WIDTH, CLASSES, fused=False).loss(x, targets)
    assert not called
    cls(WIDTH, CLASSES, fused=True).loss(x, targets)
    assert called


@each_head
def test_inside_torch_func_the_loss_is_not_fused(cls):
    head = cls(WIDTH, CLASSES, fused=True)
    x, _, targets = cloud()
    seen = []

    def loss(x):
        seen.append(head.uses_fused_loss())
        return head.loss(x, targets)

    several = torch.stack([x, 2 * x])
    losses = torch.func.vmap(loss)(several)
    torch.func.grad(loss)(x)
    assert seen == [False, False]
    for value, features in zip(losses, several, strict=True):
        torch.testing.assert_close(value, head.loss(features, targets), rtol=1e-5, atol=0)
    assert head.uses_fused_loss()
