"""Protocols: everything two scores must have in common to be comparable.

``strict`` is ours. ``activa2022`` and ``groundgan2024`` follow Heydari et al. 2022
(doi:10.1093/bioinformatics/btac095) and Zinati et al. 2024 (doi:10.1038/s41467-024-48516-6) and what their
authors' public code does.

``activa2022``: there is no public code of the three scores. What the paper leaves open is filled in here, and
differs from what the authors' notebooks do before their figures:

- The notebooks pass real and synthetic cells together through Seurat's anchor integration (3 000 variable
  features), scale them and fit one PCA on all. Integration removes the very difference that the metrics look
  for, so no protocol here integrates.
- The notebooks take no logarithm before that; here it is ``log_cp20k``. A forest hardly minds, but mmd and cd
  are other numbers.

``groundgan2024`` follows the evaluation's public code: genes by dispersion (Satija et al. 2015,
doi:10.1038/nbt.3192) on all cells, their counts alone scaled to 20 000, and what `metrics.mmd`,
`metrics.rf_auc` and `metrics.mixing` say. It differs in this:

- There the generators are trained on the 1000 genes; here on all, and the genes are taken of what they make.
- There the control compares two halves of 500 cells beside models that are compared at 1000. Here all have
  the same number, because mmd and the forest change with it: at 500 the V-statistic's floor is twice that at
  1000.
- Identical cells never lie on both sides of the forest's split; the forest is that of the other protocols.

For both:

- Cells that a generator declares to be ``counts`` are normalised to library size 20 000 like real cells,
  also where other cells are taken as they come.
- The 1000 genes are all genes where there are no more.
- A number of cells a side that the test split does not reach is the size of the test split; one that half of
  it does not reach is half of it where the control compares halves, for models and all controls alike.
- A protocol says nothing about metrics its paper does not have: on principal components these take those
  fitted on the training cells that are in no control.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

OBSERVED = "+observed"


@dataclass(frozen=True)
class Protocol:
    """A set of choices under which metrics are computed; values of different protocols do not compare.

    Parameters
    ----------
    name
        Name on the command line, in headings and in every stored score.
    genes
        Genes that are compared: all; the 1000 of highest dispersion among training and test cells; or the
        2000 that seurat_v3 finds most variable among the test cells.
    space
        Space in which cells are compared.
    rescale
        Whether normalised synthetic cells are rescaled to library size 20 000, or taken as they come.
    most_cells
        Cells a side, if the test split has as many; None for all test cells.
    pca_cells
        Cells that the components are fitted on: training cells that are in no control, all training and test
        cells, (in `metrics.rf_auc`) the classifier's training part, or the test cells that are compared.
    control
        What the control ``real`` is compared with the test cells: training cells, or one half of the test
        cells with the other.
    rf_auc_input, rf_auc_split
        What the forest sees: genes or principal components; and how it is held out: in five stratified folds,
        or in one part of 30 %, which is not stratified.
    mmd_input, mmd_bandwidth, mmd_kernel_weight
        Points between which distances are taken; whether h is the median distance to the 25 nearest
        neighbours or comes from bootstraps of the real cells, and 24; the weight of each of the three
        Gaussians.
    mixing
        Points among which LISI looks for neighbours: for 90 on principal components, for 89 on a
        two-dimensional t-SNE, or nowhere.
    scaled_over
        Whether cells are scaled over the chosen genes, or over all genes before these are chosen.
    n_components
        Number of principal components.
    centred
        Whether synthetic cells are projected onto the components after the means of the genes have been
        subtracted, as real ones always are.
    over_types
        Whether metrics are plain means over the types that cells are labelled with.
    observed
        Whether normalised expression is first turned into the counts a sequencer would see of it.
    """

    name: str
    genes: Literal["all", "variable_1000", "variable_2000_of_test"]
    space: Literal["log_cp20k", "cp20k", "log_cp10k"]
    rescale: bool
    most_cells: int | None
    pca_cells: Literal["train", "train_and_test", "classifier", "test"]
    control: Literal["train", "test_halves"]
    rf_auc_input: Literal["genes", "pca"]
    rf_auc_split: Literal["five_folds", "70/30"]
    mmd_input: Literal["pca", "genes"]
    mmd_bandwidth: Literal["neighbours", "bootstrap"]
    mmd_kernel_weight: float
    mixing: Literal["pca", "tsne"] | None
    scaled_over: Literal["chosen genes", "all genes"] = "chosen genes"
    n_components: int = 50
    centred: bool = True
    over_types: bool = False
    observed: bool = False

    @property
    def base(self) -> str:
        """Its name without ``+observed``."""
        return self.name.removesuffix(OBSERVED)

    def cells_a_side(self, available: int) -> int:
        """Return how many cells are compared where a side has so many."""
        return available if self.most_cells is None else min(self.most_cells, available)


STRICT = Protocol(
    name="strict",
    genes="all",
    space="log_cp20k",
    rescale=True,
    most_cells=2000,
    pca_cells="train",
    control="train",
    rf_auc_input="genes",
    rf_auc_split="five_folds",
    mmd_input="pca",
    mmd_bandwidth="neighbours",
    mmd_kernel_weight=1.0,
    mixing="pca",
)

CFGEN = replace(
    STRICT,
    name="cfgen2026",
    genes="variable_2000_of_test",
    space="log_cp10k",
    scaled_over="all genes",
    most_cells=None,
    pca_cells="test",
    n_components=30,
    over_types=True,
    mixing=None,
)

PROTOCOLS: dict[str, Protocol] = {
    "strict": STRICT,
    "activa2022": replace(
        STRICT, name="activa2022", rescale=False, most_cells=None, pca_cells="train_and_test", mixing=None
    ),
    "groundgan2024": replace(
        STRICT,
        name="groundgan2024",
        genes="variable_1000",
        space="cp20k",
        most_cells=1000,
        pca_cells="classifier",
        control="test_halves",
        rf_auc_input="pca",
        rf_auc_split="70/30",
        mmd_input="genes",
        mmd_bandwidth="bootstrap",
        mmd_kernel_weight=3.0,
        mixing="tsne",
    ),
    "cfgen2025": replace(CFGEN, name="cfgen2025", centred=False),
    "cfgen2026": CFGEN,
}

FOR_EVERY_METRIC = tuple(name for name, protocol in PROTOCOLS.items() if not protocol.over_types)
"""Those under which a metric is defined that says nothing else."""


def protocol_named(name: str) -> Protocol:
    """Return a protocol; ``strict+observed`` is ``strict`` in the ``observed`` space.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    base = PROTOCOLS.get(name.removesuffix(OBSERVED))
    if base is None:
        known = ", ".join(PROTOCOLS)
        raise ValueError(
            f"protocol {name!r} is unknown: choose from {known}, each also with {OBSERVED} at its end"
        )
    return replace(base, name=name, observed=True) if name.endswith(OBSERVED) else base
