"""The report in a real browser: nothing breaks or overflows, tables sort and filter, keys are enough."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from report_cases import HOSTILE

if TYPE_CHECKING:
    from chromium import Tab

NAMES = ("demo", "hostile", "large")
TABLE = "#models-table"

ROWS = "[...document.querySelectorAll('{} tbody tr')].filter((row) => !row.hidden)"
OVERFLOWING = """
[...document.querySelectorAll('body *')].filter((element) => {
  const scrolls = '.scroll, .canvas, pre';
  if (element.matches('.skip') || (element.closest(scrolls) && !element.matches(scrolls))) return false;
  const box = element.getBoundingClientRect();
  return box.width && (box.right > innerWidth + 0.5 || box.left < -0.5);
}).map((element) => element.tagName + '.' + element.className + '#' + element.id)
"""
HIDDEN_TEXT = """
[...document.querySelectorAll('h1, h2, h3, p, li, summary, dd, figcaption, label')].filter(
  (element) => element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).display !== 'inline'
).map((element) => element.tagName + ': ' + element.textContent.slice(0, 60))
"""


def column(tab: Tab, title: str, table: str = TABLE) -> list[str]:
    """Return what is shown in a column."""
    place = tab.ask(
        f"[...document.querySelectorAll('{table} thead th')].findIndex((th) => th.textContent === '{title}')"
    )
    assert place >= 0, title
    return tab.ask(f"{ROWS.format(table)}.map((row) => row.cells[{place}].textContent.trim())")


def heading(tab: Tab, title: str, table: str = TABLE) -> str:
    """Return the selector of the button in a heading."""
    place = tab.ask(
        f"[...document.querySelectorAll('{table} thead th')].findIndex((th) => th.textContent === '{title}')"
    )
    return f"{table} thead th:nth-child({place + 1}) button"


def sorted_as(tab: Tab, table: str = TABLE) -> list[tuple[str, str]]:
    return [
        tuple(pair)
        for pair in tab.ask(
            f"[...document.querySelectorAll('{table} th[aria-sort]')]"
            ".map((th) => [th.textContent, th.getAttribute('aria-sort')])"
        )
    ]


def numbers(cells: list[str]) -> list[float]:
    return [float(cell.replace(",", "").rstrip("%").replace("−", "-")) for cell in cells if cell != "–"]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [400, 1000, 1600])
@pytest.mark.parametrize("name", NAMES)
def test_a_page_has_no_trouble_and_nothing_overflows(
    tab: Tab, pages: dict[str, Path], name: str, width: int, dark: bool, tmp_path: Path
) -> None:
    tab.open(pages[name], width=width, dark=dark)
    for unfolded in (False, True):
        tab.ask(
            f"document.querySelectorAll('details').forEach((one) => {{ one.open = {str(unfolded).lower()} }})"
        )
        assert tab.ask("document.documentElement.scrollWidth") <= width
        assert tab.ask(OVERFLOWING) == []
        assert tab.ask(HIDDEN_TEXT) == []
    assert tab.trouble == []
    background = tab.ask("getComputedStyle(document.body).backgroundColor").removeprefix("rgb(").rstrip(")")
    assert (max(map(int, background.split(","))) < 60) == dark
    assert tab.screenshot(tmp_path / "page.png").stat().st_size > 20_000


@pytest.mark.parametrize("name", NAMES)
def test_a_page_asks_the_network_for_nothing(tab: Tab, pages: dict[str, Path], name: str) -> None:
    tab.open(pages[name])
    tab.ask("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    assert [url for url in tab.requests if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in tab.requests if url.startswith("file:")]) == 1


@pytest.mark.parametrize("name", NAMES)
def test_every_picture_is_whole(tab: Tab, pages: dict[str, Path], name: str) -> None:
    tab.open(pages[name])
    assert tab.ask("[...document.images].filter((one) => !one.complete || !one.naturalWidth).length") == 0
    assert tab.ask("document.querySelectorAll('figure svg, figure img').length") >= 8


def test_names_in_a_hostile_page_do_nothing(tab: Tab, pages: dict[str, Path]) -> None:
    tab.open(pages["hostile"])
    assert tab.ask("document.scripts.length") == 1
    assert HOSTILE in column(tab, "Task")
    # A script that slipped in all the same would not run.
    tab.ask(
        "(() => { const script = document.createElement('script'); script.text = 'window.ran = 1';"
        " document.body.append(script) })()"
    )
    assert tab.ask("window.ran") is None


@pytest.mark.parametrize("name", NAMES)
def test_a_click_on_a_heading_sorts_and_another_turns_it_around(
    tab: Tab, pages: dict[str, Path], name: str
) -> None:
    tab.open(pages[name])
    before = sorted(column(tab, "Model"))
    tab.click(heading(tab, "Filters"))
    falling = numbers(column(tab, "Filters"))
    assert falling == sorted(falling, reverse=True)
    assert len(set(falling)) > 1
    assert sorted_as(tab) == [("Filters", "descending")]
    tab.click(heading(tab, "Filters"))
    assert numbers(column(tab, "Filters")) == falling[::-1]
    assert sorted_as(tab) == [("Filters", "ascending")]
    tab.click(heading(tab, "Model"))
    assert sorted_as(tab) == [("Model", "ascending")]
    assert sorted(column(tab, "Model")) == before
    assert tab.trouble == []


def test_what_has_no_number_stays_last_either_way(tab: Tab, pages: dict[str, Path]) -> None:
    tab.open(pages["large"])
    for order in ("descending", "ascending"):
        tab.click(heading(tab, "H/T_H"))
        assert sorted_as(tab) == [("H/T_H", order)]
        cells = column(tab, "H/T_H")
        missing = [place for place, cell in enumerate(cells) if cell == "–"]
        assert missing == list(range(len(cells) - 12, len(cells)))
        known = numbers(cells)
        assert known == sorted(known, reverse=order == "descending")


def test_words_are_searched_in_every_column_and_the_number_of_rows_is_said(
    tab: Tab, pages: dict[str, Path]
) -> None:
    tab.open(pages["large"])
    output = f"document.querySelector('{TABLE} output').value"
    assert tab.ask(output) == "659 rows"
    tab.type(f"{TABLE} input", "MODEL01 architecture")
    assert column(tab, "Model") == [
        f"model{place:03d}_some_architecture_with_a_long_name" for place in range(10, 20)
    ]
    assert tab.ask(output) == "10 of 659 rows"
    tab.type(f"{TABLE} input", "nothing at all")
    assert tab.ask(output) == "0 of 659 rows"
    tab.type(f"{TABLE} input", "")
    assert tab.ask(output) == "659 rows"


def test_a_choice_filters_together_with_the_search_and_with_sorting(tab: Tab, pages: dict[str, Path]) -> None:
    tab.open(pages["large"])
    choose(tab, TABLE, "Status", "failed")
    assert set(column(tab, "Status")) == {"failed"}
    assert len(column(tab, "Model")) == 12
    choose(tab, TABLE, "Status", "")
    choose(tab, TABLE, "Task", "Task number 3")
    tab.click(heading(tab, "Filters"))
    rows = column(tab, "Task")
    assert set(rows) == {"Task number 3"}
    assert len(rows) > 40
    falling = numbers(column(tab, "Filters"))
    assert falling == sorted(falling, reverse=True)


def test_pairs_are_chosen_by_axis_and_verdict(tab: Tab, pages: dict[str, Path]) -> None:
    tab.open(pages["demo"])
    table = "#pairs-table"
    everything = list(zip(column(tab, "Axis", table), column(tab, "Verdict", table), strict=True))
    choose(tab, table, "Axis", "Family")
    choose(tab, table, "Verdict", "may be chance")
    shown = list(zip(column(tab, "Axis", table), column(tab, "Verdict", table), strict=True))
    assert shown == [("Family", "may be chance")] * everything.count(("Family", "may be chance"))
    assert shown
    distances = numbers(column(tab, "D", table))
    assert all(a >= b for a, b in itertools.pairwise(distances))


def choose(tab: Tab, table: str, title: str, value: str) -> None:
    """Choose a value of a column, as the list does it."""
    found = tab.ask(
        f"(() => {{ const label = [...document.querySelectorAll('{table} label')]"
        f".find((one) => one.firstChild.textContent.trim() === '{title}');"
        f" const list = label.querySelector('select'); list.value = '{value}';"
        " list.dispatchEvent(new Event('input', { bubbles: true })); return list.value })()"
    )
    assert found == value


def focused(tab: Tab) -> Any:
    return tab.ask("document.activeElement.textContent.trim().slice(0, 40)")


def test_the_keyboard_reaches_and_uses_everything(tab: Tab, pages: dict[str, Path]) -> None:
    tab.open(pages["hostile"])
    tab.press("Tab", 9)
    assert focused(tab) == "Skip to the content"
    assert tab.ask("document.activeElement.getBoundingClientRect().x") >= 0
    tab.press("Tab", 9)
    assert focused(tab) == "What the data set holds"
    assert tab.ask("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    tab.ask(f"document.querySelector({heading(tab, 'Layers')!r}).focus()")
    tab.press("Enter", 13, text="\r")
    assert sorted_as(tab) == [("Layers", "descending")]
    tab.press(" ", 32, text=" ")
    assert sorted_as(tab) == [("Layers", "ascending")]
    reachable = tab.ask(
        "[...document.querySelectorAll('.scroll, .canvas, pre')].every((one) => one.tabIndex === 0)"
    )
    assert reachable


def test_a_link_unfolds_what_it_leads_to(tab: Tab, pages: dict[str, Path]) -> None:
    tab.open(pages["demo"])
    target = tab.ask(f"document.querySelector('{TABLE} tbody a').hash.slice(1)")
    assert not tab.ask(f"document.getElementById('{target}').open")
    tab.click(f"{TABLE} tbody a")
    assert tab.ask(
        f"new Promise((done) => setTimeout(() => done(document.getElementById('{target}').open), 200))"
    )
    assert tab.ask("document.activeElement.tagName") == "SUMMARY"


def test_a_reader_of_the_screen_finds_names_for_everything(tab: Tab, pages: dict[str, Path]) -> None:
    tab.open(pages["demo"])
    tab.send("Accessibility.enable")
    nodes = tab.send("Accessibility.getFullAXTree")["nodes"]
    tab.send("Accessibility.disable")
    named: dict[str, list[str]] = {}
    for node in nodes:
        role = node.get("role", {}).get("value", "")
        if not node.get("ignored"):
            named.setdefault(role, []).append(node.get("name", {}).get("value", ""))
    for role in (
        "image",
        "table",
        "region",
        "button",
        "searchbox",
        "combobox",
        "navigation",
        "search",
        "link",
    ):
        assert named.get(role), role
        assert all(named[role]), role
    assert len(named["main"]) == len(named["banner"]) == len(named["contentinfo"]) == 1


def test_a_printed_page_shows_all_and_needs_no_scrolling(tab: Tab, pages: dict[str, Path]) -> None:
    tab.open(pages["hostile"], dark=True)
    assert tab.print().startswith(b"%PDF")
    tab.send("Emulation.setEmulatedMedia", media="print", features=[])
    assert tab.ask("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert tab.ask("getComputedStyle(document.querySelector('.scroll')).overflow") == "visible"
    assert tab.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    tab.ask("dispatchEvent(new Event('beforeprint'))")
    assert tab.ask("[...document.querySelectorAll('details')].every((one) => one.open)")
    tab.ask("dispatchEvent(new Event('afterprint'))")
    assert not tab.ask("[...document.querySelectorAll('details')].some((one) => one.open)")


def test_without_script_the_page_still_says_everything(tab: Tab, pages: dict[str, Path]) -> None:
    tab.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        tab.open(pages["demo"])
        assert tab.ask("document.querySelectorAll('thead button').length") == 0
        assert len(column(tab, "Model")) == 53
        assert tab.ask(f"getComputedStyle(document.querySelector('{TABLE} form')).display") == "none"
    finally:
        tab.send("Emulation.setScriptExecutionDisabled", value=False)
