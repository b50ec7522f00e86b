"""Recipe: strategy, parameters and rules as one value with a digest; reads no tensor and no file."""

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from fractions import Fraction
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Any, Literal, Self

from conjoin.errors import BadParameterError, BadRecipeError, BadWeightError, MissingAssetError
from conjoin.strategies.base import SideCar, Strategy, canonical_decimal, find_strategy, parse_decimal
from conjoin.wire import canonical
from conjoin.wire.digest import Digest, is_digest, tagged

NUMERICS = 1
"""Version of the determinism contract that recipes of this software ask for."""

RULES_MAX = 1_000
_GLOB = re.compile(r"[\x21-\x7e]{1,256}")

Singleton = Literal["apply", "identity"]
Missing = Literal["error", "exclude", "base"]
Extra = Literal["error", "drop", "keep"]
Integers = Literal["base", "majority"]

_CHOICES: dict[str, tuple[str, ...]] = {
    "out_dtype": ("base", "BF16", "F16", "F32", "F64"),
    "singleton": ("apply", "identity"),
    "missing": ("error", "exclude", "base"),
    "extra": ("error", "drop", "keep"),
    "integers": ("base", "majority"),
}


@dataclass(frozen=True, slots=True)
class Step:
    """A strategy with its parameters in canonical form, every default filled in.

    Attributes:
        strategy: name of the strategy.
        params: parameter name → canonical decimal string, choice, bool, or (by contribution) digest → decimal string.
        version: version of the strategy's arithmetic; another version gives other bytes.
        traits: the registered strategy.
        reads_base: whether it works on task vectors with these parameters.
        side_cars: what every contribution must carry for it with these parameters.
        asset: digest of the asset it applies, or "".
    """

    strategy: str
    params: Mapping[str, Any]
    version: int
    traits: Strategy = field(compare=False, repr=False)
    reads_base: bool = field(compare=False, repr=False)
    side_cars: tuple[SideCar, ...] = field(compare=False, repr=False)
    asset: str = field(compare=False, repr=False)

    @classmethod
    def of(cls, strategy: str, params: Mapping[str, object], version: object = None) -> Self:
        """A checked step.

        Raises:
            UnknownStrategyError, UnknownParameterError, BadParameterError: see there.
            BadRecipeError: `version` is given and is not the version this software has.
        """
        found = find_strategy(strategy)
        if version is not None and (type(version) is not int or version != found.version):
            raise BadRecipeError(
                f"the recipe asks for version {version!r} of {strategy}, this software has version {found.version}",
                hint="resolve with the software the recipe was written for, or leave `version` out to take this one",
            )
        canonical_params, parsed = MappingProxyType(_canonical_params(found, params)), found.parse(params)
        asset = next((parsed[p.name] for p in found.parameters if p.kind == "asset"), "")
        needs = found.reads_base(parsed), found.side_cars(parsed), asset
        if found.needs_asset(parsed) and not asset:
            raise MissingAssetError(
                f"{strategy} applies what was learned or searched before, and no asset is given",
                hint=f"`conjoin fit {strategy} --help` says how to make one; then add `--asset FILE`",
            )
        return cls(strategy, canonical_params, found.version, found, *needs)

    def parsed(self, contributions: Sequence[str]) -> dict[str, Any]:
        """Parameters as a strategy takes them; a by-contribution value is a tuple in the order of `contributions`."""
        strategy = self.traits
        parsed = strategy.parse({name: value for name, value in self.params.items() if value != {}})
        for parameter in strategy.parameters:
            if parameter.kind == "by-contribution":
                keyed = parsed[parameter.name]
                parsed[parameter.name] = tuple(keyed.get(digest) for digest in contributions) if keyed else None
        return parsed

    def keyed_by(self) -> set[str]:
        """Every contribution digest that a by-contribution parameter names."""
        return {key for value in self.params.values() if isinstance(value, Mapping) for key in value}

    def to_json(self) -> dict[str, Any]:
        """The step as a JSON value."""
        params = {name: dict(value) if isinstance(value, Mapping) else value for name, value in self.params.items()}
        return {"params": params, "strategy": self.strategy, "version": self.version}


@dataclass(frozen=True, slots=True)
class Rule:
    """Another step for the tensors whose names match a glob (`*`, `?`, `[…]`; `*` crosses dots, case counts)."""

    tensors: str
    step: Step

    def matches(self, name: str) -> bool:
        """Whether the rule is for the tensor of that name."""
        return fnmatchcase(name, self.tensors)

    def to_json(self) -> dict[str, Any]:
        """The rule as a JSON value."""
        return {"tensors": self.tensors, **self.step.to_json()}


@dataclass(frozen=True)
class Recipe:
    """How to combine: a strategy, its parameters, rules for some tensors, and what to do in the special cases.

    Make one with `Recipe.of`; the plain constructor checks nothing.

    Attributes:
        step: strategy and parameters for every tensor no rule matches.
        rules: other steps for some tensors; the first that matches counts.
        weights: contribution digest → canonical decimal string in place of the contribution's own weight; 0 is allowed.
        out_dtype: "base" (each tensor keeps its dtype) or a float dtype for every float tensor.
        singleton: with one contribution, run the strategy (`apply`) or copy the contribution (`identity`).
        missing: a tensor of the base that a contribution lacks: `error`, `exclude` the contribution from that tensor,
            or take the `base`'s tensor in its place.
        extra: a tensor the base lacks: `error`, `drop` it, or `keep` it.
        integers: integer and bool tensors that differ: the `base`'s value or the `majority`'s.
        numerics: version of the determinism contract.
    """

    step: Step
    rules: tuple[Rule, ...] = ()
    weights: Mapping[str, str] = field(default_factory=dict)
    out_dtype: str = "base"
    singleton: str = "apply"
    missing: str = "error"
    extra: str = "error"
    integers: str = "base"
    numerics: int = NUMERICS

    @classmethod
    def of(
        cls,
        strategy: str,
        params: Mapping[str, object] | None = None,
        *,
        rules: Sequence[Mapping[str, object]] = (),
        weights: Mapping[str, object] | None = None,
        out_dtype: str | None = None,
        singleton: str = "apply",
        missing: str = "error",
        extra: str = "error",
        integers: str = "base",
        version: int | None = None,
        numerics: int = NUMERICS,
    ) -> Self:
        """A checked recipe with every default filled in.

        Args:
            strategy: a strategy's name.
            params: its parameters: decimal strings (numbers are read as they print), choices, flags; by-contribution
                parameters as a mapping from full digest to number.
            rules: mappings with `tensors` (a glob), `strategy` and optionally `params`.
            weights: contribution digest → number that replaces the contribution's own weight.
            out_dtype: None is "base".
            singleton: see the attributes.
            missing: see the attributes.
            extra: see the attributes.
            integers: see the attributes.
            version: the strategy version asked for; None takes the one of this software.
            numerics: version of the determinism contract asked for.

        Raises:
            UnknownStrategyError, UnknownParameterError, BadParameterError, BadWeightError, BadRecipeError: see there.
        """
        chosen = {
            "out_dtype": "base" if out_dtype is None else out_dtype,
            "singleton": singleton,
            "missing": missing,
            "extra": extra,
            "integers": integers,
        }
        for name, value in chosen.items():
            _require_choice(name, value)
        if type(numerics) is not int or numerics != NUMERICS:
            raise BadRecipeError(f"the recipe asks for numerics {numerics!r}, this software has {NUMERICS}")
        if len(rules) > RULES_MAX:
            raise BadRecipeError(f"{len(rules)} rules are over the limit of {RULES_MAX}")
        return cls(
            step=Step.of(strategy, params or {}, version),
            rules=tuple(_read_rule(index, rule) for index, rule in enumerate(rules)),
            weights=MappingProxyType(_canonical_weights(weights or {})),
            numerics=numerics,
            **chosen,
        )

    @property
    def strategy(self) -> str:
        """Name of the strategy for every tensor no rule matches."""
        return self.step.strategy

    @property
    def params(self) -> Mapping[str, Any]:
        """Its parameters in canonical form."""
        return self.step.params

    def step_for(self, name: str) -> Step:
        """The step for the tensor of that name."""
        return next((rule.step for rule in self.rules if rule.matches(name)), self.step)

    @property
    def assets(self) -> tuple[str, ...]:
        """Digests of the assets that it and its rules apply, ascending."""
        return tuple(sorted({step.asset for step in self.steps if step.asset}))

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of the rules, and that for all other tensors."""
        return (*(rule.step for rule in self.rules), self.step)

    def weight_of(self, contribution: str, own: str) -> Fraction:
        """The exact weight of a contribution whose own weight is `own`."""
        return _exact(self.weights.get(contribution, own))

    def to_json(self) -> dict[str, Any]:
        """The recipe as a JSON value: every field, every parameter."""
        return {
            **self.step.to_json(),
            "extra": self.extra,
            "integers": self.integers,
            "missing": self.missing,
            "numerics": self.numerics,
            "out_dtype": self.out_dtype,
            "rules": [rule.to_json() for rule in self.rules],
            "singleton": self.singleton,
            "weights": dict(self.weights),
        }

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read a recipe; fields that are left out take their defaults.

        Raises:
            BadRecipeError: not a JSON object, an unknown field (the nearest is named) or a field of another type.
            UnknownStrategyError, UnknownParameterError, BadParameterError, BadWeightError: see there.
        """
        given = _object(value, "a recipe", _RECIPE_FIELDS)
        if not isinstance(given.get("strategy"), str):
            raise BadRecipeError("the recipe has no `strategy`", hint='write at least {"strategy": "weight_average"}')
        if not isinstance(given.get("rules", []), list):
            raise BadRecipeError("`rules` is not a list", hint="each rule has `tensors`, `strategy` and `params`")
        for name in ("params", "weights"):
            if not isinstance(given.get(name, {}), Mapping):
                raise BadRecipeError(f"`{name}` is not an object of names and values")
        return cls.of(**given)

    @cached_property
    def digest(self) -> Digest:
        """SHA-256("conjoin/recipe/1" ‖ canonical JSON)."""
        return tagged("conjoin/recipe/1", canonical.encode(self.to_json()))

    def __hash__(self) -> int:
        return hash(self.digest)


_exact = lru_cache(1024)(Fraction)
"""Most contributions have the same weight, and to read one takes longer than all else that a plan does with it."""

_RECIPE_FIELDS = ("strategy", "params", "version", *(f.name for f in fields(Recipe) if f.name != "step"))
_RULE_FIELDS = ("tensors", "strategy", "params", "version")


def _object(value: object, what: str, known: Sequence[str]) -> dict[str, Any]:
    """`value` as an object that has only known fields."""
    if not isinstance(value, Mapping):
        raise BadRecipeError(f"{what} is a JSON object, not {type(value).__name__}")
    for name in value:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            hint = f"did you mean `{near[0]}`?" if near else f"the fields are {', '.join(f'`{n}`' for n in known)}"
            raise BadRecipeError(f"{what} has no field `{name}`", hint=hint)
    return dict(value)


def _read_rule(index: int, value: object) -> Rule:
    where = f"rule {index + 1}"
    given = _object(value, where, _RULE_FIELDS)
    pattern, strategy, params = given.get("tensors"), given.get("strategy"), given.get("params", {})
    if not isinstance(pattern, str) or _GLOB.fullmatch(pattern) is None:
        raise BadRecipeError(
            f"`tensors` of {where} is {pattern!r:.80}, not a glob of at most 256 ASCII characters",
            hint="give a glob of tensor names, such as `*.bias`",
        )
    if not isinstance(strategy, str):
        raise BadRecipeError(f"{where} has no `strategy`")
    if not isinstance(params, Mapping):
        raise BadRecipeError(f"`params` of {where} is not an object of names and values")
    return Rule(pattern, Step.of(strategy, params, given.get("version")))


def _require_choice(name: str, value: object) -> None:
    choices = _CHOICES[name]
    if not isinstance(value, str) or value not in choices:
        near = difflib.get_close_matches(str(value), choices, 1)
        hint = f"did you mean `{near[0]}`?" if near else None
        raise BadRecipeError(f"`{name}` is {value!r}, not one of {', '.join(choices)}", hint=hint)


def _require_digest(key: object, what: str) -> str:
    if not is_digest(key):
        raise BadRecipeError(
            f"{what} is keyed by {key!r:.80}, not by a contribution's full digest",
            hint="`conjoin status` shows the digests",
        )
    return str(key)


def _canonical_params(strategy: Strategy, given: Mapping[str, object]) -> dict[str, Any]:
    """Every parameter of `strategy` in canonical form, in declared order."""
    parsed = strategy.parse(given)
    result: dict[str, Any] = {}
    for parameter in strategy.parameters:
        value = parsed[parameter.name]
        if parameter.kind == "by-contribution":
            what = f"parameter `{parameter.name}` of {strategy.name}"
            keyed = {
                _require_digest(key, what): item if isinstance(item, str) else canonical_decimal(item)
                for key, item in (value or {}).items()
            }
            result[parameter.name] = MappingProxyType(dict(sorted(keyed.items())))
        else:
            result[parameter.name] = canonical_decimal(value) if isinstance(value, Fraction) else value
    return result


def _canonical_weights(given: Mapping[str, object]) -> dict[str, str]:
    weights: dict[str, str] = {}
    for key, value in sorted(given.items(), key=lambda item: str(item[0])):
        digest = _require_digest(key, "`weights`")
        try:
            number = parse_decimal(value, f"the weight of {digest[:12]}")
        except BadParameterError as cause:
            raise BadWeightError(cause.what, hint=cause.hint) from cause
        if number < 0:
            raise BadWeightError(
                f"the weight of {digest[:12]} is {value}, below 0", hint="a recipe's weights are 0 or more"
            )
        weights[digest] = canonical_decimal(number)
    return weights


def read_recipe(data: bytes) -> Recipe:
    """Read a recipe file: any JSON spelling, decimals kept as they are written.

    Raises:
        BadRecipeError: the bytes are not JSON; or see `Recipe.from_json`.
    """
    try:
        value = json.loads(data.decode("utf-8"), parse_float=str, parse_constant=str)
    except (ValueError, RecursionError) as cause:
        raise BadRecipeError(f"the recipe is not JSON: {canonical.unread(cause)}") from cause
    if isinstance(value, dict) and isinstance(value.get("recipe"), dict):
        raise BadRecipeError(
            "this is the receipt of a merge, and its recipe is a part of it",
            hint="write that part to a file: `jq .recipe conjoin.json > recipe.json`",
        )
    return Recipe.from_json(value)
