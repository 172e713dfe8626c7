"""stub until the cli room lands."""
