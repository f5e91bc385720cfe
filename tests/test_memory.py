"""Free memory under the limits of control groups."""

from convatlas import memory


def group(folder, names, limit, usage, stat=""):
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip((*names, "memory.stat"), (limit, usage, stat), strict=True):
        (folder / name).write_text(f"{value}\n")


def test_the_limit_of_the_group_or_of_one_above(tmp_path):
    two, one = ("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")
    own = tmp_path / "proc"
    own.write_text("4:memory:/outer/inner\n1:cpu:/outer\n0::/user.slice/a:b\n")
    group(tmp_path / "cg/memory/outer/inner", one, 900, 100)
    group(tmp_path / "cg/memory/outer", one, 700, 300, "inactive_file 5\ntotal_inactive_file 120")
    group(tmp_path / "cg/user.slice/a:b", two, "max", 5)
    group(tmp_path / "cg/user.slice", two, 1000, 400, "anon 1\ninactive_file 50")
    found = {folder: memory._cgroup(folder) for folder in memory._groups(own, tmp_path / "cg")}
    assert {str(folder.relative_to(tmp_path / "cg")): left for folder, left in found.items() if left is not None} == {
        "memory/outer/inner": 800, "memory/outer": 520, "user.slice": 650}
    assert memory._groups(tmp_path / "absent", tmp_path / "cg") == {tmp_path / "cg", tmp_path / "cg/memory"}
    assert memory.available_bytes() > 2**20
