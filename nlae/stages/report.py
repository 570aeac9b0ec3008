"""Goal `report`: one page of curves, numbers beside controls, the frontier, and explanations good and bad."""

from nlae.stages.context import StageContext

VERSION = 1


def run(context: StageContext) -> dict[str, float]:
    """Build the page from the stages' folders."""
    from nlae.report import build_report

    return build_report(context.parents, context.folder, config=context.config, run=context.run)
