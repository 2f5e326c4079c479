"""The page of a bundle shows what was measured, and brings nothing from elsewhere."""

from __future__ import annotations

import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from recsys.bundle.store import BundleStore
from recsys.errors import BundleError, PageError
from recsys.evaluation.drift import measure_drift
from recsys.evaluation.page import write_page
from recsys.evaluation.report import evaluate, save_evaluation
from recsys.events.pieces import StoredLog
from recsys.training.summary import CURVES
from recsys.workspace import Workspace, open_workspace

#: Elements that have no end.
VOID = frozenset({"meta", "link", "br", "hr", "img", "input"})


class Page(HTMLParser):
    """Reads a page, and fails where elements are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.links: list[str] = []
        self.cells: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in {"td", "th", "dd", "h1", "p"} and data.strip():
            self.cells.append(data.strip())


@pytest.fixture(scope="module")
def workspace(plain_workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("page") / "w"
    shutil.copytree(plain_workspace.folder, folder)
    return open_workspace(folder)


def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def test_a_bundle_that_was_not_measured_has_a_page(workspace: Workspace, tmp_path: Path) -> None:
    found = read(write_page(workspace, tmp_path / "new" / "a.html"))
    version = BundleStore(workspace.bundles).open().manifest.version
    assert f"Bundle {version}" in found.cells
    assert any("Not measured yet" in cell for cell in found.cells)
    assert "script" not in found.seen
    assert not found.links


def test_what_was_measured_is_on_it(workspace: Workspace, tmp_path: Path) -> None:
    log = StoredLog(workspace.log_config)
    evaluation = evaluate(workspace, log)
    save_evaluation(workspace, evaluation)
    run = workspace.runs / "newest"
    run.mkdir(parents=True)
    (run / CURVES).write_text("<svg></svg>", encoding="utf-8")
    plain = read(write_page(workspace, tmp_path / "a.html"))
    for metrics in evaluation.rankings.values():
        assert f"{metrics['ndcg@10']:.4f}" in plain.cells
    assert "svg" in plain.seen
    manifest = BundleStore(workspace.bundles).open().manifest
    assert set(manifest.feature_names) <= set(plain.cells)
    drift = measure_drift(workspace, log)
    shifted = read(write_page(workspace, tmp_path / "a.html", drift=drift))
    assert "shift" in shifted.cells
    assert "shift" not in plain.cells
    assert {f"{column.psi:.2f}" for column in drift.columns} <= set(shifted.cells)


def test_names_of_others_are_texts(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recsys.evaluation.page.FEW_LISTS", 0)
    [kept] = (workspace.reports / "evaluations").glob("*.json")
    text = kept.read_text(encoding="utf-8")
    kept.write_text(text.replace('"new_users"', '"user.country = <b>"'), encoding="utf-8")
    found = write_page(workspace, tmp_path / "a.html").read_text(encoding="utf-8")
    assert "user.country = &lt;b&gt;" in found
    assert "<b>" not in found


def test_an_evaluation_of_another_bundle_is_not_on_it(workspace: Workspace, tmp_path: Path) -> None:
    folder = workspace.reports / "evaluations"
    [kept] = folder.glob("*.json")
    version = BundleStore(workspace.bundles).open().manifest.version
    other = kept.read_text(encoding="utf-8").replace(version, "20200101T000000Z-00000")
    kept.write_text(other, encoding="utf-8")
    (folder / "damaged.json").write_text("{}", encoding="utf-8")
    found = read(write_page(workspace, tmp_path / "a.html"))
    assert any("Not measured yet" in cell for cell in found.cells)
    with pytest.raises(BundleError):
        write_page(workspace, tmp_path / "b.html", "20200101T000000Z-00000")
    assert not (tmp_path / "b.html").exists()


def test_a_page_is_not_written_in_place_of_a_folder(workspace, tmp_path):
    with pytest.raises(PageError, match="a folder; expected the name of a file"):
        write_page(workspace, tmp_path)
    assert not list(tmp_path.parent.glob(".*.new"))
