"""Records that differ by seed, and what a comparison says of them."""


def verdicts(comparison):
    return {finding.metric: finding.verdict for finding in comparison.findings}


def only(comparison):
    (finding,) = comparison.findings
    return finding


def seeds(make_record, metric, values, **more):
    return [make_record(**{metric: value}, seed=seed, **more) for seed, value in enumerate(values)]
