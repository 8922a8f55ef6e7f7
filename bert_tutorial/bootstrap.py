"""Puts the course into a Python that has NumPy, PyTorch and more already, a hosted notebook's, and leaves those alone.

python bert_tutorial/bootstrap.py, in a clone: this file is run before there is a `bert_tutorial` to import. pip alone
would obey MXNet, which asks for NumPy < 2, and replace the host's NumPy.
"""

import subprocess
import sys
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

CLONE = Path(__file__).resolve().parent.parent
BUILD = ["setuptools<81", "wheel", "cython", "packaging"]  # newer setuptools have no pkg_resources, which MXNet imports
RETIRED = ["mxnet", "gluonnlp", "d2l", "graphviz"]  # installed without what they ask for
OURS = {"bert_tutorial", "pip", "setuptools", "wheel", "cython", "numpy", *RETIRED}  # what is not held or asked for
VERSIONS = """
import bert_tutorial, mxnet, numpy
from bert_tutorial.machine import operators
print(f"bert_tutorial is ready: MXNet {mxnet.__version__}, NumPy {numpy.__version__}; {operators.status()[1]}")
"""


def main():
    """Install, check, and say what was done."""
    if not (3, 10) <= sys.version_info[:2] <= (3, 13):
        sys.exit(f"The course needs Python 3.10 to 3.13; this is {sys.version.split()[0]}.")
    before = installed()
    if not (CLONE / "setup.py").exists():
        sys.exit(f"{CLONE} is no clone of the course: run this file in one.")
    with TemporaryDirectory() as folder:
        held = Path(folder, "held.txt")
        held.write_text("".join(f"{name}=={version}\n" for name, version in before.items() if name not in OURS))
        pip("--constraint", held, *BUILD)
        pip("--no-deps", "--no-build-isolation", CLONE)
        wanted = requirements("bert_tutorial")
        retired = [str(wanted[name]).partition(";")[0] for name in RETIRED if name in wanted]
        pip("--no-deps", "--no-build-isolation", *retired, "graphviz==0.8.4")
        for name in RETIRED:
            wanted |= requirements(name)
        if "numpy" not in before:
            pip(wanted["numpy"])
        pip("--constraint", held, *(wanted[name] for name in wanted.keys() - OURS))
    if changed := [name for name, version in installed().items() if name in before and before[name] != version]:
        print(f"Other versions than before: {', '.join(sorted(changed))}.")
    if subprocess.run([sys.executable, "-c", VERSIONS], cwd="/").returncode:
        sys.exit("All is installed, and does not load: the last line above says why.")


def pip(*arguments):
    """Run `pip install`; end with its own message where it fails."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-warn-conflicts"]
    if subprocess.run([*command, *map(str, arguments)]).returncode:
        sys.exit("The set-up stopped at the message above. Nothing of the host was taken away; run it again.")


def installed():
    """From the name of each package to its version."""
    found = {d.metadata["Name"]: d.version for d in metadata.distributions() if d.metadata["Name"]}
    return {canonical(name): version for name, version in found.items()}


def requirements(name):
    """What an installed package asks for here, without its extras: from name to requirement."""
    from packaging.requirements import Requirement

    found = [Requirement(line) for line in metadata.requires(name) or []]
    return {canonical(r.name): r for r in found if not r.marker or r.marker.evaluate({"extra": ""})}


def canonical(name):
    """One spelling for a package's name."""
    return name.lower().replace("-", "_").replace(".", "_")


if __name__ == "__main__":
    main()
