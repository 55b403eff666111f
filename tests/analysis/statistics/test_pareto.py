"""No point on the front is dominated, and every other point is."""

from hypothesis import given
from hypothesis import strategies as st

from latentbench.analysis.statistics.pareto import front

POINTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30)


def beats(a, b):
    """A costs no more and gains no less, and one of the two is better."""
    return a[0] <= b[0] and a[1] >= b[1] and a != b


@given(POINTS)
def test_pareto_front_has_the_undominated_models(points):
    kept = front([cost for cost, _ in points], [gain for _, gain in points])
    on_front = {points[position] for position in kept}
    assert on_front == {point for point in points if not any(beats(other, point) for other in points)}
    assert len(kept) == len(on_front)  # equal points once
    assert [points[position][0] for position in kept] == sorted(points[position][0] for position in kept)
