"""Neighbours, markers and classifier of the real cells against independent computations, and their cache."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metrics import training_evidence
from metrics.declaration import NotApplicable
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.evidence_cache import EvidenceCache, fingerprint, remove_least_recently_used
from metrics.marker_genes import log_fold_changes, rank_sum_scores
from metrics.neighbours import nearest, radii
from metrics.spaces import as_csr
from metrics.type_classifier import TypeClassifier
from tests.conftest import make_prepared


@pytest.fixture(scope="module")
def real():
    return RealEvidence.from_adata(make_prepared(), seed=0)


def test_nearest_cells_and_radii_are_those_of_all_distances():
    rng = np.random.default_rng(0)
    points, among = rng.normal(size=(40, 7)) + 1e4, rng.normal(size=(90, 7)) + 1e4
    points[3] = among[5]
    found, distances = nearest(points, among), cdist(points, among)
    np.testing.assert_array_equal(found.rows, distances.argmin(axis=1))
    np.testing.assert_allclose(found.distances, distances.min(axis=1), atol=1e-9)
    assert found.distances[3] == 0
    np.testing.assert_allclose(found.second_distances, np.sort(distances, axis=1)[:, 1], atol=1e-9)
    assert nearest(points, among[:1]).second_distances.tolist() == [np.inf] * 40
    for k in (1, 5, 39):
        expected = np.sort(cdist(points, points), axis=1)[:, k]
        np.testing.assert_allclose(radii(points, k), expected, rtol=1e-9)
    with pytest.raises(NotApplicable, match="40 cells; the 40 nearest others of a cell need 41"):
        radii(points, 40)


def test_neighbours_of_the_test_cells(real):
    train = np.asarray(real.pca.transform(real.train_cells))
    expected = cdist(real.pca_scores, train)
    np.testing.assert_allclose(real.train_pca_scores, train, rtol=1e-6)
    np.testing.assert_allclose(real.test_to_train.distances, expected.min(axis=1), rtol=1e-5)


def test_copies_of_training_cells_lie_at_distance_0(real):
    sample = SampleEvidence(real, real.train_counts[:30], space="counts")
    assert sample.to_train.distances.max() < 1e-4
    assert sample.to_train.rows.tolist() == list(range(30))


def test_called_types_are_those_of_a_logistic_regression(real):
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(real.train_pca_scores, real.train_types)
    np.testing.assert_array_equal(real.test_calls, model.predict(real.pca_scores))
    assert np.mean(real.test_calls == real.test_types) > 0.9
    sample = SampleEvidence(real, real.train_counts[:30], space="counts")
    np.testing.assert_array_equal(sample.calls, model.predict(real.train_pca_scores[:30]))


def test_two_types_are_called_as_well():
    rng = np.random.default_rng(0)
    points, types = rng.normal(size=(60, 3)), rng.choice(["B", "T"], 60)
    points[types == "T", 0] += 3
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(points, types)
    np.testing.assert_array_equal(TypeClassifier.fit(points, types).call(points), model.predict(points))


def test_one_type_has_neither_markers_nor_calls():
    adata = make_prepared()
    adata.obs["cell_type"] = "all"
    real = RealEvidence.from_adata(adata, seed=0)
    for name in ("markers", "test_calls", "cd_genes"):
        with pytest.raises(NotApplicable, match="at least two"):
            getattr(real, name)


def test_markers_are_all_genes_by_falling_score(real):
    names, scores = rank_sum_scores(real.train_cells, real.train_types)
    assert list(real.markers) == names.tolist() == ["alpha", "beta", "gamma"]
    for name, row in zip(names, scores, strict=True):
        markers = real.markers[name]
        np.testing.assert_array_equal(np.sort(markers.genes), np.arange(60))
        np.testing.assert_allclose(markers.scores, row[markers.genes])
        assert (np.diff(markers.scores) <= 0).all()
    scaled = np.expm1(real.train_cells.toarray().astype(np.float64))
    inside = real.train_types == "beta"
    expected = np.log2(scaled[inside].mean(axis=0) + 1) - np.log2(scaled[~inside].mean(axis=0) + 1)
    markers = real.markers["beta"]
    np.testing.assert_allclose(markers.log_fold_changes, expected[markers.genes], atol=1e-4)


def test_log_fold_changes_by_hand():
    cells = as_csr(np.array([[3.0, 0.0], [5.0, 0.0], [0.0, 7.0]]))
    changes = log_fold_changes(cells, np.array(["A", "A", "B"]), np.array(["A", "B", "C"]))
    np.testing.assert_allclose(changes, [[np.log2(5), -3], [-np.log2(5), 3], [0, 0]])


def everything_of(real):
    markers = [part for m in real.markers.values() for part in vars(m).values()]
    neighbours = [real.test_to_train.distances, real.test_to_train.rows]
    return [real.pca_scores, real.train_pca_scores, real.cd_genes, real.test_calls, *markers, *neighbours]


def test_what_is_expensive_is_computed_once_and_comes_back_the_same(tmp_path, monkeypatch, real):
    first = everything_of(RealEvidence.from_adata(make_prepared(), seed=0, cache_folder=tmp_path))
    for fresh, kept in zip(everything_of(real), first, strict=True):
        np.testing.assert_array_equal(fresh, kept)

    def never(*arguments, **options):
        raise AssertionError("computed again")

    for name in ("fitted_pca", "rank_sum_scores", "log_fold_changes"):
        monkeypatch.setattr(training_evidence, name, never)
    monkeypatch.setattr(TypeClassifier, "fit", never)
    monkeypatch.setattr("metrics.evidence.nearest", never)
    again = everything_of(RealEvidence.from_adata(make_prepared(), seed=0, cache_folder=tmp_path))
    for kept, read in zip(first, again, strict=True):
        np.testing.assert_array_equal(kept, read)


@pytest.mark.parametrize("change", ["cells", "labels", "seed", "protocol", "pool", "test cells"])
def test_whatever_matters_has_a_cache_of_its_own(tmp_path, change):
    def folder(adata, **options):
        given = {"seed": 0, "protocol": "activa2022", "cache_folder": tmp_path} | options
        real = RealEvidence.from_adata(adata, **given)
        real.test_to_train  # noqa: B018
        return {path.parent for path in tmp_path.rglob("*.npz")}

    before = folder(make_prepared())
    adata, options = make_prepared(), {}
    if change in ("cells", "test cells"):
        row = np.flatnonzero(adata.obs["split"] == ("test" if change == "test cells" else "train"))[0]
        counts = adata.layers["counts"].tolil()
        counts[row, 0] += 1
        adata.layers["counts"] = counts.tocsr()
    elif change == "labels":
        adata.obs["cell_type"] = adata.obs["cell_type"].to_numpy()[::-1]
    elif change == "pool":
        adata.obs["control_pool"] = False
    else:
        options = {"seed": 1} if change == "seed" else {"protocol": "strict"}
    assert folder(make_prepared()) == before
    assert folder(adata, **options) > before


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut short"])
def test_a_spoilt_file_is_replaced(tmp_path, content):
    cache = EvidenceCache(tmp_path, "key")
    assert cache.arrays("pca", lambda: {"a": np.arange(3)})["a"].tolist() == [0, 1, 2]
    (file,) = (tmp_path / "key").iterdir()
    file.write_bytes(content)
    assert cache.arrays("pca", lambda: {"a": np.arange(4)})["a"].tolist() == [0, 1, 2, 3]
    assert cache.arrays("pca", lambda: {})["a"].tolist() == [0, 1, 2, 3]
    assert [path.name for path in (tmp_path / "key").iterdir()] == ["pca.npz"]


def test_of_too_much_what_was_used_longest_ago_goes_first(tmp_path):
    version = tmp_path / "evidence" / "version"
    caches = [EvidenceCache(version, key) for key in ("old/test cells", "read", "new")]
    for age, cache in enumerate(caches):
        cache.arrays("pca", lambda: {"a": np.zeros(1000)})
        os.utime(cache.folder / "pca.npz", ns=(age, age))
    caches[1].arrays("pca", dict)
    size = (caches[1].folder / "pca.npz").stat().st_size
    remove_least_recently_used(tmp_path / "evidence", most_bytes=3 * size)
    assert len(list(version.rglob("*.npz"))) == 3
    remove_least_recently_used(tmp_path / "evidence", most_bytes=size)
    assert [path.relative_to(version).as_posix() for path in version.rglob("*")] == ["read", "read/pca.npz"]
    remove_least_recently_used(tmp_path / "evidence", most_bytes=0)
    assert list(tmp_path.rglob("*")) == [tmp_path / "evidence"]
    remove_least_recently_used(tmp_path / "nowhere", most_bytes=0)


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path):
    (tmp_path / "key").write_text("a file where the folder should be")
    cache = EvidenceCache(tmp_path, "key")
    assert cache.arrays("pca", lambda: {"a": np.arange(3)})["a"].tolist() == [0, 1, 2]


def test_who_wants_the_same_at_the_same_time_waits_and_finds_it(tmp_path):
    """Locks are of open files, so that here threads stand for processes."""
    begun = []

    def compute():
        begun.append(threading.current_thread().name)
        time.sleep(0.3)
        return {"a": np.arange(3)}

    def ask(_number):
        return EvidenceCache(tmp_path, "key").arrays("pca", compute)["a"].tolist()

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(ask, range(4))) == [[0, 1, 2]] * 4
    assert len(begun) == 1
    assert [path.name for path in (tmp_path / "key").iterdir()] == ["pca.npz"]


def test_one_that_fails_leaves_it_to_the_next(tmp_path):
    cache = EvidenceCache(tmp_path, "key")

    def fail():
        raise NotApplicable("too few cells")

    with pytest.raises(NotApplicable):
        cache.arrays("pca", fail)
    assert cache.arrays("pca", lambda: {"a": np.arange(3)})["a"].tolist() == [0, 1, 2]


def test_fingerprints_tell_contents_apart():
    cells = as_csr(np.array([[1.0, 0.0], [0.0, 2.0]]))
    same = as_csr(np.array([[1.0, 0.0], [0.0, 2.0]]))
    assert fingerprint(cells, None, "strict") == fingerprint(same, None, "strict")
    others = [
        fingerprint(as_csr(np.array([[1.0, 0.0], [2.0, 0.0]])), None, "strict"),
        fingerprint(cells, None, "other"),
        fingerprint(cells, np.array(["None"]), "strict"),
        fingerprint(None, cells, "strict"),
    ]
    assert len({fingerprint(cells, None, "strict"), *others}) == 5
