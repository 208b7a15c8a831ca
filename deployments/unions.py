"""Unions in requests whose errors are short: about the form that the caller chose, not about every form there is.

The tag of a form, such as `(text)`, is in parentheses: errors leave it out of a field's path, since it is no field.
"""

from typing import Any, cast

from pydantic import Discriminator

# Of a text, tagged `(string)`, and a list of something, tagged `(list)`.
STRING_OR_LIST = Discriminator(lambda value: "(list)" if isinstance(value, list) else "(string)")


def by_type(*types: str) -> Discriminator:
    """The discriminator of a union of models, each tagged with the value of its `type` in parentheses."""
    return Discriminator(
        _tag, custom_error_type="unknown_type", custom_error_message=f"needs a type: {', '.join(types)}"
    )


def without_tags(path: tuple[int | str, ...]) -> list[str]:
    """The fields in the path of one of pydantic's errors."""
    return [str(part) for part in path if not (isinstance(part, str) and part.startswith("(") and part.endswith(")"))]


def _tag(value: Any) -> str:
    kind = cast(dict[str, Any], value).get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return f"({kind})"
