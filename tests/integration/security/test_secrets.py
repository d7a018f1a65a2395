"""What the environment holds stays there: no file that is written, and no message, has it."""

from pathlib import Path

import pytest

from gapbench.bench.core.errors import without_password
from tests.support.small_suite import Answer, SmallSuite, call

Capture = pytest.CaptureFixture[str]

SECRET = "hf_Kq7wZ2mT9xVb4RsY8nLd"  # noqa: S105 - it opens nothing
VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY")


def holding(folder: Path, secret: str) -> list[Path]:
    """Return the files below a folder that hold a text."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [path for path in files if secret.encode() in path.read_bytes()]


def _fail(*_: object) -> None:
    raise RuntimeError("broken on purpose")


def test_no_file_and_no_message_holds_a_variable(
    small: SmallSuite, capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Runs that end well, runs that fail with a traceback, studies, reports, exports, copies."""
    for name in VARIABLES:
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("GAPBENCH_CACHE", str(tmp_path / "cache"))
    answers: list[Answer] = []

    def given(*arguments: object) -> Answer:
        answers.append(call(capsys, *arguments))
        return answers[-1]

    with monkeypatch.context() as patch:
        patch.setattr("gapbench.methods.head.Head.adapt", _fail)
        assert given("run", *small.running, "--methods", "head").code == 3
    assert "broken on purpose" in "".join(content.decode() for content in small.records().values())
    given("status", small.results)
    assert given("tune", *small.running, "--methods", "lora", "--trials", "8").code == 0
    (lora,) = (small.results / "runs").glob("animals/*/lora/*/seed-0.json")
    sources = ["--data", small.data, "--backbone", small.backbone, "--results", small.results]
    assert given("export", lora, *sources, "--out", tmp_path / "adapter").code == 0
    assert given("fetch", *small.planning, "--out", tmp_path / "mirror").code == 0
    assert given("report", small.results).code == 0
    assert given("check", small.path, "--data", "nowhere").code == 2
    assert holding(tmp_path, SECRET) == []
    assert not any(SECRET in answer.out + answer.err for answer in answers)


def test_search_for_secrets_finds_one_that_is_there(tmp_path: Path) -> None:
    """The search of the test above looks into files."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.parquet").write_bytes(b"\0" + SECRET.encode())
    assert holding(tmp_path, SECRET) == [tmp_path / "a" / "b.parquet"]


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql+psycopg://me:{SECRET}@localhost:1/studies",
        f"postgresql://me:{SECRET}@localhost:1/studies",
        f"nothing://me:{SECRET}@host/studies",
        f"postgresql://localhost:1/studies?user=me&password={SECRET}",
        f"postgresql://localhost:1/studies?user=me&passwd={SECRET}",
        f"postgresql://me:{SECRET}",
        f"postgresql://me:a/{SECRET}@localhost:1/studies",
        f"postgresql://me:a?b={SECRET}@localhost:1/studies",
        f"postgresql://me@corp:{SECRET}@localhost:1/studies",
        f"postgresql:me:{SECRET}@localhost:1/studies",
        f"me:{SECRET}@localhost",
    ],
)
def test_password_of_a_storage_is_in_no_message(
    small: SmallSuite, capsys: Capture, url: str
) -> None:
    """A database that cannot be reached is named without the password."""
    arguments = ("--methods", "head", "--trials", "8", "--storage", url)
    answer = call(capsys, "tune", *small.running, *arguments)
    assert answer.code == 2
    assert "--storage " in answer.err
    assert SECRET not in answer.out + answer.err
    assert holding(small.folder, SECRET) == []


def test_unescaped_password_is_in_no_message_and_the_escape_is_told(
    small: SmallSuite, capsys: Capture
) -> None:
    """A driver takes what follows the first @ for the host, and names it."""
    pytest.importorskip("psycopg", reason="needs the driver psycopg")
    url = f"postgresql://me:p@{SECRET}@127.0.0.1:1/studies"
    arguments = ("--methods", "head", "--trials", "8", "--storage", url)
    answer = call(capsys, "tune", *small.running, *arguments)
    assert answer.code == 2
    assert "write @ as %40" in answer.err
    assert SECRET not in answer.out + answer.err
    assert holding(small.folder, SECRET) == []


def test_password_of_an_unknown_argument_is_not_repeated(
    small: SmallSuite, capsys: Capture
) -> None:
    """A command that takes no storage names the argument, not the password."""
    answer = call(capsys, "run", *small.running, "--storage", f"postgresql://me:{SECRET}@host/db")
    assert answer.code == 2
    assert "--storage" in answer.err
    assert SECRET not in answer.out + answer.err


@pytest.mark.parametrize(
    "url",
    [
        f"mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3D{SECRET}",
        f"postgresql:///db?options=-cpassword%3D{SECRET}",
        f"postgresql:///db?passwd={SECRET}",
        f"postgresql://me://{SECRET}@host/db",
        f"https://{SECRET}@host/db",
        f"--storage=https://{SECRET}@host/db",
    ],
)
def test_password_inside_an_option_is_hidden(url: str) -> None:
    """Escaped or not."""
    assert SECRET not in without_password(url)


SERVERS = [
    f"http://me:{SECRET}@127.0.0.1:1/api",
    f"https://me:a@{SECRET}@host/",
    f"https://{SECRET}@proxy:8080",
    f"HTTP://:{SECRET}@proxy:3128",
    f"http://host/api?run=1&token={SECRET}",
    f"postgresql://host/db?sslmode=require&sslpassword={SECRET}",
    f"http://host/api?access_token={SECRET}",
]


@pytest.mark.parametrize("url", SERVERS)
def test_password_in_the_error_of_a_library_is_in_no_message_and_no_record(
    small: SmallSuite, capsys: Capture, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """Trackers, the hub and proxies get theirs from variables, and repeat them where they fail."""

    def fail(*_: object, **__: object) -> None:
        raise ConnectionError(f"Max retries exceeded with '{url}' (refused)")

    with monkeypatch.context() as patch:
        patch.setattr("gapbench.methods.head.Head.adapt", fail)
        patch.setattr("gapbench.bench.tracking.find", lambda _: fail)
        answer = call(
            capsys, "run", *small.running, "--methods", "head,majority", "--track", "mlflow"
        )
    assert answer.code == 3
    assert "Max retries exceeded" in answer.err
    told = call(capsys, "status", small.results)
    assert SECRET not in answer.out + answer.err + told.out + told.err
    assert holding(small.folder, SECRET) == []
    with monkeypatch.context() as patch:
        patch.setattr("transformers.AutoConfig.from_pretrained", fail)
        answer = call(capsys, "check", small.path, "--data", small.data, "--methods", "lora")
    assert answer.code == 2
    assert "Max retries exceeded" in answer.err
    assert SECRET not in answer.out + answer.err


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///a@b.db",
        "journal:a@b",
        "postgresql://host:5432/name",
        "postgresql://me@host/name",
        "https://host/owner/name@main",
        "--storage=postgresql+psycopg://me@host:5432/name",
    ],
)
def test_storage_without_a_password_is_named_as_it_is(url: str) -> None:
    """Nothing but passwords is hidden."""
    assert without_password(url) == url
