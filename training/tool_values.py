"""Values of tools' arguments and results, as people say them: numbers, titles, short texts, word lists.

Owns what only tools need; people, places and goods are in `world`.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from random import Random

from training import world
from training.world import spin

Words = Callable[[Random], str]


def one_of(words: str, mark: str = "|") -> Words:
    """One of the words in a list."""
    choices = words.split(mark)
    return lambda rng: rng.choice(choices)


def number(low: int, high: int) -> Words:
    """A whole number between two, both included."""
    return lambda rng: str(rng.randint(low, high))


def decimal(low: int, high: int) -> Words:
    """A number with two decimals, the last not zero."""
    return lambda rng: f"{rng.randint(low, high)}.{rng.randint(0, 9)}{rng.randint(1, 9)}"


def quantity(rng: Random) -> str:
    """A number of one to five digits, seldom with decimals."""
    whole = int(world.digits(rng, 1, rng.choice((1, 2, 2, 3, 3, 4, 5))))
    return (
        f"{whole}.{rng.choice((5, 25, 75, rng.randint(1, 9)))}"
        if rng.random() < 0.2
        else str(whole)
    )


SKY = "sunny|cloudy|rainy|clear|windy|foggy|snowy|partly cloudy|overcast|stormy|light rain|dry"
CURRENCIES = "USD EUR GBP JPY CHF CAD AUD SEK NOK INR PLN CZK MXN BRL ZAR SGD"
LANGUAGES = "French|German|Spanish|Italian|Portuguese|Polish|Dutch|Swedish|Turkish|Japanese|Czech"
MEASURES = (
    "km miles meters feet cm inches yards",
    "kg pounds grams ounces tons",
    "liters gallons cups",
)
UNITS = "|".join(" ".join(MEASURES).split())
TICKERS = "AAPL MSFT GOOG AMZN TSLA NVDA META IBM ORCL INTC AMD SAP NFLX UBER SHOP".split()
TOPICS = (
    "solar panels|bread baking|the Roman empire|electric cars|hiking trails|green tea|jazz music|"
    "remote work|garden design|chess openings|whales|old maps|city bikes|rain forests|bee keeping"
).split("|")
LINES = (
    "Meeting moved|Invoice attached|Running late|Lunch tomorrow|Your order|Weekly report|Thank you|"
    "New schedule|Trip plans|Question|Budget draft|Welcome aboard|Call me back|Keys are here"
).split("|")
TROUBLES = (
    "printer is broken|login fails|screen stays black|door does not lock|invoice is wrong|app crashes|"
    "heating is off|password expired|parcel is damaged|wifi is slow|coffee machine leaks|page is empty"
).split("|")
DISHES = "pizza|pasta|sushi|tacos|curry|salad|ramen|burger|falafel|soup|dumplings|steak".split("|")
SONG_WORDS = (
    "Blue Night River Golden Slow Summer Paper Moon Silent Road Wild Heart Rain City".split()
)
WORDS = (
    "serene candid brisk frugal lucid novel opaque robust tepid vivid zeal abide bolster cascade "
    "dwell emerge flourish glimpse hinder ignite jovial keen linger mellow nimble obscure ponder"
).split()


def ticker(rng: Random) -> str:
    """A stock symbol, often invented."""
    if rng.random() < 0.5:
        return rng.choice(TICKERS)
    return "".join(rng.choices(string.ascii_uppercase, k=rng.randint(2, 4)))


def title(rng: Random) -> str:
    """A title of two or three words."""
    return " ".join(rng.sample(SONG_WORDS, rng.randint(2, 3)))


def phrase(rng: Random) -> str:
    """A short text that somebody wants translated, sent or kept."""
    return spin(
        rng,
        rng.choice(
            (
                "[good|hello] [morning|evening|friends]",
                "[the|my|our] [train|bus|boat|guest] is [late|here|ready|gone]",
                "[I|we] [need|like|want] [water|coffee|help|time|bread]",
                "[call|ask|thank] [Anna|Omar|Felix|Priya|the team]",
                "[buy|bring|order] [milk|paper|tickets|flowers|eggs]",
                "[see you|meet me] [at noon|tomorrow|on Friday|soon]",
                "where is the [station|market|museum|hotel]",
            )
        ),
    )
