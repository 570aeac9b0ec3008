"""Peak memory of building a corpus and planning its extraction, against the size of the corpus.

Each size runs in a child process of its own, on synthetic texts that are made as they are read:
`python experiments/benchmarks/memory.py --tokens 1000000 3000000`. Anonymous memory is what must fit; mapped files are
counted apart, since the system takes their pages back when it needs them. Prints a line per size, the slope, and what
100 million tokens would take. Writing the activations is left out: shards are of a fixed size, so it adds a constant.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nlae.corpus import Corpus, CorpusSource, Document, build_corpus
from nlae.corpus.plan import make_plan

TARGET_TOKENS, LIMIT_GB = 100_000_000, 4.0
PASSAGE = 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class Synthetic(CorpusSource):
    """Invented articles of about a thousand words over a vocabulary of 20 000.

    Attributes:
        articles: how many; each is a work.
    """

    articles: int = 100

    def documents(self) -> Iterator[Document]:
        """One article after the other, from its number alone."""
        draw = np.random.default_rng(0)
        words = np.array(["".join(draw.choice(list("abcdefghijklmnop"), draw.integers(2, 9))) for _ in range(20_000)])
        for number in range(self.articles):
            chosen = words[np.random.default_rng(number).integers(0, len(words), 1000)]
            sentences = [" ".join(chosen[start : start + 20]) + "." for start in range(0, len(chosen), 20)]
            yield Document(f"article{number}", " ".join(sentences), f"article{number}")

    def fingerprint(self) -> str:
        """Depends on the number of articles only."""
        return f"synthetic-{self.articles}"


class Words:
    """A tokenizer of words: quick, and as greedy for memory as any other."""

    def __call__(self, texts: str | list[str], **_: object) -> dict[str, list[object]]:
        """Ids of one text or of several."""
        if isinstance(texts, str):
            return {"input_ids": self._ids(texts)}
        return {"input_ids": [self._ids(text) for text in texts]}

    def decode(self, ids: list[int], **_: object) -> str:
        """Not the text, but as long."""
        return " ".join(map(str, ids))

    @staticmethod
    def _ids(text: str) -> list[object]:
        return [sum(word.encode()) * 31 % 49_000 + 300 for word in text.split()]


class Peak:
    """Highest anonymous memory and resident set of this process, sampled, in bytes."""

    def __init__(self) -> None:
        self.anonymous = self.resident = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            self.anonymous = max(self.anonymous, 1024 * int(lines["RssAnon"].split()[0]))
            self.resident = max(self.resident, 1024 * int(lines["VmRSS"].split()[0]))
            time.sleep(0.02)


def child(tokens: int) -> dict[str, float]:
    """Build and plan; returns tokens and peaks."""
    source = Synthetic(articles=max(10, tokens // 1000), max_tokens=PASSAGE, min_tokens=16)
    tokenizer = Words()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        peak = Peak()
        metrics = build_corpus(source, tokenizer, Path(folder))  # type: ignore[arg-type]
        corpus = Corpus.open(folder)
        plan = make_plan(corpus, 20_000)
        for shard in range(len(plan.shards)):
            for documents in plan.batches(shard, 4096):
                corpus.token_ids(documents[0])
    seconds = time.monotonic() - started
    return {
        "tokens": metrics["tokens"],
        "anonymous": float(peak.anonymous),
        "resident": float(peak.resident),
        "passages": metrics["documents"],
        "seconds": seconds,
    }


def main() -> None:
    """Run every size, print the line through them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="+", default=[1_000_000, 3_000_000, 10_000_000])
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        sys.stdout.write(json.dumps(child(given.child)))
        return
    found = []
    for tokens in given.tokens:
        command = [sys.executable, __file__, "--child", str(tokens)]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found.append(json.loads(out.splitlines()[-1]))
        row = found[-1]
        anonymous, resident = row["anonymous"] / 1e9, row["resident"] / 1e9
        sys.stdout.write(
            f"{row['tokens'] / 1e6:8.2f} M tokens  {row['passages']:9.0f} passages  "
            f"anonymous {anonymous:.3f} GB  resident {resident:.3f} GB  {row['seconds']:.0f} s\n"
        )
        sys.stdout.flush()
    if len(found) > 1:
        slope, start = np.polyfit([row["tokens"] for row in found], [row["anonymous"] for row in found], 1)
        total = (start + slope * TARGET_TOKENS) / 1e9
        sys.stdout.write(
            f"{slope:.1f} bytes per token ({slope * PASSAGE:.0f} per passage of {PASSAGE}); "
            f"100 M tokens: {total:.2f} GB of {LIMIT_GB:.0f}\n"
        )


if __name__ == "__main__":
    main()
