import re

from strop.report.html import render_html
from strop.report.style import CSS
from strop.testing.sample_report import sample_report


def _block(start: str) -> str:
    place = CSS.index(start)
    return CSS[place : CSS.index("}", place)]


def test_dark_mode_and_paper_set_every_colour_again() -> None:
    light = set(re.findall(r"--([\w-]+):#", _block(":root{color-scheme:light dark")))
    assert light >= {"paper", "ink", "accent", "good", "bad"}
    for other in ("@media (prefers-color-scheme:dark){:root{", "@media print{:root{"):
        assert set(re.findall(r"--([\w-]+):#", _block(other))) == light


def test_every_variable_that_is_used_is_set() -> None:
    assert set(re.findall(r"var\(--([\w-]+)\)", CSS)) <= set(re.findall(r"--([\w-]+):", CSS))


def test_braces_balance_and_nothing_is_fetched() -> None:
    assert CSS.count("{") == CSS.count("}")
    assert "url(" not in CSS
    assert "@import" not in CSS
    assert "</" not in CSS


def _contrast(first: str, second: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (0, 2, 4)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    a, b = sorted((luminance(first), luminance(second)))
    return (b + 0.05) / (a + 0.05)


def test_text_is_readable_in_light_and_dark() -> None:
    """Contrast by WCAG 2: at least 4.5 for text, 3 for what is greyed on purpose."""
    for start in (":root{color-scheme:light dark", "@media (prefers-color-scheme:dark){:root{"):
        colours = dict(re.findall(r"--([\w-]+):#(\w{6})", _block(start)))
        for name in ("ink", "soft", "accent", "good", "bad"):
            assert _contrast(colours[name], colours["paper"]) >= 4.5, (start, name)
        assert _contrast(colours["faint"], colours["paper"]) >= 3


def test_every_class_of_a_drawing_has_a_style() -> None:
    used = {
        c
        for names in re.findall(r'<(?:line|path|rect|circle|text)[^>]* class="([^"]+)"', render_html(sample_report()))
        for c in names.split()
    }
    assert used - {"t", "bar"} <= set(re.findall(r"\.plot \.([\w-]+)", CSS))
