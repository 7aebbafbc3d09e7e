"""speedscope's own format: a profile for each kind of value, all in one file.

Source     speedscope: its file format specification, file-format-schema.json
"""

import json
from typing import Any

from heapwright.report.profiles.profile import Profile, placed

SUMMARY = "JSON for speedscope.app, all kinds of value"
ENDING = ".speedscope.json"
SCHEMA = "https://www.speedscope.app/file-format-schema.json"


def written(profile: Profile, kind: str | None = None) -> bytes:
    """The file; the kind asked for is the one shown first."""
    frames: dict[str, int] = {}
    stacks: dict[int, list[int]] = {
        row: [frames.setdefault(name, len(frames)) for name in profile.functions(row)]
        for row in profile.rows()
    }
    profiles = []
    for column, one in enumerate(profile.kinds):
        weights = profile.values[:, column].tolist()
        rows = [row for row in stacks if weights[row] > 0]
        profiles.append(
            {
                "type": "sampled",
                "name": f"{one.name}: {one.meaning}",
                "unit": "bytes" if one.unit == "bytes" else "none",
                "startValue": 0,
                "endValue": sum(weights[row] for row in rows),
                "samples": [stacks[row] for row in rows],
                "weights": [weights[row] for row in rows],
            }
        )
    document = {
        "$schema": SCHEMA,
        "exporter": "heapwright",
        "name": profile.program,
        "activeProfileIndex": profile.column(kind),
        "shared": {"frames": [_frame(name) for name in frames]},
        "profiles": profiles,
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _frame(label: str) -> dict[str, Any]:
    place = placed(label)
    found: dict[str, Any] = {"name": place.function}
    if place.file:
        found["file"] = place.file
    if place.line:
        found["line"] = place.line
    return found
