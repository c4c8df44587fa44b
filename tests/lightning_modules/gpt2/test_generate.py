"""Generation against recomputation without a cache, and against the probabilities."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lightning_modules import GPT2, CrossEntropyHead, HarmonicHead
from lightning_modules.gpt2.generate import draw_tokens, generate

VOCAB, CONTEXT = 61, 12
HEADS = [CrossEntropyHead, HarmonicHead]


def build(head=CrossEntropyHead, vocab_size=VOCAB, context_length=CONTEXT, **options):
    """A network whose features depend much on their context, and a head tied to it."""
    torch.manual_seed(0)
    settings = {"num_layers": 2, "num_heads": 4, "width": 32, "initial_std": 0.3, **options}
    network = GPT2(vocab_size, context_length, **settings)
    tied = head(network.out_features, vocab_size)
    embedding = network.token_embedding().weight
    tied.tie(embedding, num_padding=len(embedding) - vocab_size)
    network.set_feature_scale(0.3)
    return network, tied


def prompts(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(VOCAB, shape, generator=torch.Generator().manual_seed(seed))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def by_recomputation(network, head, prompt, num_new, temperature=1.0, top_k=None, seed=0):
    """Generate without a cache: every step computes the features of the whole context."""
    generator, rows = seeded(seed), prompt.tolist()
    start = max(0, prompt.shape[1] - network.context_length)
    for _ in range(num_new):
        end = len(rows[0])
        if end - start > network.context_length:
            start = end - max(1, network.context_length // 2)
        with torch.no_grad():
            logits = head(network(torch.tensor(rows)[:, start:]))[:, -1]
        if temperature == 0:
            chosen = logits.argmax(dim=-1)
        elif top_k is None:
            weights = F.softmax(logits.double() / temperature, dim=-1)
            chosen = torch.multinomial(weights, 1, generator=generator)[:, 0]
        else:
            order = logits.argsort(dim=-1, descending=True)[:, :top_k]
            weights = F.softmax(logits.double() / temperature, dim=-1).gather(-1, order)
            choice = torch.multinomial(weights, 1, generator=generator)
            chosen = order.gather(-1, choice)[:, 0]
        for row, token in zip(rows, chosen.tolist(), strict=True):
            row.append(token)
    return torch.tensor(rows)


# ---- token for token -----------------------------------------------------------------------------


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    "options", [{"temperature": 0.0}, {}, {"temperature": 0.6, "top_k": 5}, {"temperature": 1.7}]
)
@pytest.mark.parametrize(
    ("length", "num_new"),
    [
        (4, 8),  # fills the context
        (5, 40),  # slides several times
        (30, 15),  # a prompt longer than the context
    ],
)
def test_tokens_match_recomputation_without_a_cache(head, options, length, num_new):
    network, head = build(head)
    prompt = prompts(3, length)
    ours = generate(network, head, prompt, num_new, generator=seeded(), **options)
    assert ours.shape == (3, length + num_new)
    assert torch.equal(ours[:, :length], prompt)
    assert torch.equal(ours, by_recomputation(network, head, prompt, num_new, **options))
    if num_new > 8:
        assert len(ours[:, length:].unique()) > 4


def test_cache_reads_each_token_once():
    network, head = build(context_length=64)
    read = []
    network.blocks[0].register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].shape[1]))
    generate(network, head, prompts(1, 10), 54)
    assert read == [10, *[1] * 53]
    read.clear()
    generate(network, head, prompts(1, 10), 200)
    # When 64 tokens have been read, the last 32 are read again.
    assert read == [10, *[1] * 54, *[32, *[1] * 32] * 4, 32, *[1] * 12]
    assert len(read) == 200


# ---- the draw ------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1e-2, 1e-6, 1e-30, 5e-324])
def test_small_temperatures_draw_the_most_likely_token(temperature):
    logits = torch.randn(200, 50, generator=seeded(3)) * 20
    gap = logits.topk(2).values.diff().abs()[:, 0]
    logits = logits[gap > 1.0]
    assert len(logits) > 100
    drawn = draw_tokens(logits, temperature, None, seeded())
    assert torch.equal(drawn, logits.argmax(dim=-1))
    assert torch.equal(draw_tokens(logits, 0.0, None, seeded()), drawn)


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, None), (0.5, None), (2.0, 4), (1.0, 99)])
def test_frequencies_match_the_probabilities(temperature, top_k):
    logits = torch.tensor([0.3, -1.0, 2.0, 1.5, -40.0, 0.0, 1.1])
    number = 40_000
    drawn = draw_tokens(logits.expand(number, -1), temperature, top_k, seeded(5))
    counts = torch.bincount(drawn, minlength=len(logits)).double()
    weights = (logits.double() / temperature).exp()
    if top_k == 4:
        weights[[1, 4, 5]] = 0.0
    expected = weights / weights.sum() * number
    possible = expected > 1
    assert (counts[~possible] == 0).all()
    chi_square = ((counts - expected).square() / expected)[possible].sum()
    # Mean 6 at most; it is above 27 once in 10,000 times.
    assert chi_square < 27


def test_vocabulary_padding_is_never_drawn():
    network, head = build(vocab_size=3, pad_vocab_to=64)
    with torch.no_grad():  # padded rows that would win every comparison
        network.embedding.weight[3:] = 100 * network.embedding.weight[:1]
    tokens = generate(network, head, torch.zeros(8, 1, dtype=torch.long), 50, temperature=5.0)
    assert tokens.unique().tolist() == [0, 1, 2]


def test_draws_depend_on_the_seed_only():
    network, head = build()
    first, again, other = (
        generate(network, head, prompts(2, 3), 20, generator=seeded(seed)) for seed in (4, 4, 5)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(
        generate(network, head, prompts(2, 3), 20),
        generate(network, head, prompts(2, 3), 20, generator=seeded(0)),
    )


def test_stopped_sequences_are_padded_with_the_stop_token():
    network, head = build()
    free = generate(network, head, prompts(4, 3), 30)
    stop = int(free[0, 8])
    stopped = generate(network, head, prompts(4, 3), 30, stop_token=stop)
    assert stopped.shape == free.shape
    ends = set()
    for row, without in zip(stopped.tolist(), free.tolist(), strict=True):
        end = row.index(stop, 3) if stop in row[3:] else len(row)
        ends.add(end)
        assert row[:end] == without[:end]
        assert all(token == stop for token in row[end:])
    assert len(ends) > 1


def test_generation_ends_when_all_sequences_have_stopped():
    network, head = build()
    first = generate(network, head, prompts(1, 3), 30)[0, 3:].tolist()
    steps = []
    network.blocks[0].register_forward_pre_hook(lambda _, inputs: steps.append(1))
    tokens = generate(network, head, prompts(1, 3), 30, stop_token=first[5])
    assert tokens.shape == (1, 33)
    assert len(steps) == first.index(first[5]) + 1


# ---- side effects --------------------------------------------------------------------------------


def test_dropout_is_disabled_and_modes_are_restored():
    network, head = build(dropout=0.5)
    network.eval()
    state = torch.get_rng_state()
    expected = generate(network, head, prompts(2, 3), 9)
    assert torch.equal(torch.get_rng_state(), state) and not expected.requires_grad
    network.train()
    network.blocks[1].eval()
    modes = [part.training for part in network.modules()]
    assert torch.equal(generate(network, head, prompts(2, 3), 9), expected)
    assert [part.training for part in network.modules()] == modes
    with pytest.raises(ValueError):
        generate(network, head, prompts(2, 3) + VOCAB, 9)
    assert [part.training for part in network.modules()] == modes


def test_compiled_network_is_not_recompiled():
    import torch._dynamo

    torch._dynamo.reset()
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    network, head = build()
    inputs = prompts(2, 8)
    plain = network(inputs)
    expected = generate(network, head, inputs[:, :3], 20)
    network.compile(backend=count)
    assert torch.equal(network(inputs), plain)
    compiled = len(graphs)
    assert compiled >= 1
    assert torch.equal(generate(network, head, inputs[:, :3], 20), expected)
    assert torch.equal(network(inputs), plain)
    assert len(graphs) == compiled
    torch._dynamo.reset()


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"num_new": 0}, "num_new"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_k": 0}, "top_k"),
        ({"prompt": torch.zeros(2, 0, dtype=torch.long)}, "prompt"),
        ({"prompt": torch.zeros(3, dtype=torch.long)}, "prompt"),
        ({"prompt": torch.tensor([[3, VOCAB]])}, "prompt"),
        ({"prompt": torch.tensor([[3, -1]])}, "prompt"),
    ],
)
def test_values_out_of_range_raise(change, part):
    network, head = build()
    with pytest.raises(ValueError, match=part):
        generate(network, head, **{"prompt": prompts(1, 2), "num_new": 3, **change})


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {}, {"top_k": 3}])
def test_non_finite_logits_raise(options):
    network, head = build()
    with torch.no_grad():
        network.final_norm.weight[0] = torch.nan
    with pytest.raises(ValueError, match="logits are NaN"):
        generate(network, head, prompts(1, 2), 3, **options)
