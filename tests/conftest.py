"""What every test may rely on: one thread, no network, no home directory, and a real browser where there is one.

The environment is set before torch or wandb is imported, hence at import time.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from locks import drift

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_home = Path(tempfile.mkdtemp(prefix="nlae-tests-"))
# where Playwright looks for its own Chromium, before the cache moves
_browsers = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ms-playwright"
if _browsers.is_dir():
    os.environ.setdefault("PLAYWRIGHT_BROWSERS_PATH", str(_browsers))
for _name in (
    "WANDB_API_KEY",
    "WANDB_PROJECT",
    "WANDB_ENTITY",
    "WANDB_RUN_GROUP",
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
):
    os.environ.pop(_name, None)
os.environ.update(
    {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(_home / "hf"),
        "XDG_CACHE_HOME": str(_home / "cache"),
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(_home),
        "WANDB_DATA_DIR": str(_home / "wandb-data"),
        "WANDB_CACHE_DIR": str(_home / "wandb-cache"),
        "WANDB_CONFIG_DIR": str(_home / "wandb-config"),
        "WANDB_SILENT": "true",
    }
)


DRIFT = drift()


@pytest.fixture(autouse=True)
def _logger_as_before() -> Iterator[None]:
    """The command line takes the package's logger over, in this process too where a test calls it; give it back."""
    logger = logging.getLogger("nlae")
    handlers, level, propagate = list(logger.handlers), logger.level, logger.propagate
    yield
    logger.handlers[:], logger.propagate = handlers, propagate
    logger.setLevel(level)


def pytest_configure(config: pytest.Config) -> None:
    """Deprecations are errors with the locked packages only: with others a new one may appear on any day."""
    for kind in ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning") if DRIFT else ():
        config.addinivalue_line("filterwarnings", f"default::{kind}")
    if DRIFT:  # some deprecate with warnings of other kinds
        config.addinivalue_line("filterwarnings", "default:(?s).*deprecated")


def pytest_report_header() -> str:
    if not DRIFT:
        return "packages: as locked; deprecations are errors"
    return f"packages: not as locked, so that deprecations are no errors: {', '.join(DRIFT)}"


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(_home, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu:
        import torch

        if not torch.cuda.is_available():
            for item in on_gpu:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """A running Chromium: the system's, else Playwright's own; skips with the reason when neither starts.

    Not for the whole session: while it is open an event loop is running, and no other can be started.
    """
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright (the test extra)")
    names = ("chromium", "chromium-browser", "google-chrome")
    executable = next((path for path in map(shutil.which, names) if path), None)
    with api.sync_playwright() as playwright:
        try:
            running = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        except api.Error as error:
            pytest.skip(f"no Chromium starts here ({str(error).splitlines()[0]}): run `make browser`")
        yield running
        running.close()
