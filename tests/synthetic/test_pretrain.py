"""The recipe of the tiny backbones makes what is stored, and what is stored loads and is small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import transformers

from gapbench.bench import synthetic
from gapbench.bench.synthetic.generators import TASKS, room
from gapbench.bench.synthetic.language.corpus import Corpus, draw_neighbours, draw_pair, draw_story
from gapbench.bench.synthetic.language.lexicon import STOP
from gapbench.bench.synthetic.pretrain import RECIPES, main, train
from gapbench.bench.synthetic.pretraining_models import (
    CLS,
    DECODER_IDS,
    PAD,
    SEP,
    WORD_IDS,
    Architecture,
    Recipe,
    build_tokenizer,
    tokens,
)
from tests.support.splits import generate

KINDS: tuple[Architecture, ...] = get_args(Architecture)
FOLDERS = {kind: Path(synthetic.__file__).parent / "backbones" / f"tiny-{kind}" for kind in KINDS}
WORDS = {"encoder": WORD_IDS, "decoder": DECODER_IDS}
OF_SENTENCES = [name for name in TASKS if name not in ("syn_data2text", "syn_choice")]
RERUN_STEPS = 20


@pytest.fixture(autouse=True)
def _quiet_and_single_threaded() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    yield
    torch.set_num_threads(threads)


def recorded(kind: Architecture) -> Any:
    """Return the stored recipe of a backbone."""
    return json.loads((FOLDERS[kind] / "recipe.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", KINDS)
def test_train_from_recorded_recipe_repeats_the_recorded_losses(kind: Architecture) -> None:
    """The first steps of the stored recipe give the losses that were recorded when it was run."""
    story = recorded(kind)
    recipe = Recipe(**story["recipe"])
    rows = [losses for _, _, losses in train(kind, recipe, RERUN_STEPS)]
    for k in range(RERUN_STEPS // recipe.log_every):
        part = rows[k * recipe.log_every : (k + 1) * recipe.log_every]
        for name in part[0]:
            mean = float(np.mean([row[name] for row in part]))
            assert mean == pytest.approx(story["curve"][k][name], abs=1e-2), (k, name)


@pytest.mark.parametrize("kind", KINDS)
def test_recorded_curve_of_every_loss_falls(kind: Architecture) -> None:
    """Every recorded loss ends clearly below its start, and the recipe is the one in the code."""
    story = recorded(kind)
    curve = story["curve"]
    assert story["recipe"] == RECIPES[kind].__dict__
    assert curve[-1]["step"] == RECIPES[kind].steps
    for name in curve[0].keys() - {"step"}:
        start, end = (np.mean([row[name] for row in part]) for part in (curve[:3], curve[-10:]))
        assert end < 0.8 * start, name


@pytest.mark.parametrize("kind", KINDS)
def test_stored_backbone_loads_whole_for_classification(kind: Architecture) -> None:
    """Nothing but the classification head is missing, and logits do not depend on padding."""
    model, info = transformers.AutoModelForSequenceClassification.from_pretrained(
        FOLDERS[kind], num_labels=2, use_safetensors=True, output_loading_info=True
    )
    assert all(name.startswith(("classifier.", "score.")) for name in info["missing_keys"])
    assert not info["unexpected_keys"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDERS[kind])
    assert model.config.pad_token_id == tokenizer.pad_token_id == PAD
    texts = ["the dog growled", "those nurses did not visit the old doctor near the harbor"]
    together = model.eval()(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    alone = model(**tokenizer(texts[:1], return_tensors="pt")).logits
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-4)


def test_stored_decoder_predicts_the_next_word_far_above_chance() -> None:
    """Loaded as a language model, the decoder is sure where the grammar leaves no choice."""
    model = transformers.AutoModelForCausalLM.from_pretrained(FOLDERS["decoder"]).eval()
    ids, _ = tokens([["the dogs do not"], ["these old nurses relax near the"]])
    logits = model(input_ids=torch.from_numpy(ids)).logits.softmax(dim=-1)
    base, third = WORD_IDS["growl"], WORD_IDS["growls"]
    assert logits[0, 4, base] > 10 * logits[0, 4, third]
    places = [WORD_IDS[word] for word in ("river", "park", "school", "market", "garden", "port")]
    assert logits[1, 6, places].sum() > 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_stored_weights_stay_small(kind: Architecture) -> None:
    """Each weight file is below 2 MB and is the only one."""
    weights = [path for path in FOLDERS[kind].iterdir() if path.suffix == ".safetensors"]
    assert len(weights) == 1
    assert weights[0].stat().st_size < 2_000_000
    assert not list(FOLDERS[kind].glob("*.bin"))


def test_stored_backbones_together_stay_below_six_megabytes() -> None:
    """Everything that is committed for the backbones is below 6 MB."""
    sizes = [path.stat().st_size for folder in FOLDERS.values() for path in folder.iterdir()]
    assert sum(sizes) < 6_000_000


@pytest.mark.parametrize("kind", KINDS)
def test_stored_tokenizer_knows_every_word_of_the_tasks(kind: Architecture) -> None:
    """The stored tokenizer gives the recipe's ids, pairs included, and no unknown word."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDERS[kind])
    for name in OF_SENTENCES if kind == "encoder" else TASKS:
        made = generate(name, "train", 50, 0)
        listed = [[text] for column in made.lists.values() for texts in column for text in texts]
        for row in (*zip(*made.columns.values(), strict=True), *listed):
            encoded = tokenizer(*row)
            ids, types = tokens([row])
            assert encoded["input_ids"] == ids[0].tolist()
            assert tokenizer.unk_token_id not in encoded["input_ids"]
            if kind == "encoder":
                assert encoded["token_type_ids"] == types[0].tolist()
    assert tokenizer("The DOG")["input_ids"] == [CLS, WORD_IDS["the"], WORD_IDS["dog"], SEP]


@pytest.mark.parametrize("kind", KINDS)
def test_build_tokenizer_equals_the_stored_one(kind: Architecture) -> None:
    """The stored vocabulary is the grammar's; the decoder's goes on with the words of records."""
    stored = transformers.AutoTokenizer.from_pretrained(FOLDERS[kind])
    assert stored.get_vocab() == build_tokenizer(kind).get_vocab() == WORDS[kind]
    assert list(WORDS[kind])[: len(WORD_IDS)] == list(WORD_IDS)


def test_corpus_text_stays_in_the_pretraining_room() -> None:
    """No sentence that a backbone learns from may stand in any split of any task."""
    seen = {text for near in Corpus(draw_neighbours, 99, "test").batch(0, 99) for text in near}
    seen |= {text for a, b, _ in Corpus(draw_pair, 99, "test").batch(0, 99) for text in (a, b)}
    stories = Corpus(draw_story, 99, "test").batch(0, 99)
    seen |= {text for story in stories for part in story for text in part.split(f" {STOP} ")}
    assert {room(text) for text in seen} == {"pretrain"}


def test_corpus_batches_go_round_after_its_size() -> None:
    """A corpus of ten items gives item 0 again as its eleventh, whichever batch is asked first."""
    corpus = Corpus(draw_neighbours, 10, "test")
    later = corpus.batch(1, 8)
    assert corpus.batch(0, 8)[:6] == later[2:]


def test_main_without_kind_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """The command's help shows an example."""
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    assert "example: python -m gapbench.bench.synthetic.pretrain" in capsys.readouterr().out


def frozen_score(bert: Any, task: str) -> float:
    """Return the test score of a linear classifier on a frozen encoder's pooled output.

    600 training rows, 600 steps of AdamW at batch 32; accuracy, or Pearson for regression.
    """
    train_split, test_split = generate(task, "train", 600, 0), generate(task, "test", 1000, 0)
    features = []
    for split in (train_split, test_split):
        arrays = tokens(list(zip(*split.columns.values(), strict=True)))
        ids, types = (torch.from_numpy(array) for array in arrays)
        with torch.no_grad():
            features.append(
                bert(ids, token_type_ids=types, attention_mask=ids != PAD).pooler_output
            )
    targets = torch.from_numpy(train_split.labels)
    generator = torch.Generator().manual_seed(0)
    weight = torch.zeros(features[0].shape[1], 2, requires_grad=True)
    bias = torch.zeros(2, requires_grad=True)
    optimiser = torch.optim.AdamW([weight, bias], lr=1e-2)
    for _ in range(600):
        rows = torch.randint(len(targets), (32,), generator=generator)
        logits = features[0][rows] @ weight + bias
        loss = (
            torch.nn.functional.cross_entropy(logits, targets[rows])
            if TASKS[task].labels
            else torch.nn.functional.mse_loss(logits[:, 0].double(), targets[rows])
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    logits = (features[1] @ weight + bias).detach().numpy()
    if TASKS[task].labels:
        return float((logits.argmax(axis=1) == test_split.labels).mean())
    return float(np.corrcoef(logits[:, 0], test_split.labels)[0, 1])


MARGINS = {
    "syn_acceptability": 0.15,
    "syn_entailment": 0.05,  # direction and general nouns are not part of pretraining
    "syn_similarity": 0.4,
    "syn_sentiment": 0.2,
}


@pytest.mark.parametrize("task", OF_SENTENCES)
def test_stored_encoder_beats_random_weights_when_frozen(task: str) -> None:
    """A linear classifier on the frozen encoder does far better than on random weights."""
    stored = transformers.BertModel.from_pretrained(FOLDERS["encoder"]).eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        random = transformers.BertModel(stored.config).eval()
    assert frozen_score(stored, task) > frozen_score(random, task) + MARGINS[task]


def share_preferred(llama: Any) -> float:
    """Return how often the truly likeliest of four choices is the one of greatest likelihood."""
    split = generate("syn_choice", "test", 150, 0)
    assert split.true_probabilities is not None
    hits = 0
    for k, choices in enumerate(split.lists["choices"]):
        prompt = split.columns["prompt"][k]
        ids = torch.from_numpy(tokens([[f"{prompt} {choice}"] for choice in choices])[0])
        with torch.no_grad():
            logits = llama(input_ids=ids, attention_mask=(ids != PAD).long()).logits[:, :-1]
        losses = torch.nn.functional.cross_entropy(
            logits.mT, ids[:, 1:], ignore_index=PAD, reduction="none"
        )
        best = losses[:, len(prompt.split(" ")) :].sum(dim=1).argmin()
        hits += int(best) == int(split.true_probabilities[k].argmax())
    return hits / 150


def test_stored_decoder_beats_random_weights_at_choices_untrained() -> None:
    """As it is, the decoder finds the likeliest retelling far more often than random weights do."""
    stored = transformers.AutoModelForCausalLM.from_pretrained(FOLDERS["decoder"]).eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        random = transformers.LlamaForCausalLM(stored.config).eval()
    assert share_preferred(stored) > share_preferred(random) + 0.25
