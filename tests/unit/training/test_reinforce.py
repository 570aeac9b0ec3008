"""Reinforcement raises the reward; its controls move what they say and nothing else."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from nlae.errors import NlaeError
from nlae.functional.scaling import unit
from nlae.model.autoencoder import Autoencoder
from nlae.model.backbone import REFERENCE, VERBALIZER
from nlae.training.reward import Fidelity, Length, Reward


def state(pair: Autoencoder, start: str) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in pair.trained_state().items() if k.startswith(start)}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


class Chosen:
    """Pays for one word: a reward that only the policy can earn, whatever the reconstructor learns."""

    def __call__(self, record):
        return torch.tensor([float("town" in text) for text in record.text])


@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_the_policy_learns_what_is_paid(warm, reinforce, serve, run, algorithm):
    pair = Autoencoder.load(warm)
    module = reinforce(pair, 40, algorithm=algorithm, reward=Reward({"chosen": Chosen()}, failure=-1.0), kl=0.0)
    rewards: list[float] = []
    run(module, serve("rollout", 40), lambda: rewards.append(module.metrics["reward/total"]))
    assert np.mean(rewards[:5]) < 0.5
    assert np.mean(rewards[-5:]) > np.mean(rewards[:5]) + 0.3
    assert module.skipped == 0
    assert module.metrics["policy/sampler_gap"] < 1e-3


@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_the_round_trips_reward_rises(warm, reinforce, serve, run, held_out, algorithm):
    pair = Autoencoder.load(warm)
    module = reinforce(pair, 30, algorithm=algorithm, validation=held_out)
    before, rewards = module.validate(), []
    run(module, serve("rollout", 30), lambda: rewards.append(module.metrics["reward/total"]))
    assert np.mean(rewards[-6:]) > np.mean(rewards[:6]) + 0.03
    # a few dozen rows, and processors round differently: that it is not lost can be asked, not that it rises
    assert module.metrics["val/fve"] > before["val/fve"] - 0.03


def test_the_penalty_holds_the_policy_at_its_reference(warm, reinforce, serve, run):
    drift = {}
    for kl in (1e-9, 3.0):
        pair = Autoencoder.load(warm)
        module = reinforce(pair, 15, reward=Reward({"chosen": Chosen()}, failure=-1.0), kl=kl)
        run(module, serve("rollout", 15))
        drift[kl] = module.metrics["policy/kl"]
    assert drift[3.0] < 0.5 * drift[1e-9]


def test_without_a_penalty_no_reference_is_kept_or_read(warm, reinforce, serve, run, monkeypatch):
    pair = Autoencoder.load(warm)
    monkeypatch.setattr(pair.verbalizer, "freeze_reference", lambda: pytest.fail("a copy of the weights"))
    module = reinforce(pair, 1, kl=0.0)
    run(module, serve("rollout", 1))
    assert "policy/kl" not in module.metrics
    assert module.metrics["policy/entropy"] > 0


def unfailing(reward, record):
    """The terms' sum, of text that is not closed too: a policy this young closes none."""
    (term_B,) = [term(record) for term in reward.terms.values()]
    return term_B, {f"reward/{name}": term_B.mean() for name in reward.terms}


def test_trap_04_reinforcement_goes_on_with_the_same_adapter(fresh, half, reinforce, serve, run, tmp_path, monkeypatch):
    begun = fresh()
    for name in ("verbalizer", "reconstructor"):
        run(half(name, begun, 5), serve(name, 5))
    begun.save(tmp_path)
    pair = Autoencoder.load(tmp_path)
    assert equal(state(pair, "verbalizer."), state(begun, "verbalizer."))
    learned, weights = state(pair, "verbalizer."), {id(p) for p in pair.verbalizer.trainable()}
    by_length = Reward({"length": lambda record: torch.tensor([float(len(text)) for text in record.text])})
    monkeypatch.setattr(Reward, "__call__", lambda reward, record: unfailing(reward, record))
    module = reinforce(pair, 1, kl=1.0, reward=by_length)
    assert equal(state(pair, "verbalizer."), learned), "no fresh adapter"
    assert max(float(v.abs().max()) for k, v in learned.items() if "lora_B" in k) > 1e-3
    assert equal(pair.backbone.state(REFERENCE), pair.backbone.state(VERBALIZER))
    optimized = {id(p) for group in module.configure_optimizers()[0].param_groups for p in group["params"]}
    assert optimized == weights
    run(module, serve("rollout", 1))
    # at the first update policy and reference are one
    assert module.metrics["policy/kl"] == pytest.approx(0.0, abs=1e-9)
    assert not equal(state(pair, "verbalizer."), learned)
    assert equal(pair.backbone.state(REFERENCE), {k.removeprefix("verbalizer."): v for k, v in learned.items()})


def test_frozen_moves_the_reconstructor_alone(warm, reinforce, serve, run):
    pair = Autoencoder.load(warm)
    verbalizer, reconstructor, head = state(pair, "verbalizer."), state(pair, "reconstructor."), state(pair, "head.")
    errors: list[float] = []
    module = reinforce(pair, 20, algorithm="frozen")
    run(module, serve("rollout", 20), lambda: errors.append(module.metrics["reconstructor/error"]))
    assert equal(state(pair, "verbalizer."), verbalizer)
    assert not equal(state(pair, "reconstructor."), reconstructor)
    assert not equal(state(pair, "head."), head)
    assert np.mean(errors[-5:]) < np.mean(errors[:5])


def test_frozen_gives_the_reconstructor_the_same_first_update_as_reinforcement(warm, reinforce, serve, run):
    found = []
    for algorithm in ("frozen", "grpo"):
        pair = Autoencoder.load(warm)
        run(reinforce(pair, 1, algorithm=algorithm), serve("rollout", 1))
        found.append({**state(pair, "reconstructor."), **state(pair, "head.")})
    assert equal(*found)


def test_supervised_goes_on_with_the_teachers_text(warm, reinforce, serve, run, held_out):
    pair = Autoencoder.load(warm)
    reconstructor = state(pair, "reconstructor.")
    module = reinforce(pair, 20, algorithm="supervised", validation=held_out)
    before = module.validate()
    data = serve("rollout", 20, descriptions=serve("verbalizer", 1).descriptions_folder)
    run(module, data)
    assert module.metrics["val/nll"] < before["val/nll"]
    assert not equal(state(pair, "reconstructor."), reconstructor)


def test_one_forward_gives_reward_and_regression_and_micro_batches_change_nothing(warm, reinforce, serve, run):
    found = []
    for micro_tokens in (4096, 200, 30):
        pair = Autoencoder.load(warm)
        reader = pair.at().reconstructor
        calls, plain = [], reader.read
        reader.read = lambda ids, mask, calls=calls, plain=plain: calls.append(len(ids)) or plain(ids, mask)
        module = reinforce(pair, 1, micro_tokens=micro_tokens)
        run(module, serve("rollout", 1))
        assert sum(calls) <= 32, "every text is read once"
        found.append((module.metrics, pair.trained_state()))
    for metrics, weights in found[1:]:
        for key in ("verbalizer/grad_norm", "reconstructor/grad_norm", "reward/total", "policy/entropy"):
            assert metrics[key] == pytest.approx(found[0][0][key], rel=1e-3), key
        # AdamW's first step is a sign: compare where the gradient is not about zero
        assert torch.allclose(weights["head.resid.1.head.weight"], found[0][1]["head.resid.1.head.weight"], atol=1e-4)


def test_texts_that_say_nothing_fail_and_are_trained_on(warm, reinforce, serve, run, monkeypatch):
    pair = Autoencoder.load(warm)
    monkeypatch.setattr(pair.prompt.__class__, "parse", lambda self, text: ("", True))
    learned = state(pair, "verbalizer.")
    module = reinforce(pair, 1, kl=1.0, reward=Reward({"fidelity": Fidelity(), "length": Length()}, failure=-2.5))
    run(module, serve("rollout", 1))
    assert module.metrics["reward/total"] == -2.5
    assert module.metrics["reward/failed"] == 1.0
    constant_D, truth = pair.statistics.constant_D, serve("rollout", 1).train_dataloader().dataset[0].activation_BD
    expected = float((constant_D - unit(truth)).pow(2).sum(-1).mean())
    assert module.metrics["reconstructor/error"] == pytest.approx(expected, rel=1e-4)
    # all alike: no advantage, and at the reference no penalty either
    assert module.metrics["verbalizer/grad_norm"] == pytest.approx(0.0, abs=1e-6)
    assert module.skipped == 0
    assert learned.keys() == state(pair, "verbalizer.").keys()


def test_truncated_rows_count_as_failures_in_the_loss(warm, reinforce, serve, run, monkeypatch):
    """Masking them out has collapsed policies: their tokens must carry a gradient."""
    pair = Autoencoder.load(warm)
    turn = itertools.cycle([True, False, True, True])
    monkeypatch.setattr(pair.prompt.__class__, "parse", lambda self, text: ("a red cat", next(turn)))
    module = reinforce(pair, 1, reward=Reward({"fidelity": Fidelity()}, failure=-9.0), algorithm="rloo")
    seen, plain = [], module._improve
    module._improve = lambda *given: seen.append(given[-1]) or plain(*given)
    run(module, serve("rollout", 1))
    (advantage_GN,) = seen
    assert (advantage_GN[:, 1] < -1).all()
    assert torch.allclose(advantage_GN[:, 0], advantage_GN[:, 2], atol=1e-4)


def test_every_row_is_weighed_by_its_own_advantage(warm, reinforce, serve, run):
    """Rows are sorted by length for the backward: one that only row 5 earns must move row 5 alone."""
    pair = Autoencoder.load(warm)
    module = reinforce(pair, 1, kl=0.0, micro_tokens=64)
    module.manual_backward = lambda loss: loss.backward()
    activation_GD = serve("rollout", 1).train_dataloader().dataset[0].activation_BD[:3]
    given_BD = activation_GD.repeat_interleave(4, 0)
    rollouts = module.engine(pair.at().verbalizer, given_BD, list(range(12)))
    advantage_GN = torch.zeros(3, 4)
    advantage_GN[1, 1] = 2.0
    module._improve(pair.at().verbalizer, rollouts, activation_GD, advantage_GN)
    weights = pair.verbalizer.trainable()
    got = [weight.grad.clone() for weight in weights if weight.grad is not None]
    logp_BT = pair.at().verbalizer.logprobs(given_BD[5:6], rollouts.token_BT[5:6])
    mask_BT = rollouts.mask_BT
    loss = -2.0 * (logp_BT * mask_BT[5:6]).sum() / mask_BT.sum()
    want = torch.autograd.grad(loss, [weight for weight in weights if weight.grad is not None])
    largest = max(float(part.abs().max()) for part in want)
    for mine, theirs in zip(got, want, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-3 * largest, rtol=1e-2)


def test_settings_that_cannot_train_are_refused(warm, reinforce):
    pair = Autoencoder.load(warm)
    for wrong in ({"control": "ppo"}, {"samples": 1}, {"kl": -0.1}, {"micro_tokens": 0}):
        with pytest.raises(NlaeError):
            reinforce(pair, 5, **wrong)
    with pytest.raises(NlaeError, match="reinforce: updates is 0; it must be at least 1"):
        reinforce(pair, 0)


class Pairs:
    """DPO of the best against the worst of each group, one explanation at a time: no other of the group takes part."""

    needs_reference = True

    def __init__(self, beta: float = 0.5) -> None:
        self.beta, self.records = beta, []

    def weights(self, reward_GN, record):
        self.records.append(record)
        weight_GN = torch.zeros_like(reward_GN)
        weight_GN.scatter_(1, reward_GN.argmin(1, keepdim=True), -1.0)
        return weight_GN.scatter_(1, reward_GN.argmax(1, keepdim=True), 1.0)

    def __call__(self, sampled):
        gain_B = ((sampled.logp_BT - sampled.reference_BT) * sampled.mask_BT).sum(1)
        loss_B = -torch.nn.functional.logsigmoid(self.beta * sampled.weight_B * gain_B)
        return loss_B * sampled.weight_B.abs()


def test_a_policy_loss_from_elsewhere_compares_groups_and_reads_the_reference(warm, reinforce, serve, run):
    pair, loss = Autoencoder.load(warm), Pairs()
    module = reinforce(
        pair, 40, policy_loss=loss, reward=Reward({"chosen": Chosen()}, failure=-1.0), kl=0.0, micro_tokens=64
    )
    rewards: list[float] = []
    run(module, serve("rollout", 40), lambda: rewards.append(module.metrics["reward/total"]))
    assert np.mean(rewards[-5:]) > np.mean(rewards[:5]) + 0.2
    assert module.metrics["policy/kl"] > 0, "the reference is read though nothing is paid for it"
    assert len(loss.records) == 40


def test_a_loss_per_explanation_is_a_mean_over_all_of_them(warm, reinforce, serve):
    class One:
        def weights(self, reward_GN, record):
            return torch.ones_like(reward_GN)

        def __call__(self, sampled):
            return -(sampled.logp_BT * sampled.mask_BT).sum(1)

    class Both(One):
        def __call__(self, sampled):
            return sampled.logp_BT.sum()

    pair = Autoencoder.load(warm)
    module = reinforce(pair, 1, kl=0.0, micro_tokens=64, policy_loss=One())
    module.manual_backward = lambda loss: loss.backward()
    activation_GD = serve("rollout", 1).train_dataloader().dataset[0].activation_BD[:3]
    given_BD = activation_GD.repeat_interleave(4, 0)
    rollouts = module.engine(pair.at().verbalizer, given_BD, list(range(12)))
    module._improve(pair.at().verbalizer, rollouts, activation_GD, torch.ones(3, 4))
    weights = [weight for weight in pair.verbalizer.trainable() if weight.grad is not None]
    got = [weight.grad.clone() for weight in weights]
    logp_BT = pair.at().verbalizer.logprobs(given_BD, rollouts.token_BT) * rollouts.mask_BT
    want = torch.autograd.grad(-logp_BT.sum() / 12, weights)
    largest = max(float(part.abs().max()) for part in want)
    for mine, theirs in zip(got, want, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-3 * largest, rtol=1e-2)
    module.policy_loss = Both()
    with pytest.raises(NlaeError, match=r"objective.policy_loss: Both returned shape \(\)"):
        module._improve(pair.at().verbalizer, rollouts, activation_GD, torch.ones(3, 4))


def test_weights_of_another_shape_are_named(warm, reinforce, serve, run):
    class Flat(Pairs):
        def weights(self, reward_GN, record):
            return reward_GN.flatten()

    with pytest.raises(NlaeError, match=r"objective.policy_loss: weights of Flat returned \(32,\); it must"):
        run(reinforce(Autoencoder.load(warm), 1, policy_loss=Flat()), serve("rollout", 1))


def test_a_reward_sees_the_whole_record(warm, reinforce, serve, run, world):
    seen = []

    class Watching:
        def __call__(self, record):
            seen.append(record)
            # earned by texts that name the last token of their context: only the context tells
            return torch.tensor([float(ids[-1] % 2) for ids in record.context_ids])

    pair = Autoencoder.load(warm)
    module = reinforce(pair, 1, reward=Reward({"watching": Watching(), "fidelity": None}, failure=-2.0))
    run(module, serve("rollout", 1))
    (record,) = seen
    data = serve("rollout", 1)
    batch = data.train_dataloader().dataset[0]
    assert record.group_B.tolist() == [g for g in range(8) for _ in range(4)]
    assert record.row == [int(batch.row_B[g]) for g in record.group_B]
    (store,) = data.stores.values()
    train = store.split("train", early=False)
    place = {int(row): i for i, row in enumerate(train.row)}
    assert record.context_ids == [train.context_ids(place[row]) for row in record.row]
    assert all(ids[-1] == int(batch.token_id_B[g]) for ids, g in zip(record.context_ids, record.group_B, strict=True))
    assert torch.equal(record.activation_BD, batch.activation_BD[record.group_B])
    error_B = (record.reconstruction_BD - unit(record.activation_BD)).pow(2).sum(-1)
    assert torch.allclose(record.error_B, error_B, atol=1e-5)
    assert torch.equal(record.length_B, record.mask_BT.sum(1).long())
    assert record.token_BT.shape == record.logp_BT.shape == record.mask_BT.shape
    assert len(set(record.seeds)) == len(record.text) == 32
    assert not record.reconstruction_BD.requires_grad
    assert record.site == "resid.1"
    assert "reward/fidelity" not in module.metrics
    assert 0 < module.metrics["reward/watching"] < 1
