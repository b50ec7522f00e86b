"""Representation surgery: a merged backbone, and beside it an adapter per task for what the backbone computes."""

from fractions import Fraction
from typing import Any, Literal

from conjoin import kernels
from conjoin.errors import BadWeightError, WrongAssetError
from conjoin.strategies.base import Asset, Block, Number, Params, RawArray, Scope, Unit, canonical_decimal, strategy
from conjoin.strategies.learned import AGAIN, require_same
from conjoin.strategies.trimming import NOTHING, passes_for, start_of, voters

HEX_PER_NUMBER = 8


def trimming(params: Params) -> dict[str, Any]:
    """How the inner merge trims and elects, as parameters of `trimming`."""
    if params["inner"] != "ties":
        return dict(NOTHING)
    return {**NOTHING, "density": params["density"], "trim_scope": "model", "zero_sign": "majority"}


def backbone(inner: str, scale: Fraction, density: Fraction) -> dict[str, Any]:
    """How the backbone is merged, as an asset says it: the strategy, and those of its parameters that can differ."""
    given = {"task_arithmetic": {"scale": scale}, "ties": {"density": density}}.get(inner, {})
    return {"strategy": inner, **{name: canonical_decimal(value) for name, value in given.items()}}


def require_adapters(x: Block, inner: dict[str, Any]) -> None:
    """Refuse an asset without an adapter for every contribution, or with adapters for another backbone.

    Raises:
        MissingAssetError: there is no asset.
        WrongAssetError: so it is.
    """
    require_same(x, "inner", inner)
    adapters = x.learned.get("adapters")
    for digest in x.contributions:
        one = adapters.get(digest) if isinstance(adapters, dict) else None
        rank, down, up = (one.get(part) if isinstance(one, dict) else None for part in ("rank", "down", "up"))
        where = f"contribution {digest}"
        if not isinstance(rank, int) or rank < 1 or not isinstance(down, str) or not isinstance(up, str):
            raise WrongAssetError("the asset has no adapter for a contribution", where=where, hint=AGAIN)
        if not down or len(down) % (rank * HEX_PER_NUMBER) or len(down) != len(up):
            problem = f"{len(down)} and {len(up)} hexadecimal digits are no matrices of float32 of rank {rank}"
            raise WrongAssetError(f"an adapter of the asset: {problem}", where=where, hint=AGAIN)


@strategy(
    scope=Scope.TWO_PASS,
    normalises=True,
    passes=passes_for(trimming),
    uses_base=lambda params: params["inner"] != "weight_average",
    needs_asset=lambda _: True,
    source="Yang et al., ICML 2024, arXiv:2402.02705; authors' code EnnengYang/RepresentationSurgery",
)
def representation_surgery(
    x: Block,
    *,
    asset: Asset = "",  # noqa: ARG001
    inner: Literal["weight_average", "task_arithmetic", "ties"] = "weight_average",
    scale: Number = Fraction("0.3"),
    density: Unit = Fraction("0.2"),
) -> RawArray:
    """Merge a backbone; an adapter per task beside it moves its last features to those of that task's contribution.

    ẑ = z − W_up · ReLU(W_down z)

    The weights are those of `inner`, to the byte; the adapters are in the asset, of which a copy stands beside the
    output. `conjoin fit representation_surgery` learns them, by ‖ẑ − zᵢ‖₁ on inputs of each task, on that backbone.
    Shapes: x.tensors (k, n), x.base (n,) where inner has one, x.weights (k,) → (n,).
    Defaults: inner weight_average, the one that needs no base; scale 0.3 and density 0.2 as those strategies'.
    asset: the adapters, for just these contributions.
    inner: how the backbone is merged.
    scale: factor on the sum of task vectors, for task_arithmetic; ties takes 1.
    density: share kept, for ties.
    Edge cases: k = 1 and equal contributions leave the adapters at zero. Weights that add up to 0 are an error.
    Differs: nothing from the paper. Moving weights by the means of features' drift, which other code does under this
    name, changes nothing: the mean drift from a mean is zero.
    """
    require_adapters(x, backbone(inner, scale, density))
    total = sum(x.weights, Fraction(0))
    if not total:
        raise BadWeightError("the weights of the merged backbone add up to 0", where=f"tensor `{x.name}`")
    if inner == "weight_average":
        return kernels.linear(x.tensors, kernels.coefficients([w / total for w in x.weights]), x.format, x.out_format)
    if inner == "task_arithmetic":
        terms = kernels.coefficients([1 - scale * total, *(scale * weight for weight in x.weights)])
        return kernels.linear((x.origin, *x.tensors), terms, x.format, x.out_format)
    tensors, terms, trim = voters(x)
    return kernels.ties(
        tensors,
        x.origin,
        x.format,
        x.out_format,
        terms=terms,
        trim=trim,
        start=start_of(x, trimming({"inner": inner, "density": density})),
        aggregate="mean",
        zero_sign=x.measured["majority"],
        scale=kernels.coefficients([Fraction(1)]),
    )
