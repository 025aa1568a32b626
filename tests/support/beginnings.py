"""Trainings that are set up as a script does, and not run."""

import pytest

import train
from person_reid.training.adaptation import Adaptation
from person_reid.training.training_run import Run
from tools import adapt


def begun(words, script=train):
    """The journal of the training that a command line describes, before its first step."""
    journals = []

    def no_epochs(journal):
        journals.append(journal)
        return iter(())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "epochs", no_epochs)
        for kind in {Run, *Run.__subclasses__()}:
            patch.setattr(kind, "conclude", lambda journal: None)
        patch.setattr(Adaptation, "refresh", lambda adaptation: {})
        script.main([*words])
    return journals[0]


def adapting(words):
    """The same of tools/adapt.py."""
    return begun(words, adapt)
