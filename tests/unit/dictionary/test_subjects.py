"""Neurons behind the interface that a dictionary works with."""

import torch

from nlae.dictionary.subjects.neurons import Neurons, Subjects, neurons_of
from nlae.dictionary.subjects.output_side import promoted


def test_neurons_are_those_of_the_scan(scanned):
    subjects: Subjects = Neurons(scanned.scan, scanned.target)
    assert subjects.layers == [0, 1, 2]
    assert (subjects.width, subjects.d_model, subjects.signed) == (192, 64, True)
    panel = subjects.panel("test")
    inputs_MD = subjects.inputs(1, "test")
    assert inputs_MD.shape == (len(panel), 64)
    assert torch.equal(inputs_MD, scanned.scan.inputs(1, "test"))
    assert torch.equal(subjects.activations(1, inputs_MD), neurons_of(scanned.target, 1, inputs_MD))
    assert torch.equal(subjects.exemplars(1).value, scanned.scan.exemplars(1).value)
    assert torch.equal(subjects.moments(1).mean, scanned.scan.moments(1).mean)
    assert torch.equal(subjects.promoted(1, 3)[0], promoted(scanned.target, 1, 3)[0])
