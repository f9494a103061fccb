"""What a label may be called: synonyms, other word orders, verbs, spellings, code names.

Owns the words that label names are made of, so that a model cannot know a label set by heart and has
to read the list in its prompt. Knows no data set and no conversation form.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

GROUPS = tuple(
    tuple(line.split())
    for line in """
music song tune audio songs tracks
weather forecast climate meteo
movie film cinema movies films picture
restaurant dining eatery diner restaurants
food meal dish cuisine meals
recipe cooking cook dishes
book reserve booking reservation
reservation booking table
cancel stop abort undo
change modify alter edit
update refresh modify amend
show display view list
list enumerate overview listing
find locate search look
search find lookup browse
query ask question request
get fetch obtain retrieve
check verify inspect review
play start listen hear
set create make configure
settings preferences options configuration
add insert append put
remove delete erase drop
buy purchase order shop
order purchase buy
shopping groceries purchases
cost price charge expense
fee charge cost surcharge
pay payment settle
payment pay paying transaction
money cash funds
cash money banknotes
transfer wire remittance send
send dispatch mail transmit
card plastic bankcard
bank banking institution
account profile membership
balance funds credit saldo
bill invoice statement
invoice bill receipt
refund reimbursement moneyback repayment
credit loan lending
loan credit mortgage
limit cap maximum
rate percentage ratio
exchange conversion swap
currency money denomination
convert translate exchange
lost missing misplaced
stolen theft robbed
broken damaged defective
damaged broken faulty
fraud scam swindle
blocked locked frozen
declined refused rejected
failed unsuccessful error
pending waiting outstanding
wrong incorrect mistaken
problem issue trouble
complaint grievance dissatisfaction
help support assistance aid
contact reach call
call phone dial ring
phone telephone mobile
email mail message inbox
message text note
news headlines reports
report announce notify
alarm wakeup alert
alert notification warning
reminder memo prompt
timer countdown stopwatch
time clock hour
date day calendar
calendar agenda diary
schedule plan timetable
meeting appointment conference
event happening occasion
travel trip journey
trip journey tour
flight plane airline
hotel lodging accommodation
taxi cab ride
uber taxi cab
train rail railway
ticket pass admission
transport transit commute
traffic congestion jam
directions route navigation
route way path
distance mileage length
location place position
place location spot
country nation land
car vehicle automobile
tire tyre wheel
oil lubricant fuel
gas petrol fuel
insurance coverage policy
vacation holiday leave
pto leave vacation
work job office
job work employment
salary payday wages income
income earnings salary
taxes tax levy
house home residence
home house household
light lamp lighting
lights lamps lighting
volume loudness sound
mute silence quiet
speed pace velocity
device machine gadget
radio broadcast station
game play gaming
joke humor gag
fun amusement entertainment
fact trivia knowledge
name title naming
spelling spell orthography
definition meaning explanation
meaning sense definition
translate translation interpret
language tongue speech
speak talk say
greeting hello welcome
goodbye farewell bye
thanks gratitude thank
yes affirm agree
no deny negate
maybe perhaps unsure
repeat again replay
next upcoming following
last previous latest
new fresh recent
old former previous
activate enable start
disable deactivate off
cleaning clean vacuum
coffee espresso brew
pets animals dog
age old years
identity verification proof
pin passcode code
passcode password pin
password passcode login
register signup enroll
delivery shipping shipment
delivery arrival shipment
track trace follow
status state progress
stock shares equity
social media network
post share publish
tweet post message
recommendation suggestion advice
recommend suggest propose
events concerts shows
podcasts podcast episodes
podcast show episode
audiobook book reading
ingredient component ingredients
ingredients components items
nutrition calories diet
calories energy nutrition
interest yield percent
rewards points bonus
points rewards miles
history record past
details data facts
information info details
info information details
accept take allow
reset restore renew
replacement substitute renewal
expire end lapse
international foreign abroad
limit restriction boundary
top charge load
virtual digital online
disposable temporary throwaway
physical plastic real
subscription plan newsletter
review rating feedback
rating score review
options choices possibilities
edit change correct
recover restore regain
delete remove erase
switch change swap
open start launch
todo task tasks
math maths arithmetic calculation
measurement unit measure
weight mass heaviness
health medical doctor
doctor physician medic
school class lesson
person human people
agent representative operator
customer client buyer
product item article
shop store market
sale offer deal
discount voucher rebate
delay late lateness
early soon ahead
rain shower wet
snow frost winter
hot warm heat
cold cool chilly
sport sports match
team club squad
artist singer musician
album record disc
concert gig show
story tale novel
author writer novelist
picture photo image
photo picture snapshot
camera lens photography
garden plants yard
""".strip().splitlines()
)
SYNONYMS: dict[str, list[str]] = {}
for _group in GROUPS:
    SYNONYMS.setdefault(_group[0], []).extend(_group[1:])

VERBS = (
    "get find search ask check set book show handle request query make start tell give add create "
    "change update see know open report order manage look use need want plan choose share send"
).split()
TAILS = "request query question info intent topic task issue action service".split()
JOINTS = ("to", "for", "of", "the", "my", "in", "on", "a", "with", "from", "and")
SMALL = frozenset(
    "a an the of to for in on at my your and or is are by with from this that".split()
)
VERB_LIKE = frozenset(VERBS) | frozenset(
    "play cancel pay buy remove delete transfer call activate verify reset turn repeat accept "
    "convert translate schedule track edit switch recover contact list stop lost make place".split()
)


def plain_words(label: str) -> str:
    """A label as lower-case words, whether it was snake_case or CamelCase."""
    parts = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label)
    return re.sub(r"[\s_\-/?]+", " ", parts).strip().lower()


def synonym(rng: Random, word: str) -> str:
    """A word of like meaning, or the word itself where none is known."""
    return rng.choice(SYNONYMS[word]) if word in SYNONYMS else word


def stem(word: str) -> str:
    """A word without its commonest endings, to tell whether two words are forms of one."""
    word = word.lower()
    for ending in ("ings", "ing", "ied", "ies", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if len(word) > 3 and word[-1] in "ey" else word


def inflected(rng: Random, word: str) -> str:
    """Another form of a word; nobody minds when English has no such form."""
    if len(word) < 4:
        return word
    if word.endswith("ing") and len(word) > 6:
        return word[:-3]
    if word.endswith("s") and not word.endswith("ss"):
        return word[:-1]
    return word + rng.choice(("s", "s", "ing" if not word.endswith("e") else "s"))


def spelled(words: Sequence[str], style: int) -> str:
    """Words as one label in one of nine spellings."""
    title = [w[:1].upper() + w[1:] for w in words]
    return (
        " ".join(words),
        "_".join(words),
        "".join(title),
        " ".join(title),
        "-".join(words),
        "_".join(words).upper(),
        (words[0] + "".join(title[1:])) if words else "",
        ".".join(words),
        (" ".join(words)).capitalize(),
    )[style]


def any_style(rng: Random) -> int:
    """A spelling: CamelCase and snake_case most often."""
    return rng.choices(range(9), (16, 18, 30, 10, 8, 2, 7, 3, 6))[0]


def reworded(rng: Random, words: Sequence[str]) -> list[str]:
    """A label's words with some swapped for synonyms, some left out, in another order or with a verb."""
    kept = [w for w in words if w not in SMALL or rng.random() < 0.4] or list(words)
    kept = [synonym(rng, w) if rng.random() < 0.5 else w for w in kept]
    if len(kept) > 2 and rng.random() < 0.25:
        kept.pop(rng.randrange(len(kept)))
    if rng.random() < 0.25:
        rng.shuffle(kept)
    if kept[0] not in VERB_LIKE and len(kept) < 4 and rng.random() < 0.4:
        kept.insert(0, rng.choice(VERBS))
    elif len(kept) < 4 and rng.random() < 0.1:
        kept.append(rng.choice(TAILS))
    return list(dict.fromkeys(kept))


def from_keywords(rng: Random, keywords: Sequence[str], words: Sequence[str]) -> list[str]:
    """A name from words that the label's texts use, the most typical first in `keywords`."""
    size = min(len(keywords), rng.choice((1, 1, 2, 2, 3)))
    chosen: list[str] = []
    while len(chosen) < size:
        at = min(int(rng.expovariate(0.25)), len(keywords) - 1)
        if keywords[at] not in chosen:
            chosen.append(keywords[at])
        elif rng.random() < 0.2:
            break
    if len(chosen) == 1 and rng.random() < 0.5:
        chosen.append(synonym(rng, rng.choice(list(words))))
    if rng.random() < 0.2:
        chosen = [inflected(rng, word) for word in chosen]
    if chosen[0] not in VERB_LIKE and len(chosen) < 3 and rng.random() < 0.45:
        chosen.insert(0, rng.choice(VERBS))
    return list(dict.fromkeys(chosen))


def code_names(rng: Random, count: int) -> list[str]:
    """Names that say nothing: letters, numbers, codes."""
    form = rng.randrange(5)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    if form == 0:
        return list(letters[:count])
    if form == 1:
        return [str(n + 1) for n in range(count)]
    if form == 2:
        head = rng.choice(("label", "class", "C", "L", "cat_", "type-", "T", "group "))
        return [f"{head}{n}" for n in rng.sample(range(1, 100), count)]
    if form == 3:
        pairs = rng.sample(range(26 * 90), count)
        return [f"{letters[n // 90]}{n % 90 + 10}" for n in pairs]
    return rng.sample(
        "alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike red blue "
        "green yellow orange purple black white silver gold pink oak pine elm birch cedar".split(),
        count,
    )
