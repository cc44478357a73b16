"""Every scene there is, by name: what the sidecar is configured with, and what is played."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.operations import scenes_calls as calls
from tools.operations import scenes_choice as choice
from tools.operations import scenes_slow as delay
from tools.operations.records import Records
from tools.operations.stage import Stage, staged


@dataclass(frozen=True)
class Scene:
    """One symptom. `serves` says that the scene starts the sidecar by itself."""

    play: Callable[[Stage, Records], None]
    changes: Mapping[str, Any] = field(default_factory=dict)
    serves: bool = False


def _starved(stage: Stage, records: Records) -> None:
    with stage.serving() as process:
        delay.starved(stage, records, process)


def _keyed(stage: Stage, records: Records) -> None:
    with stage.serving({"NORTH_KEY": "wrong"}):
        choice.key(stage, records)


SCENES = {
    "slow": Scene(delay.slow, delay.SLOW),
    "crowded": Scene(delay.crowded, delay.CROWDED),
    "starved": Scene(_starved, serves=True),
    "never": Scene(choice.never, choice.NEVER),
    "costs": Scene(choice.costs, choice.CHEAP),
    "broken": Scene(calls.broken),
    "nobody": Scene(choice.nobody),
    "network": Scene(choice.network),
    "limited": Scene(choice.limited),
    "budget": Scene(choice.budget, choice.BUDGETS),
    "key": Scene(_keyed, choice.KEYED, serves=True),
    "door": Scene(calls.door, calls.GUARDED, serves=True),
    "refused": Scene(calls.refused),
    "swollen": Scene(calls.swollen, calls.SMALL),
    "restarted": Scene(calls.restarted, serves=True),
    "unheard": Scene(calls.unheard, serves=True),
}


def played(name: str, folder: Path, pictures: Path | None = None) -> dict[str, str]:
    """Plays a scene in an empty folder; returns what was recorded, by name. `pictures` is where screenshots go, if."""
    scene = SCENES[name]
    records = Records(name)
    with staged(folder, scene.changes, serve=not scene.serves) as stage:
        stage.pictures = pictures
        scene.play(stage, records)
    return records.texts
