"""The words and signs around the letters of options in an answer, in the languages that people answer in."""

import re

_WORDS = """
so thus therefore hence then overall finally i we you think believe guess choose chose pick select selected chosen go
with say my our the final correct right best true most likely appropriate single only answer answers ans option options
choice choices letter letters solution response selection is are was were be being must should would will it its it's
that's that this these to of question here's here as follows following clearly obviously definitely indeed both i'd
die der das richtige korrekte antwort antworten lautet lauten ist sind l' la le les bonne réponse réponses est sont el
los las respuesta respuestas correcta correcto correctas es son opción opciones resposta certa é são risposta risposte
corretta è sono opzione opção alternativa svar svaret är er det rätt riktig odpowiedź to jest poprawna правильный верный
ответ ответы вариант варианты это будет відповідь đáp án câu trả lời là đúng cevap doğru jawaban jawabannya adalah yang
benar الإجابة الجواب هو هي الصحيحة
"""
# Words that lead up to an answer or follow it and say nothing else. No denial is among them.
FILLERS = frozenset(_WORDS.split())
_CJK_WORDS = """
因此 所以 因而 故 综上所述 综上 由此可知 可知 可得 我们 我 认为 觉得 选择 选出 选项 选 選擇 選項 選 正确 正確 的
是 为 為 最终 最終 答案 应该 應該 应 應 该 該 本 此 题 題 正解 答え 解答 回答 選択肢 は が
정답은 정답 답은 답 선택지 उत्तर
"""
CJK_BEFORE = re.compile(rf"(?:{'|'.join(_CJK_WORDS.split())}|[\s:,\u3001\u3002])+")
_CJK_ENDS = """
选项 選項 项 項 是 为 正确 正確 的 答案 対 对 です でした である だと思います だ が 正しい 正解
입니다 이다 번 가 이 맞습니다
"""
CJK_AFTER = re.compile(rf"(?:{'|'.join(_CJK_ENDS.split())}|[\s\u3002!,.])+\Z")

_CJK = "\u3040-\u30ff\u3400-\u9fff"
# Of a word: no letter stands beside it; Chinese may, "答案是not A".
_START, _END = rf"(?<![^\W\d_{_CJK}])", rf"(?![^\W\d_{_CJK}])"


def _any(*words: str) -> str:
    """Returns an expression of any of these words, each standing alone."""
    return rf"{_START}(?:{'|'.join(words)}){_END}"


_IS = r"(?:is|are|was|be|must be|should be|would be|has to be|ist|est|es|\u00e9|\u00e8|это|:|=|是|为|為|は|은|는)"
# What an answer is called.
_NAMES = r"answers?|options?|choices?|letters?|antwort|réponse|respuesta|opción|resposta|risposta|ответ|вариант|svar"
_AND_WORDS = _any("and", "und", "et", "y", "e", "i", "и", "og", "och", "ve", "dan", "và")
AND = rf"\s*(?:(?:[,;&+\u3001]|{_AND_WORDS}|和|与|與|及|跟|と|와|과)\s*)+"
_DOUBT_WORDS = """
or|either|maybe|perhaps|possibly|possible|plausible|alternatively|alternative|otherwise|else|could|might|may|can|also|too
|both|versus|vs|well|rather|if|but|though|although|however|equally
|oder|vielleicht|ou|peut-être|o|quizás|tal vez|или|может|veya|atau|hoặc
""".replace("\n", "")
# Beside two letters, these mean that the answer does not decide.
DOUBT = re.compile(rf"[/|~?]|{_any(_DOUBT_WORDS)}|或|还是|還是|也|または|もしくは|か|또는|혹은", re.IGNORECASE)
# What comes after these is a reason, and letters in it are talked about rather than given.
REASON = re.compile(
    _any(
        "because|since|(?<!well )as(?! (?:well|good|likely))|whereas|while|for|by|due to|given that",
        "denn|weil|car|porque|потому",
    )
    + "|因为|由于|因為",
    re.IGNORECASE,
)
# What stands before a letter that the answer claims.
CLAIM_BEFORE = re.compile(
    rf"(?:{_START}(?:{_NAMES})(?:\s+(?:choices?|options?|letters?|correcta|correcte|lautet|{_IS}))*\s*{_IS}?"
    rf"|{_START}(?:choose|pick|select|go with|going with|chose|picked|selected|wähle|elijo|choisis)"
    r"(?:\s+(?:option|choice|answer|letter|the))*"
    rf"|{_START}(?:therefore|thus|hence|so|it's|it is|it must be|that is|that's)"
    rf"|{_START}(?:could|can|may|might)(?: also| well)* be"
    rf"|答案|选项|选择|选|選|正解|答え|정답|[\u2192\u21d2])\s*{_IS}?[\s:,]*(?:the\s+)?(?:option|choice|answer|letter)?\s*\Z",
    re.IGNORECASE,
)
# What stands after such a letter. "D is also possible" claims D.
CLAIM_AFTER = re.compile(
    r"[\s,.:;)\]]*(?:is|are|was|would be|must be|seems|looks|是|为|ist|est|es|é|è)?\s*"
    r"(?:the\s+|also\s+|indeed\s+|clearly\s+)*(?:correct|right|true|best|valid|possible|plausible|works?\b|could be|"
    r"might be|may be|also|too\b|as well|richtig|correct[ae]|верно|正确|正確|对|也)",
    re.IGNORECASE,
)
_DENIALS = (
    r"not|never|neither|nor|except|excluding|exclude[sd]?|eliminate[sd]?|eliminating|reject(?:ed|ing)?|than|instead of|"
    r"ruled? out|ruling out|unlike|nicht|pas|nunca|не"
)
# What stands before or after a letter that the answer rules out.
DENIAL_BEFORE = re.compile(
    rf"(?:{_START}(?:{_DENIALS})|n't|n\u2019t|不是|不选|不能选|不应选|而不是|并非|排除|非)[\s,:(]*"
    r"(?:(?:the|be|is|an?|answers?|options?|choices?|select|choose|pick|选项|答案|correct|right)\s*)*[\s:]*\Z",
    re.IGNORECASE,
)
DENIAL_AFTER = re.compile(
    r"[\s,:;)\]]*(?:(?:is|are|was|were|seems?|looks?|would be|can|could|must|does|do|did|should)\s*"
    r"(?:not\b|n't|n\u2019t|never\b)|(?:cannot|can't)\b|not\s+(?:correct|right|true|possible|valid|the)|"
    r"(?:is|are|was|were|seems?|looks?|would be)?\s*(?:wrong|incorrect|false|invalid|impossible|ruled out|eliminated|"
    r"excluded|out\b)|错|錯|不对|不正确|不是|不符|排除)",
    re.IGNORECASE,
)

_ANSWER_WORDS = (
    r"answer|(?:correct|right|best|final)\s+(?:option|choice)|antwort|réponse|reponse|respuesta|resposta|risposta|ответ|"
    r"відповідь|svar(?:et)?|odpowiedź|cevap|jawaban(?:nya)?|đáp án|الإجابة|الجواب|उत्तर"
)
_SEED_WORDS = """
answer option choice antwort réponse reponse respuesta resposta risposta ответ відповідь svar odpowiedź cevap jawaban
đáp الإجابة الجواب उत्तर 答案 选 選 正解 答え 정답
"""
SEEDS = tuple(_SEED_WORDS.split())  # a line with none of them, in small letters, does not say an answer
_NO_LETTER_YET = r"(?:(?!(?-i:(?<![A-Za-z])[A-HJ-Z](?![A-Za-z])))[^:=.;]){0,60}?"
# Where a line says its answer: "ANSWER: C", "The answer is (C)", "答案：C", "故选C", "## Answer" with the answer below.
ANSWER_LINE = re.compile(
    rf"(?:{_START}(?:{_ANSWER_WORDS}){_END}{_NO_LETTER_YET}"
    rf"(?:[:=]|{_any('is|are|(?:would|should|must|will|has to) be|ist|lautet|est|es|é|è')}|[\s*]*\Z)"
    r"|(?<![不没未别能])(?:答案|正解|答え|정답|(?:故|应|應|因此|所以|我)?(?:选择|选|選)))",
    re.IGNORECASE,
)
