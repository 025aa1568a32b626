"""The table of data sets that prepare.py lays out, with one entry each; see docs/datasets.md."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from person_reid.config.prepare import DATA_SET_NAMES
from person_reid.data import cuhk03
from person_reid.data.layout import DG_MARKET
from person_reid.data.own import folder_or_list
from person_reid.data.readers import (
    GALLERY,
    MULTI_QUERY,
    QUERY,
    TRAIN,
    UNLABELLED,
    VAL,
    PicturesBySplit,
    by_lists,
    by_name,
    clothes_by_camera,
    first_classes,
    one_in_gallery,
    random_halves,
    with_distractors,
)
from person_reid.data.video import mot, tracklets
from person_reid.registration import Registry
from person_reid.text import as_command


@dataclass(frozen=True)
class KnownDataSet:
    """The facts that prepare.py knows about a data set before it reads the files.

    name: the name as its authors write it.
    source: where it comes from.
    licence: its terms, in a few words.
    get: how to get it, if the source does not explain it.
    archive: the address of a ZIP file that prepare.py --download fetches, if there is one.
    locations: where to look for a download; by default, its layout goes to the first location.
    requires: the files and folders needed for testing, with | between alternatives. The training
        images may be missing.
    file_name: a pattern for `<name of the download's folder>/<image>`, with the first image of the
        first required folder; only needed if other data sets have the same folders.
    guess: whether it may be recognised without --dataset.
    read: a function from the download's folder to {split: [Picture]} as in readers.py, or None for
        a data set without identities.
    flags: the flags of prepare.py that it takes.
    distractors: whether the identity 0 means distractors, as in Market-1501. If not, it is a
        person, and identities are counted from 1 if there is a 0. -1 is always junk.
    published: split -> (identities, images, cameras). Distractors and junk count as images but not
        as identities; None means that the number is not published.
    note: what its users need to know.
    """

    name: str
    source: str
    licence: str
    read: Callable[..., PicturesBySplit] | None
    requires: tuple[str, ...] = ()
    locations: tuple[str, ...] = ()
    get: str = ""
    archive: str = ""
    file_name: str = ""
    guess: bool = True
    flags: tuple[str, ...] = ()
    distractors: bool = False
    published: dict[str, tuple[int | None, int | None, int | None]] = field(default_factory=dict)
    note: str = ""


MARKET_FOLDERS = {
    TRAIN: "bounding_box_train",
    QUERY: "query",
    GALLERY: "bounding_box_test",
    MULTI_QUERY: "gt_bbox",
}
MARKET_PARTS = ("query", "bounding_box_test")
MARKET_NAME = (
    r"^(?P<id>-1|[0-9]+)_c(?P<camera>[0-9]+)"
    r"(?:s[0-9]+)?(?:t(?P<track>[0-9]+))?(?:o(?P<clothes>[0-9]+))?"
)
read_market = partial(by_name, folders=MARKET_FOLDERS, pattern=MARKET_NAME)
MARKET_SOURCE = "https://zheng-lab-anu.github.io/Project/project_reid.html"
RESEARCH = "research only, not to be passed on"
TRACKLETS = "A feature for each tracklet: python test.py --tracks."
CLOTHES_HINT = "Matches in other clothes: after test.py, python evaluate.py --clothes."
NO_CAMERAS = (
    "There are no cameras: each image gets its own, "
    "so that a query finds every other image of its identity."
)


def _cuhk03(kind: str, train: int, gallery: int) -> KnownDataSet:
    return KnownDataSet(
        name=f"CUHK03 ({kind}, new protocol)",
        source="https://www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html",
        licence="research only, on request",
        get=f"as folders of images: {cuhk03.PROTOCOL}/tree/master/CUHK03-NP",
        locations=(f"../cuhk03-np/{kind}",),
        requires=tuple(
            f"{folder}|cuhk03_new_protocol_config_{kind}.mat" for folder in MARKET_PARTS
        ),
        file_name=rf"{kind}/\d+_c\d_\d+\.",
        read=partial(cuhk03.read_new_protocol, kind=kind),
        published={TRAIN: (767, train, 2), QUERY: (700, 1400, 2), GALLERY: (700, gallery, 2)},
    )


def _cuhk03_original(kind: str) -> KnownDataSet:
    return KnownDataSet(
        name=f"CUHK03 ({kind}, original protocol)",
        source="https://www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html",
        licence="research only, on request",
        requires=("cuhk-03.mat|cuhk03_release/cuhk-03.mat",),
        guess=False,
        read=partial(cuhk03.read_original_protocol, kind=kind),
        flags=("seed",),
        published={TRAIN: (1367, None, 2), QUERY: (100, None, 2), GALLERY: (100, None, 2)},
        note="Single-gallery-shot: after test.py, python evaluate.py --single_shot. "
        "--seed, 0 to 19, is the test set; "
        "the published figures are means of the 20.",
    )


def _msmt17(version: int, train: str, test: str) -> KnownDataSet:
    lists = {
        TRAIN: (("list_train.txt", train), ("list_val.txt", train)),
        VAL: (("list_val.txt", train),),
        QUERY: (("list_query.txt", test),),
        GALLERY: (("list_gallery.txt", test),),
    }
    return KnownDataSet(
        name=f"MSMT17 V{version}",
        source="https://www.pkuvmc.com/dataset.html",
        licence="research only, on request (signed agreement)",
        locations=(f"../MSMT17_V{version}",),
        requires=(test, "list_query.txt", "list_gallery.txt"),
        read=partial(by_lists, lists=lists, camera=r"^\d+_\d+_(\d+)_"),
        published={TRAIN: (1041, 32621, 15), QUERY: (3060, 11659, 15), GALLERY: (3060, 82161, 15)},
        note="train_all is list_train and list_val, val is list_val. "
        "Identities are numbered from 1 here, from 0 in the original; "
        "those to train on and those to test on are different people of the same numbers.",
    )


def _vehicle_id(vehicles: int, images: int) -> KnownDataSet:
    lists = {
        TRAIN: (("train_test_split/train_list.txt", "image"),),
        GALLERY: ((f"train_test_split/test_list_{vehicles}.txt", "image"),),
    }
    return KnownDataSet(
        name=f"VehicleID (test of {vehicles:,} vehicles)",
        source="https://www.pkuml.org/resources/pku-vehicleid.html",
        licence="research only, on request",
        locations=("../VehicleID_V1.0",),
        requires=("image", lists[GALLERY][0][0]),
        read=partial(one_in_gallery, read=partial(by_lists, lists=lists, suffix=".jpg")),
        flags=("seed",),
        published={
            TRAIN: (13164, 113346, None),
            QUERY: (vehicles, images - vehicles, None),
            GALLERY: (vehicles, vehicles, None),
        },
        note="The gallery is one image of each vehicle, drawn by --seed; the published "
        "figures are means of ten draws. " + NO_CAMERAS,
    )


def _university(query: str, gallery: str, counts: tuple[int, int]) -> KnownDataSet:
    train = ("train/drone", "train/satellite", "train/street")
    asked, among = f"test/query_{query}", f"test/gallery_{gallery}"
    folders = {TRAIN: train, QUERY: asked, GALLERY: among}
    return KnownDataSet(
        name=f"University-1652 ({query} → {gallery})",
        source="https://github.com/layumi/University1652-Baseline",
        licence="research only, on request",
        locations=("../University-Release",),
        requires=(asked, among),
        read=partial(
            by_name, folders=folders, pattern=r"(?P<camera>drone|satellite|street)/(?P<id>\d+)/"
        ),
        published={
            TRAIN: (701, 50218, 3),
            QUERY: (701, counts[0], 1),
            GALLERY: (951, counts[1], 1),
        },
        note="The views are the cameras: 1 drone, 2 satellite, 3 street. "
        "The images of train/google are not used.",
    )


def _own(
    kind: str, read: Callable[..., PicturesBySplit], flags: tuple[str, ...], arguments: str
) -> KnownDataSet:
    return KnownDataSet(
        name=f"your own {kind}",
        source="you",
        licence="yours",
        get=f"{as_command('prepare.py')} {arguments}",
        guess=False,
        read=read,
        flags=(*flags, "test_fraction", "seed"),
    )


# If several entries fit a folder, the one with the most requirements is chosen, or the first such.
_DATA_SETS = {
    "market": KnownDataSet(
        name="Market-1501",
        source=MARKET_SOURCE,
        licence=RESEARCH,
        get=f"{MARKET_SOURCE} or: {as_command('prepare.py')} --dataset market --download",
        archive="http://188.138.127.15:81/Datasets/Market-1501-v15.09.15.zip",  # torchreid's
        locations=("../Market", "../Market-1501-v15.09.15"),
        requires=MARKET_PARTS,
        file_name=r"_c\d+s\d",
        read=read_market,
        distractors=True,
        published={
            TRAIN: (751, 12936, 6),
            QUERY: (750, 3368, 6),
            GALLERY: (750, 19732, 6),
            MULTI_QUERY: (1501, 25259, 6),
        },
    ),
    "duke": KnownDataSet(
        name="DukeMTMC-reID",
        source="https://github.com/sxzrt/DukeMTMC-reID_evaluation",
        licence="CC BY-NC-SA 4.0; withdrawn in 2019",
        get="withdrawn by Duke University in 2019, see docs/datasets.md; "
        "as the published code has it: "
        "gdown 1jjE85dRCMOgRtvJ5RQV9-Afs-2_5dY3O",
        locations=("../DukeMTMC-reID",),
        requires=MARKET_PARTS,
        file_name=r"_c\d+_f\d",
        read=read_market,
        distractors=True,
        published={TRAIN: (702, 16522, 8), QUERY: (702, 2228, 8), GALLERY: (1110, 17661, 8)},
        note="Duke University withdrew DukeMTMC in 2019: it was recorded outdoors and put "
        "on an open site, neither as approved. Use it to check earlier figures, "
        "if at all, not for new work.",
    ),
    "synthetic": KnownDataSet(
        name="synthetic people",
        source="python prepare.py --synthetic",
        licence="that of this software",
        locations=("data/synthetic",),
        requires=(*MARKET_PARTS, "synthetic.json"),
        file_name=r"_c\d+s\d",
        read=read_market,
        distractors=True,
    ),
    "market_500k": KnownDataSet(
        name="Market-1501 + 500k distractors",
        source=MARKET_SOURCE,
        licence=RESEARCH,
        get="distractors_500k.zip of that page, unpacked in the folder of Market-1501",
        locations=("../Market-1501-v15.09.15",),
        requires=(*MARKET_PARTS, "images|distractors_500k"),
        guess=False,
        read=partial(with_distractors, read=read_market, folders=("images", "distractors_500k")),
        distractors=True,
        published={TRAIN: (751, 12936, 6), QUERY: (750, 3368, 6), GALLERY: (750, None, None)},
    ),
    "cuhk03_detected": _cuhk03("detected", 7365, 5332),
    "cuhk03_labeled": _cuhk03("labeled", 7368, 5328),
    "cuhk03_original_detected": _cuhk03_original("detected"),
    "cuhk03_original_labeled": _cuhk03_original("labeled"),
    "msmt17_v1": _msmt17(1, "train", "test"),
    "msmt17_v2": _msmt17(2, "mask_train_v2", "mask_test_v2"),
    "viper": KnownDataSet(
        name="VIPeR",
        source="https://vision.soe.ucsc.edu/node/178",
        licence="free for research",
        locations=("../VIPeR",),
        requires=("cam_a", "cam_b"),
        read=partial(
            random_halves, folders=("cam_a", "cam_b"), pattern=r"cam_(?P<camera>[ab])/(?P<id>\d+)_"
        ),
        flags=("seed",),
        published={TRAIN: (316, 632, 2), QUERY: (316, 316, 1), GALLERY: (316, 316, 1)},
        note="The halves are drawn by --seed; the published figures are means of ten draws.",
    ),
    "lpw": KnownDataSet(
        name="LPW",
        source="https://liuyu.us/dataset/lpw/index.html",
        licence="not stated: ask the authors",
        locations=("../pep_256x128",),
        requires=("scen1/view1", "scen1/view2", "scen1/view3"),
        read=partial(
            by_name,
            folders={
                TRAIN: ("scen2", "scen3"),
                QUERY: "scen1/view2",
                GALLERY: ("scen1/view1", "scen1/view3"),
            },
            pattern=r"(?P<camera>scen(?P<id>\d)/view\d)/(?P<id_2>\d+)/",
        ),
        published={TRAIN: (1975, 418739, 8), QUERY: (756, 63118, 1), GALLERY: (756, 108690, 2)},
        note="Scenes 2 and 3 to train on; in scene 1, view 2 holds the queries, "
        "views 1 and 3 the gallery.",
    ),
    "dg_market": KnownDataSet(
        name="DG-Market",
        source=DG_MARKET,
        licence="CC BY-NC-SA 4.0 (that of DG-Net)",
        locations=("../DG-Market",),
        guess=False,
        read=None,
        published={UNLABELLED: (None, 128307, None)},
    ),
    "mars": KnownDataSet(
        name="MARS",
        source="https://zheng-lab-anu.github.io/Project/project_mars.html",
        licence=RESEARCH,
        locations=("../MARS",),
        requires=("bbox_test", "info/test_name.txt", "info/tracks_test_info.mat"),
        read=tracklets.read_mars,
        distractors=True,
        published={
            TRAIN: (625, 509914, 6),
            QUERY: (626, 114493, 6),
            GALLERY: (636, 681089, 6),
        },
        note="Of tracklets: 8,298 to train on, 1,980 queries, 12,180 in the gallery, which "
        "includes the queries. The authors count 1,261 people, so 636 to test on; 634 are counted "
        "here if the folders 0000 (distractors) and 00-1 (junk) are among theirs. " + TRACKLETS,
    ),
    "lsvid": KnownDataSet(
        name="LS-VID",
        source="https://www.pkuvmc.com/dataset.html",
        licence="research only, on request",
        locations=("../LS-VID",),
        requires=("list_sequence/list_seq_test.txt", "test/data/info_test.mat"),
        read=tracklets.read_lsvid,
        published={
            TRAIN: (842, 550419, 15),
            QUERY: (None, None, 15),
            GALLERY: (2730, None, 15),
        },
        note="The validation list shows further people and is not used. Query and gallery together "
        "have 2,277,075 frames. " + TRACKLETS,
    ),
    "ltcc": KnownDataSet(
        name="LTCC",
        source="https://naiq.github.io/LTCC_Perosn_ReID.html",
        licence="research only, on request",
        locations=("../LTCC_ReID",),
        requires=("query", "test"),
        file_name=r"/\d+_\d+_c\d+_\d+\.",
        read=partial(
            by_name,
            folders={TRAIN: "train", QUERY: "query", GALLERY: "test"},
            pattern=r"^(?P<id>\d+)_(?P<clothes>\d+)_c(?P<camera>\d+)_",
        ),
        published={TRAIN: (77, 9576, 12), QUERY: (75, 493, 12), GALLERY: (75, 7050, 12)},
        note=CLOTHES_HINT,
    ),
    "prcc": KnownDataSet(
        name="PRCC",
        source="https://www.isee-ai.cn/~yangqize/clothing.html",
        licence="research only, on request",
        locations=("../prcc",),
        requires=("rgb/test/A", "rgb/test/B", "rgb/test/C"),
        read=partial(
            clothes_by_camera,
            read=partial(
                by_name,
                folders={
                    TRAIN: ("rgb/train", "rgb/val"),
                    VAL: "rgb/val",
                    QUERY: ("rgb/test/B", "rgb/test/C"),
                    GALLERY: "rgb/test/A",
                },
                pattern=r"/(?=(?:[ABC]/)?(?P<id>\d+)/)(?:\d+/)?(?P<camera>[ABC])[_/]",
            ),
            clothes={"A": "1", "B": "1", "C": "2"},
        ),
        published={TRAIN: (150, 22898, 3), QUERY: (71, None, 2), GALLERY: (71, None, 1)},
        note="train_all is train and val, which show the same people. Camera A is the gallery; "
        "the queries are of B, in the same clothes, and of C, in others. "
        + CLOTHES_HINT
        + " Its authors draw one gallery image of each person: add --single_shot.",
    ),
    "veri": KnownDataSet(
        name="VeRi-776",
        source="https://github.com/JDAI-CV/VeRidataset",
        licence="research only, on request",
        locations=("../VeRi",),
        requires=("image_query", "image_test"),
        read=partial(
            by_name,
            folders={TRAIN: "image_train", QUERY: "image_query", GALLERY: "image_test"},
            pattern=MARKET_NAME,
        ),
        published={TRAIN: (576, 37778, 20), QUERY: (200, 1678, None), GALLERY: (200, 11579, None)},
        note="The queries are also in the gallery, where each is its own junk.",
    ),
    "vehicleid_2400": _vehicle_id(2400, 19777),
    "vehicleid_1600": _vehicle_id(1600, 13377),
    "vehicleid_800": _vehicle_id(800, 6493),
    "cub": KnownDataSet(
        name="CUB-200-2011",
        source="https://www.vision.caltech.edu/datasets/cub_200_2011/",
        licence="non-commercial research; the images belong to their photographers",
        locations=("../CUB_200_2011",),
        requires=("images", "images.txt", "image_class_labels.txt"),
        read=partial(first_classes, training_classes=100),
        published={TRAIN: (100, 5864, None), QUERY: (100, 5924, None), GALLERY: (100, 5924, None)},
        note="The first 100 classes to train on. " + NO_CAMERAS,
    ),
    "university": _university("drone", "satellite", (37855, 951)),
    "university_satellite": _university("satellite", "drone", (701, 51355)),
    "folder": _own(
        "folder",
        folder_or_list.own_folder,
        ("pattern",),
        "--data_dir FOLDER --pattern EXPRESSION",
    ),
    "csv": _own("CSV file", folder_or_list.own_csv, ("csv",), "--csv FILE"),
    "mot": _own(
        "tracked videos", mot.read_sequences, mot.OPTIONS_OF_MOT, "--dataset mot --data_dir FOLDER"
    ),
}
DATA_SETS: Registry[KnownDataSet] = Registry("data set", _DATA_SETS, DATA_SET_NAMES)


def register_dataset(name: str, read: Callable[..., PicturesBySplit], **about: Any) -> None:
    """Register a data set under a name for prepare.py --dataset.

    read: folder of the download → {split: [Picture]}. about: other fields of KnownDataSet, such as
    `requires` (the files by which it is recognised), `published` (its counts) and `distractors`
    (whether 0 means a distractor).
    """
    about = {"name": name, "source": "", "licence": "", "guess": "requires" in about, **about}
    DATA_SETS.register(name, KnownDataSet(read=read, **about))
