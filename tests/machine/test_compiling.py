"""Compiling the operators, here with a compiler that only pretends to: once, and where nobody else can write."""

import os
import subprocess

from bert_tutorial.machine import compiling, operators

import pytest

pytestmark = pytest.mark.skipif(not operators.available(), reason=operators.status()[1])


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A package, a user's cache and a compiler that writes what it was asked to into the library."""
    package = tmp_path / "package"
    package.mkdir(mode=0o755)
    (package / "operators.cc").write_text("source")
    compiler = tmp_path / "compiler"
    compiler.write_text(
        '#!/bin/sh\ncase "$*" in *--version) exec echo "version 1";; esac\necho "$@" >> "$0.log"\n'
        'while [ "$1" != -o ]; do shift; done\nhead -c 100000 /dev/zero > "$2"\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setattr(compiling, "PACKAGE", package)
    monkeypatch.setattr(operators, "SOURCE", package / "operators.cc")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BERT_TUTORIAL_CACHE", str(tmp_path / "shared"))
    monkeypatch.setenv("CXX", f"{compiler} -O1")
    return tmp_path


def find():
    return operators._compiled()


def compilations(machine):
    return (machine / "compiler.log").read_text().splitlines()


def test_a_library_is_compiled_once(machine):
    library = find()
    assert library.parent == machine / "package"
    assert find() == library
    assert len(compilations(machine)) == 1
    assert [path.name for path in library.parent.glob("*.so")] == [library.name]


@pytest.mark.parametrize("size", [0, 30_000])
def test_a_damaged_library_is_compiled_anew(machine, size):
    """Finding 18: truncated it ended the process with SIGBUS, empty it meant plain operators from then on."""
    library = find()
    os.truncate(library, size)
    assert find() == library
    assert library.stat().st_size == 100_000
    assert len(compilations(machine)) == 2


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_others_cannot_plant_a_library(machine, mode):
    """Finding 9: nothing is loaded that somebody else could have written."""
    planted = find()
    planted.chmod(mode)
    assert find().stat().st_mode & 0o022 == 0
    planted.parent.chmod(mode)  # now the folder is not ours alone
    library = find()
    assert machine / "cache" in library.parents
    assert library.parent.stat().st_mode & 0o077 == 0
    assert not (machine / "shared").exists()
    library.parent.chmod(mode)
    with pytest.raises(PermissionError, match="not yours alone"):
        find()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_another_user_owns_is_not_loaded(machine, monkeypatch):
    """Finding 9."""
    os.chown(find(), 12345, 12345)
    assert find().stat().st_uid == 0
    os.chown(machine / "package", 12345, 12345)
    assert machine / "cache" in find().parents


def test_the_library_belongs_to_compiler_and_cpu(machine, monkeypatch):
    """Finding 21."""
    first = find()
    compiler = machine / "compiler"
    compiler.write_text(compiler.read_text().replace("version 1", "version 2"))
    assert find() != first
    for name, flags, told in [
        ("x86_64", {"avx512f"}, {"-march=native", "-mprefer-vector-width=512"}),
        ("x86_64", {"avx2"}, {"-march=native"}),
        ("aarch64", {"asimd"}, {"-mcpu=native"}),
        ("aarch64", {"asimd", "sve"}, {"-mcpu=native"}),
        ("aarch64", set(), set()),
    ]:
        for module in (compiling, operators):
            monkeypatch.setattr(module, "cpu_flags", lambda flags=flags: flags)
        monkeypatch.setattr(compiling.platform, "machine", lambda name=name: name)
        find()
        assert {word for word in compilations(machine)[-1].split() if word.startswith("-m")} == told
    assert len(compilations(machine)) == 7


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("sh -c '[ $0 = --version ] || { echo x.cc:1: fatal error: omp.h; echo compilation terminated.; exit 1; } >&2'",
         "fatal error: omp.h"),
        ("no-such-compiler", "no C++ compiler: 'no-such-compiler' was not found"),
    ],
)  # fmt: skip
def test_a_failing_compiler_is_no_error(machine, monkeypatch, command, reason):
    """Finding 32: the reason is the compiler's first error, not that it was terminated."""
    monkeypatch.setenv("CXX", command)
    monkeypatch.delenv("BERT_TUTORIAL_OPERATORS", raising=False)
    operators._load.cache_clear()
    try:
        loaded, said = operators.status()
    finally:
        operators._load.cache_clear()
    assert not loaded
    assert said.endswith(reason)
    assert not list(machine.glob("package/*.so"))


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        ("/usr/bin/ld: no input files\ncollect2: error: ld returned 1 exit status\n", "/usr/bin/ld: no input files"),
        ("x.cc: in f\nx.cc:1: error: first\nx.cc:2: error: second\n", "x.cc:1: error: first"),
        ("collect2: fatal error: cannot find 'ld'\n", "collect2: fatal error: cannot find 'ld'"),
    ],
)
def test_the_line_that_tells_the_cause(stderr, reason):
    assert compiling.first_error(subprocess.CalledProcessError(1, "cc", stderr=stderr)) == reason
