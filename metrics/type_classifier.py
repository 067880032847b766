"""One classifier of cell types for all generators, independent of every one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from metrics.arrays import Floats, Strings
from metrics.declaration import NotApplicable


@dataclass(frozen=True, eq=False)
class TypeClassifier:
    """Multinomial logistic regression on standardised principal components.

    Parameters
    ----------
    names
        The K types, sorted.
    mean, scale
        Mean and scale of each of the n_components components over the cells it learnt from.
    coefficients, intercepts
        K × n_components and K.
    """

    names: Strings
    mean: Floats
    scale: Floats
    coefficients: Floats
    intercepts: Floats

    @classmethod
    def fit(cls, points: Floats, types: Strings | None) -> Self:
        """Learn the types of cells.

        Parameters
        ----------
        points
            n_cells × n_components.
        types
            Label of each cell, or None.

        Raises
        ------
        NotApplicable
            With fewer than two types.
        """
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler

        if types is None or np.unique(types).size < 2:
            raise NotApplicable("calling cell types needs at least two of them among the training cells")
        scaler = StandardScaler().fit(points)
        model = LogisticRegression(max_iter=1000).fit(scaler.transform(points), types)
        coefficients, intercepts = model.coef_, model.intercept_
        if len(coefficients) == 1:
            # scikit-learn keeps the difference alone where there are two types.
            coefficients = np.concatenate([np.zeros_like(coefficients), coefficients])
            intercepts = np.concatenate([np.zeros_like(intercepts), intercepts])
        names = np.asarray(model.classes_, dtype=str)
        return cls(names, scaler.mean_, scaler.scale_, coefficients, intercepts)

    def call(self, points: Floats) -> Strings:
        """Return the likeliest type of each cell.

        Parameters
        ----------
        points
            n_cells × n_components.
        """
        evidence = (points - self.mean) / self.scale @ self.coefficients.T + self.intercepts
        return np.asarray(self.names[evidence.argmax(axis=1)])
