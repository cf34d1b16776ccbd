#!/usr/bin/env python3
"""Test strings for the tokenizers: tests/golden/text/strings.json, at least 2,000, all valid Unicode.

Made up here from ranges of code points, short phrases and grammar, by a seed; nothing is quoted from a work.
Groups: every block of Unicode 16, phrases in some 50 languages, emoji, controls, white space, code, numbers,
contractions, scripts with marks, pairs of NFC and NFD, special tokens, long runs, random text.

Usage: make_tokenizer_strings.py [--out FILE]
"""

import argparse
import json
import pathlib
import random

import unicodedata2

import common

SEED = 20261124
SKIP = {"Cn", "Cs", "Co"}

PHRASES = """The quick brown fox jumps over the lazy dog.|Le cœur déçu mais l'âme plutôt naïve.|Größenwahn, Straßenbahn & Äpfel!
El pingüino Wenceslao hizo kilómetros.|À bientôt, où êtes-vous?|Zażółć gęślą jaźń|Příliš žluťoučký kůň|Árvíztűrő tükörfúrógép
Kæmi ný öxi hér, ykist þjófum nú|Høj bly gom vandt fræk sexquiz|Îți mulțumesc pentru șapte țări|Pijamalı hasta yağız şoföre çabucak güvendi.
İstanbul'da IŞIK ılık|Việt Nam: tiếng Việt có dấu|Cửa hàng bán phở ở Đà Nẵng|Съешь ещё этих мягких французских булок|Щастя ґанок їжак єдність
Ξεσκεπάζω την ψυχοφθόρα βδελυγμία|Αὐτὰρ ὅ γ᾽ Ὀδυσσεὺς ᾧ|Բարեւ աշխարհ, ինչպե՞ս ես|გამარჯობა მსოფლიო ᲒᲐᲛᲐᲠᲯᲝᲑᲐ|שָׁלוֹם עוֹלָם, מה שלומך?
مَرْحَبًا بِالعَالَمِ، كيف حالك؟|سلام دنیا! می‌خواهم بروم|ہیلو دنیا، آپ کیسے ہیں|नमस्ते दुनिया, क्या हाल है? क्षत्रिय|হ্যালো বিশ্ব, তুমি কেমন আছো?
வணக்கம் உலகம்|హలో ప్రపంచం ఎలా ఉన్నారు|ನಮಸ್ಕಾರ ಪ್ರಪಂಚ|ഹലോ ലോകം, സുഖമാണോ|ਸਤ ਸ੍ਰੀ ਅਕਾਲ ਦੁਨੀਆ|નમસ્તે દુનિયા|ଓଡ଼ିଆ ଭାଷା|හෙලෝ වර්ල්ඩ් ශ්‍රී
สวัสดีชาวโลก น้ำใจ|ສະບາຍດີຊາວໂລກ|မင်္ဂလာပါ ကမ္ဘာလောက|សួស្តី​ពិភពលោក ខ្ញុំ|བཀྲ་ཤིས་བདེ་ལེགས།|ሰላም ለዓለም፡ እንዴት ነህ።|ᐊᐃᓐᖓᐃ ᓄᓇᕐᔪᐊᖅ
你好，世界！今天天气怎么样？|我想在apple工作1314151天～|繁體中文，測試「引號」與《書名》。|こんにちは世界。元気ですか？|カタカナとﾊﾝｶｸ、漢字かな交じり文
안녕하세요 세계! 잘 지내세요?|한글 띄어쓰기 테스트|ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ ꭳꮟᏺ|Сайн байна уу ᠮᠣᠩᠭᠣᠯ|ߒߞߏ ߞߊߙߊ߲|ⵜⴰⵎⴰⵣⵉⵖⵜ ⴰⵣⵓⵍ|𐌰𐍄𐍄𐌰 𐌿𐌽𐍃𐌰𐍂|𐐘𐐲𐑋𐐰𐑌𐐨𐐮𐐸 𐐖𐐭𐑌"""

CODE = """def f(x, *args, **kw):\\n    return [i**2 for i in range(x) if i % 2 == 0]  # note\\n|for (int i = 0; i < n; ++i) {\\n\\ta[i] += b[i]*c;\\n}\\n
#include <vector>\\nstd::vector<std::pair<int, char*>> v{{1, nullptr}};|if __name__ == "__main__":\\n    main()\\n|const f = async ({a, b}) => `${a}-${b?.c ?? 'x'}`;
<div class="a b" id='c'>&amp;&#x1F600;</div>\\n<!-- c -->|SELECT * FROM "t" WHERE a_b >= 1e-9 AND c != 'it''s';|{"a": [1, 2.5, null, true], "b": {"c\\\\n": "\\\\u00e9"}}
fn main() -> Result<(), Box<dyn Error>> { println!("{:?}", x?); Ok(()) }|    \\n        \\n\\t\\tindented\\n  end|x = {\\n  'a':1,\\n  'b':2\\n}\\n\\n\\n|a+=b;c--;d<<=2;e&&f||g;!h;i^j;~k;l?m:n;o=>p;q->r;s::t
#!/bin/bash\\nset -euo pipefail; echo "${x[@]:1}" | sed -e 's/a\\\\+/b/g' > /dev/null 2>&1|\\\\frac{a}{b} \\\\alpha_{i,j}^{2} $x \\\\in \\\\mathbb{R}$|/usr/local/lib/python3.11/site-packages/x.py:10: Error
https://example.org/a/b?c=d&e=%20f#g|user.name+tag@mail.example.com|C:\\\\Users\\\\x\\\\y.txt|--flag=value -x -- file|0xDEADBEEF 0b1010 0o777 1_000_000 1e10 .5 5.|camelCaseWord HTTPServer snake_case_word SCREAMING_CASE kebab-case
class A(B):\\r\\n\\t'''doc'''\\r\\n\\r\\n\\tdef __init__(self): pass\\r\\n|/* c */ // d\\n///// e\\n#### f\\n---- g\\n==== h|\\t\\t\\t}\\n\\t\\t}\\n\\t}\\n}|;;;;;))))}}}}]]]]>>>>|:-) ;-P <3 ^_^ (╯°□°)╯︵ ┻━┻"""

EMOJI = "😀 👍🏽 👩‍💻 👨‍👩‍👧‍👦 🏳️‍🌈 🏴‍☠️ 🇩🇪🇫🇷 1️⃣#️⃣*️⃣ ❤️‍🔥 ☺️☺ 🧑🏿‍🤝‍🧑🏻 😶‍🌫️ 🏴󠁧󠁢󠁥󠁮󠁧󠁿 ✅✔️ 🚀 🦙🦙 ©️™️ 🫠 🪿 👁️‍🗨️".split()
SPACES = [" ", "  ", "\t", "\n", "\r\n", "\r", "\u00a0", "\u3000", "\u2003", "\u200a", "\u2028", "\u2029", "\u0085", "\v", "\f", "\u1680", "\u202f"]
NEAR_SPACES = ["\u200b", "\u200c", "\u200d", "\ufeff", "\u180e", "\x1c", "\x1f", "\u2060", "\u00ad"]


class Maker:
    def __init__(self):
        self.random = random.Random(SEED)
        self.strings = []
        self.seen = set()
        self.assigned = [c for c in range(0x110000) if unicodedata2.category(chr(c)) not in SKIP]

    def add(self, text):
        if text not in self.seen:
            self.seen.add(text)
            self.strings.append(text)

    def pick(self, pool, low, high):
        return "".join(self.random.choice(pool) for _ in range(self.random.randint(low, high)))

    def blocks(self):
        """Three strings per 256 code points in use; of the large ideograph blocks every sixteenth."""
        windows = {}
        for c in self.assigned:
            windows.setdefault(c >> 8, []).append(chr(c))
        for index, pool in windows.items():
            large = 0x34 <= index <= 0xD7 and pool[0] > "\u3400" or index >= 0x171
            if large and index % 16:
                continue
            for _ in range(3 if not large else 1):
                self.add(self.pick(pool, 4, 9))
                if self.random.random() < 0.4:
                    self.add(" ".join(self.pick(pool, 1, 4) for _ in range(3)))

    def phrases(self):
        lines = [p.strip() for p in PHRASES.replace("\n", "|").split("|")]
        for p in lines:
            self.add(p)
            self.add(" " + p)
            self.add(p.upper())
            self.add(p.lower() + "\n" + p.title())
            other = self.random.choice(lines)
            self.add(p[: len(p) // 2] + self.random.choice(["", " ", "1", "'", "\n"]) + other[len(other) // 2 :])

    def emoji(self):
        for e in EMOJI:
            self.add(e)
            self.add("a" + e + " b" + e + e)
        for _ in range(70):
            self.add(self.pick(EMOJI + ["\u200d", "\ufe0f", "\U0001f3fd", " ", "x", "\u20e3"], 2, 6))

    def controls(self):
        for c in list(range(0x21)) + list(range(0x7F, 0xA1)):
            self.add("a" + chr(c) + "b")
            self.add(chr(c) * 2 + " " + chr(c))
        for c in "\u200e\u200f\u202a\u202e\u2066\u2069\ufff9\ufffc\ufffd\ufffe\uffff\U0001fffe\U0010ffff\ue000\U000f0000\U000e0001\ufdd0\u0378\U0002fffd":
            self.add("x" + c + " y" + c + c + "1")

    def white_space(self):
        for n in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128):
            for c in (" ", "\n", "\t"):
                self.add(c * n)
                self.add("a" + c * n + "b")
        for _ in range(230):
            pieces = [self.random.choice(SPACES) * self.random.choice((1, 1, 2, 3)) for _ in range(self.random.randint(1, 5))]
            for _ in range(self.random.randint(0, 3)):
                pieces.insert(self.random.randint(0, len(pieces)), self.random.choice(["a", "Ab", "1", ".", "é", "中", "!?", *NEAR_SPACES]))
            self.add("".join(pieces))

    def code(self):
        for line in CODE.replace("\n", "|").split("|"):
            text = line.replace("\\n", "\n").replace("\\t", "\t").replace("\\r", "\r").replace("\\\n", "\\n")
            self.add(text)
            self.add(text.replace("    ", "\t").replace(" ", "  "))
            self.add("\n\n" + text.replace("\n", "\n\n") + "  ")

    def numbers(self):
        digits = [chr(c) for c in self.assigned if unicodedata2.category(chr(c))[0] == "N"]
        for n in range(1, 13):
            self.add("1234567890123456"[:n])
            self.add(" " + "3" * n + "." + "1" * n)
        for _ in range(110):
            self.add(self.pick(digits, 1, 5) + self.random.choice(["", " ", ".", ",", "x"]) + self.pick("0123456789", 1, 6))
        for _ in range(60):
            self.add(self.pick(["12", "3", "2024", ".", ",", "-", "+", "e", "x", " ", "%", "$", "€", "½", "²", "Ⅻ", "٣", "१", "/", ":"], 3, 9))

    def contractions(self):
        endings = ["s", "t", "re", "ve", "m", "ll", "d", "S", "T", "RE", "Ve", "M", "lL", "D", "ſ", "x", "l", "r", "vé", "st", "K"]
        for e in endings:
            self.add("I'" + e + " we" + "'" + e + "a '" + e + "'" + e)
            self.add("ÀB'" + e + "1'" + e + "\n'" + e + "ss ’" + e + " \u02bc" + e)
        for _ in range(90):
            self.add(self.pick(["I", "you", "SHE", "They", " ", " ", "'", "’", *endings], 3, 9))

    def marks(self):
        marks = [chr(c) for c in self.assigned if unicodedata2.combining(chr(c))]
        bases = [chr(c) for c in self.assigned if unicodedata2.category(chr(c))[0] == "L"]
        composed = [chr(c) for c in self.assigned if unicodedata2.decomposition(chr(c))[:1] not in ("", "<")]
        for _ in range(150):
            self.add("".join(self.random.choice(bases[:6000]) + self.pick(marks, 0, 4) for _ in range(3)))
            self.add(self.pick("aeiouAEIOUcnsy\u03b1\u0418 ", 1, 3) + self.pick("\u0300\u0301\u0302\u0303\u0308\u0323\u0327\u0328\u0345\u031b", 1, 4))
        for _ in range(150):
            text = self.pick(composed, 1, 6)
            self.add(text)
            self.add(unicodedata2.normalize("NFD", text))
            self.add("a" + unicodedata2.normalize("NFC", text) + "\u0301\u0327 b")
        hangul = [chr(c) for c in (*range(0x1100, 0x1113), *range(0x1161, 0x1176), *range(0x11A7, 0x11C3))]
        for _ in range(60):
            self.add(self.pick(hangul, 2, 8))
            self.add(unicodedata2.normalize("NFD", self.pick([chr(c) for c in range(0xAC00, 0xD7A4)], 1, 5)))

    def special(self):
        tokens = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_start", "|>", "<|", "<|begin_of_text|>", "<|eot_id|>", "<repo_name>",
                  "<jupyter_start>", "<file_sep>", "<reponame>", "[PAD151646]", "<｜begin▁of▁sentence｜>", "ø", "ÿ", "<im_end>"]
        self.add("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nHi!<|im_end|>\n<|im_start|>assistant\n")
        for t in tokens:
            self.add(t)
            self.add("a" + t + " b" + t + t + "\n" + t + " ")
        for _ in range(50):
            self.add(self.pick([*tokens, "user", "\n", " ", "e\u0301", "x"], 2, 7))

    def long_runs(self):
        for c, n in (("a", 700), (" ", 700), ("\n", 300), ("=", 400), ("1", 200), ("ab", 200), ("A", 300), ("é", 150), ("中", 150), ("\u0301", 100),
                     (" \n", 150), ("🚀", 60), ("'s", 100), ("\t ", 100), ("́̈", 60), ("ᄀ", 60), ("/", 300), ("\r\n", 100), ("  a", 80), ("…", 80)):
            self.add(c * n)
            self.add("x" + c * (n // 3) + "y")

    def mixed(self):
        ascii_pool = [chr(c) for c in range(0x20, 0x7F)] + ["\n", " ", " ", "\t"]
        for _ in range(220):
            self.add(self.pick(ascii_pool, 1, 30))
        everything = [chr(c) for c in self.assigned]
        for _ in range(150):
            self.add(self.pick(everything, 2, 8))
        common_pool = list(" abcdeABCDE012.,'\n!?-é漢カ한яЖβ😀\u0301\u00a0ا")
        for _ in range(220):
            self.add(self.pick(common_pool, 3, 24))

    def all(self):
        self.add("")
        for group in (self.blocks, self.phrases, self.emoji, self.controls, self.white_space, self.code, self.numbers, self.contractions,
                      self.marks, self.special, self.long_runs, self.mixed):
            group()
        return self.strings


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=common.GOLDEN / "text" / "strings.json")
    options = parser.parse_args()
    assert unicodedata2.unidata_version == "16.0.0", unicodedata2.unidata_version
    strings = Maker().all()
    assert len(strings) >= 2000
    head = common.make_head(__file__, ["unicodedata2"], SEED, "Apache-2.0 (made up by the generator)")
    # ASCII only: no editor or tool can normalise or drop characters.
    lines = ",\n".join(json.dumps(s) for s in strings)
    pathlib.Path(options.out).write_text(f'{{\n"head": {json.dumps(head, indent=1)},\n"strings": [\n{lines}\n]\n}}\n', encoding="ascii")
    print(len(strings), "strings")


if __name__ == "__main__":
    main()
