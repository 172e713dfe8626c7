"""The one command: `python -m tests.bench [MEASURE ...] [options]`."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

from tests.bench import MEASURES, report
from tests.bench.machine import describe, load_average


def main() -> int:
    modules = {name: importlib.import_module(module) for name, module in MEASURES.items()}
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Measures exabgp-bfd, prints a table and, if asked, JSON. It asserts no time.",
        epilog="measures: " + "; ".join(f"{name}: {module.ABOUT}" for name, module in modules.items()),
    )
    # Not `choices`: argparse would hold the empty list against it.
    parser.add_argument("measure", nargs="*", help="which ones; none: all")
    parser.add_argument("--sessions", type=int, default=1000, help="BFD sessions, and as many services (%(default)s)")
    parser.add_argument("--samples", type=int, default=1000, help="reactions in each situation (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="as little as shows that it works, in under 30 s each")
    parser.add_argument("--json", metavar="FILE", help="write the figures here; - for stdout, the table to stderr")
    for name, module in modules.items():
        module.arguments(parser.add_argument_group(name))
    options = parser.parse_args()
    unknown = set(options.measure) - modules.keys()
    if unknown:
        parser.error(f"no measure {', '.join(sorted(unknown))}; there are {', '.join(modules)}")
    if options.sessions < 1 or options.samples < 1:
        parser.error("--sessions and --samples start at 1")

    table = sys.stderr if options.json == "-" else sys.stdout
    before = load_average()
    results: list[dict[str, Any]] = []
    for name in options.measure or modules:
        result = modules[name].measure(options)
        print(report.table(result), file=table, flush=True)
        results.append(report.document(result))
    document = {
        "machine": {**describe(), "load_average_before": before, "load_average_after": load_average()},
        "measures": {result["measure"]: result for result in results},
    }
    if options.json:
        text = json.dumps(document, indent=2) + "\n"
        if options.json == "-":
            sys.stdout.write(text)
        else:
            Path(options.json).write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (AssertionError, OSError) as failed:
        sys.exit(f"bench: {failed}")
