import contextlib
from dataclasses import asdict, replace

import pytest
import yaml

import demo
import evaluate
import train
from person_reid.config import TrainConfig
from person_reid.config.adapt import AdaptConfig
from person_reid.config.evaluate import EvaluateGpuConfig
from person_reid.config.network import NETWORK_FLAGS, PUBLISHED_CLASSES, NetworkOptions
from person_reid.config.tested import TestConfig
from person_reid.console import parse, share_batch
from person_reid.deploy.network_names import run_of
from person_reid.errors import UserError
from person_reid.run_folder import RunFolder
from person_reid.training.build import check_training
from person_reid.training.writers import recorded_options
from tests.support.small_training import started_as, trained_as
from tools import figures, search

pytestmark = pytest.mark.usefixtures("here")


def parse_train(words):
    """The training that a command line describes."""
    return trained_as(*words)


def load_run(name):
    """The resolved options of a run."""
    config = RunFolder(name).config()
    check_training(config)
    return config


def write_run(tmp_path, **content):
    folder = tmp_path / "model" / "old"
    folder.mkdir(parents=True)
    (folder / "opts.yaml").write_text(yaml.safe_dump(content))


PUBLISHED_DEFAULTS = dict(
    gpu_ids="0", name="ft_ResNet50", data_dir="../Market/pytorch", train_all=False,
    batchsize=32, color_jitter=False, erasing_p=0, DG=False, lr=0.05, weight_decay=5e-4,
    total_epoch=60, fp16=False, bf16=False, cosine=False, FSGD=False, wa=False, linear_num=512,
    stride=2, droprate=0.5, use_dense=False, use_swin=False, use_swinv2=False, use_dino=False,
    use_efficient=False, use_NAS=False, use_hr=False, use_convnext=False, ibn=False, usam=False,
    PCB=False, warm_epoch=0, arcface=False, circle=False, cosface=False, contrast=False,
    instance=False, instance_id=False, ins_gamma=32, triplet=False, lifted=False, sphere=False,
    adv=0.0, aiter=10,
)  # fmt: skip


def test_published_flags_have_the_published_defaults():
    options = asdict(TrainConfig())
    assert {name: options[name] for name in PUBLISHED_DEFAULTS} == PUBLISHED_DEFAULTS
    assert run_of(parse(TestConfig, [])) == "ft_ResNet50"
    options = vars(parse(TestConfig, []))
    published = dict(
        gpu_ids="0",
        which_epoch="last",
        test_dir="../Market/pytorch",
        batchsize=256,
    )
    published |= dict.fromkeys(
        ("use_dense", "use_efficient", "use_hr", "PCB", "ibn", "usam"), False
    )
    assert {name: options[name] for name in published} == published
    assert options["ms"] == "1"
    assert options["multi"] is False
    assert options["fp16"] is False


@pytest.mark.parametrize(
    ("short", "name", "value"),
    [
        ("--batch", "batchsize", 16),
        ("--warm", "warm_epoch", 10),
        ("--freeze", "freeze_epochs", 5),
        ("--total", "total_epoch", 7),
        ("--er", "erasing_p", 0.5),
        ("--weight", "weight_decay", 0.1),
        ("--drop", "droprate", 0.2),
        ("--n", "name", "short"),
    ],
)
def test_published_abbreviations_stay_unambiguous(short, name, value):
    assert getattr(parse_train([short, str(value)]), name) == value
    assert parse_train(["--train"]).train_all
    assert parse_train(["--con"]).contrast
    assert parse(TestConfig, ["--ba", "8", "--whi", "60"]).which_epoch == "60"
    assert parse(TestConfig, ["--use_d"]).not_default(["use_dense"])  # train.py also has use_dino


@pytest.mark.parametrize(
    "words", [["--s", "1"], ["--w", "5"], ["--use"], ["--c"], ["--t"], ["--d", "x"], ["--in"]]
)
def test_what_was_ambiguous_stays_so(words, capsys):
    with pytest.raises(SystemExit):
        parse_train(words)
    assert "ambiguous option" in capsys.readouterr().err


GUESSED = [
    ("--epochs 7 --batch-size 8 --device cpu", "--total_epoch 7 --batchsize 8 --gpu_ids -1"),
    (
        "--total-epochs=7 --batch_size=8 --device=cuda:1",
        "--total_epoch 7 --batchsize 8 --gpu_ids 1",
    ),
    ("--device cuda --data-dir x --train-all", "--gpu_ids 0 --data_dir x --train_all"),
]


@pytest.mark.parametrize(("guessed", "meant"), GUESSED)
def test_a_harmless_guess_is_the_flag_that_it_means(guessed, meant):
    assert parse_train(guessed.split()) == parse_train(meant.split())


def test_a_harmless_guess_works_in_every_script():
    options = parse(TestConfig, ["--batch_size", "8", "--device", "cpu", "--test-dir", "x"])
    assert (options.batchsize, options.gpu_ids, options.test_dir) == (8, "-1", "x")
    assert parse(EvaluateGpuConfig, ["--device", "cpu"]).gpu_ids == "-1"


NAMED = [
    ([], "ft_ResNet50"),
    (["--backbone", "resnet50"], "ft_ResNet50"),
    (["--PCB"], "ft_ResNet50"),
    (["--backbone", "osnet_x0_25", "--weights", "none"], "ft_osnet_x0_25"),
    (["--use_dense"], "ft_densenet121"),
    (["--use_dense", "--name", "mine"], "mine"),
    (["--config", "file.yaml"], "ft_osnet_x0_25"),
    (["--config", "file.yaml", "--backbone", "osnet_x0_5"], "ft_osnet_x0_5"),
    (["--config", "file.yaml", "--resume"], "ft_osnet_x0_25"),
]


@pytest.mark.parametrize(("flags", "name"), NAMED)
def test_a_run_without_a_name_is_called_after_its_network(flags, name, here):
    (here / "file.yaml").write_text("backbone: osnet_x0_25\nweights: none\n")
    assert parse_train(flags).name == name


def test_a_run_without_a_name_is_found_again(here):
    begun = parse_train(["--backbone", "osnet_x0_25", "--weights", "none", "--seed", "3"])
    RunFolder(begun.name).save_options(asdict(begun))
    assert parse_train(["--backbone", "osnet_x0_25", "--resume"]) == replace(begun, resume=True)
    assert parse(AdaptConfig, ["--backbone", "osnet_x0_25", "--weights", "none"]).name == "adapted"


@pytest.mark.parametrize(
    ("runs", "name"),
    [
        ([], "ft_ResNet50"),
        (["ft_osnet_x0_25"], "ft_osnet_x0_25"),
        (
            ["ft_osnet_x0_25", "ft_osnet_x0_25.previous", "ft_osnet_x0_25.previous.2"],
            "ft_osnet_x0_25",
        ),
        (["ft_osnet_x0_25", "ft_ResNet50"], "ft_ResNet50"),
        (["a", "b"], "ft_ResNet50"),
    ],
)
def test_without_a_name_the_only_run_is_tested(runs, name, here):
    for run in runs:
        RunFolder(run).save_options({})
    assert run_of(parse(TestConfig, [])) == name
    assert run_of(parse(TestConfig, ["--name", "ft_ResNet50"])) == "ft_ResNet50"


HINTED = [
    (train.main, "--workers 4", "There are no workers"),
    (train.main, "--num-workers=4", "There are no workers"),
    (train.main, "--pretrained", "--weights FILE"),
    (train.main, "--config-file x.yaml", "--config FILE"),
    (train.main, "--output runs", "--name NAME"),
    (train.main, "--total_epok 3", "Did you mean '--total_epoch'?"),
    (train.main, "--pcb", "Did you mean '--PCB'?"),
    (train.main, "weights=none", "Did you mean --weights none?"),
    (train.main, "--lr 0,05", "Write a decimal point"),
    (demo.main, "5", "Did you mean --query_index 5?"),
    (search.main, "--index a.index query a.jpg", "The command comes first"),
    (search.main, "forget Anna --index a.index", "Did you mean --identity Anna?"),
    (evaluate.main, "--rerank", "python evaluate_rerank.py"),
    (demo.main, "--output x.png", "--save FILE"),
    (figures.main, "curves --output x.png", "--save FILE"),
]


@pytest.mark.parametrize(("main", "words", "hint"), HINTED)
def test_another_guess_ends_in_a_hint(main, words, hint, capsys):
    with pytest.raises(SystemExit) as end:
        main(words.split())
    assert end.value.code == 2
    assert hint in capsys.readouterr().err.splitlines()[-1]


def test_the_folder_of_test_py_may_be_called_data_dir():
    assert parse(TestConfig, ["--data_dir", "people"]).test_dir == "people"


@pytest.mark.parametrize(
    "flags", [["--local-rank=1"], ["--local_rank", "1"], ["--local-rank", "1"], []], ids=" ".join
)
def test_the_rank_that_the_old_launcher_adds_is_passed_over(flags, monkeypatch):
    started = started_as(monkeypatch, *flags, "--batch", "4", "--loss", "triplet")
    assert started.batchsize == 4
    assert not hasattr(started, "local_rank")


def test_the_backbone_learns_at_a_tenth_unless_told_otherwise():
    assert parse_train(["--lr", "0.2"]).learning_rates == pytest.approx((0.02, 0.2, 0.2))
    rates = parse_train(["--lr", "0.2", "--backbone_lr", "0.3"]).learning_rates
    assert rates == (0.3, 0.2, 0.2)


def test_rates_of_an_earlier_run_follow_another_lr_unless_they_were_given(tmp_path):
    for flags, expected in (
        ([], (0.001, 0.01)),
        (["--backbone_lr", "0.3", "--arcface", "--prototype_lr", "0.2"], (0.3, 0.2)),
    ):
        saved = {
            key: value
            for key, value in recorded_options(parse_train(["--lr", "0.05", *flags])).items()
            if value is not None
        }
        (tmp_path / "opts.yaml").write_text(yaml.safe_dump(saved | {"nclasses": 5}))
        found = parse_train(["--config", str(tmp_path / "opts.yaml"), "--lr", "0.01"])
        assert found.learning_rates[::2] == pytest.approx(expected)


def test_aiter_may_be_a_fraction():
    assert parse_train(["--adv", "0.1", "--aiter", "2.5"]).aiter == 2.5


def test_flags_win_over_the_config_file(tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        "lr: 0.02\ncosine: true\ngpu_ids: 1\nbackbone: osnet_x0_25\n"
    )
    options = parse_train(["--config", "recipe.yaml", "--lr", "0.03"])
    assert (options.lr, options.cosine, options.gpu_ids, options.backbone) == (
        0.03,
        True,
        "1",
        "osnet_x0_25",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("leraning_rate: 1\nlr: 0.1", "unknown option 'leraning_rate'"),
        ("batch_size: 8", "unknown option 'batch_size'. Did you mean 'batchsize'"),
        ("lr: fast", "lr: 'fast' does not fit"),
        ("cosine: 1", "cosine: 1 does not fit .expected true or false"),
        ("stride: 3", "stride: 3 does not fit .expected one of 1, 2"),
        ("erasing_p: 2", "erasing_p: 2 does not fit"),
        ("loss: [triplet]", r"loss: \['triplet'\] does not fit .expected one value"),
        ("name: null", "name: None does not fit .expected one value"),
        ("- a list", "expected options as 'name: value' lines, found list"),
        ("a: [", "not readable as YAML"),
        ("!!python/object/apply:os.system ['true']", "not readable as YAML"),
    ],
)
def test_a_bad_config_file_is_refused_by_name(text, message, tmp_path):
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(UserError, match=rf"recipe\.yaml: {message}"):
        parse_train(["--config", "recipe.yaml"])


def test_a_resumed_run_refuses_a_file_that_changes_it_as_it_refuses_flags(tmp_path):
    write_run(tmp_path, lr=0.3, batchsize=8, keep=1)
    resumed = ["--name", "old", "--resume", "--config", "recipe.yaml"]
    with pytest.raises(FileNotFoundError, match=r"recipe\.yaml: no such options file"):
        parse_train(resumed)
    (tmp_path / "recipe.yaml").write_text("lr: 0.1\nkeep: 2\n")
    with pytest.raises(UserError, match=r"lr 0\.3 → 0\.1.*another name"):
        parse_train(resumed)
    # A flag that overrides the file counts.
    options = parse_train([*resumed, "--lr", "0.3"])
    assert (options.lr, options.batchsize, options.keep) == (0.3, 8, 2)


def test_the_first_command_continues_a_run_whose_options_it_abbreviates(tmp_path):
    first = parse_train(["--use_dense", "--cosine", "--name", "old"])
    write_run(tmp_path, **{key: value for key, value in asdict(first).items() if value is not None})
    (tmp_path / "recipe.yaml").write_text("use_dense: true\ncosine: true\n")
    resumed = parse_train(["--config", "recipe.yaml", "--name", "old", "--resume"])
    assert resumed == replace(first, config="recipe.yaml", resume=True)


@pytest.mark.parametrize("gpu_ids", ["0,1", None])
@pytest.mark.parametrize("where", ["file", "flag"])
def test_the_batch_of_all_gpus_continues_a_run_wherever_it_is_said(where, gpu_ids, tmp_path):
    write_run(tmp_path, batchsize=4, **({} if gpu_ids else {"gpu_ids": "0,1"}))
    (tmp_path / "recipe.yaml").write_text("batchsize: 8\n" if where == "file" else "lr: 0.05\n")
    words = ["--config", "recipe.yaml"]
    words += ["--batchsize", "8"] if where == "flag" else []
    words += ["--name", "old", "--resume", *(["--gpu_ids", gpu_ids] if gpu_ids else [])]
    options = parse_train(words)
    assert options.batchsize == 4
    assert share_batch(options, words)[-2:] == ["--batchsize", "4"]


def test_a_file_cannot_name_another(tmp_path):
    (tmp_path / "recipe.yaml").write_text("config: other.yaml\n")
    with pytest.raises(UserError, match=r"recipe\.yaml: config: a file cannot name another"):
        parse_train(["--config", "recipe.yaml"])


def test_a_new_run_from_the_options_of_another_is_started_in_its_own_way(tmp_path):
    write_run(tmp_path, config="recipe.yaml lr=0.2", resume=True, dry_run=True, lr=0.2, nclasses=5)
    options = parse_train(["--config", "model/old/opts.yaml", "--name", "new"])
    assert (options.lr, options.resume, options.dry_run) == (0.2, False, False)
    assert options.config == "model/old/opts.yaml"


def test_resume_in_a_file_is_the_flag(tmp_path):
    write_run(tmp_path, lr=0.3)
    (tmp_path / "recipe.yaml").write_text("resume: true\n")
    assert parse_train(["--name", "old", "--config", "recipe.yaml"]).lr == 0.3


@pytest.mark.parametrize("text", ["0042", "no", "true", "1e5", "1.50", "2024-1-1"])
@pytest.mark.parametrize("option", ["name", "data_dir", "train_with", "weights"])
def test_a_text_in_an_options_file_is_what_was_written(option, text, tmp_path):
    (tmp_path / "recipe.yaml").write_text(f"{option}: {text}\nheight: 0100\n")
    options = parse_train(["--config", "recipe.yaml"])
    assert (getattr(options, option), options.height) == (text, 100)
    assert getattr(parse_train(["--config", "recipe.yaml", f"--{option}", text]), option) == text
    write_run(tmp_path)
    (tmp_path / "model" / "old" / "opts.yaml").write_text(f"{option}: {text}\nheight: 0100\n")
    options = load_run("old")
    assert (getattr(options, option), options.height) == (text if option != "name" else "old", 100)
    assert getattr(parse_train(["--name", "old", "--resume"]), option) == (
        text if option != "name" else "old"
    )


VALUES = [
    "2001-01-01", '"\\ud800"', "!!binary aGk=", "!!set {a}", ".nan", "1e999", "[1, 2]", "{a: 1}",
    "true", "~", '""',
]  # fmt: skip


@pytest.mark.parametrize("option", TrainConfig.declared())
def test_a_value_of_any_kind_in_a_file_fits_or_is_named(option, tmp_path):
    for value in VALUES:
        (tmp_path / "recipe.yaml").write_text(f"{option}: {value}\n")
        with contextlib.suppress(UserError, OSError):
            check_training(parse_train(["--config", "recipe.yaml"]))


def test_a_date_is_no_number_and_half_a_character_no_text(tmp_path):
    for text, message in (
        ("keep: 2001-01-01", "keep: .* does not fit .expected a number, found a date"),
        (r'data_dir: "\ud800"', "data_dir: .* does not fit .expected text, found half of"),
    ):
        (tmp_path / "recipe.yaml").write_text(text)
        with pytest.raises(UserError, match=message):
            parse_train(["--config", "recipe.yaml"])
    assert parse_train(["--data_dir", "caf\udce9"]).data_dir == "caf\udce9"


def test_an_option_given_twice_is_refused(tmp_path):
    (tmp_path / "recipe.yaml").write_text("lr: 0.02\nseed: 1\nlr: 0.03\n")
    with pytest.raises(UserError, match=r"recipe\.yaml: not readable as YAML: 'lr' is there twice"):
        parse_train(["--config", "recipe.yaml"])


PUBLISHED_FILE = PUBLISHED_DEFAULTS | dict(
    gpu_ids=[0], name="theirs", nclasses=751, use_dense=True, lr=0.1
)


@pytest.mark.parametrize(
    ("written", "gpu_ids"), [([0], "0"), ([0, 2], "0,2"), ([], "-1"), ("0", "0"), (1, "1")]
)
def test_a_published_options_file_is_a_config_file(written, gpu_ids, tmp_path):
    # Keys that its train_DDP.py adds.
    of_several = dict(local_rank=0, world_size=2, workers=4, prefetch_factor=2)
    # Its argparse makes 40.0 of --aiter 40.
    (tmp_path / "opts.yaml").write_text(
        yaml.safe_dump(PUBLISHED_FILE | of_several | dict(gpu_ids=written, aiter=40.0))
    )
    options = parse_train(["--config", "opts.yaml"])
    assert options.aiter == 40
    assert (options.gpu_ids, options.name, options.backbone, options.lr) == (
        gpu_ids,
        "theirs",
        "densenet121",
        0.1,
    )
    assert not hasattr(options, "world_size")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--use_dense", "--use_swin"], "use_dense and use_swin exclude each other"),
        (
            ["--use_dense", "--backbone", "resnet50"],
            "backbone=resnet50 and use_dense exclude each other",
        ),
        (["--fp16", "--bf16"], "exclude each other"),
        (["--backbone", "resnet5"], "unknown network"),
        (["--PCB", "--usam"], "usam and PCB exclude each other"),
        (["--PCB", "--backbone", "lightmbn"], "backbone=lightmbn and PCB exclude each other"),
        (
            ["--neck", "bnneck", "--linear_num", "256"],
            "linear_num=256 means nothing to neck=bnneck; leave it out",
        ),
        (
            ["--backbone", "lightmbn", "--droprate", "0.2"],
            "droprate=0.2 means nothing to LightMBN",
        ),
        (["--PCB", "--neck", "none"], "neck=none means nothing to PCB"),
        (["--attention", "cabm:layer3"], "unknown kind 'cabm'. Did you mean 'cbam'"),
    ],
)
def test_flags_that_cannot_work_are_refused(flags, message):
    with pytest.raises(UserError, match=message):
        parse_train(flags)


def test_an_old_options_file_gets_the_defaults_it_lacks(tmp_path):
    write_run(tmp_path, name="elsewhere", use_dense=True, stride=1, unknown_thing=3, gpu_ids=0)
    options = load_run("old")
    assert (options.backbone, options.stride, options.linear_num, options.name) == (
        "densenet121",
        1,
        512,
        "old",
    )
    run = RunFolder("old")
    assert run.num_classes(run.options()) == PUBLISHED_CLASSES == 751


@pytest.mark.parametrize("classes", ["abc", -1, 0, 751.0, True, 10**9, [751], None])
def test_a_number_of_identities_that_is_none_is_refused(classes, tmp_path):
    write_run(tmp_path, nclasses=classes)
    with pytest.raises(
        UserError,
        match=r"opts\.yaml: nclasses: expected the number of identities.*from 1 to 1,000,000",
    ):
        RunFolder("old").num_classes(RunFolder("old").options())


def test_an_option_without_a_value_is_the_default():
    assert NetworkOptions.of({"droprate": None, "linear_num": 0, "unknown": 3}) == NetworkOptions(
        linear_num=0
    )


IGNORED_STRIDE = [
    "use_swin",
    "use_swinv2",
    "use_dino",
    "use_hr",
    "use_convnext",
    "use_efficient",
    "use_NAS",
]


@pytest.mark.parametrize("flag", IGNORED_STRIDE)
def test_the_stride_that_a_published_network_ignored_is_ignored_with_a_remark(
    flag, tmp_path, capsys
):
    published = PUBLISHED_DEFAULTS | {"stride": 1, flag: True}
    write_run(tmp_path, **published)
    assert load_run("old").stride == 2
    assert parse_train(["--config", "model/old/opts.yaml"]).stride == 2
    assert capsys.readouterr().err.count("opts.yaml: the published network ignored stride: 1") == 2
    (tmp_path / "ours.yaml").write_text(yaml.safe_dump({"stride": 1, flag: True}))
    assert (
        parse_train(["--config", "ours.yaml"]).stride
        == parse_train([f"--{flag}", "--stride", "1"]).stride
        == 1
    )
    (tmp_path / "model" / "old" / "opts.yaml").write_text(
        yaml.safe_dump(published | {"backbone": NETWORK_FLAGS[flag]})
    )
    assert load_run("old").stride == 1
    assert capsys.readouterr().err == ""


def test_a_run_that_is_not_there_lists_those_that_are(tmp_path):
    with pytest.raises(
        UserError, match=r"no run of that name. Train one: python train.py --name new"
    ):
        load_run("new")
    write_run(tmp_path, lr=0.1)
    with pytest.raises(UserError, match=r"Did you mean 'old'\? There are: old"):
        load_run("odl")


def test_options_survive_the_file(tmp_path):
    options = parse_train(["--name", "old", "--use_swin", "--lr", "0.3", "--cosine"])
    RunFolder("old").save_options({**asdict(options), "nclasses": 12})
    assert load_run("old") == options


def test_the_options_of_a_run_are_the_config_of_another(tmp_path):
    write_run(tmp_path, lr=0.3, batchsize=8, backbone="osnet_x0_25", nclasses=12)
    options = parse_train(["--config", "model/old/opts.yaml", "--name", "new", "--batchsize", "16"])
    assert (options.name, options.lr, options.batchsize, options.backbone) == (
        "new",
        0.3,
        16,
        "osnet_x0_25",
    )


def test_resume_takes_the_runs_own_options_and_refuses_others(tmp_path):
    write_run(tmp_path, lr=0.3, batchsize=8, backbone="osnet_x0_25", nclasses=12)
    options = parse_train(["--name", "old", "--resume", "--gpu_ids", "-1"])
    assert (options.lr, options.batchsize, options.backbone, options.gpu_ids) == (
        0.3,
        8,
        "osnet_x0_25",
        "-1",
    )
    assert parse_train(["--name", "old", "--resume", "--lr", "0.3"]).lr == 0.3
    with pytest.raises(UserError, match=r"lr 0\.3 → 0\.1.*another name"):
        parse_train(["--name", "old", "--resume", "--lr", "0.1"])


def test_a_flag_of_an_earlier_version_is_passed_over(tmp_path):
    write_run(tmp_path, lr=0.3, profile=True, nclasses=12)
    for flags in (["--config", "model/old/opts.yaml"], ["--name", "old", "--resume"]):
        options = parse_train(flags)
        assert options.lr == 0.3
        assert not hasattr(options, "profile")


@pytest.mark.parametrize(
    ("flags", "other"),
    [
        (["--instances", "8"], "sampler=pk"),
        (["--DG_dir", "elsewhere"], "DG"),
        (["--aiter", "3"], "adv"),
        (["--ins_gamma", "5"], "instance"),
        (["--prototype_lr", "0.1"], "a loss with its own weights, such as arcface"),
        (
            ["--head", "arcface", "--loss", "center", "--prototype_lr", "0.1"],
            "a loss with its own weights",
        ),
    ],
)
def test_a_flag_that_means_nothing_without_another_is_refused(flags, other):
    with pytest.raises(
        UserError, match=f"{flags[-2][2:]}={flags[-1]}.* would be ignored without {other}"
    ):
        parse_train(flags)
    needed = (
        ["--arcface"]
        if "its own weights" in other
        else {"adv": ["--adv", "0.1"]}.get(other, [f"--{other}"])
    )
    assert parse_train([*flags, *needed])


def test_smoothing_the_labels_of_a_loss_that_is_left_out_is_refused():
    words = ["--label_smoothing", "0.1", "--loss"]
    with pytest.raises(
        UserError,
        match="label_smoothing=0.1 would be ignored without cross entropy, which loss=cross",
    ):
        parse_train([*words, "cross_entropy:0,triplet"])
    assert parse_train([*words, "cross_entropy:0.5,triplet"])


def test_a_run_of_several_devices_is_resumed_with_its_own_share_of_the_batch(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(
        "person_reid.start_processes",
        lambda script, gpu_ids, arguments: started.append(arguments),
    )
    train.main(["--name", "old", "--gpu_ids", "0,1", "--batchsize", "8", "--resume"])
    write_run(tmp_path, batchsize=4)
    train.main(["--name", "old", "--gpu_ids", "0,1", "--resume"])
    # The first command, repeated.
    train.main(["--name", "old", "--gpu_ids", "0,1", "--batchsize", "8", "--resume"])
    assert [arguments[-2:] for arguments in started] == [["--batchsize", "4"]] * 3
    with pytest.raises(UserError, match="batchsize 4 → 16"):
        train.main(["--name", "old", "--gpu_ids", "0,1", "--batchsize", "16", "--resume"])
