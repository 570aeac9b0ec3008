"""Re-export: stages and their authors look for the context here."""

from nlae.pipeline.context import StageContext

__all__ = ["StageContext"]
