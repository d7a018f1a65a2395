"""A results folder in Python: runs as data frames, comparisons and reports."""

from functools import cached_property
from html import escape
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from gapbench.bench.api.calls import Names
from gapbench.bench.api.choices import SHARED_FORMATS, check_above_zero, names, one_of, run_name
from gapbench.bench.api.outcome import CallOutcome
from gapbench.bench.api.views import Claims, Comparison, Verdicts
from gapbench.bench.core.errors import RecordError, StoreError
from gapbench.bench.store.record_io import TEST, predictions_path, read_predictions
from gapbench.bench.store.store import Store
from gapbench.bench.tuning.summary import read_summaries
from gapbench.reports.claims.judge import judge
from gapbench.reports.claims.model import load as load_claims
from gapbench.reports.document.context import Evidence
from gapbench.reports.render import shared_formats
from gapbench.reports.render.build import build, whole_leaderboard
from gapbench.reports.results import load as loading
from gapbench.reports.results.load import LoadedResults
from gapbench.reports.results.selection import Selection
from gapbench.reports.tables.csv_columns import curves, with_predictions, with_settings
from gapbench.reports.tables.judgements import COLUMNS as JUDGEMENTS
from gapbench.reports.tables.judgements import judged_answers
from gapbench.reports.tables.second_tests import COLUMNS as SECOND_TESTS
from gapbench.reports.tables.second_tests import second_tests
from gapbench.reports.tables.standing import REFERENCE
from gapbench.reports.tables.summary import summarise
from gapbench.reports.verdict.build import verdicts
from gapbench.reports.verdict.compare import compare

if TYPE_CHECKING:
    from gapbench.bench.api.plots import Plots

_NO_FAILURE = ("ok", "skipped", "missing")
_MOST_SHOWN = 5
_CELL = ["task", "backbone", "method", "variant", "seed"]


def load(folder: str | PathLike[str] = "results") -> "Results":
    """Read a results folder, whatever command or call made it.

    Raises:
        StoreError: if it holds neither a plan nor a record.
        RecordError: if a plan in it cannot be read.
    """
    if Path(folder).is_file():
        raise StoreError(f"{folder} is a file; give the folder that `--results` named")
    results = Results(folder)
    _ = results.runs  # errors appear now
    return results


class Results:
    """A results folder.

    It is read once, on first access: call `load` again to see what
    has been added since.

    Attributes:
        path: the folder.
        outcome: outcome of the call of `run` or `tune` that returned this; empty after `load`.
    """

    def __init__(self, path: str | PathLike[str], outcome: CallOutcome | None = None) -> None:
        self.path = Path(path)
        self.outcome = outcome or CallOutcome()
        self._parts: dict[tuple[Selection, str], tuple[LoadedResults, pd.DataFrame]] = {}

    @cached_property
    def _loaded(self) -> LoadedResults:
        return loading.load(Store(self.path))

    @property
    def runs(self) -> pd.DataFrame:
        """One row for each run that a suite wants, and for each stray record.

        Identity, status, scores, calibration, cost and origin; the columns are those of
        ``runs.csv``, which `docs/data.md` explains.
        """
        loaded = self._loaded
        return with_settings(with_predictions(loaded.runs, loaded), loaded)

    @property
    def failures(self) -> pd.DataFrame:
        """Runs that failed, diverged or were stopped, with their causes; unreadable records too."""
        runs = self._loaded.runs
        failed = runs[~runs["status"].isin(_NO_FAILURE)]
        cause = failed["detail"].str.strip().str.split("\n").str[-1]
        table = failed[["status", *_CELL, "path"]].assign(cause=cause)
        unreadable = [{"status": "unreadable", "cause": why} for why in self._loaded.unreadable]
        return pd.concat([table, pd.DataFrame(unreadable)] if unreadable else [table]).reset_index(
            drop=True
        )

    @property
    def studies(self) -> pd.DataFrame:
        """One row for each search of settings; empty if nothing was tuned."""
        rows = [
            summary.study.model_dump(exclude={"trials", "space"})
            | {"dimensions": list(summary.study.space), "trials": len(summary.study.trials)}
            | summary.model_dump(include={"optimism", "gain"})
            for summary in read_summaries(self.path)
        ]
        return pd.DataFrame(rows)

    def leaderboard(
        self,
        *,
        tasks: Names = None,
        backbones: Names = None,
        methods: Names = None,
        reference: str = REFERENCE,
    ) -> pd.DataFrame:
        """Return a row for each cell, the best of each task first, with intervals and groups.

        The columns are those of ``leaderboard.csv``. All methods of the folder are compared, even
        if only some are shown; ``reference`` names the row that others are compared with first, ""
        means the suite's.

        Raises:
            StoreError: if the folder has no such task, backbone or method.
        """
        selection, loaded, summary = self._part(tasks, backbones, methods, reference)
        return whole_leaderboard(loaded, summary, selection)

    def second_tests(
        self,
        *,
        tasks: Names = None,
        backbones: Names = None,
        methods: Names = None,
        reference: str = REFERENCE,
    ) -> pd.DataFrame:
        """Return a row for each cell and second test (``also_test`` in a suite).

        Its score, the difference to the reference, and the change from the bare backbone, each with
        its interval. The columns are those of ``second_tests.csv``; empty where there are none.

        Raises:
            StoreError: if the folder has no such task, backbone or method.
        """
        _, loaded, summary = self._part(tasks, backbones, methods, reference)
        return second_tests(loaded, summary)[list(SECOND_TESTS)]

    def judgements(
        self,
        *,
        tasks: Names = None,
        backbones: Names = None,
        methods: Names = None,
        reference: str = REFERENCE,
    ) -> pd.DataFrame:
        """Return a row for each cell, test and question that judges answered about its answers.

        Mean ratings, and shares of pairs won against the reference, with intervals; see
        `export_answers`. The columns are those of ``judgements.csv``; empty where there are none.

        Raises:
            StoreError: if the folder has no such task, backbone or method.
            RecordError: if a file of judgements is damaged.
        """
        _, loaded, summary = self._part(tasks, backbones, methods, reference)
        return judged_answers(loaded, summary).scores[list(JUDGEMENTS)]

    def judges(self) -> pd.DataFrame:
        """Return a row for each judge, test and question: how judges differ and how far they agree.

        The columns are those of ``judges.csv``; empty where nothing was judged.

        Raises:
            RecordError: if a file of judgements is damaged.
        """
        _, loaded, summary = self._part(None, None, None, REFERENCE)
        return judged_answers(loaded, summary).judges

    def compare(
        self,
        first: str,
        second: str,
        *,
        tasks: Names = None,
        backbones: Names = None,
        reference: str = REFERENCE,
        matters: float | None = None,
    ) -> Comparison:
        """Compare two methods on the seeds and test items that both have.

        Args:
            first: a method, or "method / variant".
            second: another method.
            tasks: tasks to compare on; None uses all that both have.
            backbones: backbones to compare on; None uses all that both have.
            reference: name of the row that others are compared with first; "" for the suite's.
            matters: least difference in score that matters; None for a default by metric.

        Raises:
            ConfigError: if both are the same, or a name fits several variants.
            StoreError: if the folder lacks one of them, or any data that they share.
        """
        check_above_zero({"matters": matters}, "matters", whole=False)
        where = Selection(names("tasks", tasks), names("backbones", backbones))
        return Comparison(compare(self._loaded, first, second, where, reference, matters))

    def verdict(
        self,
        *,
        tasks: Names = None,
        backbones: Names = None,
        methods: Names = None,
        reference: str = REFERENCE,
        matters: float | None = None,
    ) -> Verdicts:
        """Return the report's conclusions: for all tasks of a suite together, then for each task.

        Args:
            tasks: tasks to show; None shows all.
            backbones: backbones to show; None shows all.
            methods: methods to show; None shows all. All methods are compared in any case.
            reference: name of the row that others are compared with first; "" for the suite's.
            matters: least difference in score that matters; None for a default by metric.

        Raises:
            StoreError: if the folder has no such task, backbone or method.
        """
        check_above_zero({"matters": matters}, "matters", whole=False)
        _, loaded, summary = self._part(tasks, backbones, methods, reference)
        return Verdicts(tuple(verdicts(loaded, summary, matters)))

    def claims(
        self, claims: str | PathLike[str] | None = None, *, matters: float | None = None
    ) -> Claims:
        """Return what these results say of claims that papers make.

        Args:
            claims: YAML file of claims; None for those that come with gapbench.
            matters: least difference that matters; None for 0.01.

        Raises:
            ConfigError: if the file is not one of claims.
        """
        check_above_zero({"matters": matters}, "matters", whole=False)
        published = load_claims(None if claims is None else Path(claims))
        _, loaded, summary = self._part(None, None, None, REFERENCE)
        return Claims(judge(loaded, summary, published, matters))

    def predictions(self, run: Any, split: str = TEST) -> pd.DataFrame:
        """Return a run's output for each item, logits or texts, with the right answer.

        Args:
            run: run hash, or the start of one; or a row of `runs`.
            split: "test", "train", "validation" or a further test split.

        Raises:
            RecordError: if there is no such run, or it has no stored predictions of the split.
        """
        wanted = run_name(run)
        runs = self._loaded.runs.drop_duplicates("run_hash")
        found = runs[runs["run_hash"].str.startswith(wanted)]
        if len(found) != 1 or not wanted:
            raise RecordError(f"{len(found)} run hashes under {self.path} begin with {wanted!r}")
        row = found.iloc[0]
        table = read_predictions(predictions_path(self.path / row["path"], split))
        if table is None:
            raise RecordError(
                f"run {row['run_hash']} has no stored predictions of split {split!r}; its status "
                f"is {row['status']}"
            )
        frame: pd.DataFrame = table.to_pandas()
        return frame

    def curves(self) -> pd.DataFrame:
        """Return scores and losses during training, one row for each run, step and split.

        `score` is the metric that picks checkpoints: of all of validation at every point, and of a
        fixed part of train and test at few.
        """
        return curves(self._loaded)

    @property
    def plot(self) -> "Plots":
        """Figures as matplotlib axes: ``results.plot.forest("mrpc", ax=ax)`` and others."""
        from gapbench.bench.api.plots import Plots
        from gapbench.reports.render.report import colours

        def evidence(tasks: Names, backbones: Names, methods: Names, reference: str) -> Evidence:
            _, loaded, summary = self._part(tasks, backbones, methods, reference)
            return Evidence(loaded, summary, (), (), colours(summary, ()))

        return Plots(evidence)

    def report(
        self,
        out: str | PathLike[str] | None = None,
        *,
        tasks: Names = None,
        backbones: Names = None,
        methods: Names = None,
        reference: str = REFERENCE,
        matters: float | None = None,
    ) -> tuple[Path, ...]:
        """Write the report: a page, a PDF, CSV files and the figures.

        Args:
            out: folder to write to, made where needed; None for ``report`` in the results folder.
            tasks: tasks to report on, None for all; ``backbones`` and ``methods`` likewise.
            backbones: see ``tasks``.
            methods: see ``tasks``.
            reference: name of the row that others are compared with first; "" for the suite's.
            matters: least difference in score that matters; None for a default by metric.

        Returns:
            The written files.

        Raises:
            StoreError: if the folder has no such part, or ``out`` cannot be written.
        """
        check_above_zero({"matters": matters}, "matters", whole=False)
        selection = _selection(tasks, backbones, methods)
        folder = Path(out or self.path / "report")
        return build(self.path, folder, selection, reference, matters).paths

    def publish(
        self,
        out: str | PathLike[str],
        *,
        format: str = SHARED_FORMATS[0],  # noqa: A002 - the name of the option
        tasks: Names = None,
        backbones: Names = None,
        methods: Names = None,
    ) -> tuple[Path, ...]:
        """Write the rows that have a score in a format that other sites read.

        Args:
            out: folder to write to, made where needed.
            format: "every-eval-ever" or "eval-results"; `docs/data.md` explains them.
            tasks: tasks to write, None for all; ``backbones`` and ``methods`` likewise.
            backbones: see ``tasks``.
            methods: see ``tasks``.

        Returns:
            The written files.

        Raises:
            ConfigError: if there is no such format.
            StoreError: if the folder has no such part or no score, or ``out`` cannot be written.
        """
        one_of("format", format, SHARED_FORMATS)
        _, loaded, summary = self._part(tasks, backbones, methods, REFERENCE)
        return tuple(shared_formats.write(loaded, summary, Path(out), format))

    def _part(
        self, tasks: Names, backbones: Names, methods: Names, reference: str
    ) -> tuple[Selection, LoadedResults, pd.DataFrame]:
        selection = _selection(tasks, backbones, methods)
        if (selection, reference) not in self._parts:
            part = selection.of(self._loaded)
            self._parts[selection, reference] = part, summarise(part, reference)
        return selection, *self._parts[selection, reference]

    def __repr__(self) -> str:
        failed = self._told_failures()
        return "\n".join([self._counted(), *(f"  {line}" for line in failed)])

    def _repr_html_(self) -> str:
        counts = self._loaded.runs.pivot_table(
            index="task", columns="method", values="seed", aggfunc="count", fill_value=0
        )
        told = "".join(f"<li>{escape(line)}</li>" for line in self._told_failures())
        return f"<p>{escape(self._counted())}</p>{counts.to_html()}<ul>{told}</ul>"

    def _counted(self) -> str:
        runs = self._loaded.runs
        statuses = ", ".join(f"{n} {status}" for status, n in runs["status"].value_counts().items())
        return f"Results in {str(self.path)!r}: {len(runs)} runs ({statuses or 'none'})"

    def _told_failures(self) -> list[str]:
        table = self.failures
        shown = [
            f"{row.status}: {row.task}/{row.backbone}/{row.method} seed {row.seed}: {row.cause}"
            if row.status != "unreadable"
            else f"unreadable: {row.cause}"
            for row in table.head(_MOST_SHOWN).itertuples()
        ]
        rest = len(table) - len(shown)
        return shown + ([f"and {rest} more; see .failures"] if rest else [])


def _selection(tasks: Names, backbones: Names, methods: Names) -> Selection:
    return Selection(
        names("tasks", tasks), names("backbones", backbones), names("methods", methods)
    )
