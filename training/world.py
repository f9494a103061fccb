"""The invented world of the generators: people, firms, goods and the numbers on their papers.

Owns how a value looks as a person writes it. Everything is drawn from the random source that is
passed in; names are partly put together from syllables so that copying cannot be learned by heart.
"""

from __future__ import annotations

import re
import string
from random import Random

FIRST = (
    "Anna Ben Carla David Elena Felix Grace Hannah Ivan Julia Karim Laura Marco Nina Omar Paula "
    "Quentin Rosa Samuel Tara Uma Victor Wendy Xenia Yusuf Zoe Aisha Bruno Chloe Dmitri Esther "
    "Farid Gina Hugo Ingrid Jonas Keiko Liam Maria Noah Olivia Pedro Priya Ravi Sofia Tom Vera "
    "Walter Mei Ahmed Lucy Oscar Emma James Mary Robert Linda Michael Susan Peter Karen Ethan "
    "Sarah Daniel Lisa Mark Nancy Paul Betty Steven Helen Andrew Sandra Kevin Donna Brian Carol"
).split()
LAST = (
    "Adams Baker Costa Dubois Evans Fischer Garcia Haddad Ivanov Jensen Kim Lopez Meyer Nguyen "
    "Okafor Patel Quinn Rossi Silva Tanaka Ueda Vargas Weber Xu Young Zhang Andersen Brown Clark "
    "Davies Eriksson Ferrari Gupta Hughes Ito Johnson Kowalski Larsen Moreau Novak Olsen Popescu "
    "Reyes Schmidt Taylor Walker Smith Jones Miller Wilson Moore Lee Martin Hall Wright Green"
).split()
CITIES = (
    "Berlin Paris London Madrid Rome Vienna Lisbon Dublin Oslo Prague Warsaw Athens Boston Chicago "
    "Denver Seattle Austin Toronto Sydney Tokyo Osaka Mumbai Delhi Cairo Lagos Nairobi Lima Bogota "
    "Santiago Zurich Geneva Munich Hamburg Lyon Milan Porto Bergen Leeds York Bath Dallas Miami "
    "Phoenix Atlanta Portland Vancouver Montreal Melbourne Auckland Singapore Bangkok Hanoi Seoul"
).split()
ADJECTIVES = (
    "red blue green black white wooden steel leather cotton folding wireless portable electric "
    "small large heavy light waterproof digital ceramic glass silver golden compact foldable "
    "insulated ergonomic handmade organic smart classic vintage striped grey"
).split()
GOODS = (
    "lamp|desk lamp|chair|office chair|backpack|tent|kettle|toaster|blender|jacket|rain jacket|"
    "sweater|scarf|boots|running shoes|sandals|headphones|keyboard|mouse|monitor|laptop stand|"
    "phone case|charger|power bank|camera|tripod|bicycle helmet|water bottle|coffee grinder|"
    "coffee machine|frying pan|knife set|bookshelf|rug|curtains|pillow|blanket|mattress|suitcase|"
    "wallet|watch|necklace|ring|sunglasses|umbrella|yoga mat|dumbbells|guitar|puzzle|board game|"
    "notebook|fountain pen|printer|router|vacuum cleaner|hair dryer|garden hose|lawn mower|drill|"
    "hammer|toolbox|dog leash|cat tree|bird feeder|aquarium|teapot|mug|plate set|wine glasses"
).split("|")
TRADES = (
    "hiking gear|kitchen goods|books|furniture|electronics|garden tools|sports clothing|toys|"
    "coffee|bicycles|pet supplies|stationery|musical instruments|cosmetics|shoes|phone plans|"
    "home insurance|online courses|video streaming|web hosting|train tickets|meal kits|glasses"
).split("|")
FIRM_HEADS = (
    "North Blue Green River Stone Bright Silver Maple Cedar Harbor Summit Valley Sun Moon Star "
    "Iron Oak Willow Amber Coral Swift Clear Golden Urban Alpine Nova Terra Lumen Vista Pine Kite"
).split()
FIRM_TAILS = (
    "wind|field|bridge|works|light| Market| Supply| Outfitters| & Co| Goods| Labs| Traders| Home|"
    " Direct| Store| Shop|line|port| House| Depot| Online|ware|craft| Collective"
).split("|")
MONTHS = (
    "January February March April May June July August September October November December"
).split()
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
STREETS = "Main Oak Park Elm Lake Hill Church Mill Station High Garden River Maple Cedar".split()
MAILS = "example.com example.org mail.com post.net inbox.org fastmail.net webmail.com".split()
NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()
_ONSETS = "b br c ch d dr f g gr h j k kl l m n p pr r s sh st t tr v w z".split()
_VOWELS = "a e i o u ai ea ou ie".split()
_CODAS = ["", "", "n", "r", "l", "s", "t", "m", "nd", "rk", "x", "ck"]


def spin(rng: Random, text: str) -> str:
    """Choose one of every `[a|b|c]`, innermost first."""
    while (found := re.search(r"\[([^\[\]]*)\]", text)) is not None:
        text = text[: found.start()] + rng.choice(found[1].split("|")) + text[found.end() :]
    return text


def word(rng: Random, syllables: int = 2) -> str:
    """A word that may not exist."""
    return "".join(
        rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(syllables)
    )


def first_name(rng: Random) -> str:
    """A given name, sometimes invented."""
    return rng.choice(FIRST) if rng.random() < 0.7 else word(rng).capitalize()


def last_name(rng: Random) -> str:
    """A family name, often invented."""
    return rng.choice(LAST) if rng.random() < 0.5 else word(rng, rng.randint(1, 3)).capitalize()


def person(rng: Random) -> str:
    """A given and a family name."""
    return f"{first_name(rng)} {last_name(rng)}"


def email(rng: Random) -> str:
    """An address built from names, words and digits."""
    left = rng.choice((first_name(rng), word(rng))).lower()
    right = rng.choice((last_name(rng).lower(), str(rng.randint(1, 999)), word(rng, 1)))
    host = rng.choice(MAILS) if rng.random() < 0.6 else f"{word(rng)}.{rng.choice(('com', 'io'))}"
    return f"{left}{rng.choice(('.', '_', '-', ''))}{right}@{host}"


def address_of(rng: Random, person: str) -> str:
    """An email address made of a person's names, as most are."""
    first, last = person.lower().split(" ", 1)
    left = rng.choice(
        (f"{first}.{last}", f"{first}.{last}", f"{first}{last}", f"{first}_{last}", first)
        + (
            f"{first[0]}.{last}",
            f"{last}.{first}",
            f"{first}{rng.randint(1, 99)}",
            f"{first}-{last}",
        )
    )
    host = rng.choice(MAILS) if rng.random() < 0.6 else f"{word(rng)}.{rng.choice(('com', 'io'))}"
    return f"{left}@{host}"


def digits(rng: Random, low: int, high: int) -> str:
    """Between `low` and `high` digits, the first not zero."""
    return str(rng.randint(1, 9)) + "".join(
        rng.choices(string.digits, k=rng.randint(low, high) - 1)
    )


def order_number(rng: Random) -> str:
    """An order number in one of many house styles."""
    letters = "".join(rng.choices(string.ascii_uppercase, k=rng.randint(1, 3)))
    return rng.choice(
        (
            digits(rng, 4, 10),
            f"{letters}-{digits(rng, 3, 7)}",
            f"{letters}{digits(rng, 4, 8)}",
            f"ORD-{digits(rng, 4, 6)}",
            f"{digits(rng, 3, 3)}-{digits(rng, 4, 6)}",
        )
    )


def phone(rng: Random) -> str:
    """A phone number with blanks or dashes."""
    mark = rng.choice((" ", "-"))
    return rng.choice(
        (
            f"+{rng.randint(1, 99)} {digits(rng, 2, 3)} {digits(rng, 6, 7)}",
            mark.join((digits(rng, 3, 3), digits(rng, 3, 3), digits(rng, 4, 4))),
            f"0{digits(rng, 3, 3)}{mark}{digits(rng, 6, 6)}",
        )
    )


def date(rng: Random) -> str:
    """A date as people write it."""
    day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(2015, 2030)
    name = MONTHS[month - 1]
    return rng.choice(
        (
            f"{year}-{month:02}-{day:02}",
            f"{day:02}/{month:02}/{year}",
            f"{name} {day}, {year}",
            f"{day} {name} {year}",
            f"{name} {day}",
            f"{day} {name}",
            f"{day}.{month}.{year}",
        )
    )


def time_of_day(rng: Random) -> str:
    """A time as people write it."""
    hour, minute = rng.randint(1, 12), rng.choice((0, 5, 10, 15, 20, 30, 40, 45, 50))
    half = rng.choice(("am", "pm"))
    return rng.choice((f"{hour} {half}", f"{hour}:{minute:02} {half}", f"{hour + 8}:{minute:02}"))


def amount(rng: Random) -> str:
    """A sum without its currency, as JSON could hold it."""
    whole = rng.choice((rng.randint(1, 99), rng.randint(100, 999), rng.randint(1000, 9999)))
    return f"{whole}.{rng.randint(1, 99):02}" if rng.random() < 0.7 else str(whole)


def product(rng: Random) -> str:
    """A thing that can be sold."""
    return (
        f"{rng.choice(ADJECTIVES)} {rng.choice(GOODS)}" if rng.random() < 0.6 else rng.choice(GOODS)
    )


def city(rng: Random) -> str:
    """A city, sometimes invented."""
    return rng.choice(CITIES) if rng.random() < 0.7 else word(rng).capitalize()


def firm(rng: Random) -> str:
    """The name of a firm, sometimes invented."""
    if rng.random() < 0.3:
        return word(rng).capitalize() + rng.choice(("", " Ltd", " Inc", " GmbH", " Store"))
    return rng.choice(FIRM_HEADS) + rng.choice(FIRM_TAILS)


def street(rng: Random) -> str:
    """A street address without the city."""
    name = rng.choice(STREETS) if rng.random() < 0.7 else word(rng).capitalize()
    return f"{rng.randint(1, 250)} {name} {rng.choice(('Street', 'Road', 'Avenue', 'Lane'))}"


def tracking(rng: Random) -> str:
    """A parcel's tracking code."""
    head = "".join(rng.choices(string.ascii_uppercase, k=2))
    return f"{head}{digits(rng, 8, 10)}{rng.choice(('', 'DE', 'US', 'GB'))}"


def code(rng: Random) -> str:
    """Letters and digits without meaning."""
    return "".join(rng.choices(string.ascii_uppercase + string.digits, k=rng.randint(4, 9)))
