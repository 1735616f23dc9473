"""Where sources and targets are: home folders, URLs, zip files, links and folders that cannot be written."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import zarr
from zarr.storage import FsspecStore

import chunkpyramid as cp

IMAGE = np.random.default_rng(2).integers(0, 255, (8, 16, 16)).astype(np.uint8)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "with space & 100%" / "image.zarr"
    cp.build_pyramid(IMAGE, path, levels=1, chunks=8, name="cells", voxel_size=3)
    return path


def test_home(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(image.parent))
    for home in ("~/", Path("~")):
        source, target = (f"~/{n}" if home == "~/" else Path("~") / n for n in ("image.zarr", "new.zarr"))
        cp.build_pyramid(source, target, levels=1)
        np.testing.assert_array_equal(cp.open_pyramid(target).levels[0][...], IMAGE)
        assert {entry.name for entry in image.parent.iterdir()} == {"image.zarr", "new.zarr"}
        shutil.rmtree(image.parent / "new.zarr")


def test_file_urls_are_unquoted(image: Path) -> None:
    for index, (source, target) in enumerate(
        (
            (image.as_uri(), (image.parent / "new0.zarr").as_uri()),
            (f"file://{image}", f"file://{image.parent}/new1.zarr"),
            (f"file://localhost{image}", f"file://localhost{image.parent}/new2.zarr"),
        )
    ):
        cp.build_pyramid(source, target, levels=1)
        assert cp.open_pyramid(image.parent / f"new{index}.zarr").name == "cells"
        assert cp.open_pyramid(target).name == "cells"
    assert {entry.name for entry in image.parent.iterdir()} == {"image.zarr", *(f"new{i}.zarr" for i in range(3))}


def test_zip_files_are_read(image: Path, tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "image.zarr"), "zip", image)
    shutil.make_archive(str(tmp_path / "outer"), "zip", image.parent, "image.zarr")
    for index, source in enumerate(
        ("image.zarr.zip", "image.zarr.zip/0", "outer.zip/image.zarr", "outer.zip/image.zarr/0")
    ):
        pyramid = cp.build_pyramid(tmp_path / source, tmp_path / f"new{index}.zarr", levels=1)
        assert (pyramid.name, pyramid.coordinates[0].scale) == ("cells", (3, 3, 3))
        np.testing.assert_array_equal(pyramid.levels[0][...], IMAGE)
    assert cp.open_pyramid(tmp_path / "outer.zip" / "image.zarr").name == "cells"
    assert cp.verify_pyramid(str(tmp_path / "image.zarr.zip")).ok
    with pytest.raises(cp.SourceNotFoundError):
        cp.open_pyramid(tmp_path / "outer.zip" / "missing")
    for change in (
        lambda: cp.update_pyramid(tmp_path / "image.zarr.zip", np.s_[:]),
        lambda: cp.verify_pyramid(tmp_path / "image.zarr.zip", repair=True),
    ):
        with pytest.raises(cp.ArgumentError, match="nothing can be deleted: unpack it"):
            change()
    (tmp_path / "broken.zip").write_bytes(b"PK")
    with pytest.raises(cp.SourceNotFoundError, match="no zip file"):
        cp.open_pyramid(tmp_path / "broken.zip")


def test_zip_files_are_no_targets(image: Path, tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "image.zarr"), "zip", image)
    before = (tmp_path / "image.zarr.zip").read_bytes()
    for target in ("new.zip", "new.zarr.zip", "image.zarr.zip", "image.zarr.zip/new"):
        for overwrite in (False, True):
            with pytest.raises(cp.ArgumentError, match=r"zip.*pack it"):
                cp.build_pyramid(IMAGE, tmp_path / target, overwrite=overwrite)
    for source in ("image.zarr.zip", "image.zarr.zip/0"):
        with pytest.raises(cp.ArgumentError, match="pack it"):
            cp.build_pyramid(tmp_path / source, overwrite=True)
    assert (tmp_path / "image.zarr.zip").read_bytes() == before


def test_links(tmp_path: Path) -> None:
    (tmp_path / "real.zarr").mkdir()
    (tmp_path / "link.zarr").symlink_to("real.zarr")
    (tmp_path / "dangling.zarr").symlink_to("nowhere.zarr")
    cp.build_pyramid(IMAGE, tmp_path / "link.zarr", levels=1)
    cp.build_pyramid(IMAGE + 1, tmp_path / "link.zarr", levels=1, overwrite=True)
    assert (tmp_path / "link.zarr").is_symlink()
    np.testing.assert_array_equal(cp.open_pyramid(tmp_path / "real.zarr").levels[0][...], IMAGE + 1)
    for overwrite in (False, True):
        with pytest.raises(cp.TargetExistsError, match=r"symbolic link to 'nowhere\.zarr'"):
            cp.build_pyramid(IMAGE, tmp_path / "dangling.zarr", overwrite=overwrite)
    assert not (tmp_path / "nowhere.zarr").exists()


@pytest.mark.skipif(os.geteuid() != 0 or os.access not in os.supports_effective_ids, reason="only root can be another")
def test_a_folder_that_cannot_be_written() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        image = Path(folder) / "image.zarr"
        # all that a build imports is imported before the identity changes
        cp.build_pyramid(IMAGE, image, levels=1)
        os.seteuid(65534)
        try:
            for source in (image, image / "0"):
                with pytest.raises(cp.ArgumentError, match=r"nothing can be written.*give target="):
                    cp.build_pyramid(source, overwrite=True)
        finally:
            os.seteuid(0)
        assert cp.verify_pyramid(image).ok


def test_a_handle_with_a_store_of_its_own(image: Path) -> None:
    array = zarr.open_array(image / "0", mode="r+")
    assert cp.build_pyramid(array, levels=1, method="max", overwrite=True).group.store_path.store.root == image


@pytest.mark.parametrize("kind", ["files", "array", "source"])
def test_what_is_no_group_in_an_object_store_is_never_overwritten(kind: str) -> None:
    import fsspec

    files = fsspec.filesystem("memory")
    root = f"/{uuid4().hex}"
    source: Any = IMAGE
    if kind == "files":
        files.pipe(f"{root}/notes/precious.txt", b"x")
    else:
        zarr.create_array(FsspecStore.from_url(f"memory:/{root}/0"), data=IMAGE)
        source = f"memory:/{root}/0" if kind == "source" else IMAGE
    before = {path: files.cat(path) for path in files.find(root)}
    for overwrite in (False, True, True):
        with pytest.raises(cp.TargetExistsError, match="never overwritten: choose another target"):
            cp.build_pyramid(source, f"memory:/{root}", levels=1, overwrite=overwrite)
        with pytest.raises(cp.TargetExistsError, match="never overwritten"):
            cp.build_pyramid(IMAGE, FsspecStore.from_url(f"memory:/{root}"), levels=1, overwrite=overwrite)
    assert {path: files.cat(path) for path in files.find(root)} == before
