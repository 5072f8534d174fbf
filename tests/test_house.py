"""tools/house.py: its counts, on a package made up here."""

import sys

import pytest

grimp = pytest.importorskip("grimp")
house = pytest.importorskip("house")

FILES = {
    "__init__.py": "",
    "base.py": '"""One.\n\nTwo.\n"""\n\n# a comment\nX = """\ntext\n"""\n',
    "files.py": "from rooms.base import X\n",
    "upper/__init__.py": "",
    "upper/one.py": "def f():\n    from rooms.upper.two import y\n    return y\n",  # lazy
    "upper/two.py": (
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from rooms.upper.one import f\ny = 1\n"  # for types
    ),
    "upper/three.py": "import rooms.upper.one\nimport rooms.files\n",
    "lower/__init__.py": "from rooms.upper import three\n",
}
ORDER = {"upper": 0, "lower": 1, "files": 2, "base": 2}


@pytest.fixture
def rooms(tmp_path, monkeypatch):
    for name, text in FILES.items():
        path = tmp_path / "rooms" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "rooms"
    sys.modules.pop("rooms", None)


def test_counts(rooms):
    graph = grimp.build_graph("rooms", cache_dir=None)
    whole, upper = house.parts(graph, "rooms"), house.parts(graph, "rooms.upper")
    assert whole["rooms.lower"] == {"rooms.upper"}
    assert house.floors(whole) == {"rooms.base": 0, "rooms.files": 1, "rooms.upper": 2, "rooms.lower": 3}
    assert house.circles(whole) == []
    assert house.circles(upper) == [{"rooms.upper.one", "rooms.upper.two"}]
    assert house.floors(upper) == {"rooms.upper.one": 0, "rooms.upper.two": 0, "rooms.upper.three": 1}
    assert house.imports_up(whole, ORDER) == ["files -> base", "lower -> upper"]
    assert house.loose_modules(rooms) == ["base.py", "files.py"]
    assert [house.lines_of_code(rooms / name) for name in ("base.py", "upper/one.py")] == [3, 3]


def test_the_order_is_that_of_the_contract(tmp_path):
    settings = tmp_path / "pyproject.toml"
    settings.write_text('[[tool.importlinter.contracts]]\ntype = "layers"\nlayers = ["top", "left | right"]\n')
    assert house.layers(settings) == {"top": 0, "left": 1, "right": 1}
    assert house.layers(house.ROOT / "pyproject.toml")["cli"] == 0


def test_a_target_that_is_missed_is_told(capsys):
    missed = []
    house.expect(missed, True, "lines: 5", 10)
    house.expect(missed, False, "circles: 1", 0)
    assert missed == ["circles: 1 (at most 0)"]
    assert capsys.readouterr().out == "lines: 5\ncircles: 1\n"
