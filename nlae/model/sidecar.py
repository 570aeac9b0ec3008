"""What a checkpoint's `nla_meta.yaml` may say: the schema that it is checked against before anything of it is used.

A sidecar is data from elsewhere. Each value has a plain type and a range; keys that are not listed are refused, or
dropped where the reference library writes more, so that nothing unknown reaches a config; no value is ever the name of
something to call. Which keys must be there is left to what reads them: the reference's sidecars have fewer than ours. A
target is described in `nlae.target.description`.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from nlae.files.schema import Count, Data, Loose, Name, Number, Plain, Positive, Rank, Text, fitted


class Tokens(Loose):
    """Ids that fix where a vector enters and is read."""

    injection_char: Name | None = None
    injection_token_id: Count | None = None
    injection_left_neighbor_id: Count | None = None
    injection_right_neighbor_id: Count | None = None
    critic_suffix_ids: list[Count] | None = None


class Sites(Data):
    """Schema 2: a site, or several as a config names them."""

    kind: Name | None = None
    layer: Count | None = None
    min_position: Count | None = None
    kinds: list[Name] | None = None
    layers: list[Count] | None = None
    depths: list[Number] | None = None


class SiteEntry(Loose):
    """One site."""

    kind: Name | None = None
    layer: Count | None = None
    min_position: Count | None = None
    injection_scale: Number | None = None
    tokens: Tokens | None = None
    probe: list[Number] | None = None


class PromptEntry(Data):
    """See `nlae.model.prompt.Prompt`."""

    name: Name = ""
    verbalizer: Text = ""
    reconstructor: Text = ""
    text: Text = ""
    style: dict[Name, Plain | list[Plain]] = Field(default_factory=dict)
    prefill: Text = ""
    marker: Name | None = None
    raw_verbalizer: Text | None = None
    max_tokens: Positive = 1


class InjectionEntry(Data):
    """See `nlae.model.injection.InjectionSettings`."""

    mode: Name = ""
    point: Count | Name = ""
    scale: Number | None = None
    map: Name = ""


class AdapterEntry(Data):
    """See `nlae.model.adapters.AdapterSettings`."""

    rank: Rank = 1
    alpha: Number = 0.0


class ReconstructorEntry(Data):
    """How much of a text is read, whether a norm is predicted, and the rank of what a head adds to the identity."""

    magnitude: bool = False
    head_rank: Rank | None = None
    max_tokens: Positive = 1


class Extraction(Loose):
    """The reference's place for the scale."""

    injection_scale: Number | None = None


class Critic(Loose):
    """The reference's older places for the layer."""

    extraction_layer_index: Count | None = None
    num_hidden_layers: Count | None = None


class Templates(Loose):
    """The reference's prompts, under the names of two of its versions."""

    av: Text | None = None
    ar: Text | None = None
    actor: Text | None = None
    critic: Text | None = None


class Sidecar(Loose):
    """The whole file."""

    kind: Literal["nla_model"]
    schema_version: Count | Name | None = None
    role: Name | None = None
    stage: Name | None = None
    base_checkpoint: Name | None = None
    d_model: Count | None = None
    extraction_layer_index: Count | None = None
    extraction: Extraction | None = None
    critic: Critic | None = None
    prompt_templates: Templates | None = None
    tokens: Tokens | None = None
    target: dict[Name, Any] | None = None
    target_fingerprint: Name | None = None
    site: Sites | None = None
    sites: list[SiteEntry] | None = None
    probe: list[Number] | None = None
    prompt: PromptEntry | None = None
    injection: InjectionEntry | None = None
    verbalizer_adapter: AdapterEntry | None = None
    reconstructor_adapter: AdapterEntry | None = None
    reconstructor: ReconstructorEntry | None = None
    precision: Name | None = None
    seed: int = 0
    training: dict[Name, Any] = Field(default_factory=dict)


def checked(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The known keys of a sidecar, those that it sets, as plain values.

    Raises:
        ValueError: a value of another type or out of its range; the message names up to three.
    """
    site = meta.get("site")
    if meta.get("role") == "mixture" and isinstance(site, Mapping):  # older ones wrote the whole node of their config
        meta = {**meta, "site": {key: value for key, value in site.items() if key in Sites.model_fields}}
    return fitted(Sidecar, meta)
