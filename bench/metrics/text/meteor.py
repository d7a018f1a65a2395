"""METEOR 1.5, computed by its authors' own program.

METEOR compares stems, synonyms and a paraphrase table of 60 MB, which no Python package carries
apart from that program; the Python versions that exist leave paraphrases out and are off by several
hundredths. So the score exists where `meteor-1.5.jar` and a Java runtime do, and is None elsewhere.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from gapbench.bench.core.errors import DataError
from gapbench.bench.metrics.base import metric
from gapbench.bench.metrics.text.inputs import checked
from gapbench.bench.metrics.text.tokenizer import words

JAR_VARIABLE = "GAPBENCH_METEOR_JAR"
"""Environment variable with the path of the program, where it is not the installed package's."""

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
    description="Aligned words, stems, synonyms and paraphrases; needs Java.",
    reference="meteor-1.5.jar as called by coco-caption",
    unsupported_reason=unsupported_reason,
)
def meteor(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float | None:
    """Return METEOR of a corpus, in [0, 1], None where `unsupported_reason` gives a reason.

    Texts are cut by `bench.metrics.text.tokenizer` and scored with English settings and
    normalisation on, as coco-caption does. Loading the tables takes about ten seconds a call.

    Args:
        hypotheses: one output per example.
        references: one or more texts per example; blank ones are ignored.

    Raises:
        DataError: See `bench.metrics.text.inputs.checked`; or the program fails.

    Source: Denkowski and Lavie, "Meteor Universal", 2014; coco-caption,
        pycocoevalcap/meteor/meteor.py.
    """
    texts = checked("meteor", hypotheses, references)
    jar = _jar()
    if jar is None or unsupported_reason():
        return None
    questions = [
        " ||| ".join(["SCORE", *(_line(text) for text in each), _line(hypothesis)])
        for hypothesis, each in zip(hypotheses, texts, strict=True)
    ]
    try:
        return _corpus_score(jar, questions)
    except BrokenPipeError as error:
        raise DataError(_STOPPED) from error


def _corpus_score(jar: Path, questions: list[str]) -> float:
    """Send the program one question an example, and return its score of all."""
    command = ["java", "-Xmx2G", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]
    # A path from the environment is run on purpose: it is the user's own program.
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as program:
        counts = [_ask(program, question) for question in questions]
        # The answer is one score per example, then the score of all.
        answers = [_ask(program, " ||| ".join(["EVAL", *counts]))]
        answers += [_ask(program, None) for _ in questions]
        program.communicate()
    return float(answers[-1])


def _jar() -> Path | None:
    if named := os.environ.get(JAR_VARIABLE):
        jars = [Path(named)]
    else:
        package = importlib.util.find_spec("pycocoevalcap")
        folders = package.submodule_search_locations if package else None
        jars = [Path(folder) / "meteor" / "meteor-1.5.jar" for folder in folders or ()]
    return next((jar for jar in jars if jar.is_file()), None)


def _line(text: str) -> str:
    # No word holds the program's separator: a bar is always a word of its own.
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
