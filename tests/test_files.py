"""Files are written whole or not at all, and what a newer convatlas wrote is refused."""

import os
import subprocess
import sys

import pytest

from convatlas.errors import ConvatlasError
from convatlas.files import check_format, digest, put, regular, unfinished, vacant, whole_files, whole_write


def test_the_new_file_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "x.txt"
    for text in ("old", "new"):
        with whole_write(path, sync=True) as beside:
            beside.write_text(text)
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]
    with whole_write(tmp_path / "a" / "b" / "x.txt", parents=True) as beside:
        beside.write_text("deep")
    assert (tmp_path / "a" / "b" / "x.txt").read_text() == "deep"


@pytest.mark.parametrize("failure", [KeyboardInterrupt, ValueError, MemoryError])
def test_what_fails_half_way_leaves_nothing(tmp_path, failure):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(failure), whole_write(path) as beside:
        beside.write_text("hal")
        raise failure
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_what_the_system_refuses_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConvatlasError, match=r"cannot write .*x\.txt': Not a directory; say --out$"), \
            whole_write(tmp_path / "file" / "x.txt", "say --out"):
        pytest.fail("nothing is computed for a place that cannot be written")
    with (pytest.raises(ConvatlasError, match=r"No such file or directory$"),
            whole_write(tmp_path / "nowhere" / "x.txt")):
        pytest.fail("a misspelt folder is not made")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConvatlasError, match="Is a directory"), whole_write(tmp_path / "folder") as beside:
        beside.write_text("whole")
    with pytest.raises(ConvatlasError, match=r"x\.txt': of a library$"), \
            whole_write(tmp_path / "x.txt", errors=(OSError, LookupError)):
        raise LookupError("of a library")
    assert {each.name for each in tmp_path.iterdir()} == {"file", "folder"}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_a_sentence(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ConvatlasError, match="Permission denied"), whole_write(tmp_path / "x.txt"):
            pytest.fail("nothing is computed for it")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_the_umask_s(tmp_path, mask):
    import torch
    from safetensors.torch import save_file

    before = os.umask(mask)
    try:
        with whole_write(tmp_path / "x.safetensors") as beside:
            save_file({"x": torch.zeros(1)}, beside)        # makes a file for its owner alone
    finally:
        os.umask(before)
    assert (tmp_path / "x.safetensors").stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
def test_a_link_is_replaced_and_what_it_led_to_stays(tmp_path):
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    with whole_write(tmp_path / "link") as beside:
        beside.write_text("new")
    assert (tmp_path / "target").read_text() == "old"
    assert not (tmp_path / "link").is_symlink() and (tmp_path / "link").read_text() == "new"


def test_long_names_can_be_written(tmp_path):
    path = tmp_path / ("x" * 250)
    assert put(path, "caf\udce9").read_bytes() == b"caf\xe9" and list(tmp_path.iterdir()) == [path]


def test_files_that_belong_together(tmp_path):
    """`last` takes its place after the others, what is not written anew goes, and another's files stay."""
    folder = tmp_path / "new" / "folder"
    for letter, names in (("a", "one two last"), ("b", "one last")):
        with whole_files(folder, "last", ("one", "two", "last")) as fresh:
            for name in names.split():
                put(fresh / name, letter)
            assert unfinished(folder, "last")
        assert {path.name: path.read_text() for path in folder.iterdir() if path.name != "another's"} == dict.fromkeys(
            names.split(), letter)
        (folder / "another's").write_text("stays")
    assert (folder / "another's").read_text() == "stays" and not unfinished(folder, "last")
    with pytest.raises(ValueError, match="wrong"), whole_files(folder, "last", ("one", "two", "last")) as fresh:
        put(fresh / "one", "c")
        raise ValueError("wrong")
    assert sorted(path.name for path in folder.iterdir()) == ["another's", "last", "one"]
    with (pytest.raises(ConvatlasError, match=r"cannot write .*made/"),
          whole_files(tmp_path / "made", "x", "x") as fresh):
        put(fresh / "absent" / "x", "")
    assert not (tmp_path / "made").exists()


def test_what_a_killed_process_left_of_the_first_file_is_nothing(tmp_path):
    assert vacant(tmp_path, "x.txt")
    (tmp_path / ".x.txt.0123abcd").touch()
    (tmp_path / ".y.txt.0123abcd").touch()
    assert not vacant(tmp_path, "x.txt") and len(list(tmp_path.iterdir())) == 2
    (tmp_path / ".y.txt.0123abcd").unlink()
    assert vacant(tmp_path, "x.txt") and not list(tmp_path.iterdir())


WRITER = """
import sys
from pathlib import Path
from convatlas.files import whole_write
path = Path(sys.argv[1])
for _ in range(50):
    with whole_write(path) as beside:
        beside.write_text(sys.argv[2] * 100_000)
    assert len(set(path.read_text())) == 1 and path.stat().st_size == 100_000
"""


def test_processes_that_write_at_once_leave_one_whole_file(tmp_path):
    jobs = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "x.txt"), letter]) for letter in "abc"]
    assert [job.wait(timeout=120) for job in jobs] == [0, 0, 0]
    assert [each.name for each in tmp_path.iterdir()] == ["x.txt"]


def test_a_digest_is_sha256(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")        # FIPS 180-2, appendix B.1
    assert digest(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("found", [None, 1, 2])
def test_known_formats_pass(found):
    check_format(found, 2, "x")


@pytest.mark.parametrize("found", [3, "new", 2.5, [2]])
def test_newer_formats_are_refused(found):
    with pytest.raises(ConvatlasError, match=r"^'x' has format .*reads formats up to 2: update convatlas$"):
        check_format(found, 2, "'x'")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no FIFOs")
def test_regular_files(tmp_path):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    for name, target in (("link", "file"), ("endless", "/dev/zero"), ("broken", "nowhere"), ("queue", "fifo")):
        (tmp_path / name).symlink_to(target)
    assert {path.name for path in tmp_path.iterdir() if regular(path)} == {"file", "link"}
