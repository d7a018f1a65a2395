"""Small tokenizers of the usual makes, trained on a few sentences, with and without a template."""

from collections.abc import Sequence
from typing import Any

import transformers
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
BRACKETS = (  # the form of Llama 2: no header before an answer, which begins with a space
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% elif m.role == 'assistant' %} {{ m.content }}{{ eos_token }}"
    "{% else %}{{ raise_exception('only user and assistant roles') }}{% endif %}{% endfor %}"
)
NAMES = (  # no token ends a turn, and earlier thoughts are left out, as by many models that think
    "{% for m in messages %}{{ m.role }}: {% if m.role == 'assistant' and not loop.last %}"
    "{{ m.content.split('</think>')[-1] | trim }}{% else %}{{ m.content }}{% endif %}"
    "{{ '\\n' }}{% endfor %}"
)
TEXTS = [
    "Below is an instruction that describes a task, paired with an input that provides further",
    "context. Write a response that appropriately completes the request.",
    "### Instruction: ### Input: ### Response: Name three colours of the rainbow.",
    "user assistant system tool: red, blue and green; the sum of 12 and 30 is 42!",
]
KINDS = ("byte-bpe", "bpe", "wordpiece", "unigram", "byte-bpe-chatml", "unigram-brackets")


def make(kind: str, texts: Sequence[str] = TEXTS) -> Any:
    """Return a tokenizer by its make and its template, joined by a hyphen."""
    template = {"chatml": CHATML, "brackets": BRACKETS, "names": NAMES}.get(kind.split("-")[-1])
    marks = ["<unk>", "<pad>", "<s>", "</s>"]
    chat = ["<|im_start|>", "<|im_end|>"] if template == CHATML else []
    made, trainer = _untrained(kind, marks + chat)
    made.train_from_iterator(texts, trainer)
    if kind.startswith("unigram"):  # its texts begin with a token, as those of Llama
        begin = ("<s>", made.token_to_id("<s>"))
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[begin]
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        unk_token="<unk>",  # noqa: S106
        pad_token="<pad>",  # noqa: S106
        bos_token="<s>",  # noqa: S106
        eos_token="</s>",  # noqa: S106
        additional_special_tokens=chat,
        chat_template=template,
    )


def _untrained(kind: str, special: list[str]) -> tuple[Tokenizer, Any]:
    sizes: dict[str, Any] = {"vocab_size": 420, "special_tokens": special, "show_progress": False}
    if kind.startswith("byte-bpe"):
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        return made, trainers.BpeTrainer(initial_alphabet=alphabet, **sizes)
    if kind.startswith("bpe"):
        made = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))  # noqa: S106
        made.pre_tokenizer = pre_tokenizers.Whitespace()
        made.decoder = decoders.BPEDecoder(suffix="</w>")
        return made, trainers.BpeTrainer(end_of_word_suffix="</w>", **sizes)
    if kind.startswith("wordpiece"):
        made = Tokenizer(models.WordPiece(unk_token="<unk>"))  # noqa: S106
        made.normalizer = normalizers.BertNormalizer(lowercase=True)
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        made.decoder = decoders.WordPiece()
        return made, trainers.WordPieceTrainer(**sizes)
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.Replace("\n", " \n ")
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    return made, trainers.UnigramTrainer(unk_token="<unk>", **sizes)  # noqa: S106
