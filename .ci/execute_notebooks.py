"""Run the notebooks named on the command line from top to bottom and keep their output, and their text beside them."""

import subprocess
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

WIDGET = "application/vnd.jupyter.widget-view+json"  # progress bars: nothing to see in them once the kernel is gone

for name in sys.argv[1:]:
    print(name, flush=True)
    path = Path(name)
    # of the pair, notebook and text/*.md, the one that was changed last counts; a new text has no notebook yet
    sync = [sys.executable, "-m", "jupytext", "--quiet", "--sync", str(path.parent / "text" / f"{path.stem}.md")]
    subprocess.run(sync, check=True)
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    settings = {"resources": resources, "store_widget_state": False, "coalesce_streams": True}
    settings["extra_arguments"] = ["--log-level=ERROR"]  # else each kernel warns that it does not encrypt
    NotebookClient(notebook, timeout=900, **settings).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day, different in each run
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
    nbformat.write(notebook, path)
    subprocess.run(sync, check=True)
