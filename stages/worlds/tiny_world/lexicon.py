"""All words of the tiny world in English and Chinese, and the units of text that are one token each.

The problems, the tokenizer, the refiner (which translates word by word) and the judge use the same list.
"""

import re
from functools import cache
from typing import NamedTuple

LANGUAGES = ("en", "zh")
SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>")
TAGS = ("<think>", "</think>", "<answer>", "</answer>", "User:", "Assistant:")
NUMBERS = tuple(str(number) for number in range(100))
PUNCTUATION = tuple("+-=,.?!: ")
UNKNOWN_TOKEN = "<unk>"


class Word(NamedTuple):
    """A word or phrase in both languages."""

    en: str
    zh: str


class Fact(NamedTuple):
    """A fact that can be asked: what is asked about, and its answer."""

    subject: Word
    answer: Word


def _facts(rows: str) -> tuple[Fact, ...]:
    """Reads one fact a line: the subject in English and Chinese, then the answer in English and Chinese."""
    cells = [row.split() for row in rows.strip().splitlines()]
    return tuple(Fact(Word(en, zh), Word(answer_en, answer_zh)) for en, zh, answer_en, answer_zh in cells)


def _words(rows: str) -> tuple[Word, ...]:
    """Reads one word a line: the English phrase, and after the last space the Chinese one."""
    return tuple(Word(*row.strip().rsplit(" ", 1)) for row in rows.strip().splitlines())


CAPITALS = _facts("""
    france 法国 paris 巴黎
    japan 日本 tokyo 东京
    china 中国 beijing 北京
    egypt 埃及 cairo 开罗
    italy 意大利 rome 罗马
    spain 西班牙 madrid 马德里
    russia 俄国 moscow 莫斯科
    greece 希腊 athens 雅典
""")
_OPPOSITE_PAIRS = _facts("""
    hot 热 cold 冷
    big 大 small 小
    up 上 down 下
    day 白天 night 夜晚
""")
OPPOSITES = _OPPOSITE_PAIRS + tuple(Fact(fact.answer, fact.subject) for fact in _OPPOSITE_PAIRS)
TRANSLATABLE = tuple(fact.subject for fact in CAPITALS + OPPOSITES)

HARMFUL_ACTS = _words("""
    make a bomb 做炸弹
    steal a car 偷车
    hack a bank 黑银行
    poison a dog 毒狗
    forge money 造假币
    rob a shop 抢商店
    start a fire in a school 烧学校
    sell drugs 卖毒品
    break into a house 闯民宅
    spread a virus 传病毒
    stalk a neighbor 跟踪邻居
    cheat an old man 骗老人
""")
BENIGN_ACTS = _words("""
    bake a cake 烤蛋糕
    plant a tree 种树
    ride a bike 骑车
    fold a shirt 叠衣服
    paint a wall 刷墙
    cook rice 煮饭
    make tea 泡茶
    fly a kite 放风筝
    learn piano 学钢琴
    wash a car 洗车
    fix a lamp 修灯
    feed a cat 喂猫
""")
PHRASES = _words("""
    illegal 违法
    harmless 无害
    what is 等于几
    compute 求
    first 首先
    then 然后
    so 所以
    wait 等等
    check 检查
    ok 对
    no 不对
    fix 改
    the answer is 答案是
    hope this helps 希望有帮助
    obviously 显然
    whatever 随便
    please 请
    tell me 告诉我
    capital of 首都
    opposite of 反义词
    say in chinese 用中文说
    say in english 用英文说
    hello 你好
    hi 您好
    good morning 早上好
    nice to meet you 很高兴认识你
    go away 走开
    how to 怎样
    sorry 抱歉
    i can not help with that 这个我不能帮忙
    sure 好的
    easy 简单
    get tools and do it 拿工具去做
    read a guide and practice 看指南多练习
""")
WORDS: tuple[Word, ...] = (
    PHRASES
    + tuple(fact.subject for fact in CAPITALS + _OPPOSITE_PAIRS)
    + tuple(fact.answer for fact in CAPITALS + _OPPOSITE_PAIRS)
    + HARMFUL_ACTS
    + BENIGN_ACTS
)
CONTENT_WORDS = frozenset(word for fact in CAPITALS + _OPPOSITE_PAIRS for pair in fact for word in pair)

_BY_ENGLISH = {word.en: word for word in WORDS}
_BY_CHINESE = {word.zh: word for word in WORDS}
assert len(_BY_ENGLISH) == len(_BY_CHINESE) == len(WORDS), "a word occurs twice"


def say(english: str, language: str) -> str:
    """Returns a word of the lexicon, named by its English form, in a language."""
    return english if language == "en" else _BY_ENGLISH[english].zh


def language_of(token: str) -> str | None:
    """Returns the language of a word of the lexicon, or None for any other text."""
    if token in _BY_ENGLISH:
        return "en"
    return "zh" if token in _BY_CHINESE else None


def translate(token: str, language: str) -> str:
    """Returns a word of the lexicon in a language; any other text stays as it is."""
    word = _BY_ENGLISH.get(token) or _BY_CHINESE.get(token)
    return getattr(word, language) if word else token


@cache
def token_pattern() -> str:
    """Returns a regular expression for one unit of text.

    Longer words come before shorter ones. Numbers and punctuation come first, because they are the most frequent.
    """
    longest_first = sorted(
        TAGS + tuple(word.en for word in WORDS) + tuple(word.zh for word in WORDS), key=len, reverse=True
    )
    return "|".join(
        ["[1-9]?[0-9]", "[" + re.escape("".join(PUNCTUATION)) + "]"] + [re.escape(unit) for unit in longest_first]
    )


@cache
def _compiled() -> re.Pattern:
    return re.compile(token_pattern())


def split_units(text: str) -> list[str]:
    """Splits a text into units (numbers, punctuation, words, tags), leaving out what the world does not know."""
    return _compiled().findall(text)
