"""Every notebook runs from top to bottom, and is committed as a reader should find it."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def ids(path):
    return path.stem


@pytest.fixture(params=NOTEBOOKS, ids=ids)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.slow
@pytest.mark.network
def test_notebook_runs(notebook, tmp_path, minilm):
    client = NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    assert not os.listdir(tmp_path), "a notebook leaves no files behind unasked"


def test_notebook_is_committed_executed_in_order(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_outputs_are_clean(notebook, request):
    for cell in code_cells(notebook):
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", f"warnings or progress bars in the output: {output.text[:200]}"
            assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})
            assert str(Path.home()) not in str(output)
            assert str(ROOT) not in str(output)


def test_every_figure_has_alt_text(notebook):
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                assert len(output.metadata.get("image/png", {}).get("alt", "")) > 20


@pytest.mark.parametrize("path", NOTEBOOKS, ids=ids)
def test_notebook_is_small(path):
    assert path.stat().st_size < 1_000_000


def test_notebook_has_the_parts_a_reader_looks_for(notebook):
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for part in ("**Goal.**", "**Time and memory.**", "**You need**", "## Summary", "## Exercises", "**Next.**"):
        assert part in text
