"""Which weights belong to a task head, and whether a checkpoint holds all the others.

The head is every module of a library model outside its bare model; each run draws its own. All
other weights must come from the checkpoint. Otherwise runs would train, and tables would compare,
layers of random numbers.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from gapbench.bench.config.head import LANGUAGE_MODEL, HeadType
from gapbench.bench.core.errors import BackboneError

# The library's models whose head is inside the bare model, or that have no bare model inside.
_HEADS: Mapping[str, tuple[str, ...]] = {
    "PerceiverForSequenceClassification": ("perceiver.decoder",),
    "T5ForQuestionAnswering": ("qa_outputs",),
    "MT5ForQuestionAnswering": ("qa_outputs",),
    "UMT5ForQuestionAnswering": ("qa_outputs",),
}
_POOLER = "pooler"
_SHOWN = 3  # names in a message


def head_modules(model: Any, head: HeadType, missing: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the outermost modules of a model's task head, in alphabetical order.

    A language model's head is pretrained and belongs to the backbone. A pooler that the checkpoint
    lacks, as masked language models do, belongs to the head.

    Args:
        model: model of the model library.
        head: head of the task.
        missing: names of the weights that its checkpoint lacks.
    """
    if head == LANGUAGE_MODEL:
        return ()
    parts = _HEADS.get(type(model).__name__)
    if parts is None:
        children = [(n, m) for n, m in model.named_children() if m is not model.base_model]
        parts = tuple(n for n, module in children if any(True for _ in module.parameters()))
    return tuple(sorted({*parts, *_absent_poolers(model, parts, set(missing))}))


def is_inside(name: str, parts: Iterable[str]) -> bool:
    """Return whether a module or weight is one of some modules, or inside one of them."""
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def require_whole(
    place: str, model: Any, head: tuple[str, ...], info: Mapping[str, Iterable[Any]]
) -> None:
    """Refuse a checkpoint that does not hold exactly the weights of the model outside its head.

    Args:
        place: name of the backbone in messages.
        model: model as loaded.
        head: result of `head_modules`.
        info: the library's report on loading (``output_loading_info``).

    Raises:
        BackboneError: naming the weights that are missing, unused or of the wrong shape.
    """
    missing = [name for name in sorted(info["missing_keys"]) if not is_inside(name, head)]
    extra = sorted(info["unexpected_keys"])
    if missing:
        wrapper = _wrapper(missing, extra, model.base_model_prefix)
        if wrapper is not None:
            raise BackboneError(
                f"{place}: the names of its weights begin with {wrapper!r}, as if it was saved "
                "inside a wrapper, such as DistributedDataParallel ('module.') or a compiled model "
                "('_orig_mod.'); save the model that is inside, with save_pretrained"
            )
        way_out = "give the whole checkpoint, as save_pretrained writes it"
        if _is_output(model, missing):
            way_out += (
                ", or set 'tie_word_embeddings' in its config.json if its embedding is its head"
            )
        raise BackboneError(
            f"{place}: the checkpoint lacks {_listed(missing)}; only the head of a classifier or "
            f"span model may be absent, as each run draws it; {way_out}"
        )
    for name, given, wanted in sorted(info["mismatched_keys"]):
        if not is_inside(name, head):
            raise BackboneError(
                f"{place}: the weight {name} has the shape {tuple(given)}, but its config.json "
                f"describes a model where that is {tuple(wanted)}; give files that belong together"
            )
    unused = [name for name in extra if _is_of_backbone(name, model, head)]
    if unused:
        raise BackboneError(
            f"{place}: the model that its config.json describes has no place for "
            f"{_listed(unused)}, which would be left out; give files that belong together, or save "
            "the model again with save_pretrained if it does not need them"
        )


def _absent_poolers(model: Any, parts: tuple[str, ...], missing: set[str]) -> set[str]:
    """Return the poolers inside the bare model that are missing from the checkpoint."""
    poolers = (
        name
        for name, _ in model.named_modules()
        if name.rpartition(".")[2] == _POOLER and not is_inside(name, parts)
    )
    return {
        name
        for name in poolers
        if (own := [f"{name}.{n}" for n, _ in model.get_submodule(name).named_parameters()])
        and missing.issuperset(own)
    }


def _is_of_backbone(name: str, model: Any, head: tuple[str, ...]) -> bool:
    """Return whether a weight that the model lacks belongs to the bare model, not to a head.

    Checkpoints may have heads of other tasks, poolers, and buffers that older versions of the
    library stored in modules without weights.
    """
    name = name.removeprefix(f"{model.base_model_prefix}.")
    base = model.base_model
    owner = name.rpartition(".")[0]
    modules = dict(base.named_modules())
    if owner in modules and not any(True for _ in modules[owner].parameters(recurse=False)):
        return False
    inside = {child for child, _ in base.named_children()} - {_POOLER, *head}
    return name.partition(".")[0] in inside


def _wrapper(missing: list[str], extra: list[str], base: str) -> str | None:
    """Return the prefix of names in the checkpoint relative to names in the model, if any."""
    wanted = missing[0].removeprefix(f"{base}.")
    found = next((name for name in extra if name.endswith(f".{wanted}")), None)
    prefix = None if found is None else found.removesuffix(wanted).removesuffix(f"{base}.")
    return prefix or None


def _is_output(model: Any, missing: list[str]) -> bool:
    output = model.get_output_embeddings()
    return any(
        output is not None and model.get_submodule(name.rpartition(".")[0]) is output
        for name in missing
    )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
