"""Language consistency [N eq. 7]: scripts, languages that share one, what is no language; worked by hand."""

import pytest

from scripts.language_table import KINDS, measure, measure_halves, read_texts
from stages.config import ConfigError, DataConfig, from_dict
from stages.config.languages import CODES, SCRIPTS, language_problem
from stages.text.language import count_words, identify, language_consistency
from tests.support.paths import REPOSITORY

SENTENCES = {
    "en": "First we add the two numbers and then we take away seven.",
    "fr": "D'abord nous additionnons les deux nombres et ensuite nous enlevons sept.",
    "de": "Zuerst addieren wir die beiden Zahlen und dann ziehen wir sieben ab.",
    "es": "Primero sumamos los dos números y después restamos siete.",
    "it": "Prima sommiamo i due numeri e poi togliamo sette dal totale.",
    "ru": "Сначала мы складываем два числа, а затем вычитаем семь.",
    "uk": "Спочатку ми додаємо два числа, а потім віднімаємо сім.",
    "ar": "أولا نجمع العددين ثم نطرح سبعة من المجموع.",
    "fa": "ابتدا دو عدد را با هم جمع می‌کنیم و سپس هفت را کم می‌کنیم.",
    "hi": "पहले हम दो संख्याओं को जोड़ते हैं और फिर सात घटाते हैं।",
    "ja": "まず二つの数を足して、それから七を引きます。",
    "zh": "首先我们把两个数字相加,然后再减去七。",
    "ko": "먼저 두 수를 더한 다음 일곱을 뺍니다.",
    "el": "Πρώτα προσθέτουμε τους δύο αριθμούς και μετά αφαιρούμε επτά.",
    "th": "ก่อนอื่นเราบวกเลขสองตัวแล้วลบเจ็ด",
    "he": "קודם נחבר את שני המספרים ואז נחסר שבע.",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_a_text_in_its_language_is_consistent_and_in_others_is_not(language):
    assert language_consistency(SENTENCES[language], language) == 1.0
    assert identify(SENTENCES[language]) == language
    for other, sentence in SENTENCES.items():
        if other != language:
            assert language_consistency(sentence, language) == 0.0, (language, other)


def test_the_right_language_earns_and_another_one_does_not():
    """20 languages x prose, mathematics, code, short sentences and all of them: the table of docs/verifiers.md."""
    texts = read_texts()
    found = list(measure(texts))
    assert len(found) == 20 * len(KINDS)
    for one in found:
        assert one.own >= 0.9 and one.other <= 0.1, one


def test_a_text_of_two_languages_earns_its_share():
    halves = list(measure_halves(read_texts()))
    assert len(halves) == 20
    for half in halves:
        assert half.share == pytest.approx(half.expected, abs=0.03), half


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("de", "Gut. Also $x=3$. Hm, warte. Stimmt das? Probe: $3+4=7$. Passt."),
        ("de", "**Schritt 1:** Wir haben 3x + 5 = 20.\n**Schritt 2:** Also 3x = 15, x = 5.\n**Antwort:** 5"),
        ("de", "Ich addiere die Zahlen."),
        ("it", "**Passo 1:** Abbiamo 3x + 5 = 20.\n**Passo 2:** Quindi 3x = 15, x = 5.\n**Risposta:** 5"),
        ("fi", "Odota. Tämä on väärin. Tarkistan uudelleen. Ensin lasken yhteen. Sitten vähennän kaksi."),
        ("hu", "Várj. Ez rossz. Még egyszer ellenőrzöm. Először összeadom őket. Aztán kivonok kettőt."),
        ("pt", "Somamos as maçãs. São doze ao todo. Tiramos quatro. Restam oito maçãs."),
        ("tr", "**Adım 1:** 3x + 5 = 20 verildi.\n**Adım 2:** O halde 3x = 15, x = 5.\n**Cevap:** 5"),
        ("vi", "**Bước 1:** Ta có 3x + 5 = 20.\n**Bước 2:** Vậy 3x = 15, x = 5.\n**Đáp án:** 5"),
    ],
)
def test_short_sentences_are_judged_together_with_their_neighbours(language, text):
    assert language_consistency(text, language) == 1.0 and language_consistency(text, "en") == 0.0


def test_a_name_or_a_term_between_sentences_is_not_foreign():
    text = "First we add both of the numbers here. Voilà. Leonhard Euler. Then we take away seven from the sum."
    assert language_consistency(text, "en") == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "Пусть sin x = 1, тогда max f = 3, а log a = 2.",
        "在三角形ABC中，AB = 5 cm，gcd(4, 6) = 2，\\begin{align*} a &= b \\end{align*} 所以 a 是偶数。",
        "لتكن الدالة sin x حيث min f = 0 في المثلث ABC، إذن lim f = 1",
        "मान लो कि sin x = 1 और त्रिभुज ABC में AB = 5 cm है।",
    ],
)
def test_notation_is_no_word_of_a_text_in_another_script(text):
    own = {"П": "ru", "在": "zh", "ل": "ar", "म": "hi"}[text[0]]
    assert language_consistency(text, own) == 1.0 and language_consistency(text, "en") == 0.0


def test_letters_beside_latin_words_count():
    assert language_consistency("我们 read a book 吧", "zh") == pytest.approx(3 / 6)


def test_code_outside_of_a_block_is_no_language():
    for code in (
        "for number in range(10):",
        "total = sum(n for n in values)",
        "    return max_value(first, second)",
        "int total = first + second;",
        "import numpy as np; print(np.sum(values))",
        "```python\nwhile this is never closed",
        "\\begin{cases} x & \\text{if it is even} \\end{cases}",
    ):
        assert language_consistency(f"Wir zählen die geraden Zahlen.\n{code}", "de") == 1.0
        assert count_words(f"我们数\n{code}") == {"CJK": 3}, code
    assert count_words("for this we need the sum (of both):") == {"LATIN": 8}


def test_han_characters_are_those_of_their_neighbours():
    chinese = "等一下。这不对。我再检查一遍。先把两个数加起来。"
    assert language_consistency(chinese, "ja") == 0.0 and language_consistency(chinese, "zh") == 1.0
    japanese = "まず二つの数を足します。合計七。次に三を引きます。"
    assert language_consistency(japanese, "ja") == 1.0 and language_consistency(japanese, "zh") == 0.0


def test_a_hostile_text_costs_no_more_than_its_length():
    import time

    started = time.perf_counter()
    for piece in ("\\begin{align}", "for (x ", "x =", "a_", "print(", "aB", "\\[", "a", "while x ", "x = y% "):
        count_words(piece * 10_000)
    assert time.perf_counter() - started < 10


def test_a_foreign_sentence_among_others_counts_by_its_words():
    """12 English words, 7 French ones: shares of all 19."""
    english, french = (
        "First we add the two numbers and then we take away seven.",
        "Ensuite nous enlevons sept du résultat obtenu.",
    )
    assert language_consistency(f"{english}\n{french}", "en") == pytest.approx(12 / 19)
    assert language_consistency(f"{english}\n{french}", "fr") == pytest.approx(7 / 19)


def test_short_passages_of_a_shared_script_are_not_judged():
    """Names and terms: too little to tell, so for the target; another script is told from one word."""
    assert language_consistency("voilà, ergo", "en") == 1.0
    assert language_consistency("so ответ", "en") == 0.5 == language_consistency("so ответ", "ru")


def test_formulas_code_tags_and_links_are_no_words():
    text = (
        "Nous avons $x = \\text{the answer of the question}$ et `for each in list: "
        "pass` puis <answer> \\frac{x}{y} https://example.org/the/page 12"
    )
    assert count_words(text) == {"LATIN": 4} and language_consistency(text, "fr") == 1.0
    assert count_words("x² + yˣ, ½ of Δ and 𝑥") == {"LATIN": 2}  # of, and


def test_scripts_without_spaces_count_characters_and_leave_words_whole():
    assert count_words("我们用GPU算") == {"CJK": 4, "LATIN": 1}
    assert language_consistency("我们用GPU算", "zh") == 0.8 and language_consistency("我们用GPU算", "en") == 0.2
    assert count_words("x는 수") == {"HANGUL": 2}


def test_han_characters_beside_kana_are_japanese():
    assert (
        language_consistency("二つの数を足す。", "zh") == 0.0 and language_consistency("二つの数を足す。", "ja") == 1.0
    )
    assert language_consistency("東京", "ja") == 1.0 == language_consistency("東京", "zh")


def test_a_word_of_two_alphabets_is_of_no_language():
    """A Cyrillic а in a Latin word: 1 word, and neither English nor Russian."""
    text = "the p\u0430ypal"
    assert count_words(text) == {"LATIN": 1, "MIXED": 1}
    assert language_consistency(text, "en") == 0.5 and language_consistency(text, "ru") == 0.0


def test_every_code_has_a_script_and_the_configuration_takes_them_all():
    assert set(SCRIPTS) <= CODES and len(CODES) == 183
    assert DataConfig(language="de").language == "de" and language_problem("zh") is None
    with pytest.raises(ConfigError, match="language 'german' is no ISO 639-1 code"):
        from_dict(DataConfig, {"language": "german"}, "data")


def test_identify_falls_back_where_there_is_little_to_read():
    assert [identify(text) for text in ("", "12 + 3 = ?", "求5+3", "x = ?", "$\\alpha$", "Sprich Deutsch, bitte!")] == [
        "en",
        "en",
        "zh",
        "en",
        "en",
        "de",
    ]


def test_the_tiny_world_needs_no_identifier():
    """Its words and their order are its own; what they count is what eq. 7 says of scripts alone, and nothing has to be
    loaded for it.
    """
    import subprocess
    import sys

    code = (
        "import sys; from stages.text.language import language_consistency as share\n"
        "print(share('first31-3=28,then28-7=21,so wait,check31-3=28,ok', 'en'), "
        "share('首先31-3=28,然后28-7=21,所以等等,检查ok', 'zh'))\n"
        "print('py3langid' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.stdout.split() == ["1.0", str(10 / 11), "False"], done.stdout + done.stderr
