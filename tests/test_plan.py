"""Imports go as pyproject.toml lays down."""

from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parent.parent


def test_imports_point_down(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    if lint_imports(no_cache=True, no_logo=True) != EXIT_STATUS_SUCCESS:
        pytest.fail(capsys.readouterr().out)
