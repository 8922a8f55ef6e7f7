"""Every notebook runs from top to bottom, and is committed as a reader should find it."""

import os
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOLUTIONS = sorted((ROOT / "notebooks" / "solutions").glob("*.ipynb"))


def ids(path):
    return path.stem if path in NOTEBOOKS else f"solutions-{path.stem}"


def read(path):
    return nbformat.read(path, as_version=4)


@pytest.fixture(params=NOTEBOOKS + SOLUTIONS, ids=ids)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return read(path)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def checks(notebook):
    return [cell for cell in code_cells(notebook) if "check" in cell.metadata.get("tags", [])]


def assert_checks_say(notebook, word):
    for cell in checks(notebook):
        printed = "".join(output.get("text", "") for output in cell.outputs)
        assert f": {word}." in printed, printed


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.slow
@pytest.mark.network
def test_notebook_runs(path, notebook, tmp_path, minilm):
    client = NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    assert not os.listdir(tmp_path), "a notebook leaves no files behind unasked"
    assert_checks_say(notebook, "not yet" if path in NOTEBOOKS else "right")


def test_committed_checks_fail_on_stubs_and_pass_on_solutions(path, notebook):
    assert_checks_say(notebook, "not yet" if path in NOTEBOOKS else "right")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=ids)
def test_solutions_answer_all_exercises_with_the_same_checks(path):
    solution = path.parent / "solutions" / path.name
    found = [cell.source for cell in checks(read(solution))] if solution.exists() else []
    assert found == [cell.source for cell in checks(read(path))]


def test_text_and_notebook_say_the_same(path, notebook):
    text = jupytext.read(path.parent / "text" / f"{path.stem}.md")
    assert [(c.cell_type, c.source) for c in text.cells] == [(c.cell_type, c.source) for c in notebook.cells]
    assert notebook.metadata["jupytext"]["formats"] == "ipynb,text//md"


def test_notebook_is_committed_executed_in_order(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_outputs_are_clean(notebook):
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


def test_notebook_is_small(path):
    assert path.stat().st_size < 1_000_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=ids)
def test_notebook_has_the_parts_a_reader_looks_for(path):
    notebook = read(path)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for part in ("**Goal.**", "**Time and memory.**", "**You need**", "## Summary", "## Exercises", "**Next.**"):
        assert part in text
