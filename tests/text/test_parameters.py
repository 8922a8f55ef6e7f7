"""What docstrings say of parameters."""

from inspect import cleandoc

from bert_tutorial.text.parameters import read_parameters

import numpy as np
import pytest

NUMPYDOC = """Sort the animals of a zoo.

    axis: not here, for this is no section.

    Parameters
    ----------
    animals : list of Animal, or "all"
        Who is sorted. Not the keepers.
    axis : int, optional
        Along which to sort, e.g. from head to tail. If not given, the
        default is -1.

        .. versionadded:: 2
    key, order : str
        Two in one are left out.
    kind : {'quick', 'slow'}, default='quick'
    cage : Cage (default None)
        - a list
    hay
        No colon.

    Returns
    -------
    sorted : list
        Default 5.

    Other Parameters
    ----------------
    late : bool
    """
GOOGLE = """Feed.

    Args:
        animal (`str`): Whom to feed; all, if "*".
        often (int, optional): How often. Defaults to 2.
        size (`float`, *optional*, defaults to `1e-3`):
            How much.

    Returns:
        food (int): Default 7.
    """


def facts(docstring):
    return {
        one.name: {kind: fact.text for kind, fact in one.facts.items()} for one in read_parameters(cleandoc(docstring))
    }


def test_numpydoc():
    assert facts(NUMPYDOC) == {
        "animals": {"type": 'list of Animal, or "all"', "purpose": "Who is sorted"},
        "axis": {
            "type": "int",
            "purpose": "Along which to sort, e.g. from head to tail",
            "default": "-1",
        },
        "kind": {"type": "{'quick', 'slow'}", "default": "'quick'"},
        "cage": {"type": "Cage", "default": "None"},
    }


def test_google():
    assert facts(GOOGLE) == {
        "animal": {"type": "`str`", "purpose": "Whom to feed"},
        "often": {"type": "int", "purpose": "How often", "default": "2"},
        "size": {"type": "`float`", "purpose": "How much", "default": "1e-3"},
    }


@pytest.mark.parametrize("docstring", ["", "Parameters\n", "Parameters\n---------\n", "Args:\n", "axis : int, 5"])
def test_no_parameters(docstring):
    assert read_parameters(docstring) == []


@pytest.mark.parametrize(
    ("said", "default"),
    [
        ("int, default 0", "0"),
        ("int, default: 0", "0"),
        ("int, default=0", "0"),
        ("int\n    By default 0.", "0"),
        ("int\n    The default value is 0.5.", "0.5"),
        ("str\n    Defaults to ``'a b'``.", "'a b'"),
        ("tuple\n    Default is (1, 2).", "(1, 2)"),
        ("float, default=.5", ".5"),
        ("float, default=-1e-3", "-1e-3"),
        ("float, default=np.inf", None),  # no literal
        ("int\n    Default is to sort.", None),
        ("int\n    Default is 1st.", "1st"),
        ("int\n    The default changed in 2.0.", None),
    ],
)
def test_defaults(said, default):
    (one,) = read_parameters(f"Parameters\n----------\naxis : {said}\n")
    fact = one.facts.get("default")
    assert (fact and fact.text) == default


def test_facts_stand_where_they_say_also_in_real_docstrings():
    count = 0
    for function in (np.sort, np.argmax, np.linspace, np.mean, np.linalg.norm, np.pad):
        for one in read_parameters(cleandoc(function.__doc__)):
            assert one.text.startswith(one.name)
            for fact in one.facts.values():
                assert one.text[fact.start :].startswith(fact.text)
                count += 1
    assert count > 40
    assert facts(np.sort.__doc__)["axis"]["default"] == "-1"
