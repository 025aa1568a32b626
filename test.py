"""Extract the features of query and gallery, and evaluate them.

    python test.py --name ft_ResNet50 --test_dir ../Market/pytorch
    python test.py --name ft_ResNet50 --which_epoch 60 --ms 1,1.1,1.2 --multi
    python test.py --backbone osnet_x0_25 --weights osnet_x0_25_msmt17.pth     # a weight file, without a training run

Writes pytorch_result.mat (and multi_query.mat with --multi), prints the metrics and adds them to model/NAME/result.txt.
"""

from pathlib import Path

from reid.options import load_run_options, testing_parser
from utils import UserError, run_script, seed_everything, select_device


def main(argv=None):
    options = testing_parser().parse_args(argv)
    if options.fp16 and options.bf16:
        raise UserError("--fp16 and --bf16 exclude each other: choose one.")
    extract = extractor(options)
    query, gallery = extract("query"), extract("gallery")

    from reid.retrieval.metrics import evaluate, merge_multi_query
    from reid.retrieval.results import save_multi_query, save_result

    save_result(options.result, query, gallery)
    lines = [evaluate(query, gallery).line()]
    if options.multi:
        images = extract("multi-query")
        save_multi_query(Path(options.result).with_name("multi_query.mat"), images)
        lines.append(evaluate(merge_multi_query(query, images), gallery).line("multi "))
    print("\n".join(lines))
    if not options.backbone:
        log = Path("model") / options.name / "result.txt"
        with log.open("a", encoding="utf-8") as file:
            file.writelines(f"{options.name} {options.which_epoch} {options.test_dir}: {line}\n" for line in lines)
    print(f"Features are in {options.result}. Look at a ranking: python demo.py --query_index 0")


def extractor(options):
    """A function split name → FeatureSet of that split of --test_dir, by the network that the options name.

    Reads all splits and the weights before the first image is decoded, so that a mistake costs no time.
    """
    import torch

    from reid.data.bank import load_bank
    from reid.data.layout import read_split
    from reid.retrieval.features import extract_features, fused_embedding, parse_scales
    from reid.retrieval.results import FeatureSet

    scales = parse_scales(options.ms)
    device = select_device(options.gpu_ids)
    names = ["query", "gallery", *(["multi-query"] if options.multi else [])]
    splits = {name: read_split(options.test_dir, name) for name in names}
    network, size = load_network(options)
    embed = fused_embedding(network.to(device, memory_format=torch.channels_last))
    dtype = torch.float16 if options.fp16 else torch.bfloat16 if options.bf16 else None

    def extract(name):
        split = splits[name]
        bank = load_bank(split.paths, *size, cache=Path(options.test_dir) / ".cache", description=name)
        features = extract_features(
            embed, bank, device, options.batchsize, scales, not options.no_flip, dtype, f"features of {name}"
        )
        return FeatureSet(features, split.labels, split.cameras, [path.as_posix() for path in split.paths])

    return extract


def load_network(options):
    """The Network to test, with its weights, and the (height, width) of its images: that of the run model/NAME, or the
    weight file of --backbone."""
    from model import build_model, load_weights
    from reid.models.backbones import find_backbone
    from reid.training.run_folder import RunFolder

    if options.backbone:
        if not options.weights:
            raise UserError(
                f"--backbone {options.backbone} needs --weights FILE, or --weights none for random weights."
            )
        seed_everything(options.seed)
        height, width = find_backbone(options.backbone).size
        size = (options.height or height, options.width or width)
        return build_model(options.backbone, None, stride=options.stride, weights=options.weights, size=size), size
    run = load_run_options(options.name)
    size = (options.height or run.height, options.width or run.width)
    linear_num = run.linear_num if options.linear_num is None else options.linear_num
    path = RunFolder(options.name).weights_file(options.which_epoch)
    network = build_model(run.backbone, run.nclasses, linear_num, run.droprate, run.stride, "none", size)
    load_weights(network, path, strict=True)
    return network, size


if __name__ == "__main__":
    run_script(main)
