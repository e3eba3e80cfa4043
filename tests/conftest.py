"""Shared by all tests: no network, two threads, and real data only where it is given."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data; skips the test where GROUNDSCOPE_DATA is not set."""
    folder = os.environ.get("GROUNDSCOPE_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("GROUNDSCOPE_DATA is not set")
    return Path(folder)
