"""Texts into sections: along headings, paragraphs whole, nothing lost, nothing too long."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from parlance.knowledge.split import FEW, MOST, MOST_CHARS, TARGET, Section, sections, split
from parlance.site import Faq, Passage

DELIVERY = """# Delivery

We post on working days.

## Abroad

- Norway: 12 days

### Customs
Duties are *yours* to pay.

## Collecting
Come by.
"""


def cut(text: str, title: str = "Delivery", url: str = "https://fern.example/delivery") -> list[Section]:
    return list(split(Passage(title, text, url)))


def words(count: int, sentence: int = 10) -> str:
    return " ".join(f"word{n}." if n % sentence == 0 else f"word{n}" for n in range(1, count + 1))


def test_each_heading_begins_a_section_that_knows_what_it_stands_below():
    assert [(each.headings, each.text) for each in cut(DELIVERY)] == [
        ((), "We post on working days."),
        (("Abroad",), "- Norway: 12 days"),
        (("Abroad", "Customs"), "Duties are *yours* to pay."),
        (("Collecting",), "Come by."),
    ]


def test_a_section_is_called_by_its_title_and_headings_and_keeps_the_address():
    customs = cut(DELIVERY)[2]
    assert customs.heading == "Delivery › Abroad › Customs"
    assert customs.url == "https://fern.example/delivery"


def test_underlined_headings_count_and_so_do_headings_with_markup():
    found = cut("Costs\n=====\na\n\n[Norway](https://x.example) and **more**\n---\nb\n")
    assert [each.headings for each in found] == [("Costs",), ("Costs", "Norway and more")]


def test_a_rule_between_paragraphs_is_no_heading():
    assert [each.headings for each in cut("one\ntwo\n---\nthree\n\n- item\n---\nfour")] == [()]


def test_front_matter_is_no_text():
    assert [each.text for each in cut("---\ntitle: Delivery\nlayout: page\n---\nWe post.\n")] == ["We post."]


def test_a_hash_inside_code_is_no_heading():
    found = cut("```sh\n# install it\nmake run\n```\n")
    assert [each.text for each in found] == ["```sh\n# install it\nmake run\n```"]


def test_short_paragraphs_share_a_section_up_to_the_target():
    found = cut("\n\n".join(words(60) for _ in range(5)))
    assert [len(each.text.split()) for each in found] == [120, 120, 60]


def test_a_paragraph_is_kept_whole_beyond_the_target():
    assert [len(each.text.split()) for each in cut(words(TARGET + 100))] == [TARGET + 100]


def test_a_last_word_is_not_left_alone():
    found = cut(words(TARGET) + "\n\n" + words(FEW - 10))
    assert [len(each.text.split()) for each in found] == [TARGET + FEW - 10]


def test_what_ends_in_a_colon_stays_with_its_list():
    found = cut(words(100) + "\n\nIt costs:\n\n" + "\n".join(f"- item {n} for {n} pounds" for n in range(20)))
    assert "It costs:\n\n- item 0" in found[0].text


def test_a_paragraph_that_is_too_long_is_parted_between_sentences():
    found = cut(words(1000))
    assert len(found) > 5
    assert all(each.text.endswith(".") for each in found)


def test_each_part_of_a_long_table_has_its_head():
    found = cut("| what | price |\n|---|---:|\n" + "\n".join(f"| umbrella {n} | {n} pounds |" for n in range(200)))
    assert len(found) > 5
    assert all(each.text.startswith("| what | price |\n|---|---:|\n| umbrella") for each in found)


def test_each_part_of_long_code_is_fenced():
    found = cut("~~~py\n" + "\n".join(f"x = {n}" for n in range(500)) + "\n~~~")
    assert len(found) > 5
    assert all(each.text.startswith("~~~py\n") and each.text.endswith("\n~~~") for each in found)


def test_a_text_without_spaces_or_ends_is_parted_too():
    for endless in ("x" * 20_000, "傘を直します。" * 2_000, "傘" * 20_000):
        found = cut(endless)
        assert all(len(each.text) <= MOST_CHARS for each in found)
        assert "".join("".join(each.text.split()) for each in found) == endless


def test_a_blank_text_has_no_section():
    assert cut(" \n\n \n") == cut("# Only a heading\n") == []


def test_questions_and_answers_are_sections_too():
    found = list(sections([Passage("Visit", "Come by.")], [Faq("Do you gift-wrap? ", "Yes, free.")]))
    assert [(each.heading, each.text) for each in found] == [("Visit", "Come by."), ("Do you gift-wrap?", "Yes, free.")]


LINES = st.sampled_from(
    [
        *(
            "",
            "# One",
            "### Three",
            "text here",
            "- item",
            "| a | b |",
            "|---|---|",
            "```",
            "~~~",
            "===",
            "---",
            "1. x",
        ),
        *("1. x", words(30), words(700), "x" * 4000, "   ", "    code", "Ends so:", "…。！", "\u2028", "\x0b"),
    ]
)


@given(st.lists(LINES, max_size=30))
def test_whatever_the_text_no_section_is_blank_or_too_long_and_no_word_is_lost(lines):
    text = "\n".join(lines)
    found = cut(text, title="a title")
    assert all(each.text.strip() for each in found)
    assert all(len(each.text.split()) <= MOST and len(each.text) <= MOST_CHARS for each in found)
    kept = " ".join(" ".join((*each.headings, each.text)) for each in found)
    for word in set(re.findall(r"word\d+", text)):
        assert word in kept
