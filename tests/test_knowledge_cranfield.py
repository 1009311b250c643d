"""The figures that search is held to: quality on the Cranfield collection, time on ten thousand sections.

The collection lies beside the project, not in it. Where it is missing, these tests are skipped and say so; how search
behaves is tested elsewhere, without it.
"""

from __future__ import annotations

import pytest

from bench import retrieval

pytestmark = pytest.mark.skipif(
    not retrieval.CRANFIELD.exists(), reason=f"the Cranfield collection is not at {retrieval.CRANFIELD.parent}"
)


@pytest.fixture(scope="module")
def collection() -> retrieval.Collection:
    return retrieval.read()


def test_it_finds_better_than_lucene_with_what_every_site_gets(collection):
    assert retrieval.ndcg(collection, retrieval.as_a_site(collection)) >= 0.56


def test_it_finds_as_well_in_whole_documents(collection):
    assert retrieval.ndcg(collection, retrieval.as_documents(collection)) >= 0.56


def test_an_order_without_sense_scores_low_and_a_perfect_one_scores_1(collection):
    assert retrieval.ndcg(collection, lambda question: [str(n) for n in range(1, 11)]) < 0.05
    ideal = {
        question: sorted(collection.gains[number], key=collection.gains[number].__getitem__, reverse=True)
        for number, question in enumerate(collection.questions, 1)
    }
    assert retrieval.ndcg(collection, ideal.__getitem__) == pytest.approx(1)


def test_ten_thousand_sections_are_read_in_five_seconds_and_searched_in_five_milliseconds(collection):
    times = retrieval.timed(collection)
    assert times.build_s < 5
    assert times.p99_ms < 5
