import pytest

from reports.remarks import alike, one_by_one, remarks
from tests.reports.run_view import built, make_run_view
from tests.reports.test_table import score_of

LOST = "counted at its worst {}, which is lost: {} test and {} synthetic cells"


@pytest.mark.parametrize(
    ("note", "things"),
    [
        (LOST.format("B cells, naive", 129, 0), [("lost, and counted at its worst,", "B cells, naive")]),
        (
            "measured against all synthetic cells B, which is lost: 20 test and 3 synthetic cells",
            [("lost, and measured against all synthetic cells,", "B")],
        ),
        ("0 for B cells: no synthetic cells", [("0 for lack of synthetic cells", "B cells")]),
        (
            "lost types: CD4+/CD25 T Reg (12 test cells), B (2 test cells)",
            [("never called", "CD4+/CD25 T Reg"), ("never called", "B")],
        ),
        ("3 cells are odd", [("3 cells are odd", None)]),
    ],
)
def test_notes_on_lost_types_are_told_apart(note, things):
    assert one_by_one(note) == things


def test_types_lost_in_as_many_seeds_share_a_line_whatever_their_numbers():
    view = make_run_view()
    lost = [("B", "Mega"), ("B", "Dendritic"), ("B", "Mega", "Dendritic")]
    for seed, names in enumerate(lost):
        notes = [LOST.format(name, 20, seed) for name in names]
        score_of(view, "activa", "mmd", seed)["notes"] = [*notes, "3 cells are odd"]
        score_of(view, "activa", "cd", seed)["notes"] = notes
    score_of(view, "real", "mmd", 1)["notes"] = ["lost types: Mega (2 test cells)"]
    said = remarks(built(view), metrics=["mmd", "cd"], warnings=False)
    assert said == {
        "lost, and counted at its worst, in 3 of 3 seeds: B": ["activa"],
        "lost, and counted at its worst, in 2 of 3 seeds: Dendritic, Mega": ["activa"],
        "mmd: 3 cells are odd": ["activa"],
        "mmd: never called in 1 of 3 seeds: Mega": ["real"],
    }


def test_what_differs_in_numbers_alone_is_said_once_from_where_to_where():
    weigh = "scgan: initial statistics weigh {}%: {{estimated}} anew"
    view = make_run_view()
    for seed, share in enumerate((13, 8, 22)):
        (record,) = [
            record
            for record in view["records"]
            if record["job"]["model"] == "scgan"
            and record["job"]["seed"] == seed
            and record["job"]["experiment"]["kind"] == "main"
        ]
        record["warnings"] = [weigh.format(share), "bf16 is slow"]
    said = remarks(built(view), metrics=[], warnings=True)
    assert said["scgan: initial statistics weigh 8 to 22%: {estimated} anew"] == ["scgan"]
    assert said["bf16 is slow"] == ["scgan"]
    assert alike(["bf16 1.5 s", "fp32 1.5 s", "bf16 2 s"]) == ["bf16 1.5 to 2 s", "fp32 1.5 s"]
