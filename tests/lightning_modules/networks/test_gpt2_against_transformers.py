"""GPT-2 against transformers' own: the same logits, loss and gradients."""

import pytest
import torch

from tests.helpers.small_gpt2 import CONTEXT, VOCAB, build, shaken, tied, tokens


def transformers_gpt2(model, rows):
    """transformers' GPT-2 with ``model``'s weights and ``rows`` of its embedding."""
    transformers = pytest.importorskip("transformers")
    block, width = model.blocks[0], model.out_features
    config = transformers.GPT2Config(
        vocab_size=rows,
        n_positions=model.context_length,
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
            f"transformer.h.{i}.ln_1": block.norm1,
            f"transformer.h.{i}.attn.c_attn": block.attention.qkv,
            f"transformer.h.{i}.attn.c_proj": block.attention.out,
            f"transformer.h.{i}.ln_2": block.norm2,
            f"transformer.h.{i}.mlp.c_fc": block.fc_in,
            f"transformer.h.{i}.mlp.c_proj": block.fc_out,
        }
    state = {}
    for name, module in modules.items():
        if isinstance(module, torch.Tensor):
            state[f"{name}.weight"] = module
            continue
        # Their linear layers store the transposed weight.
        state[f"{name}.weight"] = (
            module.weight.T if isinstance(module, torch.nn.Linear) else module.weight
        )
        state[f"{name}.bias"] = module.bias
    theirs.load_state_dict({name: value.detach().clone() for name, value in state.items()})
    return theirs.eval()


@pytest.mark.parametrize(("length", "padded"), [(CONTEXT, False), (CONTEXT, True), (1, False)])
def test_logits_and_loss_match_transformers(length, padded):
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


def test_gradients_match_transformers():
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
            model.blocks[0].attention.qkv.weight.grad,
            body.h[0].attn.c_attn.weight.grad.T,
        ),
        (model.blocks[0].fc_in.bias.grad, body.h[0].mlp.c_fc.bias.grad),
        (model.blocks[1].fc_out.weight.grad, body.h[1].mlp.c_proj.weight.grad.T),
        (model.final_norm.bias.grad, body.ln_f.bias.grad),
    ):
        torch.testing.assert_close(ours, other, rtol=1e-3, atol=1e-5)
