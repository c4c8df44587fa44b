"""`lightning export`: a trained language model as a folder that transformers loads."""

from __future__ import annotations

from pathlib import Path

from glassbox.cli.checkpoints import choose_tokenizer, load_language_model
from lightning_modules.gpt2.hub_load import HARMONIC_TYPE
from lightning_modules.gpt2.hub_save import atomic_folder, gpt2_config, gpt2_tensors, write_model
from lightning_modules.gpt2.hub_tokenizer import write_tokenizer


def export(checkpoint: str, output: str, tokenizer: str | None = None) -> str:
    """Write a model's weights, config and tokenizer as Hugging Face's libraries read them.

    With a cross-entropy head the folder is an ordinary GPT-2. With a harmonic one it needs
    ``import lightning_modules.gpt2.transformers_model`` before it is loaded. Either way it can be
    trained on or measured here, with ``model.init_from``.

    The folder appears when all of it is written. One that holds anything is left alone.

    Args:
        checkpoint: A .ckpt file of `lightning fit`.
        output: Folder to write; it must not exist yet, or be empty.
        tokenizer: Tokenizer of the data; null takes the one that the checkpoint names.

    Returns:
        What was written, and how to load it.

    Raises:
        ValueError: The folder is not empty, the tokenizer is not the model's, or no GPT-2 of
            transformers' can be this model.
    """
    folder = Path(output).expanduser().absolute()
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ValueError(f"{output} exists and is not empty; name another folder with --output")
    loaded = load_language_model(checkpoint)
    network, head = loaded.model.network, loaded.model.head
    config = gpt2_config(network, head)
    remark = ""
    if tokenizer is None and loaded.tokenizer is None:  # a checkpoint of earlier days
        remark = "the checkpoint names no tokenizer; by its vocabulary it is gpt2"
    reader = choose_tokenizer([loaded], tokenizer)
    if reader is not None:
        config["bos_token_id"] = config["eos_token_id"] = reader.end_of_text
    tensors = gpt2_tensors(network, head)
    with atomic_folder(folder) as partial:
        files = write_model(partial, config, tensors)
        if reader is None:
            remark = "no tokenizer: the checkpoint does not name one; set --tokenizer"
        elif tokenizer_files := write_tokenizer(reader, partial, config["n_positions"]):
            files += tokenizer_files
        else:
            remark = f"no tokenizer: tokenizer.json cannot express how {reader.name} splits text"
    count = sum(tensor.numel() for tensor in tensors.values())
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    load = f"AutoModelForCausalLM.from_pretrained({output!r})"
    if config["model_type"] == HARMONIC_TYPE:
        load = f"import lightning_modules.gpt2.transformers_model, then {load}"
    lines = [
        f"{output}: {', '.join(files)}",
        f"{count:,} parameters, {size / 2**20:.1f} MiB",
        *([remark] if remark else []),
        f"load it with: {load}",
    ]
    return "\n".join(lines)
