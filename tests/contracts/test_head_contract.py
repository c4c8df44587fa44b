"""What every loss head promises, checked on every head that lightning_modules.heads exports.

A head that takes ``fused`` is checked with fused=True as well: small sizes would not use it. One
that takes a ``geometry`` is checked with the harmonic one as well.
"""

import inspect
import math
from functools import partial

import pytest
import torch
from torch.func import functional_call, grad, vmap

import lightning_modules.heads
from lightning_modules import MLP, NetworkWithHead
from lightning_modules.heads import (
    CrossEntropyHead,
    HarmonicHead,
    LossHead,
    SphericalSoftmaxHead,
    SupervisedContrastiveHead,
)

HEADS = [
    cls
    for name in lightning_modules.heads.__all__
    for cls in [getattr(lightning_modules.heads, name)]
    if inspect.isclass(cls) and issubclass(cls, LossHead) and not inspect.isabstract(cls)
]
WIDTH, CLASSES = 12, 9


def each(heads):
    """Parametrize by every head, and by its fused form where there is one."""
    forms = []
    for cls in heads:
        forms.append(pytest.param(cls, id=cls.__name__))
        if "fused" in inspect.signature(cls).parameters:
            forms.append(pytest.param(partial(cls, fused=True), id=f"{cls.__name__}-fused"))
        if "geometry" in inspect.signature(cls).parameters:
            harmonic = partial(cls, geometry=HarmonicHead)
            forms.append(pytest.param(harmonic, id=f"{cls.__name__}-harmonic"))
    return pytest.mark.parametrize("cls", forms)


each_head = each(HEADS)


def build(cls, width=WIDTH, classes=CLASSES):
    torch.manual_seed(0)
    return cls(width, classes)


def keywords(cls):
    return cls.keywords if isinstance(cls, partial) else {}


def examples(*shape, width=WIDTH, classes=CLASSES):
    rng = torch.Generator().manual_seed(1)
    features = torch.randn(*shape, width, generator=rng)
    return features, torch.randint(classes, shape, generator=rng)


def build_padded(cls, num_padding, width=WIDTH, classes=CLASSES):
    """A head tied to an embedding with further rows, and the same head without them."""
    plain, padded = build(cls, width, classes), build(cls, width, classes)
    rows = torch.randn(num_padding, width, generator=torch.Generator().manual_seed(6))
    embedding = torch.nn.Parameter(torch.cat([plain.weight.detach(), rows]))
    padded.tie(embedding, num_padding=num_padding)
    return padded, plain


def loss_and_gradients(head, features, targets, **options):
    """Loss, gradient of the features, gradients of the parameters."""
    features = features.detach().clone().requires_grad_(True)
    head.zero_grad(set_to_none=True)
    loss = head.loss(features, targets, **options)
    loss.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in head.named_parameters()}
    return loss.detach(), features.grad, gradients


def test_the_package_exports_both_heads_of_the_paper():
    assert CrossEntropyHead in HEADS and HarmonicHead in HEADS


def test_the_base_class_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        LossHead(2, 2)


@each_head
def test_sizes_and_weight_are_what_was_asked_for(cls):
    head = build(cls)
    assert (head.in_features, head.num_classes) == (WIDTH, CLASSES)
    assert isinstance(head.weight, torch.nn.Parameter)
    assert head.weight.shape == (CLASSES, WIDTH)
    assert dict(head.named_parameters())["weight"] is head.weight


@each_head
def test_initial_weights_fill_the_interval_of_a_linear_layer(cls):
    weight = build(cls, width=25, classes=400).weight.detach()
    assert weight.abs().max() <= 0.2
    assert weight.abs().max() > 0.199
    assert weight.std().item() == pytest.approx(0.2 / math.sqrt(3), rel=0.02)
    assert weight.mean().item() == pytest.approx(0.0, abs=0.005)


@each_head
@pytest.mark.parametrize("shape", [(), (1,), (5,), (3, 4), (2, 1, 3)], ids=str)
def test_logits_keep_every_leading_dimension(cls, shape):
    head = build(cls)
    features, _ = examples(*shape)
    logits = head(features)
    assert logits.shape == (*shape, CLASSES)
    assert logits.isfinite().all()


@each_head
def test_logits_of_an_example_do_not_depend_on_its_neighbours(cls):
    head = build(cls)
    features, _ = examples(3, 4)
    for i in range(3):
        for j in range(4):
            torch.testing.assert_close(head(features)[i, j], head(features[i, j]))


@each_head
@pytest.mark.parametrize("shape", [(1,), (7,), (3, 4), (2, 1, 3)], ids=str)
def test_loss_is_a_finite_scalar_with_finite_gradients_that_are_not_all_zero(cls, shape):
    head = build(cls)
    features, targets = examples(*shape)
    loss, of_features, of_parameters = loss_and_gradients(head, features, targets)
    assert loss.shape == ()
    assert loss.isfinite()
    assert of_features.shape == (*shape, WIDTH)
    assert of_features.isfinite().all() and of_parameters["weight"].isfinite().all()
    assert of_parameters["weight"].abs().max() > 0
    # A head that compares examples has nothing to say where no two are of one class.
    comparable = len(targets.unique()) < targets.numel()
    assert (of_features.abs().max() > 0) == (comparable or not head.compares_examples)


@each_head
def test_loss_does_not_depend_on_how_examples_are_laid_out(cls):
    head = build(cls)
    features, targets = examples(12)
    flat = head.loss(features, targets)
    torch.testing.assert_close(head.loss(features.view(3, 4, WIDTH), targets.view(3, 4)), flat)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(head.loss(features[order], targets[order]), flat)


@each_head
def test_loss_is_the_mean_over_examples_unless_it_compares_them(cls):
    head = build(cls)
    features, targets = examples(6)
    alone = [head.loss(features[i : i + 1], targets[i : i + 1]).item() for i in range(6)]
    together = head.loss(features, targets).item()
    is_mean = together == pytest.approx(sum(alone) / 6, rel=1e-5)
    assert is_mean != head.compares_examples


@each_head
@pytest.mark.parametrize("ignore_index", [-100, -1, 4])
def test_ignored_positions_change_neither_loss_nor_gradient(cls, ignore_index):
    head = build(cls)
    features, targets = examples(4, 5)
    targets = torch.where(targets == ignore_index, (ignore_index + 1) % CLASSES, targets)
    kept = torch.rand(4, 5, generator=torch.Generator().manual_seed(3)) < 0.6
    assert 0 < kept.sum() < 20
    masked = torch.where(kept, targets, ignore_index)
    loss, of_features, of_parameters = loss_and_gradients(
        head, features, masked, ignore_index=ignore_index
    )
    expected, of_kept, expected_of_parameters = loss_and_gradients(
        head, features[kept], targets[kept], ignore_index=ignore_index
    )
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(of_features[kept], of_kept)
    assert (of_features[~kept] == 0).all()
    for name, gradient in expected_of_parameters.items():
        torch.testing.assert_close(of_parameters[name], gradient)


@each_head
def test_features_at_ignored_positions_do_not_matter(cls):
    head = build(cls)
    features, targets = examples(6)
    targets[2:4] = -100
    changed = features.clone()
    changed[2] = 1e4
    changed[3] = head.weight.detach()[0]  # on a class centre
    before, after = (loss_and_gradients(head, x, targets) for x in (features, changed))
    torch.testing.assert_close(after[0], before[0])
    torch.testing.assert_close(after[1], before[1])
    torch.testing.assert_close(after[2], before[2])


@each_head
def test_the_default_ignore_index_is_minus_100(cls):
    head = build(cls)
    features, targets = examples(6)
    masked = targets.clone()
    masked[0] = -100
    torch.testing.assert_close(head.loss(features, masked), head.loss(features[1:], targets[1:]))


@each_head
def test_with_nothing_but_ignored_targets_loss_and_gradients_are_zero(cls):
    loss, of_features, of_parameters = loss_and_gradients(
        build(cls), examples(3, 4)[0], torch.full((3, 4), -100)
    )
    assert loss == 0
    assert (of_features == 0).all()
    assert all((gradient == 0).all() for gradient in of_parameters.values())


@each([CrossEntropyHead, HarmonicHead, SphericalSoftmaxHead])
@pytest.mark.parametrize("width, classes", [(WIDTH, CLASSES), (64, 300)], ids=["small", "large"])
def test_loss_is_the_negative_log_of_the_softmax_of_the_logits(cls, width, classes):
    head = build(cls, width, classes)
    features, targets = examples(8, width=width, classes=classes)
    logits = head(features).double()
    nll = 0.0
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        largest = max(row)
        log_sum = largest + math.log(sum(math.exp(value - largest) for value in row))
        nll += (log_sum - row[target]) / len(targets)
    assert head.loss(features, targets).item() == pytest.approx(nll, rel=1e-5)


@each_head
def test_bfloat16_features_and_weights_lose_at_most_two_percent(cls):
    head = build(cls)
    features, targets = examples(40)
    expected = head.loss(features, targets).item()
    loss, of_features, of_parameters = loss_and_gradients(
        head.bfloat16(), features.bfloat16(), targets
    )
    assert loss.item() == pytest.approx(expected, rel=0.02)
    assert of_features.dtype == of_parameters["weight"].dtype == torch.bfloat16
    assert of_features.isfinite().all() and of_features.abs().max() > 0
    assert all(gradient.isfinite().all() for gradient in of_parameters.values())


@each_head
@pytest.mark.parametrize("features_dtype", [torch.float32, torch.bfloat16], ids=str)
def test_bfloat16_autocast_loses_at_most_two_percent(cls, features_dtype):
    head = build(cls)
    features, targets = examples(40)
    expected, of_exact_features, of_exact_parameters = loss_and_gradients(head, features, targets)
    with torch.autocast("cpu", torch.bfloat16):
        assert head(features.to(features_dtype)).shape == (40, CLASSES)
        loss, of_features, of_parameters = loss_and_gradients(
            head, features.to(features_dtype), targets
        )
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=0.02)
    assert of_parameters["weight"].dtype == torch.float32
    for got, exact in (
        (of_features, of_exact_features),
        (of_parameters["weight"], of_exact_parameters["weight"]),
    ):
        assert got.isfinite().all()
        assert (got - exact).norm() < 0.05 * exact.norm()


def assert_compiled_agrees(head, backend):
    features, targets = examples(10)
    targets[3] = -100
    expected = loss_and_gradients(head, features, targets)
    torch._dynamo.reset()
    compiled = torch.compile(head.loss, fullgraph=True, dynamic=False, backend=backend)
    x = features.clone().requires_grad_(True)
    head.zero_grad(set_to_none=True)
    loss = compiled(x, targets)
    loss.backward()
    torch.testing.assert_close(loss.detach(), expected[0])
    torch.testing.assert_close(x.grad, expected[1])
    for name, parameter in head.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[2][name])


@each_head
def test_loss_is_captured_as_one_graph_that_agrees_with_eager(cls):
    # Everything but code generation: a graph break or an operation without a rule would show.
    assert_compiled_agrees(build(cls), "aot_eager")


# torch 2.13's own compiler still imports code that it deprecates.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")
@each_head
@pytest.mark.slow
def test_loss_compiled_to_machine_code_agrees_with_eager(cls):
    assert_compiled_agrees(build(cls), "inductor")


@each_head
def test_vmap_over_heads_gives_each_its_own_loss_and_gradient(cls):
    head = build(cls)
    features, targets = examples(3, 7)  # three members, seven examples each
    targets[1, 2:5] = -100
    targets[2] = -100
    names = [name for name, _ in head.named_parameters()]
    rng = torch.Generator().manual_seed(4)
    stacked = {
        name: torch.randn(3, *dict(head.named_parameters())[name].shape, generator=rng)
        for name in names
    }

    class Loss(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = head

        def forward(self, x, y):
            return self.head.loss(x, y)

    module = Loss()

    def loss_of(parameters, x, y):
        return functional_call(module, {f"head.{k}": v for k, v in parameters.items()}, (x, y))

    losses = vmap(loss_of)(stacked, features, targets)
    gradients = vmap(grad(loss_of))(stacked, features, targets)
    for i in range(3):
        with torch.no_grad():
            for name, parameter in head.named_parameters():
                parameter.copy_(stacked[name][i])
        loss, _, expected = loss_and_gradients(head, features[i], targets[i])
        torch.testing.assert_close(losses[i], loss)
        for name in names:
            torch.testing.assert_close(gradients[name][i], expected[name], atol=1e-6, rtol=1e-5)


@each_head
def test_tie_shares_one_parameter(cls):
    head = build(cls)
    embedding = torch.nn.Embedding(CLASSES, WIDTH)
    head.tie(embedding.weight)
    assert head.weight is embedding.weight
    features, targets = examples(6)
    head.loss(features, targets).backward()
    assert embedding.weight.grad is not None and embedding.weight.grad.abs().max() > 0
    before = head.loss(features, targets).item()
    with torch.no_grad():
        embedding.weight += torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(5))
    assert head.loss(features, targets).item() != before


@each_head
def test_a_tied_parameter_is_counted_once(cls):
    network = MLP(CLASSES, 2, embedding_dim=WIDTH)
    untied = NetworkWithHead(network, build(cls))
    count = sum(parameter.numel() for parameter in untied.parameters())
    tied = NetworkWithHead(network, build(cls), tie_embedding=True)
    assert sum(p.numel() for p in tied.parameters()) == count - CLASSES * WIDTH


@each_head
@pytest.mark.parametrize("shape", [(CLASSES + 1, WIDTH), (CLASSES, WIDTH - 1), (WIDTH, CLASSES)])
def test_tie_refuses_another_shape_and_names_both(cls, shape):
    head = build(cls)
    weight = head.weight
    with pytest.raises(ValueError) as caught:
        head.tie(torch.nn.Parameter(torch.zeros(shape)))
    assert str(shape) in str(caught.value)
    assert str((CLASSES, WIDTH)) in str(caught.value)
    assert head.weight is weight


@each_head
def test_the_fused_form_is_the_one_that_is_asked_for(cls):
    assert build(cls).uses_fused_loss() == keywords(cls).get("fused", False)


# (width, classes) below and above the size from which the harmonic head forms matrix products.
each_size = pytest.mark.parametrize("sizes", [(WIDTH, CLASSES), (64, 300)], ids=["small", "large"])


@each_head
@each_size
@pytest.mark.parametrize("num_padding", [1, 7])
def test_padding_rows_are_no_classes(cls, sizes, num_padding):
    head, plain = build_padded(cls, num_padding, *sizes)
    features, _ = examples(3, 4, width=sizes[0])
    logits = head(features)
    assert logits.shape == (3, 4, sizes[1])
    torch.testing.assert_close(logits, plain(features))
    torch.testing.assert_close(head(features[1, 2]), plain(features[1, 2]))


@each_head
@each_size
@pytest.mark.parametrize("num_padding", [1, 7])
def test_padding_rows_change_no_loss_and_get_no_gradient(cls, sizes, num_padding):
    head, plain = build_padded(cls, num_padding, *sizes)
    features, targets = examples(3, 4, width=sizes[0], classes=sizes[1])
    targets[1, 1] = -100
    loss, of_features, of_parameters = loss_and_gradients(head, features, targets)
    expected = loss_and_gradients(plain, features, targets)
    of_weight = of_parameters["weight"]
    assert of_weight.shape == (sizes[1] + num_padding, sizes[0])
    assert (of_weight[sizes[1] :] == 0).all()
    of_parameters["weight"] = of_weight[: sizes[1]]
    torch.testing.assert_close((loss, of_features, of_parameters), expected)


@each_head
def test_padding_rows_may_hold_anything_finite(cls):
    features, targets = examples(6)
    losses = []
    for value in (0.0, features[0], -1e10):
        head, _ = build_padded(cls, 2)
        with torch.no_grad():
            head.weight[CLASSES:] = value
        loss, _, of_parameters = loss_and_gradients(head, features, targets)
        losses.append(loss)
        assert (of_parameters["weight"][CLASSES:] == 0).all()
    torch.testing.assert_close(losses[1:], losses[:1] * 2)


@each_head
def test_padding_rows_have_no_part_under_bfloat16_autocast_either(cls):
    head, plain = build_padded(cls, 7)
    features, targets = examples(40)
    with torch.autocast("cpu", torch.bfloat16):
        assert head(features).shape == (40, CLASSES)
        loss, _, of_parameters = loss_and_gradients(head, features, targets)
    expected = plain.loss(features, targets).item()
    assert loss.item() == pytest.approx(expected, rel=0.02)
    assert (of_parameters["weight"][CLASSES:] == 0).all()


@each_head
@pytest.mark.parametrize("rows", [CLASSES, CLASSES + 1, CLASSES + 3])
def test_tie_refuses_another_number_of_padding_rows(cls, rows):
    head = build(cls)
    weight = head.weight
    with pytest.raises(ValueError, match=rf"\({rows}, {WIDTH}\)"):
        head.tie(torch.nn.Parameter(torch.zeros(rows, WIDTH)), num_padding=2)
    assert head.weight is weight


@each_head
@pytest.mark.parametrize("value", [0, -3])
@pytest.mark.parametrize("name", ["in_features", "num_classes"])
def test_sizes_below_one_are_refused_by_name(cls, name, value):
    sizes = {"in_features": 3, "num_classes": 3} | {name: value}
    with pytest.raises(ValueError, match=rf"{name} is {value}"):
        cls(**sizes)


@each_head
def test_a_single_class_is_certain(cls):
    head = build(cls, classes=1)
    features, targets = examples(4, classes=1)
    loss, of_features, of_parameters = loss_and_gradients(head, features, targets)
    if not isinstance(head, SupervisedContrastiveHead):  # whose examples still share out 1
        assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert loss.isfinite()
    assert of_features.isfinite().all() and of_parameters["weight"].isfinite().all()
