"""Small real parts that the tests share: backbones saved as the model library saves them."""

import gc
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command does, before torch loads
os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads only cost time on tensors this small
gc.disable()  # until all is imported and collected, none of which is garbage

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from gapbench.bench.cli.main import main
from gapbench.bench.execution import calibration
from gapbench.bench.profiling.footprint import Footprint, footprint
from tests.support.counting import without_counting
from tests.support.disk import without_waiting
from tests.support.small_suite import SmallSuite, make

WORDS = ["the", "a", "cat", "dog", "bird", "sees", "likes", "red", "small", "and", "not", "old"]
WORDS += ["hears", "very", "tree", "house", "is"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the slow tests where processes share the work, so that all end together."""
    if hasattr(config, "workerinput"):  # of pytest-xdist
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish() -> None:
    """Collect garbage from now on, seldom, and without looking at what stays to the end."""
    gc.freeze()
    gc.set_threshold(20_000)  # one small model passes Python's own threshold, 700, many times
    gc.enable()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Compute as the child processes do, so that scores can be compared exactly."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session", autouse=True)
def _surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What holds for all tests, and for what several of them share.

    Derived files stay out of the user's cache. Stacks are as large as they may be, whatever the
    clock of a busy machine says. No operations are counted, and no memory of stacks is measured
    for a plan, except in tests that are about them. Nothing waits for the disk.
    """
    with pytest.MonkeyPatch.context() as patch, without_counting(), without_waiting():
        patch.setenv("GAPBENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.setattr("gapbench.bench.profiling.stack_size._GAIN", float("-inf"))
        patch.setattr(calibration, "footprint", lambda *_: Footprint(0, 2**20))
        yield


@pytest.fixture
def memory_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `check` and `plan` measure the memory of stacks, as they do elsewhere."""
    monkeypatch.setattr(calibration, "footprint", footprint)


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """The folder with real data and weights; tests that need it skip where it is absent."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("no ../shared folder with real data and weights")
    return folder


@pytest.fixture(scope="session")
def make_backbone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that saves a small random backbone of a family, and gives its folder."""
    made: dict[str, Path] = {}

    def make(family: str) -> Path:
        if family not in made:
            folder = tmp_path_factory.mktemp("backbones") / f"random-{family}"
            torch.manual_seed(0)
            model = transformers.AutoModel.from_config(_configs()[family])
            model.save_pretrained(folder)
            _tokenizer(family).save_pretrained(folder)
            made[family] = folder
        return made[family]

    return make


@pytest.fixture(scope="session")
def _done_once(
    tmp_path_factory: pytest.TempPathFactory, make_backbone: Callable[[str], Path]
) -> SmallSuite:
    small = make(tmp_path_factory.mktemp("done") / "small", make_backbone("bert"))
    assert main(["run", *small.running]) == 0
    return small


@pytest.fixture
def done(_done_once: SmallSuite, tmp_path: Path) -> SmallSuite:
    """A small suite with all of its 6 runs done, to change as a test likes."""
    return SmallSuite(Path(shutil.copytree(_done_once.folder, tmp_path / "small")))


@pytest.fixture
def page_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write neither a report's PDF nor its figures' files, where a test reads page or tables."""
    for name in ("pdf", "figure_files"):
        monkeypatch.setattr(f"gapbench.reports.render.{name}.write", lambda *_: None)


def _tokenizer(family: str) -> transformers.PreTrainedTokenizerFast:
    vocabulary = {word: index for index, word in enumerate(SPECIAL + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if family in {"bert", "roberta", "deberta-v2"}:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
        )
    names = ["input_ids", "token_type_ids", "attention_mask"]
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",  # noqa: S106
        unk_token="[UNK]",  # noqa: S106
        eos_token="[SEP]",  # noqa: S106
        model_max_length=64,
        model_input_names=names if family == "bert" else ["input_ids", "attention_mask"],
    )


def _configs() -> dict[str, transformers.PretrainedConfig]:
    size = {"vocab_size": len(SPECIAL + WORDS), "pad_token_id": 0}
    encoder = {
        **size,
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 40,
        "max_position_embeddings": 66,
    }
    decoder = {
        **size,
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
    }
    return {
        "bert": transformers.BertConfig(**encoder),
        "roberta": transformers.RobertaConfig(**encoder, type_vocab_size=1),
        "gpt2": transformers.GPT2Config(
            **size, n_embd=24, n_layer=2, n_head=3, n_positions=64, bos_token_id=2, eos_token_id=3
        ),
        "llama": transformers.LlamaConfig(**decoder),
        "qwen2": transformers.Qwen2Config(**decoder),
        "deberta-v2": transformers.DebertaV2Config(  # the third version's settings
            **encoder,
            type_vocab_size=0,
            relative_attention=True,
            position_biased_input=False,
            pos_att_type=["p2c", "c2p"],
            position_buckets=8,
            share_att_key=True,
            norm_rel_ebd="layer_norm",
        ),
    }
