"""``init_from``: load GPT-2 weights written by transformers or by `lightning export`."""

from __future__ import annotations

import json
import shutil
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch

from glassbox.cli.checkpoints import LoadedModel, load_language_model
from glassbox.cli.commands.export import export
from lightning_modules import (
    GPT2,
    CrossEntropyHead,
    HarmonicHead,
    LanguageModel,
    ToyTransformer,
)
from lightning_modules.gpt2.hub_load import load_pretrained
from tests.helpers.small_gpt2 import tokens

transformers = pytest.importorskip("transformers")

VOCAB, POSITIONS = 61, 24
SMALL = partial(GPT2, num_layers=2, num_heads=4, width=32)
WITHOUT_BIASES = partial(SMALL, bias=False)


def gpt2(folder: Path, dtype: torch.dtype = torch.float32, **options):
    """A random GPT-2 of transformers, saved to ``folder``."""
    torch.manual_seed(0)
    settings = {
        "vocab_size": VOCAB, "n_positions": POSITIONS, "n_embd": 32, "n_layer": 2, "n_head": 4,
        "bos_token_id": None, "eos_token_id": None, **options,
    }  # fmt: skip
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape)
    model = model.to(dtype)
    model.save_pretrained(folder)
    return model


def build(head=CrossEntropyHead, network=SMALL, **options) -> LanguageModel:
    options = {"vocab_size": VOCAB, "context_length": POSITIONS, **options}
    return LanguageModel(network=network, head=head, **options).eval()


def exported(model: LanguageModel, folder: Path) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "glassbox.cli.commands.export.load_language_model",
            lambda path: LoadedModel(model, None),
        )
        export("some.ckpt", str(folder))
    return str(folder)


def change(folder: Path, **settings) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


# ---- weights of transformers ---------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["matched", "gpt2"])
@pytest.mark.parametrize("tied", [True, False])
def test_logits_match_transformers(tmp_path, tied, scale):
    theirs = gpt2(tmp_path, tie_word_embeddings=tied)
    model = build(init_from=str(tmp_path), tie_embedding=tied, feature_scale_init=scale)
    inputs = tokens(3, POSITIONS)
    expected = theirs(inputs).logits
    assert expected.std() > 0.5
    torch.testing.assert_close(model(inputs), expected, rtol=1e-5, atol=1e-5)


def test_sharded_and_bfloat16_files(tmp_path):
    theirs = gpt2(tmp_path, dtype=torch.bfloat16).float()
    theirs.to(torch.bfloat16).save_pretrained(tmp_path / "parts", max_shard_size="20KB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 2
    inputs = tokens(3, POSITIONS)
    expected = theirs.float()(inputs).logits
    for folder in (tmp_path, tmp_path / "parts"):
        model = build(init_from=str(folder))
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
        torch.testing.assert_close(model(inputs), expected, rtol=1e-5, atol=1e-5)


def test_openai_s_parameter_names(tmp_path):
    from safetensors.torch import load_file, save_file

    theirs = gpt2(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    old = {name.removeprefix("transformer."): tensor for name, tensor in stored.items()}
    old["h.0.attn.bias"] = torch.ones(1, 1, POSITIONS, POSITIONS)
    old["h.1.attn.masked_bias"] = torch.tensor(-1e4)
    save_file(old, tmp_path / "model.safetensors")
    inputs = tokens(3, POSITIONS)
    model = build(init_from=str(tmp_path))
    torch.testing.assert_close(model(inputs), theirs(inputs).logits, rtol=1e-5, atol=1e-5)


def test_shorter_context_uses_the_first_positions(tmp_path):
    theirs = gpt2(tmp_path)
    model = build(init_from=str(tmp_path), context_length=10)
    inputs = tokens(3, 10)
    torch.testing.assert_close(model(inputs), theirs(inputs).logits, rtol=1e-5, atol=1e-5)


def test_harmonic_head_on_cross_entropy_weights_warns(tmp_path):
    theirs = gpt2(tmp_path)
    with pytest.warns(UserWarning, match="trained with CrossEntropyHead"):
        model = build(HarmonicHead, init_from=str(tmp_path))
    inputs = tokens(3, POSITIONS)
    features = theirs.transformer(inputs).last_hidden_state  # no feature scale was changed
    torch.testing.assert_close(model.hidden_states(inputs)[0], features, rtol=1e-5, atol=1e-5)
    assert torch.equal(model.class_centers()[0], theirs.transformer.wte.weight)


# ---- exported folders ----------------------------------------------------------------------------


@pytest.mark.parametrize("head", [CrossEntropyHead, partial(HarmonicHead, exponent=3.0, eps=1e-4)])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("network", [SMALL, WITHOUT_BIASES])
def test_export_and_load_round_trip_is_exact(tmp_path, head, tied, network):
    torch.manual_seed(3)
    model = build(head, network, tie_embedding=tied)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape)
    folder = exported(model, tmp_path / "out")
    inputs = tokens(3, POSITIONS)
    again = build(head, network, tie_embedding=tied, init_from=folder)
    assert torch.equal(again(inputs), model(inputs))
    for (name, one), two in zip(model.named_parameters(), again.parameters(), strict=True):
        rows = VOCAB if "embedding" in name or "head" in name else len(one)  # without padding
        assert torch.equal(one[:rows], two[:rows]), name
    loaded = load_language_model(folder).model  # which reads sizes and head from the config
    assert torch.equal(loaded(inputs), model(inputs)) and not loaded.training
    losses = [m.head.loss(m.network(inputs), inputs) for m in (model, loaded)]
    assert torch.equal(*losses)


def test_different_exponent_warns(tmp_path):
    folder = exported(build(partial(HarmonicHead, exponent=3.0)), tmp_path / "out")
    with pytest.warns(UserWarning, match="exponent=3.*exponent=4"):
        build(partial(HarmonicHead, exponent=4.0), init_from=folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(partial(HarmonicHead, exponent=3.0), init_from=folder)


def test_checkpoint_loads_without_the_folder(tmp_path):
    import lightning as L

    gpt2(tmp_path / "folder")
    model = build(init_from=str(tmp_path / "folder"))
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    trainer.strategy.connect(model)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    shutil.rmtree(tmp_path / "folder")
    again = load_language_model(str(tmp_path / "a.ckpt")).model
    inputs = tokens(2, POSITIONS)
    assert torch.equal(again(inputs), model(inputs))


def test_tokenizer_of_a_loaded_folder(tmp_path):
    gpt2(tmp_path / "gpt2")
    assert load_language_model(str(tmp_path / "gpt2")).tokenizer is None
    (tmp_path / "gpt2" / "vocab.json").touch()
    (tmp_path / "gpt2" / "merges.txt").touch()
    assert load_language_model(str(tmp_path / "gpt2")).tokenizer == str(tmp_path / "gpt2")
    gpt2(tmp_path / "large", vocab_size=50257, n_embd=4, n_layer=1)
    assert load_language_model(str(tmp_path / "large")).tokenizer == "gpt2"


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"network": partial(GPT2, preset="3M")}, "num_heads 4, width 32, expected .*2, width 64"),
        ({"vocab_size": 257}, "vocab_size 61, expected vocab_size 257"),
        ({"context_length": 25}, "data.block_size"),
        ({"network": WITHOUT_BIASES}, "model.network.bias"),
    ],
)
def test_weights_of_another_size_raise(tmp_path, options, option):
    gpt2(tmp_path)
    with pytest.raises(ValueError, match=option):
        build(init_from=str(tmp_path), **options)


def test_network_other_than_gpt2_raises(tmp_path):
    gpt2(tmp_path)
    with pytest.raises(ValueError, match=r"model\.network"):
        load_pretrained(str(tmp_path), ToyTransformer(VOCAB, 4), CrossEntropyHead(32, VOCAB))


def test_untied_weights_need_an_untied_model(tmp_path):
    gpt2(tmp_path, tie_word_embeddings=False)
    with pytest.raises(ValueError, match=r"model\.tie_embedding"):
        build(init_from=str(tmp_path))


@pytest.mark.parametrize(
    "settings",
    [
        {"model_type": "llama"},
        {"activation_function": "relu"},
        {"layer_norm_epsilon": 1e-6},
        {"scale_attn_by_inverse_layer_idx": True},
        {"n_inner": 7},
    ],
    ids=str,
)
def test_unsupported_gpt2_variant_raises(tmp_path, settings):
    gpt2(tmp_path)
    change(tmp_path, **settings)
    with pytest.raises(ValueError, match=next(iter(settings))):
        load_language_model(str(tmp_path))


def test_equivalent_options_are_accepted(tmp_path):
    gpt2(tmp_path)
    change(tmp_path, activation_function="gelu_pytorch_tanh", n_inner=4 * 32)
    load_language_model(str(tmp_path))


def without(folder: Path, name: str) -> None:
    from safetensors.torch import load_file, save_file

    stored = load_file(folder / "model.safetensors")
    del stored[name]
    save_file(stored, folder / "model.safetensors")


DAMAGES = {
    "no config": (lambda f: (f / "config.json").unlink(), "config.json"),
    "half a config": (lambda f: (f / "config.json").write_text('{"n'), "config.json"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors"),
    "half the weights": (
        lambda f: (f / "model.safetensors").write_bytes(
            (f / "model.safetensors").read_bytes()[:5000]
        ),
        "model.safetensors",
    ),
    "no weights inside": (lambda f: (f / "model.safetensors").write_bytes(b""), "safetensors"),
    "a weight missing": (lambda f: without(f, "transformer.h.1.ln_1.weight"), r"h.1.ln_1.weight"),
    "a layer too many": (
        lambda f: change(f, n_layer=1), "transformer.h.1",
    ),
    "another shape": (lambda f: change(f, vocab_size=60), "wte.weight"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_folders_raise(tmp_path, damage):
    gpt2(tmp_path)
    break_it, words = DAMAGES[damage]
    break_it(tmp_path)
    with pytest.raises(ValueError, match=words):
        load_language_model(str(tmp_path))


def test_init_from_a_checkpoint_file_raises(tmp_path):
    (tmp_path / "a.ckpt").touch()
    with pytest.raises(ValueError, match="is a file"):
        build(init_from=str(tmp_path / "a.ckpt"))


# ---- the hub, without a network ------------------------------------------------------------------


def test_hub_name_is_downloaded(tmp_path, monkeypatch):
    import huggingface_hub

    theirs = gpt2(tmp_path / "cached")
    requested = []

    def download(name, allow_patterns):
        requested.append(name)
        return str(tmp_path / "cached")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    model = build(init_from="somebody/gpt2")
    assert requested == ["somebody/gpt2"]
    logits = theirs(tokens(2, 5)).logits
    torch.testing.assert_close(model(tokens(2, 5)), logits, rtol=1e-5, atol=1e-5)


def test_hub_name_without_internet_raises(monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="nobody/nothing"):
        build(init_from="nobody/nothing")
    with pytest.raises(ValueError, match="HFValidationError"):
        build(init_from="no/such/name/at all")
