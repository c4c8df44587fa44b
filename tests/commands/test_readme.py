"""Commands, links and Python of the documentation: they parse, exist and run."""

from __future__ import annotations

import re
import shlex

import pytest

from glassbox.cli.function_commands import function_settings
from glassbox.cli.main import main
from glassbox.cli.subcommands import FUNCTIONS, SUBCOMMANDS
from tests.helpers.idx_digits import write_digits
from tests.helpers.paths import ROOT

README = (ROOT / "README.md").read_text()
GUIDE = (ROOT / "docs" / "language_models.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", README + GUIDE, re.DOTALL)
COMMANDS = [
    line.split("#")[0].strip().replace("\\\n", " ")
    for block in BLOCKS
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip() and not line.startswith("#")
]
OURS = [part.strip() for line in COMMANDS for part in line.split("&&")
        if part.strip().startswith(("lightning ", "glassbox "))]  # fmt: skip


@pytest.mark.parametrize("command", sorted(set(OURS)))
def test_command_of_the_readme_parses_and_builds(
    command, in_root, tmp_path, token_folder, text_folder
):
    words = shlex.split(command.replace("CONFIG", "configs/gpt2/gpt2_cpu.yaml"))[1:]
    if words[0] in ("--help", "--version"):
        main(words)
        return
    assert words[0] in SUBCOMMANDS
    if words[0] in FUNCTIONS:  # of checkpoints that do not exist here, or of hours
        function_settings(words)
        return
    for key in ("--ckpt_path", "--model.init_from"):
        if key in words:  # neither exists here
            at = words.index(key)
            del words[at : at + 2]
    words[0] = "check"
    if any("gpt2" in word for word in words):  # its text has not been prepared here
        folder = str(token_folder(train=70, val=8, block_size=256))
        words += ["--data.data_dir", folder, "--data.tokenizer", "bytes"]
    write_digits(tmp_path / "digits")
    folders = {f"data/{name}": str(text_folder / name) for name in ("sst", "imdb")}
    folders["data/mnist"] = str(tmp_path / "digits")
    words = [folders.get(word, word) for word in words]
    main([*words, "--trainer.default_root_dir", str(tmp_path)])


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.stem
)
def test_files_that_a_page_shows_exist(page):
    for path in re.findall(r"\]\(((?!http)[^)#]+)", page.read_text()):
        assert (page.parent / path).exists(), path


@pytest.mark.filterwarnings("ignore:.*logging interval.*", "ignore:.*already exists.*")
def test_python_of_the_readme_runs(tmp_path, monkeypatch):
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    short = block.replace("max_epochs=500", "max_epochs=2").replace(
        "L.Trainer(", "L.Trainer(accelerator='cpu', enable_progress_bar=False, "
    )
    assert short != block
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(short, names)
    assert names["circularity"](names["model"].embedding_matrix()).shape == (5,)  # type: ignore
