"""Tools that many programs have, and how people ask for what they do: a table, and what is drawn of it.

Owns the families and their wordings. Every value of a wish stands in the wish; every value of an answer
stands in the tool's result.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from training import world
from training.chat import compact
from training.tool_forms import Argument, Kind, Tool, Value, argument_key, tool_name
from training.world import spin

Words = Callable[[Random], str]


@dataclass(frozen=True)
class Task:
    """One use of a tool: what the user says, the call's arguments, its result and the answer.

    `clause` is the answer without its dot, to stand in a longer one; `term` is what is asked about as a
    noun, where that can stand in a list.
    """

    wish: str
    given: dict[str, Value]
    result: str
    clause: str
    answer: str
    term: str = ""


@dataclass(frozen=True)
class Skill:
    """A tool and what can be done with it.

    Two tools of one `trade` could do each other's work; `deed` completes "I cannot ...".
    """

    trade: str
    deed: str
    tool: Tool
    task: Callable[[Random], Task]


@dataclass(frozen=True)
class Slot:
    """An argument of a family: keys, what it means, its values; `said` is how a value is spoken."""

    keys: str
    about: str
    value: Words
    kind: Kind = "string"
    choices: str = ""
    said: Mapping[str, str] | None = None
    required: bool = True


@dataclass(frozen=True)
class Family:
    """Tools of one purpose: their names, descriptions, arguments, results and how they are asked for.

    `asks` are wordings with their answers; `{x}` is a slot or a field of the result.
    """

    trade: str
    deed: str
    names: str
    about: tuple[str, ...]
    slots: Mapping[str, Slot]
    fields: Mapping[str, Words]
    asks: tuple[tuple[str, str], ...]
    sentence: str = ""


def _from(words: str, mark: str = "|") -> Words:
    choices = words.split(mark)
    return lambda rng: rng.choice(choices)


def _number(low: int, high: int) -> Words:
    return lambda rng: str(rng.randint(low, high))


def _decimal(low: int, high: int) -> Words:
    return lambda rng: f"{rng.randint(low, high)}.{rng.randint(0, 9)}{rng.randint(1, 9)}"


def quantity(rng: Random) -> str:
    """A number of one to five digits, seldom with decimals."""
    whole = int(world.digits(rng, 1, rng.choice((1, 2, 2, 3, 3, 4, 5))))
    return (
        f"{whole}.{rng.choice((5, 25, 75, rng.randint(1, 9)))}"
        if rng.random() < 0.2
        else str(whole)
    )


def reading(text: str) -> int | float:
    """A spoken number as JSON holds it."""
    return float(text) if "." in text else int(text)


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


CITY = Slot("city|location|place|town|city_name", "[The|Name of the|] [city|place]", world.city)
ORDER = Slot(
    "order id|order number|order|id|order no", "[The|] order [number|id]", world.order_number
)
NUMBER: Kind = "number"

FAMILIES: tuple[Family, ...] = (
    Family(
        "weather",
        "check the weather",
        "[get|check|fetch|] [weather|current weather|weather report]|weather lookup|forecast",
        (
            "[Get|Gets|Look up|Returns] the [current|] weather [in|for|of] a [city|place|location].",
            "[Current|Today's] weather [conditions|] for a [city|given city].",
        ),
        {
            "city": CITY,
            "unit": Slot(
                "unit|units|scale",
                "[Unit of the temperature|celsius or fahrenheit]",
                _from("celsius|fahrenheit"),
                choices="celsius|fahrenheit",
                required=False,
            ),
        },
        {
            "temperature": _number(-9, 38),
            "condition": _from(SKY),
            "humidity": _number(20, 95),
            "wind": _number(0, 60),
        },
        (
            (
                "[What is|What's|How is|How's] the weather [like|] [in|for] {city}[ today| right now|]?",
                "[It is|It's] {condition} in {city} with {temperature} degrees.",
            ),
            (
                "[How warm|How cold|How hot] is it in {city}[ now|]?",
                "It is {temperature} degrees in {city}.",
            ),
            (
                "[What is|What's|Tell me] the temperature in {city} [in {unit}|in {unit}, please|].",
                "The temperature in {city} is {temperature} degrees.",
            ),
            (
                "[Is it|Will it be] [raining|sunny|nice|cloudy] in {city}[ today|]?",
                "In {city} it is {condition}.",
            ),
            (
                "[Do I need an umbrella|Should I take a coat] in {city}?",
                "It is {condition} in {city}, {temperature} degrees.",
            ),
            (
                "[Weather|Forecast] [in|for] {city}[, please|]",
                "{city}: {condition}, {temperature} degrees.",
            ),
            ("How [humid|damp] is it in {city}?", "The humidity in {city} is {humidity} percent."),
            (
                "[Check|Look up] the weather in {city}[ for me|], in {unit}[ please|].",
                "{city} has {temperature} degrees and it is {condition}.",
            ),
        ),
        "[The weather in {city}:|{city}:|In {city} it is] {condition}, {temperature} degrees",
    ),
    Family(
        "orders",
        "look up orders",
        "[get|look up|check|find|fetch|track|] order|[get|check|] order status|where is order",
        (
            "[Look up|Find|Get|Fetch|Returns] [an|the] order by [its|] [number|id].",
            "[Status|State] of an order.",
            "[Check|Track] [a customer's|an] order.",
        ),
        {"order": ORDER},
        {
            "status": _from(
                "shipped|in transit|delivered|being packed|cancelled|delayed|ready for pickup|"
                "waiting for payment|out for delivery|processing|returned|on hold|backordered"
            ),
            "carrier": _from("DHL|UPS|FedEx|USPS|DPD|Hermes|GLS"),
            "date": world.date,
            "item": world.product,
            "total": _decimal(3, 900),
        },
        (
            (
                "[Where is|Where's] [my|the|] order {order}?",
                "[Your order|Order] {order} is {status}.",
            ),
            (
                "[What is|What's|Tell me|Give me] the [status|state] of [my|] order {order}[, please|]",
                "[The status of order {order} is {status}|Order {order} is {status}].",
            ),
            (
                "[Please|] [look up|check|find|pull up|track] [my|the|] order {order}[ for me|]",
                "[I looked it up|I checked it|Here it is]: order {order} is {status}.",
            ),
            (
                "Has [my|] order {order} [shipped|arrived|left] [yet|]?",
                "Order {order} is {status}.",
            ),
            (
                "When [will|does] order {order} [arrive|come]?",
                "The date for order {order} is {date}.",
            ),
            (
                "[Who delivers|Which carrier has] [my|] order {order}?",
                "Order {order} comes with {carrier}.",
            ),
            (
                "My order [number|] is {order}. [What is happening with it|Where is it|What's the status]?",
                "Your order {order} is {status}.",
            ),
            ("[Any news on|What about] {order}?", "Order {order} is {status}."),
            ("[What did I order in|What is in] {order}?", "Order {order} is a {item}."),
            ("How much [was|is] order {order}?", "The total of order {order} is {total}."),
        ),
        "Order {order}[ is|:] {status}[, {date}|]",
    ),
    Family(
        "stocks",
        "check stock prices",
        "[get|fetch|] [stock price|stock|quote|share price]|price of stock",
        (
            "[Get|Returns|Look up] the [current|latest|] [stock|share] price [of|for] a [ticker|symbol|company].",
            "Stock quotes by symbol.",
        ),
        {
            "symbol": Slot(
                "symbol|ticker|stock|ticker symbol", "[The|] [ticker|stock] symbol", ticker
            )
        },
        {"price": _decimal(2, 900), "change": _decimal(-9, 9), "currency": _from("USD|EUR")},
        (
            (
                "[What is|What's] the [price of|stock price of|share price of] {symbol}[ now| today|]?",
                "[The price of {symbol} is|{symbol} is at|{symbol} trades at] {price}.",
            ),
            ("How [is|much is] {symbol} [trading|doing|] [today|now|]?", "{symbol} is at {price}."),
            ("[Quote|Price|Stock price] for {symbol}[, please|]", "{symbol}: {price}"),
            ("[Check|Look up|Get] [the stock|] {symbol}[ for me|]", "{symbol} stands at {price}."),
            (
                "How much has {symbol} [changed|moved]?",
                "{symbol} has changed by {change} and is at {price}.",
            ),
        ),
        "{symbol}[ is at|:] {price}",
    ),
    Family(
        "exchange",
        "convert currencies",
        "[convert|exchange] [currency|money]|currency converter|[convert|exchange] amount",
        (
            "[Convert|Converts|Exchange] [an amount|money] [from one currency to another|between currencies].",
            "Currency conversion [at today's rate|].",
        ),
        {
            "amount": Slot(
                "amount|value|sum|money", "[The|] amount [to convert|]", quantity, NUMBER
            ),
            "from": Slot(
                "from currency|from|source|base|source currency",
                "[Currency to convert from|Source currency]",
                _from(CURRENCIES, " "),
            ),
            "to": Slot(
                "to currency|to|target|target currency",
                "[Currency to convert to|Target currency]",
                _from(CURRENCIES, " "),
            ),
        },
        {"converted": _decimal(1, 20000), "rate": _decimal(0, 9)},
        (
            (
                "[Convert|Change|Exchange] {amount} {from} [to|into] {to}[, please| for me|].",
                "{amount} {from} is {converted} {to}.",
            ),
            (
                "[How much is|What is|What's] {amount} {from} in {to}?",
                "{amount} {from} [is|are|makes] {converted} {to}.",
            ),
            ("How many {to} [do I get for|are] {amount} {from}?", "You get {converted} {to}."),
            ("{amount} {from} [to|in] {to}[?|]", "{converted} {to}"),
        ),
        "{amount} {from} = {converted} {to}",
    ),
    Family(
        "clock",
        "tell the time",
        "[get|] [current time|local time|time]|[get|] time in [city|zone]|clock",
        (
            "[Get|Returns] the [current|local|] time in a [city|place].",
            "What time it is [somewhere|in a city].",
        ),
        {"city": CITY},
        {"time": world.time_of_day, "zone": _from("CET|EST|PST|GMT|JST|UTC+2|UTC-3|IST")},
        (
            ("What time is it in {city}[ now|]?", "It is {time} in {city}."),
            (
                "[What's|Tell me] the [local|current|] time in {city}.",
                "The time in {city} is {time}.",
            ),
            ("How late is it in {city}?", "In {city} it is {time}."),
            ("[Which|What] time zone is {city} in?", "{city} is in the time zone {zone}."),
        ),
        "[It is|Local time in {city}:] {time}",
    ),
    Family(
        "units",
        "convert units",
        "[convert|change] units|unit converter|convert [unit|measure]",
        (
            "[Convert|Converts] [a value|a number|] [from one unit to another|between units].",
            "Unit conversion [of length, weight and volume|].",
        ),
        {
            "value": Slot(
                "value|amount|number|quantity", "[The|] [value|number] to convert", quantity, NUMBER
            ),
            "from": Slot(
                "from unit|from|unit from|source unit",
                "[Unit to convert from|Source unit]",
                _from(UNITS),
            ),
            "to": Slot(
                "to unit|to|unit to|target unit", "[Unit to convert to|Target unit]", _from(UNITS)
            ),
        },
        {"converted": _decimal(0, 9000)},
        (
            (
                "[Convert|Turn] {value} {from} [to|into] {to}[, please|].",
                "{value} {from} is {converted} {to}.",
            ),
            (
                "[How much is|What is|What's] {value} {from} in {to}?",
                "{value} {from} is {converted} {to}.",
            ),
            ("How many {to} are {value} {from}?", "{value} {from} are {converted} {to}."),
            ("{value} {from} in {to}[?|, please]", "{converted} {to}"),
        ),
        "{converted} {to}",
    ),
    Family(
        "search",
        "search the web",
        "[search|web search|search web|google|find pages|lookup web]|internet search",
        (
            "[Search|Searches] the [web|internet][ for a query|].",
            "[Find|Look up] pages [on the web|about something].",
        ),
        {
            "query": Slot(
                "query|q|search|text|search query|question",
                "[The|] [search query|words to search for]",
                lambda rng: rng.choice(TOPICS),
            ),
            "limit": Slot(
                "limit|max results|count|n",
                "[How many|Number of] results",
                _number(2, 20),
                "integer",
                required=False,
            ),
        },
        {"title": title, "site": lambda rng: f"{world.word(rng)}.{rng.choice(('com', 'org'))}"},
        (
            (
                "[Search|Look] [the web|the internet|] for {query}[, please|]",
                "I found {title} on {site}.",
            ),
            (
                "[Search for|Find me|Find] {limit} [pages|results] [about|on] {query}.",
                "[One of them is|The first is] {title} on {site}.",
            ),
            ("[Google|Look up] {query}[ for me|]", "The first [hit|result] is {title} on {site}."),
            ("What can you find [online|on the web] about {query}?", "There is {title} on {site}."),
        ),
        "1. {title} ({site})",
    ),
    Family(
        "mail",
        "send emails",
        "[send|write|] email|[send|] mail|send message|mail sender",
        (
            "[Send|Sends] an [email|e-mail|mail][ to somebody| to an address|].",
            "Email [somebody|a person].",
        ),
        {
            "to": Slot(
                "to|recipient|address|email|to address", "[The|] [recipient|address]", world.email
            ),
            "subject": Slot(
                "subject|title|subject line", "[The|] subject", lambda r: r.choice(LINES)
            ),
            "body": Slot("body|text|message|content", "[The|] [text|body]", phrase, required=False),
        },
        {"id": lambda rng: world.digits(rng, 3, 6)},
        (
            (
                '[Send|Write] [an email|a mail] to {to} with [the|] subject "{subject}".',
                "[The email|Your email|It] to {to} [was|has been] sent.",
            ),
            (
                '[Email|Mail] {to}, subject {subject}, [text|saying] "{body}".',
                "Done, the email to {to} is sent.",
            ),
            (
                '[Please|] [send|email] {to} "{body}" under the subject "{subject}".',
                "I sent the email to {to}.",
            ),
            ("[Send a mail|Email] to {to}: {subject}", "Your mail to {to} is on its way."),
        ),
        "[Email|Mail|Message {id}] sent[ to {to}|]",
    ),
    Family(
        "tickets",
        "create tickets",
        "[create|open|new|file] ticket|[create|open] issue|report problem",
        (
            "[Create|Creates|Open|Opens] a [support|] ticket.",
            "[Report|File] a problem [to the team|].",
        ),
        {
            "title": Slot(
                "title|summary|subject|problem|description",
                "[Short|] [title|summary|description][ of the problem|]",
                lambda r: r.choice(TROUBLES),
            ),
            "priority": Slot(
                "priority|urgency|severity",
                "[How urgent it is|The priority]",
                _from("low|medium|high"),
                choices="low|medium|high",
                required=False,
            ),
        },
        {"ticket": lambda rng: world.digits(rng, 3, 6), "state": _from("open|new|queued")},
        (
            (
                '[Open|Create|File|Make] a [ticket|support ticket]: "{title}".',
                "I [opened|created] ticket {ticket}.",
            ),
            (
                "[Open|Create|File] a {priority} priority ticket: {title}[.|]",
                "Ticket {ticket} is {state}.",
            ),
            (
                "The {title}. [Please open a ticket|Can you file a ticket for that|Report it][?|.]",
                "Ticket {ticket} has been created.",
            ),
            (
                "[Please|] report that the {title}, priority {priority}.",
                "[Done|Reported]: the ticket number is {ticket}.",
            ),
        ),
        "Ticket {ticket} [created|opened]",
    ),
    Family(
        "tables",
        "book tables",
        "[book|reserve] table|[make|new] reservation|book restaurant|restaurant booking",
        (
            "[Book|Books|Reserve] a table [at|in] a restaurant.",
            "[Make|Makes] a restaurant reservation.",
        ),
        {
            "restaurant": Slot("restaurant|place|venue|name", "[The|] restaurant", world.firm),
            "people": Slot(
                "people|guests|party size|persons|seats",
                "[How many people|Number of guests]",
                _number(1, 14),
                "integer",
            ),
            "time": Slot("time|at|when|start", "[The|] time", world.time_of_day),
        },
        {"code": world.code},
        (
            (
                "[Book|Reserve] a table [for {people}|for {people} people] at {restaurant} at {time}.",
                "[Your table|The table] at {restaurant} is booked, [the code is|code] {code}.",
            ),
            (
                "[I want|I'd like|We need] a table at {restaurant} for {people} at {time}.",
                "The table for {people} at {restaurant} is reserved[: {code}|].",
            ),
            (
                "We are {people} and want to eat at {restaurant} at {time}.",
                "Done, your code is {code}.",
            ),
        ),
        "[Booked|Confirmed|Reservation ok], [code|reference] {code}",
    ),
    Family(
        "customers",
        "look up customers",
        "[get|find|look up|search|fetch] customer|customer [info|lookup|details]",
        (
            "[Look up|Find|Get|Fetch] a customer by name.",
            "[Details|Data] of a customer[ of ours|].",
        ),
        {
            "name": Slot(
                "name|customer|customer name|full name", "[The|] customer's name", world.person
            )
        },
        {
            "email": world.email,
            "phone": world.phone,
            "city": world.city,
            "plan": _from("basic|pro|free|premium|family|team"),
            "customer id": lambda rng: world.digits(rng, 3, 6),
        },
        (
            (
                "[What is|What's] the [email|email address|mail] of [customer|] {name}?",
                "{name}'s email is {email}.",
            ),
            (
                "[Give me|Find|Look up] {name}'s phone number.",
                "The phone number of {name} is {phone}.",
            ),
            ("[Which|What] plan is {name} on?", "{name} is on the {plan} plan."),
            ("Where does [our customer|] {name} live?", "{name} lives in {city}."),
            (
                "[Look up|Find] [the|] customer {name}[ and tell me the id|].",
                "{name} has the customer id {customer id}.",
            ),
        ),
    ),
    Family(
        "dictionary",
        "define words",
        "[define|look up|get] [word|definition|meaning]|define|dictionary|word meaning",
        (
            "[Define|Defines|Look up] a word.",
            "[Meaning|Definition] of a[n English|] word.",
            "Dictionary.",
        ),
        {"word": Slot("word|term|text|entry", "[The|] word", lambda rng: rng.choice(WORDS))},
        {
            "meaning": _from(
                "calm and quiet|open and honest|quick and active|careful with money|easy to understand|"
                "strong and healthy|to stay for a time|to come into view|to grow well|to think about|"
                "full of joy|hard to see through|a short look|to set on fire|soft and pleasant"
            ),
            "kind": _from("adjective|noun|verb"),
        },
        (
            ('[What does|What does the word] "{word}" mean?', '"{word}" means {meaning}.'),
            ("[Define|Explain] [the word|] {word}[.|]", "{word}: {meaning}."),
            (
                "[Meaning of|Definition of|Look up the word] {word}[, please|]",
                "{word} means {meaning}.",
            ),
            ("What kind of word is {word}?", "{word} is a{n} {kind}."),
        ),
        "{word}: {meaning}",
    ),
    Family(
        "translation",
        "translate texts",
        "translate|translate text|translator|[get|] translation",
        (
            "[Translate|Translates] [a|] text [into another language|to a language].",
            "Translation [of texts|].",
        ),
        {
            "text": Slot("text|input|phrase|content|source", "[The|] text[ to translate|]", phrase),
            "language": Slot(
                "language|target language|to|target|lang",
                "[The|] [target|] language",
                _from(LANGUAGES),
            ),
        },
        {"translation": lambda rng: " ".join(world.word(rng) for _ in range(rng.randint(1, 3)))},
        (
            (
                '[Translate|Put|Turn] "{text}" [to|into] {language}[.|, please.]',
                '"{text}" in {language} is "{translation}".',
            ),
            (
                '[What is|What\'s|How do you say] "{text}" in {language}?',
                'In {language} it is "{translation}".',
            ),
            ("[Translate|Say] in {language}: {text}", "{translation}"),
        ),
        "{translation}",
    ),
    Family(
        "timers",
        "set timers",
        "[set|start] [timer|alarm|countdown]|timer",
        ("[Set|Sets|Start|Starts] a [timer|countdown].", "A [kitchen|] timer [in minutes|]."),
        {
            "minutes": Slot(
                "minutes|duration|length|duration minutes",
                "[How long|Minutes]",
                _number(1, 120),
                "integer",
            ),
            "label": Slot(
                "label|name|title",
                "[What it is for|Name]",
                lambda r: r.choice(DISHES),
                required=False,
            ),
        },
        {"end": world.time_of_day},
        (
            (
                "[Set|Start] a timer [for|of] {minutes} minutes[, please|].",
                "The timer [runs for|is set to] {minutes} minutes.",
            ),
            (
                "[Set a|Start a] {minutes} minute timer for the {label}.",
                "The {label} timer is set to {minutes} minutes.",
            ),
            ("[Remind me|Ring] in {minutes} minutes.", "I set a timer for {minutes} minutes."),
            (
                "[The|My] {label} takes {minutes} minutes, [please set|start|set] a timer.",
                "The timer for the {label} is running.",
            ),
        ),
        "[Timer set|Timer started|ok], ends at {end}",
    ),
    Family(
        "calendar",
        "add appointments",
        "[add|create|new] [event|appointment|meeting]|schedule [event|meeting]|calendar add",
        (
            "[Add|Adds|Create] [an event|an appointment] [to|in] the calendar.",
            "[Schedule|Plan] a meeting.",
        ),
        {
            "title": Slot("title|name|event|summary", "[The|] [title|name of the event]", title),
            "date": Slot("date|day|when", "[The|] [date|day]", world.date),
            "time": Slot(
                "time|start time|start", "[The|] [start|] time", world.time_of_day, required=False
            ),
        },
        {"id": lambda rng: world.digits(rng, 3, 5)},
        (
            (
                '[Add|Put] "{title}" [to|in] my calendar on {date}[.|]',
                '"{title}" is in your calendar on {date}.',
            ),
            (
                '[Schedule|Plan] [a meeting|an event] "{title}" [on|for] {date} at {time}.',
                '"{title}" is planned for {date} at {time}.',
            ),
            (
                'I have "{title}" on {date} at {time}, [add it|put it in my calendar|note it].',
                'Done, "{title}" on {date}.',
            ),
        ),
        "[Event|Appointment] [{id} |][created|added]",
    ),
    Family(
        "music",
        "play music",
        "play [song|music|track]|play|music player",
        (
            "[Play|Plays] [a song|music].",
            "[Start|Starts] [a song|a track] on the [speaker|player].",
        ),
        {
            "song": Slot("song|title|track|name|query", "[The|] [song|title]", title),
            "volume": Slot(
                "volume|level",
                "[Volume|Loudness] [from 0 to 100|]",
                _number(5, 100),
                "integer",
                required=False,
            ),
        },
        {
            "artist": world.person,
            "length": lambda rng: f"{rng.randint(2, 6)}:{rng.randint(10, 59)}",
        },
        (
            ('[Play|Put on|Start] "{song}"[ please|].', '"{song}" [by {artist}|] is playing.'),
            (
                "[I want to hear|Play me|Let me hear] {song}[.|]",
                "Now playing {song}[ by {artist}|].",
            ),
            ("Play {song} at volume {volume}.", "{song} is playing at volume {volume}."),
        ),
        "Playing {song} by {artist}",
    ),
    Family(
        "lights",
        "switch lights",
        "[set|control|switch|turn] [light|lights|lamp]|light switch|smart light",
        (
            "[Switch|Switches|Turn] [a light|the lights] on or off.",
            "[Control|Controls] the [lights|lamps] of a room.",
        ),
        {
            "room": Slot(
                "room|location|where|area",
                "[The|] room",
                _from(
                    "kitchen|bedroom|hall|office|garage|bathroom|living room|garden|attic|cellar"
                ),
            ),
            "on": Slot(
                "on|state|is on|enabled|power",
                "[Whether it is on|true is on, false is off]",
                _from("true|false"),
                "boolean",
                said={"true": "on", "false": "off"},
            ),
        },
        {"watts": _number(3, 60)},
        (
            (
                "[Turn|Switch] {on} the [light|lights|lamp] in the {room}[, please|].",
                "The [light|lamp] in the {room} is {on}.",
            ),
            ("[Turn|Switch] the {room} [light|lights] {on}[.|]", "The {room} light is {on} now."),
            ("[Lights|Light] {on} in the {room}[!|]", "The {room} light is {on}."),
        ),
        "[ok|done|{room}: {on}|success]",
    ),
    Family(
        "parcels",
        "track parcels",
        "track [package|parcel|shipment]|[get|] tracking [info|status]|parcel status",
        (
            "[Track|Tracks|Follow] a [parcel|package|shipment].",
            "[Where a parcel is|Shipment status].",
        ),
        {
            "code": Slot(
                "tracking number|tracking code|code|tracking id|parcel",
                "[The|] tracking [number|code]",
                world.tracking,
            )
        },
        {
            "place": world.city,
            "state": _from("in transit|at customs|in the depot|on the van|delivered|held|returned"),
            "eta": world.date,
        },
        (
            (
                "[Where is|Where's] [my|the] [parcel|package|shipment] {code}?",
                "[Your parcel|Parcel] {code} is {state} in {place}.",
            ),
            ("[Track|Follow|Trace] {code}[ for me|, please|]", "{code} is {state}."),
            (
                "When [will|does] [parcel|package] {code} [arrive|get here]?",
                "It should arrive on {eta}.",
            ),
            (
                "My tracking [number|code] is {code}. [Any news|Where is it]?",
                "Your parcel is {state} in {place}.",
            ),
        ),
        "{code}: {state}, {place}",
    ),
    Family(
        "prices",
        "look up prices",
        "[get|check|look up|find] [price|product price|item price]|price check",
        (
            "[Look up|Get|Returns] the price of [a product|an item|something we sell].",
            "Prices [of our goods|].",
        ),
        {
            "product": Slot(
                "product|item|product name|article|name", "[The|] [product|item]", world.product
            )
        },
        {"price": _decimal(2, 900), "stock": _number(0, 300), "sku": world.code},
        (
            (
                "[How much is|How much does|What costs] [the|a] {product}[ cost|]?",
                "The {product} [costs|is] {price}.",
            ),
            (
                "[What is|What's|Tell me] the price of [the|a] {product}.",
                "The price of the {product} is {price}.",
            ),
            (
                "Do you have [the|a] {product} in stock?",
                "There are {stock} of the {product} in stock.",
            ),
            ("[Price|Price check]: {product}", "{product}: {price}"),
        ),
        "{product}: {price}[, {stock} in stock|]",
    ),
    Family(
        "flights",
        "find flights",
        "[search|find|get|book|] flights|flight search|find flight",
        (
            "[Find|Search|Searches] flights [between two cities|].",
            "Flights from one city to another[ on a date|].",
        ),
        {
            "from": Slot(
                "origin|from|from city|departure|source", "[City of departure|Origin]", world.city
            ),
            "to": Slot(
                "destination|to|to city|arrival", "[City of arrival|Destination]", world.city
            ),
            "date": Slot("date|day|departure date", "[The|] date", world.date, required=False),
        },
        {
            "flight": lambda rng: (
                f"{''.join(rng.choices(string.ascii_uppercase, k=2))}{rng.randint(10, 999)}"
            ),
            "departure": world.time_of_day,
            "price": _number(39, 990),
        },
        (
            (
                "[Find|Get|Search] [me|] [a flight|flights] from {from} to {to}[.|]",
                "Flight {flight} leaves {from} at {departure}.",
            ),
            (
                "[I need to|I want to] fly from {from} to {to} on {date}.",
                "There is flight {flight} at {departure} for {price}.",
            ),
            (
                "[Which|What] flights [go|are there] from {from} to {to} on {date}?",
                "Flight {flight} leaves at {departure}.",
            ),
            ("How much is a flight from {from} to {to}?", "Flight {flight} costs {price}."),
        ),
        "{flight}, {departure}, {price}",
    ),
    Family(
        "notes",
        "keep notes",
        "[add|create|save|new|write] [note|memo]|take note|remember|[add|save] [todo|task|reminder]",
        (
            "[Save|Saves|Add|Write] a note.",
            "[Keep|Keeps] [a note|something] for later.",
            "[Add|Adds] [a task|something] to the list.",
        ),
        {"text": Slot("text|note|content|body|task", "[The|] [text|note]", phrase)},
        {"id": lambda rng: world.digits(rng, 1, 5)},
        (
            (
                '[Note|Write down|Save|Remember] "{text}".',
                "[I noted it|Noted|It is saved][ as number {id}|].",
            ),
            (
                '[Add|Put] "{text}" [to|on] my [list|notes].',
                '"{text}" is [on your list|in your notes].',
            ),
            ("[Make a note|Take a note|Add a task]: {text}", '[Done|Saved]: "{text}".'),
            ('[Remind me|Don\'t let me forget]: "{text}"', "I saved it[ under number {id}|]."),
        ),
        "[Saved|Note saved|Added], [id|number] {id}",
    ),
    Family(
        "refunds",
        "refund orders",
        "[refund|refund order|issue refund|create refund]|return order",
        (
            "[Refund|Refunds] an order.",
            "[Give|Gives] [the customer|a customer] money back for an order.",
        ),
        {
            "order": ORDER,
            "reason": Slot(
                "reason|why|note|cause",
                "[The|] reason",
                _from("damaged|too late|wrong item|too small|not needed|missing parts|bad quality"),
                required=False,
            ),
        },
        {"amount": _decimal(3, 400), "refund": world.code},
        (
            (
                "[Refund|Please refund|Return] order {order}[.|]",
                "Order {order} is refunded[: {amount}|].",
            ),
            (
                "[I want|We want] my money back for order {order}.",
                "The refund for order {order} is {amount}.",
            ),
            (
                "[Refund|Return] order {order}, [reason|because]: {reason}[.|]",
                "I refunded order {order}, the amount is {amount}.",
            ),
        ),
        "[Refunded|Refund {refund} of] {amount}",
    ),
    Family(
        "routes",
        "find routes",
        "[get|find|calculate|] [route|directions|distance]|how far|distance between",
        (
            "[Distance|Route|Directions] between two [places|cities].",
            "[Find|Finds|Get] the [way|route] from one place to another.",
        ),
        {
            "from": Slot("origin|start|from|from place", "[Start|Where it begins]", world.city),
            "to": Slot("destination|end|to|to place", "[Goal|Where it ends]", world.city),
            "mode": Slot(
                "mode|by|transport",
                "[How one travels|Means of transport]",
                _from("car|train|bike|foot|bus"),
                choices="car|train|bike|foot|bus",
                required=False,
            ),
        },
        {"distance": _number(3, 2400), "hours": _number(1, 30)},
        (
            (
                "How far is it from {from} to {to}[ by {mode}|]?",
                "It is {distance} kilometers from {from} to {to}.",
            ),
            (
                "[What is|What's] the distance [between {from} and|from {from} to] {to}?",
                "The distance is {distance} km.",
            ),
            (
                "How long [do I need|does it take] from {from} to {to} by {mode}?",
                "By {mode} it takes {hours} hours.",
            ),
            (
                "[Show me|Find] the [way|route] from {from} to {to}[ by {mode}|].",
                "The way from {from} to {to} is {distance} kilometers and takes {hours} hours.",
            ),
        ),
        "{distance} km, {hours} hours",
    ),
    Family(
        "people",
        "look up colleagues",
        "[find|get|look up] [employee|colleague|contact|person]|[employee|staff] directory",
        (
            "[Find|Look up] [a colleague|an employee|a contact].",
            "[Staff|Phone] directory[ of the firm|].",
        ),
        {
            "name": Slot(
                "name|person|employee|who|employee name", "[The|] [person's|] name", world.person
            )
        },
        {
            "extension": _number(100, 9999),
            "room": lambda rng: f"{rng.choice('ABCD')}{rng.randint(1, 400)}",
            "department": _from("sales|finance|legal|support|design|research|logistics|marketing"),
            "manager": world.person,
        },
        (
            (
                "[What is|What's] [the extension of {name}|{name}'s extension]?",
                "{name}'s extension is {extension}.",
            ),
            (
                "[Where|In which room] [does {name} sit|can I find {name}]?",
                "{name} is in room {room}.",
            ),
            (
                "[Which|What] department [does {name} work in|is {name} in]?",
                "{name} works in {department}.",
            ),
            ("Who is {name}'s [manager|boss]?", "The manager of {name} is {manager}."),
        ),
    ),
)


def argument(rng: Random, slot: Slot, key: str) -> Argument:
    """A slot as one tool's argument under a key."""
    choices = tuple(slot.choices.split("|")) if slot.choices else ()
    return Argument(key, slot.kind, phrased(rng, slot.about), choices, slot.required)


def typed(kind: Kind, text: str) -> Value:
    """A value as JSON holds it."""
    if kind == "boolean":
        return text == "true"
    return reading(text) if kind in ("integer", "number") else text


def phrased(rng: Random, text: str) -> str:
    """A description: choices made, blanks put right, a capital first."""
    plain = re.sub(r"\s+([.,?!])", r"\1", " ".join(spin(rng, text).split()))
    return plain[:1].upper() + plain[1:]


def fill(text: str, known: Mapping[str, str]) -> str:
    """The text with every `{x}` filled in; what is not known is left out."""
    out = re.sub(r"\{([\w ]+)\}", lambda m: known.get(m[1], ""), text)
    return re.sub(r"\s+([.,?!])", r"\1", re.sub(r" {2,}", " ", out)).strip()


def fields_of(text: str) -> list[str]:
    """The names in braces, in order."""
    return re.findall(r"\{([\w ]+)\}", text)


LEADS = (
    "Hi, ",
    "Hello, ",
    "hey ",
    "Hello! ",
    "Good morning. ",
    "I have a question: ",
    "One more thing: ",
    "So, ",
    "Okay, ",
    "My boss asks: ",
    "For the meeting: ",
    "Now ",
    "Next: ",
    "Please help: ",
)
TRAILS = (
    "Thanks!",
    "Thank you.",
    "I need it [today|now|for my report].",
    "It is [urgent|important|for a friend].",
    "I cannot find it myself.",
    "That would help[ me|] a lot.",
    "No hurry.",
)


def loosely(rng: Random, wording: str) -> str:
    """A wording as somebody types it; what is filled in later keeps its case."""
    wording = " ".join(wording.split())
    if rng.random() < 0.25:
        wording = wording.lower()
    if rng.random() < 0.25:
        wording = wording.rstrip("?.!")
    if rng.random() < 0.15:
        wording = rng.choice(LEADS) + wording
    if rng.random() < 0.1:
        mark = "" if wording[-1:] in ".?!" else rng.choice((".", ",", ";"))
        wording = f"{wording}{mark} {spin(rng, rng.choice(TRAILS))}"
    return wording


def told(rng: Random, known: Mapping[str, str], wanted: list[str], sentence: str) -> str:
    """A tool's result that holds the wanted fields: JSON, lines, a sentence or the bare value."""
    style = rng.random()
    said = set(fields_of(sentence))
    if sentence and said >= set(wanted) and style < 0.35:
        return fill(sentence, known)
    if len(wanted) == 1 and style < 0.6:
        return known[wanted[0]]
    others = [name for name in known if name not in wanted]
    shown = wanted + rng.sample(others, rng.randint(0, min(2, len(others))))
    rng.shuffle(shown)
    keys = {name: argument_key(rng, name) if style < 0.9 else name for name in shown}
    if style < 0.9:
        values = {keys[n]: _json_value(rng, known[n]) for n in shown}
        return compact(values) if rng.random() < 0.5 else json.dumps(values, ensure_ascii=False)
    return rng.choice(("\n", ", ", "; ")).join(f"{n}: {known[n]}" for n in shown)


def _json_value(rng: Random, text: str) -> Value:
    bare = re.fullmatch(r"-?(0|[1-9]\d{0,8})(\.\d*[1-9])?", text) is not None
    return reading(text) if bare and rng.random() < 0.8 else text


DONE = (
    "Done.",
    "That is done.",
    "[Okay|Ok|All right], [done|that is done].",
)


def skill(rng: Random, family: Family) -> Skill:
    """One tool of a family, with its names drawn."""
    keys: dict[str, str] = {}
    for name, slot in family.slots.items():
        keys[name] = argument_key(rng, spin(rng, f"[{slot.keys}]").replace("_", " "))
    if len(set(keys.values())) < len(keys):
        keys = {name: argument_key(rng, name) for name in family.slots}
    arguments = tuple(argument(rng, slot, keys[n]) for n, slot in family.slots.items())
    name = tool_name(rng, spin(rng, f"[{family.names}]").strip())
    tool = Tool(name, phrased(rng, rng.choice(family.about)), arguments)
    return Skill(family.trade, family.deed, tool, lambda r: task(r, family, keys))


def task(rng: Random, family: Family, keys: Mapping[str, str]) -> Task:
    """One wish for a family's tool and all that follows."""
    wording, answer = rng.choice(family.asks)
    wording, answer = loosely(rng, spin(rng, wording)), spin(rng, answer)
    values = {name: slot.value(rng) for name, slot in family.slots.items()}
    while "from" in values and not _convertible(values["from"], values["to"]):
        values["to"] = family.slots["to"].value(rng)
    spoken = {n: (s.said or {}).get(values[n], values[n]) for n, s in family.slots.items()}
    known = {name: make(rng) for name, make in family.fields.items()} | spoken
    known["n"] = "n" if known.get("kind", "")[:1] in "aeiou" else ""
    said = set(fields_of(wording))
    given = {keys[n]: typed(s.kind, values[n]) for n, s in family.slots.items() if n in said}
    wanted = [n for n in dict.fromkeys(fields_of(answer)) if n in family.fields]
    usual = {n: v for n, v in known.items() if n in family.fields or (n in said and n != "on")}
    full = fill(answer, known)
    result = (
        told(rng, usual, wanted, spin(rng, family.sentence))
        if wanted
        else _ending(rng, family, known)
    )
    return Task(fill(wording, known), given, result, full.rstrip("."), full)


def _convertible(one: str, other: str) -> bool:
    """Whether two things differ, and measure the same where they are units."""
    kinds = [measure for measure in MEASURES if one in measure.split()]
    return one != other and (not kinds or other in kinds[0].split())


def _ending(rng: Random, family: Family, known: Mapping[str, str]) -> str:
    short = ("ok", "done", "success", "true", '{"status":"ok"}', '{"success": true}', "OK")
    return fill(spin(rng, family.sentence), known) if rng.random() < 0.5 else rng.choice(short)
