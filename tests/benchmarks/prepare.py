"""Speed and memory of `lightning prepare`'s work against a plain loop; a script, run by hand.

    python tests/benchmarks/prepare.py --files 'data/**/*.jsonl.gz'
    python tests/benchmarks/prepare.py --files big.txt --tokenizer bytes --rounds 1

In every round, in turn: a single thread that calls tiktoken's ``encode_ordinary`` on one text after
the other, all of them in memory already and their tokens thrown away; and ``prepare`` on the same
files, which reads, unpacks, encodes and writes them. Counted is wall time; the ratio is that of the
medians. The processor times say what it can be where other jobs take the cores: if both are the
same, ``prepare`` is as many times faster as there are free cores. Last, ``prepare`` runs once more
in a process of its own, for its peak of resident memory, most of which torch takes on import.
tiktoken finds its files by TIKTOKEN_CACHE_DIR.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from datamodules.documents.sources import FileDocuments
from datamodules.tokens.prepare import Summary, prepare
from datamodules.tokens.tokenizers import TiktokenTokenizer, Tokenizer, load_tokenizer


def plain_loop(tokenizer: Tokenizer, texts: list[str]) -> float:
    """Tokens per second of one thread; other tokenizers than tiktoken's encode text by text."""
    encode = lambda text: tokenizer.encode_batch([text])[0]  # noqa: E731
    if isinstance(tokenizer, TiktokenTokenizer):
        encode = tokenizer._encoding.encode_ordinary
    began = time.perf_counter()
    tokens = sum(len(encode(text)) for text in texts)
    return tokens / (time.perf_counter() - began)


def prepare_once(arguments: argparse.Namespace, tokenizer: Tokenizer) -> Summary:
    """Prepare into a folder that is thrown away."""
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        return prepare(
            FileDocuments(arguments.files, arguments.field),
            folder,
            tokenizer,
            workers=arguments.workers,
        )


def peak() -> float:
    """Largest resident memory of this process so far, in MB.

    Read from /proc, since what ``getrusage`` tells begins with the memory of the parent process.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def main() -> None:
    """Compare, then measure the memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", nargs="+", required=True, help="patterns of files with text")
    parser.add_argument("--field", default="text")
    parser.add_argument("--tokenizer", default="gpt2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--scratch", help="where the shards are written for a moment")
    parser.add_argument("--memory-only", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    tokenizer = load_tokenizer(arguments.tokenizer)
    if arguments.memory_only:
        before = peak()
        prepare_once(arguments, tokenizer)
        print(f"peak memory {peak():,.0f} MB, of which {before:,.0f} MB before the first document")
        return
    texts = list(FileDocuments(arguments.files, arguments.field))
    plain_loop(tokenizer, texts[:100])
    loops, prepared = [], []
    for number in range(arguments.rounds):
        start = time.process_time()
        loops.append(plain_loop(tokenizer, texts))
        middle = time.process_time()
        prepared.append(prepare_once(arguments, tokenizer).tokens_per_second)
        end = time.process_time()
        print(
            f"round {number}: loop {loops[-1]:,.0f}, prepare {prepared[-1]:,.0f} tokens/s, "
            f"ratio {prepared[-1] / loops[-1]:.2f}; processor time {middle - start:.2f} and "
            f"{end - middle:.2f} s; load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    ratio = statistics.median(prepared) / statistics.median(loops)
    print(f"ratio of medians {ratio:.2f}", flush=True)
    subprocess.run([sys.executable, *sys.argv, "--memory-only"], check=True)


if __name__ == "__main__":
    main()
