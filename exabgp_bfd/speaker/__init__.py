"""ExaBGP's side of the wall: its commands, its messages, and the two pipes between us."""
