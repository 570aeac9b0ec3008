"""Of every key of every stage: does it change what is made, or only cost memory, speed or patience?

A new key fails here until somebody has said which: in `fingerprint.NEVER_HASHED` with a reason, or in `CHANGES` below.
"""

import functools
import inspect

import pytest

from nlae.config.build import locate
from nlae.config.compose import compose_plain, conf_dir
from nlae.pipeline.fingerprint import NEVER_HASHED, declared, owner, pick
from nlae.pipeline.table import STAGES

_CORPUS = """max_documents max_tokens min_tokens positions_per_document first_position short_share val_share test_share
    seed near_duplicates split_by"""
_RECORDS = "text_key messages_key id_key source_key"
_TRAINING = "updates warmup decay clip_norm weight_decay validate_every"
_GIVEN = "seed optimizer"  # by the stage
_REMOTE = "model max_tokens temperature max_prefix_chars"

# what changes what is made, by class, or by path where a node has none
CHANGES = {
    "": "seed",
    "FilesCorpus": f"{_CORPUS} {_RECORDS} paths source_pattern heading drop_lines clean",
    "HubCorpus": f"{_CORPUS} {_RECORDS} dataset name subset revision",
    "StdlibCorpus": f"{_CORPUS} min_characters",
    "Site": "kind layer depth min_position",
    "Sites": "kinds layers depths min_position",
    "extract": "shard_rows dtype",
    "ContextTeacher": "tail quote_tokens max_words topics continuations relatives",
    "LocalTeacher": "model revision dtype max_tokens temperature seed max_prefix_tokens tags_required",
    "OpenAITeacher": f"{_REMOTE} token_limit_name",
    "AnthropicTeacher": f"{_REMOTE} version",
    "Prompt": "verbalizer reconstructor text style prefill marker raw_verbalizer max_tokens",
    "Verbalizer": f"{_TRAINING} {_GIVEN} backbone prompt statistics adapter injection batch_size lr",
    "AdapterSettings": "rank alpha",
    "InjectionSettings": "mode point scale map",
    "Reconstructor": f"""{_TRAINING} {_GIVEN} backbone prompt statistics adapter magnitude max_tokens head_rank
        batch_size lr""",
    "ActivationDataModule": """store view seed stage max_updates sites start_update batch_size
        descriptions disjoint_documents validation_rows validation_sites
        reader_sites""",
    "Reinforce": f"""{_TRAINING} {_GIVEN} autoencoder engine reward policy_loss control reading faithfulness keep stop
        activations samples kl verbalizer_lr reconstructor_lr""",
    "Reading": "rewording share",
    "Faithfulness": "rewordings run",
    "KeepBest": "at_least metric near_best rows",
    "RandomTruncation": "shortest longest",
    "GRPO": "clip",
    "RLOO": "clip",
    "trainer": "precision limit_train_batches fast_dev_run",
    "Reward": "terms failure",
    "Fidelity": "form weight",
    "Length": "free_tokens price",
    "LocalRollout": "temperature",
    "PlainRollout": "temperature",
    "VllmRollout": "temperature dtype model api",
    "Evaluation": "measures subject max_rows fit_rows resamples min_clusters sample_seed site_rows",
    "Consensus": "rows samples",
    "Continuation": "n rows tokens",
    "Copying": "n price run",  # a measure and a reward
    "Function": "rows",
    "Retrieval": "quote_lengths rows",
    "Sentences": "rows",
    "Kept": "rewordings",
    "KeptRefit": "rewordings rows updates batch_size lr fit_reader",
    "Cross": "rows updates batch_size lr lens_words other_base other_depth fit_reader",
    "Truncation": "share words",
    "Synonyms": "least",
    "Paraphrase": "model embedding drafts copied least_cosine",
    "OpenAIParaphraser": f"{_REMOTE} token_limit_name",
    "NoInjection": "samples",
    "PCA": "components covariance_rows",
    "Rank": "others",
    "Frontier": "quote_lengths updates batch_size lr fit_reader",
    "Matching": "rows lm",
    "DictionaryBuilder": """layers reader scan exemplars window tokens shrinkage penalty weights active_quantile
        min_contexts min_auroc max_false rotated group_top group_quantile promoted resamples embedding teacher taught
        judge judged steered seed""",
    "Scanner": "top min_position panels runs per_passage",
    "LocalJudge": "model dtype",
    "OpenAIJudge": f"{_REMOTE} token_limit_name",
    "AnthropicJudge": f"{_REMOTE} version",
    "HubTarget": "model revision trust_remote_code quantization dtype",
    "WheelTarget": "package version file sha256 parts quantization dtype",
    "build_report": "examples seed smoke",
    # of a service; its folder is named after them
    "explain": "tokens stride samples generate temperature strengths random_directions",
}

# arguments that a stage adds, which exist only at run time
GIVEN = {
    "extract": "target site corpus folder run",
    "build_report": "stages folder config run command chat_template",
    "explain": "reader source text messages vectors directions seed on_estimate on_progress",
}


def options():
    """Every shipped option of every group that a stage reads, by the path of its node."""
    groups = {path.partition(".")[0] for s in STAGES.values() for path in s.nodes}
    for node in sorted((groups | {"explain"}) - {"callbacks"}):
        folder = conf_dir() / node.replace(".", "/")
        for file in sorted(folder.glob("*.yaml")) if folder.is_dir() else []:
            yield node, f"{node.replace('.', '/')}={file.stem}"


def keys(node, path):
    """Pairs of owner and key: all that a constructor takes, and all that is written in a file."""
    if isinstance(node, list):
        return {pair for item in node for pair in keys(item, path)}
    if not isinstance(node, dict):
        return set()
    whose, found = owner(node, path), set()
    if not node.get("_target_", "nlae.").startswith("nlae."):
        return set()  # all of it is hashed
    if "_target_" in node:
        names = set(inspect.signature(locate(node["_target_"], path)).parameters) - set(GIVEN.get(whose, "").split())
        found = {(whose, name) for name in names}
    elif "." not in path:
        found = {(whose, name) for name in node}
    return found | {pair for key, item in node.items() for pair in keys(item, f"{path}.{key}")}


OPTIONS = list(options())


@functools.cache
def keys_of(node, option):
    return keys(pick(compose_plain([option]).config, node), node)


@pytest.mark.parametrize(("node", "option"), OPTIONS, ids=[option for _, option in OPTIONS])
def test_of_every_key_it_is_said_whether_it_changes_what_is_made(node, option):
    if node == "trainer":  # some of its keys are hashed, and by name
        return
    for whose, name in sorted(keys_of(node, option)):
        changes, costs = name in CHANGES.get(whose, "").split(), name in NEVER_HASHED.get(whose, {})
        assert changes != costs, (
            f"{option}: {whose}.{name} changes what is made? Say so here, or why not in fingerprint.py"
        )


def test_nodes_read_key_by_key_are_named_in_the_table():
    hashed = {path for stage in STAGES.values() for path in stage.nodes}
    assert {f"trainer.{name}" for name in CHANGES["trainer"].split()} == {p for p in hashed if p.startswith("trainer.")}
    assert "seed" in hashed


@pytest.mark.parametrize("option", ["default", "quiet"])
def test_all_shipped_callbacks_observe_only(option):
    config = compose_plain([f"callbacks={option}"]).config
    assert config["callbacks"]
    assert declared(config, ("callbacks",)) == {"callbacks": {}}


def test_nothing_is_declared_that_no_option_has():
    found = {pair for node, option in OPTIONS for pair in keys_of(node, option)}
    # of sources that a judge may be given in place of those in its option
    sources = {"TinyTarget", "RandomTarget", "WheelTarget"}
    known = {(whose, name) for whose, names in NEVER_HASHED.items() for name in names}
    assert {whose for whose, _ in known - found} == sources
    said = {(whose, name) for whose, names in CHANGES.items() for name in names.split()}
    assert {(whose, name) for whose, name in said - found if whose not in {"", "trainer", *sources}} == set()
    assert all(reason for names in NEVER_HASHED.values() for reason in names.values())
