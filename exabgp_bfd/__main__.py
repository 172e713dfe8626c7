"""Where the program begins, as `exabgp-bfd` or `python -m exabgp_bfd`."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """The console script."""
    if sys.argv[1:2] == ["run"]:
        # Before anything else is imported: what fails from here on fails in a process that ExaBGP does not count.
        from exabgp_bfd import keeper  # noqa: PLC0415

        keeper.keep()
    from exabgp_bfd import cli  # noqa: PLC0415

    cli.main()


if __name__ == "__main__":
    main()
