"""The service of tools/serve.py in a process of its own."""

import os
import re
import subprocess
import sys
from contextlib import contextmanager

from tests.support import ROOT


@contextmanager
def serving(folder, *words, errors=None, **environment):
    """Run the service in a folder, at any free port; yield its process and address.

    errors: where its standard error goes. It is asked to end when the block does.
    """
    command = [sys.executable, str(ROOT / "tools/serve.py"), "--index", "people.index"]
    with subprocess.Popen(
        [*command, "--port", "0", *map(str, words)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
    ) as service:
        try:
            assert service.stdout
            said = "".join(read_until_listening(service.stdout))
            assert "Listening" in said, said
            (address,) = re.findall(r"Listening at (\S+)/v1", said)
            yield service, address
            service.terminate()
            service.wait(60)
        finally:
            service.kill()


def read_until_listening(lines):
    """Yield lines up to the one that says where the service listens."""
    for line in lines:
        yield line
        if "Listening" in line:
            return
