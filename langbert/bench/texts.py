"""Texts to embed where nobody brought any: put together from built-in sentences, the same on every machine."""

from __future__ import annotations

import random
from typing import Literal

_ENGLISH = (
    "The harbour was rebuilt after the storm of 1897, and its two piers have stood ever since.",
    "A committee of eleven engineers examined the bridge before it was opened to traffic.",
    "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen.",
    "Her second novel, published in 1931, sold fewer than four hundred copies in its first year.",
    "The function returns a list of pairs, and raises an error when the file cannot be read.",
    "Migrating cranes rest in the wetlands for about three weeks before they cross the mountains.",
    "In the final, the home team lost by a single point after two periods of extra time.",
    "Parliament passed the act in spring, but most of its provisions took effect a year later.",
    "Copper conducts electricity well because its outer electrons move almost freely.",
    "The railway reached the valley late, and the mills there never recovered their trade.",
    "Each request carries a token that expires after fifteen minutes of inactivity.",
    "Most of the island's settlers came from the north and spoke a dialect now extinct.",
    "The vaccine reduced severe cases by roughly four fifths in the first large trial.",
    "He composed the quartet in six days, revised it for twenty years, and disliked it to the end.",
    "Basalt columns form where thick lava cools slowly and shrinks into regular cracks.",
    "The museum's oldest map shows a coastline that no longer exists.",
)
_CHINESE = (
    "这座港口在一八九七年的风暴之后重建，两座码头一直使用到今天。",
    "桥梁通车以前，由十一位工程师组成的委员会进行了检查。",
    "光合作用把光、水和二氧化碳变成糖和氧气。",
    "她的第二部小说出版于一九三一年，头一年只卖出不到四百本。",
    "函数返回一个列表，文件无法读取时会报告错误。",
    "迁徙的鹤在湿地休息大约三个星期，然后飞越高山。",
    "决赛打了两个加时，主队最后以一分之差落败。",
    "议会在春天通过了法案，但多数条款一年之后才生效。",
    "铜的外层电子几乎可以自由移动，所以导电性能很好。",
    "铁路很晚才修到山谷，那里的工厂再也没有恢复生意。",
    "每个请求都带有一个令牌，十五分钟没有活动就会失效。",
    "岛上的居民大多来自北方，说一种现在已经消失的方言。",
    "第一次大规模试验中，疫苗使重症减少了大约五分之四。",
    "他用六天写成这首四重奏，修改了二十年，始终不喜欢它。",
    "厚厚的熔岩慢慢冷却收缩，裂成整齐的玄武岩柱。",
    "博物馆里最古老的地图画着一条已经不存在的海岸线。",
)


def sample_texts(n: int, *, language: Literal["en", "zh"] = "en", sentences: float = 6.5, seed: int = 0) -> list[str]:
    """``n`` texts, no two alike, as long as the paragraphs of an encyclopedia are: most short, a few long.

    Args:
        sentences: in a text, in the middle: 6.5 of them are about 125 tokens of BERT's.
        seed: the same seed gives the same texts.
    """
    pool = _ENGLISH if language == "en" else _CHINESE
    between = " " if language == "en" else ""
    chance = random.Random(seed)  # noqa: S311 - no secret
    texts = []
    for i in range(n):
        count = max(1, round(chance.lognormvariate(0, 0.45) * sentences))
        chosen = [sentence for _ in range(-(-count // len(pool))) for sentence in chance.sample(pool, len(pool))]
        number = f"No. {i + 1}. " if language == "en" else f"第{i + 1}段。"
        texts.append(number + between.join(chosen[:count]))
    return texts
