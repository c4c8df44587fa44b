"""Earlier name of ``lightning_modules.gpt2.transformers_model``, for exports that mention it."""

from lightning_modules.gpt2.transformers_model import HarmonicGPT2Config, HarmonicGPT2LMHeadModel

__all__ = ["HarmonicGPT2Config", "HarmonicGPT2LMHeadModel"]
