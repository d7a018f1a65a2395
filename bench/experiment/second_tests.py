"""Second tests of a training: may the model of a task be scored on another one, and how."""

from collections.abc import Collection, Mapping

from gapbench.bench.config.run import SecondTest
from gapbench.bench.config.task import Task
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.core.schema import suggest
from gapbench.bench.data.sources import Sources
from gapbench.bench.tasks import kinds

Labels = Mapping[str | int, str | int]


def second_test(
    place: str, task: Task, test: Task, labels: Labels | None, sources: Sources
) -> SecondTest:
    """Return a second test of the models of a task.

    Args:
        place: name of the entry in messages.
        task: task that is trained.
        test: task whose test rows are scored.
        labels: class of the test that each class of the trained task stands for; None where both
            have the same names.
        sources: places of the test's rows.

    Raises:
        ConfigError: if the models cannot answer the test.
        DataError: if its rows cannot be reached.
    """
    if test.name == task.name:
        raise ConfigError(f"{place}: its own test split is scored anyway; leave it out")
    if test.name in {"train", "validation", *task.splits.official}:
        raise ConfigError(
            f"{place}: records have a split {test.name!r} already; give the task another name"
        )
    if (task.head, task.loss) != (test.head, test.loss):
        able = [
            name
            for name, each in kinds.task_classes().items()
            if (each.head, each.loss) == (test.head, test.loss)
        ]
        raise ConfigError(
            f"{place}: the models of task {task.name!r}, of kind {task.kind}, have no head that "
            f"answers {test.name!r}, of kind {test.kind}; leave it out, or test it on models of a "
            f"task of kind {' or '.join(able)}"
        )
    only_test = test.only_test()
    return SecondTest(
        task=only_test, data=sources.data(only_test), classes=_classes(place, task, test, labels)
    )


def _classes(place: str, task: Task, test: Task, labels: Labels | None) -> tuple[int, ...] | None:
    """Return the test's class that each class of a model stands for; None if they are the same."""
    if not task.has_classes:
        if labels is not None:
            raise ConfigError(
                f"{place}: field 'labels' maps classes, but a {task.kind} task has none; remove it"
            )
        return None
    if labels is None:
        if {*task.labels} != {*test.labels}:
            raise ConfigError(
                f"{place}: the classes of {task.name!r} are {_listed(task.labels)}, those of "
                f"{test.name!r} are {_listed(test.labels)}; say by the field 'labels' which class "
                f"of {test.name!r} each class of {task.name!r} stands for"
            )
        labels = {name: name for name in task.labels}
    for what, owner, given in (("key", task, [*labels]), ("value", test, [*labels.values()])):
        for name in given:
            if name not in owner.labels:
                raise ConfigError(
                    f"{place}: field 'labels' has the {what} {name!r}, which is no class of "
                    f"{owner.name!r}; {suggest(str(name), [*map(str, owner.labels)])}"
                )
    for what, owner, found in (("key", task, {*labels}), ("value", test, {*labels.values()})):
        if absent := [name for name in owner.labels if name not in found]:
            raise ConfigError(
                f"{place}: field 'labels' has no {what} {absent[0]!r}, a class of "
                f"{owner.name!r}; each class of {task.name!r} stands for one of {test.name!r}, and "
                "each of these for at least one"
            )
    classes = tuple(test.labels.index(labels[name]) for name in task.labels)
    return None if classes == tuple(range(task.n_outputs)) else classes


def _listed(names: Collection[str | int]) -> str:
    return ", ".join(map(str, names))
