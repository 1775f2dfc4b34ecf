import pytest

from strop.report.markup import figure, table, typeset
from strop.report.tables import Cell, Table

NO_BREAK = "\u00a0"


def test_words_are_escaped() -> None:
    assert typeset('<b> & "x"') == "&lt;b&gt; &amp; &quot;x&quot;"


@pytest.mark.parametrize("unit", ["%", "ms", "µs", "s", "MB", "kB", "GB", "B", "m", "h"])
def test_a_number_keeps_its_unit(unit: str) -> None:
    assert typeset(f"took 95 {unit} in all") == f"took 95{NO_BREAK}{unit} in all"


def test_other_words_may_break() -> None:
    assert NO_BREAK not in typeset("80 pairs, 3 models, 2 heads, 4 sources")


def test_intervals_step_back_only_where_asked() -> None:
    assert typeset("×2 [1.9, 2.1]", intervals=True) == '×2 <span class="ci n">[1.9, 2.1]</span>'
    assert "span" not in typeset("×2 [1.9, 2.1]")
    assert "span" not in typeset("keep=[classifier]", intervals=True)


def test_a_table_without_rows_says_so() -> None:
    assert table(Table(title="A & B", columns=("x",), rows=())) == '<p class="muted">A &amp; B: not measured</p>'


def test_a_table_has_headings_for_rows_and_columns() -> None:
    html = table(
        Table(title="T", columns=("Name", "Size"), rows=((Cell("a<b", sub="s&t"), Cell("1", "good")),), right=frozenset({"Size"}))
    )
    assert '<th scope="col">Name</th><th scope="col" class="r">Size</th>' in html
    assert '<th scope="row"><span class="n">a&lt;b</span><span class="sub">s&amp;t</span></th>' in html
    assert '<td class="good r">' in html


def test_a_table_without_headings_has_no_head() -> None:
    assert "<thead>" not in table(Table(title="T", columns=("", ""), rows=((Cell("a"), Cell("b")),)))


def test_a_missing_drawing_says_so() -> None:
    assert figure("", "caption", "Roofline") == '<p class="muted">Roofline: not measured</p>'
    assert "<figcaption>a &lt; b</figcaption>" in figure("<svg></svg>", "a < b", "x")
