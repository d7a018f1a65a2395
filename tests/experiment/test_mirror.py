"""`gapbench fetch` makes a folder that runs need no network with, and that tells changed files."""

import json
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import huggingface_hub
import pytest

from tests.support.small_suite import SIZES, Answer, SmallSuite, call, make, rows

Capture = pytest.CaptureFixture[str]

REVISION = "0123456789abcdef0123456789abcdef01234567"
HUB_SOURCE = {"hub": "owner/animals", "config": "cats", "revision": REVISION}


@pytest.fixture
def small(tmp_path: Path, make_backbone: Callable[[str], Path]) -> SmallSuite:
    """A valid suite with local data and a local backbone."""
    return make(tmp_path / "small", make_backbone("bert"))


class Hub:
    """The hub's two functions, answering from local files; counts and can break off downloads."""

    def __init__(self, backbone: Path) -> None:
        self.backbone = backbone
        self.calls: list[str] = []
        self.broken = ""

    def load_dataset(self, name: str, config: str, *, split: str, **options: Any) -> Any:
        assert (name, config, options["revision"]) == ("owner/animals", "cats", REVISION)
        self.calls.append(split)
        if self.broken == split:
            raise ConnectionError("no route to the hub")
        return datasets.Dataset.from_dict(rows(split))

    def snapshot_download(
        self, repository: str, *, revision: str, local_dir: Path, dry_run: bool = False, **_: Any
    ) -> Any:
        assert (repository, revision) == ("owner/tiny", REVISION)
        self.calls.append("list" if dry_run else "download")
        if self.broken == "backbone" and not dry_run:
            (local_dir / "config.json").write_bytes(b"{")
            raise ConnectionError("no route to the hub")
        paths = sorted(self.backbone.iterdir())
        if dry_run:
            return [
                SimpleNamespace(filename=path.name, file_size=path.stat().st_size) for path in paths
            ]
        for path in paths[: -1 if self.broken == "short" else None]:
            shutil.copy(path, local_dir)
        (local_dir / ".cache").mkdir(exist_ok=True)
        return str(local_dir)


@pytest.fixture
def hub(small: SmallSuite, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A suite whose data and backbone come from a hub that is only acted."""
    acted = Hub(Path(small.backbone))
    small.write_task(source=HUB_SOURCE)
    small.write_suite(backbones=[f"owner/tiny@{REVISION}"])
    monkeypatch.setattr(datasets, "load_dataset", acted.load_dataset)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", acted.snapshot_download)
    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", lambda *_, **__: None)
    return acted


def fetched(small: SmallSuite, capsys: Capture, *arguments: object) -> Answer:
    """Fetch the suite into a folder beside it."""
    out = small.folder / "mirror"
    return call(capsys, "fetch", small.path, "--out", out, "--json", *arguments)


def states(answer: Answer) -> dict[str, str]:
    """Return what became of every item."""
    assert answer.code == 0, answer.err
    return {f"{row['part']}/{row['name']}": row["state"] for row in answer.json}


def used(small: SmallSuite, capsys: Capture, backbone: str) -> Answer:
    """Check the suite with what was fetched, and nothing else."""
    mirror = small.folder / "mirror"
    places = ("--data", mirror / "data", "--backbone", mirror / "backbones" / backbone)
    return call(capsys, "check", small.path, *places)


def test_local_sources_are_copied_and_can_be_used(small: SmallSuite, capsys: Capture) -> None:
    """The copies are those that were given, whole and usable, with nothing else beside them."""
    made = states(fetched(small, capsys, "--data", small.data))
    assert made == {"data/animals": "fetched", "backbones/random-bert": "fetched"}
    mirror = small.folder / "mirror"
    for split in SIZES:
        name = f"animals/{split}.parquet"
        assert (mirror / "data" / name).read_bytes() == (small.data / name).read_bytes()
    listed = json.loads((mirror / "manifest.json").read_text())["items"]
    files = {path for item in listed.values() for path in item["files"]}
    there = {p.relative_to(mirror).as_posix() for p in mirror.rglob("*") if p.is_file()}
    assert there == files | {"manifest.json"}
    shutil.rmtree(small.data)
    assert used(small, capsys, "random-bert").code == 0


def test_built_in_backbone_is_copied_and_built_in_data_are_not(
    tmp_path: Path, capsys: Capture
) -> None:
    """Generated data need no copy; a built-in backbone comes along under its name."""
    arguments = ("--tasks", "syn_sentiment", "--out", tmp_path, "--json")
    made = states(call(capsys, "fetch", "quickstart", *arguments))
    assert made == {"data/syn_sentiment": "built in", "backbones/tiny-encoder": "fetched"}
    assert (tmp_path / "backbones" / "tiny-encoder" / "model.safetensors").is_file()
    assert not (tmp_path / "data").exists()


def test_second_fetch_keeps_what_is_there(small: SmallSuite, capsys: Capture) -> None:
    """Unchanged files are kept; a changed or lost one is fetched again, and its neighbours stay."""
    fetched(small, capsys, "--data", small.data)
    folder = small.folder / "mirror" / "data" / "animals"
    before = (folder / "train.parquet").stat().st_mtime_ns
    again = states(fetched(small, capsys, "--data", small.data))
    assert set(again.values()) == {"kept"}
    (folder / "validation.parquet").write_bytes(b"changed")
    again = states(fetched(small, capsys, "--data", small.data))
    assert again == {"data/animals": "fetched", "backbones/random-bert": "kept"}
    assert (folder / "train.parquet").stat().st_mtime_ns == before
    expected = (small.data / "animals" / "validation.parquet").read_bytes()
    assert (folder / "validation.parquet").read_bytes() == expected


def test_changed_source_is_fetched_again(small: SmallSuite, capsys: Capture) -> None:
    """Other rows under the same name replace those that were fetched before."""
    fetched(small, capsys, "--data", small.data)
    small.write_rows("train", {"sentence": ["a cat"] * 40, "label": [1] * 40})
    again = states(fetched(small, capsys, "--data", small.data))
    assert again["data/animals"] == "fetched"
    name = "animals/train.parquet"
    copied = (small.folder / "mirror" / "data" / name).read_bytes()
    assert copied == (small.data / name).read_bytes()


def test_files_of_others_are_not_overwritten(small: SmallSuite, capsys: Capture) -> None:
    """Data that no fetch wrote, such as the source itself, are left as they are."""
    before = (small.data / "animals" / "train.parquet").read_bytes()
    answer = call(capsys, "fetch", small.path, "--out", small.folder, "--data", small.data)
    assert answer.code == 2
    assert "holds files that no fetch wrote" in answer.err
    assert (small.data / "animals" / "train.parquet").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("data/animals/train.parquet", "task 'animals': "),
        ("backbones/random-bert/model.safetensors", "backbone 'random-bert': "),
    ],
)
def test_changed_file_is_refused_on_use(
    small: SmallSuite, capsys: Capture, name: str, says: str
) -> None:
    """A file that is not as it was fetched stops every command, which says how to go on."""
    fetched(small, capsys, "--data", small.data)
    path = small.folder / "mirror" / name
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    answer = used(small, capsys, "random-bert")
    assert answer.code == 2
    assert f"{says}{path} has changed since it was fetched; fetch the suite again" in answer.err
    (small.folder / "mirror" / "manifest.json").unlink()
    assert "has changed since" not in used(small, capsys, "random-bert").err


def test_manifest_of_something_else_is_left_alone(small: SmallSuite, capsys: Capture) -> None:
    """A file of that name beside the data that is not ours does no harm."""
    (small.folder / "manifest.json").write_text('{"start_url": "/"}')
    assert call(capsys, "check", *small.planning).code == 0
    (small.folder / "manifest.json").write_text('{"gapbench": "0.1.0", "items": 3}')
    answer = call(capsys, "check", *small.planning)
    assert answer.code == 2
    assert "is not a readable manifest" in answer.err


def test_hub_sources_are_fetched_at_their_revision(
    small: SmallSuite, hub: Hub, capsys: Capture
) -> None:
    """Rows and weights come at the pinned revision, once, and the manifest says from where."""
    made = states(fetched(small, capsys))
    assert made == {"data/animals": "fetched", "backbones/tiny": "fetched"}
    mirror = small.folder / "mirror"
    listed = json.loads((mirror / "manifest.json").read_text())["items"]
    assert listed["data/animals"]["source"] == HUB_SOURCE
    assert listed["backbones/tiny"]["source"] == {"hub": "owner/tiny", "revision": REVISION}
    assert not (mirror / "backbones" / "tiny" / ".cache").exists()
    calls = len(hub.calls)
    assert set(states(fetched(small, capsys)).values()) == {"kept"}
    assert len(hub.calls) == calls
    assert used(small, capsys, "tiny").code == 0


@pytest.mark.parametrize("broken", ["validation", "backbone", "short"])
def test_broken_download_goes_on_where_it_stopped(
    small: SmallSuite, hub: Hub, capsys: Capture, broken: str
) -> None:
    """The error names the item and what is complete; until then the item cannot be used."""
    hub.broken = broken
    answer = fetched(small, capsys)
    assert (answer.code, answer.out) == (2, "")
    item = "data/animals" if broken == "validation" else "backbones/tiny"
    complete = "nothing" if broken == "validation" else "data/animals"
    assert f"{item} was not fetched: " in answer.err
    assert f"complete in {small.folder / 'mirror'}: {complete};" in answer.err
    if broken != "validation":
        assert "was not fetched completely" in used(small, capsys, "tiny").err
    hub.broken, hub.calls = "", []
    made = states(fetched(small, capsys))
    assert made[item] == "fetched"
    assert "train" not in hub.calls
    assert used(small, capsys, "tiny").code == 0


@pytest.mark.parametrize("silent", ["data", "backbones"])
def test_hub_that_takes_a_call_and_says_nothing_is_given_up(
    small: SmallSuite, capsys: Capture, monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    """Its client would go on trying for many minutes."""
    if silent == "data":
        small.write_task(source=HUB_SOURCE)
        places = ()
    else:
        small.write_suite(backbones=[f"owner/tiny@{REVISION}"])
        places = ("--data", small.data)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_ETAG_TIMEOUT", 0.2)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "*")
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        answer = fetched(small, capsys, *places)
    assert answer.code == 2
    assert f"{silent}/" in answer.err
    assert "cannot be fetched: the hub does not answer within 0.2 s; to wait" in answer.err
    assert time.monotonic() - began < 120


def test_backbone_without_safe_weights_is_refused(
    small: SmallSuite, hub: Hub, capsys: Capture, tmp_path: Path
) -> None:
    """A repository that has no safetensors is named, with the way out."""
    hub.backbone = tmp_path / "pickled"
    hub.backbone.mkdir()
    shutil.copy(Path(__file__), hub.backbone / "config.json")
    answer = fetched(small, capsys)
    assert answer.code == 2
    assert "backbones/tiny was not fetched: " in answer.err
    assert "has no safetensors weights" in answer.err


def test_task_that_exists_only_as_files_asks_for_them(small: SmallSuite, capsys: Capture) -> None:
    """Without a data folder there is nothing to copy such a task from."""
    answer = fetched(small, capsys)
    assert answer.code == 2
    assert "task 'animals' exists only as files; give --data DIR" in answer.err


def test_files_of_another_suite_stay_and_missing_ones_come(
    small: SmallSuite, capsys: Capture
) -> None:
    """A suite that only tests a task reads fewer of its files than one that trains on it."""
    fetched(small, capsys, "--data", small.data)
    folder = small.folder / "mirror" / "data" / "animals"
    trained = {path.name for path in folder.iterdir()}
    small.write_task(splits={"train": None, "test": "validation"}, validation_size=0)
    small.write_suite(methods=["untuned"])
    assert fetched(small, capsys, "--data", small.data).code == 0
    assert {path.name for path in folder.iterdir()} == trained
    shutil.rmtree(small.folder / "mirror")
    fetched(small, capsys, "--data", small.data)
    assert {path.name for path in folder.iterdir()} == {"validation.parquet"}
    small.write_task(splits={"train": "train", "test": "validation"}, validation_size=8)
    small.write_suite(methods=["head"])
    assert states(fetched(small, capsys, "--data", small.data))["data/animals"] == "fetched"
    assert {path.name for path in folder.iterdir()} == trained


def test_rows_of_two_revisions_are_never_side_by_side(small: SmallSuite, capsys: Capture) -> None:
    """A file that this suite does not read goes where its source has changed or it is damaged."""
    fetched(small, capsys, "--data", small.data)
    folder = small.folder / "mirror" / "data" / "animals"
    narrow = {"splits": {"train": None, "test": "validation"}, "validation_size": 0}
    small.write_task(**narrow)
    small.write_suite(methods=["untuned"])
    assert states(fetched(small, capsys, "--data", small.data))["data/animals"] == "kept"
    (folder / "train.parquet").write_bytes(b"damaged")
    fetched(small, capsys, "--data", small.data)
    assert [path.name for path in folder.iterdir()] == ["validation.parquet"]
    small.write_task(splits={"train": "train", "test": "validation"}, validation_size=8)
    small.write_suite(methods=["head"])
    fetched(small, capsys, "--data", small.data)
    for split in ("train", "validation"):
        small.write_rows(split, {"sentence": ["a cat"] * 40, "label": [1] * 40})
    small.write_task(**narrow)
    small.write_suite(methods=["untuned"])
    fetched(small, capsys, "--data", small.data)
    assert [path.name for path in folder.iterdir()] == ["validation.parquet"]
