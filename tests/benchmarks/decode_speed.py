"""Beam search of a stack of LoRA runs beside the library's `generate`, called run by run.

Prints processor seconds of both, the median of rounds in alternation, and their ratio; once with
texts that end where the model ends a sentence, once with texts that all go on to the last token,
where no input can leave the batch. The library gets all prompts of a run in one padded batch.

    python -m tests.benchmarks.decode_speed --runs 4 --rounds 3
"""

import argparse
import copy
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gapbench.bench.adaptation import registry
from gapbench.bench.config.decoding import Decoding
from gapbench.bench.config.head import LANGUAGE_MODEL
from gapbench.bench.config.run import Fingerprint
from gapbench.bench.models import head_hooks, loading
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.merge import plain_weights
from gapbench.bench.models.run_axis import RunAxis
from gapbench.bench.synthetic.language.corpus import Corpus, draw_story
from gapbench.bench.tasks.generation import decode

CPU = torch.device("cpu")
NO_TOKEN = 10**6  # an end that never comes

Texts = list[list[list[int]]]


def main() -> None:
    """Print the table."""
    options = _parser().parse_args()
    torch.set_num_threads(options.threads)
    backbone = loading.load(
        "tiny-decoder", Fingerprint(name="", digest=""), LANGUAGE_MODEL, 1, "fp32"
    )
    stack = _stack(backbone, options.runs)
    alone = [_alone(backbone, stack, run) for run in range(options.runs)]
    prompts = _prompts(backbone.tokenizer, options.prompts)
    decoding = Decoding(beams=options.beams, max_new_tokens=options.tokens)
    print(f"{'texts':<12} {'stack s':>8} {'library s':>10} {'ratio':>6} {'tokens':>7} {'equal':>7}")
    for name, end in (("ending", backbone.tokenizer.eos_token_id), ("unending", NO_TOKEN)):
        own, ours = _decode(stack, prompts, options.runs, decoding, end), []
        library, theirs = _generate(alone, prompts, decoding, end), []
        texts = own(), library()
        for _ in range(options.rounds):
            ours.append(_time(own))
            theirs.append(_time(library))
        pairs = [pair for runs in zip(*texts, strict=True) for pair in zip(*runs, strict=True)]
        equal = sum(a == b for a, b in pairs) / len(pairs)
        ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
        length = statistics.mean(len(text) for text, _ in pairs)
        print(
            f"{name:<12} {statistics.median(ours):8.2f} {statistics.median(theirs):10.2f} "
            f"{ratio:6.2f} {length:7.1f} {equal:7.1%}",
            flush=True,
        )


def _stack(backbone: Backbone, runs: int) -> Any:
    """Return a stack of LoRA runs with different updates."""
    lora = registry.get("lora")
    axis = RunAxis(range(runs), CPU, torch.float32)
    model = lora("lora", [lora.Config()] * runs, axis).adapt(backbone.model(), backbone)
    for index, (name, values) in enumerate(model.named_parameters()):
        if name.endswith("lora_B"):
            generator = torch.Generator().manual_seed(index)
            values.data = 0.02 * torch.randn(values.shape, generator=generator)
    head_hooks.attach(model, LANGUAGE_MODEL)
    return model.eval()


def _alone(backbone: Backbone, stack: Any, run: int) -> Any:
    """Return the plain model that one run of the stack amounts to."""
    model: Any = copy.deepcopy(backbone.model())  # its copies share their weights
    model.load_state_dict(plain_weights(stack, run))
    return model.eval()


def _prompts(tokenizer: Any, count: int) -> list[np.ndarray]:
    """Return stories that break off within their last sentence."""
    stories = Corpus(draw_story, count, "decoding speed").batch(0, count)
    rng = np.random.default_rng(0)
    texts = []
    for story in stories:
        ids = [tokenizer(text, add_special_tokens=False).input_ids for text in story]
        whole = [token for sentence in ids[:-1] for token in (*sentence, tokenizer.eos_token_id)]
        whole = [tokenizer.bos_token_id, *whole, *ids[-1][: rng.integers(1, 4)]]
        texts.append(np.array(whole))
    return texts


def _decode(
    model: Any, prompts: list[np.ndarray], runs: int, decoding: Decoding, end: int
) -> Callable[[], Texts]:
    def predict(inputs: Mapping[str, Any]) -> Tensor:
        logits: Tensor = model(**inputs).logits
        return logits

    return lambda: decode(predict, prompts, runs, decoding, end_ids=[end], pad_id=0, device=CPU)


def _generate(
    models: list[Any], prompts: list[np.ndarray], decoding: Decoding, end: int
) -> Callable[[], Texts]:
    width = max(len(prompt) for prompt in prompts)
    ids = torch.zeros(len(prompts), width, dtype=torch.int64)
    for row, prompt in zip(ids, prompts, strict=True):
        row[width - len(prompt) :] = torch.as_tensor(prompt)

    def generate() -> Texts:
        texts = []
        for model in models:
            out = model.generate(
                ids,
                attention_mask=(ids != 0).long(),
                do_sample=False,
                early_stopping=False,
                num_beams=decoding.beams,
                length_penalty=decoding.length_penalty,
                no_repeat_ngram_size=decoding.no_repeat_ngram,
                max_new_tokens=decoding.max_new_tokens,
                eos_token_id=end,
                pad_token_id=0,
            )
            texts.append([_cut(answer, end) for answer in out[:, width:].tolist()])
        return texts

    return generate


def _cut(tokens: list[int], end: int) -> list[int]:
    return tokens[: tokens.index(end)] if end in tokens else tokens


def _time(work: Callable[[], Texts]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--beams", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    return parser


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
