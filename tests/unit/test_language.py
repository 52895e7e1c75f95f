"""Language consistency [N eq. 7]: scripts, languages that share one, what is no language; worked by hand."""

import pytest

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
