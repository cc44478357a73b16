"""Loads a configuration from text, for tests that are about what follows from it."""

from collections.abc import Mapping
from pathlib import Path

from turnout_server.config.build import Parts, build
from turnout_server.config.load import Loaded, load


def loaded(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Loaded:
    file = folder / "turnout.yaml"
    file.write_text(text)
    return load(str(file), environ or {})


def parts(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Parts:
    return build(loaded(folder, text, environ).configuration, environ or {})
