"""The safety policy: reads and validates `policy.toml`, and explains what each objective means.

Knows objectives, presets and thresholds. Does not know where scores come from (`safety.py`) nor what they lead to (`verdicts.py`).

A user's file is laid over the shipped one: what it does not name keeps its value (law 2), and a name that is not known is an error.
"""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from data import POLICY

Preset = Literal["strict", "balanced", "permissive"]
PRESETS: tuple[Preset, ...] = get_args(Preset)
GROUPS = ("harm", "injustice", "misinformation")
ACTIONS = ("drop", "flag")
"""What follows where an objective is violated, the stronger first."""
CODES = tuple(f"S{n}" for n in range(1, 14))
TOP_KEYS = {"format", "preset", "steering", "fallback", "ungrounded_fallback", "objectives"}
OBJECTIVE_KEYS = {"group", "code", "title", "definition", "thresholds", "action", "fallback"}
CHANGEABLE_KEYS = {"threshold", "thresholds", "action", "fallback", "definition", "title"}
OWN_KEYS = CHANGEABLE_KEYS | {"head", "group"}


class PolicyError(ValueError):
    """A policy cannot be used; the message names the file, the key and what is allowed."""


@dataclass(frozen=True)
class Objective:
    """One safety rule. `threshold` is a probability in (0, 1]: a score at or above it violates the objective."""

    name: str
    group: str
    code: str
    title: str
    definition: str
    threshold: float
    action: str
    fallback: str
    head: str | None = None
    """Of a user's own objective: the folder of its trained head (see `own_objective.py`)."""


@dataclass(frozen=True)
class Policy:
    """Every objective with its threshold and action, and what is said when nothing passes or no reply has support."""

    preset: str
    objectives: Mapping[str, Objective]
    steering: str
    fallback: str
    ungrounded_fallback: str

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that change whenever any value of the policy does."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]

    @property
    def heads(self) -> tuple[Path, ...]:
        """The folders of the heads of a user's own objectives."""
        return tuple(Path(o.head) for o in self.objectives.values() if o.head is not None)

    def tightened(self, other: "Policy") -> "Policy":
        """This policy made as strict as the other, never looser: of each objective that both have the lower threshold and the stronger
        action. Objectives that one of them lacks, and every word that is said, stay as they are here. Itself where the other is
        stricter in nothing.
        """
        found = {
            name: _tightened(own, other.objectives[name]) if name in other.objectives else own
            for name, own in self.objectives.items()
        }
        if found == self.objectives:
            return self
        return replace(self, preset=f"{self.preset}+{other.preset}", objectives=found)

    @cached_property
    def by_preset(self) -> Mapping[Preset, "Policy"]:
        """This policy, tightened by each of the shipped presets."""
        return {preset: self.tightened(shipped) for preset, shipped in shipped_presets().items()}

    def explain(self, name: str) -> str:
        """One objective in a sentence: code, title, definition, threshold, action. Raises KeyError for an unknown name."""
        o = self.objectives[name]
        return f"{o.name} ({o.code}, {o.title}): {o.definition} Scores of {o.threshold:g} and more: {o.action}."


def _tightened(own: Objective, other: Objective) -> Objective:
    stronger = min(own.action, other.action, key=ACTIONS.index)
    return replace(own, threshold=min(own.threshold, other.threshold), action=stronger)


@cache
def shipped_presets() -> Mapping[Preset, Policy]:
    """The shipped policy at each of its presets."""
    return {preset: load_policy(preset) for preset in PRESETS}


def load_policy(source: str | Path | None = None) -> Policy:
    """The shipped policy, one of its presets ("strict", "balanced", "permissive"), or a user's TOML file laid over it.

    Raises `PolicyError`.
    """
    shipped = _read(POLICY)
    _check_shipped(shipped)
    if source is None or source in PRESETS:
        return _policy(shipped, {"preset": source or shipped["preset"]}, POLICY.name)
    path = Path(source)
    if not path.is_file():
        raise PolicyError(f"policy {str(source)!r} is neither a preset ({', '.join(PRESETS)}) nor a file")
    own = _read(path)
    _check_own(own, shipped["objectives"], path.name)
    return _policy(shipped, own, path.name)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PolicyError(f"{path.name}: cannot be read as TOML: {error}") from error


def _policy(shipped: dict[str, Any], own: dict[str, Any], where: str) -> Policy:
    preset = own.get("preset", shipped["preset"])
    if preset not in PRESETS:
        raise PolicyError(f"{where}: preset {preset!r} is unknown; known: {', '.join(PRESETS)}")
    objectives = {}
    for name, base in shipped["objectives"].items():
        changed = own.get("objectives", {}).get(name, {})
        row = {**base, **changed}
        threshold = changed.get("threshold", row["thresholds"][preset])
        objectives[name] = Objective(
            name=name,
            threshold=float(threshold),
            **{key: row[key] for key in ("group", "code", "title", "definition", "action", "fallback")},
        )
    for name, row in own.get("objectives", {}).items():
        if name not in objectives:
            objectives[name] = Objective(
                name=name,
                threshold=float(row.get("threshold", row.get("thresholds", {}).get(preset, 0.5))),
                group=row.get("group", "harm"),
                code="own",
                title=row.get("title", name),
                definition=row.get("definition", name),
                action=row.get("action", "drop"),
                fallback=row.get("fallback", own.get("fallback", shipped["fallback"])),
                head=row["head"],
            )
    return Policy(
        preset=preset,
        objectives=objectives,
        steering=own.get("steering", shipped["steering"]),
        fallback=own.get("fallback", shipped["fallback"]),
        ungrounded_fallback=own.get("ungrounded_fallback", shipped["ungrounded_fallback"]),
    )


def _check_shipped(shipped: dict[str, Any]) -> None:
    where = POLICY.name
    if shipped.get("format") != 1:
        raise PolicyError(f"{where}: format must be 1")
    _only(shipped, TOP_KEYS, where, "")
    for name, row in shipped["objectives"].items():
        _only(row, OBJECTIVE_KEYS, where, f"objectives.{name}.")
        missing = OBJECTIVE_KEYS - set(row)
        if missing:
            raise PolicyError(f"{where}: objectives.{name} lacks {', '.join(sorted(missing))}")
        _one_of(row["group"], GROUPS, where, f"objectives.{name}.group")
        _one_of(row["code"], CODES, where, f"objectives.{name}.code")
        _values(row, where, name)


def _check_own(own: dict[str, Any], known: dict[str, Any], where: str) -> None:
    _only(own, TOP_KEYS, where, "")
    if own.get("format", 1) != 1:
        raise PolicyError(f"{where}: format must be 1")
    for key in ("steering", "fallback", "ungrounded_fallback"):
        if key in own:
            _text(own[key], where, key)
    objectives = own.get("objectives", {})
    if not isinstance(objectives, dict):
        raise PolicyError(f"{where}: objectives must be tables, [objectives.NAME]")
    for name, row in objectives.items():
        if not isinstance(row, dict):
            raise PolicyError(f"{where}: objectives.{name} must be a table")
        if name not in known and "head" not in row:
            known_names = ", ".join(known)
            raise PolicyError(
                f"{where}: unknown objective {name!r}; known: {known_names}; one of your own needs a head"
            )
        _only(row, CHANGEABLE_KEYS if name in known else OWN_KEYS, where, f"objectives.{name}.")
        if name not in known:
            _text(row["head"], where, f"objectives.{name}.head")
            _one_of(row.get("group", "harm"), GROUPS, where, f"objectives.{name}.group")
        if "threshold" in row and "thresholds" in row:
            raise PolicyError(f"{where}: objectives.{name} gives both threshold and thresholds; give one")
        if "threshold" in row:
            _probability(row["threshold"], where, f"objectives.{name}.threshold")
        _values(row, where, name)


def _values(row: dict[str, Any], where: str, name: str) -> None:
    if "thresholds" in row:
        thresholds = row["thresholds"]
        if not isinstance(thresholds, dict) or set(thresholds) != set(PRESETS):
            raise PolicyError(f"{where}: objectives.{name}.thresholds must give {', '.join(PRESETS)}")
        for preset, value in thresholds.items():
            _probability(value, where, f"objectives.{name}.thresholds.{preset}")
    if "action" in row:
        _one_of(row["action"], ACTIONS, where, f"objectives.{name}.action")
    for key in ("title", "definition", "fallback"):
        if key in row:
            _text(row[key], where, f"objectives.{name}.{key}")


def _only(row: dict[str, Any], allowed: set[str], where: str, prefix: str) -> None:
    unknown = sorted(set(row) - allowed)
    if unknown:
        raise PolicyError(f"{where}: unknown key {prefix}{unknown[0]}; known: {', '.join(sorted(allowed))}")


def _one_of(value: object, allowed: tuple[str, ...], where: str, key: str) -> None:
    if value not in allowed:
        raise PolicyError(f"{where}: {key} is {value!r}; allowed: {', '.join(allowed)}")


def _text(value: object, where: str, key: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise PolicyError(f"{where}: {key} must be a non-empty string")


def _probability(value: object, where: str, key: str) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= 1:  # type: ignore[operator]  # NaN is in no range
        raise PolicyError(f"{where}: {key} is {value!r}; a threshold is a probability above 0 and at most 1")


OBJECTIVES: tuple[str, ...] = tuple(load_policy().objectives)
"""The names of all objectives, in the order of the shipped policy."""
