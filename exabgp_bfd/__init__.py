"""exabgp-bfd: withdraws and announces anycast routes through ExaBGP as the BFD sessions of routers fail and recover."""

__version__ = "0.1.0"
