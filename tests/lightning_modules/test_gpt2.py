"""GPT-2 against transformers' own, and what its blocks promise."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lightning_modules import GPT2, CrossEntropyHead, HarmonicHead
from lightning_modules.networks.gpt2 import PRESETS

SMALL = {"num_layers": 2, "num_heads": 4, "width": 32}
VOCAB, CONTEXT = 61, 12


def build(seed=0, vocab_size=VOCAB, num_tokens=CONTEXT, **options):
    torch.manual_seed(seed)
    return GPT2(vocab_size, num_tokens, **{**SMALL, **options})


def tokens(*shape, vocab_size=VOCAB, seed=1):
    return torch.randint(vocab_size, shape, generator=torch.Generator().manual_seed(seed))


def shaken(model):
    """Give every parameter, also those that begin at 0 or 1, a value of its own."""
    rng = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=rng)
    return model


def tied(model, head=CrossEntropyHead):
    head = head(model.out_features, model.vocab_size)
    embedding = model.token_embedding().weight
    head.tie(embedding, num_padding=len(embedding) - model.vocab_size)
    return head


# ---- against transformers ------------------------------------------------------------------------


def transformers_gpt2(model, rows):
    """transformers' GPT-2 with ``model``'s weights and ``rows`` of its embedding."""
    transformers = pytest.importorskip("transformers")
    block, width = model.blocks[0], model.out_features
    config = transformers.GPT2Config(
        vocab_size=rows,
        n_positions=model.num_tokens,
        n_embd=width,
        n_layer=len(model.blocks),
        n_head=block.attention.num_heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=None,
    )
    theirs = transformers.GPT2LMHeadModel(config)
    modules = {
        "transformer.wte": model.embedding.weight[:rows],
        "transformer.wpe": model.positions.weight,
        "transformer.ln_f": model.final_norm,
        "lm_head": model.embedding.weight[:rows],
    }
    for i, block in enumerate(model.blocks):
        modules |= {
            f"transformer.h.{i}.ln_1": block.attention_norm,
            f"transformer.h.{i}.attn.c_attn": block.attention.queries_keys_values,
            f"transformer.h.{i}.attn.c_proj": block.attention.project,
            f"transformer.h.{i}.ln_2": block.norm,
            f"transformer.h.{i}.mlp.c_fc": block.expand,
            f"transformer.h.{i}.mlp.c_proj": block.project,
        }
    state = {}
    for name, module in modules.items():
        if isinstance(module, torch.Tensor):
            state[f"{name}.weight"] = module
            continue
        # Their linear layers are stored the other way round.
        state[f"{name}.weight"] = (
            module.weight.T if isinstance(module, torch.nn.Linear) else module.weight
        )
        state[f"{name}.bias"] = module.bias
    theirs.load_state_dict({name: value.detach().clone() for name, value in state.items()})
    return theirs.eval()


@pytest.mark.parametrize("length", [CONTEXT, 5, 1])
@pytest.mark.parametrize("padded", [False, True])
def test_logits_and_loss_are_those_of_transformers_gpt2(length, padded):
    model = shaken(build()).eval()
    head = tied(model)
    rows = len(model.embedding.weight) if padded else VOCAB
    theirs = transformers_gpt2(model, rows)
    inputs = tokens(3, length)
    logits = head(model(inputs))
    expected = theirs(inputs).logits
    assert expected.std() > 0.5
    assert logits.shape == (3, length, VOCAB) and expected.shape == (3, length, rows)
    torch.testing.assert_close(logits, expected[..., :VOCAB], rtol=1e-4, atol=1e-4)
    if length > 1 and not padded:
        # They shift the targets themselves.
        theirs_loss = theirs(inputs, labels=inputs).loss
        ours = head.loss(model(inputs)[:, :-1], inputs[:, 1:])
        torch.testing.assert_close(ours, theirs_loss, rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_transformers_gpt2():
    model = shaken(build(pad_vocab_to=1))
    head, theirs = tied(model), transformers_gpt2(model, VOCAB)
    inputs = tokens(3, CONTEXT)
    head.loss(model(inputs)[:, :-1], inputs[:, 1:]).backward()
    theirs(inputs, labels=inputs).loss.backward()
    body = theirs.transformer
    for ours, other in (
        (model.embedding.weight.grad, body.wte.weight.grad),
        (model.positions.weight.grad, body.wpe.weight.grad),
        (
            model.blocks[0].attention.queries_keys_values.weight.grad,
            body.h[0].attn.c_attn.weight.grad.T,
        ),
        (model.blocks[0].expand.bias.grad, body.h[0].mlp.c_fc.bias.grad),
        (model.blocks[1].project.weight.grad, body.h[1].mlp.c_proj.weight.grad.T),
        (model.final_norm.bias.grad, body.ln_f.bias.grad),
    ):
        torch.testing.assert_close(ours, other, rtol=1e-3, atol=1e-5)


# ---- causality and length ------------------------------------------------------------------------


@pytest.mark.parametrize("changed", [0, 3, CONTEXT - 1])
def test_a_token_changes_its_own_features_and_later_ones_only(changed):
    model = shaken(build())
    inputs = tokens(2, CONTEXT)
    other = inputs.clone()
    other[:, changed] = (other[:, changed] + 1) % VOCAB
    before, after = model(inputs), model(other)
    assert torch.equal(before[:, :changed], after[:, :changed])
    difference = (before - after)[:, changed:].abs().amax(dim=-1)
    assert (difference > 1e-4).all()


def test_the_gradient_of_a_feature_reaches_no_later_token():
    model = shaken(build(pad_vocab_to=1))
    inputs = torch.arange(CONTEXT)[None]  # every token once
    model(inputs)[0, 4].square().sum().backward()
    reached = model.embedding.weight.grad.abs().amax(dim=1) > 0
    assert reached.tolist() == [token <= 4 for token in range(VOCAB)]
    assert (model.positions.weight.grad[5:] == 0).all()


@pytest.mark.parametrize("length", [1, 2, CONTEXT - 1])
def test_a_shorter_input_has_the_features_of_the_beginning(length):
    model = shaken(build())
    inputs = tokens(2, CONTEXT)
    short = model(inputs[:, :length])
    assert short.shape == (2, length, SMALL["width"])
    torch.testing.assert_close(short, model(inputs)[:, :length], rtol=1e-4, atol=1e-5)


def test_sequences_of_a_batch_do_not_mix():
    model = shaken(build())
    inputs = tokens(3, CONTEXT)
    together = model(inputs)
    for i in range(3):
        torch.testing.assert_close(model(inputs[i : i + 1])[0], together[i], rtol=1e-4, atol=1e-5)


def test_the_order_of_tokens_matters_through_the_positions():
    model = build()
    ab, ba = torch.tensor([[3, 9, 5]]), torch.tensor([[9, 3, 5]])
    assert not torch.allclose(model(ab)[:, -1], model(ba)[:, -1])


def test_an_input_longer_than_the_context_is_refused_with_both_lengths():
    with pytest.raises(ValueError, match=f"{CONTEXT + 1} tokens.*context is {CONTEXT}"):
        build()(tokens(2, CONTEXT + 1))


# ---- vocabulary ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vocab_size", "multiple", "rows"),
    [(50257, 64, 50304), (50257, 1, 50257), (50304, 64, 50304), (5, 64, 64), (65, 64, 128)],
)
def test_the_embedding_is_padded_to_a_multiple(vocab_size, multiple, rows):
    with torch.device("meta"):
        model = GPT2(vocab_size, 4, pad_vocab_to=multiple, num_layers=1, num_heads=1, width=2)
    assert model.embedding.weight.shape == (rows, 2)
    assert model.embedding_matrix().shape == (vocab_size, 2)
    assert model.vocab_size == vocab_size


def test_the_embedding_matrix_is_a_view_of_the_tokens_that_exist():
    model = build()
    matrix = model.embedding_matrix()
    assert len(model.embedding.weight) == 64 and len(matrix) == VOCAB
    assert torch.equal(matrix, model.embedding.weight[:VOCAB])
    assert matrix.data_ptr() == model.embedding.weight.data_ptr()


def test_padding_changes_neither_features_nor_the_loss_and_is_never_trained():
    narrow, wide = shaken(build(pad_vocab_to=1)), build(pad_vocab_to=64)
    state = narrow.state_dict()
    state["embedding.weight"] = torch.cat([state["embedding.weight"], torch.randn(3, 32) * 100])
    wide.load_state_dict(state)
    inputs, targets = tokens(2, CONTEXT), tokens(2, CONTEXT, seed=3)
    for head in (CrossEntropyHead, HarmonicHead):
        wide.zero_grad()
        losses = [tied(model, head).loss(model(inputs), targets) for model in (narrow, wide)]
        torch.testing.assert_close(losses[1], losses[0])
        losses[1].backward()
        assert (wide.embedding.weight.grad[VOCAB:] == 0).all()
        assert (wide.embedding.weight.grad[:VOCAB].abs().amax(dim=1) > 0).all()


def test_tying_shares_the_tensor_and_adds_both_gradients():
    model = build()
    head = tied(model)
    assert head.weight is model.embedding.weight
    inputs = torch.full((1, 4), 7)
    targets = torch.full((1, 4), 9)
    head.loss(model(inputs), targets).backward()
    both = model.embedding.weight.grad.clone()
    model.zero_grad()
    untied = CrossEntropyHead(32, VOCAB)
    with torch.no_grad():
        untied.weight.copy_(model.embedding_matrix())
    untied.loss(model(inputs), targets).backward()
    torch.testing.assert_close(
        both[:VOCAB], model.embedding.weight.grad[:VOCAB] + untied.weight.grad
    )


# ---- start ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("num_layers", "std"), [(2, 0.02), (8, 0.02), (2, 0.1)])
def test_weights_begin_normal_and_the_projections_into_the_residual_stream_smaller(num_layers, std):
    model = build(vocab_size=512, num_tokens=128, num_layers=num_layers, width=64, initial_std=std)
    residual = std / math.sqrt(2 * num_layers)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            assert (parameter == (1.0 if name.endswith("weight") else 0.0)).all()
        elif name.endswith("bias"):
            assert (parameter == 0).all()
        else:
            expected = residual if name.endswith("project.weight") else std
            error = 4 / math.sqrt(2 * parameter.numel())  # four standard deviations
            assert parameter.std().item() == pytest.approx(expected, rel=error), name
            assert abs(parameter.mean()) < 4 * expected / math.sqrt(parameter.numel())
            assert parameter.abs().max() > 2.5 * expected  # not uniform
    projections = [name for name, _ in model.named_parameters() if "project.weight" in name]
    assert len(projections) == 2 * num_layers


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_has_the_parameters_that_its_name_says(preset):
    with torch.device("meta"):
        model = GPT2(50257, 1024, preset=preset, pad_vocab_to=1)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert f"{count / 1e6:.0f}M" == preset
    assert model.out_features == PRESETS[preset][2]


def test_the_default_is_gpt2_small_to_the_last_parameter():
    # 124,439,808: what OpenAI's checkpoint has.
    with torch.device("meta"):
        model = GPT2(50257, 1024, pad_vocab_to=1)
    assert sum(parameter.numel() for parameter in model.parameters()) == 124_439_808
    assert (len(model.blocks), model.blocks[0].attention.num_heads) == (12, 12)


def test_single_sizes_replace_those_of_the_preset():
    with torch.device("meta"):
        model = GPT2(100, 8, preset="7M", num_layers=5, width=64)
    assert len(model.blocks) == 5
    assert model.out_features == 64
    assert model.blocks[0].attention.num_heads == PRESETS["7M"][1]


def test_without_biases_there_is_none():
    model = build(bias=False)
    assert not [name for name, _ in model.named_parameters() if name.endswith("bias")]
    assert all(
        parameter.dim() == 2 or name.endswith("norm.weight")
        for name, parameter in model.named_parameters()
    )
    features = model(tokens(2, CONTEXT))
    assert features.isfinite().all()
    # The same numbers as with biases of 0.
    biased = build()
    biased.load_state_dict(model.state_dict(), strict=False)
    torch.testing.assert_close(biased(tokens(2, CONTEXT)), features, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 0.02, 3.0])
def test_features_begin_with_the_scale_that_is_set(scale):
    model = build(initial_std=0.2)
    model.set_feature_scale(scale)
    features = model(tokens(4, CONTEXT))
    assert features.square().mean().sqrt().item() == pytest.approx(scale, rel=1e-3)
    assert (model.final_norm.bias == 0).all()


# ---- dropout -------------------------------------------------------------------------------------


def test_dropout_acts_in_training_only():
    model, plain = shaken(build(dropout=0.3)), build()
    plain.load_state_dict(model.state_dict())
    inputs = tokens(2, CONTEXT)
    model.eval()
    assert torch.equal(model(inputs), plain(inputs))
    model.train()
    assert not torch.allclose(model(inputs), model(inputs))
    assert torch.equal(plain(inputs), plain(inputs))


@pytest.mark.parametrize("place", ["embedding", "attention weights", "attention", "network"])
def test_dropout_acts_at_each_of_its_places(place):
    model = shaken(build(dropout=0.5)).eval()
    inputs = tokens(2, CONTEXT)
    expected = model(inputs)
    block = model.blocks[0]
    if place == "attention weights":
        # Dropped by the attention itself; its output dropout stays off.
        block.attention.train()
        block.attention.dropout.eval()
    else:
        {
            "embedding": model.dropout,
            "attention": block.attention.dropout,
            "network": block.dropout,
        }[place].train()
    assert not torch.allclose(model(inputs), expected)


# ---- operations ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [False, True])
def test_flops_are_those_that_torch_counts(bias):
    # With attention written out, torch counts its products over all T² pairs of positions, whether
    # masked or not, twice as many backward as forward: PaLM's convention. (A flash kernel skips
    # masked blocks and forms one product again in backward.)
    model = build(bias=bias, pad_vocab_to=64)
    head = CrossEntropyHead(model.out_features, 64)  # padding goes through the product too
    head.tie(model.embedding.weight)
    inputs = tokens(2, CONTEXT)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        head.loss(model(inputs), inputs).backward()
    # Vectors go through no matrix product; they are in our count, 6 each, as in PaLM's.
    vectors = sum(p.numel() for p in model.parameters() if p.dim() == 1)
    counted = counter.get_total_flops() / inputs.numel()
    assert counted == model.flops_per_token() - 6 * vectors
    assert 6 * vectors < 0.05 * counted


def test_flops_of_gpt2_small_are_those_of_the_formula():
    with torch.device("meta"):
        model = GPT2(50257, 1024, pad_vocab_to=1)
    # nanoGPT's: 6 N + 12 L H Q T, with N = 123.65 million without positions.
    expected = 6 * (124_439_808 - 1024 * 768) + 12 * 12 * 12 * 64 * 1024
    assert model.flops_per_token() == expected == 855_166_464


# ---- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "125M"}, r"preset is '125M'; choose one of 3M, 7M, .*1558M"),
        ({"vocab_size": 0}, "vocab_size is 0; it must be at least 1"),
        ({"num_tokens": 0}, "num_tokens is 0; it must be at least 1"),
        ({"pad_vocab_to": 0}, "pad_vocab_to is 0; it must be at least 1"),
        ({"num_layers": -1}, "num_layers is -1; it must be at least 1"),
        ({"num_heads": -2}, "num_heads is -2; it must be at least 1"),
        ({"num_layers": 0}, "num_layers is 0"),
        ({"num_heads": 0}, "num_heads is 0"),
        ({"width": 0}, "width is 0"),
        ({"width": -32}, "width is -32"),
        ({"width": 30}, "width is 30, no multiple of num_heads 4"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"dropout": -0.1}, "dropout is -0.1"),
        ({"dropout": math.nan}, "dropout is nan"),
        ({"initial_std": 0.0}, "initial_std is 0.0"),
        ({"initial_std": -0.02}, "initial_std is -0.02"),
    ],
    ids=str,
)
def test_impossible_options_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


# ---- the compiler --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "backend",
    [
        "aot_eager",
        pytest.param(
            "inductor",
            marks=[
                pytest.mark.slow,
                # torch 2.13's own compiler still imports code that it deprecates.
                pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning"),
            ],
        ),
    ],
)
def test_compiled_as_one_graph_it_agrees_with_eager(backend):
    model = shaken(build(num_layers=1))
    inputs = tokens(2, 5)
    weights = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(4))
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    results = []
    for forward in (model, compiled):
        model.zero_grad()
        features = forward(inputs)
        (features * weights).sum().backward()
        results.append([features.detach(), *(p.grad.clone() for p in model.parameters())])
    for got, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_under_bfloat16_autocast_features_stay_close():
    model = shaken(build())
    inputs = tokens(2, CONTEXT)
    exact = model(inputs)
    with torch.autocast("cpu", torch.bfloat16):
        features = model(inputs)
    assert F.cosine_similarity(features.float(), exact, dim=-1).min() > 0.99
    assert not torch.equal(features.float(), exact)
