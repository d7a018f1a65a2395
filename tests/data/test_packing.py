"""Packed rows: every decision once, and scored as in a sequence of its own."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gapbench.bench.adaptation.losses import target_losses
from gapbench.bench.data.encoded import CausalSplit, TurnsSplit
from gapbench.bench.data.packing import pack
from gapbench.bench.profiling.forecast import _tokens
from gapbench.bench.tasks import kinds
from gapbench.bench.tasks.eval_subset import EvalSubset, forward
from tests.support.causal_files import (
    CHOOSE,
    COLOURS,
    FAMILIES,
    METHODS,
    NOUNS,
    TALK,
    TELL,
    WORDS,
    Made,
    losses,
    make,
    make_decoder,
    make_task,
)

SPLITS = ("train", "validation", "test")
# Of one record, more tellings than a row has room for; of another, a single one.
MANY: dict[str, list[Any]] = {
    "who": ["cat"] * 80 + ["hen"],
    "what": ["red"] * 80 + ["old and shy"],
    "telling": [f"the {a} is {b} and {c}" for a in NOUNS for b in COLOURS for c in COLOURS]
    + ["it"],
}
# A prompt that is cut elsewhere for each choice, so that they share its first token at most.
CUT: dict[str, list[Any]] = {
    "who": ["red old small shy " * 15 + "cat"],
    "choices": [["old", "shy and small", "not red"]],
    "label": [1],
}
# Questions after the same solved examples, and questions that begin alike for a word or two.
AFTER: dict[str, list[Any]] = {
    "who": [
        f"{'red old small shy ' * 5}{noun} and {other}" for noun in NOUNS for other in WORDS[:16]
    ],
    "choices": [["old", "shy and small", "not red"]] * 80,
    "label": [1] * 80,
}
APART = AFTER | {"who": [f"{noun} and {other}" for other in WORDS[:16] for noun in NOUNS]}


@pytest.fixture(scope="module", params=FAMILIES)
def decoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a family's decoder."""
    return make_decoder(tmp_path_factory.mktemp("decoders") / request.param, request.param)


def test_rows_hold_every_decision_once_in_order(decoder: Path) -> None:
    """Rows put together have the targets of all sequences, each after its own tokens alone."""
    split = make(decoder, make_task(TELL), dict.fromkeys(SPLITS, MANY)).data.test
    assert isinstance(split, CausalSplit)
    rows = pack(split, np.arange(len(split)))
    assert len(rows) == 2  # of two records
    expected = [split.input_ids[a + p : b] for a, b, p in bounds(split)]
    np.testing.assert_array_equal(
        np.concatenate([row.targets for row in rows]), np.concatenate(expected)
    )
    numbers = np.concatenate([row.numbers for row in rows])
    np.testing.assert_array_equal(numbers, np.arange(len(numbers)))
    before = [split.input_ids[a : a + p + i] for a, b, p in bounds(split) for i in range(b - a - p)]
    found = [row.tokens[row.seen()[place]] for row in rows for place in row.wanted]
    assert len(found) == len(before)
    for seen, tokens in zip(found, before, strict=True):
        np.testing.assert_array_equal(seen, tokens)


def test_rows_read_once_what_sequences_begin_with(decoder: Path) -> None:
    """Those of an example share what they can; examples, where it is most of their tokens.

    A row has room for 256 tokens beside its first sequence.
    """
    split = make(decoder, make_task(TELL), dict.fromkeys(SPLITS, MANY)).data.test
    first, _ = pack(split, np.arange(2))  # type: ignore[arg-type]
    assert first.width < sum(split.lengths[:80] - 1) / 4
    distinct = {
        tuple(split.input_ids[a : a + size])
        for a, b, _ in bounds(split)[:80]  # type: ignore[arg-type]
        for size in range(1, b - a)
    }
    assert first.width == len(distinct)
    one = pack(split, np.arange(2), most_targets=len(first.targets) // 2)  # type: ignore[arg-type]
    assert len(one) > 2
    assert max(len(row.targets) for row in one) <= len(first.targets) // 2
    for content, fewest, most in ((AFTER, 2, 3), (APART, 80, 80)):
        choices = make(decoder, make_task(CHOOSE), dict.fromkeys(SPLITS, content)).data.test
        rows = pack(choices, np.arange(80))  # type: ignore[arg-type]
        assert fewest <= len(rows) <= most
        assert max(row.width for row in rows) <= 256 + max(choices.lengths)


def test_forecasts_count_the_tokens_that_are_read(decoder: Path) -> None:
    """Those of rows; where each sequence has its own, all but the last of each."""
    choices = make(decoder, make_task(CHOOSE), dict.fromkeys(SPLITS, AFTER)).data.test
    whole = EvalSubset.of(choices)
    alone = sum(choices.lengths - 1)
    assert _tokens(whole, together=False) == alone
    assert _tokens(whole, together=True) < alone / 4


@pytest.mark.parametrize(
    ("content", "rows"),
    [(TELL, MANY), (CHOOSE, CUT), (CHOOSE, AFTER)],
    ids=["many references", "cut prompts", "after solved examples"],
)
def test_packed_sequences_score_as_they_do_alone(
    content: dict[str, Any], rows: dict[str, list[Any]], decoder: Path
) -> None:
    """Neither neighbours in a row, nor a row's end, nor a shared start changes a loss."""
    made = make(decoder, make_task(content), dict.fromkeys(SPLITS, rows))
    expected = alone(made)
    if content is TELL:
        np.testing.assert_allclose(
            made.untuned()["loss"][0], np.concatenate(expected), rtol=0, atol=1e-9
        )
    else:
        sums = np.reshape([-each.sum() for each in expected], (-1, 3))
        np.testing.assert_allclose(made.untuned()["logits"][0], sums, rtol=0, atol=1e-9)


def test_answers_of_a_dialogue_score_as_the_plain_model_scores_them(decoder: Path) -> None:
    """Rows hold the targets of every answer in order, each after all that precedes it."""
    made = make(decoder, make_task(TALK))
    split, model = made.data.test, made.plain()
    assert isinstance(split, TurnsSplit)
    expected = []
    for sequence, (start, stop) in enumerate(pairwise(split.offsets)):
        places = split.places[split.place_offsets[sequence] : split.place_offsets[sequence + 1]]
        every = losses(model, split.input_ids[start:stop].tolist(), 1)
        expected.append(every[places - 1].numpy())
        assert (np.diff(places) > 1).any()
    np.testing.assert_allclose(
        made.untuned()["loss"][0], np.concatenate(expected), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("content", [TELL, TALK], ids=["generation", "dialogues"])
@pytest.mark.parametrize("method", METHODS)
def test_packed_predictions_of_a_method_equal_padded_ones(
    method: str, content: dict[str, Any], tmp_path: Path
) -> None:
    """Whatever a method does when it predicts, a row gives what sequences in a batch give."""
    made = make(make_decoder(tmp_path / "llama", "llama"), make_task(content))
    trained = made.train(method, (0, 1), **METHODS[method])
    probe = EvalSubset.of(made.data.test)
    packed = kinds.get(made.task.kind).outputs(trained.method, trained.state, probe)["loss"]
    counts = probe.split.target_counts[probe.sequences]
    starts = np.cumsum(counts) - counts
    for places, batch, logits in forward(trained.method, trained.state, probe):
        targets = batch.targets.view(2, len(places), -1)
        each = target_losses(logits, targets, "cross_entropy").numpy()
        for row, place in enumerate(places):
            own = slice(starts[place], starts[place] + counts[place])
            np.testing.assert_allclose(
                packed[:, own], each[:, row, : counts[place]], rtol=0, atol=1e-9
            )


def alone(made: Made) -> list[np.ndarray]:
    """Return the losses of every sequence of the test split, each run by itself."""
    split, model = made.data.test, made.plain()
    assert isinstance(split, CausalSplit)
    return [
        losses(model, split.input_ids[a:b].tolist(), int(p)).numpy() for a, b, p in bounds(split)
    ]


def bounds(split: CausalSplit) -> list[tuple[int, int, int]]:
    """Return start, end and prompt tokens of every sequence."""
    return list(zip(split.offsets[:-1], split.offsets[1:], split.prompts, strict=True))
