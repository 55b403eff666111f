"""The page of the audit."""

from latentbench.analysis.audit.battery import BatterySize
from latentbench.analysis.audit.verdicts import AuditCell
from latentbench.bench.maintain.audit_page import page


def cell(kind, measure, verdict, failed=(), support=None):
    check = "gaussian-mean-difference"
    return AuditCell(check, "Gaussian, mean", "bounds", kind, measure, verdict, failed, support)


def test_the_page_has_both_tables_and_what_differs():
    cells = [
        cell("fidelity", "precision", "fail"),
        cell("fidelity", "overlap", "unmeasured"),
        cell("diversity", "recall", "pass", support=0.6),
        cell("diversity", "overlap", "low"),
    ]
    text = page(cells, BatterySize())
    assert "| Gaussian, mean | bounds | ✗ | – |" in text
    assert "| passed | of 1 | 0 | 0 |" in text
    assert "| Gaussian, mean | bounds | ✓ | low |" in text
    assert "1 of 2 published verdicts came out." in text
    assert "recall, Gaussian, mean, bounds: pass, published fail; 60% of resampled repeats agree" in text
    assert "1,000 points; mean of 10 repeats (" in text
