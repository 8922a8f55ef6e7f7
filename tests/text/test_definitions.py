"""What is public in Python files, by the names under which it is imported."""

from bert_tutorial.text.definitions import read_definitions

import pytest


def found(tmp_path, files):
    for name, source in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return {one.name: one.docstring for one in read_definitions([tmp_path / name for name in files])}


def test_public_functions_classes_and_methods(tmp_path):
    source = '''"""The module itself."""
def feed(animal):
    """Feed."""
    def inner():
        """Not public."""
async def wait():
    """Wait."""
class Zoo:
    """Class."""
    def count(self):
        """Count."""
    def _hide(self):
        """Hide."""
    class Cage:
        """Inner."""
    if True:
        def open(self):
            """Open."""
class _Secret:
    """Secret."""
    def method(self):
        """Method."""
def without(): pass
try:
    import fast
except ImportError:
    def slow():
        """Slow."""
'''
    assert found(tmp_path, {"zoo.py": source}) == {
        "zoo.feed": "Feed.",
        "zoo.wait": "Wait.",
        "zoo.Zoo": "Class.",
        "zoo.Zoo.count": "Count.",
        "zoo.Zoo.Cage": "Inner.",
        "zoo.Zoo.open": "Open.",
        "zoo.slow": "Slow.",
    }


def function(name):
    return f'def {name}():\n    """Do {name}."""\n'


IMPORTED = {
    "by name": ({"zoo/__init__.py": "from .core import feed", "zoo/core.py": function("feed")}, "zoo.feed"),
    "under another name": (
        {"zoo/__init__.py": "from .core import feed as give", "zoo/core.py": function("feed")},
        "zoo.give",
    ),
    "with all others": ({"zoo/__init__.py": "from .core import *", "zoo/core.py": function("feed")}, "zoo.feed"),
    "through two packages": (
        {
            "zoo/__init__.py": "from .lib import *",
            "zoo/lib/__init__.py": "from . import core\nfrom .core import *\n__all__ = ['x']\n__all__ += core.__all__",
            "zoo/lib/core.py": "__all__ = ['feed']\n" + function("feed"),
        },
        "zoo.feed",
    ),
    "from the package above": (
        {"zoo/lib/__init__.py": "from ..core import feed", "zoo/__init__.py": "", "zoo/core.py": function("feed")},
        "zoo.core.feed",
    ),
    "not in __all__": (
        {"zoo/__init__.py": "from .core import *", "zoo/core.py": "__all__ = ['other']\n" + function("feed")},
        "zoo.core.feed",
    ),
    "from a hidden file": (
        {"zoo/__init__.py": "from ._core import feed", "zoo/_core.py": function("feed")},
        "zoo.feed",
    ),
    "from a hidden module": (
        {
            "zoo.py": "try:\n    from _fast import *\nexcept ImportError:\n    from _zoo import *",
            "_zoo.py": function("feed"),
        },
        "zoo.feed",
    ),
    "by a stranger": ({"zoo.py": function("feed"), "abc.py": "from zoo import feed"}, "zoo.feed"),
    "in a circle": (
        {"zoo/__init__.py": "from .core import *", "zoo/core.py": "from . import *\n" + function("feed")},
        "zoo.feed",
    ),
}


@pytest.mark.parametrize("how", IMPORTED)
def test_a_function_has_the_name_under_which_it_is_imported(tmp_path, how):
    files, name = IMPORTED[how]
    assert found(tmp_path, files) == {name: "Do feed."}


def test_nobody_imports_what_is_hidden(tmp_path):
    assert (
        found(tmp_path, {"_zoo.py": function("feed"), "zoo/_core.py": function("count"), "zoo/__init__.py": ""}) == {}
    )


def test_files_that_are_no_python(tmp_path):
    assert found(tmp_path, {"a.py": "def {{ name }}(:", "b.py": "-" * 100_000 + "1", "c.py": "\0"}) == {}


def test_signatures_and_where_the_source_stands(tmp_path):
    source = '''
def feed(animal, /, food: str="hay", *more, often=(1, 2), **rest) -> None:
    """Feed."""
class Zoo:
    """Class."""
    def __init__(self, town, size=1):
        pass
    def count(self):
        """Count."""
    @classmethod
    def open(cls, key: int = 3):
        """Open."""
class Park:
    """Class."""
'''
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo/__init__.py").write_text("from .core import feed")
    (tmp_path / "zoo/core.py").write_text(source)
    found = read_definitions([tmp_path / "zoo/__init__.py", tmp_path / "zoo/core.py"])
    assert [(one.name, one.signature, one.module) for one in found] == [
        ("zoo.feed", "feed(animal, /, food='hay', *more, often=(1, 2), **rest)", "zoo.core"),
        ("zoo.core.Zoo", "Zoo(town, size=1)", "zoo.core"),
        ("zoo.core.Zoo.count", "count()", "zoo.core"),
        ("zoo.core.Zoo.open", "open(key=3)", "zoo.core"),
        ("zoo.core.Park", "Park", "zoo.core"),
    ]
