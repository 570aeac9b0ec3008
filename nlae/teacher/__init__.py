"""Writers of the explanations that the warm start learns from: `context`, `local`, `openai`, `anthropic`.

Names are loaded on first use, so that naming a teacher in a config imports neither torch nor an HTTP client.
"""

from typing import TYPE_CHECKING

from nlae.files.lazy import lazily

if TYPE_CHECKING:
    from nlae.teacher.anthropic import AnthropicTeacher
    from nlae.teacher.base import Estimate, Material, Teacher, TeacherContext
    from nlae.teacher.context import ContextTeacher
    from nlae.teacher.describe import describe_corpus
    from nlae.teacher.local import LocalTeacher
    from nlae.teacher.openai import OpenAITeacher

__all__ = [
    "AnthropicTeacher",
    "ContextTeacher",
    "Estimate",
    "LocalTeacher",
    "Material",
    "OpenAITeacher",
    "Teacher",
    "TeacherContext",
    "describe_corpus",
]

__getattr__ = lazily(
    __name__,
    {
        "AnthropicTeacher": "anthropic",
        "ContextTeacher": "context",
        "Estimate": "base",
        "LocalTeacher": "local",
        "Material": "base",
        "OpenAITeacher": "openai",
        "Teacher": "base",
        "TeacherContext": "base",
        "describe_corpus": "describe",
    },
)
