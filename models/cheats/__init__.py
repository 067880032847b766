"""Cheats: fakes that a careless table would praise, to put every column to the test.

`SUITE` names the twelve of them; ``--models cheats`` runs them. Two are controls of every run: copies of
training cells (`memorise`) and independent Poisson counts (`poisson`). None of them trains for longer than a
baseline, and each is right in one respect alone:

- `models.cheats.real_parts`: training cells under other labels, beside noise, or with noise in most genes;
- `models.cheats.flat`: the mean of each type, nothing at all, library sizes alone;
- `models.cheats.fitted`: training cells decoded from a factor model, draws that come in near-duplicates;
- `models.cheats.forest_rejection`: draws that a forest of the judge's kind takes for real cells;
- `models.cheats.forger`: cells that are right on the principal components alone.

``docs/cheats.md`` tells which column catches which.
"""

SUITE = (
    "memorise",
    "reconstruction",
    "mean_cell",
    "empty_cells",
    "poisson",
    "permuted_labels",
    "half_noise",
    "component_forger",
    "forest_rejection",
    "near_duplicates",
    "variable_genes_only",
    "library_sizes_only",
)
"""Registered names of the twelve, in the order of the specification."""
