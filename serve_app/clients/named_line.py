"""A field of a result as it is printed."""

from rich.text import Text


def named(name: str, value: object) -> Text:
    """A name in bold and its value, whose further lines are indented: only names begin a line."""
    return Text.assemble((name, "bold"), " ", str(value).replace("\n", "\n  "))
