"""A model behind an HTTP endpoint that paraphrases: the teacher's client, under the name of what it does here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nlae.teacher.openai import OpenAITeacher


@dataclass(kw_only=True)
class OpenAIParaphraser(OpenAITeacher):
    """Chat completions, hosted or one's own server; see `nlae.teacher.api.ApiTeacher` for the settings."""

    role: ClassVar[str] = "paraphraser"
    node: ClassVar[str] = "evaluation.measures.kept.rewordings.paraphrase.model"
    instead: ClassVar[str] = "evaluation.measures.kept.rewordings.paraphrase=null"
