"""The network that the flags of a tool name, for the tools whose parser is not made from a
configuration.
"""

from argparse import Namespace
from pathlib import Path
from typing import Any

from person_reid.cli.flags import DESCRIPTION, NETWORK_OF_FILE, NETWORK_OF_RUN, Unsaid
from person_reid.config.tested import TestConfig, TestFiles
from person_reid.console import command
from person_reid.deploy import find
from person_reid.deploy.embedder import Embedder
from person_reid.deploy.load import TestedNetwork

# Flags that features depend on.
OF_FEATURES = (
    "from", *NETWORK_OF_RUN, *NETWORK_OF_FILE, *DESCRIPTION, "ms", "no_norm", *find.PREPARED,
    "engine", "no_flip", "fp16", "bf16",
)  # fmt: skip


@command
def as_config(options: Namespace) -> TestConfig:
    """Return the options of test.py among the flags of a tool."""
    given = {"from_run": getattr(options, "from", None), **vars(options)}
    names = TestConfig.declared().keys() - TestFiles.declared().keys()
    known = {name: given[name] for name in names if given.get(name) is not None}
    texts: dict[str, Any] = {
        name: str(value) for name, value in known.items() if isinstance(value, Path)
    }
    if isinstance(known.get("name"), Unsaid):
        texts["name"] = None
    return TestConfig(**{**known, **texts})


def is_run(options: Namespace) -> bool:
    """Return whether the flags name a run."""
    return find.run_of(as_config(options)) is not None


def title(options: Namespace) -> str:
    """Return the network in words."""
    return find.title(as_config(options))


def network_name(options: Namespace) -> str:
    """Return the network as a result file notes it."""
    return find.network_name(as_config(options))


def feature_flags(options: Namespace) -> str:
    """Return the flags that make features differ from those of the network alone, or PLAIN."""
    return find.feature_flags(as_config(options))


def own_threshold(options: Namespace) -> str | None:
    """Return the configuration of the folder --from if it holds a threshold."""
    return find.own_threshold(as_config(options))


@command
def tested_network(options: Namespace) -> TestedNetwork:
    """Return the network that the flags name."""
    return find.tested_network(as_config(options))


@command
def open_embedder(options: Namespace) -> Embedder:
    """Return the Embedder that the flags describe."""
    return find.open_embedder(as_config(options))
