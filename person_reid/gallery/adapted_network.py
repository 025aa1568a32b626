"""Adapt an index's network to the images of its tracks, and recompute the index's features.

config = with_adapted(index, config)                  # an adapted index keeps its network
if options := adaptation_of(index, config, "shop"):   # None if adapted already
    check_tracks(index)
    keep_adapted(index, config, options, fault=adapt(options, world))
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from person_reid.config.adapt import AdaptConfig
from person_reid.config.option import configured
from person_reid.config.search import NetworkOfIndex, ReindexConfig
from person_reid.config.tested import DECIDED, PREPARED
from person_reid.data.images.bank import fingerprint
from person_reid.errors import UserError
from person_reid.files import real, write_text
from person_reid.gallery.gallery import Gallery
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.index_folder import folder_beside
from person_reid.gallery.indexed_network import known_network, network_ref, track_cosines_of
from person_reid.gallery.indexed_tracks import cameras_of, indexed_tracks, spans
from person_reid.gallery.upkeep import reindex_images
from person_reid.retrieval.association import link_tracks

RUN = "adaptation"  # the run of the adaptation, in the folder of people.py
NETWORK = "adapted-"  # prefix of adapted networks; the fingerprint of the images follows
# Adaptation looks at neighbourhoods of 20 images, and a track has eight images. The neighbourhoods
# of people with fewer tracks contain strangers, so clusters mix people up.
TRACKS_OF_PERSON = 3
NAMED = (*DECIDED, *PREPARED, "engine")  # options that identify the network
Config = TypeVar("Config", bound=NetworkOfIndex)


def with_adapted(index: Gallery, config: Config) -> Config:
    """Return the options, without a network if the index already has an adapted one."""
    known = known_network(index)
    if not known or not Path(known.place).name.startswith(NETWORK):
        return config
    defaults = {name: each.default for name, each in type(config).declared().items()}
    return replace(config, **{name: defaults[name] for name in NAMED if name in defaults})


def adaptation_of(index: Gallery, config: NetworkOfIndex, folder: str) -> AdaptConfig | None:
    """Return the options for adapting an index's network to the images cut from its tracks.

    Returns None if the network has already been adapted to them. folder: where to write the run and
    the network. Raises UserError for a network that cannot be trained.
    """
    images = sorted(path for some in index.images() for path, about in some if about.track)
    digest = fingerprint(images, times=False)[:8]
    if _done(folder, digest).exists():
        return None
    network = network_ref(index, config)
    if network.kind == "engine" or not isinstance(index, SearchIndex):
        raise UserError(
            f"{index.path}: only an index file can be adapted, and only a network of this suite."
        )
    known = AdaptConfig.declared()
    start: dict[str, Any] = {name: value for name, value in network.options if name in known}
    start["weights" if network.kind == "weights" else "from_run"] = network.place
    return AdaptConfig(
        **start,
        data_dir=str(folder_beside(index.file, "")),
        cameras="folders",
        name=str(real(folder) / RUN / digest),
        gpu_ids=config.gpu_ids,
    )


def check_tracks(index: Gallery) -> None:
    """Raise UserError if an index has fewer than TRACKS_OF_PERSON tracks per person.

    The people are counted by linking the tracks with the network of the index.
    """
    every, features = indexed_tracks(index)
    tracks = every[: len(features)]
    linked = link_tracks(
        features, cameras_of(tracks), *spans(tracks), cosines=track_cosines_of(index)
    )
    people = len({*linked.labels.tolist()})
    if len(tracks) < TRACKS_OF_PERSON * people:
        raise UserError(
            f"{len(tracks)} tracks of about {people} people are too few; with fewer than "
            f"{TRACKS_OF_PERSON} for each, adaptation mixes people up."
        )


def keep_adapted(index: Gallery, config: NetworkOfIndex, options: AdaptConfig, fault: str) -> None:
    """Recompute an index's features with the network from a run, unless the run has a fault."""
    from person_reid.deploy.publish import save_pretrained  # loads torch

    digest, folder = Path(options.name).name, Path(options.name).parents[1]
    assert isinstance(index, SearchIndex), "adaptation_of refuses others"
    if not fault:
        network = save_pretrained(options.name, folder / f"{NETWORK}{digest}")
        same = {name: getattr(config, name) for name in NetworkOfIndex.declared()}
        values = {name: it for name, it in same.items() if name not in NAMED and it is not None}
        reindex_images(index, configured(ReindexConfig, values | {"from_run": str(network)}))
    write_text(_done(folder, digest), fault or "adapted")


def _done(folder: str | Path, digest: str) -> Path:
    """Return the file that records the result of adapting to the images with this digest."""
    return Path(folder) / RUN / f"{digest}.txt"
