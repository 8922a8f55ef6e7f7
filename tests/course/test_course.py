"""What only notebooks need is loaded by notebooks only."""

import subprocess
import sys

PROGRAM = """
import bert_tutorial.cli
import sys
print(*{"IPython", "matplotlib", "bert_tutorial.course"} & set(sys.modules))
"""


def test_notebooks_and_figures_stay_out_of_the_library_and_the_command():
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.split() == []
