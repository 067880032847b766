"""The trees of a random forest, compiled: scikit-learn's, from the same random numbers, to the last bit.

For each gene that a split looks at, scikit-learn sorts the cells of the node anew, and on few cells it spends
as long in Python as in the tree. Here the values of each gene are sorted once for all trees and folds, and
zeros, which are most of them, are not looked at. `tests/metrics/test_forest.py` compares the two.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

from metrics.arrays import Floats, Ints

Rows: TypeAlias = NDArray[np.int32]
Values: TypeAlias = NDArray[np.float32]

# Two values that are no farther apart are one.
SAME_VALUE = np.float32(1e-7)
ZERO = np.float32(0.0)
PURE = float(np.finfo(np.float64).eps)
NOTHING = -1
# So few cells are looked up in a gene, one by one, if the gene has more values than this for each of them.
FEW = 64
VALUES_PER_CELL = 4
WORD = 32


def _compiled(function: Any) -> Any:
    """Compile a function, and keep what is compiled for the next process where there is a place for it."""
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:
        # Numba's own word for a package and a home folder that cannot be written to.
        return njit(nogil=True)(function)


class Columns(NamedTuple):
    """Cells × genes, gene by gene, without zeros.

    Parameters
    ----------
    starts
        Start of each gene's values, and end of the last gene's.
    rows, values
        Cell and value of each entry, for each gene by cell.
    sorted_rows, sorted_values
        Cell and value of each entry, for each gene by value.
    words
        Genes × groups of 32 cells: a bit for each cell that has a value, the first cell's the lowest, and
        above these 32 bits the place of the group's first value in `values`.
    """

    starts: Ints
    rows: Rows
    values: Values
    sorted_rows: Rows
    sorted_values: Values
    words: Ints


class _Memory(NamedTuple):
    """What the trees of a thread write to, one after another.

    Parameters
    ----------
    random
        State of the generator of random numbers.
    genes
        All genes, shuffled bit by bit as they are drawn.
    constants
        Genes known to be constant in the node and its children.
    node_of
        Node of each cell.
    members
        Places of the values of a gene that belong to the node's cells.
    column
        Value of each cell in the gene that splits; 0 at other times.
    """

    random: Ints
    genes: Ints
    constants: Ints
    node_of: Rows
    members: Ints
    column: Values


@_compiled
def _drawn(random: Ints, n: int) -> int:
    """Draw from 0 to n − 1: 31 bits of a xorshift generator (Marsaglia 2003), modulo n."""
    state = random[0]
    state ^= (state << 13) & 0xFFFFFFFF
    state ^= state >> 17
    state ^= (state << 5) & 0xFFFFFFFF
    random[0] = state
    return (state & 0x7FFFFFFF) % n


@_compiled
def _gini(ones: float, total: float) -> float:
    zeros = total - ones
    return 1.0 - (zeros * zeros + ones * ones) / (total * total)


@_compiled
def _number_of_ones(bits: int) -> int:
    bits = bits - ((bits >> 1) & 0x55555555)
    bits = (bits & 0x33333333) + ((bits >> 2) & 0x33333333)
    bits = (bits + (bits >> 4)) & 0x0F0F0F0F
    return ((bits * 0x01010101) & 0xFFFFFFFF) >> 24


@_compiled
def _members_of_few(cells: Ints, words: Ints, values: Values, members: Ints) -> int:
    """List the places of a gene's values that few cells have, ascending by value; return how many."""
    n = 0
    for row in cells:
        word, bit = words[row // WORD], np.int64(1) << (row % WORD)
        if word & bit:
            place = (word >> WORD) + _number_of_ones(word & (bit - 1))
            rank = n
            while rank > 0 and values[members[rank - 1]] > values[place]:
                members[rank] = members[rank - 1]
                rank -= 1
            members[rank] = place
            n += 1
    return n


@_compiled
def _members_of_node(start: int, end: int, rows: Rows, node: int, node_of: Rows, members: Ints) -> int:
    """List those of the places from `start` to `end` that belong to a node's cells; return how many."""
    n = 0
    for place in range(start, end):
        members[n] = place
        n += node_of[rows[place]] == node
    return n


@_compiled
def _is_constant(values: Values, members: Ints, has_zeros: bool) -> bool:
    if members.size == 0:
        return True
    low, high = values[members[0]], values[members[-1]]
    if has_zeros:
        low, high = min(low, ZERO), max(high, ZERO)
    return high <= low + SAME_VALUE


@_compiled
def _best_threshold(
    rows: Rows,
    values: Values,
    members: Ints,
    has_zeros: bool,
    weights: Floats,
    labels: Ints,
    total: float,
    ones: float,
    best: float,
) -> tuple[float, float, float, float]:
    """Find the threshold of a gene that leaves both sides purest, if it beats `best`.

    Returns the purity, the threshold, and the weight at or below it: of all cells and of class 1.
    """
    zero_weight, zero_ones = total, ones
    for place in members:
        row = rows[place]
        zero_weight -= weights[row]
        zero_ones -= weights[row] * labels[row]
    threshold, best_left, best_left_ones = 0.0, 0.0, 0.0
    left, left_ones, before = 0.0, 0.0, np.float32(np.inf)
    i = 0
    while i < members.size or has_zeros:
        if has_zeros and (i == members.size or values[members[i]] > ZERO):
            value, weight, weight_ones = ZERO, zero_weight, zero_ones
            has_zeros = False
        else:
            row = rows[members[i]]
            value, weight, weight_ones = values[members[i]], weights[row], weights[row] * labels[row]
            i += 1
        if value > before + SAME_VALUE:
            right = total - left
            purity = -right * _gini(ones - left_ones, right) - left * _gini(left_ones, left)
            if purity > best:
                best, best_left, best_left_ones = purity, left, left_ones
                threshold = np.float64(before) / 2.0 + np.float64(value) / 2.0
        left, left_ones, before = left + weight, left_ones + weight_ones, value
    return best, threshold, best_left, best_left_ones


@_compiled
def _best_split(
    columns: Columns,
    memory: _Memory,
    cells: Ints,
    node: int,
    weights: Floats,
    labels: Ints,
    total: float,
    ones: float,
    n_known: int,
    n_drawn: int,
) -> tuple[int, float, float, float, int]:
    """Draw genes without replacement until one is not constant, and at least `n_drawn`; find the best split.

    Genes that are known to be constant cost nothing but the draw. Returns the gene, or `NOTHING` if all are
    constant; the threshold; the weight at or below it, of all cells and of class 1; and how many genes
    are known to be constant now.
    """
    genes, constants = memory.genes, memory.constants
    best, best_gene, threshold, left, left_ones = -np.inf, NOTHING, 0.0, 0.0, 0.0
    # genes: known to be constant and drawn, known and not drawn, found to be constant, not drawn, drawn.
    n_visited, n_known_drawn, n_constant, n_left = 0, 0, n_known, genes.size
    while n_left > n_constant and (n_visited < n_drawn or n_visited <= n_constant - n_known + n_known_drawn):
        n_visited += 1
        n_found = n_constant - n_known
        drawn = n_known_drawn + _drawn(memory.random, n_left - n_found - n_known_drawn)
        if drawn < n_known:
            genes[n_known_drawn], genes[drawn] = genes[drawn], genes[n_known_drawn]
            n_known_drawn += 1
            continue
        drawn += n_found
        gene = genes[drawn]
        start, end = columns.starts[gene], columns.starts[gene + 1]
        if cells.size <= FEW and VALUES_PER_CELL * cells.size < end - start:
            rows, values = columns.rows, columns.values
            n = _members_of_few(cells, columns.words[gene], values, memory.members)
        else:
            rows, values = columns.sorted_rows, columns.sorted_values
            n = _members_of_node(start, end, rows, node, memory.node_of, memory.members)
        members, has_zeros = memory.members[:n], n < cells.size
        if _is_constant(values, members, has_zeros):
            genes[drawn], genes[n_constant] = genes[n_constant], genes[drawn]
            n_constant += 1
            continue
        n_left -= 1
        genes[n_left], genes[drawn] = genes[drawn], genes[n_left]
        purity, at, below, below_ones = _best_threshold(
            rows, values, members, has_zeros, weights, labels, total, ones, best
        )
        if purity > best:
            best, best_gene, threshold, left, left_ones = purity, gene, at, below, below_ones
    for i in range(n_known):
        genes[i] = constants[i]
    for i in range(n_known, n_constant):
        constants[i] = genes[i]
    return best_gene, threshold, left, left_ones, n_constant


@_compiled
def _lay_out(columns: Columns, gene: int, column: Values) -> None:
    for place in range(columns.starts[gene], columns.starts[gene + 1]):
        column[columns.rows[place]] = columns.values[place]


@_compiled
def _clear(columns: Columns, gene: int, column: Values) -> None:
    for place in range(columns.starts[gene], columns.starts[gene + 1]):
        column[columns.rows[place]] = ZERO


@_compiled
def _partition(cells: Ints, column: Values, threshold: float) -> int:
    """Put the cells at or below the threshold first; return how many they are."""
    start, end = 0, cells.size
    while start < end:
        if column[cells[start]] <= threshold:
            start += 1
        else:
            end -= 1
            cells[start], cells[end] = cells[end], cells[start]
    return end


@_compiled
def _grow(
    columns: Columns,
    memory: _Memory,
    cells: Ints,
    held_out: Ints,
    weights: Floats,
    labels: Ints,
    n_drawn: int,
    votes: Floats,
) -> None:
    """Grow one tree, depth first and left first, and let its leaves vote on the held-out cells in them.

    `votes` has a place for every cell; `cells` and `held_out` are put into another order.
    """
    whole = 0.0
    for row in cells:
        whole += weights[row]
    stack = np.empty((cells.size + 1, 5), np.int64)
    stack[0] = (0, cells.size, 0, held_out.size, 0)
    depth, node = 1, 0
    while depth:
        depth -= 1
        node += 1
        start, end, held_start, held_end, n_constant = stack[depth]
        here, held_here = cells[start:end], held_out[held_start:held_end]
        total, ones = 0.0, 0.0
        for row in here:
            memory.node_of[row] = node
            total += weights[row]
            ones += weights[row] * labels[row]
        impurity = _gini(ones, total)
        gene = NOTHING
        if here.size > 1 and impurity > PURE:
            gene, threshold, left, left_ones, n_constant = _best_split(
                columns, memory, here, node, weights, labels, total, ones, n_constant, n_drawn
            )
        if gene != NOTHING:
            right = total - left
            gain = impurity - right / total * _gini(ones - left_ones, right)
            gain -= left / total * _gini(left_ones, left)
            if total / whole * gain + PURE < 0:
                gene = NOTHING
        if gene == NOTHING:
            for row in held_here:
                votes[row] = ones / total
            continue
        _lay_out(columns, gene, memory.column)
        middle = start + _partition(here, memory.column, threshold)
        held_middle = held_start + _partition(held_here, memory.column, threshold)
        _clear(columns, gene, memory.column)
        stack[depth] = (middle, end, held_middle, held_end, n_constant)
        stack[depth + 1] = (start, middle, held_start, held_middle, n_constant)
        depth += 2


@_compiled
def votes_of_trees(
    columns: Columns, labels: Ints, weights: Floats, states: Ints, held_out: Ints, n_drawn: int
) -> Floats:
    """Grow trees until their leaves are pure, and let each vote on the held-out cells.

    Parameters
    ----------
    columns
        All cells, those to learn from and those held out.
    labels
        Class of each cell, 0 or 1.
    weights
        Trees × cells: how often a cell is in a tree's bootstrap sample; 0 for cells that are held out.
    states
        Start of each tree's random numbers, a state from 1 to 2³¹ − 1.
    held_out
        Rows of the cells to vote on.
    n_drawn
        Number of genes that a split looks at.

    Returns
    -------
    numpy.ndarray
        Trees × held-out cells: the share of class 1 in the leaf where the cell ends.
    """
    n_genes, n_cells = columns.starts.size - 1, labels.size
    memory = _Memory(
        np.empty(1, np.int64),
        np.empty(n_genes, np.int64),
        np.empty(n_genes, np.int64),
        np.empty(n_cells, np.int32),
        np.empty(n_cells + 1, np.int64),
        np.zeros(n_cells, np.float32),
    )
    cells, held = np.empty(n_cells + 1, np.int64), np.empty(held_out.size, np.int64)
    votes, of_cells = np.empty((states.size, held_out.size)), np.empty(n_cells)
    for tree in range(states.size):
        memory.random[0] = states[tree]
        for gene in range(n_genes):
            memory.genes[gene] = gene
        n_drawn_cells = 0
        for row in range(n_cells):
            memory.node_of[row] = NOTHING
            cells[n_drawn_cells] = row
            n_drawn_cells += weights[tree, row] > 0
        for i in range(held_out.size):
            held[i] = held_out[i]
        _grow(columns, memory, cells[:n_drawn_cells], held, weights[tree], labels, n_drawn, of_cells)
        for i in range(held_out.size):
            votes[tree, i] = of_cells[held_out[i]]
    return votes
