# PYTHON_ARGCOMPLETE_OK
"""Adapt a network to your cameras with unlabelled images.

    python tools/adapt.py --data_dir crops --name mine --backbone osnet_x0_25 \\
      --weights osnet_x0_25_msmt17.pth
    python tools/adapt.py --data_dir crops --name mine --from ft_ResNet50  # start from a run
    python tools/adapt.py --data_dir crops --name mine --resume            # continue
    python tools/adapt.py --data_dir crops --name mine --from ft_ResNet50 \\
      --pattern "cam(?P<camera>[0-9]+)"
    python tools/adapt.py --data_dir ../Market/pytorch --name mine --from msmt --report_labels
    python tools/adapt.py --data_dir crops --name mine --from duke \\
      --keep_source ../Duke/pytorch

--data_dir is any folder of person crops, or a folder laid out by prepare.py, whose train_all is
used. Each epoch clusters the images by their current features and learns to distinguish the
clusters. The result is a run like the runs of train.py: test.py, export and search take its --name.
Labels are not used, except by --report_labels.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import person_reid as reid
from person_reid.config.adapt import AdaptConfig
from person_reid.console import parse, run_script


def main(argv: list[str] | None = None) -> None:
    """Adapt a network, in one process or under torchrun."""
    from person_reid.training.adaptation import started

    config = started(parse(AdaptConfig, argv, __doc__))
    reid.check_training(config)
    with reid.join_world(config.gpu_ids) as world:
        adapt(config, world)


def adapt(config: AdaptConfig, world: "reid.World") -> str:
    """Adapt a network together with the other processes in `world`.

    Returns why the run keeps the starting weights instead of the learned ones, or "".
    """
    from person_reid.training import adaptation as adapting
    from person_reid.training.adaptation import ClusterCriterion

    device = world.device(config.gpu_ids)
    reid.prepare_training(device, tf32=not config.no_tf32)

    images = adapting.AdaptationImages(
        adapting.read_images(config), config, device, world, config.seed, adapting.cluster_sampler
    )
    reid.check_run(config, images)
    state = reid.load_state(config, images)

    reid.seed_everything(config.seed)
    network = reid.create_network(config, images.num_classes, resumed=state is not None)
    adapting.freeze_classifiers(network)
    criterion = ClusterCriterion(config, network)
    with world.main_process_first():
        images.decode(network.size, network.padding)

    reid.prepare_modules(network, criterion, config, device)

    # The teacher, whose features are clustered, averages the weights.
    teacher = adapting.mean_teacher(config, len(images))
    step = reid.TrainingStep(
        network, criterion, config, images, world, averaging=teacher, records=False
    )
    run = adapting.AdaptationRun(step, config, images, criterion)
    if not state:
        # Cluster by the starting features before anything is written.
        run.adaptation.refresh()

    with reid.open_run(run, state):
        for epoch in run.epochs():
            step.begin_epoch(epoch)
            for batch in images.epoch(epoch, run.step):
                run.count(step(batch))
            reid.validate(step)
            run.save(run.adaptation.refresh())
        run.conclude()
    return run.adaptation.fault()


if __name__ == "__main__":
    run_script(main)
