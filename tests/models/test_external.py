import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

from models.base import Budget, GeneratorError, SilentMonitor, Unsupported
from models.external import External, read_configuration
from tests.places import REPOSITORY
from tests.waiting import LIMIT_SECONDS, wait_until

pytestmark = pytest.mark.slow

GENES = ["g1", "g2", "g3"]
COUNTS = np.array([[1, 0, 2], [3, 0, 0], [0, 4, 0], [0, 6, 1]], dtype=np.float32)
TYPES = ["B", "B", "T", "T"]

# The programs use h5py alone, like one whose environment has no current anndata.
FIT = """
import json, os, pathlib, sys
import h5py, numpy as np

def dense(group):
    cells = np.zeros(group.attrs["shape"])
    rows = np.repeat(np.arange(len(cells)), np.diff(group["indptr"][:]))
    cells[rows, group["indices"][:]] = group["data"][:]
    return cells

print("reading")
with h5py.File(sys.argv[1], "r") as file:
    x, counts = dense(file["X"]), dense(file["layers/counts"])
    genes = file["var/_index"].asstr()[:].tolist()
    names = file["obs/cell_type/categories"].asstr()[:]
    codes = file["obs/cell_type/codes"][:]
    columns = sorted(set(file["obs"]) - {"_index"})
means = {name: counts[codes == code].mean(axis=0).tolist() for code, name in enumerate(names)}
facts = {"x": x.tolist(), "genes": genes, "means": means, "columns": columns, "arguments": sys.argv[3:],
         "greeting": os.environ["GREETING"], "folder": os.getcwd()}
pathlib.Path(sys.argv[2], "facts.json").write_text(json.dumps(facts))
"""

# Each cell is the mean counts of its type, plus its row number in every gene, plus 100 × the seed.
SAMPLE = """
import json, pathlib, sys
import h5py, numpy as np

model, n_cells, cell_types, seed, output = sys.argv[1:]
facts = json.loads(pathlib.Path(model, "facts.json").read_text())
asked = pathlib.Path(cell_types).read_text().splitlines() if cell_types else ["B"] * int(n_cells)
cells = np.array([np.array(facts["means"][name]) + row + 100 * int(seed) for row, name in enumerate(asked)])
genes, labels = facts["genes"], None
EDIT
with h5py.File(output, "w") as file:
    text = h5py.string_dtype()
    file["X"] = cells
    tables = {"obs": {"_index": [str(row) for row in range(len(cells))]}, "var": {"_index": genes}}
    if labels:
        tables["obs"]["cell_type"] = labels
    for name, columns in tables.items():
        group = file.create_group(name)
        group.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "_index"})
        group.attrs["column-order"] = np.array([key for key in columns if key != "_index"], dtype=text)
        for key, values in columns.items():
            group[key] = np.array(values, dtype=text)
            group[key].attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
with pathlib.Path(model, "runs.txt").open("a") as runs:
    runs.write("x")
"""


def training_cells() -> AnnData:
    obs = pd.DataFrame({"cell_type": pd.Categorical(TYPES), "control_pool": True}, index=list("abcd"))
    adata = AnnData(csr_matrix(COUNTS * 10), obs=obs, var=pd.DataFrame(index=GENES))
    adata.layers["counts"] = csr_matrix(COUNTS)
    return adata


def write_program(folder: Path, *, fit_script: str = FIT, edit: str = "", **keys: object) -> Path:
    """Write two scripts and a configuration that runs them.

    `edit` is run before the cells are written; `keys` override those of the table, None leaves one out.
    """
    (folder / "fit.py").write_text(fit_script)
    (folder / "sample.py").write_text(SAMPLE.replace("EDIT", edit))
    budget = "{budget_amount} {budget_unit}"
    table = {
        "name": "demo",
        "space": "cp20k",
        "conditional": True,
        "fit": f"'{sys.executable}' fit.py {{train}} {{model}} {{seed}} {budget} --device={{device}}",
        "sample": f"'{sys.executable}' sample.py {{model}} {{n_cells}} {{cell_types}} {{seed}} {{output}}",
        "environment": {"GREETING": "good day"},
    } | keys
    path = folder / "demo.toml"
    lines = [f"{key} = {_toml(value)}" for key, value in table.items() if value is not None]
    path.write_text("\n".join(["[program]", *lines]))
    return path


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(entry)}" for key, entry in value.items()) + "}"
    return json.dumps(value)


def trained(folder: Path, *, budget: str = "1000000steps", **options: object) -> External:
    generator = External(config=str(write_program(folder, **options)))
    generator.fit(
        training_cells(), seed=5, device="cuda", budget=Budget.parse(budget), monitor=SilentMonitor()
    )
    return generator


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> External:
    return trained(tmp_path_factory.mktemp("program with a space"))


def saved_facts(generator: External, folder: Path) -> dict:
    generator.save(folder)
    return json.loads((folder / "model" / "facts.json").read_text())


def test_the_fit_command_gets_the_training_cells_and_its_arguments(demo, tmp_path):
    facts = saved_facts(demo, tmp_path)
    assert facts["x"] == (COUNTS * 10).tolist()
    assert facts["genes"] == GENES
    assert facts["means"] == {"B": [2, 0, 1], "T": [0, 5, 0.5]}
    assert facts["columns"] == ["cell_type"]
    assert facts["arguments"] == ["5", "1000000", "steps", "--device=cuda"]
    assert facts["greeting"] == "good day"
    assert facts["folder"] == str(Path(demo.config).parent)
    assert (tmp_path / "model" / "fit.log").read_text() == "reading\n"


def test_a_budget_that_is_no_whole_number_is_passed_as_it_is(tmp_path):
    (tmp_path / "saved").mkdir()
    facts = saved_facts(trained(tmp_path, budget="1.5epochs"), tmp_path / "saved")
    assert facts["arguments"][1:3] == ["1.5", "epochs"]


def test_sample_returns_the_cells_of_the_program_in_the_requested_order(demo):
    cells = demo.sample(3, cell_types=["T", "B", "T"], seed=2)
    expected = [[200, 205, 200.5], [203, 201, 202], [202, 207, 202.5]]
    assert isinstance(cells.X, csr_matrix)
    assert cells.X.dtype == np.float32
    assert cells.X.toarray().tolist() == expected
    assert list(cells.obs["cell_type"]) == ["T", "B", "T"]
    assert list(cells.obs["cell_type"].cat.categories) == ["B", "T"]
    assert list(cells.var_names) == GENES


def test_without_cell_types_the_program_gets_an_empty_argument(demo):
    cells = demo.sample(2, seed=0)
    assert cells.X.toarray().tolist() == [[2, 0, 1], [3, 1, 2]]
    assert cells.X.nnz == 5
    assert "cell_type" not in cells.obs


def test_chunks_are_pieces_of_one_run(demo, tmp_path):
    def n_runs(folder: str) -> int:
        (tmp_path / folder).mkdir()
        demo.save(tmp_path / folder)
        return len((tmp_path / folder / "model" / "runs.txt").read_text())

    types = ["T", "B", "B", "T", "T"]
    whole = demo.sample(5, cell_types=types, seed=1)
    before = n_runs("before")
    chunks = list(demo.sample_chunks(5, cell_types=types, seed=1, chunk_size=2))
    assert n_runs("after") == before + 1
    assert [chunk.n_obs for chunk in chunks] == [2, 2, 1]
    assert np.array_equal(np.vstack([chunk.X.toarray() for chunk in chunks]), whole.X.toarray())
    assert [name for chunk in chunks for name in chunk.obs["cell_type"]] == types
    assert [name for chunk in chunks for name in chunk.obs_names] == list("01234")


def test_a_loaded_program_samples_and_leaves_the_stored_model_alone(demo, tmp_path):
    demo.save(tmp_path)
    stored = sorted((path.name, path.read_bytes()) for path in (tmp_path / "model").iterdir())
    loaded = External.load(tmp_path)
    assert (loaded.name, loaded.space, loaded.conditional) == ("demo", "cp20k", True)
    assert loaded.config == demo.config
    expected = demo.sample(4, cell_types=TYPES, seed=3)
    cells = loaded.sample(4, cell_types=TYPES, seed=3)
    assert np.array_equal(cells.X.toarray(), expected.X.toarray())
    assert cells.obs.equals(expected.obs)
    assert sorted((path.name, path.read_bytes()) for path in (tmp_path / "model").iterdir()) == stored


def test_facts_come_from_the_configuration_and_stay_with_the_instance(tmp_path):
    options = {"space": "counts", "conditional": False, "draws_from": "training cells"}
    generator = External(config=str(write_program(tmp_path, **options)))
    assert (generator.name, generator.space, generator.conditional) == ("demo", "counts", False)
    assert (generator.draws_from, External.draws_from) == ("training cells", "model")
    assert (External.name, External.space, External.conditional) == ("external", "counts", False)
    assert External().name == "external"


def test_cell_types_that_cannot_be_had_are_refused_before_the_program_runs(demo, tmp_path):
    with pytest.raises(Unsupported, match=r"demo: cell type 'NK' was not in the training cells.*B, T"):
        demo.sample(2, cell_types=["B", "NK"], seed=0)
    with pytest.raises(GeneratorError, match="demo: 3 cells, but 2 cell types"):
        demo.sample(3, cell_types=["B", "B"], seed=0)
    unconditional = trained(tmp_path, conditional=False)
    with pytest.raises(Unsupported, match="demo: cannot draw cells of a given type"):
        unconditional.sample(1, cell_types=["B"], seed=0)


def test_a_failing_command_is_named_with_its_code_and_last_line(tmp_path, caplog):
    fit_script = "import sys; print('step 1', flush=True); sys.exit('out of luck')"
    with pytest.raises(GeneratorError, match=r"^demo: `.* fit\.py .*` ended with code 1: out of luck$"):
        trained(tmp_path, fit_script=fit_script)
    assert "demo: the last lines of fit.log:\nstep 1\nout of luck" in caplog.text
    with pytest.raises(GeneratorError, match=r"ended with code 7: \(it wrote nothing\)$"):
        trained(tmp_path, fit_script="import sys; sys.exit(7)")
    with pytest.raises(GeneratorError, match="ended with code -9: "):
        trained(tmp_path, fit_script="import os; os.kill(os.getpid(), 9)")


def test_a_command_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(GeneratorError, match=r"demo: cannot start `no-such-program` \(fit\): No such file"):
        trained(tmp_path, fit="no-such-program {train}")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ("sys.exit()", "the sample command ended well but wrote no file to {output}"),
        ("pathlib.Path(output).write_text('hello'); sys.exit()", "{output} is no readable .h5ad file: "),
        ("h5py.File(output, 'w')['X'] = cells; sys.exit()", "{output} is no readable .h5ad file: "),
        ("cells = cells[1:]", "2 cells asked, 1 written to {output}"),
        ("genes, cells = genes[1:], cells[:, 1:]", "the 2 var_names in {output} are not the 3 of the"),
        ("genes = genes[::-1]", "the 3 var_names in {output} are not the 3 of the"),
        ("cells[1, 0] = np.nan", "X in {output} has NaN or infinite values"),
        ("cells[1, 0] = -np.inf", "X in {output} has NaN or infinite values"),
        ("labels = ['B', 'T']", 'obs["cell_type"] in {output} is not as asked in {cell_types}'),
    ],
)
def test_wrong_output_is_named(tmp_path, edit, message):
    generator = trained(tmp_path, edit=edit)
    with pytest.raises(GeneratorError, match="^" + re.escape(f"demo: {message}")):
        generator.sample(2, cell_types=["T", "B"], seed=0)


def test_cell_types_that_the_program_reports_are_kept_and_checked(tmp_path):
    generator = trained(tmp_path, edit="labels = ['T', 'B']", conditional=False)
    assert list(generator.sample(2, seed=0).obs["cell_type"]) == ["T", "B"]
    other = trained(tmp_path, edit="labels = ['T', 'Mast']", conditional=False)
    with pytest.raises(GeneratorError, match=r"cell type 'Mast' in \{output\} is none of the training cells"):
        other.sample(2, seed=0)


def test_stored_zeros_do_not_count_as_density(tmp_path):
    edit = """
import anndata, pandas, scipy.sparse
stored = scipy.sparse.csr_matrix(np.ones((2, 3)))
stored.data[:2] = 0
anndata.AnnData(stored, var=pandas.DataFrame(index=genes)).write_h5ad(output)
sys.exit()
"""
    matrix = trained(tmp_path, edit=edit).sample(2, seed=0).X
    assert matrix.toarray().tolist() == [[0, 0, 1], [1, 1, 1]]
    assert (matrix.nnz, matrix.dtype) == (4, np.float32)


def test_nothing_is_done_without_a_configuration_or_training(tmp_path):
    with pytest.raises(GeneratorError, match="external: no program is configured; set config"):
        External().fit(training_cells(), seed=0, budget=Budget(1, "steps"), monitor=SilentMonitor())
    with pytest.raises(GeneratorError, match="demo: nothing to draw from yet; call fit first"):
        External(config=str(write_program(tmp_path))).sample(1, seed=0)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"sample": None}, "program.sample: Field required"),
        ({"spaec": "counts"}, "program.spaec: Extra inputs are not permitted"),
        ({"space": "tpm"}, "program.space: Input should be 'counts', 'cp20k' or 'log_cp20k'"),
        ({"conditional": "yes"}, "program.conditional: Input should be a valid boolean"),
        (
            {"fit": "train {output}"},
            "program.fit: Value error, unknown {output}; choose from {train}, {model}",
        ),
        ({"fit": "train {train} {"}, "program.fit: Value error, "),
        ({"fit": "train 'it"}, "program.fit: Value error, No closing quotation"),
        ({"sample": " "}, "program.sample: Value error, the command is empty"),
        ({"working_directory": "nowhere"}, "working_directory "),
    ],
)
def test_wrong_configurations_are_named(tmp_path, keys, message):
    path = write_program(tmp_path, **keys)
    with pytest.raises(GeneratorError, match="^" + re.escape(f"external: {path}: {message}")) as caught:
        External(config=str(path))
    assert "\n" not in str(caught.value)


def test_unreadable_configurations_are_named(tmp_path):
    with pytest.raises(GeneratorError, match=r"cannot read .*none.toml: No such file.*; check the path"):
        External(config=str(tmp_path / "none.toml"))
    (tmp_path / "broken.toml").write_text("[program\n")
    with pytest.raises(GeneratorError, match=r"broken.toml is not valid TOML"):
        External(config=str(tmp_path / "broken.toml"))


# A program with a child of its own, as `conda run` has; both would go on for long.
SLEEPERS = """
import os, pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path("pids.part").write_text(f"{os.getpid()} {child.pid}")
os.rename("pids.part", "pids")
END
"""


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_the_program_and_its_children_end_with_the_harness(tmp_path, sent):
    path = write_program(tmp_path, fit_script=SLEEPERS.replace("END", "time.sleep(600)"))
    harness = f"""
import sys
sys.path[:0] = {sys.path!r}
from tests.models.test_external import External, training_cells, Budget, SilentMonitor
External(config={str(path)!r}).fit(
    training_cells(), seed=0, budget=Budget(1, "steps"), monitor=SilentMonitor())
"""
    process = subprocess.Popen(
        [sys.executable, "-c", harness],
        cwd=REPOSITORY,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stderr=subprocess.DEVNULL,
    )
    wait_until((tmp_path / "pids").exists)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert all(map(is_running, pids))
    os.kill(process.pid, sent)
    process.wait(timeout=LIMIT_SECONDS)
    wait_until(lambda: not any(map(is_running, pids)))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_children_left_behind_by_a_program_that_ended_are_killed(tmp_path):
    with pytest.raises(GeneratorError, match="ended with code 3"):
        trained(tmp_path, fit_script=SLEEPERS.replace("END", "sys.exit(3)"))
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    wait_until(lambda: not any(map(is_running, pids)))


def test_the_example_for_the_original_scgan_is_a_valid_configuration():
    program = read_configuration(REPOSITORY / "docs" / "examples" / "scgan_container.toml")
    assert (program.space, program.conditional) == ("cp20k", False)


def test_the_configurations_text_is_part_of_what_decides_the_outcome(tmp_path):
    file = tmp_path / "program.toml"
    file.write_text('[program]\nname = "x"\nspace = "counts"\nconditional = false\nfit = "a"\nsample = "b"\n')
    assert 'name = "x"' in External(config=str(file)).content()
    assert External().content() == ""
