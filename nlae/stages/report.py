"""Goal `report`: one page of curves, numbers beside controls, the frontier, and explanations good and bad."""

from nlae.stages.context import StageContext

VERSION = 1


def run(context: StageContext) -> dict[str, float]:
    """Build the page from the stages' folders."""
    from nlae.prompt import has_chat_template
    from nlae.report import build_report

    trained = {context.parents.get("warmstart"), context.parents.get("reinforce")}
    stages = {name: folder for name, folder in context.parents.items() if name != "subject" or folder not in trained}
    return build_report(
        stages,
        context.folder,
        config=context.config,
        run=context.run,
        command=context.command or None,
        chat_template=has_chat_template(context.build("target").load_tokenizer()),
    )
