"""Where events and BGP messages are kept, and how they are asked for.

`journal` is the one write path and the default store (SQLite, WAL); `database` owns its file; `reader` answers from it.
`queries` is the query model and the JSON forms, which any store serves alike.
"""
