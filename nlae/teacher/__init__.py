"""Writers of the explanations that the warm start learns from: `context`, `local`, `openai`, `anthropic`.

Names are loaded on first use, so that naming a teacher in a config imports neither torch nor an HTTP client.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlae.teacher.anthropic import AnthropicTeacher
    from nlae.teacher.base import Estimate, Material, Teacher, TeacherContext
    from nlae.teacher.context import ContextTeacher
    from nlae.teacher.describe import Descriptions, describe_corpus
    from nlae.teacher.local import LocalTeacher
    from nlae.teacher.openai import OpenAITeacher

__all__ = [
    "AnthropicTeacher",
    "ContextTeacher",
    "Descriptions",
    "Estimate",
    "LocalTeacher",
    "Material",
    "OpenAITeacher",
    "Teacher",
    "TeacherContext",
    "describe_corpus",
]

_HOME = {
    "AnthropicTeacher": "anthropic",
    "ContextTeacher": "context",
    "Descriptions": "describe",
    "Estimate": "base",
    "LocalTeacher": "local",
    "Material": "base",
    "OpenAITeacher": "openai",
    "Teacher": "base",
    "TeacherContext": "base",
    "describe_corpus": "describe",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
