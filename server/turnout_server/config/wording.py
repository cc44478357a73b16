"""What the schema finds wrong with a value, in words for operators: without the names of our own types."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


def wording(details: ErrorDetails) -> str:
    """Returns what is wrong with a value, and what would be right; of an unknown key the caller knows more."""
    words = details["msg"][:1].lower() + details["msg"][1:]
    match details["type"]:
        case "missing":
            words = "the key is required"
        case "value_error":
            words = str(details["ctx"]["error"])
        case "model_type" | "dict_type" | "model_attributes_type":
            words = "a block of keys is needed here"
        case "tuple_type" | "list_type":
            words = "a list is needed here"
        case "too_long":
            words = f"has too many entries; at most {details['ctx']['max_length']} are possible"
        case "enum" | "literal_error":
            words = f"must be one of {details['ctx']['expected']}"
    return words
