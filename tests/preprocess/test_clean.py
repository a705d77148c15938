import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm4rec.preprocess.clean import clean_text, is_missing_number, parse_price, storable


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("plain", "plain"),
        ("AT&T, R&D & &notanentity;", "AT&T, R&D & &notanentity;"),
        ("5 < 6 > 4 <3 <unnamed> a<b", "5 < 6 > 4 <3 <unnamed> a<b"),
        ("Tom &amp; Ann &#39;n&#x27; &eacute;", "Tom & Ann 'n' é"),
        ("&amp;amp;lt;3", "<3"),
        ("<p>One</p><p class='x'>Two</p>", "One\nTwo"),
        ("Bold<b>er</b> <A HREF='x'>link</A>", "Bolder link"),
        ("<ul><li>One<li>Two</ul>", "One\nTwo"),
        ("&lt;br&gt;x", "x"),
        ("a<script type='x'>if (1<2) {}</script>b<!-- c -->d<style>e</style>", "a b d"),
        ("a <!-- never closed", "a never closed"),
        ("a\x00b\u200bc\ufeff\x1fd", "abc\nd"),
        ("  a \t\u00a0 b \r\n\r\n  c  ", "a b\nc"),
        ("&#0;&#xD800;", "\ufffd\ufffd"),
        ("\ud800", "?"),
        ("", ""),
    ],
)
def test_texts_lose_their_html(raw, expected):
    assert clean_text(raw) == expected


@given(st.text())
def test_cleaning_gives_text_that_can_be_stored_and_needs_no_trimming(text):
    cleaned = clean_text(text)
    assert cleaned.encode().decode() == cleaned == cleaned.strip()
    assert "\0" not in cleaned and "\r" not in cleaned


@given(st.text(st.characters(categories=["L", "N"], include_characters=" .,;:!?'-")))
def test_words_and_signs_stay_as_they_are(text):
    assert clean_text(text).split() == text.split()


@given(st.text(st.characters(categories=["Cs", "L"])))
def test_half_surrogate_pairs_can_be_stored(text):
    assert len(storable(text)) == len(text)
    assert storable(text).encode().decode() == storable(text)


@pytest.mark.parametrize("part", ["<!--", "<script>", "<a ", "<p", "&", "&amp", " \n", "\r\n \t", "<!-- -->", "</b "])
def test_cleaning_takes_time_in_proportion_to_the_text(part):
    start = time.perf_counter()
    clean_text(part * 100_000)
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("12.99", 12.99),
        ("$1,299.00", 1299.0),
        ("1.299,00 €", 1299.0),
        ("1.299.000", 1_299_000.0),
        ("12,99,000.50", 1_299_000.5),
        ("1'299", 1299.0),
        ("1 299,5", 1299.5),
        ("1\u202f299 kr", 1299.0),
        ("1,299", 1299.0),
        ("1,29", 1.29),
        ("1234,567", 1234.567),
        ("from 12.99", 12.99),
        ("From $12.99", 12.99),
        ("12.99 - $15.99", 12.99),
        ("$3 to $4", 3.0),
        ("US$5", 5.0),
        ("CHF 5", 5.0),
        ("  $ 5 ", 5.0),
        ("0", 0.0),
        ("—", None),
        ("", None),
        ("$", None),
        ("Currently unavailable", None),
        ("3 for 2", None),
        ("lot 5", None),
        ("-5", None),
        ("1,2,3", None),
        ("3 2", None),
        ("1.2.3", None),
        ("٣", None),
        ("9" * 400, None),
        ("5\n", 5.0),
    ],
)
def test_prices_as_shops_print_them(raw, expected):
    assert parse_price(raw) == expected


@given(st.text() | st.from_regex(r"[$€]?[0-9., ']{0,12}( ?- ?[0-9.,]{0,6})?", fullmatch=True))
def test_any_text_gives_a_finite_number_that_is_not_negative_or_nothing(text):
    found = parse_price(text)
    assert found is None or (found >= 0 and math.isfinite(found))


CENTS = st.integers(0, 10**11)


@given(CENTS)
def test_american_prices_come_back(cents):
    shown = f"{cents // 100:,}.{cents % 100:02d}"
    for text in (shown, f"${shown}", f"from ${shown}", f"{shown} USD", f"${shown} - $9,999,999,999.00"):
        assert parse_price(text) == float(f"{cents // 100}.{cents % 100:02d}")


@given(CENTS, st.sampled_from([".", "'", "’", " ", "\u00a0", "\u202f"]))
def test_european_prices_come_back(cents, mark):
    whole = f"{cents // 100:,}".replace(",", mark)
    assert parse_price(f"{whole},{cents % 100:02d} €") == float(f"{cents // 100}.{cents % 100:02d}")


@pytest.mark.parametrize("word", ["", " ", "—", "-", "N/A", "NaN", "None", "null", "unknown", "\\N", "?"])
def test_words_for_a_missing_number(word):
    assert is_missing_number(word)
    assert parse_price(word) is None


def test_a_number_is_not_missing():
    assert not any(map(is_missing_number, ["0", "-1", "cheap", "inf"]))
