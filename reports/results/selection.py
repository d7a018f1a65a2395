"""The part of a results folder that is asked about: some of its tasks, backbones or methods."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

from gapbench.bench.core.errors import StoreError
from gapbench.bench.tuning.summary import Summary
from gapbench.reports.results.load import LoadedResults


@dataclass(frozen=True)
class Selection:
    """Names to keep; where there are none, all are kept.

    Attributes:
        task: names of tasks.
        backbone: of backbones.
        method: of methods; their variants go with them.
    """

    task: tuple[str, ...] = ()
    backbone: tuple[str, ...] = ()
    method: tuple[str, ...] = ()

    def of(self, results: LoadedResults) -> LoadedResults:
        """Return the part of a results folder; its unreadable records stay listed.

        Raises:
            StoreError: if a name is not in the folder, or no run has all that is asked for.
        """
        runs = results.runs
        for kind, names in self._given():
            known = sorted(set(results.runs[kind]))
            if strays := [name for name in names if name not in known]:
                raise StoreError(
                    f"results folder {results.store.root} has no {kind} {strays[0]!r}; it has "
                    f"{', '.join(known) or 'none'}"
                )
            runs = runs[runs[kind].isin(names)]
        if runs.empty and len(results.runs):
            raise StoreError(
                f"results folder {results.store.root} has no run of {self}; ask for more names"
            )
        if not self._given():
            return results
        return replace(
            results,
            runs=runs.reset_index(drop=True),
            part=str(self),
            whole=results.whole or results,
        )

    def studies(self, found: Iterable[Summary]) -> list[Summary]:
        """Return the studies that belong to the part."""
        return [
            summary
            for summary in found
            if all(getattr(summary.study, kind) in names for kind, names in self._given())
        ]

    def __str__(self) -> str:
        """Name the part in words; "" if it is the whole."""
        return "; ".join(f"{kind} {', '.join(names)}" for kind, names in self._given())

    def _given(self) -> list[tuple[str, tuple[str, ...]]]:
        pairs = [(each.name, getattr(self, each.name)) for each in fields(self)]
        return [(kind, names) for kind, names in pairs if names]


EVERYTHING = Selection()
