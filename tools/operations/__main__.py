"""`python -m tools.operations`: plays the scenes and writes what was seen into docs/operations.md.

Scenes that are named are played, and what the others recorded before stays in the page; without a name all are, which
takes some minutes. With --show nothing is written but what was recorded is printed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tools.operations.page import rewritten
from tools.operations.processes import ROOT
from tools.operations.scenes import SCENES, played

PAGE = ROOT / "docs" / "operations.md"
PICTURES = ROOT / "docs" / "pictures"


def main() -> int:
    """Plays what the arguments name; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.operations", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="SCENE", help=f"one of {', '.join(SCENES)}; none: all of them")
    parser.add_argument("--show", action="store_true", help="print, and change no file")
    parser.add_argument("--pictures", action="store_true", help="also of traces in Jaeger's pages, with Chromium")
    parser.add_argument("--keep", metavar="FOLDER", help="an empty folder that logs are left in")
    asked = parser.parse_args()
    unknown = sorted(set(asked.names) - set(SCENES))
    if unknown:
        parser.error(f"there is no scene {', '.join(unknown)}; there are {', '.join(SCENES)}")
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.names or SCENES:
            print(f"playing {name}", file=sys.stderr, flush=True)  # noqa: T201 - a command's progress
            texts = played(name, Path(asked.keep or folder) / name, PICTURES if asked.pictures else None)
            if asked.show:
                print("\n\n".join(f"----- {what}\n{text}" for what, text in texts.items()))  # noqa: T201 - was asked for
            else:
                PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8"), texts), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
