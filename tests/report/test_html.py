import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from strop.measure.result import Finding, Verdict
from strop.report import STATUSES, Claim, Command, Outcome, RunReport, Subject
from strop.report.html import render_html, write_html
from strop.testing.sample_report import comparison, interval, minimal_report, sample_report, samples, trial

VOID = {"meta", "br", "hr", "img", "link", "input"}
EVIL = '<script>alert("x")</script> & \'"'


class Page(HTMLParser):
    """Reads a page strictly: tags must balance, ids be unique."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"
        ids = [a["id"] for _, a in self.tags if "id" in a]
        assert len(ids) == len(set(ids))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"{tag} has an attribute twice: {names}"
        self.tags.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words).replace("\u00a0", " "))


def _many() -> RunReport:
    points = [f"batch {2**n} × length {16 * n}" for n in range(10)]
    statuses = list(STATUSES)
    screen = {p: interval(1.2) for p in points} | {"all": interval(1e9)}
    return replace(
        sample_report(),
        trials=tuple(trial(n, f"recipe {n}", statuses[n % len(statuses)], screen=screen) for n in range(60)),
        gate=Claim(comparisons=tuple(comparison(p, 123456.7) for p in points)),
        samples=tuple(samples(p, 123456.7) for p in points),
    )


@pytest.mark.parametrize(
    "report",
    [sample_report(), minimal_report(), minimal_report(1), minimal_report(130), minimal_report(0), _many()],
    ids=["full", "nothing paid", "failed", "interrupted", "nothing measured", "sixty trials, ten points"],
)
def test_the_page_is_whole_and_fetches_nothing(report: RunReport) -> None:
    html = render_html(report)
    page = Page(html)
    assert html.startswith("<!DOCTYPE html>")
    used = {tag for tag, _ in page.tags}
    assert not used & {"script", "link", "img", "iframe", "object", "embed", "audio", "video", "form", "base"}
    for tag, attributes in page.tags:
        assert not {"src", "srcset", "action", "data", "poster"} & set(attributes), tag
        assert not any(name.startswith("on") for name in attributes), tag
        if "href" in attributes:
            assert attributes["href"].startswith("#")
    assert not re.search(r"https?:|url\((?!#)|//\w", html)
    policy = next(a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_links_inside_the_page_lead_somewhere() -> None:
    page = Page(render_html(_many()))
    ids = {a["id"] for _, a in page.tags if "id" in a}
    assert {a["href"][1:] for _, a in page.tags if "href" in a} <= ids


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    write_html(sample_report(), tmp_path / "报告 report.html")
    assert (tmp_path / "报告 report.html").read_text(encoding="utf-8") == render_html(sample_report())
    assert render_html(RunReport.from_json(sample_report().to_json())) == render_html(sample_report())


def test_exact_numbers_are_on_the_page() -> None:
    text = Page(render_html(sample_report())).text
    for words in (
        "×6.14 [6.02, 6.26]",
        "×6.42 [6.23, 6.61]",
        "×5.88 [5.76, 6.00]",
        "9.12 ms [8.94, 9.30]",
        "16.1 ms (≤ 17.1 ms)",
        "19.3 ms (no bound)",
        "105 calls/s",
        "0.9127",
        "0.9113",
        "−0.0013 [−0.0061, +0.0034]",
        "1500 examples",
        "1.1 %",
        "Tango score test",
        "812 MB",
        "24.1 MB",
        "6.1 times sooner",
        "after 30,702 calls",
        "×1.71 [1.66, 1.76]",
        "3 m 56 s of 4 m 00 s were used: the budget was kept.",
        "170 GFLOP/s",
        "overhead-bound",
        "strop rerun runs/minilm",
        "engine: openvino",
    ):
        assert words in text, words


@pytest.mark.parametrize("status", list(STATUSES))
def test_every_status_is_rendered_in_words(status: str) -> None:
    report = replace(minimal_report(), trials=(trial(1, "a recipe", status, reason="because"),))
    text = Page(render_html(report)).text
    assert re.search(rf"[●✓✗–?·] {status}", text)
    assert "because" in text


def test_what_was_not_measured_says_so() -> None:
    text = Page(render_html(minimal_report())).text
    for words in (
        "Result per operating point: not measured",
        "Paired ratios: not measured",
        "Waterfall: not measured",
        "Contributions: not measured",
        "Quality: not measured",
        "Latency–quality plot: not measured",
        "Roofline: not measured",
        "Latency of the original: not measured",
        "Trials: no recipe was tried",
        "no recipe was kept",
    ):
        assert words in text, words
    assert text.count("not measured") >= 25
    assert "×" not in text


@pytest.mark.parametrize("verdict", [Verdict.UNDECIDED, Verdict.INVALID])
def test_an_unproven_speed_up_prints_no_ratio_anywhere(verdict: Verdict) -> None:
    gate = Claim(comparisons=(comparison("batch 1", 1.2345, verdict), comparison("all", 1.2345, verdict)))
    report = replace(minimal_report(0), gate=gate, outcome=Outcome(exit_code=0, kept=("29 x",)))
    text = Page(render_html(report)).text
    assert "1.23" not in text
    assert "×" not in text
    assert verdict.value in text


def test_screening_numbers_are_marked_wherever_they_stand() -> None:
    report = replace(minimal_report(), trials=(trial(1, "a recipe", "slower", screen={"all": interval(0.4321)}),))
    html = render_html(report)
    assert html.count("0.432") == 1
    assert re.search(r'<td class="screen">[^/]*×0\.432', html)
    assert "Screen only" in html


def test_hostile_words_stay_words() -> None:
    base = sample_report()
    report = replace(
        base,
        subject=Subject(name=EVIL, reference=EVIL, detail=EVIL, aim=EVIL, max_drop=EVIL),
        outcome=Outcome(exit_code=0, kept=(EVIL,), reason=EVIL),
        host=replace(base.host, cpu=EVIL),
        baseline=(replace(base.baseline[0], point=EVIL),),
        diagnosis=(replace(base.diagnosis[0], point=EVIL, bottleneck=EVIL, reason=EVIL),),
        trials=(trial(1, EVIL, "declined", reason=EVIL, quality=EVIL, tallies={EVIL: {EVIL: 1}}, screen={EVIL: interval(1.0)}),),
        recipe_yaml=EVIL,
        gate=Claim(comparisons=(comparison(EVIL, 2.0), comparison("all", 2.0)), candidate=EVIL, against=EVIL),
        claims=(Claim(comparisons=(comparison(EVIL, 2.0),), candidate=EVIL, against=EVIL),),
        ablation=(replace(base.ablation[0], instruction=EVIL, reason=EVIL, verdict=EVIL),),
        quality=(replace(base.quality[0], metric=EVIL, test=EVIL, note=EVIL),),
        samples=(samples(EVIL, 2.0),),
        pareto=replace(base.pareto, point=EVIL, metric=EVIL, points=(replace(base.pareto.points[0], label=EVIL, status=EVIL),)),  # type: ignore[union-attr,type-var]
        roofline=(replace(base.roofline[0], label=EVIL),),
        environment={EVIL: EVIL},
        findings=(Finding(code=EVIL, message=EVIL, advice=EVIL),),
        commands=(Command(line=EVIL, what=EVIL),),
        error_rate=EVIL,
        self_test=EVIL,
        version=EVIL,
        started=EVIL,
    )
    html = render_html(report)
    page = Page(html)
    assert "<script" not in html
    assert 'alert("x")' not in html
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count('alert("x")') >= 30


def test_drawings_have_names_descriptions_and_tables_have_headings() -> None:
    html = render_html(sample_report())
    drawings = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(drawings) == 4
    for drawing in drawings:
        assert re.search(r"<title id=.*?>.+?</title><desc id=.*?>.+?</desc>", drawing, flags=re.DOTALL)
        assert 'role="img"' in drawing
    assert html.count('scope="row"') >= 40


def test_a_long_list_of_losers_is_cut_and_says_so() -> None:
    report = replace(minimal_report(), trials=tuple(trial(n, f"recipe {n}", "slower") for n in range(60)))
    text = Page(render_html(report)).text
    assert "and 52 more" in text
    assert "recipe 59" in text
