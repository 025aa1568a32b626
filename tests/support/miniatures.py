"""The files of every data set in miniature, and how they are laid out.

These are facts, without a line of code to test.
"""

from tests.data.conftest import FILES

MSMT17 = {
    "list_train.txt": "0000/0000_000_01_0303morning_0008_0.jpg "
    "0\n0000/0000_001_14_0303noon_0010_1_ex.jpg 0\n",
    "list_val.txt": "0000/0000_002_02_0303noon_0012_0.jpg "
    "0\n0001/0001_000_02_0113afternoon_0008_0.jpg 1\n",
    "list_query.txt": "0000/0000_000_15_0303morning_0015_0.jpg 0\n",
    "list_gallery.txt": "0000/0000_002_03_0302noon_0015_0.jpg "
    "0\n0002/0002_000_10_0302noon_0019_0.jpg 2\n",
}
MSMT17_LAID_OUT = {
    "train_all": [
        "0001/0001_c1_0000_000_01_0303morning_0008_0.jpg",
        "0001/0001_c14_0000_001_14_0303noon_0010_1_ex.jpg",
        "0001/0001_c2_0000_002_02_0303noon_0012_0.jpg",
        "0002/0002_c2_0001_000_02_0113afternoon_0008_0.jpg",
    ],
    "val": [
        "0001/0001_c2_0000_002_02_0303noon_0012_0.jpg",
        "0002/0002_c2_0001_000_02_0113afternoon_0008_0.jpg",
    ],
    "query": ["0001/0001_c15_0000_000_15_0303morning_0015_0.jpg"],
    "gallery": [
        "0001/0001_c3_0000_002_03_0302noon_0015_0.jpg",
        "0003/0003_c10_0002_000_10_0302noon_0019_0.jpg",
    ],
}


def msmt17_images(train, test):
    folders = {
        "list_train.txt": train,
        "list_val.txt": train,
        "list_query.txt": test,
        "list_gallery.txt": test,
    }
    return [
        f"{folders[file]}/{line.split()[0]}"
        for file, text in MSMT17.items()
        for line in text.splitlines()
    ]


MARKET = [f"{folder}/{name}" for folder, found in FILES.items() for name in found]
CUHK03_NP = [
    "bounding_box_train/0001_c1_1.png",
    "bounding_box_train/0001_c2_6.png",
    "query/0800_c1_2.png",
]
UNIVERSITY = [
    "train/drone/0839/image-01.jpeg", "train/drone/0839/image-02.jpeg",
    "train/satellite/0839/0839.jpg", "train/street/0839/1.jpg", "train/google/0839/g.jpg",
    "test/query_drone/0001/image-01.jpeg", "test/query_satellite/0001/0001.jpg",
    "test/gallery_drone/0001/image-02.jpeg", "test/gallery_drone/0002/i.jpeg",
    "test/gallery_satellite/0001/0001.jpg", "test/gallery_satellite/0002/0002.jpg",
]  # fmt: skip

# key -> (images, texts, what is laid out; train and train_all follow from it)
MINIATURES = {
    "cuhk03_detected": (
        [*CUHK03_NP, "bounding_box_test/0800_c2_7.png"],
        {},
        {
            "train_all": ["0001/0001_c1_1.png", "0001/0001_c2_6.png"],
            "val": ["0001/0001_c1_1.png"],
            "query": ["0800/0800_c1_2.png"],
            "gallery": ["0800/0800_c2_7.png"],
        },
    ),
    "market_500k": (
        [*MARKET, "images/0000_c3s1_000001_00.jpg", "images/00000017.jpg"],
        {},
        {
            "gallery": [
                "-1/-1_c1s1_000401_03.jpg",
                "0000/0000_c3s1_000001_00.jpg",
                "0000/0000_c4s1_000401_03.jpg",
                "0000/0000_c7_00000017.jpg",
                "0001/0001_c2s1_000401_03.jpg",
            ]
        },
    ),
    "duke": (
        [
            f"{folder}/0005_c8_f0046182.jpg"
            for folder in ("bounding_box_train", "query", "bounding_box_test")
        ],
        {},
        {split: ["0005/0005_c8_f0046182.jpg"] for split in ("train_all", "query", "gallery")},
    ),
    "msmt17_v1": (msmt17_images("train", "test"), MSMT17, MSMT17_LAID_OUT),
    "msmt17_v2": (msmt17_images("mask_train_v2", "mask_test_v2"), MSMT17, MSMT17_LAID_OUT),
    "viper": (
        [
            f"cam_{camera}/{name}"
            for name in ("000_45.bmp", "001_90.bmp", "873_0.bmp", "005_0.bmp")
            for camera in "ab"
        ],
        {},
        {
            "train_all": [
                "0002/0002_c1_001_90.bmp",
                "0002/0002_c2_001_90.bmp",
                "0874/0874_c1_873_0.bmp",
                "0874/0874_c2_873_0.bmp",
            ],
            "query": ["0001/0001_c1_000_45.bmp", "0006/0006_c1_005_0.bmp"],
            "gallery": ["0001/0001_c2_000_45.bmp", "0006/0006_c2_005_0.bmp"],
        },
    ),
    "lpw": (
        [
            f"scen{scene}/view{view}/0007/00001.jpg"
            for scene, views in enumerate((3, 4, 4), 1)
            for view in range(1, views + 1)
        ],
        {},
        {
            "train_all": [f"0002/0002_c{camera}_00001.jpg" for camera in range(4, 8)]
            + [f"0003/0003_c{camera}_00001.jpg" for camera in (10, 11, 8, 9)],
            "query": ["0001/0001_c2_00001.jpg"],
            "gallery": ["0001/0001_c1_00001.jpg", "0001/0001_c3_00001.jpg"],
        },
    ),
    "veri": (
        [
            "image_train/0001_c001_00016450_0.jpg",
            "image_train/0001_c014_00016460_0.jpg",
            "image_query/0002_c002_00030600_0.jpg",
            "image_test/0002_c002_00030600_0.jpg",
            "image_test/0002_c019_00030640_0.jpg",
        ],
        {},
        {
            "train_all": ["0001/0001_c001_00016450_0.jpg", "0001/0001_c014_00016460_0.jpg"],
            "query": ["0002/0002_c002_00030600_0.jpg"],
            "gallery": ["0002/0002_c002_00030600_0.jpg", "0002/0002_c019_00030640_0.jpg"],
        },
    ),
    "ltcc": (
        [
            "train/003_1_c11_015833.png",
            "train/003_2_c3_015834.png",
            "query/077_2_c1_000017.png",
            "test/077_2_c5_000019.png",
            "test/077_3_c5_000023.png",
        ],
        {},
        {
            "train_all": [
                "0003/0003_c11o1_003_1_c11_015833.png",
                "0003/0003_c3o2_003_2_c3_015834.png",
            ],
            "query": ["0077/0077_c1o2_077_2_c1_000017.png"],
            "gallery": [
                "0077/0077_c5o2_077_2_c5_000019.png",
                "0077/0077_c5o3_077_3_c5_000023.png",
            ],
        },
    ),
    "prcc": (
        [
            "rgb/train/001/A_cropped_rgb001.jpg",
            "rgb/train/001/C_cropped_rgb002.jpg",
            "rgb/val/001/B_cropped_rgb003.jpg",
            "rgb/test/A/140/cropped_rgb001.jpg",
            "rgb/test/B/140/cropped_rgb001.jpg",
            "rgb/test/C/140/cropped_rgb001.jpg",
        ],
        {},
        {
            "train_all": [
                "0001/0001_c1o1_A_cropped_rgb001.jpg",
                "0001/0001_c2o1_B_cropped_rgb003.jpg",
                "0001/0001_c3o2_C_cropped_rgb002.jpg",
            ],
            "val": ["0001/0001_c2o1_B_cropped_rgb003.jpg"],
            "query": [
                "0140/0140_c2o1_cropped_rgb001.jpg",
                "0140/0140_c3o2_cropped_rgb001.jpg",
            ],
            "gallery": ["0140/0140_c1o1_cropped_rgb001.jpg"],
        },
    ),
    "vehicleid_800": (
        [f"image/{number:07d}.jpg" for number in range(1, 8)],
        {
            "train_test_split/train_list.txt": "0000001 7653\n0000002 7653\n",
            "train_test_split/test_list_800.txt": "0000003 31\n0000004 31\n"
            "0000005 31\n0000006 40\n0000007 40\n",
        },
        {
            "train_all": ["7653/7653_c1_0000001.jpg", "7653/7653_c2_0000002.jpg"],
            "query": [
                "0031/0031_c3_0000003.jpg",
                "0031/0031_c4_0000004.jpg",
                "0040/0040_c6_0000006.jpg",
            ],
            "gallery": ["0031/0031_c5_0000005.jpg", "0040/0040_c7_0000007.jpg"],
        },
    ),
    "cub": (
        [
            "images/001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg",
            "images/101.White_Pelican/White_Pelican_0001_2.jpg",
            "images/101.White_Pelican/White_Pelican_0002_3.jpg",
        ],
        {
            "images.txt": "1 001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg\n"
            "2 101.White_Pelican/White_Pelican_0001_2.jpg\n3 "
            "101.White_Pelican/White_Pelican_0002_3.jpg\n",
            "image_class_labels.txt": "1 1\n2 101\n3 101\n",
        },
        {
            "train_all": ["0001/0001_c1_Black_Footed_Albatross_0046_18.jpg"],
            "query": [
                "0101/0101_c2_White_Pelican_0001_2.jpg",
                "0101/0101_c3_White_Pelican_0002_3.jpg",
            ],
            "gallery": [
                "0101/0101_c2_White_Pelican_0001_2.jpg",
                "0101/0101_c3_White_Pelican_0002_3.jpg",
            ],
        },
    ),
    "university": (
        UNIVERSITY,
        {},
        {
            "train_all": [
                "0839/0839_c1_image-01.jpeg",
                "0839/0839_c1_image-02.jpeg",
                "0839/0839_c2_0839.jpg",
                "0839/0839_c3_1.jpg",
            ],
            "query": ["0001/0001_c1_image-01.jpeg"],
            "gallery": ["0001/0001_c2_0001.jpg", "0002/0002_c2_0002.jpg"],
        },
    ),
    "university_satellite": (
        UNIVERSITY,
        {},
        {
            "query": ["0001/0001_c2_0001.jpg"],
            "gallery": ["0001/0001_c1_image-02.jpeg", "0002/0002_c1_i.jpeg"],
        },
    ),
}
MINIATURES["cuhk03_labeled"] = MINIATURES["cuhk03_detected"]
for size in (1600, 2400):
    images, texts, laid_out = MINIATURES["vehicleid_800"]
    renamed = {name.replace("800", str(size)): text for name, text in texts.items()}
    MINIATURES[f"vehicleid_{size}"] = (images, renamed, laid_out)
