"""Each half learns alone what it is told, on rows it has not seen, and throws bad steps away."""

from __future__ import annotations

import pytest
import torch

from nlae.functional.reconstruction import fve, spread, squared_error
from nlae.functional.scaling import unit
from nlae.model.validation import validate

HALVES = ("verbalizer", "reconstructor")


def test_what_was_learned_beats_the_shuffled_pairing_on_held_out_rows(fresh, half, serve, held_out, run):
    pair = fresh(verbalizer_adapter=None)
    before, curves = validate(pair.at, held_out, 0), {}
    for name in HALVES:
        module = half(name, pair, 100, validation=held_out)
        run(module, serve(name, 100, batch_size=16))
        curves |= module.metrics
    after = validate(pair.at, held_out, 0)
    assert {key: curves[key] for key in ("val/nll", "val/nll_gap", "val/fve_teacher")}.items() <= after.items()
    (held_out,) = held_out.values()
    assert abs(before["val/nll_gap"]) < 0.3
    # the verbalizer: the teacher's text is likelier under its own activation than under another document's
    assert after["val/nll"] < before["val/nll"] - 2
    assert after["val/nll_gap"] > 0.25
    # the reconstructor: the text finds its activation, another text does not
    truth_ND, mean_D = unit(held_out.activation_ND), pair.statistics.mean_D
    other = [held_out.explanation[int(i)] for i in held_out.other_N]
    assert after["val/fve_teacher"] > before["val/fve_teacher"] + 0.2
    assert after["val/fve_teacher"] > 0.6
    of_others = fve(squared_error(pair.reconstruct(other), truth_ND), spread(truth_ND, mean_D))
    assert of_others < after["val/fve_teacher"] - 1.0
    # and the round trip from activation to words to activation
    assert after["val/closed_rate"] > 0.8
    assert after["val/fve"] > 0.1
    assert after["val/fve"] > after["val/fve_shuffled"] + 0.7


@pytest.mark.parametrize("micro_tokens", [1, 4096])
def test_losses_by_hand(fresh, half, held_out, micro_tokens):
    pair, ((site, held_out),) = fresh(magnitude=True), held_out.items()
    few_BD, texts = held_out.activation_ND[:3], held_out.explanation[:3]
    losses: list[float] = []
    for name in HALVES:
        module = half(name, pair, 1, micro_tokens=micro_tokens)
        module.manual_backward = lambda loss: losses.append(float(loss.detach()))
    nll = float(pair.verbalizer.sft_loss(few_BD, texts)["verbalizer/nll"])
    assert nll == pytest.approx(pair.nll(few_BD, texts), rel=1e-5)
    assert sum(losses) == pytest.approx(nll, rel=1e-5)
    losses.clear()
    error = float(pair.reconstructor.reconstruction_loss({site: few_BD}, texts)["reconstructor/error"])
    cosine_B = (pair.reconstruct(texts) * unit(few_BD)).sum(-1)
    assert error == pytest.approx(float((2 * (1 - cosine_B)).mean()), rel=1e-4)
    truth_B = (few_BD.norm(dim=-1) / pair.statistics.norm_median).log()
    assert sum(losses) - error == pytest.approx(0.1 * float(truth_B.pow(2).mean()), rel=1e-3)
    assert float(pair.reconstructor.magnitude_loss(site, few_BD, None)) == 0.0


def test_neither_half_sees_the_other(fresh, half, serve, run):
    """Trained alone or one after the other, in any order and beside whatever the other has become: the same weights."""

    def trained(*names: str) -> dict[str, dict[str, torch.Tensor]]:
        pair = fresh(magnitude=True)
        for name in names:
            run(half(name, pair, 3), serve(name, 3))
        return {name: getattr(pair, name).trained_state() for name in names}

    both, other_way = trained(*HALVES), trained(*reversed(HALVES))
    for name in HALVES:
        alone = trained(name)[name]
        for found in (both[name], other_way[name]):
            assert all(torch.equal(weight, found[key]) for key, weight in alone.items())


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_trap_05_a_gradient_that_is_not_finite_is_thrown_away_and_counted(fresh, half, serve, run, poison):
    pair = fresh()
    module = half("verbalizer", pair, 4)
    victim = module.trainable()[1]
    # the loss stays finite, the gradient of one weight does not, at update 1 only
    victim.register_hook(lambda grad: torch.full_like(grad, poison) if module.update == 1 else grad)
    states: list[dict] = []

    def keep() -> None:
        states.append({k: v.clone() for k, v in pair.trained_state().items()} | {"skipped": module.skipped})

    run(module, serve("verbalizer", 4), keep)
    assert [state.pop("skipped") for state in states] == [0, 1, 1, 1]
    assert module.metrics["skipped"] == 1.0

    def moved(role: str, a: dict, b: dict) -> bool:
        return any(not torch.equal(a[k], b[k]) for k in a if k.startswith(role))

    assert not moved("verbalizer.", states[0], states[1])
    assert moved("verbalizer.", states[1], states[2]), "and the fit goes on"
    assert all(torch.isfinite(v).all() for v in states[-1].values())


def test_learning_rate_follows_the_update_and_nothing_else(half, fresh):
    schedule = half("verbalizer", fresh(), 100).schedule
    assert schedule.factor(0) == pytest.approx(1 / 5)
    assert schedule.factor(4) == pytest.approx(1 - 0.9 * 0.04)
    assert schedule.factor(99) == pytest.approx(1 - 0.9 * 0.99)
    assert all(schedule.factor(u) >= schedule.factor(u + 1) for u in range(5, 99))


@pytest.mark.parametrize("name", HALVES)
def test_gradients_are_clipped(fresh, half, serve, run, name):
    module = half(name, fresh(), 1, clip_norm=1e-3)
    norms: list[float] = []
    plain = module.guarded_step

    def watched(optimizer, norm, peak):
        step, parameters = optimizer.step, optimizer.param_groups[0]["params"]

        def stepping():
            norms.append(float(torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()))
            return step()

        optimizer.step = stepping
        return plain(optimizer, norm, peak)

    module.guarded_step = watched
    run(module, serve(name, 1))
    assert module.metrics[f"{name}/grad_norm"] > 1e-3
    assert len(norms) == 1
    assert norms[0] <= 1.0001e-3
