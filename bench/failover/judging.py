"""What a call came to, judged by what its caller holds in the end, and by nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tests.faults.vendors import ANSWER, HALF


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the caller was told: text, and `error` in words, "" where the call ended as a success does.

    `hung` says that it had not ended when the caller lost patience.
    """

    text: str
    error: str
    hung: bool
    seconds: float


class Verdict(StrEnum):
    """What it is worth to the caller."""

    COMPLETE = "complete"
    HONEST = "honest error"
    CUT = "wrong: cut, shown as success"
    EMPTY = "wrong: empty, shown as success"
    GARBAGE = "wrong: garbage"
    HUNG = "wrong: hung"
    MEMORY = "wrong: took all memory"

    @property
    def wrong(self) -> bool:
        """Whether the caller was misled, or left alone."""
        return self not in {Verdict.COMPLETE, Verdict.HONEST}


def judged(told: Told, *, out_of_memory: bool = False) -> Verdict:
    """Returns the verdict; `out_of_memory` says that the process was ended for the memory that it took.

    A half answer with a whole one behind it is complete: whoever sends that had the fallback go on where the answer
    broke off, and the fallback here, which always gives the same answer, cannot.
    """
    if out_of_memory:
        return Verdict.MEMORY
    if told.hung:
        return Verdict.HUNG
    if told.error:
        return Verdict.HONEST
    text = " ".join(told.text.split())
    whole, half = " ".join(ANSWER.split()), " ".join(HALF.split())
    if text in {whole, f"{half} {whole}"}:
        return Verdict.COMPLETE
    if not text:
        return Verdict.EMPTY
    return Verdict.CUT if whole.startswith(text) else Verdict.GARBAGE
