"""Into a Python that has NumPy already: what pip is asked for, without asking it."""

import re
from importlib import metadata

from bert_tutorial import bootstrap

import pytest


@pytest.fixture
def asked(monkeypatch):
    """The arguments of each call of pip, with the text of the file of versions that are held in place of its path."""
    calls = []

    def pip(*arguments):
        arguments = list(map(str, arguments))
        if "--constraint" in arguments:
            place = arguments.index("--constraint") + 1
            with open(arguments[place]) as file:
                arguments[place] = file.read()
        calls.append(arguments)

    monkeypatch.setattr(bootstrap, "pip", pip)
    return calls


def test_what_the_host_has_is_held(asked):
    bootstrap.main()
    tqdm = f"tqdm=={metadata.version('tqdm')}"
    for call in asked:
        assert ("--constraint" in call) != ("--no-deps" in call)  # nothing else may be changed
        if "--constraint" in call:
            assert tqdm in call[call.index("--constraint") + 1].splitlines()
    names = [argument for call in asked for argument in call if argument.lower().startswith("numpy")]
    assert not names  # it is there


def test_all_that_is_asked_for_comes(asked):
    bootstrap.main()
    words = {bootstrap.canonical(re.split("[<=>;]", argument)[0]) for call in asked for argument in call}
    for name in bootstrap.requirements("bert_tutorial"):
        assert name in words | {"numpy", "pip"}


def test_the_retired_come_without_what_they_ask_for(asked):
    bootstrap.main()
    (call,) = [call for call in asked if any(argument.startswith("mxnet") for argument in call)]
    assert "--no-deps" in call
    assert {argument.partition("==")[0] for argument in call if "==" in argument} == set(bootstrap.RETIRED)


def test_without_numpy_it_is_installed(asked, monkeypatch):
    there = {name: version for name, version in bootstrap.installed().items() if name != "numpy"}
    monkeypatch.setattr(bootstrap, "installed", lambda: there)
    bootstrap.main()
    assert sum(argument.startswith("numpy") for call in asked for argument in call) == 1


def test_another_python(monkeypatch):
    monkeypatch.setattr(bootstrap.sys, "version_info", (3, 9, 0))
    with pytest.raises(SystemExit, match=r"3\.10 to 3\.13"):
        bootstrap.main()


def test_a_failure_of_pip_ends_the_set_up(monkeypatch):
    monkeypatch.setattr(bootstrap.sys, "executable", "false")
    with pytest.raises(SystemExit, match="stopped"):
        bootstrap.pip("anything")
