"""The house stands: imports go down only, foreign packages stay behind their adapter, `__init__` files are doorplates.

The rules are read off source text alone, so the first half of the tests tries them on made-up houses.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# one visitor message, from begin to done
WALK = {f"parlance.{part}" for part in ("turns", "questions", "toolbox", "endings", "runner", "booking")}
WORDS = {f"parlance.{name}" for name in ("errors", "events", "ids", "phrases", "settings", "site")}

# From the ground up. A module belongs to the longest name that begins its own; what stands nowhere is domain.
FLOORS = (
    WORDS | {"parlance"},
    {"parlance.observe"},  # everyone may log
    {"parlance.store", "parlance.claude", "parlance.web"},
    {"domain"},
    WALK,
    {"parlance.services"},
    {"blueprints"},
    {"app"},
    {"wsgi", "serve"},
)
NEIGHBOURS = (WORDS, WALK)  # rooms of one floor that may meet, in one direction

KEEPERS = {
    "flask": ("blueprints", "app"),
    "werkzeug": ("blueprints", "app"),
    "redis": ("parlance.store",),
    "anthropic": ("parlance.claude",),
    "httpx2": ("parlance.claude", "parlance.web"),
    "prometheus_client": ("parlance.observe",),
    "demo": ("demo", "parlance.services", "blueprints", "app", "serve"),
}
DOORPLATE = (ast.Import, ast.ImportFrom, ast.Assign, ast.Expr, ast.FunctionDef)
DOORPLATE_LINES = 12  # of a function; more is a room, not a plate

House = Mapping[str, str]  # source by module name; a package's is its __init__


def faults(house: House) -> list[str]:
    """Everything that is wrong with a house, a sentence each."""
    return [*_misdirected(house), *_circles(house), *_trespassers(house), *_warehouses(house)]


def _misdirected(house: House) -> Iterator[str]:
    for module in house:
        if module.split(".")[0] == "demo":
            continue
        for other in _ours(module, house):
            if other.split(".")[0] != "demo" and not _may_see(_room(module), _room(other)):
                yield f"{module} imports {other}, which is not below it"


def _may_see(room: str, other: str) -> bool:
    if room == other or any({room, other} <= group for group in NEIGHBOURS):
        return True
    return _floor(other) < _floor(room)


def _room(module: str) -> str:
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "parlance" else parts[0]


def _floor(room: str) -> int:
    for height, rooms in enumerate(FLOORS):
        if room in rooms:
            return height
    return FLOORS.index({"domain"})


def _circles(house: House) -> Iterator[str]:
    """Depth first; a module met again on the way down closes a circle."""
    done: set[str] = set()

    def descend(module: str, way: tuple[str, ...]) -> Iterator[str]:
        if module in way:
            yield "a circle: " + " -> ".join([*way[way.index(module) :], module])
        elif module not in done:
            for other in _ours(module, house):
                yield from descend(other, (*way, module))
            done.add(module)

    for module in house:
        yield from descend(module, ())


def _trespassers(house: House) -> Iterator[str]:
    for module, source in house.items():
        for name in _imports(module, source, house):
            package = name.split(".")[0]
            keepers = KEEPERS.get(package)
            if keepers and not any(module == keeper or module.startswith(keeper + ".") for keeper in keepers):
                yield f"{module} imports {package}, which only {', '.join(keepers)} may"
            if _room(module) in WORDS and name not in house and package not in sys.stdlib_module_names:
                yield f"{module} imports {package}: words know the standard library only"
            if module.split(".")[0] == "demo" and package in ("parlance", "blueprints", "app", "serve"):
                yield f"{module} imports {name}: the demo knows nothing of Parlance"


def _warehouses(house: House) -> Iterator[str]:
    packages = {name for name in house if any(other.startswith(name + ".") for other in house)}
    for package in packages:
        for node in ast.parse(house[package]).body:
            long = isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= DOORPLATE_LINES
            if not isinstance(node, DOORPLATE) or long:
                yield f"{package}/__init__.py, line {node.lineno}: too much for a doorplate ({type(node).__name__})"


def _ours(module: str, house: House) -> Iterator[str]:
    return (name for name in _imports(module, house[module], house) if name in house and name != module)


def _imports(module: str, source: str, house: House) -> Iterator[str]:
    """Names of imported modules, those inside functions and under TYPE_CHECKING too: knowing is knowing."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node, house)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield inner if inner in house else base


def _absolute(module: str, node: ast.ImportFrom, house: House) -> str:
    if not node.level:
        return node.module or ""
    is_package = any(other.startswith(module + ".") for other in house)
    up = module.split(".")[: len(module.split(".")) - node.level + is_package]
    return ".".join([*up, *([node.module] if node.module else [])])


def house_on_disk() -> dict[str, str]:
    files = [ROOT / name for name in ("app.py", "wsgi.py", "serve.py")]
    for package in ("parlance", "blueprints", "demo"):
        files += (ROOT / package).rglob("*.py")
    return {_name(path): path.read_text("utf-8") for path in files if path.exists()}


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


# ---- made-up houses: every rule is seen to bite, and to let pass ----


def test_a_sound_house_has_no_fault():
    sound = {
        "parlance": '"""A doorplate."""',
        "parlance.ids": "import secrets",
        "parlance.settings": "from parlance import ids\nimport os",
        "parlance.observe": "",
        "parlance.observe.logs": "from parlance.settings import Secret",
        "parlance.store": "",
        "parlance.store.client": "import redis\nfrom parlance.observe.logs import log\nfrom . import keys",
        "parlance.store.keys": "",
        "parlance.limits": "from parlance.store.client import Store",
        "parlance.turns": "from parlance import limits",
        "parlance.runner": "from parlance import turns",
        "parlance.services": "from parlance import runner\nimport demo.app",
        "blueprints": "from flask import current_app\ndef services():\n    return current_app.extensions['x']",
        "blueprints.ops": "from blueprints import services\nfrom parlance.services import build",
        "app": "from blueprints import ops\nimport flask",
        "demo": "",
        "demo.app": "import json",
    }
    assert faults(sound) == []


def test_an_import_that_goes_up_is_a_fault():
    assert "not below" in faults({"parlance.limits": "from parlance import turns", "parlance.turns": ""})[0]
    assert "not below" in faults({"parlance.ids": "import parlance.store.keys", "parlance.store.keys": ""})[0]


def test_an_import_that_hides_in_a_function_or_under_type_checking_is_one_too():
    turns = {"parlance.turns": ""}
    assert faults({"parlance.limits": "def f():\n    from parlance.turns import begin", **turns})
    assert faults({"parlance.limits": "if TYPE_CHECKING:\n    import parlance.turns", **turns})


def test_domain_modules_and_adapters_do_not_import_one_another():
    assert faults({"parlance.limits": "from parlance.memory import recall", "parlance.memory": ""})
    assert faults({"parlance.sites.library": "from parlance import memory", "parlance.memory": ""})
    assert faults({"parlance.claude.client": "from parlance.store import client", "parlance.store.client": ""})


def test_a_relative_import_is_followed():
    rooms = {"parlance.sites": "", "parlance.sites.origins": "", "parlance.memory": ""}
    assert faults({**rooms, "parlance.sites.form": "from ..memory import recall"})
    assert not faults({**rooms, "parlance.sites.form": "from .origins import match"})


def test_a_circle_is_a_fault_even_on_one_floor():
    circle = {"parlance.sites.a": "from parlance.sites import b", "parlance.sites.b": "import parlance.sites.a"}
    assert faults(circle) == ["a circle: parlance.sites.a -> parlance.sites.b -> parlance.sites.a"]


def test_foreign_packages_stay_behind_their_adapter():
    assert "flask" in faults({"parlance.turns": "import flask"})[0]
    assert "flask" in faults({"serve": "from flask.cli import main"})[0]
    assert "redis" in faults({"blueprints.visitor": "from redis.exceptions import RedisError"})[0]
    assert "anthropic" in faults({"parlance.voice.evals": "import anthropic"})[0]
    assert "httpx2" in faults({"parlance.store.client": "import httpx2"})[0]
    assert not faults({"parlance.web.fetch": "import httpx2"})


def test_words_know_the_standard_library_only():
    assert "msgspec" in faults({"parlance.events": "import msgspec"})[0]


def test_the_demo_knows_nothing_of_parlance_and_few_know_the_demo():
    assert "nothing of Parlance" in faults({"demo.app": "from parlance import ids", "parlance.ids": ""})[0]
    assert "demo" in faults({"parlance.claude.client": "from demo.app import Demo", "demo.app": ""})[0]


def test_an_init_file_that_stores_things_is_a_fault():
    rooms = {"parlance.sites.form": ""}
    assert faults({"parlance.sites": "class Library: ...", **rooms})
    assert faults({"parlance.sites": "def load():\n" + "    print()\n" * 12, **rooms})
    assert not faults({"parlance.sites": '"""Sites."""\nfrom parlance.sites.form import x\n__all__ = ["x"]', **rooms})


# ---- and the house itself ----


def test_this_house_is_sound():
    house = house_on_disk()
    assert {"parlance.store.client", "parlance.errors", "blueprints.ops", "serve"} <= house.keys()
    assert faults(house) == []
