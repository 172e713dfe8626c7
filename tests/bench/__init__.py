"""What is measured: `python -m tests.bench`, from the repository's root.

One module a measure, registered here by name. Each has ABOUT (a sentence), BAR (what it is held against), `arguments`
(its own options) and `measure(options) -> report.Result`. Nothing here asserts a time: a run ends well whatever it
measured, and badly only where something did not work.
"""

MEASURES = {
    "reaction": "tests.bench.reaction",
    "deciding": "tests.bench.deciding",
    "faults": "tests.bench.faults",
    "polling": "tests.bench.polling",
    "notifications": "tests.bench.notifications",
    "api": "tests.bench.api",
    "soak": "tests.bench.soak",
    "bgp": "tests.bench.bgp",
    "stores": "tests.bench.stores",
}
