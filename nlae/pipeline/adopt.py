"""`checkpoint=`: what its sidecar says replaces the config's defaults; what the user typed must agree with it.

A checkpoint whose prompt or site silently overrode the run's would measure another thing than was asked for, so any
disagreement with a typed key stops the run.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from inspect import signature
from pathlib import Path
from typing import Any

from nlae.config.build import targets
from nlae.errors import NlaeError
from nlae.pipeline.fingerprint import pick

# What a checkpoint remembers without being bound to it: a typed value is taken.
FREE = ("site.min_position",)
HERE = ("cache_dir", "fetch", "dtype")  # of a target: about this machine and its user, which no checkpoint says
SHOWN = 3  # disagreements that are spelled out


def adopt_checkpoint(config: dict[str, Any], typed: Sequence[str]) -> tuple[dict[str, Any], Path]:
    """Take over what the checkpoint says.

    Args:
        config: whole resolved config with `checkpoint` set.
        typed: keys and groups that the user set.

    Returns:
        The config that the checkpoint implies, and its folder.

    Raises:
        NlaeError: no such checkpoint, or a typed key disagrees with it.
    """
    from nlae.config.build import locate as locate_class
    from nlae.model.checkpoint import locate, read_meta
    from nlae.target.description import described

    folder = locate(config["checkpoint"])
    meta = read_meta(folder / "av" if (folder / "av").is_dir() else folder)
    config, typed = deepcopy(config), list(typed)
    said = said_by(meta)
    if "target" in said:
        node = described(said.pop("target"))  # data from elsewhere: checked before anything is built of it
        known = signature(locate_class(node["_target_"], "target")).parameters
        # what an older sidecar does not say was what is now the default
        _check_target(config, typed, {name: known[name].default for name in known} | node)
        here = {key: config["target"][key] for key in HERE if key in known and f"target.{key}" in typed}
        if "target" in typed:
            node.pop("fetch", None)  # the user named it, so it may be fetched
        config["target"] = node | here
    _only_values(said)
    if len(meta.get("sites") or ()) > 1:
        _adopt_sites(config, typed, meta)
    elif _depth_to_layer(config, typed):
        typed.append("site.layer")
    problems = []
    for path, value in said.items():
        if path in FREE and path in typed:
            continue
        current = pick(config, path)
        if current is not None and current != value and path not in FREE and is_typed(path, typed):
            problems.append(f"{path}={_short(current)}, but the checkpoint has {_short(value)}")
        _set(config, path, value)
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise NlaeError(
            f"checkpoint={config['checkpoint']} disagrees with the command line: {'; '.join(problems[:SHOWN])}{more}; "
            "leave those out, or train another pair"
        )
    return config, folder


def _only_values(said: Mapping[str, Any]) -> None:
    """Raises: NlaeError, when a checkpoint would name what is built; its schema is to refuse that before."""
    for path, value in said.items():
        if path.rpartition(".")[2].startswith("_") or any(targets(value, path)):
            raise NlaeError(f"checkpoint: {path} names what is to be built, which no checkpoint may say")


def said_by(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Config paths and values that a sidecar fixes, ours or the reference's."""
    said: dict[str, Any] = {}
    sites = list(meta.get("sites") or [])
    if len(sites) == 1:  # several are taken as a whole by `adopt_checkpoint`
        site = sites[0]
        scale = site.get("injection_scale")
        meta = {**meta, "site": site, "injection": {**(meta.get("injection") or {}), "scale": scale}}
    if isinstance(meta.get("target"), Mapping):
        said["target"] = dict(meta["target"])
    elif "/" in str(meta.get("base_checkpoint", "")):
        model = str(meta["base_checkpoint"])
        said["target"] = {"_target_": "nlae.target.hub.HubTarget", "name": model.rpartition("/")[2], "model": model}
    layer = pick(meta, "site.layer")
    said["site.layer"] = meta.get("extraction_layer_index") if layer is None else layer
    for path, source in (
        ("site.kind", "site.kind"),
        ("site.min_position", "site.min_position"),
        ("verbalizer.injection.mode", "injection.mode"),
        ("verbalizer.injection.point", "injection.point"),
        ("verbalizer.injection.scale", "injection.scale"),
        ("verbalizer.injection.map", "injection.map"),
        ("reconstructor.magnitude", "reconstructor.magnitude"),
        ("reconstructor.max_tokens", "reconstructor.max_tokens"),
        ("reconstructor.head_rank", "reconstructor.head_rank"),
    ):
        said[path] = pick(meta, source)
    if isinstance(meta.get("prompt"), Mapping):
        said |= {f"prompt.{key}": value for key, value in meta["prompt"].items()}
    for role in ("verbalizer", "reconstructor"):
        adapter = meta.get(f"{role}_adapter")
        said |= {f"{role}.adapter.{key}": value for key, value in (adapter or {}).items()}
        if adapter is None:  # whole weights, as the reference layout always holds
            said[f"{role}.adapter"] = None
    nullable = {"prompt.marker", "prompt.raw_verbalizer", "verbalizer.adapter", "reconstructor.adapter"}
    nullable |= {"reconstructor.head_rank"}
    return {path: value for path, value in said.items() if value is not None or path in nullable}


def is_typed(path: str, typed: Sequence[str]) -> bool:
    """Whether the user set this key, a node above it, or its group's option."""
    return any(path == word or path.startswith(f"{word}.") for word in typed)


def _check_target(config: Mapping[str, Any], typed: Sequence[str], target: Mapping[str, Any]) -> None:
    """Raises: NlaeError, when a typed key of the target is not what the checkpoint was trained on."""
    for key, current in config["target"].items():
        path, value = f"target.{key}", target.get(key)
        # an option of the group leaves null what it does not say; a key that was typed says it
        said = path in typed or (current is not None and is_typed(path, typed))
        if said and current != value and key != "name" and not (key in HERE and key in target):
            raise NlaeError(
                f"checkpoint={config['checkpoint']} disagrees with the command line: {path}={_short(current)}, "
                f"but it was trained on {target.get('name')} with {_short(value)}; leave target out"
            )


def _adopt_sites(config: dict[str, Any], typed: Sequence[str], meta: Mapping[str, Any]) -> None:
    """All sites of a checkpoint; or the one among them that was typed, which then is measured or used alone."""
    said, mine = _sites(meta), config.get("site") or {}
    chosen = [word for word in typed if word == "site" or (word.startswith("site.") and word not in FREE)]
    if "site.min_position" in typed:
        said["min_position"] = mine["min_position"]
    if chosen and "kinds" not in mine:
        _depth_to_layer(config, typed)
        if mine.get("kind") not in said["kinds"] or mine.get("layer") not in said["layers"]:
            raise NlaeError(
                f"checkpoint={config['checkpoint']} has no site={mine.get('kind')} site.layer={mine.get('layer')}; it "
                f"reads {', '.join(said['kinds'])} of blocks {', '.join(map(str, said['layers']))}"
            )
        mine["min_position"] = said["min_position"]
        return
    for key, name in (("kinds", "kinds"), ("layers", "layers"), ("depths", "layers")):
        current = mine.get(key)
        if current is None or f"site.{key}" not in typed:
            continue
        meant = _resolved_site(config).layers if key == "depths" else current
        if list(meant) != list(said[name]):
            raise NlaeError(
                f"checkpoint={config['checkpoint']} disagrees with the command line: site.{key}={_short(current)}, but "
                f"the checkpoint has {name} {_short(said[name])}; leave it out, or name one site: site=KIND "
                "site.layer=K"
            )
    config["site"] = said


def _sites(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The node of several sites, made of their names: no class that a sidecar asks for."""
    try:
        kinds, layers, first = zip(
            *((s["kind"], int(s["layer"]), s["min_position"]) for s in meta["sites"]), strict=True
        )
    except (KeyError, TypeError, ValueError) as error:
        raise NlaeError("the checkpoint's sidecar names no sites: it was written by another version") from error
    node = {"kinds": list(dict.fromkeys(kinds)), "layers": sorted(set(layers)), "depths": None}
    return {"_target_": "nlae.target.site.Sites", **node, "min_position": first[0]}


def _depth_to_layer(config: dict[str, Any], typed: Sequence[str]) -> bool:
    """A typed depth is compared as the layer that it means; False when none was typed."""
    if "site.depth" not in typed or config["site"].get("depth") is None:
        config["site"]["depth"] = None
        return False
    config["site"] |= {"layer": _resolved_site(config).layer, "depth": None}
    return True


def _resolved_site(config: Mapping[str, Any]) -> Any:
    """The site, or the sites, with the blocks that depths mean in the config's target."""
    from nlae.config.build import build

    n_layers = int(build(config["target"], "target").load_config().num_hidden_layers)
    return build(config["site"], "site").resolve(n_layers)


def _set(config: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    node = config
    for part in parents:
        if not isinstance(node.get(part), dict):
            node[part] = {}
        node = node[part]
    node[last] = value


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return repr(text if len(text) <= 40 else text[:37] + "…")
