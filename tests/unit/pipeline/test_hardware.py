"""What `trainer.precision=auto`, `target.dtype=auto` and `machine.threads` mean on a machine."""

from types import SimpleNamespace

import pytest
import torch

from nlae.config.compose import compose_plain
from nlae.errors import NlaeError
from nlae.pipeline import hardware
from nlae.pipeline.plan import Plan

PLAIN, BASE, MIXED = ("32-true", "float32"), ("bf16-mixed", "bfloat16"), ("bf16-mixed", "float32")


def config(precision="auto", accelerator="cpu", verbalizer=True, reconstructor=True, threads=None, **more):
    lora = {"rank": 4}
    return {
        "trainer": {"precision": precision, "accelerator": accelerator, "devices": more.get("devices", 1)},
        "machine": {"threads": threads},
        "target": {"dtype": more.get("dtype", "auto")},
        "verbalizer": {"adapter": lora if verbalizer else None},
        "reconstructor": {"adapter": lora if reconstructor else None},
    }


@pytest.fixture
def cpu(monkeypatch):
    """Makes the CPU have the named units, or torch unable to say (None)."""

    def have(*units):
        if units == (None,):
            monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
            monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
        else:
            found = {"avx2": True, "avx512_bf16": False, "cpu_name": "any", **dict.fromkeys(units, True)}
            monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)

    hardware._say.cache_clear()
    return have


@pytest.mark.parametrize(
    ("units", "expected"),
    [(("avx512_bf16",), BASE), (("amx_bf16",), BASE), ((), PLAIN), ((None,), PLAIN)],
    ids=["avx512", "amx", "neither", "torch cannot tell"],
)
def test_auto_is_bf16_only_where_the_cpu_multiplies_it(cpu, units, expected):
    cpu(*units)
    assert hardware.resolve_numbers(config()) == expected


@pytest.mark.parametrize("has", [True, False])
@pytest.mark.parametrize("fails", [True, False], ids=["does not know this CPU", "older torch"])
def test_an_older_torch_is_asked_for_the_one_unit_it_knows(cpu, monkeypatch, has, fails):
    def unknown():
        raise RuntimeError("no cpuinfo")

    cpu(None)
    if fails:
        monkeypatch.setattr(torch.cpu, "get_capabilities", unknown, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has, raising=False)
    assert hardware.native_bf16() is has


def test_a_torch_that_cannot_tell_says_so(cpu, caplog):
    cpu(None)
    with caplog.at_level("INFO"):
        assert not hardware.native_bf16()
    assert "torch cannot tell" in caplog.text


@pytest.mark.parametrize("whole", [{"verbalizer": False}, {"reconstructor": False}])
def test_whole_weights_keep_fp32_masters(cpu, whole):
    cpu("avx512_bf16")
    assert hardware.resolve_numbers(config(**whole)) == PLAIN
    assert hardware.resolve_numbers(config(accelerator="gpu", **whole)) == MIXED


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"precision": "bf16-mixed"}, MIXED),
        ({"precision": 32}, PLAIN),
        ({"precision": "32-true", "accelerator": "gpu"}, PLAIN),
        ({"dtype": "bfloat16"}, BASE),
        ({"dtype": "float32"}, PLAIN),
        ({"dtype": "bfloat16", "precision": "bf16-mixed"}, BASE),
        ({"accelerator": "gpu"}, BASE),
    ],
)
def test_what_was_typed_is_kept(cpu, given, expected):
    cpu("avx512_bf16")
    assert hardware.resolve_numbers(config(**given)) == expected


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"precision": "fp61"}, r"trainer\.precision=fp61: choose one of auto, 32-true, bf16-mixed"),
        ({"precision": "16-mixed"}, "float16 would need a scaler"),
        ({"dtype": "float16"}, r"target\.dtype=float16: choose one of auto, float32, bfloat16"),
        ({"dtype": "bfloat16", "precision": "32-true"}, r"target\.dtype=bfloat16 is multiplied in bf16: set trainer"),
    ],
)
def test_numbers_that_cannot_be_are_told(given, told):
    with pytest.raises(NlaeError, match=told):
        hardware.resolve_numbers(config(**given))


def test_auto_is_resolved_before_it_is_hashed_and_said_once(cpu, monkeypatch):
    lines: list[str] = []
    monkeypatch.setattr(hardware.log, "info", lambda line, *values: lines.append(line % values))
    plain = compose_plain(["target=tiny", "debug=smoke"]).config
    assert plain["trainer"]["precision"] == plain["target"]["dtype"] == "auto"
    found = []
    for units, (precision, dtype) in ((("avx512_bf16",), BASE), ((), PLAIN)):
        cpu(*units)
        typed = compose_plain(["target=tiny", "debug=smoke", f"trainer.precision={precision}", f"target.dtype={dtype}"])
        plan = Plan(plain)
        assert (plan.config["trainer"]["precision"], plan.config["target"]["dtype"]) == (precision, dtype)
        found.append(plan.artifact("warmstart").fingerprint)
        assert found[-1] == Plan(typed.config).artifact("warmstart").fingerprint
        Plan(plain)
    assert found[0] != found[1]
    said = [line for line in lines if "auto means" in line]
    assert len(said) == 2
    assert "bf16-mixed over a base in bfloat16" in said[0]


def test_threads_are_set_and_null_leaves_them(monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    hardware.prepare(config(threads=None))
    hardware.prepare(config(threads=3))
    assert asked == [3]
    for bad in (0, "many", True):
        with pytest.raises(NlaeError, match="machine.threads="):
            hardware.prepare(config(threads=bad))


def test_a_device_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr(torch, "cuda", SimpleNamespace(is_available=lambda: False))
    with pytest.raises(NlaeError, match="torch sees no GPU here"):
        hardware.prepare(config(accelerator="gpu"))
    with pytest.raises(NlaeError, match="trainer.accelerator=tpu: choose cpu or gpu"):
        hardware.prepare(config(accelerator="tpu"))
    for odd in ([-1], ["x"], [True]):
        with pytest.raises(NlaeError, match="name one GPU by its number"):
            hardware.prepare(config(accelerator="gpu", devices=odd))
    for many in (2, [0, 1], "auto"):
        with pytest.raises(NlaeError, match="set trainer.devices=1"):
            hardware.prepare(config(accelerator="gpu", devices=many))


def test_a_gpu_is_chosen_by_its_number(monkeypatch):
    chosen = []
    here = SimpleNamespace(is_available=lambda: True, device_count=lambda: 2, set_device=chosen.append)
    monkeypatch.setattr(torch, "cuda", here)
    hardware.prepare(config(accelerator="gpu", devices=[1]))
    assert chosen == [1]
    with pytest.raises(NlaeError, match=r"trainer.devices=\[2\], but torch sees 2 here, numbered from 0"):
        hardware.prepare(config(accelerator="gpu", devices=[2]))


def test_how_float32_is_multiplied_is_set_and_set_back(monkeypatch):
    said = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", said.append)
    for wanted in ("high", "highest"):
        settings = config()
        settings["machine"]["matmul_precision"] = wanted
        hardware.prepare(settings)
    hardware.prepare(config())
    assert said == ["high", "highest", "highest"]
    settings["machine"]["matmul_precision"] = "tf32"
    with pytest.raises(NlaeError, match="matmul_precision=tf32: choose one of highest, high, medium"):
        hardware.prepare(settings)


def test_teacher_and_judges_are_on_the_gpu_unless_told_otherwise():
    words = ["target=tiny", "trainer=gpu", "teacher=local", "dictionary=judged_local", "trainer.devices=[1]"]
    found = compose_plain(words).config
    assert found["teacher"]["device"] == found["dictionary"]["judge"]["device"] == "cuda:1"
    aside = compose_plain([*words, "teacher.device=cpu", "dictionary.judge.device=cpu"]).config
    assert aside["teacher"]["device"] == aside["dictionary"]["judge"]["device"] == "cpu"
    assert compose_plain(["target=tiny", "trainer=cpu", "teacher=local"]).config["teacher"]["device"] == "cpu"
