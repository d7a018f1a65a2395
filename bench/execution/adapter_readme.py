"""The README of an exported adapter: code that loads it, its inputs, and its model card."""

import re
from collections.abc import Mapping
from keyword import iskeyword
from typing import Any

from gapbench.bench import __version__
from gapbench.bench.config.decoding import Decoding
from gapbench.bench.config.head import LANGUAGE_MODEL
from gapbench.bench.config.task import Task
from gapbench.bench.execution.model_card import SeedMeans, front_matter, sections
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.encoder_decoder import beginning
from gapbench.bench.store.record import Record
from gapbench.bench.tasks.kinds.dialogues import answer_ends

_PAGE = """\
# {method} on {task}

A LoRA adapter of `{base}`, trained by gapbench {version} (run {run}, seed {seed}). Code in this
folder loads it, with the tokenizer and padding token that it was trained with:

```python
from peft import PeftModel
from transformers import {imported}

tokenizer = AutoTokenizer.from_pretrained(".")
base = {auto_class}.from_pretrained({arguments})
model = PeftModel.from_pretrained(base, ".")
```

{inputs}

```python
{use}
```

"""

_NF4 = 'load_in_4bit=True, bnb_4bit_quant_type="nf4"'
_WITHOUT = "on the backbone's full weights its outputs differ a little"
_QUANTIZED: Mapping[str | None, str] = {
    "nf4": f"It was trained on the backbone in NF4, as this code loads it; {_WITHOUT}.\n\n",
    "int8": f"It was trained on the backbone in int8, one scale for each output; {_WITHOUT}.\n\n",
    "int4": f"It was trained on the backbone in int4, one scale for 64 weights; {_WITHOUT}.\n\n",
}


def page(
    record: Record, backbone: Backbone, base: Mapping[str, Any], known: SeedMeans | None = None
) -> str:
    """Return the README of a record's adapter, which is its model card on the hub.

    Args:
        record: record of the run.
        backbone: backbone of the adapter.
        base: name of the backbone in PEFT's configuration.
        known: what all seeds of its cell say, if known.
    """
    auto_class = record.cell.task.head.of(backbone.config).auto_class
    return (
        front_matter(record, base, auto_class)
        + _code(record, backbone, base, auto_class)
        + sections(record, known)
    )


def _code(record: Record, backbone: Backbone, base: Mapping[str, Any], auto_class: str) -> str:
    """Return the code that loads the adapter, and what it takes."""
    cell, task = record.cell, record.cell.task
    settings: dict[str, Any] = {}
    if base["revision"] is not None:
        settings["revision"] = base["revision"]
    if task.has_classes:
        settings["id2label"] = dict(enumerate(task.labels))  # what pipelines call the outputs
    elif task.head != LANGUAGE_MODEL:
        settings["num_labels"] = task.n_outputs
    settings |= backbone.reading
    imported = ["AutoTokenizer", auto_class]
    few_bits = []
    if cell.quantization == "nf4":
        imported.append("BitsAndBytesConfig")
        # Its heads stay in full: they are what the adapter brings.
        plain = f", llm_int8_skip_modules={[*backbone.head]}" if backbone.head else ""
        few_bits = [f"quantization_config=BitsAndBytesConfig({_NF4}{plain})"]
    if "gguf_file" in settings:
        imported.append("GgufConfig")
        few_bits = ["quantization_config=GgufConfig(dequantize=True)"]  # weights as floats
    given = [
        repr(base["base_model_name_or_path"]),
        *(f"{key}={value!r}" for key, value in settings.items()),
    ]
    # Models that count positions from their padding token keep theirs, whatever the tokenizer's is.
    padding = backbone.config.pad_token_id
    if padding == backbone.tokenizer.pad_token_id:
        padding = "tokenizer.pad_token_id"
    prompted = task.head == LANGUAGE_MODEL
    longest = min(task.max_length, backbone.reader.window)
    return _PAGE.format(
        method=cell.method,
        task=task.name,
        base=cell.backbone.name,
        version=__version__,
        run=record.run_hash,
        seed=record.seed,
        auto_class=auto_class,
        imported=", ".join(imported),
        arguments=", ".join([*given, *few_bits, f"pad_token_id={padding}"]),
        inputs=_QUANTIZED.get(cell.quantization, "") + _inputs(task, backbone),
        use=_prompting(task, backbone) if prompted else _classifying(task, longest),
    )


def _classifying(task: Task, longest: int) -> str:
    texts = ", ".join(map(_variable, task.text))
    given = f'padding=True, truncation=True, max_length={longest}, return_tensors="pt"'
    lines = [f"inputs = tokenizer({texts}, {given})", "outputs = model(**inputs)"]
    if scale := getattr(task, "scale", None):
        lines.append(f"values = outputs.logits * {scale[1]!r} + {scale[0]!r}  # as it was trained")
    return "\n".join(lines)


def _prompting(task: Task, backbone: Backbone) -> str:
    """Return code that writes texts as the run did, or, where it wrote none, reads prompts."""
    decoding = getattr(task, "decoding", None)
    if decoding is not None:
        return _writing(task, decoding, backbone)
    given = 'padding=True, return_tensors="pt"'
    inputs = f"inputs = tokenizer(prompts, {_begun(task, backbone)}{given})"
    if not backbone.reader.encoder_decoder:
        return f"{inputs}\noutputs = model(**inputs)"
    begun = beginning(backbone.model())
    return "\n".join(
        [
            "import torch",
            "",
            inputs,
            f"targets = tokenizer(text_target=answers, add_special_tokens=False, {given})",
            'targets = targets["input_ids"]',
            f"begun = torch.tensor([{begun}] * len(targets))",
            "read = torch.cat([begun, targets[:, :-1]], dim=1)",
            "outputs = model(**inputs, decoder_input_ids=read)",
            f"logits = outputs.logits[:, {len(begun) - 1} :]  # before each target",
        ]
    )


def _begun(task: Task, backbone: Backbone) -> str:
    """Return the argument that adds no token to a text which a chat template has begun."""
    written = task.templated and backbone.tokenizer.chat_template
    return "add_special_tokens=False, " if written and not backbone.reader.encoder_decoder else ""


def _writing(task: Task, decoding: Decoding, backbone: Backbone) -> str:
    """Return code that writes texts as the run did."""
    encodes = backbone.reader.encoder_decoder
    # Only `generate` counts positions from the mask, so only it may have padding on the left.
    side = "right" if encodes else "left"
    given = f'padding=True, padding_side="{side}", return_token_type_ids=False, return_tensors="pt"'
    begun = _begun(task, backbone)
    lines = [f"inputs = tokenizer(prompts, {begun}{given})"]
    ended = backbone.tokenizer("a")["input_ids"][-1] in backbone.tokenizer.all_special_ids
    if ended and not (encodes or begun):
        lines += ["# the tokenizer ends a text, and a prompt goes on"]
        lines += ["inputs = {name: each[:, :-1] for name, each in inputs.items()}"]
    ends = "tokenizer.eos_token_id"
    if task.templated and len(own := answer_ends(backbone.tokenizer)) > 1:
        lines += ["# the chat template ends an answer with a token of its own"]
        named = backbone.tokenizer.convert_ids_to_tokens(own)
        ends = f"tokenizer.convert_tokens_to_ids({named!r})"
    settings = {"eos_token_id": ends, **_generation_settings(decoding, backbone)}
    asked = ", ".join(f"{name}={value}" for name, value in settings.items())
    written = "outputs" if encodes else "outputs[:, inputs['input_ids'].shape[1]:]"
    lines += [f"outputs = model.generate(**inputs, {asked})"]
    lines += [f"texts = tokenizer.batch_decode({written}, skip_special_tokens=True)"]
    return "\n".join(lines)


def _generation_settings(decoding: Decoding, backbone: Backbone) -> dict[str, Any]:
    """Return the arguments of `generate`, also of what a checkpoint may set otherwise."""
    settings: dict[str, Any] = {
        "repetition_penalty": 1.0,
        "do_sample": False,
        "early_stopping": False,
        "min_length": 0,
        "num_beams": decoding.beams,
        "length_penalty": decoding.length_penalty,
        "no_repeat_ngram_size": decoding.no_repeat_ngram,
        "max_new_tokens": decoding.max_new_tokens,
    }
    if backbone.reader.encoder_decoder:
        # A first token that is forced counts for the library, and no last one is forced.
        settings["max_new_tokens"] += len(beginning(backbone.model())) - 1
        settings["forced_eos_token_id"] = settings["bad_words_ids"] = None
        settings["encoder_no_repeat_ngram_size"] = 0
    return settings


def _variable(column: str) -> str:
    """Return the name of a variable for the texts of a column, which may have any name."""
    name = re.sub(r"\W|^(?=\d)", "_", f"{column}s")
    return f"{name}_" if iskeyword(name) else name  # as for the column "a"


def _inputs(task: Task, backbone: Backbone) -> str:
    """Return sentences about the model's inputs and outputs."""
    if task.templated:
        return (
            "Prompts are dialogues as the tokenizer's chat template writes them, or, without a "
            "template, in Alpaca's format."
        )
    if task.head == LANGUAGE_MODEL:
        prompt = getattr(task, "prompt", None) or "\n".join(f"{{{name}}}" for name in task.text)
        if backbone.reader.encoder_decoder:
            return (
                f"Prompts are {prompt!r}, which the encoder reads; the decoder writes the answer."
            )
        return f"Prompts are {prompt!r}; the continuation begins after a space."
    columns = " and ".join(f"`{name}`" for name in task.text)
    takes = f"It takes batches of texts: {columns}."
    labels = ", ".join(f"{number} is {label!r}" for number, label in enumerate(task.labels))
    return f"{takes} Of its outputs, {labels}." if labels else takes
