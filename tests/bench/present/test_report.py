"""Figures and the report of a run on disk, as the command line makes them."""

from html.parser import HTMLParser

import pytest
from shared.stored_runs import HOSTILE, arrays

from latentbench.bench.present.report import write_report
from latentbench.data.errors import LatentbenchError

pytestmark = pytest.mark.usefixtures("as_png")


class Page(HTMLParser):
    """The page as a browser parses it: text, tags, and everything it refers to."""

    def __init__(self, text):
        super().__init__()
        self.text, self.tags, self.references, self.titles, self.classes = [], [], [], [], {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "srcset", "action", "data", "poster"):
                self.references.append(value)
            if name == "title":
                self.titles.append(value)

    def handle_data(self, data):
        self.text.append(data)

    @property
    def plain(self):
        return " ".join(" ".join(self.text).split())


@pytest.fixture
def page(run, store):
    return Page(write_report(run, store).read_text(encoding="utf-8"))


def test_the_report_refers_to_nothing_outside_itself(run, store, page):
    text = write_report(run, store).read_text(encoding="utf-8")
    assert page.references
    assert all(reference.startswith(("#", "data:image/png;base64,")) for reference in page.references)
    assert "@import" not in text
    assert "url(" not in text
    assert "link" not in page.tags


def test_the_report_lies_under_reports_by_the_suites_name(run, store):
    assert write_report(run, store) == store.root / "reports" / "my.html"


def test_every_model_and_its_numbers_are_shown_as_in_the_table(page):
    assert {"ae-2", "ae-8", f"ae-64 {HOSTILE}"} <= set(page.text)
    assert "0.0432" in page.plain
    assert "512.2" in page.plain


def test_a_null_is_a_dash_with_its_reason(page):
    assert "not available" in page.titles
    assert "not available" in page.text


def test_what_comes_from_a_run_is_escaped(run, store, page):
    text = write_report(run, store).read_text(encoding="utf-8")
    assert "<script>alert(1)" not in text
    assert HOSTILE not in text
    assert page.tags.count("script") == 1
    assert "loss <script>alert(1)</script>" in page.plain


def test_problems_come_before_the_results(page):
    problem = page.plain.index(f"ae-64 {HOSTILE}, seed 0: diverged")
    assert "1 problem" in page.plain
    assert problem < page.plain.index("What the metrics mean")
    assert problem < page.plain.index("Data")


def test_where_the_numbers_come_from_is_stated(page):
    for fact in (
        "Some CPU, 2 cores",
        "24 GiB",
        "torch 2.11",
        "commit 00000000",
        "60,000 train",
        "6 s measuring",
    ):
        assert fact in page.plain
    assert "latentbench run my.yaml --seeds 1" in page.plain


def test_a_report_without_its_environments_file_names_the_hash(run, store):
    (store.root / "environments" / "env.json").unlink()
    assert "env" in Page(write_report(run, store).read_text(encoding="utf-8")).text


def test_the_best_of_a_column_is_marked_if_it_has_a_direction(run, store):
    text = write_report(run, store).read_text(encoding="utf-8")
    headline = text[text.index("<tbody>") : text.index("</tbody>")]
    assert headline.count('class="best"') == 1
    assert 'class="best" data-value="0.02"' in headline


def test_over_seeds_the_interval_is_shown(save, store, make_record):
    cases = [(make_record(seed=seed, mse=value), arrays()) for seed, value in enumerate((0.01, 0.02, 0.03))]
    plain = Page(write_report(save(*cases), store).read_text(encoding="utf-8")).plain
    assert "0.020 ± 0.025" in plain
    assert "--seeds 3" in plain


def test_report_without_figures_is_written(save, store, make_record):
    run = save((make_record(mse=None, status="failed", reason="no memory"), None))
    assert "no memory" in Page(write_report(run, store).read_text(encoding="utf-8")).plain


def test_an_empty_run_has_no_report(save, store):
    with pytest.raises(LatentbenchError, match="no records"):
        write_report(save(), store)


# Several data sets


def test_a_report_names_the_data_set_of_every_row(save, store, make_record):
    """The best value is that of a data set, and no figure mixes two."""
    records = [
        make_record(latent_dim=width, mse=mse, data=data)
        for data, values in (("mnist", (0.1, 0.2)), ("digits", (0.3, 0.4)))
        for width, mse in zip((2, 8), values, strict=True)
    ]
    page = write_report(save(*((record, arrays()) for record in records)), store).read_text(encoding="utf-8")
    assert page.count('<td class="data"><bdi>digits</bdi></td>') == 2
    assert "digits, 60,000 train and 10,000 test images; mnist, 60,000" in Page(page).plain
    assert page.count('<td class="best" data-value') == 2
    assert 'id="reconstructions-0"' in page
    folders = (store.root / "figures" / "my").glob("*/reconstructions.png")
    assert {path.parent.name for path in folders} == {"digits", "mnist"}
