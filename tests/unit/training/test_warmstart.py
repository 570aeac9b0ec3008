"""The warm start learns what it is told, on rows it has not seen; and throws bad steps away."""

from __future__ import annotations

import copy

import pytest
import torch

from nlae.functional.reconstruction import fve, spread, squared_error
from nlae.functional.scaling import unit
from nlae.training.base import magnitude_loss


def test_what_was_learned_beats_the_shuffled_pairing_on_held_out_rows(fresh, warmstart, serve, held_out, run):
    pair = fresh(verbalizer_adapter=None)
    module = warmstart(pair, 100, validation=held_out)
    module.configure_model()
    before = module.validate()
    run(module, serve("warmstart", 100, batch_size=16))
    after = module.metrics
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
def test_losses_by_hand(fresh, warmstart, held_out, micro_tokens):
    pair = fresh(magnitude=True)
    few_BD, texts = held_out.activation_ND[:3], held_out.explanation[:3]
    module, losses = warmstart(pair, 1, micro_tokens=micro_tokens), []
    module.configure_model()
    module.manual_backward = lambda loss: losses.append(float(loss.detach()))
    nll = float(module.imitate(few_BD, texts)["verbalizer/nll"])
    assert nll == pytest.approx(pair.nll(few_BD, texts), rel=1e-5)
    assert sum(losses) == pytest.approx(nll, rel=1e-5)
    losses.clear()
    error = float(module.regress(few_BD, texts)["reconstructor/error"])
    cosine_B = (pair.reconstruct(texts) * unit(few_BD)).sum(-1)
    assert error == pytest.approx(float((2 * (1 - cosine_B)).mean()), rel=1e-4)
    truth_B = (few_BD.norm(dim=-1) / pair.statistics.norm_median).log()
    assert sum(losses) - error == pytest.approx(0.1 * float(truth_B.pow(2).mean()), rel=1e-3)
    assert float(magnitude_loss(pair, few_BD, None)) == 0.0


def test_each_half_learns_from_its_own_stream_and_neither_from_the_others(fresh, warmstart, serve):
    """The verbalizer's gradient must not depend on what the reconstructor is given, nor the other way round."""

    def gradients(write: int, read: int) -> tuple[list, list]:
        pair, data = fresh(), serve("warmstart", 2)
        module = warmstart(pair, 2)
        module.configure_model()
        module.manual_backward = lambda loss: loss.backward()
        module.step_both, module.finish_update = dict, lambda metrics: None
        items = list(data.train_dataloader())
        module.training_step(
            {"verbalizer": items[write]["verbalizer"], "reconstructor": items[read]["reconstructor"]}, 0
        )
        found = [[copy.deepcopy(p.grad) for p in part.trainable()] for part in (pair.verbalizer, pair.reconstructor)]
        return found[0], found[1]

    def equal(one: list, other: list) -> bool:
        return all(torch.allclose(a, b, atol=1e-6) for a, b in zip(one, other, strict=True))

    (v00, r00), (v01, r01), (v10, r10) = gradients(0, 0), gradients(0, 1), gradients(1, 0)
    assert equal(v00, v01)
    assert not equal(v00, v10)
    assert equal(r00, r10)
    assert not equal(r00, r01)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_trap_05_a_gradient_that_is_not_finite_is_thrown_away_and_counted(fresh, warmstart, serve, run, poison):
    pair = fresh()
    module = warmstart(pair, 4)
    module.configure_model()
    victim = pair.verbalizer.trainable()[1]
    # the loss stays finite, the gradient of one weight does not, at update 1 only
    victim.register_hook(lambda grad: torch.full_like(grad, poison) if module.update == 1 else grad)
    states: list[dict] = []

    def keep() -> None:
        states.append({k: v.clone() for k, v in pair.trained_state().items()} | {"skipped": module.skipped})

    run(module, serve("warmstart", 4), keep)
    assert [state.pop("skipped") for state in states] == [0, 1, 1, 1]
    assert module.metrics["skipped"] == 1.0

    def moved(role: str, a: dict, b: dict) -> bool:
        return any(not torch.equal(a[k], b[k]) for k in a if k.startswith(role))

    assert not moved("verbalizer.", states[0], states[1])
    assert moved("reconstructor.", states[0], states[1]), "the other role's step is its own"
    assert moved("verbalizer.", states[1], states[2]), "and the fit goes on"
    assert all(torch.isfinite(v).all() for v in states[-1].values())


def test_learning_rate_follows_the_update_and_nothing_else(warmstart, fresh):
    schedule = warmstart(fresh(), 100).schedule
    assert schedule.factor(0) == pytest.approx(1 / 5)
    assert schedule.factor(4) == pytest.approx(1 - 0.9 * 0.04)
    assert schedule.factor(99) == pytest.approx(1 - 0.9 * 0.99)
    assert all(schedule.factor(u) >= schedule.factor(u + 1) for u in range(5, 99))


def test_gradients_are_clipped_per_role(fresh, warmstart, serve, run):
    module = warmstart(fresh(), 1)
    norms: list[float] = []
    module.configure_model()
    plain = module.guarded_step

    def watched(optimizer, norm, peak):
        step, parameters = optimizer.step, optimizer.param_groups[0]["params"]

        def stepping():
            norms.append(float(torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()))
            return step()

        optimizer.step = stepping
        return plain(optimizer, norm, peak)

    module.guarded_step = watched
    run(module, serve("warmstart", 1))
    assert module.metrics["verbalizer/grad_norm"] > 1.0
    assert len(norms) == 2
    assert max(norms) <= 1.0001
