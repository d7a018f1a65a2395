"""METEOR 1.5, computed by its authors' own program.

METEOR compares stems, synonyms and paraphrases from a table of 60 MB, which comes only with that
program; the Python versions leave paraphrases out and are off by several hundredths. The score is
therefore None unless `meteor-1.5.jar` and a Java runtime are present.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gapbench.bench.core.errors import DataError
from gapbench.bench.metrics.base import metric
from gapbench.bench.metrics.influence import centred
from gapbench.bench.metrics.text.inputs import Hypotheses, References, checked, remembered
from gapbench.bench.metrics.text.tokenizer import words

Floats = NDArray[np.float64]

JAR_VARIABLE = "GAPBENCH_METEOR_JAR"
"""Environment variable with the path of the program, if not from the installed package."""

_STOPPED = (
    "metric meteor: the program stopped without an answer; check that meteor-1.5.jar, its folder "
    "`data` and the Java runtime are complete"
)


def unsupported_reason() -> str | None:
    """Return why METEOR cannot be computed here, None if it can."""
    if shutil.which("java") is None:
        return "METEOR needs a Java runtime, and no `java` is on the path; install one (8 or newer)"
    if _jar() is None:
        return (
            f"METEOR needs meteor-1.5.jar; install the extra `meteor` "
            f"(pip install 'gapbench[meteor]'), or set {JAR_VARIABLE} to the file"
        )
    return None


@metric(
    "meteor",
    "texts",
    title="METEOR",
    description="Aligned words, stems, synonyms and paraphrases; needs Java.",
    reference="meteor-1.5.jar as called by coco-caption",
    unsupported_reason=unsupported_reason,
    items=lambda *texts: _items(*texts),
)
def meteor(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float | None:
    """Return METEOR of a corpus, in [0, 1], None where `unsupported_reason` gives a reason.

    Texts are tokenised by `bench.metrics.text.tokenizer` and scored with English settings and
    normalisation on, as coco-caption does. Loading the tables takes about ten seconds per call.

    Args:
        hypotheses: one output per example.
        references: one or more texts per example; blank ones are ignored.

    Raises:
        DataError: See `bench.metrics.text.inputs.checked`; or the program fails.

    Source: Denkowski and Lavie, "Meteor Universal", 2014; coco-caption,
        pycocoevalcap/meteor/meteor.py.
    """
    checked("meteor", hypotheses, references)
    return None if unsupported_reason() else _scores(hypotheses, references)[0]


def _items(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Floats | None:
    """Return the pseudo-values of METEOR, `(n,)`, None if it cannot be computed."""
    if unsupported_reason():
        return None
    score, without = _scores(hypotheses, references)
    return centred(score, (1 - len(without)) * np.array(without))


@remembered("meteor")
def _scores(hypotheses: Hypotheses, references: References) -> tuple[float, list[float]]:
    """Return the score of the corpus, and the score without each example."""
    questions = [
        " ||| ".join(["SCORE", *(_line(text) for text in each), _line(hypothesis)])
        for hypothesis, each in zip(hypotheses, references, strict=True)
    ]
    try:
        return _answers(questions)
    except BrokenPipeError as error:
        raise DataError(_STOPPED) from error


def _answers(questions: list[str]) -> tuple[float, list[float]]:
    """Query the program for each example; return the score of all, and without each."""
    command = ["java", "-Xmx2G", "-jar", str(_jar()), "-", "-", "-stdio", "-l", "en", "-norm"]
    # Running a path from the environment is intended: it is the user's own program.
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as program:
        counts = [_ask(program, question) for question in questions]
        *_, score = _evaluated(program, counts)
        # The program sums counts over examples, so it can score any sums.
        each = np.array([line.split() for line in counts], dtype=np.float64)
        left = each.sum(axis=0) - each
        without = _evaluated(program, [" ".join(f"{n:.17g}" for n in row) for row in left])[:-1]
        program.communicate()
    return score, without


def _evaluated(program: subprocess.Popen[str], counts: list[str]) -> list[float]:
    """Return the score of each example from its counts, then the score of all."""
    answers = [_ask(program, " ||| ".join(["EVAL", *counts]))]
    answers += [_ask(program, None) for _ in counts]
    return [float(answer) for answer in answers]


def _jar() -> Path | None:
    if named := os.environ.get(JAR_VARIABLE):
        jars = [Path(named)]
    else:
        package = importlib.util.find_spec("pycocoevalcap")
        folders = package.submodule_search_locations if package else None
        jars = [Path(folder) / "meteor" / "meteor-1.5.jar" for folder in folders or ()]
    return next((jar for jar in jars if jar.is_file()), None)


def _line(text: str) -> str:
    # No word contains the program's separator: a bar is always a separate word.
    return " ".join(words(text))


def _ask(program: subprocess.Popen[str], question: str | None) -> str:
    """Send a line if there is one, and return the next line of the answer."""
    assert program.stdin is not None  # noqa: S101 - for the type checker: both are pipes
    assert program.stdout is not None  # noqa: S101
    if question is not None:
        program.stdin.write(question + "\n")
        program.stdin.flush()
    answer = program.stdout.readline().strip()
    if not answer:
        raise DataError(_STOPPED)
    return answer
