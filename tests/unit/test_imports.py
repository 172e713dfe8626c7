"""Who may import whom, and who may touch stdout: the walls of the house, read from the source itself.

Each rule is a function from modules to complaints, and each is tried on a module that breaks it: a rule that cannot
complain holds nothing.
"""

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import exabgp_bfd

PACKAGE = "exabgp_bfd"
HOUSE = Path(exabgp_bfd.__file__).parent
ROOMS = ("speaker", "sources", "storage", "web", "notify", "metrics", "logs")
# All that the core may take from outside: without I/O, without a clock, without threads, without chance.
PURE = {
    *("__future__", "abc", "bisect", "collections", "dataclasses", "datetime", "enum", "functools", "heapq"),
    *("ipaddress", "itertools", "math", "operator", "re", "string", "typing"),
    # Signatures: arithmetic on octets.
    *("base64", "binascii", "hashlib", "hmac"),
}
TELLS_THE_TIME = {"now", "today", "utcnow"}
"""What of datetime is a clock; the rest is arithmetic."""
PROGRAMS = {"archiving", "asking", "cli", "demo", "discover", "keys", "simulator"}
"""Run in a terminal by a person; `run`, the API process, is `app`."""
LAZY = {"demo", "following", "overview", "proof", "remote", "replay", "simulator", "stanza", "tables"}
"""What the cli needs for one command, and not to start the API process."""
COMMANDS = {"archiving", "asking", "discover", "keys", "steering"}
"""Commands in modules of their own: the cli imports them, and they import the rooms they need when they run."""


@dataclass(frozen=True)
class Import:
    module: str
    """What is imported: a module of ours in full, or any other."""
    line: int
    lazy: bool
    """Inside a function."""
    typing: bool
    """Under `if TYPE_CHECKING`."""


@dataclass(frozen=True)
class Module:
    name: str
    tree: ast.Module
    package: bool = False

    @property
    def room(self) -> str:
        """The first part below the package: `core`, `web`, `cli`; empty for the package itself."""
        return room_of(self.name)


def room_of(name: str) -> str:
    return [*name.split("."), ""][1]


def ours(name: str) -> bool:
    return name == PACKAGE or name.startswith(f"{PACKAGE}.")


def parse(name: str, source: str, *, package: bool = False) -> Module:
    return Module(name, ast.parse(source), package)


@cache
def read_house() -> list[Module]:
    modules = []
    for path in sorted(HOUSE.rglob("*.py")):
        parts = list(path.relative_to(HOUSE.parent).with_suffix("").parts)
        package = parts[-1] == "__init__"
        modules.append(parse(".".join(parts[:-1] if package else parts), path.read_text("utf-8"), package=package))
    return modules


def is_type_checking(node: ast.AST) -> bool:
    match node:
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
            return True
    return False


@cache
def imports(module: Module, names: frozenset[str]) -> tuple[Import, ...]:
    """Every import of a module; `names` are all modules of ours, to tell `from package import module` from a name."""

    def walk(node: ast.AST, *, lazy: bool, typing: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, lazy, typing) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(module, node)
            for alias in node.names:
                below = f"{base}.{alias.name}"
                yield Import(below if below in names else base, node.lineno, lazy, typing)
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for field, value in ast.iter_fields(node):
            within = typing or (is_type_checking(node) and field == "body")
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from walk(child, lazy=lazy or function, typing=within)

    return tuple(walk(module.tree, lazy=False, typing=False))


def absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    base = parts[: len(parts) - node.level + (1 if module.package else 0)]
    return ".".join([*base, *([node.module] if node.module else [])])


def complaint(module: Module, line: int, text: str) -> str:
    return f"{module.name.replace('.', '/')}:{line}: {text}"


def each_import(modules: Iterable[Module]) -> Iterator[tuple[Module, Import]]:
    modules = list(modules)
    names = frozenset(module.name for module in modules)
    for module in modules:
        for found in imports(module, names):
            yield module, found


# --- the rules ------------------------------------------------------------------------------------------------------


def core_is_pure(modules: Iterable[Module]) -> list[str]:
    """The core imports nothing of ours, and nothing that does I/O, tells the time, or rolls dice."""
    return [
        complaint(module, found.line, f"the core imports {found.module}")
        for module, found in each_import(modules)
        if module.room == "core"
        and (room_of(found.module) != "core" if ours(found.module) else found.module.split(".")[0] not in PURE)
    ] + [
        complaint(module, node.lineno, f"the core asks a clock: {node.attr}()")
        for module in modules
        if module.room == "core"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and node.attr in TELLS_THE_TIME
    ]


def rooms_know_the_core_and_themselves(modules: Iterable[Module]) -> list[str]:
    """speaker, sources, storage, web, notify, metrics, logs import only the core, their own room, and our version."""
    return [
        complaint(module, found.line, f"the room {module.room} imports {found.module}")
        for module, found in each_import(modules)
        if module.room in ROOMS
        and ours(found.module)
        and found.module != PACKAGE
        and room_of(found.module) not in {"core", module.room}
    ]


def config_knows_the_core(modules: Iterable[Module]) -> list[str]:
    """The settings become core types: config imports the core, and no room."""
    return [
        complaint(module, found.line, f"config imports {found.module}")
        for module, found in each_import(modules)
        if module.room == "config" and ours(found.module) and room_of(found.module) not in {"", "core", "config"}
    ]


def cli_knows_app_and_config(modules: Iterable[Module]) -> list[str]:
    """cli imports app, config and the core's words; what only some command needs, only inside of that command."""
    complaints = []
    for module, found in each_import(modules):
        if module.room != "cli" or not ours(found.module):
            continue
        room = room_of(found.module)
        if room in LAZY and not (found.lazy or found.typing):
            complaints.append(complaint(module, found.line, f"cli imports {found.module} outside of its command"))
        elif room not in {"", "app", "config", "core", "cli", *COMMANDS, *LAZY}:
            complaints.append(complaint(module, found.line, f"cli imports {found.module}"))
    return complaints


def commands_start_lightly(modules: Iterable[Module]) -> list[str]:
    """A command in a module of its own imports config and the core; rooms only when it runs."""
    return [
        complaint(module, found.line, f"{module.room} imports {found.module} before it runs")
        for module, found in each_import(modules)
        if module.room in COMMANDS
        and ours(found.module)
        # `asking` is a command's module itself, with what all that ask the running program have in common.
        and room_of(found.module) not in {"", "config", "core", "asking", module.room}
        and not (found.lazy or found.typing)
    ]


def nobody_imports_the_top(modules: Iterable[Module]) -> list[str]:
    """app is imported by cli and demo alone, cli by nobody (`__main__` starts it); desk knows app by its type only."""
    above = {"app": {"cli", "demo", "app"}, "cli": {"__main__"}}
    return [
        complaint(module, found.line, f"{module.room} imports {found.module}")
        for module, found in each_import(modules)
        if ours(found.module)
        and module.room not in above.get(room_of(found.module), {module.room})
        and not (module.room == "desk" and found.typing)
    ]


def pydantic_stays_at_the_border(modules: Iterable[Module]) -> list[str]:
    """Pydantic is for config.py and web/."""
    return [
        complaint(module, found.line, f"{found.module} outside config and web")
        for module, found in each_import(modules)
        if found.module.split(".")[0] in {"pydantic", "pydantic_core", "pydantic_settings"}
        and module.room not in {"config", "web"}
    ]


def no_circles(modules: Iterable[Module]) -> list[str]:
    """No module of ours imports itself by way of others; what only the type checker reads does not count."""
    modules = list(modules)
    graph: dict[str, set[str]] = {module.name: set() for module in modules}
    for module, found in each_import(modules):
        if found.module in graph and found.module != module.name and not found.typing:
            graph[module.name].add(found.module)
    done: set[str] = set()
    complaints: list[str] = []

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            complaints.append(" -> ".join([*path[path.index(name) :], name]))
            return
        if name in done:
            return
        for following in sorted(graph[name]):
            visit(following, [*path, name])
        done.add(name)

    for name in sorted(graph):
        visit(name, [])
    return complaints


def stdout_belongs_to_the_pipe(modules: Iterable[Module]) -> list[str]:
    """ExaBGP's parser reads our stdout: only speaker/pipe.py writes there (and what a person runs in a terminal)."""
    complaints = []
    for module in modules:
        if module.name == f"{PACKAGE}.speaker.pipe" or module.room in PROGRAMS:
            continue
        complaints += [
            complaint(module, getattr(node, "lineno", 0), text)
            for node in ast.walk(module.tree)
            if (text := touches_stdout(node)) is not None
        ]
    return complaints


def touches_stdout(node: ast.AST) -> str | None:
    """How a node touches stdout, None: not at all."""
    match node:
        case ast.Attribute(value=ast.Name(id="sys"), attr="stdout" | "__stdout__" as name):
            return f"sys.{name}"
        case ast.ImportFrom(module="sys", names=names) if any("stdout" in alias.name for alias in names):
            return "from sys import stdout"
        case ast.Call(func=ast.Name(id="print" | "pprint")):
            return "print"
        case ast.Attribute(value=ast.Name(id="click"), attr="echo" | "secho" | "echo_via_pager" as name):
            return f"click.{name}"
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id="os"), attr="write" | "fdopen" | "writev" | "sendfile"),
            args=[ast.Constant(value=1), *_],
        ):
            return "fd 1"
        case ast.Call(func=ast.Attribute(value=ast.Name(id="os"), attr="dup2"), args=[_, ast.Constant(value=1), *_]):
            return "fd 1 (dup2)"
        case ast.Call(func=ast.Name(id="open"), args=[ast.Constant(value=1 | "/dev/stdout" | "/dev/fd/1"), *_]):
            return "fd 1 (open)"
        case ast.Attribute(attr="STDOUT_FILENO") | ast.Name(id="STDOUT_FILENO"):
            return "fd 1"
    return None


def children_do_not_inherit_stdout(modules: Iterable[Module]) -> list[str]:
    """A child without a stdout of its own would write into ExaBGP's parser through ours."""
    complaints = []
    for module in modules:
        if module.room in PROGRAMS:
            continue
        for node in ast.walk(module.tree):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="subprocess"), attr="Popen" | "run" | "call" | "check_call")
                    | ast.Attribute(attr="create_subprocess_exec" | "create_subprocess_shell" | "subprocess_exec"),
                    keywords=keywords,
                ) if not {"stdout", "capture_output"} & {keyword.arg for keyword in keywords}:
                    complaints.append(complaint(module, node.lineno, "a child process without a stdout of its own"))
                case ast.Attribute(value=ast.Name(id="os"), attr="system" | "popen" as name):
                    complaints.append(complaint(module, node.lineno, f"os.{name}"))
    return complaints


Rule = Callable[[Iterable[Module]], list[str]]
# Each rule, with modules that break it and modules that keep it: `name: source`.
RULES: list[tuple[Rule, list[dict[str, str]], list[dict[str, str]]]] = [
    (
        core_is_pure,
        [
            *(
                {"core.engine": f"import {name}"}
                for name in ("time", "os", "socket", "threading", "asyncio", "logging")
            ),
            *({"core.engine": f"import {name}"} for name in ("flask", "pydantic", "sqlite3", "subprocess", "random")),
            *({"core.engine": f"from {name} import x"} for name in ("pathlib", "zoneinfo", "secrets", "uuid", "io")),
            {"core.engine": "from datetime import datetime\ndatetime.now()"},
            {"core.engine": "import datetime\ndatetime.date.today()"},
            {"core.engine": "from exabgp_bfd.speaker import pipe", "speaker.pipe": ""},
            {"core.engine": "from .. import logs", "logs": ""},
            {"core.engine": "from exabgp_bfd import __version__"},
            {"core.engine": "def f():\n    import time"},
            {"core.engine": "from os import path"},
        ],
        [
            {"core.engine": "import heapq\nfrom collections.abc import Mapping\nfrom exabgp_bfd.core.model import X"},
            {"core.session": "if TYPE_CHECKING:\n    from exabgp_bfd.core.policy import X", "core.policy": ""},
            {"core.engine": "from . import model", "core.model": ""},
            {"logs": "import logging, time"},
        ],
    ),
    (
        rooms_know_the_core_and_themselves,
        [
            {"web.server": "from exabgp_bfd.storage import journal", "storage.journal": ""},
            {"web.server": "import exabgp_bfd.storage.journal"},
            {"web.server": "from exabgp_bfd import app", "app": ""},
            {"sources.snmp.poller": "from ...speaker.pipe import X", "speaker.pipe": ""},
            {"metrics": "def f():\n    from exabgp_bfd.config import X"},
        ],
        [
            {"web.server": "from exabgp_bfd import __version__\nfrom exabgp_bfd.core.model import X"},
            {"sources.snmp.poller": "from exabgp_bfd.sources.snmp.client import X"},
            {"app": "from exabgp_bfd.web import server", "web.server": ""},
        ],
    ),
    (
        config_knows_the_core,
        [{"config": "from exabgp_bfd.storage.journal import X"}],
        [{"config": "import tomllib\nfrom exabgp_bfd.core.model import X"}],
    ),
    (
        cli_knows_app_and_config,
        [
            {"cli": "from exabgp_bfd.web.auth import sign"},
            {"cli": "from exabgp_bfd.demo import run"},
            {"cli": "from exabgp_bfd import stanza", "stanza": ""},
            {"cli": "def events():\n    from exabgp_bfd.storage.queries import X"},
        ],
        [
            {"cli": "from exabgp_bfd import __version__, app, config\nfrom exabgp_bfd.core.model import X"},
            {"cli": "def demo():\n    from exabgp_bfd.demo import run"},
            {"cli": "from exabgp_bfd.discover import discover_command"},
        ],
    ),
    (
        commands_start_lightly,
        [
            {"discover": "from exabgp_bfd.sources.snmp import survey"},
            {"discover": "from exabgp_bfd.storage.queries import X"},
        ],
        [
            {"discover": "from exabgp_bfd.config import load\nfrom exabgp_bfd.core.model import X"},
            {"discover": "def discover():\n    from exabgp_bfd.sources.snmp import survey"},
            {"discover": "if TYPE_CHECKING:\n    from exabgp_bfd.sources.snmp.target import Target"},
        ],
    ),
    (
        nobody_imports_the_top,
        [
            {"config": "from exabgp_bfd.app import X"},
            {"web.server": "from exabgp_bfd.cli import X"},
            {"app": "from exabgp_bfd.cli import X"},
        ],
        [{"cli": "from exabgp_bfd.app import X"}, {"__main__": "from exabgp_bfd.cli import main"}],
    ),
    (
        pydantic_stays_at_the_border,
        [{"storage.journal": "from pydantic import BaseModel"}, {"app": "import pydantic.types"}],
        [{"config": "import pydantic"}, {"web.api.events": "from pydantic import BaseModel"}],
    ),
    (
        no_circles,
        [
            {"app": "from exabgp_bfd import web", "web": "def f():\n    from exabgp_bfd import app"},
            {
                "core.a": "from exabgp_bfd.core.b import X",
                "core.b": "from exabgp_bfd.core.c import X",
                "core.c": "from exabgp_bfd.core.a import X",
            },
        ],
        [
            {
                "core.session": "if TYPE_CHECKING:\n    from exabgp_bfd.core.policy import X",
                "core.policy": "from exabgp_bfd.core.session import X",
            },
        ],
    ),
    (
        stdout_belongs_to_the_pipe,
        [
            {"logs": "import sys\nhandler(sys.stdout)"},
            {"logs": "from sys import stdout"},
            {"app": "print('hello')"},
            {"speaker.dialect": "os.write(1, b'')"},
            {"app": "os.dup2(fd, 1)"},
            {"app": "open(1, 'wb')"},
            {"app": "import click\nclick.echo('hello')"},
            {"app": "sys.__stdout__.write('')"},
        ],
        [
            {"speaker.pipe": "os.write(1, b'')"},
            {"cli": "print(1)\nsys.stdout.write('')"},
            {"demo": "print(1)"},
            {"logs": "import sys\nhandler(sys.stderr)\nos.write(2, b'')"},
        ],
    ),
    (
        children_do_not_inherit_stdout,
        [
            {"notify": "subprocess.run(['hook'])"},
            {"notify": "asyncio.create_subprocess_exec('hook')"},
            {"app": "os.system('hook')"},
        ],
        [
            {"notify": "subprocess.run(['hook'], stdout=subprocess.DEVNULL)"},
            {"notify": "subprocess.run(['hook'], capture_output=True)"},
            {"demo": "subprocess.run(['exabgp'])"},
        ],
    ),
]
IDS = [rule.__name__ for rule, _, _ in RULES]


def made(sources: dict[str, str]) -> list[Module]:
    return [parse(f"{PACKAGE}.{name}", source) for name, source in sources.items()]


def test_the_house_was_found():
    names = {module.name for module in read_house()}
    assert {f"{PACKAGE}.core.{name}" for name in ("model", "session", "policy", "engine")} <= names


@pytest.mark.parametrize("rule", [rule for rule, _, _ in RULES], ids=IDS)
def test_the_house_keeps_its_walls(rule):
    assert rule(read_house()) == []


@pytest.mark.parametrize(("rule", "broken", "kept"), RULES, ids=IDS)
def test_each_rule_complains_of_what_breaks_it_and_of_nothing_else(rule, broken, kept):
    for sources in broken:
        assert rule(made(sources)) != [], sources
    for sources in kept:
        assert rule(made(sources)) == [], sources
