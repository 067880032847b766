"""What a run must do to stand beside a paper."""

import pytest

from bench.errors import RequestError
from bench.request.papers import papers_named, what_papers_take
from reports.papers import papers


def test_all_stands_for_every_paper():
    assert papers_named(["all"]) == tuple(papers())
    assert papers_named(["cfgen2026", "activa2022"]) == ("cfgen2026", "activa2022")
    assert papers_named([]) == ()


@pytest.mark.parametrize(
    ("names", "message"),
    [(["nature2019"], "unknown paper 'nature2019'"), (["cfgen2026", "cfgen2026"], "names one twice")],
)
def test_what_is_no_list_of_papers(names, message):
    with pytest.raises(RequestError, match=message):
        papers_named(names)


def test_a_paper_takes_its_models_metrics_and_protocols():
    taken = what_papers_take(["activa2022"])
    assert taken["models"] == ("activa", "scgan", "cscgan")
    assert set(taken["metrics"]) == {"rf_auc", "cd", "mmd", "augmentation_f1", "conditioner_f1"}
    assert taken["protocol"] == ("activa2022", "strict")


def test_what_is_not_here_is_left_out_and_what_stands_in_its_place_is_there():
    taken = what_papers_take(["groundgan2024"])
    # groundgan and sparsim are not here, real is a control, nb_copula stands in scdesign2's place.
    assert taken["models"] == ("scgan", "nb_copula")
    assert set(taken["metrics"]) == {"mmd", "rf_auc", "mixing"}
