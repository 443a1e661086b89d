"""The page as a whole: valid, complete in itself, true to the numbers, and deaf to what names say."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pandas as pd
import pytest
from report_cases import HOSTILE, Document, Written

from filterdb.config import RunConfig
from filterdb.errors import NotADatasetError, OutputError, UsageError
from filterdb.report import inputs_of
from filterdb.run.analysis import results as stored
from filterdb.run.drawing import report as stage
from filterdb.run.drawing.report import write
from filterdb.store import open_dataset
from in_process import call

LANDMARKS = ("header", "nav", "main", "footer")


def check(page: Written) -> Document:
    """Check what holds for every page, whatever is on it."""
    found = page.document
    assert found.problems == []
    ids = [a["id"] for _, a in found.elements if "id" in a]
    assert len(set(ids)) == len(ids)
    for _, attributes in found.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            assert attributes.get(name) is None or attributes[name] in ids, attributes
        if (attributes.get("href") or "").startswith("#"):
            assert attributes["href"][1:] in ids, attributes
        assert not [name for name in attributes if name.startswith("on")], attributes
    for tag in LANDMARKS:
        assert len(found.of(tag)) == 1
    assert found.of("html")[0]["lang"] == "en"
    assert len(found.of("h1")) == 1
    assert len(found.of("caption")) == len(found.of("table"))
    for image in found.of("img"):
        assert "alt" in image
        assert image["alt"] or image["aria-labelledby"]
    for svg in found.of("svg"):
        assert svg["role"] == "img"
        assert svg["aria-labelledby"] in ids
    return found


def fetched(page: Written) -> list[str]:
    """Return the addresses from which a browser would fetch something."""
    found = []
    for tag, attributes in page.document.elements:
        for name in ("src", "href", "xlink:href", "srcset", "data", "poster", "action"):
            value = attributes.get(name) or ""
            if value and not value.startswith(("#", "data:")) and tag != "a":
                found.append(value)
    styles = " ".join(data for tag, data in page.document.texts if tag == "style")
    return found + re.findall(r"url\((?!#|data:)[^)]*\)|@import[^;]*", styles)


def test_a_page_is_valid_html_with_landmarks_captions_and_alternatives(hostile: Written) -> None:
    check(hostile)


def test_a_page_fetches_nothing(hostile: Written) -> None:
    assert fetched(hostile) == []
    policy = next(m["content"] for m in hostile.document.of("meta") if "http-equiv" in m)
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_only_our_own_script_may_run(hostile: Written) -> None:
    scripts = [data for tag, data in hostile.document.texts if tag == "script"]
    assert len(scripts) == len(hostile.document.of("script")) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in hostile.text


def test_names_that_are_markup_are_shown_as_text(hostile: Written) -> None:
    assert HOSTILE not in hostile.text
    assert "onerror=alert(1)&gt;" in hostile.text
    text = hostile.document.text()
    for name in (
        HOSTILE,
        "a & b",
        '" onload="alert(1)',
        "{{ 7 * 7 }}",
        "<script>broken.onnx",
    ):
        assert name in text, name
    assert "Filters of <i>data & set.h5" in text
    assert not [image for image in hostile.document.of("img") if image["src"] == "x"]
    assert not hostile.document.of("i")


def test_characters_that_turn_text_around_are_shown_as_what_they_are(hostile: Written) -> None:
    assert "\u202e" not in hostile.text
    assert "\u2028" not in hostile.text
    assert "\\u202eevil\\u2028" in hostile.text


def test_every_model_has_a_row_with_its_numbers(hostile: Written) -> None:
    found = stored.load(hostile.results)
    with open_dataset(hostile.dataset) as file:
        files = file.tables.models
    header, *rows = hostile.document.rows["models-table"]
    assert len(rows) == len(files) == 13
    by_name = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    for model in found.models.to_dict("records"):
        name = (
            model["model"].encode("unicode_escape").decode() if "evil" in model["model"] else model["model"]
        )
        row = by_name[name]
        assert row["Layers"] == str(model["layers"])
        assert row["Filters"] == f"{model['n']:,}"
        assert row["Sparsity"] == f"{model['sparsity']:.3f}"
        assert row["H/T_H"] == f"{model['variance_entropy_norm']:.3f}"
        assert row["Orthogonality"] == f"{model['orthogonality']:.3f}"
        assert row["Degenerate"] == f"{100 * model['degenerate_layers'] / model['layers']:.0f}%"
        assert row["Status"] == "ok"
    assert by_name["<script>broken"]["Status"] == "failed"


def test_every_pair_has_a_row_with_its_numbers(hostile: Written) -> None:
    found = stored.load(hostile.results)
    header, *rows = hostile.document.rows["pairs-table"]
    shown = {(row[1], row[0]): dict(zip(header, row, strict=True)) for row in rows}
    total = 0
    for axis, shift in found.shifts.items():
        for pair in shift.pairs.to_dict("records"):
            name = f"{pair['group_a']} – {pair['group_b']}"
            row = shown[axis.replace("_", " "), " ".join(name.split())]
            assert row["D"] == f"{pair['D']:.3f}"
            if pd.isna(pair["p_holm"]):
                assert row["Verdict"] == "not tested"
                assert row["95% interval"] == "–"
            else:
                assert row["p, Holm"] == f"{pair['p_holm']:.3f}"
                assert row["95% interval"] == f"{pair['low']:.3f} to {pair['high']:.3f}"
                assert row["Verdict"] == ("beyond chance" if pair["p_holm"] < 0.05 else "may be chance")
            total += 1
    assert total == len(rows)


def test_what_failed_is_there_with_its_reason(hostile: Written) -> None:
    with open_dataset(hostile.dataset) as file:
        files = file.tables.models
    failed = files[files["status"] == "failed"].iloc[0]
    assert hostile.document.rows["failed"][1] == [
        failed["path"],
        "failed",
        " ".join(failed["reason"].split()),
    ]
    assert "1 model of 13 could not be read" in hostile.document.text()


def test_the_head_says_how_much_there_is_and_the_end_where_it_comes_from(hostile: Written) -> None:
    found = stored.load(hostile.results)
    text = hostile.document.text()
    with open_dataset(hostile.dataset) as file:
        assert f"{file.n_filters:,} convolution filters of 3x3 in 36 layers of 12 models" in text
        assert file.content_hash in text
    assert found.manifest["inputs"] in text
    assert str(found.manifest["provenance"]["filterdb"]) in text
    assert '"permutations": 19' in text


def test_the_figures_are_there_with_the_captions_that_they_have(hostile: Written) -> None:
    captions = [data for tag, data in hostile.document.texts if tag == "figcaption"]
    assert len(captions) == len(hostile.document.of("figure"))
    starts = (
        *("Distribution shifts between groups, by axis", "Distribution shift between filters by Task"),
        *("The largest distribution shifts by Task", "Sparsity and variance entropy H of layers by Task"),
        *("Share of each model's layers that are degenerate", "The first 9 principal components"),
        *("Density of pairs of coefficients", "Share of the variance"),
    )
    for start in starts:
        assert [caption for caption in captions if caption.startswith(start)], start


def test_the_kernels_of_notable_models_are_pictures_with_their_own_alternative(hostile: Written) -> None:
    folds = [
        row for name, rows in hostile.document.rows.items() if name.startswith("layers-") for row in rows[1:]
    ]
    kernels = [image for image in hostile.document.of("img") if "kernels of" in (image["alt"] or "")]
    assert len(kernels) == len(folds) == 36
    assert {len(rows) for rows in folds} == {8}


def test_a_second_run_is_fresh_and_leaves_the_file_alone(hostile: Written) -> None:
    before = hostile.page.stat()
    report = write(hostile.dataset, hostile.results, hostile.page, RunConfig())
    after = hostile.page.stat()
    assert report.action == "fresh"
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


def test_other_code_writes_another_page(
    hostile: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.html"
    page.write_text(hostile.text, "utf-8")
    assert write(hostile.dataset, hostile.results, page, RunConfig()).action == "fresh"
    monkeypatch.setattr(stage, "fingerprint", lambda *_: "of other code")
    # What the page is of is told by its head; to draw takes longest.
    monkeypatch.setattr(stage, "_drawings", lambda *_: {})
    assert write(hostile.dataset, hostile.results, page, RunConfig()).action == "written"


def test_a_file_of_somebody_else_is_never_replaced(hostile: Written, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<title>mine</title>")
    with pytest.raises(UsageError, match="no report of filterdb"):
        write(hostile.dataset, hostile.results, page, RunConfig(), force=True)
    assert page.read_text() == "<title>mine</title>"
    with pytest.raises(OutputError, match="this is a folder"):
        write(hostile.dataset, hostile.results, tmp_path, RunConfig())


def test_results_of_another_data_set_are_refused(
    hostile: Written, tmp_path: Path, published: Written
) -> None:
    with pytest.raises(NotADatasetError, match="results of another data set"):
        write(hostile.dataset, published.results, tmp_path / "page.html", RunConfig())
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_a_page_that_somebody_has_changed_again_with_the_same_bytes(
    hostile: Written, tmp_path: Path
) -> None:
    out = tmp_path / "folder" / "report.html"
    out.parent.mkdir()
    out.write_text(hostile.text.replace("What the numbers say", "What I say"), "utf-8")
    assert inputs_of(out.read_text("utf-8")) is None
    command = ["report", hostile.dataset, hostile.results, "--out", out]
    result = call(*command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "complete in itself" in result.stdout
    assert out.read_bytes() == hostile.page.read_bytes()
    assert '"action": "fresh"' in call(*command, "--json", cwd=tmp_path).stdout


@pytest.mark.soak
def test_a_data_set_as_large_as_the_published_one_makes_a_page_below_5_mb(large: Written) -> None:
    assert large.page.stat().st_size < 5_000_000
    found = check(large)
    assert len(found.rows["models-table"]) == 1 + 647 + 12
    # Of 2,029 pairs the page shows the thousand that are furthest apart.
    assert len(found.rows["pairs-table"]) == 1 + 1_000
    assert "The 1,000 largest of 2,029 pairs" in found.text()
    assert len([name for name in found.rows if name.startswith("layers-")]) == 20
    assert "no p can fall below 1.000" in found.text()


def test_published_numbers_stand_beside_the_computed_ones(published: Written) -> None:
    found = check(published)
    version = published.dataset.stem
    results = stored.load(published.results)
    assert "could be read" not in found.text()
    header, *rows = found.rows["reference"]
    table = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    ratio = results.measured.coordinates.basis.explained
    distances = results.shifts["Task"].pairs["D"]
    if version == "v1.0.0":
        assert table["models"]["Published"] == "647"
        assert table["models"]["Computed"] == "20"
        assert table["models"]["Difference"] == "−627"
        assert table["models"]["Agrees"] == "no"
        assert table["explained variance ratio, ₂"]["Precision"] == "±0.000005"
        assert table["mean of the scaled filters, ₉"]["Published"] == "−0.04486743"
        assert table["explained variance ratio, ₂"]["Published"] == "0.18326"
        assert float(table["explained variance ratio, ₂"]["Computed"]) == pytest.approx(ratio[1], abs=1e-6)
        assert table["drift by Task, largest"]["Published"] == "0.700"
        assert table["drift by Task, largest"]["Precision"] == "±0.01"
        assert float(table["drift by Task, largest"]["Computed"]) == pytest.approx(distances.max(), abs=1e-4)
        assert table["drift by Visual Category, median"]["Source"] == "read off the published image"
    else:
        assert table["cumulative explained variance ratio, ₂"]["Published"] == "0.56"
        computed = float(table["cumulative explained variance ratio, ₂"]["Computed"])
        assert computed == pytest.approx(ratio[:2].sum(), abs=1e-3)
        assert table["drift by Task, median"]["Agrees"] == "not known"
        assert float(table["drift by Task, mean"]["Computed"]) == pytest.approx(distances.mean(), abs=1e-3)
        assert "models" not in table


def test_a_file_of_ours_has_no_published_numbers(hostile: Written) -> None:
    assert "reference" not in hostile.document.rows
