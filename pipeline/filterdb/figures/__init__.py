"""Frames and arrays in, matplotlib figures out.

Every function takes its data first and options by name, and returns a :class:`Drawing`: the figure, the
numbers behind it as a tidy frame, and a caption. Nothing here reads a file or touches pyplot's state.
"""

from __future__ import annotations

from filterdb.figures.components import covariance_image, eigenimages, explained_variance
from filterdb.figures.density import Densities, binned_densities, densities
from filterdb.figures.drawing import KINDS, Drawing
from filterdb.figures.drift import drift_boxes, drift_heatmap, drift_intervals
from filterdb.figures.kernels import first_filters, layer_kernels
from filterdb.figures.palette import group_colours
from filterdb.figures.phenotype import PHENOTYPES, Rule, Shape, pair_counts, shape_of
from filterdb.figures.quality import degenerate_by_model, metrics_by_group
from filterdb.figures.ridges import ridges
from filterdb.figures.scatter import phenotypes, scatter_density
from filterdb.figures.style import COLUMN, DOUBLE, styled

__all__ = [
    "COLUMN",
    "DOUBLE",
    "KINDS",
    "PHENOTYPES",
    "Densities",
    "Drawing",
    "Rule",
    "Shape",
    "binned_densities",
    "covariance_image",
    "degenerate_by_model",
    "densities",
    "drift_boxes",
    "drift_heatmap",
    "drift_intervals",
    "eigenimages",
    "explained_variance",
    "first_filters",
    "group_colours",
    "layer_kernels",
    "metrics_by_group",
    "pair_counts",
    "phenotypes",
    "ridges",
    "scatter_density",
    "shape_of",
    "styled",
]
