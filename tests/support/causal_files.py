"""Small decoders with tokenizers, and generation and choice tasks made up for them."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from gapbench.bench.adaptation import registry
from gapbench.bench.adaptation.build import set_up
from gapbench.bench.config.head import LANGUAGE_MODEL
from gapbench.bench.config.run import Budget, Cell, Fingerprint, Run, Training
from gapbench.bench.config.task import Task
from gapbench.bench.data.encoded import TaskData
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.tasks import kinds
from gapbench.bench.tasks.eval_subset import EvalSubset
from gapbench.bench.tasks.kinds import Outputs
from tests.support.small_stack import CPU, Trained, load_backbone, train

NOUNS = ("cat", "dog", "bird", "fox", "hen")
COLOURS = ("red", "old", "small", "shy")
WORDS = ["the", "a", "is", "and", "it", "not", ":", "||", "?", *NOUNS, *COLOURS]
SPECIAL = ["[PAD]", "[UNK]", "[BOS]", "[EOS]"]
VOCABULARY = {word: index for index, word in enumerate(SPECIAL + WORDS)}
FAMILIES = ("gpt2", "llama")
WINDOW = 48

METHODS: dict[str, dict[str, Any]] = {
    "lora": {"dropout": 0.2},
    "hiddenkey": {},
    "lora_dropout": {},
    "lora_ensemble": {"members": 2},
    "bilora": {},
    "flexora": {"search_share": 0.5},
    "adalora": {},
    "dropattention": {},
}
"""Methods of every way to train and to predict, with settings that show it in six steps."""

Table = Mapping[str, Sequence[Any]]

_COMMON: dict[str, Any] = {
    "version": 1,
    "description": "",
    "source": {"files": "parquet"},
    "validation_size": 8,
    "max_length": 32,
}
TELL: dict[str, Any] = _COMMON | {
    "name": "tell",
    "kind": "generation",
    "text": ["who", "what"],
    "prompt": "{who} : {what} ||",
    "label": "telling",
    "generation": {"decoding": {"beams": 2, "no_repeat_ngram": 3, "max_new_tokens": 8}},
    "metrics": ["bleu", "rouge_l"],
    "checkpoint_metric": "perplexity",
}
CHOOSE: dict[str, Any] = _COMMON | {
    "name": "choose",
    "kind": "choice",
    "text": ["who"],
    "prompt": "the {who} is",
    "choice": {"options": "choices"},
    "metrics": ["accuracy", "accuracy_norm"],
}
STORIES: dict[str, Any] = {
    "name": "stories",
    "version": 1,
    "kind": "language_modelling",
    "description": "",
    "source": {"files": "parquet"},
    "text": ["text"],
    "metrics": ["token_loss", "perplexity"],
    "splits": {"train": None},
    "max_length": 32,
}
INSTRUCT: dict[str, Any] = _COMMON | {
    "name": "instruct",
    "kind": "instruction",
    "text": ["instruction", "input"],
    "label": "output",
    "metrics": ["perplexity", "token_accuracy"],
    "max_length": WINDOW,
}
TALK: dict[str, Any] = INSTRUCT | {
    "name": "talk",
    "text": ["messages"],
    "instruction": {"messages": True},
}


def make_decoder(folder: Path, family: str) -> Path:
    """Save a small random language model with clear preferences.

    Llama's texts begin with [BOS]; T5's end with [EOS], and BART's have both.
    """
    size: dict[str, Any] = {
        "vocab_size": len(VOCABULARY),
        "initializer_range": 0.3,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
    }
    configs = {
        "gpt2": transformers.GPT2Config(**size, n_embd=24, n_layer=2, n_head=3, n_positions=WINDOW),
        "llama": transformers.LlamaConfig(
            **size, hidden_size=24, intermediate_size=40, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=WINDOW,
        ),
        "t5": transformers.T5Config(
            **size, d_model=24, d_kv=8, d_ff=40, num_layers=2, num_heads=4, decoder_start_token_id=0
        ),
        "bart": transformers.BartConfig(
            **size, d_model=24, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
            decoder_attention_heads=4, encoder_ffn_dim=40, decoder_ffn_dim=40,
            max_position_embeddings=WINDOW, decoder_start_token_id=3, init_std=0.3,
        ),
    }  # fmt: skip
    torch.manual_seed(1)
    model = LANGUAGE_MODEL.of(configs[family])
    made = getattr(transformers, model.auto_class).from_config(configs[family])
    if family == "bart":
        made.generation_config.forced_bos_token_id = 2
    made.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if family != "gpt2":
        whole = {"llama": "[BOS] $A", "t5": "$A [EOS]", "bart": "[BOS] $A [EOS]"}[family]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=whole, special_tokens=[("[BOS]", 2), ("[EOS]", 3)]
        )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",  # noqa: S106
        unk_token="[UNK]",  # noqa: S106
        bos_token="[BOS]",  # noqa: S106
        eos_token="[EOS]",  # noqa: S106
        model_max_length=WINDOW,
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)
    return folder


def tellings(n: int, seed: int) -> dict[str, list[str]]:
    """Return records with one telling a row; some records come twice or more."""
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    table: dict[str, list[str]] = {"who": [], "what": [], "telling": []}
    for _ in range(n):
        who, what = draw.choice(NOUNS), " and ".join(draw.sample(COLOURS, draw.randint(1, 3)))
        start = draw.choice(("the", "a"))
        table["who"].append(who)
        table["what"].append(what)
        table["telling"].append(f"{start} {who} is {what}")
    return table


def questions(n: int, seed: int) -> dict[str, list[Any]]:
    """Return questions with 2 to 4 choices of 1 to 3 words."""
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    table: dict[str, list[Any]] = {"who": [], "choices": [], "label": []}
    for _ in range(n):
        count = draw.randint(2, 4)
        options = [
            " ".join(draw.sample(COLOURS, size)) for size in draw.choices((1, 2, 3), k=count)
        ]
        table["who"].append(draw.choice(NOUNS))
        table["choices"].append(options)
        table["label"].append(draw.randrange(count))
    return table


def instructions(n: int, seed: int) -> dict[str, list[Any]]:
    """Return instructions, every other one with an input, and their answers."""
    table = tellings(n, seed)
    given = [who if row % 2 else None for row, who in enumerate(table["who"])]
    return {"instruction": table["what"], "input": given, "output": table["telling"]}


def talks(n: int, seed: int) -> dict[str, list[Any]]:
    """Return dialogues of two answers each."""
    messages = [
        [
            {"role": role, "content": content}
            for role, content in (
                ("system", "it"), ("user", who), ("assistant", telling), ("user", "not"),
                ("assistant", what),
            )
        ]
        for who, what, telling in zip(*tellings(n, seed).values(), strict=True)
    ]  # fmt: skip
    return {"messages": messages}


DRAWS = {"tell": tellings, "choose": questions, "instruct": instructions, "talk": talks}


def make_task(content: Mapping[str, Any], **changes: Any) -> Task:
    """Return a task with other fields; mappings replace those they stand for."""
    return Task.model_validate({**content, **changes})


def make_runs(
    task: Task, method: str = "lora", seeds: Sequence[int] = (0,), **settings: Any
) -> list[Run]:
    """Return one run a seed, of 6 steps, in double precision."""
    return [
        Run(
            Cell(
                task=task,
                data=Fingerprint(name="files", digest="0"),
                backbone=Fingerprint(name="random", digest="0"),
                method=method,
                config=registry.resolve_config(method, settings, "test"),
                training=Training(learning_rate=0.02),
                budget=Budget(steps=6, batch_size=4, evaluations=2),
                precision="fp64",
            ),
            seed,
        )
        for seed in seeds
    ]


def encode(task: Task, backbone: Backbone, tables: Mapping[str, Table]) -> TaskData:
    """Return tables by split as a backbone reads them."""
    kind = kinds.get(task.kind)
    splits = {}
    for name, table in tables.items():
        place = f"task {task.name!r}, split {name!r}"
        rows = kind.read(task, place, table)
        arrays = kind.encode(task, place, rows, backbone.reader)
        arrays |= {"targets": rows.targets, "example_ids": rows.numbers}
        splits[name] = kind.load(arrays, backbone.tokenizer.pad_token_id)
    return TaskData(splits["train"], splits["validation"], splits["test"])


@dataclass
class Made:
    """A task with its rows, encoded for a backbone folder."""

    task: Task
    folder: Path
    backbone: Backbone
    data: TaskData

    def untuned(self) -> Outputs:
        """Return what the untouched backbone puts out for the test split; one run."""
        method, state = set_up(make_runs(self.task, "untuned"), self.backbone, self.data, CPU)
        return kinds.get(self.task.kind).outputs(method, state, EvalSubset.of(self.data.test))

    def plain(self) -> Any:
        """Return the backbone as the model library loads it, in double precision."""
        auto: Any = getattr(transformers, LANGUAGE_MODEL.of(self.backbone.config).auto_class)
        return auto.from_pretrained(self.folder, dtype=torch.float64).eval()

    def train(self, method: str, seeds: Sequence[int], **settings: Any) -> Trained:
        """Train a stack of runs to the end of its budget."""
        return train(self.folder, make_runs(self.task, method, seeds, **settings), self.data)


def make(folder: Path, task: Task, tables: Mapping[str, Table] | None = None) -> Made:
    """Encode a task's rows, made up here unless given, for the backbone in ``folder``."""
    if tables is None:
        draw, sizes = DRAWS[task.name], {"train": 24, "validation": 10, "test": 12}
        tables = {name: draw(n, seed) for seed, (name, n) in enumerate(sizes.items())}
    backbone = load_backbone(folder, make_runs(task))
    return Made(task, folder, backbone, encode(task, backbone, tables))


def losses(model: Any, ids: Sequence[int], given: int) -> torch.Tensor:
    """Return minus the log-probability of every token after the first ``given``, one by one."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0]
    places = range(given, len(ids))
    return torch.stack([logits[i - 1].logsumexp(0) - logits[i - 1, ids[i]] for i in places])
