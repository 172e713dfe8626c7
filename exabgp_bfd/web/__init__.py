"""The web room: an HTTP API on Flask and waitress that reads snapshots, posts orders, and never touches the engine."""
