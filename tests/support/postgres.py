"""A PostgreSQL server of the tests' own, on a socket in a temporary folder."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OWNER = "nobody"  # of the server's process where the tests run as root, which it refuses
_USER = "postgres"


def programs() -> Path | None:
    """Return the folder of PostgreSQL's server programs, None if there are none."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return packaged[-1].parent if packaged else None


@contextmanager
def postgres(binaries: Path) -> Iterator[str]:
    """Run a server without a network, and yield the URL of its first database, an empty one."""
    folder = Path(tempfile.mkdtemp(prefix="gapbench-postgres-"))
    as_user = []
    if os.geteuid() == 0:
        shutil.chown(folder, _OWNER)
        as_user = ["runuser", "-u", _OWNER, "--"]

    def run(program: str, *arguments: str) -> None:
        command = [*as_user, str(binaries / program), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder)

    data = str(folder / "data")
    run("initdb", "-D", data, "-U", _USER, "--auth=trust", "--no-sync")
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    run("pg_ctl", "start", "-w", "-D", data, "-l", str(folder / "log"), "-o", options)
    try:
        yield f"postgresql://{_USER}@/postgres?host={folder}"
    finally:
        run("pg_ctl", "stop", "-D", data, "-m", "immediate")
        shutil.rmtree(folder)
