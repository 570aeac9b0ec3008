"""Goal `report`: one page of curves, numbers beside controls, the frontier, and explanations good and bad."""

from pathlib import Path

from nlae.files.foreign import parse_json
from nlae.pipeline.context import StageContext

VERSION = 3


def run(context: StageContext) -> dict[str, float]:
    """Build the page from the stages' folders, and from a dictionary of the same autoencoder where one is finished."""
    from nlae.model.prompt import has_chat_template

    trained = {context.parents.get("warmstart"), context.parents.get("reinforce")}
    stages = {name: folder for name, folder in context.parents.items() if name != "subject" or folder not in trained}
    build_report = context.build("report")
    found: dict[str, float] = build_report(
        {**stages, **_dictionary(context.parents["evaluate"])},
        context.folder,
        config=context.config,
        run=context.run,
        command=context.command or None,
        chat_template=has_chat_template(context.build("target").load_tokenizer()),
    )
    return found


def _dictionary(evaluation: Path) -> dict[str, Path]:
    """The folder of the dictionary by the name of its stage; empty where there is none."""
    from nlae.pipeline.made import DICTIONARY, finished_dictionary
    from nlae.pipeline.table import STAGES, SUBJECT

    parents = parse_json((evaluation / "manifest.json").read_text(encoding="utf-8"))["parents"]
    measured = {name: key for name, key in parents.items() if name == SUBJECT or STAGES[name].trained}
    found = finished_dictionary(evaluation.parent.parent, measured)
    return {} if found is None else {DICTIONARY: found}
