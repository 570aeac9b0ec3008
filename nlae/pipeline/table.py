"""The one table of stages: parents, config nodes read, and what they need from outside.

A stage's fingerprint hashes exactly its row, so a node that a stage starts to read must be added here (and the stage's
`VERSION` raised when its numbers change). `site` stands for the resolved site, depth turned into a layer.
"""

from dataclasses import dataclass

from nlae.errors import NlaeError


@dataclass(frozen=True)
class Stage:
    """One row.

    Attributes:
        parents: stages whose folders it reads.
        nodes: dotted config paths that it reads; keys of `fingerprint.NEVER_HASHED` are left out.
        outside: content that comes from elsewhere: `target`, `tokenizer`, `corpus`, `dtype` (of the base weights, and
            `machine.matmul_precision` where that rounds: every later stage hangs on it by its parents),
            `teacher_target` and `teacher_dtype` (the same where the teacher asks the target, else empty; for a teacher
            with weights of its own in this process, theirs), `directions` (the file or folder that
            `dictionary.directions` names), `dictionary` (the finished one of the same scan, if there is one; it is
            never made for that).
        trained: it trains, or joins what was trained; `checkpoint=` replaces it.
        whole: its result is a checkpoint, which may be measured and used.
    """

    parents: tuple[str, ...]
    nodes: tuple[str, ...]
    outside: tuple[str, ...] = ()
    trained: bool = False
    whole: bool = False


SUBJECT = "subject"  # stands for the trained stage that evaluation.subject names, or for checkpoint=

# what a trained stage depends on beside its own settings: numbers, and limits that end it before its last update
TRAINED = (
    "trainer.precision", "trainer.limit_train_batches", "trainer.fast_dev_run", "optimizer", "callbacks",
    "site", "seed",
)  # fmt: skip
# what a verbalizer reads of a prompt; its length matters where it samples, the rest to teacher and reconstructor
_PROMPT_OF_VERBALIZER = ("prompt.verbalizer", "prompt.raw_verbalizer", "prompt.prefill", "prompt.marker")
_HELD = ("data.disjoint_documents", "data.validation_rows", "data.validation_sites")

STAGES: dict[str, Stage] = {
    "corpus": Stage((), ("corpus",), ("corpus", "tokenizer")),
    "extract": Stage(("corpus",), ("site", "store"), ("target", "dtype")),
    "describe": Stage(
        ("corpus",),
        ("teacher", "prompt.text", "prompt.style", "prompt.max_tokens"),
        ("teacher_target", "teacher_dtype"),
    ),
    "verbalizer": Stage(
        ("corpus", "extract", "describe"), (*_PROMPT_OF_VERBALIZER, "verbalizer", *_HELD, *TRAINED), trained=True
    ),
    "reconstructor": Stage(
        ("corpus", "extract", "describe"),
        ("prompt.reconstructor", "reconstructor", "data.reader_sites", *_HELD, *TRAINED),
        trained=True,
    ),
    "warmstart": Stage(
        ("corpus", "extract", "describe", "verbalizer", "reconstructor"),
        ("prompt", *_HELD, "trainer.precision", "site", "seed"),
        trained=True,
        whole=True,
    ),
    "reinforce": Stage(
        ("corpus", "extract", "describe", "warmstart"),
        ("rollout", "reward", "objective", *_HELD, *TRAINED),
        trained=True,
        whole=True,
    ),
    "evaluate": Stage(
        ("corpus", "extract", "describe", SUBJECT), ("evaluation", "site.min_position", "trainer.precision", "seed")
    ),
    "scan": Stage(("corpus",), ("dictionary.scan", "dictionary.seed"), ("target", "dtype")),
    "dictionary": Stage(("corpus", "scan"), ("dictionary", "trainer.precision"), ("target", "dtype", "directions")),
    "report": Stage(("corpus", "extract", "describe", SUBJECT, "evaluate"), ("report",), ("dictionary",)),
}

SERVICES = ("explain", "export", "browse")
DICTIONARY = "dictionary"
DICTIONARY_FORMATS = ("neuronpedia",)  # what `export` writes of a dictionary, not of a trained autoencoder


def subject_of(evaluation_subject: object) -> str:
    """The trained stage that is measured and used.

    Raises:
        NlaeError: `evaluation.subject` names no trained stage.
    """
    name = str(evaluation_subject or "reinforce")
    if name not in STAGES or not STAGES[name].whole:
        trained = " or ".join(stage for stage, row in STAGES.items() if row.whole)
        raise NlaeError(f"evaluation.subject={name}: choose {trained}")
    return name
