"""Verifier `instructions`: each of IFEval's 25 instructions, followed and not, as IFEval's own code decides."""

import json

import pytest

from stages.prompting.prompt import Prompt
from stages.rewards.grading import explain, grade, reference_problem
from stages.rewards.verifiers.instruction_checks import CHECKS, num_capital_words, num_sentences
from stages.rewards.verifiers.instructions import follows


def check(kind: str, **given) -> dict:
    return {"id": kind, **given}


def a_prompt(*checks: dict) -> Prompt:
    return Prompt("p", "?", "file", "reasoning", "en", "", "instructions", json.dumps(checks))


WORDS = check("keywords:existence", keywords=["rain", "C++"])
FORBIDDEN = check("keywords:forbidden_words", forbidden_words=["rain", "C++", "雨"])
PARAGRAPHS = check("length_constraints:number_paragraphs", num_paragraphs=2)
FIRST = check("length_constraints:nth_paragraph_first_word", num_paragraphs=2, nth_paragraph=2, first_word="Rain")
HIGHLIGHTS = check("detectable_format:number_highlighted_sections", num_highlights=2)
SECTIONS = check("detectable_format:multiple_sections", section_spliter="SECTION", num_sections=2)
BULLETS = check("detectable_format:number_bullet_lists", num_bullets=2)
RESPONSES, TITLE = check("combination:two_responses"), check("detectable_format:title")
JSON, QUOTED = check("detectable_format:json_format"), check("startend:quotation")
UPPER, LOWER = check("change_case:english_capital"), check("change_case:english_lowercase")
NO_COMMA, PS = check("punctuation:no_comma"), check("detectable_content:postscript", postscript_marker="P.S.")
PPS = check("detectable_content:postscript", postscript_marker="P.P.S")
END = check("startend:end_checker", end_phrase="Any other questions?")
REPEAT = check("combination:repeat_prompt", prompt_to_repeat="Say it.")
GERMAN = check("language:response_language", language="de")
CASES = [
    (WORDS, "Rain in c++", "Rain in C"),
    (WORDS, "training C++", "c++"),  # a part of a word is enough
    (FORBIDDEN, "training, C", "Rain."),
    (FORBIDDEN, "x", "I use C++ here"),  # a sign at the end of a word
    (FORBIDDEN, "x", "下雨了"),  # no spaces around it
    (check("keywords:frequency", keyword="the", relation="at least", frequency=2), "the other", "the"),
    (check("keywords:frequency", keyword="the", relation="less than", frequency=2), "the", "the The"),
    (check("keywords:letter_frequency", letter="A", let_relation="at least", let_frequency=2), "aA", "ab"),
    (check("keywords:letter_frequency", letter="#", let_relation="at least", let_frequency=2), "##", "#a"),
    (check("length_constraints:number_words", relation="at least", num_words=3), "well-known x", "don't"),
    (check("length_constraints:number_words", relation="less than", num_words=3), "a b", "a b c"),
    (check("length_constraints:number_sentences", relation="at least", num_sentences=2), "One. Two", "Dr. A. Smith"),
    (check("length_constraints:number_sentences", relation="less than", num_sentences=3), "1. One", "1. One. Two."),
    (PARAGRAPHS, "one\n***\ntwo", "one"),
    (PARAGRAPHS, "***\none\n***\ntwo\n***", "one\n***\n\n***\ntwo"),  # an empty part in the middle
    (FIRST, "a b\n\nrain, it is", "a b\n\nthe rain"),
    (FIRST, "a\n\n'Rain' x", "a\n\n**Rain** x"),
    (FIRST, "a\n\nRAIN", "a\n\n\n\nRain"),  # empty ones are numbered, as by IFEval
    (FIRST, "a\n\nrain", "a\n\nrain\n\nb"),
    (check("detectable_content:number_placeholders", num_placeholders=2), "[a] and [b]", "[a [b]]"),
    (PS, "Bye. P.S. x", "Bye. PS x"),
    (PS, "x\np. s. x", "x"),
    (PPS, "P.P.S x", "P.S. x"),
    (BULLETS, "* a\n- b", "* a"),
    (BULLETS, "- a\n- b", "**a**\n- b"),
    (check("detectable_format:constrained_response"), "So: My answer is no.", "My answer is no"),
    (HIGHLIGHTS, "*a* and **b**", "** ** and *b*"),
    (HIGHLIGHTS, "***both***", "* a\n* b"),
    (SECTIONS, "SECTION 1\nx\nSECTION 2", "SECTION 1\nx\nSECTION   2"),
    (JSON, '```json\n{"a": 1}\n```', "{'a': 1}"),
    (JSON, "[1]", "[" * 100_000),
    (TITLE, "<<a title>>", "<< >>"),
    (TITLE, "<<<a>>>", "<<a\nb>>"),
    (RESPONSES, "one\n******\ntwo", "one\n******\none"),
    (RESPONSES, "******\none\n******\ntwo\n******", "one\n******\n\n******\ntwo"),
    (RESPONSES, "one******two", "one******two******three"),
    (REPEAT, "say IT. Yes.", "I say it."),
    (END, 'So "Any other questions?"', "Any other questions? No."),
    (QUOTED, '"yes"', 'yes "no"'),
    (QUOTED, '""', '"'),
    (
        check("change_case:capital_word_frequency", capital_relation="at least", capital_frequency=2),
        "U.S.A. OK",
        "U.S.A.",
    ),
    (check("change_case:capital_word_frequency", capital_relation="less than", capital_frequency=2), "X-RAY", "AT&T"),
    (UPPER, "THE RAIN FALLS ON THE ROOF.", "THE RAIN falls"),
    (UPPER, "WE LIKE THE U.S.A.", "LA PLUIE TOMBE SUR LE TOIT DE LA MAISON"),  # it is to be English too
    (UPPER, "I LIKE RAIN", "123"),
    (LOWER, "the rain falls on the roof.", "der regen fällt auf das dach des hauses"),
    (LOWER, "i like rain", "I like rain"),
    (NO_COMMA, "a; b", "a, b"),
    (NO_COMMA, "a b", "a\uff0c b"),  # commas of other scripts are commas
    (GERMAN, "Der Regen fällt auf das Dach.", "The rain falls on the roof."),
    (GERMAN, "DER REGEN FÄLLT AUF DAS DACH", "12 + 3"),  # no words: no language
]


@pytest.mark.parametrize("given, followed, missed", CASES)
def test_instructions(given, followed, missed):
    assert follows(followed, given) and not follows(missed, given)
    prompt = a_prompt(given)
    assert reference_problem(prompt) is None
    assert (grade(f"<think>x</think>{followed}", prompt), grade(f"<think>x</think>{missed}", prompt)) == (1, 0)


def test_all_25_are_tried():
    assert {given["id"] for given, _, _ in CASES} == set(CHECKS) and len(CHECKS) == 25


@pytest.mark.parametrize(
    "language", ["fr", "es", "it", "pt", "ru", "ar", "hi", "ja", "ko", "th", "vi", "zh", "fa", "bg"]
)
def test_languages(language):
    texts = {
        "fr": "La pluie tombe sur le toit de la maison.",
        "es": "La lluvia cae sobre el tejado de la casa.",
        "it": "La pioggia cade sul tetto della casa.",
        "pt": "A chuva cai sobre o telhado da casa e não para.",
        "ru": "Дождь падает на крышу дома.",
        "ar": "يسقط المطر على سطح البيت.",
        "hi": "घर की छत पर बारिश हो रही है।",
        "ja": "雨が家の屋根に降ります。",
        "ko": "비가 집 지붕 위에 내립니다.",
        "th": "ฝนตกบนหลังคาบ้าน",
        "vi": "Mưa rơi trên mái nhà và không ngừng.",
        "zh": "雨落在房顶上。",
        "fa": "باران روی سقف خانه می\u200cبارد و ما چای می\u200cنوشیم.",
        "bg": "Дъждът пада върху покрива на къщата и не спира.",
    }
    given = check("language:response_language", language=language)
    assert follows(texts[language], given)
    assert not follows("The rain falls on the roof of the house.", given)


@pytest.mark.parametrize(
    "text, number",
    [
        ("", 0),
        ("The U.S.A. and NATO.", 2),
        ("WELL-KNOWN X-RAY", 2),
        ("AT&T", 2),
        ("DON'T CANNOT IT'S", 6),  # each two words for NLTK
        ("O'NEIL A/B", 2),
        ("A,B X:Y 4:5", 4),
        ("A\u2014B A--B A-B", 5),
        ("(NATO) **NATO** \u201cNATO\u201d", 3),
        ("iPhone Nato 42", 0),
    ],
)
def test_words_in_capitals(text, number):
    assert num_capital_words(text) == number


@pytest.mark.parametrize(
    "text, number",
    [
        ("One. Two! Three?", 3),
        ("Mr. Smith lives in the U.S. with Dr. J. Jones.", 1),
        ("It costs 3.50 dollars, i.e. nothing. No?!", 3),
        ("A title\n\nand no end", 1),
        ("1. First.\n2. Second.", 4),
        ("Wait... what?", 1),
        ('He said "Go." Then he left.', 2),
        ("Yes. ! ! ! !", 1),  # signs alone are no sentences
    ],
)
def test_sentences(text, number):
    assert num_sentences(text) == number


@pytest.mark.parametrize(
    "checks, words",
    [
        ([check("keywords:existence", keywords=[])], "must be a list of texts"),
        ([check("keywords:existence", keywords="rain")], "must be a list of texts"),
        ([check("keywords:forbidden_words", forbidden_words=[""])], "must be a list of texts"),
        ([check("startend:end_checker", end_phrase=" ")], "not empty"),
        ([check("combination:repeat_prompt", prompt_to_repeat="")], "not empty"),
        ([check("keywords:frequency", keyword="a", relation="at most", frequency=2)], "neither"),
        ([check("keywords:frequency", keyword="a", relation="at least")], "frequency"),
        ([check("language:response_language", language="xx")], "ISO 639-1"),
        ([check("length_constraints:number_words", relation="at least", num_words="many")], "many"),
        ([check("a:b")], "'a:b' is not known"),
        ([], "no instructions"),
    ],
)
def test_instructions_that_cannot_be_checked(checks, words):
    assert words in reference_problem(a_prompt(*checks))


def test_nothing_follows_nothing():
    assert grade("<think>x</think>", a_prompt(NO_COMMA)) == 0 and grade("x", a_prompt()) == 0
    assert grade("<think>a, b</think><answer>a b</answer>", a_prompt(NO_COMMA)) == 1


def test_what_is_explained():
    prompt = a_prompt(NO_COMMA, JSON)
    names = "punctuation:no_comma, detectable_format:json_format"
    assert explain("1", prompt) == (names, "1", "The text follows every instruction.")
    assert explain("a b", prompt) == (names, "a b", "The text does not follow detectable_format:json_format.")
    assert explain("<think>1</think>", prompt)[1:] == (None, "The completion has no text after its thought.")
    assert explain("1", a_prompt()).why == "The instructions cannot be used: it has no instructions to check."
