"""Earlier name of ``lightning_modules.gpt2.transformers_model``, for exports that mention it."""

from lightning_modules.gpt2.transformers_model import (
    HarmonicGPT2Config as HarmonicGPT2Config,
)
from lightning_modules.gpt2.transformers_model import (
    HarmonicGPT2LMHeadModel as HarmonicGPT2LMHeadModel,
)
