"""The share of repeated n-grams, in every script."""

import random

import pytest

from stages.text.repetition import repeated_ngram_share

# A sentence of each script without spaces, of the others one with them.
SENTENCES = {
    "en": "The quick brown fox jumps over the lazy dog, and nobody minds. ",
    "zh": "我们先计算三加五等于八，然后再检查一遍结果是否正确。",
    "ja": "まず三と五を足すと八になります。それから結果をもう一度確かめましょう。",
    "ja, kana only": "わたしはきのうともだちとえいがをみにいきました。とてもたのしかったです。",
    "ja, half-width": "ﾜﾀｼﾊｷﾉｳﾄﾓﾀﾞﾁﾄｴｲｶﾞｦﾐﾆｲｷﾏｼﾀ。",
    "th": "เราเริ่มจากการบวกสามกับห้าได้แปดแล้วตรวจสอบคำตอบอีกครั้ง",
    "lo": "ພວກເຮົາເລີ່ມຈາກການບວກສາມກັບຫ້າໄດ້ແປດແລ້ວກວດຄືນ",
    "km": "យើងចាប់ផ្តើមដោយបូកបីនិងប្រាំស្មើនឹងប្រាំបីហើយពិនិត្យម្តងទៀត",
    "my": "ကျွန်ုပ်တို့သည်သုံးနှင့်ငါးကိုပေါင်း၍ရှစ်ရသည်ကိုပြန်စစ်သည်",
    "bo": "ང་ཚོས་གསུམ་དང་ལྔ་བསྡོམས་ནས་བརྒྱད་ཐོབ་ཀྱི་རེད། ",
    "ko": "먼저 셋과 다섯을 더하면 여덟이 되고 그다음 답을 다시 확인합니다. ",
    "ru": "Сначала сложим три и пять, получим восемь, потом проверим ответ. ",
    "el": "Πρώτα προσθέτουμε τρία και πέντε και μετά ελέγχουμε το αποτέλεσμα. ",
    "ar": "نجمع ثلاثة وخمسة لنحصل على ثمانية ثم نتحقق من الجواب مرة أخرى. ",
    "he": "קודם נחבר שלוש וחמש ונקבל שמונה ואחר כך נבדוק את התשובה שוב. ",
    "hi": "पहले हम तीन और पाँच जोड़कर आठ पाते हैं, फिर उत्तर जाँचते हैं। ",
    "vi": "Trước hết ta cộng ba với năm được tám, sau đó kiểm tra lại kết quả. ",
    "am": "መጀመሪያ ሦስትና አምስትን ደምረን ስምንት እናገኛለን ከዚያ እናረጋግጣለን። ",
    "en in zh": "先计算 sum of the list，然后 print 出来 as a number。",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_a_sentence_over_and_over(language):
    sentence = SENTENCES[language]
    assert repeated_ngram_share(sentence) < 0.1 and repeated_ngram_share(sentence * 20) > 0.9


@pytest.mark.parametrize("language", SENTENCES)
def test_more_copies_are_more_repetition(language):
    shares = [repeated_ngram_share(SENTENCES[language] * copies) for copies in (1, 2, 4, 8)]
    assert shares == sorted(set(shares))


@pytest.mark.parametrize(
    "text, n, share",
    [
        ("a b a b a b", 2, 0.6),  # ab ba ab ba ab
        ("a b a b a b", 4, 1 / 3),
        ("a b c", 4, 0.0),
        ("", 4, 0.0),
        ("看看看", 1, 2 / 3),
        ("看书看书看书", 2, 0.6),
        ("ああああああ", 2, 2 / 3),  # kana: two for a word, so windows of four
        ("กกกกกกกก", 2, 2 / 3),  # Thai: three for a word, so windows of six
        ("กิกิกิกิกิกิกิกิ", 2, 2 / 3),  # signs belong to their letters
        ("и а и а и а", 2, 0.6),
        ("naïve naïve naïve", 1, 2 / 3),
        ("nai\u0308ve nai\u0308ve", 1, 0.5),  # the accent as a character of its own
        ("3×4 3×4", 3, 1 / 4),  # as digits and signs
        ("!!!!", 2, 2 / 3),
        ("x² x²", 1, 0.5),
    ],
)
def test_by_hand(text, n, share):
    assert repeated_ngram_share(text, n) == pytest.approx(share)


def test_latin_and_chinese_texts_do_not_depend_on_what_stands_beside_them():
    """A Greek letter sends a text through the general expression; the shares of the others stay theirs."""
    choose = random.Random(0).choice
    words = ["the", "a", "so", "然后", "28", "wait,", "31-3=28", "3×4", "naïve", "1º", "x²", "½", "_x", "「好」"]
    for length in range(5, 60):
        text = " ".join(choose(words) for _ in range(length))
        plain, with_greek = repeated_ngram_share(text), repeated_ngram_share(f"{text} α")
        assert (plain == 0) == (with_greek == 0) and abs(plain - with_greek) < 0.05, text
