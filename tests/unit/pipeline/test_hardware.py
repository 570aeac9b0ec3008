"""What `trainer.precision=auto` and `trainer.threads` mean on a machine."""

from types import SimpleNamespace

import pytest
import torch

from nlae.config.compose import compose_plain
from nlae.errors import NlaeError
from nlae.pipeline import hardware
from nlae.pipeline.plan import Plan


def config(precision="auto", device="cpu", verbalizer=True, reconstructor=True, threads=None):
    lora = {"rank": 4}
    return {
        "trainer": {"precision": precision, "device": device, "threads": threads},
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
    [(("avx512_bf16",), "bf16-base"), (("amx_bf16",), "bf16-base"), ((), "fp32"), ((None,), "fp32")],
    ids=["avx512", "amx", "neither", "torch cannot tell"],
)
def test_auto_is_bf16_only_where_the_cpu_multiplies_it(cpu, units, expected):
    cpu(*units)
    assert hardware.resolve_precision(config()) == expected


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
    assert hardware.resolve_precision(config(**whole)) == "fp32"
    assert hardware.resolve_precision(config(device="cuda", **whole)) == "bf16-mixed"


def test_a_typed_precision_is_kept_and_an_unknown_one_told(cpu):
    cpu("avx512_bf16")
    assert hardware.resolve_precision(config("bf16-mixed")) == "bf16-mixed"
    with pytest.raises(NlaeError, match=r"trainer\.precision=fp61: choose one of auto, fp32"):
        hardware.resolve_precision(config("fp61"))


def test_auto_is_resolved_before_it_is_hashed_and_said_once(cpu, monkeypatch):
    lines: list[str] = []
    monkeypatch.setattr(hardware.log, "info", lambda line, *values: lines.append(line % values))
    plain = compose_plain(["target=tiny", "debug=smoke"]).config
    assert plain["trainer"]["precision"] == "auto"
    found = {}
    for units, precision in ((("avx512_bf16",), "bf16-base"), ((), "fp32")):
        cpu(*units)
        plan, typed = Plan(plain), compose_plain(["target=tiny", "debug=smoke", f"trainer.precision={precision}"])
        assert plan.config["trainer"]["precision"] == precision
        found[precision] = plan.artifact("warmstart").fingerprint
        assert found[precision] == Plan(typed.config).artifact("warmstart").fingerprint
        Plan(plain)
    assert found["fp32"] != found["bf16-base"]
    said = [line for line in lines if "auto means" in line]
    assert len(said) == 2
    assert "bf16-base" in said[0]


def test_threads_are_set_and_null_leaves_them(monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    hardware.prepare(config(threads=None))
    hardware.prepare(config(threads=3))
    assert asked == [3]
    for bad in (0, "many", True):
        with pytest.raises(NlaeError, match="trainer.threads="):
            hardware.prepare(config(threads=bad))


def test_a_device_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr(torch, "cuda", SimpleNamespace(is_available=lambda: False))
    with pytest.raises(NlaeError, match="torch sees no GPU here"):
        hardware.prepare(config(device="cuda"))
    with pytest.raises(NlaeError, match="choose cpu, cuda or one GPU by its number"):
        hardware.prepare(config(device="tpu"))
    for odd in ("cuda:", "cuda:-1", "cuda:x", "cuda:²"):
        with pytest.raises(NlaeError, match="choose cpu, cuda or one GPU by its number"):
            hardware.prepare(config(device=odd))


def test_a_gpu_is_chosen_by_its_number(monkeypatch):
    chosen = []
    here = SimpleNamespace(is_available=lambda: True, device_count=lambda: 2, set_device=chosen.append)
    monkeypatch.setattr(torch, "cuda", here)
    hardware.prepare(config(device="cuda:1"))
    assert chosen == [1]
    with pytest.raises(NlaeError, match="cuda:2, but torch sees 2 here, numbered from 0"):
        hardware.prepare(config(device="cuda:2"))


def test_how_float32_is_multiplied_is_set_and_set_back(monkeypatch):
    said = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", said.append)
    for wanted in ("high", "highest"):
        settings = config()
        settings["trainer"]["matmul_precision"] = wanted
        hardware.prepare(settings)
    hardware.prepare(config())
    assert said == ["high", "highest", "highest"]
    settings["trainer"]["matmul_precision"] = "tf32"
    with pytest.raises(NlaeError, match="matmul_precision=tf32: choose one of highest, high, medium"):
        hardware.prepare(settings)


def test_teacher_and_judges_are_on_the_gpu_unless_told_otherwise():
    words = ["target=tiny", "trainer=gpu", "teacher=local", "dictionary=judged_local", "trainer.device=cuda:1"]
    found = compose_plain(words).config
    assert found["teacher"]["device"] == found["dictionary"]["judge"]["device"] == "cuda:1"
    aside = compose_plain([*words, "teacher.device=cpu", "dictionary.judge.device=cpu"]).config
    assert aside["teacher"]["device"] == aside["dictionary"]["judge"]["device"] == "cpu"
    assert compose_plain(["target=tiny", "trainer=cpu", "teacher=local"]).config["teacher"]["device"] == "cpu"
