import pytest

from nlae.target import Target, TinyTarget
from nlae.target.tiny import FAMILIES


@pytest.fixture(scope="session", params=sorted(FAMILIES))
def target(request: pytest.FixtureRequest) -> Target:
    """One tiny random target of each family."""
    return TinyTarget(family=request.param).load()


@pytest.fixture(scope="session")
def llama() -> Target:
    return TinyTarget().load()
