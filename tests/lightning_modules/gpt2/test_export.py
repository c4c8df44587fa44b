"""`lightning export`: transformers loads the folder and computes the same."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch

from glassbox.cli.checkpoints import LoadedModel
from glassbox.cli.commands.export import export
from lightning_modules import GPT2, CrossEntropyHead, HarmonicHead, LanguageModel

transformers = pytest.importorskip("transformers")

VOCAB, CONTEXT = 257, 24
SMALL = partial(GPT2, num_layers=2, num_heads=4, width=32)
WITHOUT_BIASES = partial(SMALL, bias=False)


def build(head=CrossEntropyHead, network=SMALL, **options) -> LanguageModel:
    """A model whose parameters all differ from their initial values."""
    torch.manual_seed(0)
    options = {"vocab_size": VOCAB, "context_length": CONTEXT, **options}
    model = LanguageModel(network=network, head=head, **options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape)
    return model


def exported(model: LanguageModel, folder: Path, tokenizer: str | None = "bytes") -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "glassbox.cli.commands.export.load_language_model",
            lambda path: LoadedModel(model, tokenizer),
        )
        message = export("some.ckpt", str(folder))
    assert str(folder) in message
    return folder


def tokens(*shape: int) -> torch.Tensor:
    return torch.randint(VOCAB, shape, generator=torch.Generator().manual_seed(1))


def load(folder: Path):
    import lightning_modules.gpt2.transformers_model  # noqa: F401 (registers the harmonic class)

    return transformers.AutoModelForCausalLM.from_pretrained(folder)


VARIANTS = {
    "tied": {},
    "untied": {"tie_embedding": False},
    "no biases": {"network": WITHOUT_BIASES},
}


# ---- cross-entropy: an ordinary GPT-2 ------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_cross_entropy_model_matches_transformers_gpt2(tmp_path, variant):
    model = build(**VARIANTS[variant])
    theirs = load(exported(model, tmp_path / "out"))
    assert type(theirs) is transformers.GPT2LMHeadModel
    inputs = tokens(3, CONTEXT)
    outputs = theirs(inputs, labels=inputs)
    assert outputs.logits.shape == (3, CONTEXT, VOCAB) and outputs.logits.std() > 0.5
    torch.testing.assert_close(outputs.logits, model(inputs), rtol=1e-5, atol=1e-5)
    loss = model.head.loss(model.network(inputs)[:, :-1], inputs[:, 1:])
    torch.testing.assert_close(outputs.loss, loss, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("head", [CrossEntropyHead, HarmonicHead])
@pytest.mark.parametrize("tied", [True, False])
def test_unembedding_is_tied_as_in_the_model(tmp_path, head, tied):
    model = build(head, tie_embedding=tied)
    theirs = load(exported(model, tmp_path / "out"))
    assert theirs.config.tie_word_embeddings is tied
    assert (theirs.lm_head.weight is theirs.transformer.wte.weight) is tied
    torch.testing.assert_close(theirs.lm_head.weight, model.class_centers()[0], rtol=0, atol=0)


def test_exported_weights_are_complete_and_unpadded(tmp_path):
    folder = exported(build(network=WITHOUT_BIASES), tmp_path / "out")
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert theirs.transformer.wte.weight.shape == (VOCAB, 32)  # ours has 320 rows
    biases = [p for name, p in theirs.named_parameters() if name.endswith("bias")]
    assert biases and not any(bias.any() for bias in biases)


def test_config_has_context_dropout_and_special_tokens(tmp_path):
    model = build(network=partial(SMALL, dropout=0.25, initial_std=0.01))
    config = transformers.AutoConfig.from_pretrained(exported(model, tmp_path / "out"))
    assert config.n_positions == CONTEXT and config.vocab_size == VOCAB
    assert config.resid_pdrop == config.embd_pdrop == config.attn_pdrop == 0.25
    assert config.initializer_range == 0.01
    assert config.eos_token_id == config.bos_token_id == 256


# ---- harmonic: our class -------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("head", [HarmonicHead, partial(HarmonicHead, exponent=3.0, eps=1e-4)])
def test_harmonic_model_matches_the_registered_class(tmp_path, variant, head):
    model = build(head, **VARIANTS[variant])
    theirs = load(exported(model, tmp_path / "out"))
    assert type(theirs).__name__ == "HarmonicGPT2LMHeadModel"
    inputs = tokens(3, CONTEXT)
    labels = inputs.masked_fill(tokens(3, CONTEXT) < 60, -100)
    outputs = theirs(inputs, labels=labels)
    assert outputs.logits.std() > 0.2
    torch.testing.assert_close(outputs.logits, model(inputs), rtol=1e-5, atol=1e-5)
    loss = model.head.loss(model.network(inputs)[:, :-1], labels[:, 1:])
    torch.testing.assert_close(outputs.loss, loss, rtol=1e-5, atol=1e-5)
    # The same from the logits alone, in float64.
    nll = torch.nn.functional.cross_entropy(
        outputs.logits[:, :-1].double().flatten(0, 1), labels[:, 1:].flatten()
    )
    torch.testing.assert_close(outputs.loss.double(), nll, rtol=1e-4, atol=1e-4)


def test_harmonic_class_saves_and_loads(tmp_path):
    first = load(exported(build(partial(HarmonicHead, exponent=3.0)), tmp_path / "out"))
    first.save_pretrained(tmp_path / "again")
    second = load(tmp_path / "again")
    assert second.config.exponent == 3.0 and second.lm_head.exponent == 3.0
    inputs = tokens(2, CONTEXT)
    assert torch.equal(first(inputs).logits, second(inputs).logits)


def test_harmonic_class_from_a_config():
    from lightning_modules.gpt2.transformers_model import (
        HarmonicGPT2Config,
        HarmonicGPT2LMHeadModel,
    )

    config = HarmonicGPT2Config(
        vocab_size=61, n_embd=64, n_layer=1, n_head=2, n_positions=8, tie_word_embeddings=False,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    model = HarmonicGPT2LMHeadModel(config)
    assert model.lm_head.exponent == 8.0
    assert model.lm_head.weight.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("head", [CrossEntropyHead, HarmonicHead])
def test_greedy_generation_with_cache_matches_ours_without(tmp_path, head):
    model = build(head)
    theirs = load(exported(model, tmp_path / "out"))
    prompt = tokens(2, 5)
    mask = torch.ones_like(prompt)
    generated = theirs.generate(
        prompt, attention_mask=mask, max_new_tokens=15, do_sample=False, eos_token_id=None,
        pad_token_id=0,
    )  # fmt: skip
    expected = prompt
    for _ in range(15):
        expected = torch.cat([expected, model(expected)[:, -1:].argmax(-1)], dim=1)
    assert len(expected[:, 5:].unique()) > 3
    assert torch.equal(generated, expected)


def test_harmonic_generation_ignores_padding_on_the_left(tmp_path):
    theirs = load(exported(build(HarmonicHead), tmp_path / "out"))
    prompt = tokens(1, 5)
    padded = torch.cat([torch.zeros(1, 3, dtype=torch.long), prompt], dim=1)
    mask = (torch.arange(8) >= 3).long()[None]
    options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    alone = theirs.generate(prompt, attention_mask=torch.ones_like(prompt), **options)
    beside = theirs.generate(padded, attention_mask=mask, **options)
    assert torch.equal(alone[:, 5:], beside[:, 8:])


def test_harmonic_class_forward_options(tmp_path):
    theirs = load(exported(build(HarmonicHead), tmp_path / "out"))
    inputs = tokens(2, 7)
    every = theirs(inputs).logits
    assert torch.equal(theirs(inputs, logits_to_keep=2).logits, every[:, -2:])
    loss, logits = theirs(inputs, labels=inputs, use_cache=False, return_dict=False)[:2]
    assert torch.equal(logits, every) and loss.shape == ()
    of_batch = theirs(inputs, labels=inputs, num_items_in_batch=24).loss  # 12 labels here
    torch.testing.assert_close(of_batch, loss / 2)
    states = theirs(inputs, output_hidden_states=True).hidden_states
    assert len(states) == 3 and torch.equal(theirs.lm_head(states[-1]), every)


def test_harmonic_class_rejects_a_linear_head(tmp_path):
    theirs = load(exported(build(HarmonicHead), tmp_path / "out"))
    with pytest.raises(ValueError, match="resize_token_embeddings"):
        theirs.resize_token_embeddings(300)
    with pytest.raises(ValueError, match="Linear"):
        theirs.set_output_embeddings(torch.nn.Linear(32, VOCAB))


# ---- errors --------------------------------------------------------------------------------------


def test_non_empty_folder_raises(tmp_path):
    folder = exported(build(), tmp_path / "out")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match="--output"):
        exported(build(HarmonicHead), folder)
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}
    (tmp_path / "empty").mkdir()
    assert (exported(build(), tmp_path / "empty") / "config.json").exists()


def test_failed_export_leaves_no_files(tmp_path, monkeypatch):
    import safetensors.torch

    def fails(tensors, path, metadata):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(safetensors.torch, "save_file", fails)
    with pytest.raises(OSError, match="No space"):
        exported(build(), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_weights_and_config_have_the_same_permissions(tmp_path):
    folder = exported(build(), tmp_path / "out")
    modes = {path.name: path.stat().st_mode for path in folder.iterdir()}
    assert modes["model.safetensors"] == modes["config.json"]


@pytest.mark.parametrize(
    ("options", "tokenizer", "words"),
    [
        ({"head": partial(CrossEntropyHead, bias=True)}, "bytes", "model.head.bias"),
        ({"vocab_size": 200}, "bytes", "--tokenizer"),
    ],
)
def test_models_that_the_format_does_not_support_raise(tmp_path, options, tokenizer, words):
    with pytest.raises(ValueError, match=words):
        exported(build(**options), tmp_path / "out", tokenizer)
    assert not list(tmp_path.iterdir())


def test_export_without_a_tokenizer(tmp_path):
    names = {path.name for path in exported(build(), tmp_path / "out", None).iterdir()}
    assert names == {"config.json", "model.safetensors"}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["eos_token_id"] is None
