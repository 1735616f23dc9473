"""The commands for labels: what they write and print is what the functions return."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zarr
from click.testing import CliRunner, Result

import chunkpyramid as cp
from chunkpyramid.cli.main import cli

LABELS = np.repeat(np.repeat(np.random.default_rng(3).integers(0, 12, (4, 6, 20)), 3, 0), 3, 1).astype(np.uint32)


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "labels.zarr"
    zarr.create_array(path, data=LABELS, chunks=(8, 8, 8))
    return str(path)


@pytest.fixture
def target(tmp_path: Path) -> str:
    return str(tmp_path / "target.zarr")


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["labels", *arguments])


def run(*arguments: str) -> str:
    result = invoke(*arguments)
    if result.exit_code:
        raise AssertionError(f"exit code {result.exit_code}: {result.output}") from result.exception
    return result.stdout


def voxels(path: str) -> np.ndarray:
    return np.asarray(cp.open_volume(path)[:])


def test_unique(source: str) -> None:
    labels, counts = np.unique(LABELS, return_counts=True)
    assert run("unique", source).split() == [str(label) for label in labels]
    lines = [f"{label} {count}" for label, count in zip(labels, counts, strict=True)]
    assert run("unique", source, "--counts").splitlines() == lines
    assert json.loads(run("unique", source, "--json")) == labels.tolist()
    told = json.loads(run("unique", source, "--json", "--counts"))
    assert told[1] == {"label": int(labels[1]), "count": int(counts[1])}


def test_statistics(source: str, tmp_path: Path) -> None:
    table = cp.labels.statistics(source)
    assert run("statistics", source) == f"{table}\n"
    told = json.loads(run("statistics", source, "--json"))
    assert [row["label"] for row in told] == list(table)
    assert told[0]["box"] == [[part.start, part.stop] for part in next(iter(table.values())).box]
    largest = json.loads(run("statistics", source, "--json", "--largest", "2", "--background", "none"))
    assert [row["label"] for row in largest] == list(cp.labels.statistics(source, background=None).largest(2))
    run("statistics", source, "--keep", str(tmp_path / "table.zarr"))
    assert zarr.open_group(tmp_path / "table.zarr")["count"][:].tolist() == table.count.tolist()


def test_tables_become_files(source: str, tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    output = run("statistics", source, "-o", str(tmp_path / "table.csv"))
    assert output == f"11 rows written to {tmp_path / 'table.csv'}\n"
    assert (tmp_path / "table.csv").read_text().startswith("label,count")
    assert invoke("statistics", source, "-o", str(tmp_path / "table.xls")).exit_code == 2


def test_contacts(source: str) -> None:
    table = cp.labels.contacts(source, connectivity=18)
    told = json.loads(run("contacts", source, "--connectivity", "18", "--json"))
    assert [(row["first"], row["second"], row["count"]) for row in told] == [
        (row.first, row.second, row.count) for row in table.values()
    ]


def test_labels_are_replaced(source: str, target: str, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("old,new\n3,300\n4,5\n")
    run("remap", source, target, "--table", str(table), "--preserve-missing-labels", "--chunks", "4")
    expected = np.where(LABELS == 3, 300, np.where(LABELS == 4, 5, LABELS))
    np.testing.assert_array_equal(voxels(target), expected)
    assert cp.open_volume(target).chunks == (4, 4, 4)
    run("mask", source, target, "--labels", "3,4", "--overwrite")
    np.testing.assert_array_equal(voxels(target), np.where(np.isin(LABELS, [3, 4]), 0, LABELS))
    (tmp_path / "kept.txt").write_text("3\n4\n")
    run("mask", source, target, "--labels", str(tmp_path / "kept.txt"), "--except", "--value", "9", "--overwrite")
    np.testing.assert_array_equal(voxels(target), np.where(np.isin(LABELS, [3, 4]), LABELS, 9))
    run("dust", source, target, "--threshold", "140", "--overwrite")
    np.testing.assert_array_equal(voxels(target), cp.labels.dust(LABELS, threshold=140))
    (tmp_path / "pairs.csv").write_text("3,4\n4,11\n")
    run("agglomerate", source, target, "--pairs", str(tmp_path / "pairs.csv"), "--overwrite")
    np.testing.assert_array_equal(voxels(target), np.where(np.isin(LABELS, [4, 11]), 3, LABELS))
    output = run("renumber", source, target, "--json", "--start", "5", "--overwrite")
    told = {row["old"]: row["new"] for row in json.loads(output)}
    np.testing.assert_array_equal(voxels(target), np.vectorize(told.get)(LABELS))
    assert min(new for new in told.values() if new) == 5


def test_labels_are_replaced_in_place(source: str) -> None:
    run("mask", source, "--labels", "3", "--in-place")
    np.testing.assert_array_equal(voxels(source), np.where(LABELS == 3, 0, LABELS))


def test_connected_components(source: str, target: str) -> None:
    run("components", source, target, "--connectivity", "26", "--dust", "5")
    expected = cp.labels.connected_components(LABELS, connectivity=26, dust=5)
    np.testing.assert_array_equal(voxels(target), expected)
    run("components", source, target, "--threshold", "4,7", "--overwrite")
    expected = cp.labels.connected_components(LABELS, threshold=(4, 7))
    np.testing.assert_array_equal(voxels(target), expected)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("mask", "SRC", "--labels", "1"), "--in-place"),
        (("mask", "SRC", "DST", "--labels", "1", "--in-place"), "--in-place"),
        (("mask", "SRC", "DST", "--labels", "one"), "is no list of labels"),
        (("components", "SRC", "DST", "--threshold", "x"), "is no range"),
        (("statistics", "SRC", "--background", "x"), "--background must be"),
        (("remap", "SRC", "DST"), "--table"),
    ],
)
def test_wrong_usage_is_told(source: str, target: str, arguments: tuple[str, ...], told: str) -> None:
    result = invoke(*({"SRC": source, "DST": target}.get(each, each) for each in arguments))
    assert result.exit_code == 2
    assert told in result.stderr
