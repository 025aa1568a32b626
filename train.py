# PYTHON_ARGCOMPLETE_OK
"""Train a network to tell identities apart.

    python train.py --train_all                                     # ResNet-50 on ../Market/pytorch
    python train.py --backbone osnet_x0_25 --weights none --data_dir data/synthetic/pytorch \\
      --name small
    python train.py --name small --resume                           # continue after an interruption
    python train.py --config recipes/demo.yaml --lr 0.01 --name mine  # options from a file
    python train.py --train_all --eval_every 10                     # test every ten epochs
    python train.py --gpu_ids 0,1                                   # two GPUs share the batch

Writes model/NAME: opts.yaml, versions.jsonl, log.jsonl, train.jpg, and the checkpoints net_last.pth
and, every ten epochs, net_010.pth, net_020.pth, …
"""

import person_reid as reid
from person_reid.config import TrainConfig
from person_reid.console import launched, parse, run_script, share_batch


def main(argv: list[str] | None = None, text: str | None = __doc__) -> None:
    """Train in this process, in one process per GPU, or as one of torchrun's processes."""
    config = parse(TrainConfig, argv, text)  # defaults < --config FILE < flags; without torch
    reid.check_training(config)  # what only the network and the losses know
    if config.dry_run:
        print(reid.describe_training(config))
    elif "," in config.gpu_ids and not launched():
        reid.start_processes(__file__, config.gpu_ids, share_batch(config, argv))
    else:
        with reid.join_world(config.gpu_ids) as world:
            train(config, world)


def train(config: TrainConfig, world: "reid.World") -> None:
    """Train with a configuration, together with the other processes in `world`."""
    device = world.device(config.gpu_ids)
    reid.prepare_training(device, tf32=not config.no_tf32)

    # The images are listed here. They are decoded below, once the network is known to fit them.
    splits = reid.read_training_splits(config.roots, config.split)
    images = reid.TrainingImages(splits, config, device, world, config.seed)
    reid.check_run(config, images)  # before any work
    state = reid.load_state(config, images)  # from the run that --resume continues
    evaluation = reid.Evaluation(config) if config.eval_every else None
    teacher = None
    if config.teacher:
        from person_reid.console.named_network import network_named

        teacher = reid.open_embedder(network_named(config.teacher, "teacher"), device=device)

    # The network gives features and class scores, and the criterion judges them.
    reid.seed_everything(config.seed)
    network = reid.create_network(config, images.num_classes, resumed=state is not None)
    criterion = reid.create_criterion(config, network, teacher)

    with world.main_process_first():  # one process decodes, and the others open its caches
        images.decode(network.size, network.padding)
        extra = reid.added_losses(config, images, network, teacher)  # --adv, --DG, --teacher
        if evaluation:
            evaluation.decode(network)

    # Move both to the device; fuse their layers where that is faster, or compile them.
    reid.prepare_modules(network, criterion, config, device)

    # A step takes a batch forward and back, and updates the weights.
    step = reid.TrainingStep(
        network, criterion, config, images, world, extra, reid.weight_averaging(config)
    )

    with reid.open_run(reid.Run(step, config), state) as run:
        for epoch in run.epochs():
            step.begin_epoch(epoch)
            for batch in images.epoch(epoch, run.step):
                outcome = step(batch)  # forward, loss, backward, update
                run.count(outcome)
            figures = reid.validate(step)
            if evaluation and evaluation.due(epoch):
                figures |= evaluation(network, device, world)
            run.save(figures)  # checkpoints, resume.pth, log.jsonl, train.jpg
        run.conclude()


if __name__ == "__main__":
    run_script(main)
