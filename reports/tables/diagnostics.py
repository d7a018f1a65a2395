"""What methods report of themselves (selected blocks, kept ranks), put together over seeds."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gapbench.reports.results.load import LoadedResults
from gapbench.reports.tables.terminal import label, place, short


@dataclass(frozen=True)
class Finding:
    """One thing that a method says of its runs on one task.

    Attributes:
        place: task and backbone.
        name: method and variant.
        what: name of the diagnostic, in words.
        text: its values over the seeds.
    """

    place: str
    name: str
    what: str
    text: str


def findings(results: LoadedResults, row: Any) -> list[Finding]:
    """Return the diagnostics of a leaderboard row's runs, a line each; not what is only drawn."""
    known = results.diagnostics
    stored = [known[run] for run in row.ok_runs.values() if run in known]
    drawn = {name for each in results.drawings.get(row.config_hash, ()) for name in each.only_drawn}
    where = place(row.task, row.backbone, row.start)
    name = label(row.method, row.variant)
    found = []
    for key in dict.fromkeys(key for each in stored for key in each):
        if key in drawn:
            continue
        values = [each[key] for each in stored if each.get(key) is not None]
        found.append(Finding(where, name, key.replace("_", " "), _summary(values)))
    return found


def _countable(entry: Any) -> Any:
    """Return an entry, as JSON if it holds others."""
    return json.dumps(entry) if isinstance(entry, list | dict) else entry


def _summary(values: Sequence[Any]) -> str:
    """Put one diagnostic of several seeds into words, by its type."""
    if not values:
        return "none"
    if all(isinstance(value, list) for value in values):
        counts = Counter(_countable(entry) for value in values for entry in value)
        entries = sorted(counts, key=lambda entry: (str(type(entry)), entry))
        return ", ".join(f"{e} ({counts[e]}/{len(values)})" for e in entries) or "none"
    if all(isinstance(value, dict) for value in values):
        keys = dict.fromkeys(key for value in values for key in value)
        means = {key: _summary([v[key] for v in values if key in v]) for key in keys}
        return "; ".join(f"{key}: {text}" for key, text in means.items())
    if all(isinstance(value, int | float) for value in values):
        low, mean, high = np.min(values), np.mean(values), np.max(values)
        return short(mean) if low == high else "{1} ({0} to {2})".format(*_even((low, mean, high)))
    return ", ".join(dict.fromkeys(str(value) for value in values))


def _even(values: Sequence[float]) -> list[str]:
    """Return numbers in as many decimals each, as far as no letter stands for thousands."""
    texts = [short(value) for value in values]
    if any(text[-1].isalpha() for text in texts):
        return texts
    decimals = max(len(text.partition(".")[2]) for text in texts)
    return [f"{float(text):.{decimals}f}" for text in texts]
