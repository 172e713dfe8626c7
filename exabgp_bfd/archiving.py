"""`exabgp-bfd export` and `import`: a journal's events and BGP messages as NDJSON, and back.

The work is done in `storage/archive.py`, which is imported when it begins, so that the API process, which shares the
command line's module, starts without it.
"""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import click

from exabgp_bfd.asking import moment
from exabgp_bfd.config import CONFIG_VARIABLE, VARIABLES, Overrides, glimpse
from exabgp_bfd.core.model import BfdError, ConfigError, StoreError

if TYPE_CHECKING:
    from exabgp_bfd.storage.archive import Taken

PROGRAM = "exabgp-bfd"
_SHOWN = 20
"""How many lines that are left out are named one by one."""
_DASH = Path("-")


def journal_of(config: Path | None, db: Path | None, environ: Mapping[str, str]) -> Path:
    """The journal that is meant: the flag's, else that of the configuration, whatever else is wrong with it."""
    if db is not None:
        return db
    if config is not None and not config.is_file():
        raise ConfigError(str(config), "there is no such file")
    found = glimpse(config, Overrides(), dict(environ)).journal
    if found is None:
        raise ConfigError("--config", "nothing tells where the journal is: say --db FILE, or --config FILE")
    return found


# --- export ---------------------------------------------------------------------------------------------------------


def _written(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


@contextmanager
def _output(path: Path) -> Iterator[Callable[[bytes], object]]:
    """Where an export goes: stdout for `-`, else a file that has its name only when it is whole."""
    if path == _DASH:
        out = sys.stdout.buffer
        yield out.write
        out.flush()
        return
    part = path.with_name(path.name + ".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if path.suffix == ".gz":
                with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6, mtime=0) as packed:
                    yield packed.write
            else:
                yield file.write
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@click.command("export")
@click.option(
    "--config",
    "-c",
    envvar=CONFIG_VARIABLE,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"Our configuration, which says where the journal is. [{CONFIG_VARIABLE}]",
)
@click.option(
    "--db",
    envvar=VARIABLES["--db"],
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"The journal. [{VARIABLES['--db']}]",
)
@click.option("--since", metavar="T", help="From when on: RFC 3339, or how long ago (2h, 7d).")
@click.option("--until", metavar="T", help="Until when.")
@click.option(
    "--kind",
    type=click.Choice(["events", "messages", "all"]),
    default="all",
    show_default=True,
    help="Events, BGP messages, or both.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    default="-",
    metavar="FILE",
    help="Where to: a file (packed where its name ends in .gz), or - for stdout, which is the default.",
)
def export_command(
    *, config: Path | None, db: Path | None, since: str | None, until: str | None, kind: str, output: Path
) -> int:
    """Writes the journal's events and BGP messages as NDJSON: one object a line, the oldest first.

    It only reads, also while the program runs. The first line tells of the journal, the last how many records came;
    `exabgp-bfd import` makes a journal of it again.

    \b
    exabgp-bfd export --config /etc/exabgp-bfd/exabgp-bfd.toml --since 7d -o week.ndjson.gz
    exabgp-bfd export --db journal.db --kind events | jq 'select(.event_type == "route_withdraw")'
    """
    begin, end = moment("--since", since), moment("--until", until)
    if begin is not None and end is not None and begin > end:
        raise click.UsageError("--since is after --until")
    from exabgp_bfd.storage import archive  # noqa: PLC0415

    journal = journal_of(config, db, os.environ)
    try:
        with _output(output) as write:
            counts = archive.export(journal, archive.Wanted(archive.Kind(kind), begin, end), write)
    except BrokenPipeError:
        # Who read it has seen enough; nothing more may be written there when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        raise StoreError(f"{output}: cannot be written: {error.strerror or error}") from error
    click.echo(f"{PROGRAM}: export: {_written(counts)}", err=True)
    return 0


# --- import ---------------------------------------------------------------------------------------------------------


@contextmanager
def _input(path: Path) -> Iterator[Iterator[bytes]]:
    """The lines of an export; one that is too long comes in pieces, none of which is a record."""
    from exabgp_bfd.storage.archive import LONGEST  # noqa: PLC0415

    def lines(file: IO[bytes]) -> Iterator[bytes]:
        while line := file.readline(LONGEST + 1):
            yield line
            while len(line) > LONGEST and not line.endswith(b"\n"):
                line = file.readline(LONGEST + 1)

    try:
        if path == _DASH:
            yield lines(sys.stdin.buffer)
        elif path.suffix == ".gz":
            with gzip.open(path, "rb") as packed:
                yield lines(cast("IO[bytes]", packed))
        else:
            with path.open("rb") as file:
                yield lines(file)
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StoreError(f"{path}: cannot be read: {reason}") from error


class _Complaints:
    """Names the first lines that are left out, and counts the others."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._count = 0

    def __call__(self, number: int, why: str) -> None:
        self._count += 1
        if self._count <= _SHOWN:
            text = "".join(each if each.isprintable() else repr(each)[1:-1] for each in why)
            click.echo(f"{PROGRAM}: import: {self._name} line {number}: {text}", err=True)

    def end(self) -> None:
        """Says how many more there were."""
        if self._count > _SHOWN:
            click.echo(f"{PROGRAM}: import: and {self._count - _SHOWN} lines more", err=True)


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--db",
    type=click.Path(path_type=Path),
    required=True,
    metavar="NEW",
    help="The journal to put it into: a new one, or one that no program is writing.",
)
@click.option("--strict", is_flag=True, help="Take nothing at all when a line of FILE cannot be taken.")
def import_command(file: Path, *, db: Path, strict: bool) -> int:
    """Puts what `exabgp-bfd export` wrote into a journal; FILE may be - for stdin.

    Ids, times and sites stay. What is there already is passed over; a line that cannot be taken is named and left out.
    Exit status: 0 all is there, 1 something was left out or FILE ends too early.

    \b
    exabgp-bfd import week.ndjson.gz --db week.db
    """
    from exabgp_bfd.storage import archive  # noqa: PLC0415

    if strict and file == _DASH:
        raise click.UsageError("--strict reads FILE twice, which stdin cannot be")
    complain = _Complaints(str(file))
    try:
        if strict:
            _refuse_any_fault(file, db, complain)
        with _input(file) as lines:
            taken = archive.take(lines, db, complain)
    except StoreError as error:
        told = str(error)
        raise StoreError(told if told.startswith((str(file), str(db))) else f"{file}: {told}") from None
    complain.end()
    there = f", {taken.duplicates} were there already" if taken.duplicates else ""
    click.echo(f"{PROGRAM}: import: {_written({f'{kind}s': n for kind, n in taken.added.items()})}{there}", err=True)
    if _left_out(taken):
        raise BfdError(f"{file}: {_faults(taken)}")
    return 0


def _refuse_any_fault(file: Path, db: Path, complain: _Complaints) -> None:
    """Raises StoreError when anything of an export would be left out."""
    from exabgp_bfd.storage import archive  # noqa: PLC0415

    with _input(file) as lines:
        looked = archive.examine(lines, db, complain)
    if _left_out(looked):
        complain.end()
        raise StoreError(f"{file}: {_faults(looked)}: nothing was taken")


def _left_out(taken: Taken) -> bool:
    return bool(taken.bad or taken.conflicts or not taken.whole)


def _faults(taken: Taken) -> str:
    told = []
    if taken.bad:
        told.append(f"{taken.bad} lines are no records")
    if taken.conflicts:
        told.append(f"{taken.conflicts} ids belong to other records there")
    if not taken.whole:
        told.append("it ends too early")
    return ", ".join(told)
