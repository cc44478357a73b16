"""How hard a request is, judged from the little that is known before it is sent, where the caller does not say.

Points for length, code, what kind of work is asked for, the output and the thinking asked for; a request of which
nothing is known is MEDIUM, so that ignorance tilts nothing. How often it is right is measured: docs/complexity.md.
"""

from __future__ import annotations

from turnout_server.core.complexity_words import (
    BRIEF_PHRASES,
    HARD_PHRASES,
    JUDGEMENT,
    JUDGEMENT_POINTS,
    MECHANICAL,
    PROOF,
    PROOF_POINTS,
    TELLING,
    UNSPACED_JUDGEMENT,
    UNSPACED_PROOF,
    UNSPACED_WORK,
    WEIGHING,
    WEIGHING_POINTS,
    WORK_PHRASES,
)
from turnout_server.core.model import Complexity, ReasoningEffort, RequestProfile

HINT_CHARACTERS = 2000
"""Only this much of a hint is read: a decision costs microseconds, however long the prompt."""
TASK_CHARACTERS = 500
"""Words are looked for in this much of it: what is asked for stands before what it is asked of."""
LENGTH_POINTS = ((8000, 3), (2000, 2), (500, 1))
"""Input tokens from which on a prompt earns so many points."""
OUTPUT_POINTS = ((8000, 2), (2000, 1))
"""The same for the output asked for."""
BRIEF_OUTPUT_TOKENS = 64
BRIEF_POINTS = 2
"""Where no more output than that is asked for, so many points fewer: one step down."""
EFFORT_POINTS = {ReasoningEffort.HIGH: 2, ReasoningEffort.MEDIUM: 1}
DETAIL_POINTS = ((160, 2), (54, 1))
"""Characters of a task from which on it is more than a question in passing, and more than one thing is wanted."""
CONTEXT_TOKENS = 2000
"""Up to here, what is not the text itself (tools, earlier turns) makes the task no harder."""
COMMAS_MINIMUM = 3
"""A list of conditions or parts."""
HEAD_CHARACTERS, MATERIAL_CHARACTERS = 160, 200
"""A colon within so many characters, with more than so many behind it, ends the task."""
POINTS_MAXIMUM = 4
QUESTIONS_MINIMUM = 3
COMPLEX_POINTS = 3
BYTES_PER_TOKEN = 4

CODE_MARKS = ("```", "def ", "#include", "=>", "):\n", ";\n", "{\n", "function(", "SELECT ", "public class ", "</")
_PUNCTUATION = bytes.maketrans(b".,;:?!()'\"", b" " * 10)


def infer_complexity(profile: RequestProfile) -> Complexity:
    """Returns the complexity the caller gave, else the one its points stand for: 0 SIMPLE, 1 to 2 MEDIUM, 3 COMPLEX."""
    if profile.complexity is not None:
        return profile.complexity
    tokens, output, effort = _input_tokens(profile), profile.max_output_tokens, profile.reasoning_effort
    if tokens is None and output is None and effort is None:
        return Complexity.MEDIUM
    points = _steps(tokens, LENGTH_POINTS)
    if profile.text_hint:
        if tokens is not None and len(profile.text_hint) < tokens < CONTEXT_TOKENS:
            points = 0
        points = _points(profile.text_hint[:HINT_CHARACTERS], points)
    points = min(points, POINTS_MAXIMUM) + _steps(output, OUTPUT_POINTS)
    if effort is not None:
        points += EFFORT_POINTS.get(effort, 0)
    if output is not None and output <= BRIEF_OUTPUT_TOKENS:
        points -= BRIEF_POINTS
    if points >= COMPLEX_POINTS:
        return Complexity.COMPLEX
    return Complexity.MEDIUM if points > 0 else Complexity.SIMPLE


def _points(hint: str, points: int) -> int:
    """Returns the points with what the text adds to those for its length.

    Plain searches for fixed words: patterns over a prompt would cost more than the whole rest of a decision.
    """
    lower = hint[:TASK_CHARACTERS].lower()
    listed = lower.encode(errors="replace").translate(_PUNCTUATION).split()
    hard, works = _asked_for(lower, set(listed))
    if (listed and listed[0] in MECHANICAL) or _holds(lower, BRIEF_PHRASES):
        # However long what is translated or searched is, it is one step; words of judgement may belong to the text.
        return max(0, hard - JUDGEMENT_POINTS)
    if not points:
        # Length counts once: of a longer prompt most is material, not the task.
        task = _task(lower, len(hint))
        # A character of three bytes, as Chinese has, says as much as three letters.
        size = len(task) if lower.isascii() else len(task.encode(errors="replace"))
        length = len(task) + 2 * max(0, size - 2 * len(task))
        points = _steps(length, DETAIL_POINTS) + (task.count(",") >= COMMAS_MINIMUM)
    points += hard + _holds(hint, CODE_MARKS) + (hint.count("?") >= QUESTIONS_MINIMUM)
    return max(points, 1) if works else points


def _task(lower: str, whole: int) -> str:
    """Returns the text up to where what is asked for seems to end and what it is asked of begins.

    That is at a paragraph or a block of code, or after a colon or a question near the beginning that much follows.
    """
    task = lower.partition("\n\n")[0].partition("```")[0]
    for mark in (": ", "? "):
        end = task.find(mark, 0, HEAD_CHARACTERS)
        if end >= 0 and whole - end > MATERIAL_CHARACTERS:
            task = task[:end]
    return task


def _asked_for(lower: str, words: set[bytes]) -> tuple[int, bool]:
    """Returns the points for proofs and judgement, and whether work of any size is asked for."""
    told = words & TELLING
    hard = 0
    for phrase, points in HARD_PHRASES:
        if phrase in lower:
            hard += points
    if told:
        hard += JUDGEMENT_POINTS * len(told & JUDGEMENT) + WEIGHING_POINTS * len(told & WEIGHING)
        if told & PROOF:
            hard += PROOF_POINTS
    works = bool(told) or _holds(lower, WORK_PHRASES)
    if not lower.isascii():
        hard += JUDGEMENT_POINTS * sum(word in lower for word in UNSPACED_JUDGEMENT)
        if _holds(lower, UNSPACED_PROOF):
            hard += PROOF_POINTS
        works = works or _holds(lower, UNSPACED_WORK)
    return hard, works


def _holds(text: str, marks: tuple[str, ...]) -> bool:
    # A generator would take as long again for each mark.
    for mark in marks:  # noqa: SIM110 - see above
        if mark in text:
            return True
    return False


def _input_tokens(profile: RequestProfile) -> int | None:
    if profile.input_tokens is not None:
        return profile.input_tokens
    if profile.input_bytes is not None:
        return profile.input_bytes // BYTES_PER_TOKEN + profile.extra_input_tokens
    return len(profile.text_hint) // BYTES_PER_TOKEN if profile.text_hint else None


def _steps(value: int | None, steps: tuple[tuple[int, int], ...]) -> int:
    if value is None:
        return 0
    return next((points for least, points in steps if value >= least), 0)
