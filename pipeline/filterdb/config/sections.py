"""The sections of a configuration, one a stage."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from filterdb.config.values import as_bytes, as_kernel, as_list
from filterdb.types import Kernel


class Section(BaseModel):
    """Settings that belong together; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class ExtractConfig(Section):
    """How filters are extracted."""

    kernel: Annotated[Kernel, BeforeValidator(as_kernel)] = Kernel(3, 3)
    compression: Literal["none", "gzip"] = "none"
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 600.0
    memory: Annotated[Annotated[int, Field(ge=1)] | Literal["auto"], BeforeValidator(as_bytes)] = "auto"


class RelabelRule(Section):
    """Which labels of a column count as another one.

    Parameters
    ----------
    column
        A column of text.
    contains, equals
        A part of the labels, or all of it; one of the two. Capital letters matter.
    to
        What they become.
    """

    column: Annotated[str, Field(min_length=1)]
    contains: Annotated[str, Field(min_length=1)] | None = None
    equals: str | None = None
    to: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _looks_for_one(self) -> Self:
        if (self.contains is None) == (self.equals is None):
            raise ValueError("either contains or equals")
        return self


class LabelsConfig(Section):
    """Where the labels of layers begin; ``docs/metrics.md`` has the rules.

    Parameters
    ----------
    low_entropy
        A layer of a lower variance entropy has low diversity.
    random_margin
        How far below T_H a layer already counts as degenerate.
    sparse
        The sparsity from which a layer of low diversity is degenerate.
    """

    low_entropy: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5
    random_margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.02
    sparse: Annotated[float, Field(ge=0, le=1)] = 0.14


class AnalyzeConfig(Section):
    """What is computed from a data set.

    Parameters
    ----------
    relabel
        Labels that count as others, for everything that is computed.
    by
        Axes: columns, ``depth_decile`` or expressions.
    combine_with
        A second axis that every one of them is combined with.
    where
        An expression; records for which it is not true belong to no group.
    policy
        ``paper``: the bins divide the range of all coefficients, and a component weighs what it explains.
        ``fixed``: they divide -3 to 3, and all components weigh the same. That of a given basis, else
        ``paper``, where not said.
    basis
        ``all``: fitted to all records. ``subset``: to those that ``where`` selects, whose range counts.
        Else a ``basis.json``, whose coordinates, bins and weights are used as they are.
    bins
        Bins a component; those of a given basis, else 70, where not said.
    measure
        How two groups are compared.
    weighting
        What counts alike in a group.
    seed, permutations, draws
        Of the uncertainty.
    labels
        Where the labels of layers begin.
    """

    relabel: tuple[RelabelRule, ...] = ()
    by: Annotated[tuple[str, ...], BeforeValidator(as_list)] = ("Task", "Visual Category", "depth_decile")
    combine_with: str | None = None
    where: str | None = None
    policy: Literal["paper", "fixed"] | None = None
    basis: Annotated[str, Field(min_length=1)] = "all"
    bins: Annotated[int, Field(ge=2, le=10_000)] | None = None
    measure: Literal["paper", "jensen_shannon", "wasserstein"] = "paper"
    weighting: Literal["filters", "layers", "models"] = "filters"
    seed: Annotated[int, Field(ge=0)] = 0
    permutations: Annotated[int, Field(ge=1, le=1_000_000)] = 999
    draws: Annotated[int, Field(ge=1, le=1_000_000)] = 999
    labels: LabelsConfig = LabelsConfig()


class FiguresConfig(Section):
    """How figures are drawn.

    Parameters
    ----------
    width
        Of the page that they are for: one ``column``, or ``double``.
    ridges
        ``bins``: from the cube. ``exact``: from every filter. ``auto``: exact up to ten million filters.
    groups
        How many groups a figure shows at most.
    models
        Models whose filters are shown; those with the largest and the smallest share of degenerate layers
        where none is named.
    dpi
        Pixels an inch, of the PNG.
    """

    width: Literal["column", "double"] = "double"
    ridges: Literal["auto", "bins", "exact"] = "auto"
    groups: Annotated[int, Field(ge=2, le=60)] = 20
    models: Annotated[tuple[str, ...], BeforeValidator(as_list)] = ()
    dpi: Annotated[int, Field(ge=50, le=1200)] = 300


class SaturationConfig(Section):
    """How saturation is computed; ``docs/probes.md`` has the rules."""

    delta: Annotated[float, Field(gt=0, le=1)] = 0.99
    pooling: str = "channelwise"
    rule: str = "plain"
    steps: str = "last"


class SparsityConfig(Section):
    """How the sparsity score is computed; ``docs/probes.md`` has the rules."""

    pooling: str = "flatten"
    rule: str = "plain"
    steps: str = "last"
    trees: Annotated[int, Field(ge=1)] = 1
    forests: Annotated[int, Field(ge=1)] = 1
    shuffles: Annotated[int, Field(ge=0)] = 0
    forest_seed: Annotated[int, Field(ge=0)] = 2
    clusters: bool = True


class ProbeConfig(Section):
    """How models are run over data.

    Parameters
    ----------
    data
        An ``.npz`` or ``.npy`` file, or a folder of images; scikit-learn's digits where not given.
    labels
        Labels of the rows; those beside the data where not given.
    layers, kind
        Which layers are looked at: by name, or by kind.
    batch, limit, seed
        Rows at once, most rows to use, and what draws are made by, but for those of forests and clusters.
    shuffle
        Draw the order of the rows, for CKA.
    size, normalize, resize
        What becomes of images; only where data is images can it be said.
    activations
        Bytes that the activations of a batch may take.
    threads
        Of onnxruntime, for one model; in a zoo, models run side by side, each in one thread.
    timeout, memory
        What one model of a zoo may cost: seconds, and bytes of its process.
    saturation, sparsity
        What only one of the probes has.
    """

    data: str | None = None
    labels: str | None = None
    layers: Annotated[tuple[str, ...], BeforeValidator(as_list)] = ()
    kind: str | None = None
    batch: Annotated[int, Field(ge=1)] = 64
    limit: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    shuffle: bool = True
    size: str | None = None
    normalize: str | None = None
    resize: str | None = None
    activations: Annotated[Annotated[int, Field(ge=1)], BeforeValidator(as_bytes)] = 1 << 30
    threads: Annotated[int, Field(ge=0)] = 0
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 600.0
    memory: Annotated[Annotated[int, Field(ge=1)] | Literal["auto"], BeforeValidator(as_bytes)] = "auto"
    saturation: SaturationConfig = SaturationConfig()
    sparsity: SparsityConfig = SparsityConfig()
