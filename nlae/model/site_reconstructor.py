"""The NL decoder at one site: the target's first blocks, reading an explanation, and a linear head on the last token.

The head starts as the identity: an untrained reconstructor answers with the activation of its prompt's last token, in
the right space. The final norm is left out as in the paper; a separate head for the norm is optional, since direction
and magnitude are scored apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nlae.errors import NlaeError
from nlae.functional.randomness import derive_seed
from nlae.functional.scaling import SiteStatistics, unit
from nlae.functional.transfers import send
from nlae.model.backbone import RECONSTRUCTOR, Backbone
from nlae.model.prompt import Prompt
from nlae.target import Site

Answer = tuple[Tensor, Tensor | None]
Progress = Callable[[int], None]


class IdentityHead(nn.Linear):
    """A square matrix that starts as the identity.

    Args:
        width: of the activations.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, width, bias=False)
        with torch.no_grad():
            self.weight.copy_(torch.eye(width))


class LowRankHead(nn.Module):
    """The identity plus a map of low rank that starts at zero: for wide sites, whose whole matrix is large.

    Args:
        width: of the activations.
        rank: inner dimension.
        seed: of the rows that are not zero at the start.

    Raises:
        NlaeError: no map of this width has that rank.
    """

    def __init__(self, width: int, rank: int, seed: int) -> None:
        super().__init__()
        if not 1 <= rank <= width:
            raise NlaeError(f"reconstructor.head_rank={rank}: choose null or 1 … {width}, the width of the activations")
        generator = torch.Generator().manual_seed(derive_seed(seed, "head") % 2**31)
        self.down_RD = nn.Parameter(torch.randn(rank, width, generator=generator) / width**0.5)
        self.up_DR = nn.Parameter(torch.zeros(width, rank))

    def forward(self, x_BD: Tensor) -> Tensor:
        """`x_BD` and what is added to it."""
        return x_BD + F.linear(F.linear(x_BD, self.down_RD), self.up_DR)

    @property
    def weight(self) -> Tensor:
        """The whole matrix."""
        return torch.eye(self.down_RD.shape[1], device=self.up_DR.device) + self.up_DR @ self.down_RD


class SiteReconstructor(nn.Module):
    """Rebuilds one site's activations from words.

    Args:
        backbone: weights of all roles.
        prompt: the reconstructor's template, that of this site.
        site: what is rebuilt.
        statistics: of its training activations; None for a foreign checkpoint without them.
        max_tokens: explanations are cut so that template and text fit.
        magnitude: add a head for log ‖h‖.
        head_rank: learn the identity plus a map of this rank; None learns a whole matrix that starts as the identity.
        role: the backbone's role to read with.

    Raises:
        NlaeError: a rank that no map of this width has.
    """

    def __init__(
        self,
        backbone: Backbone,
        prompt: Prompt,
        *,
        site: Site,
        statistics: SiteStatistics | None = None,
        max_tokens: int = 160,
        magnitude: bool = False,
        head_rank: int | None = None,
        role: str = RECONSTRUCTOR,
    ) -> None:
        super().__init__()
        self.backbone, self.prompt, self.site, self._statistics = backbone, prompt, site, statistics
        self.max_tokens, self.role = max_tokens, role
        self.width = backbone.trunk(role, site).width
        self.head: IdentityHead | LowRankHead = (
            IdentityHead(self.width) if head_rank is None else LowRankHead(self.width, head_rank, backbone.seed)
        ).to(backbone.target.device)
        self.head_rank = head_rank
        self.norm_head = nn.Linear(self.width, 1, device=backbone.target.device) if magnitude else None
        if self.norm_head is not None:
            nn.init.zeros_(self.norm_head.weight)
            nn.init.zeros_(self.norm_head.bias)

    @property
    def statistics(self) -> SiteStatistics:
        """Training statistics of the site.

        Raises:
            NlaeError: a foreign checkpoint came without them.
        """
        if self._statistics is None:
            raise NlaeError("this checkpoint has no activation statistics: FVE is not defined for it, cosine is")
        return self._statistics

    @property
    def has_statistics(self) -> bool:
        """Whether FVE can be computed."""
        return self._statistics is not None

    def forward(self, explanations: list[str]) -> tuple[Tensor, Tensor | None]:
        """Unit vectors (B, D) in float32, and log-norm offsets (B,) relative to the site's median norm, or None."""
        return self.read(*self.encode(explanations))

    def read(self, ids_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor | None]:
        """As `forward`, for what `encode` returned."""
        with self.backbone.use(self.role):
            # no mask: rows are padded on the right, where a causal model cannot see
            hidden_BTD = self.backbone.trunk(self.role, self.site)(input_ids=ids_BT)
            # by the mask, not by index −1
            last_BD = hidden_BTD[torch.arange(len(ids_BT), device=ids_BT.device), mask_BT.sum(1) - 1]
        return self.answer(last_BD)

    def answer(self, last_BD: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the heads make of the trunk's activation at the last token; as `forward` returns it."""
        direction_BD = unit(last_BD)
        log_norm_B = self.norm_head(direction_BD).squeeze(-1) if self.norm_head is not None else None
        return unit(self.head(direction_BD)), log_norm_B

    @torch.no_grad()
    def rebuild(
        self, texts: Sequence[str], *, batch_size: int = 64, progress: Progress | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Unit vectors (N, D) and, with a magnitude head, norms (N,), of any number of texts, float32 on the CPU.

        Texts of like length share a batch. An empty one gives μ/‖μ‖, or NaN where there are no statistics.
        """
        direction_ND = torch.empty(len(texts), self.width)
        norm_N = torch.ones(len(texts)) if self.norm_head is not None else None
        empty, batches = by_length(texts, batch_size)
        if empty:
            direction_ND[empty] = self.statistics.constant_D.cpu() if self.has_statistics else torch.nan
        for rows in batches:
            predicted_BD, log_norm_B = self([texts[i] for i in rows])
            direction_ND[rows] = predicted_BD.float().cpu()
            if norm_N is not None and log_norm_B is not None:
                norm_N[rows] = log_norm_B.float().exp().cpu()
            if progress is not None:
                progress(len(rows))
        return direction_ND, None if norm_N is None else norm_N * self.statistics.norm_median

    def encode(self, explanations: list[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask of the filled-in template, right-padded; both (B, T)."""
        ids_BT, mask_BT = send(self.backbone.target.device, *self.render(explanations))
        return ids_BT, mask_BT

    def render(self, explanations: list[str]) -> tuple[Tensor, Tensor]:
        """As `encode`, on the host."""
        return self.prompt.render_reconstructor(
            self.backbone.target.tokenizer, explanations, max_length=self.max_tokens
        )

    def trainable(self) -> list[nn.Parameter]:
        """Parameters of this reader alone, heads included."""
        return [*self.backbone.parameters_of(self.role), *self.own().values()]

    def own(self) -> dict[str, nn.Parameter]:
        """Parameters of the heads by name."""
        heads = {"head": self.head} | ({} if self.norm_head is None else {"norm_head": self.norm_head})
        return {f"{name}.{key}": weight for name, head in heads.items() for key, weight in head.named_parameters()}


def by_length(texts: Sequence[str], size: int) -> tuple[list[int], list[list[int]]]:
    """Numbers of the empty texts, and of the others in batches of like length."""
    filled = sorted((i for i, text in enumerate(texts) if text.strip()), key=lambda i: len(texts[i]))
    empty = [i for i, text in enumerate(texts) if not text.strip()]
    return empty, [filled[start : start + size] for start in range(0, len(filled), size)]
