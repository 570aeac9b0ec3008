"""Datasets of the hub, streamed: nothing is downloaded beyond what is read.

The revision is resolved to a commit before anything else, and the commit is part of the fingerprint: when the data set
moves on, the corpus is made anew. The commit is also noted in the cache, so that what is there is found without a
network.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from nlae.corpus.base import Broken, CorpusSource, Document
from nlae.corpus.records import Fields, read_record
from nlae.corpus.revisions import recall, remember
from nlae.errors import NlaeError

log = logging.getLogger(__name__)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PATTERN = re.compile(r"[*?]|\[.*\]")


@dataclasses.dataclass(frozen=True, kw_only=True)
class HubCorpus(CorpusSource):
    """The first documents of a dataset.

    Attributes:
        dataset: hub id, or a local folder that `datasets` can load.
        name: configuration of the dataset, or None.
        subset: split of the dataset to read, such as `train`.
        revision: branch, tag or commit; a full commit needs no network to be resolved.
        text_key: field with the text.
        messages_key: field with a conversation; where a record has it, it is used instead of the text.
        id_key: field with an id; without it, the record's number.
        source_key: field that names the source work (such as a domain or a book); without it, each record is a work.
    """

    dataset: str = ""
    name: str | None = None
    subset: str = "train"
    revision: str | None = None
    text_key: str = "text"
    messages_key: str = "messages"
    id_key: str = "id"
    source_key: str = "source"

    streaming: ClassVar[bool] = True

    def documents(self) -> Iterator[Document | Broken]:
        """Records in the order of the dataset."""
        number = -1
        fields = Fields(self.text_key, self.messages_key, self.id_key, self.source_key)
        for number, record in enumerate(self._records()):
            yield read_record(record, fields, f"{self.dataset}, record {number}", f"{self.dataset}/{number}")
        if number < 0:
            raise NlaeError(f"dataset {self.dataset}, split {self.subset}: empty; choose another corpus.subset")

    def fingerprint(self) -> str:
        """The commit of the dataset, with what is chosen of it.

        The hub is asked unless `revision` is a commit; without a network its last answer is taken, and the log says so.
        """
        return f"hub-{self.dataset}@{self._commit()}/{self.name}/{self.subset}"

    def _commit(self) -> str:
        if not self.dataset:
            raise NlaeError("corpus=hub needs corpus.dataset=owner/name")
        folder = Path(self.dataset)
        if folder.is_dir():
            if _PATTERN.search(str(folder.absolute())):
                raise NlaeError(
                    f"corpus.dataset={self.dataset}: the library that reads it takes [ ], * and ? in a folder's name "
                    "for a pattern; rename the folder, or use corpus=files with corpus.paths"
                )
            return _folder_hash(folder)
        if self.revision and _COMMIT.fullmatch(self.revision):
            return self.revision
        from huggingface_hub import HfApi

        try:
            commit = HfApi().dataset_info(self.dataset, revision=self.revision).sha
        except Exception as problem:
            known = recall(self.dataset, self.revision)
            if known is None:
                raise self._unreachable(problem) from problem
            log.warning("%s: the hub did not answer; taken as commit %s, as on %s", self.dataset, *known)
            return known[0]
        remember(self.dataset, self.revision, str(commit))
        return str(commit)

    def _records(self) -> Iterator[dict[str, Any]]:
        commit = self._commit()
        from datasets import load_dataset

        revision = None if Path(self.dataset).is_dir() else commit
        try:
            stream = load_dataset(self.dataset, self.name, split=self.subset, revision=revision, streaming=True)
            yield from stream
        except NlaeError:
            raise
        except Exception as problem:  # the library raises a different class for every way a network fails
            raise self._unreachable(problem) from problem

    def _unreachable(self, problem: Exception) -> NlaeError:
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0][:160]
        return NlaeError(
            f"dataset {self.dataset} (revision {self.revision or 'latest'}) cannot be read: {reason}; check the name "
            "and the network, or use corpus=stdlib or corpus=files"
        )


def _folder_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as problem:
            raise NlaeError(
                f"{path} cannot be read ({problem.strerror or problem}): check its permissions or take it out of "
                "corpus.dataset"
            ) from problem
    return digest.hexdigest()[:32]
