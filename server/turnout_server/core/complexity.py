"""How hard a request is, judged from the little that is known before it is sent, where the caller does not say.

Points for length, code, the shape of the question, the output asked for and the thinking asked for; a request of which
nothing is known is MEDIUM, so that ignorance tilts nothing.
"""

from __future__ import annotations

from turnout_server.core.model import Complexity, ReasoningEffort, RequestProfile

HINT_CHARACTERS = 2000
"""Only this much of a hint is read: a decision costs microseconds, however long the prompt."""
LENGTH_POINTS = ((8000, 3), (2000, 2), (500, 1))
"""Input tokens from which on a prompt earns so many points."""
OUTPUT_POINTS = ((8000, 2), (2000, 1))
"""The same for the output asked for."""
EFFORT_POINTS = {ReasoningEffort.HIGH: 2, ReasoningEffort.MEDIUM: 1}
SHAPE_POINTS_MAXIMUM = 2
QUESTIONS_MINIMUM = 3
COMPLEX_POINTS = 3
BYTES_PER_TOKEN = 4

CODE_MARKS = ("```", "def ", "#include", "=>", "):\n", ";\n", "{\n", "function(", "SELECT ", "public class ", "</")
HARD_WORDS = frozenset(
    b"analyse analyze architecture compare debug derive design evaluate optimise optimize plan prove refactor review "
    b"strategy tradeoffs why".split()
)
"""What is asked for where thinking is needed; each word counts once, two at most."""
HARD_PHRASES = ("explain how", "step by step", "trade-off")
_PUNCTUATION = bytes.maketrans(b".,;:?!()'\"", b" " * 10)


def infer_complexity(profile: RequestProfile) -> Complexity:
    """Returns the complexity the caller gave, else the one its points stand for: 0 SIMPLE, 1 to 2 MEDIUM, 3 COMPLEX."""
    if profile.complexity is not None:
        return profile.complexity
    tokens = _input_tokens(profile)
    hint = profile.text_hint[:HINT_CHARACTERS]
    if tokens is None and profile.max_output_tokens is None and profile.reasoning_effort is None:
        return Complexity.MEDIUM
    points = _steps(tokens, LENGTH_POINTS) + _steps(profile.max_output_tokens, OUTPUT_POINTS)
    if profile.reasoning_effort is not None:
        points += EFFORT_POINTS.get(profile.reasoning_effort, 0)
    if hint:
        points += _shape_points(hint)
    if points >= COMPLEX_POINTS:
        return Complexity.COMPLEX
    return Complexity.MEDIUM if points else Complexity.SIMPLE


def _shape_points(hint: str) -> int:
    """Plain searches for fixed words: patterns over a prompt would cost more than the whole rest of a decision."""
    lower = hint.lower()
    hard = len(HARD_WORDS.intersection(lower.encode(errors="replace").translate(_PUNCTUATION).split()))
    hard += sum(phrase in lower for phrase in HARD_PHRASES)
    code = any(mark in hint for mark in CODE_MARKS)
    return min(SHAPE_POINTS_MAXIMUM, hard) + code + (hint.count("?") >= QUESTIONS_MINIMUM)


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
