"""GPT-2 with a harmonic head as a transformers model, for folders that `lightning export` wrote.

Importing this file registers the class:

    import lightning_modules.gpt2.transformers_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained("exported-folder")

Only this file imports transformers at module level; nothing else in Glassbox imports it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, GPT2Model
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.models.gpt2.modeling_gpt2 import GPT2PreTrainedModel

from lightning_modules.gpt2.hub_load import HARMONIC_TYPE
from lightning_modules.heads import HarmonicHead


class HarmonicGPT2Config(GPT2Config):
    """GPT-2's config with the harmonic head's options.

    Attributes:
        exponent: Harmonic exponent n on the distance; None means sqrt(n_embd).
        eps: Added to every squared distance.
    """

    model_type = HARMONIC_TYPE
    exponent: float | int | None = None
    eps: float = 1e-10


class HarmonicGPT2LMHeadModel(GPT2PreTrainedModel, GenerationMixin):
    """GPT-2 whose next-token probabilities fall as a power of the distance to the features.

    ``logits`` are log-probabilities up to a constant, so ``generate`` works unchanged. Weights have
    the names of ``GPT2LMHeadModel``.

    Args:
        config: Sizes and the head's options.
    """

    config_class = HarmonicGPT2Config
    _tied_weights_keys = GPT2LMHeadModel._tied_weights_keys

    def __init__(self, config: HarmonicGPT2Config) -> None:
        super().__init__(config)
        self.transformer = GPT2Model(config)
        self.lm_head = HarmonicHead(config.n_embd, config.vocab_size, config.exponent, config.eps)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        return_dict: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Logits (B, T, V) of token ids (B, T), and the loss if labels are given.

        Args:
            input_ids: (B, T).
            attention_mask: (B, T), 0 where a token is padding.
            position_ids: (B, T).
            inputs_embeds: (B, T, E), instead of ``input_ids``.
            labels: (B, T), the ids themselves: they are shifted here. -100 is ignored.
            use_cache: Return keys and values.
            logits_to_keep: Number of last positions that get logits (0: all), or indices.
            return_dict: False for a tuple.
            num_items_in_batch: Divides the sum of losses, instead of the number of labels;
                transformers' trainer passes it when it accumulates gradients.
            **kwargs: Passed to the transformer, such as ``output_hidden_states``, and the KV cache
                under the name that this version of transformers uses: ``cache``, or
                ``past_key_values`` before 5.24.
        """
        outputs = self.transformer(
            input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            return_dict=True,
            **kwargs,
        )
        features = outputs.last_hidden_state  # (B, T, E)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        loss = None
        if labels is not None:
            targets = labels[:, 1:].to(features.device)
            loss = self.lm_head.loss(features[:, :-1], targets)
            if num_items_in_batch is not None:
                loss = loss * (targets != -100).sum() / num_items_in_batch
        logits = self.lm_head(features[:, kept])
        # The KV cache, hidden states and attentions keep the names that transformers gave them.
        others = {name: value for name, value in outputs.items() if name != "last_hidden_state"}
        result = CausalLMOutputWithPast(loss=loss, logits=logits, **others)
        as_dict = getattr(self.config, "return_dict", True) if return_dict is None else return_dict
        return result if as_dict else result.to_tuple()

    def get_output_embeddings(self) -> nn.Module:
        """The harmonic head, whose ``weight`` (V, E) holds the class centers."""
        return self.lm_head

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Replace the head by another harmonic one.

        Raises:
            ValueError: It is not a ``HarmonicHead``.
        """
        if not isinstance(new_embeddings, HarmonicHead):
            raise ValueError(
                f"output embeddings must be a HarmonicHead, got {type(new_embeddings).__name__}"
            )
        self.lm_head = new_embeddings

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Embedding:
        """Not supported: transformers would replace the head by a linear layer.

        Raises:
            ValueError: Always.
        """
        raise ValueError("HarmonicGPT2LMHeadModel does not support resize_token_embeddings")

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, HarmonicHead):
            nn.init.normal_(module.weight, std=self.config.initializer_range)


AutoConfig.register(HARMONIC_TYPE, HarmonicGPT2Config, exist_ok=True)
AutoModelForCausalLM.register(HarmonicGPT2Config, HarmonicGPT2LMHeadModel, exist_ok=True)
