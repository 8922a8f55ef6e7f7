"""setup.py, requirements.lock and environment.yml agree; the wheel is whole; the Makefile sets up .venv."""

import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from bert_tutorial.machine.cuda import CUDA_LIBRARIES, GPU_BUILD

import pytest
import setuptools
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent


@pytest.fixture
def setup(monkeypatch):
    """What setup.py passes to setuptools."""
    passed = {}
    monkeypatch.setattr(setuptools, "setup", passed.update)
    runpy.run_path(str(ROOT / "setup.py"))
    return passed


def read_lock(name="requirements.lock", folder=ROOT):
    """The entries of a lock: pairs of a requirement and the list of its hashes."""
    text = (folder / name).read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    entries = [re.split(r"\s+--hash=", line) for line in lines]
    return [(Requirement(requirement), hashes) for requirement, *hashes in entries]


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
@pytest.mark.parametrize(("system", "machine"), [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "x86_64")])
def test_lock_pins_every_requirement_of_setup(setup, python, system, machine):
    place = {
        "python_version": python,
        "python_full_version": f"{python}.13",
        "sys_platform": system,
        "platform_machine": machine,
    }
    pinned = {}
    for requirement, _ in read_lock():
        if not requirement.marker or requirement.marker.evaluate(place):
            assert canonicalize_name(requirement.name) not in pinned
            pinned[canonicalize_name(requirement.name)] = requirement
    assert SpecifierSet(setup["python_requires"]).contains(python)
    extras = setup["extras_require"]
    for wanted in map(Requirement, setup["install_requires"] + extras["dev"] + extras["book"]):
        if wanted.marker and not wanted.marker.evaluate(place):
            continue
        (pin,) = pinned[canonicalize_name(wanted.name)].specifier
        assert pin.operator == "=="
        assert wanted.specifier.contains(pin.version), f"{wanted} is not met by {pin}"


def test_browser_lock_fits_the_lock(setup):
    browser = [requirement for requirement, _ in read_lock("requirements-browser.lock")]
    assert "playwright" in [requirement.name for requirement in browser]
    for requirement in browser:
        pins = {pin.specifier for pin, _ in read_lock() if pin.name == requirement.name}
        assert not pins or requirement.specifier in pins, requirement
    assert [Requirement(line) for line in setup["extras_require"]["browser"]] == browser


LOCKS = ["requirements.lock", "requirements-browser.lock", "requirements-gpu.lock"]


@pytest.mark.parametrize("name", LOCKS)
def test_every_lock_entry_has_hashes(name):
    for requirement, hashes in read_lock(name):
        assert hashes, requirement
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", value) for value in hashes), requirement


def test_lock_names_no_host_and_no_path():
    assert not re.search(r"[/@]|^-", (ROOT / "requirements.lock").read_text(), re.MULTILINE)


def test_environment_uses_the_lock_and_a_python_that_fits(setup):
    *conda, pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert pip["pip"] == ["-e .[lock]"]
    assert [Requirement(line) for line in setup["extras_require"]["lock"]] == [entry for entry, _ in read_lock()]
    (python,) = [entry.removeprefix("python=") for entry in conda if entry.startswith("python=")]
    assert SpecifierSet(setup["python_requires"]).contains(python)


def test_gpu_environment_brings_the_gpu_build_and_every_library_it_loads(setup):
    *_, pip = yaml.safe_load((ROOT / "environment-gpu.yml").read_text())["dependencies"]
    assert pip["pip"] == ["-e .[lock,gpu]"]
    gpu = set(setup["extras_require"]["gpu"])
    assert gpu == {str(requirement) for requirement, _ in read_lock("requirements-gpu.lock")}
    assert gpu == {f"{GPU_BUILD}==1.9.1", *CUDA_LIBRARIES.values()}


def run(*command, **options):
    """Run `command`, fail the test with its output if it fails, and return what it printed."""
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.slow
def test_wheel_made_from_the_source_archive_works_outside_of_the_clone(tmp_path):
    source, dist, target = tmp_path / "source", tmp_path / "dist", tmp_path / "target"
    shutil.copytree(ROOT / "bert_tutorial", source / "bert_tutorial", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("data", "notebooks"):
        shutil.copytree(ROOT / folder, source / folder)
    shutil.copytree(ROOT / "tests" / "golden" / "one-layer", source / "data" / "small", dirs_exist_ok=True)
    for name in ("setup.py", "pyproject.toml", "requirements.lock", "MANIFEST.in", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, source)
    build = f"import setuptools.build_meta as backend; backend.build_sdist({str(dist)!r})"
    run(sys.executable, "-c", build, cwd=source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", dist, *dist.glob("*.tar.gz"))
    (wheel,) = dist.glob("*.whl")

    names = set(zipfile.ZipFile(wheel).namelist())
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "bert_tutorial").glob("**/*.py")} <= names
    notebooks = {path.relative_to(ROOT).as_posix() for path in (ROOT / "notebooks").glob("**/*.ipynb")}
    notebooks = {name for name in notebooks if ".ipynb_checkpoints" not in name}
    assert {f"bert_tutorial/{name}" for name in notebooks} <= names
    assert {"bert_tutorial/machine/operators.cc", "bert_tutorial/data/reviews.tsv"} <= names

    run(*pip, "install", "--no-deps", "--no-index", "--target", target, wheel)
    elsewhere = {"cwd": tmp_path, "env": {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(target)}}
    find = (
        "from bert_tutorial.weights.sources import __file__, pretrained_folder as f\n"
        "print(__file__, f('small'), sep='\\n')"
    )
    where, small = map(Path, run(sys.executable, "-c", find, **elsewhere).splitlines())
    assert where.parent == target / "bert_tutorial" / "weights"
    assert small == target / "bert_tutorial" / "data" / "small"
    for file in ("config.json", "vocab.txt", "model.safetensors"):
        assert (small / file).read_bytes() == (source / "data" / "small" / file).read_bytes()
    assert "finetune" in run(target / "bin" / "bert-tutorial", "--help", **elsewhere)
    assert f"{len(notebooks)} notebooks" in run(target / "bin" / "bert-tutorial", "course", "own", **elsewhere)
    assert (tmp_path / "own" / "solutions" / "00_first_steps.ipynb").is_file()


# A Python 3.12 that does nothing but write down what it is asked to do. It cannot install while `offline` exists.
FAKE_PYTHON = """
case "$1 $2" in
"-c "*) echo 3.12 ;;
"- ") cat >/dev/null ;;
"-m venv") echo venv >>log; mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
"-m pip") echo pip >>log; echo "$@" >>asked; [ ! -e offline ] ;;
esac
"""


class Clone:
    """A copy of the files that the set-up needs, and a PATH that holds nothing else than what it is given."""

    def __init__(self, folder):
        self.root, self.bin = folder / "clone", folder / "bin"
        self.bin.mkdir()
        shutil.copytree(ROOT / ".ci", self.root / ".ci")
        for name in ("Makefile", "setup.py", "requirements.lock"):
            shutil.copy(ROOT / name, self.root)
        for tool in ("awk", "cat", "cksum", "cp", "date", "dirname", "echo", "head", "make", "mkdir", "rm", "sh"):
            self.add(tool, f'exec {shutil.which(tool)} "$@"')

    def add(self, name, script):
        self.add_at(self.bin / name, script)

    @staticmethod
    def add_at(path, script):
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def make(self, *arguments, **environment):
        """Run make; return its exit code and the lines printed, without make's own."""
        result = subprocess.run(
            ["make", *arguments],
            cwd=self.root,
            env={"PATH": str(self.bin), **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        lines = (result.stdout + result.stderr).splitlines()
        return result.returncode, [line for line in lines if not re.match(r"g?make(\[\d+\])?: ", line)]

    def installed(self):
        """What the fake Python was asked to install from locks since the last call."""
        path = self.root / "asked"
        locks = re.findall(r" -r (\S+)", path.read_text())
        path.unlink()
        return [entry for lock in locks for entry in read_lock(lock, self.root)]

    def log(self):
        """What the fake Python was asked to do since the last call."""
        path = self.root / "log"
        steps = path.read_text().split() if path.exists() else []
        path.unlink(missing_ok=True)
        return steps


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path)


@pytest.mark.parametrize("target", ["demo", "test", "lab"])
def test_no_python_is_one_line(clone, target):
    code, lines = clone.make(target)
    assert code != 0
    assert len(lines) == 1
    assert "Python 3.12" in lines[0]


def test_only_a_newer_python_is_one_line_that_shows_a_way(clone):
    clone.add("python3.12", "exit 127")  # what a pyenv shim does
    clone.add("python3", "echo 3.14")
    code, lines = clone.make("demo")
    assert code != 0
    assert len(lines) == 1
    assert "3.14" in lines[0]
    assert "uv" in lines[0]


def test_python_asked_for_is_the_one_used(clone):
    clone.add("python3.12", FAKE_PYTHON)
    clone.add("other", "echo 3.9")
    code, lines = clone.make("venv", "PYTHON=other")
    assert code != 0
    assert len(lines) == 1
    assert "other" in lines[0]


def test_python_3_13_is_taken_where_there_is_no_older_one(clone):
    clone.add("python3", FAKE_PYTHON.replace("3.12", "3.13"))
    clone.add("python3.13", 'exec python3 "$@"')
    code, lines = clone.make("venv")
    assert code == 0, lines
    assert "python3.13" in lines[0]
    clone.add("python3.10", FAKE_PYTHON.replace("3.12", "3.10"))
    (clone.root / ".venv/ready").unlink()
    code, lines = clone.make("venv")
    assert code == 0, lines
    assert "python3.10" in lines[0]


def test_uv_brings_python_where_there_is_none(clone):
    clone.add("fake", FAKE_PYTHON)
    clone.add("uv", '[ "$1" = venv ] && exec fake -m venv')
    code, lines = clone.make("venv")
    assert code == 0, lines
    assert clone.log()[:2] == ["venv", "pip"]


def test_no_compiler_is_one_line_before_anything_is_made(clone):
    clone.add("python3", f'exec {sys.executable} "$@"')
    code, lines = clone.make("demo", CC="gcc")
    assert code != 0
    assert len(lines) == 1
    assert "gcc" in lines[0]
    assert not (clone.root / ".venv").exists()


def test_second_set_up_does_nothing(clone):
    clone.add("python3", FAKE_PYTHON)
    code, lines = clone.make("venv")
    assert code == 0, lines
    assert clone.log()[:2] == ["venv", "pip"]
    assert clone.make("venv") == (0, [])
    assert clone.log() == []


def move(clone):
    clone.root = clone.root.rename(clone.root.with_name("moved"))


@pytest.mark.parametrize(
    "damage",
    [
        move,
        lambda clone: (clone.root / ".venv/ready").unlink(),
        lambda clone: (clone.root / ".venv/bin/python").unlink(),
    ],
    ids=["moved", "half-made", "interpreter gone"],
)
def test_damaged_venv_is_made_again(clone, damage):
    clone.add("python3", FAKE_PYTHON)
    clone.make("venv")
    clone.log()
    damage(clone)
    code, lines = clone.make("venv")
    assert code == 0, lines
    assert clone.log()[:2] == ["venv", "pip"]


def test_failed_install_is_tried_again(clone):
    clone.add("python3", FAKE_PYTHON)
    (clone.root / "offline").touch()
    assert clone.make("venv")[0] != 0
    (clone.root / "offline").unlink()
    clone.log()
    assert clone.make("venv")[0] == 0
    assert "pip" in clone.log()


@pytest.mark.parametrize("name", ["setup.py", "requirements.lock"])
def test_changed_requirements_update_the_venv_in_place(clone, name):
    clone.add("python3", FAKE_PYTHON)
    clone.make("venv")
    clone.log()
    with (clone.root / name).open("a") as file:
        file.write("# changed\n")
    code, lines = clone.make("venv")
    assert code == 0, lines
    assert set(clone.log()) == {"pip"}


def test_changed_requirements_leave_the_gpu_build_alone(clone):
    """Finding 31: mxnet came back beside mxnet-cu117, which `make gpu` had put in its place."""
    clone.add("python3", FAKE_PYTHON)
    clone.make("venv")
    everything = clone.installed()
    (clone.root / ".venv/lib/python3.12/site-packages/mxnet_cu117-1.9.1.dist-info").mkdir(parents=True)
    with (clone.root / "setup.py").open("a") as file:
        file.write("# changed\n")
    code, lines = clone.make("venv")
    assert code == 0, lines
    assert clone.installed() == [entry for entry in everything if entry[0].name != "mxnet"]
    assert "mxnet" in [requirement.name for requirement, _ in everything]


def test_demo_stops_at_the_first_failing_step(clone):
    clone.add("python3", FAKE_PYTHON)
    clone.make("venv")
    clone.add_at(clone.root / ".venv/bin/bert-tutorial", 'echo "$1" >>log; [ "$1" != finetune ]')
    clone.log()
    assert clone.make("demo")[0] != 0
    assert clone.log() == ["doctor", "fetch", "finetune"]


def test_plain_make_lists_every_target(clone):
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    code, lines = clone.make()
    assert code == 0
    assert {line.split()[1] for line in lines} == targets - {"help", "venv"}
