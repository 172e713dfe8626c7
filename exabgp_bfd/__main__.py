"""`python -m exabgp_bfd` is `exabgp-bfd`."""

from exabgp_bfd.cli import main

if __name__ == "__main__":
    main()
